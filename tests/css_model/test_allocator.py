"""The next training step reuses freed memory without page faults."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import resource, torch
from css_model.allocator import keep_freed_memory
enabled = keep_freed_memory()
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for step in range(2):
    before = faults()
    rows = [torch.ones(1 << 20) for _ in range(64)]  # 256 MiB: 65,536 pages
    first = faults() - before if not step else first
    again = faults() - before
    del rows
print(enabled, first, again)
"""


def test_freed_memory_is_reused() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=300
    )
    enabled, first, again = done.stdout.split()
    if enabled != "True":
        pytest.skip("not glibc: nothing to set")
    assert int(again) < int(first) / 10
