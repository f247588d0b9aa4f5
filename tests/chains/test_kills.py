"""Killed runs leave a store that the next run completes: the same bytes for any jobs, threads."""

import os
import shutil
import subprocess
import sys

import pytest
from support.paths import ROOT

CLIPS = ("bbaf2n", "brbk7n", "swiz3n")
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@pytest.fixture(scope="module")
def recordings(media, tmp_path_factory):
    folder = tmp_path_factory.mktemp("recordings")
    for name in CLIPS:
        shutil.copy(media / "grid" / f"{name}.mpg", folder)
    return folder


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_killed_runs_end_in_the_store_of_an_undisturbed_one(shared, tmp_path):
    command = [sys.executable, str(ROOT / "benchmarks" / "soak.py"), str(shared), str(tmp_path)]
    kinds = ["worker", "byte", "full disk", "clock"]
    result = subprocess.run(
        [*command, "--recordings=4", "--kills=4", "--kinds", *kinds],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "4 kills, 4 recordings, " in result.stdout.splitlines()[-1]
    assert result.stdout.endswith("all bytes equal\n")


def run(command, recordings, out, threads, jobs):
    subprocess.run(
        [sys.executable, "-c", "from pipeline.cli.app import main; main()", command]
        + [str(recordings), "--out", str(out), "--jobs", str(jobs)]
        + (["--profile", "offline"] if command == "extract" else []),
        cwd=ROOT,
        env=os.environ | dict.fromkeys(THREADS, str(threads)),
        check=True,
        capture_output=True,
    )
    return {
        str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()
    }


@pytest.mark.parametrize("command", ["extract", "label"])
def test_threads_and_jobs_change_no_byte(command, recordings, tmp_path):
    one = run(command, recordings, tmp_path / "one", threads=1, jobs=1)
    two = run(command, recordings, tmp_path / "two", threads=2, jobs=2)
    assert len(one) == (5 * len(CLIPS) + 1 if command == "extract" else len(CLIPS))
    assert one == two
