"""What happens to a run of `merc extract` on a machine: kills, damage, a full disk, a wrong clock.

Reads /proc and mounts a disk, so it works on Linux only.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

COMMAND = [sys.executable, "-c", "from pipeline.cli.app import main; main()", "extract"]
DAY = 86400.0
SHIFTS = (-3650 * DAY, -DAY, DAY, 3650 * DAY)  # s, of a clock
CLOCK = """
import os, time
real, began = time.time, time.monotonic()
shift, after = (float(os.environ[f"SOAK_{name}"]) for name in ("SHIFT", "AFTER"))
time.time = lambda: real() + (shift if time.monotonic() - began > after else 0.0)
"""


def extract(
    recordings: Path,
    store: Path,
    jobs: int,
    options: Sequence[str] = (),
    env: dict[str, str] | None = None,
    log: Path = Path(os.devnull),
) -> subprocess.Popen[bytes]:
    """Start an extraction in a session of its own. log: file for what it says."""
    arguments = ["--profile=offline", f"--out={store}", f"--jobs={jobs}", *options]
    with log.open("wb") as file:
        return subprocess.Popen(
            [*COMMAND, str(recordings), *arguments],
            env=os.environ | (env or {}),
            stdout=subprocess.DEVNULL,
            stderr=file,
            start_new_session=True,
        )


def contents(store: Path) -> dict[str, bytes]:
    """Return all files of a store, temporary ones too, by their paths."""
    files = sorted(path for path in store.rglob("*") if path.is_file())
    return {str(path.relative_to(store)): path.read_bytes() for path in files}


def count(store: Path) -> int:
    """Count the finished files of a store, while a run removes folders, too."""
    names = [name for _, _, names in os.walk(store) for name in names]
    return sum("." in name and not name.startswith(".merc") for name in names)


def damage(store: Path, chance: random.Random, cut: bool) -> None:
    """Change one bit of a recording's file in the store, or cut it short.

    A damaged merc-store.json is an error with a remedy: merc does not guess a store's format.
    """
    files = [path for path in sorted(store.rglob("*.*")) if path.is_file() and path.parent != store]
    paths = [path for path in files if path.stat().st_size]
    if not paths:
        return
    path = chance.choice(paths)
    data = bytearray(path.read_bytes())
    place = chance.randrange(len(data))
    data[place] ^= 1 << chance.randrange(8)
    path.write_bytes(data[:place] if cut else data)


def remove_half(store: Path, chance: random.Random) -> None:
    """Remove every second file of a store, so that there is work again."""
    for path in sorted(store.rglob("*.*")):
        if path.is_file() and chance.random() < 0.5:
            path.unlink()


def shift_times(store: Path, chance: random.Random) -> None:
    """Change the times of half of all files and folders, as clocks of other machines would."""
    for path in sorted(store.rglob("*")):
        if chance.random() < 0.5:
            moment = max(0.0, path.stat().st_mtime + chance.choice(SHIFTS))
            os.utime(path, (moment, moment))


def jumping_clock(folder: Path, chance: random.Random) -> dict[str, str]:
    """Return an environment in which Python's `time.time` jumps once, soon after a start.

    The clock of the file system does not: to a process, its own clock and that of the store differ.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(CLOCK)
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH", "")]))
    shift, after = chance.choice(SHIFTS), chance.uniform(0, 10)
    return {"PYTHONPATH": path, "SOAK_SHIFT": str(shift), "SOAK_AFTER": str(after)}


def own_mounts() -> bool:
    """Start this program again where it may mount disks that end with it; False if it may not."""
    if os.environ.get("SOAK_MOUNTS"):
        return True
    command = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    try:
        subprocess.run([*command, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], check=True)
    except (OSError, subprocess.CalledProcessError):
        return False
    os.environ["SOAK_MOUNTS"] = "1"
    os.execvp(command[0], [*command, sys.executable, *sys.argv])


@contextlib.contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """Mount a disk (tmpfs) of so many bytes in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(disk: Path, free: int) -> Path:
    """Write a file that leaves so many bytes of a disk free, at most; return its path."""
    path = disk / "ballast"
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(1 << 20)):
            pass
    os.truncate(path, max(0, path.stat().st_size - free))
    return path


def kill_worker(parent: int, chance: random.Random) -> None:
    """Kill one of the workers, if there is one yet."""
    with contextlib.suppress(ProcessLookupError, IndexError):
        os.kill(chance.choice([pid for pid in running(parent) if pid != parent]), signal.SIGKILL)


def wait_for_files(process: subprocess.Popen[bytes], store: Path, files: int) -> None:
    """Wait until a store has so many files, or the process has ended."""
    while process.poll() is None and count(store) < files:
        time.sleep(0.02)


def kill(process: subprocess.Popen[bytes]) -> int | None:
    """Kill a process; return its exit code if it had ended before.

    Raises SystemExit if one of its workers outlives it for 2 s.
    """
    code = process.poll()
    process.kill()
    process.wait()
    deadline = time.monotonic() + 2.0
    while running(process.pid):
        if time.monotonic() > deadline:
            raise SystemExit("a worker outlived its parent")
        time.sleep(0.01)
    return code


def running(session: int) -> list[int]:
    """List the processes of a session; a zombie, which waits for its parent to ask, is none."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, _, number = path.read_text().rpartition(")")[2].split()[:4]
            if int(number) == session and state != "Z":
                found.append(int(path.parent.name))
    return found
