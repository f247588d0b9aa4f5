"""Temporary files of killed processes are removed, those of running ones stay."""

import os
import subprocess
import sys
import time

from support.paths import ROOT

from pipeline.core.temporary import make_temporary, remove_stale

LEAVE = """
import os, sys
from pathlib import Path
from pipeline.core.temporary import make_temporary
make_temporary(Path(sys.argv[1]))
print("made", flush=True)
sys.stdin.read()
"""


def test_files_of_ended_processes_are_removed(tmp_path):
    other = tmp_path / "notes.tmp"
    other.touch()
    process = subprocess.Popen(
        [sys.executable, "-c", LEAVE, str(tmp_path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "made\n"
    assert remove_stale([tmp_path]) == []
    process.kill()
    process.communicate()
    assert len(remove_stale([tmp_path, tmp_path / "none"])) == 1
    assert list(tmp_path.iterdir()) == [other]


def test_a_file_that_is_being_written_stays_however_old(tmp_path):
    handle, path = make_temporary(tmp_path)
    os.utime(path, (0, 0))
    assert remove_stale([tmp_path]) == []
    os.close(handle)
    assert [str(removed) for removed in remove_stale([tmp_path])] == [path]
    earlier = tmp_path / ".merc-ab12cd.tmp"  # as earlier versions named them
    earlier.touch()
    assert remove_stale([tmp_path]) == []
    os.utime(earlier, (0, 0))
    assert remove_stale([tmp_path]) == [earlier]


def test_a_clock_that_was_wrong_leaves_nothing_for_years(tmp_path):
    handle, path = make_temporary(tmp_path)
    in_ten_years = time.time() + 10 * 365 * 86400
    os.utime(path, (in_ten_years, in_ten_years))
    assert remove_stale([tmp_path]) == []
    os.close(handle)  # this process runs, as may another with the number of a killed one
    assert [str(removed) for removed in remove_stale([tmp_path])] == [path]
