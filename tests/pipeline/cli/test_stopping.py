"""Ctrl-C and SIGTERM: what was finished, the exit code, two seconds."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from support.clips import sound_of, write_wav
from support.paths import ROOT

from pipeline.cli.stopping import finished_text

COMMAND = """
import hashlib, importlib, signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
app = importlib.import_module("pipeline.cli.app")
from pipeline.cli.progress import RunProgress

def work():
    with RunProgress() as progress:
        progress.start(3)
        progress.finish(0, "a.mp4", None)
        print("begun", flush=True)
        WAIT
app.app = work
app.main()
"""


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("native", [False, True])
def test_signals_say_what_is_finished_and_end_at_once(native, number, code):
    # native code that lets other threads run, and that no signal ends
    wait = "hashlib.pbkdf2_hmac('sha512', b'a', b'b', 100_000_000)" if native else "time.sleep(60)"
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND.replace("WAIT", wait)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "begun\n"
    begun = time.monotonic()
    process.send_signal(number)
    errors = process.communicate(timeout=30)[1]
    assert time.monotonic() - begun < 4  # two, on a machine that does nothing else
    assert process.returncode == code
    assert "1 of 3 files finished: a.mp4" in errors and "Traceback" not in errors
    assert ("terminated" if code == 143 else "interrupted") in errors


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_an_interrupt_that_a_library_swallows_is_not_a_failure_of_a_file():
    swallowed = """try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            pass
        from pipeline.core.failures import Failure
        progress.finish(1, "b.mp4", Failure("b.mp4", "audio", "damaged", "mend"))"""
    process = subprocess.run(
        [sys.executable, "-c", COMMAND.replace("WAIT", swallowed)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert process.returncode == 130
    assert "1 of 3 files finished: a.mp4" in process.stderr and "damaged" not in process.stderr


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("number, verb", [(signal.SIGINT, "interrupted"), (15, "terminated")])
def test_following_a_pipe_ends_at_once_and_leaves_nothing(number, verb, shared, tmp_path):
    voice = np.clip(sound_of(shared / "cases" / "dlg.m4a"), -1, 1)
    wav = write_wav(tmp_path / "x.wav", [np.tile(voice, 2)], 16_000)
    command = "import signal; from pipeline.cli.app import main; RESET; main()".replace(
        "RESET", "signal.signal(signal.SIGINT, signal.default_int_handler)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", command, "label", "--follow", "-"],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdin.write(wav.read_bytes())
    process.stdin.flush()
    assert process.stdout.readline().startswith(b"{")
    assert [path.name[:10] for path in tmp_path.glob("merc-live-*")] == ["merc-live-"]
    process.send_signal(number)
    process.stdout.read()
    errors = process.stderr.read().decode()
    assert process.wait() == 128 + number
    last = errors.splitlines()[-1]
    assert last.startswith(f"merc: {verb}; ") and "printed" in last
    assert "Traceback" not in errors and "ignored" not in errors
    assert not list(tmp_path.glob("merc-live-*"))


def test_long_lists_are_cut():
    assert finished_text([], 4) == "0 of 4 files finished"
    assert finished_text(["x"] * 30, 40).endswith("x, …")
