"""The limits of this process bound the number of workers."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest

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
