"""Utterances of ever new lengths do not make memory grow."""

from __future__ import annotations

import os
import subprocess
import sys

LENGTHS = """
import os
import numpy as np
from pipeline.core.resources import memory_of, release_memory
from pipeline.features.profiles import build_extractors
audio = build_extractors("offline", modalities=("audio",))["audio"]
noise = np.random.default_rng(0).normal(0, 0.1, 40_000).astype(np.float32)
def memory(lengths):
    for columns in lengths:
        audio.extract(noise[:columns * 320], 16_000)
    release_memory()
    return memory_of(os.getpid())
before = memory(range(20, 70))
print(memory(range(70, 120)) - before)
"""


def test_new_lengths_take_no_more_memory() -> None:
    # its own process: oneDNN reads the limit once
    variables = {k: v for k, v in os.environ.items() if "PRIMITIVE_CACHE" not in k}
    run = subprocess.run(
        [sys.executable, "-c", LENGTHS], env=variables, capture_output=True, text=True, check=True
    )
    assert int(run.stdout) < 8 << 20, run.stdout  # with the usual 1,024 kernels, 24 MB
