"""Utterances of a recording that is still being made: parts, and speakers without looking ahead."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from support.clips import tone, write_wav

from pipeline.media.feed import Feed
from pipeline.media.live import Live
from pipeline.media.resampling import RATE
from pipeline.segmentation.known_speakers import KnownSpeakers
from pipeline.segmentation.live import LONGEST, STEP, spoken_parts
from pipeline.segmentation.voice_activity import detect


def parts_of(path):
    parts, heard = [], []
    with Feed(path, idle=0) as feed, Live(feed) as live:
        for part in spoken_parts(live):
            parts.append(part)
            heard.append(live.now)
        return parts, heard, live.now


def test_parts_hold_all_speech_and_end_in_pauses(media):
    parts, heard, length = parts_of(media / "turns" / "sample.wav")
    assert len(parts) > 2 and all(end - start <= LONGEST + STEP for start, end in parts)
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(parts))
    # a part waits for its pause only, unless somebody speaks on
    assert all(end <= now <= length for (_, end), now in zip(parts, heard, strict=True))
    with Feed(media / "turns" / "sample.wav", idle=0) as feed, Live(feed) as live:
        live.advance(60)
        regions = detect(live.sound(0, live.now))
    for start, end in regions:
        covered = sum(max(0.0, min(b, end) - max(a, start)) for a, b in parts)
        assert covered > 0.9 * (end - start)


def test_without_speech_nothing_is_found_or_kept(tmp_path):
    path = write_wav(tmp_path / "x.wav", [0.1 * tone(20, RATE)], RATE)
    with Feed(path, idle=0) as feed, Live(feed) as live:
        assert list(spoken_parts(live)) == []
        assert len(live._kept) < 100


@pytest.fixture
def voices():
    """Voice vectors of three clearly different speakers, in turn."""
    from extractors.voice import load_voice

    scale = np.sqrt(load_voice().between)
    rng = np.random.default_rng(0)
    means = 3 * scale * rng.choice([-1, 1], (3, len(scale)))
    order = [0, 1, 0, 2, 1, 0, 2, 2, 1, 0]
    return order, [means[k] + 0.3 * rng.standard_normal(len(scale)) for k in order]


def test_speakers_are_named_by_what_came_before(voices):
    order, vectors = voices
    known = KnownSpeakers()
    names = [known.identify(vector, 4.0) for vector in vectors]
    assert names[0] == "S1" and len(set(names)) == 3
    # a name stands for one voice, and depends on no later voice
    assert len(set(zip(order, names, strict=True))) == 3
    again = KnownSpeakers()
    assert [again.identify(vector, 4.0) for vector in vectors[:5]] == names[:5]


def test_there_are_no_more_speakers_than_stated(voices):
    known = KnownSpeakers(2)
    names = [known.identify(vector, 4.0) for vector in voices[1]]
    assert set(names) <= {"S1", "S2"}
    assert known.identify(np.full(256, np.nan), 0.0) == ""
