"""The limits of this process bound the number of workers."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from support.paths import ROOT

from pipeline.core import resources
from pipeline.core.resources import (
    WORKER_MEMORY,
    default_jobs,
    memory_of,
    release_memory,
    usable_cores,
    usable_memory,
)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eight cores and 100 GiB free; write to cpu.max, memory.max, meminfo to change that."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(resources, "_CGROUP", tmp_path)
    monkeypatch.setattr(resources, "_PROC", tmp_path)
    (tmp_path / "meminfo").write_text(f"MemTotal: 9 kB\nMemAvailable:   {100 << 20} kB\n")
    return tmp_path


def test_cores(machine: Path) -> None:
    assert usable_cores() == 8
    for content, cores in (("max 100000", 8), ("150000 100000", 2), ("5000 100000", 1)):
        (machine / "cpu.max").write_text(content)
        assert usable_cores() == cores


def test_memory(machine: Path) -> None:
    assert usable_memory() == 100 << 30
    (machine / "memory.max").write_text("max\n")
    assert usable_memory() == 100 << 30
    (machine / "memory.max").write_text(str(10 << 30))
    (machine / "memory.current").write_text(str(3 << 30))
    assert usable_memory() == 7 << 30
    (machine / "meminfo").unlink()
    (machine / "memory.max").unlink()
    assert usable_memory() is None


def test_jobs(machine: Path) -> None:
    assert [default_jobs(items) for items in (0, 1, 5, 100)] == [1, 1, 5, 8]
    for gib, jobs in ((0, 1), (WORKER_MEMORY, 1), (3.5 * WORKER_MEMORY, 3)):
        (machine / "meminfo").write_text(f"MemAvailable: {int(gib * 2**20)} kB\n")
        assert default_jobs(100) == jobs


def test_freed_memory_is_given_back() -> None:
    """glibc keeps what lies below a block in use."""
    blocks = [bytes(100_000) for _ in range(1000)]  # each below its limit for own mappings
    last, blocks = blocks[-1], []
    before = memory_of(os.getpid())
    release_memory()
    if platform.libc_ver()[0] == "glibc":
        assert memory_of(os.getpid()) < before - 50_000_000
    assert len(last) == 100_000


POOLS = """
import ctypes, re, sys, threading
from pipeline.core.resources import limit_memory_pools

if sys.argv[2] == "limited":
    limit_memory_pools()
libc, barrier = ctypes.CDLL(None), threading.Barrier(4)
for name in ("malloc", "fopen"):
    getattr(libc, name).restype = ctypes.c_void_p

def take():
    libc.malloc(1000)
    barrier.wait()

threads = [threading.Thread(target=take) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
file = ctypes.c_void_p(libc.fopen(sys.argv[1].encode(), b"w"))
libc.malloc_info(0, file)
libc.fclose(file)
"""


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="other C libraries have no such pools"
)
def test_threads_share_one_pool_of_memory(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if "MALLOC" not in name}
    pools = {}
    for mode in ("limited", "as it is"):
        file = tmp_path / mode
        command = [sys.executable, "-c", POOLS, str(file), mode]
        subprocess.run(command, cwd=ROOT, env=environment, check=True)
        pools[mode] = file.read_text().count("<heap nr=")
    assert pools["limited"] == 1 < pools["as it is"]


BLOCKS = """
import ctypes, resource, sys
from pipeline.core.resources import large_blocks_kept, limit_memory_pools, release_memory

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
if sys.argv[1] == "own":
    limit_memory_pools()

def pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        block = ctypes.c_void_p(libc.malloc(48 << 20))
        libc.memset(block, 1, ctypes.c_size_t(48 << 20))
        libc.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

with large_blocks_kept():
    inside = pages()
release_memory()
print(inside, pages())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries keep none")
def test_large_blocks_are_kept_meanwhile_in_a_process_of_merc() -> None:
    environment = {name: value for name, value in os.environ.items() if "MALLOC" not in name}
    found = {}
    for whose in ("own", "other"):
        run = [sys.executable, "-c", BLOCKS, whose]
        output = subprocess.check_output(run, env=environment, cwd=ROOT, text=True)
        found[whose] = [int(word) for word in output.split()]
    block = (48 << 20) // resource.getpagesize()
    assert found["own"][0] < 2 * block
    assert all(count >= 5 * block for count in [found["own"][1], *found["other"]])
