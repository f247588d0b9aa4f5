"""Utterances with and without a second speaker, made to learn what overlapping speech is."""

from __future__ import annotations

import numpy as np
from support.clips import tone

from pipeline.media.decode import RATE
from pipeline.recipes.overlap import draw_utterance


def test_two_speakers_are_counted_where_both_are_heard():
    """The second voice is at another pitch, so its energy tells when it is there."""
    one = [((0.1 * tone(1.5, RATE, 300)).astype(np.float32), [(0.0, 1.5)])]
    other = [((0.1 * tone(2.5, RATE, 3000)).astype(np.float32), [(0.5, 2.0)])]
    rng = np.random.default_rng(0)
    drawn = [draw_utterance(one, other, rng) for _ in range(150)]
    seconds = np.array([both for _, both in drawn])
    for sound, both in drawn:
        assert np.abs(sound).max() <= 1 and 0 <= both <= len(sound) / RATE
    assert 0.3 < np.mean(seconds >= 0.2) < 0.6
    spectra = [np.abs(np.fft.rfft(sound)) for sound, _ in drawn]
    high = np.array(
        [
            s[2900 * len(x) // RATE : 3100 * len(x) // RATE].max()
            for s, (x, _) in zip(spectra, drawn, strict=True)
        ]
    ) / np.array([s.max() for s in spectra])
    assert high[seconds > 0.5].min() > 10 * np.median(high[seconds == 0])


def test_a_speaker_alone_never_overlaps():
    one = [((0.1 * tone(1.0, RATE)).astype(np.float32), [(0.0, 1.0)])]
    silent = [(np.full(RATE, 1e-6, np.float32), [])]
    rng = np.random.default_rng(1)
    assert not any(draw_utterance(one, silent, rng)[1] for _ in range(50))
