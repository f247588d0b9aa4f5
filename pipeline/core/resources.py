"""How many cores and how much memory this process may use, and how many workers they carry."""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
from collections.abc import Iterator
from pathlib import Path

from pipeline.core.errors import UsageError

__all__ = [
    "WORKER_MEMORY",
    "default_jobs",
    "large_blocks_kept",
    "limit_kernel_cache",
    "limit_memory_pools",
    "memory_limit",
    "memory_of",
    "positive_number",
    "release_memory",
    "threads_of_process",
    "usable_cores",
    "usable_memory",
]

WORKER_MEMORY = 2.0  # GiB that a worker takes at most with the models of profile offline
MEMORY_SHARE = 0.9  # of the free memory that all workers may take; $MERC_MEMORY_LIMIT replaces it
KERNELS = 64  # of oneDNN; with 16 or 1,024, features take the same CPU time
_M_ARENA_MAX, _M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD = -8, -3, -1  # malloc.h
_OWN: list[bool] = []  # not empty where `limit_memory_pools` was called
_CGROUP = Path("/sys/fs/cgroup")
_PROC = Path("/proc")


def default_jobs(items: int) -> int:
    """Return how many workers the cores and the free memory carry, at most one per item.

    >>> default_jobs(1)
    1
    """
    memory = usable_memory()
    carried = math.inf if memory is None else memory / (WORKER_MEMORY * 2**30)
    return max(1, int(min(items, usable_cores(), carried)))


def usable_cores() -> int:
    """Return the number of cores that this process may run on, by affinity and container limit."""
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):  # cgroup version 2: "max 100000" or "150000 ..."
        quota, period = (_CGROUP / "cpu.max").read_text().split()
        if quota != "max":
            count = min(count, math.ceil(int(quota) / int(period)))
    return max(1, count)


def threads_of_process() -> int:
    """Return on how many threads this process may work: $OMP_NUM_THREADS, else one per core."""
    named = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]  # a list is for nested threads
    return int(named) if named.isdigit() and int(named) else usable_cores()


def usable_memory() -> int | None:
    """Return the bytes of memory that are free for this process; None if the system does not say.

    Free is what the kernel could give without swapping, within the limit of the container.
    """
    free = []
    with contextlib.suppress(OSError, ValueError, IndexError, StopIteration):
        lines = (_PROC / "meminfo").read_text().splitlines()
        available = next(line for line in lines if line.startswith("MemAvailable:"))
        free.append(int(available.split()[1]) << 10)
    with contextlib.suppress(OSError, ValueError):
        limit = (_CGROUP / "memory.max").read_text().strip()
        if limit != "max":
            free.append(int(limit) - int((_CGROUP / "memory.current").read_text()))
    return max(0, min(free)) if free else None


def memory_limit(jobs: int) -> float | None:
    """Return the bytes that all workers may take together; None if the system does not say.

    Raises UsageError if $MERC_MEMORY_LIMIT is no positive number.
    """
    remedy = "give the GiB that all workers may take together, such as 8"
    if named := positive_number("MERC_MEMORY_LIMIT", remedy):
        return named * 2**30
    free = usable_memory()
    return None if free is None else max(MEMORY_SHARE * free, WORKER_MEMORY * 2**30 * jobs)


def positive_number(variable: str, remedy: str) -> float | None:
    """Return the number in a variable of the environment; None if it is not set."""
    named = os.environ.get(variable, "")
    try:
        number = float(named) if named else None
    except ValueError:
        number = math.nan
    if number is not None and not 0 < number < math.inf:
        raise UsageError(f"{variable}={named}: not a positive number", remedy)
    return number


def memory_of(process: int) -> int:
    """Return the resident memory of a process in bytes; 0 if it is gone or the system has no /proc.

    >>> memory_of(os.getpid()) >= 0
    True
    """
    try:
        pages = int((_PROC / str(process) / "statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def limit_kernel_cache() -> None:
    """Let oneDNN, of torch and CTranslate2, keep few kernels: call this before its first use.

    It makes kernels for each length of an utterance, and keeps 1,024 of them. Lengths rarely
    repeat, so nearly all of them are useless: memory would grow for hours.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(KERNELS))


def limit_memory_pools() -> None:
    """Let glibc serve all threads from one pool: call this in a process of merc's own.

    Otherwise each thread keeps freed memory in a pool of its own. What is large comes from the
    system anyway, so threads do not wait for each other. $MALLOC_ARENA_MAX wins.
    """
    _OWN.append(True)
    if not os.environ.get("MALLOC_ARENA_MAX"):
        _mallopt(_M_ARENA_MAX, 1)


@contextlib.contextmanager
def large_blocks_kept() -> Iterator[None]:
    """Let glibc keep freed blocks of up to 64 MB while the block runs, in a process of merc's own.

    Whisper needs 54 MB for the attention of each layer. To get them from the system each time takes
    a seventh of the time of recognition. $MALLOC_MMAP_THRESHOLD_ wins.
    """
    if not _OWN or os.environ.get("MALLOC_MMAP_THRESHOLD_"):
        yield
        return
    _mallopt(_M_MMAP_THRESHOLD, 64 << 20)
    _mallopt(_M_TRIM_THRESHOLD, 512 << 20)
    try:
        yield
    finally:
        _mallopt(_M_MMAP_THRESHOLD, 32 << 20)  # what glibc comes to by itself
        _mallopt(_M_TRIM_THRESHOLD, 64 << 20)


def _mallopt(option: int, value: int) -> None:
    with contextlib.suppress(AttributeError, OSError, TypeError):  # not glibc
        ctypes.CDLL(None).mallopt(option, value)


def release_memory() -> None:
    """Give freed memory back to the system, which glibc keeps: for a model, as much as it takes.

    Call it after a model is loaded and after large arrays are dropped. Other C libraries do it by
    themselves.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)
