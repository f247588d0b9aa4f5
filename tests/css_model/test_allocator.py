"""Later training steps reuse freed memory without page faults."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

# The first steps still fault: small blocks split the freed memory, where depends on the process.
# Blocks are above 32 MiB: smaller ones glibc learns to keep by itself.
STEPS = """
import resource, sys, torch
from css_model.allocator import keep_freed_memory
assert sys.argv[1] == "returned" or keep_freed_memory()
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for step in range(6):
    before = faults()
    rows = [torch.ones(12 << 20) for _ in range(8)]  # 48 MiB each
    print(faults() - before)
    del rows
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries: nothing to set")
@pytest.mark.parametrize("freed", ["kept", "returned"])
def test_later_steps_reuse_freed_memory(freed: str) -> None:
    output = subprocess.check_output([sys.executable, "-c", STEPS, freed], text=True, timeout=300)
    first, *_, last = map(int, output.split())
    if freed == "kept":
        assert last < first / 10
    else:
        assert last > first / 2
