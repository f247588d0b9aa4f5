"""The filter that changes sampling rates, beside its definition."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from support.paths import ROOT

from pipeline.core.sinc import SincFilter, resample


def definition(signal: np.ndarray, rate: int, new_rate: int, output: int) -> float:
    """Compute one output: a sum over all inputs."""
    lower = 0.99 * min(rate, new_rate)
    time = (np.arange(len(signal)) / rate - output / new_rate) * lower
    taper = np.where(abs(time) < 6, np.cos(np.pi * time / 12) ** 2, 0)
    return float((signal * np.sinc(time) * taper).sum() * lower / rate)


@pytest.mark.parametrize(
    ("rate", "accuracy"),
    [(48_000, 1e-6), (44_100, 2e-5), (4001, 1e-3), (15_999, 1e-3), (44_101, 1e-3), (383_987, 1e-3)],
)
def test_outputs_equal_the_definition(rate: int, accuracy: float) -> None:
    """Of the last rate, the whole matrix of weights would take 25 GB.

    Without a small ratio to 16 kHz, rounded phases, as torchaudio's, matter.
    """
    signal = np.random.default_rng(rate).uniform(-1, 1, rate // 2 + 3).astype(np.float32)
    result = resample(signal, rate, 16_000)
    assert len(result) == -(-len(signal) * 16_000 // rate) and result.dtype == np.float32
    for output in (0, 1, 17, 5000, len(result) - 2, len(result) - 1):
        expected = definition(signal, rate, 16_000, output)
        assert result[output] == pytest.approx(expected, abs=accuracy)


def test_every_rate_has_its_length_and_a_constant_stays_constant() -> None:
    for rate in range(4000, 384_000, 7919):
        count = rate // 10 + rate % 13
        result = resample(np.ones(count, np.float32), rate, 16_000)
        assert len(result) == SincFilter(rate, 16_000).outputs(count) == -(-count * 16_000 // rate)
        assert abs(result[100:-100] - 1).max() < 2e-3


def test_the_number_of_threads_changes_no_bits() -> None:
    code = (
        "import hashlib, numpy as np; from pipeline.core.sinc import resample\n"
        "wave, digest = np.random.default_rng(0).uniform(-1, 1, 10**6), hashlib.sha256()\n"
        "wave = wave.astype(np.float32)\n"
        "for rate in (4000, 8000, 22050, 44100, 44101, 48000, 192000, 383987):\n"
        "    for count in (rate // 10, rate // 3 + 1, 10**6):\n"
        "        digest.update(resample(wave[:count], rate, 16000))\n"
        "print(digest.hexdigest())"
    )
    results = set()
    for threads in ("1", "2", "3"):
        names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
        environment = {**os.environ, **dict.fromkeys(names, threads)}
        command = [sys.executable, "-c", code]
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
        )
        results.add(done.stdout)
    assert len(results) == 1
