"""Regions of speech from what the network hears, and utterances without words."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest

from pipeline.core.dialogue import Utterance
from pipeline.media.decode import RATE
from pipeline.segmentation import talking
from pipeline.segmentation.talking import LONGEST, Talk, listen
from pipeline.segmentation.turns import APART, WORDLESS, join_short, with_wordless
from pipeline.segmentation.voice_activity import find_speech


@dataclass(eq=False)  # found by identity, as recordings are
class Sound:
    samples: np.ndarray
    has_audio: bool = True

    @property
    def duration(self) -> float:
        return len(self.samples) / RATE

    def sound(self, start: float, end: float) -> np.ndarray:
        return self.samples[round(start * RATE) : round(end * RATE)]


def test_regions_are_in_order_inside_the_recording_and_not_too_long() -> None:
    rng = np.random.default_rng(0)
    for seconds in (3.0, 14.0, 35.0):
        starts = np.arange(0, 59 * seconds, 237).astype(int)
        slow = np.repeat(rng.uniform(0, 1, (len(starts), 31, 3)), 19, axis=1)
        for windows in (slow, np.ones_like(slow), np.zeros_like(slow)):
            regions = Talk(starts, windows.astype(np.float32), seconds).regions()
            assert all(0 <= start < end <= seconds for start, end in regions)
            assert all(end - start <= LONGEST for start, end in regions)
            assert all(a[1] <= b[0] for a, b in pairwise(regions))
        assert not regions


def test_the_voice_changes_where_another_one_speaks() -> None:
    window = np.zeros((1, 589, 3), np.float32)
    window[0, :300, 0] = window[0, 300:, 1] = 1
    talk = Talk(np.zeros(1, int), window, 9.0)
    change = talking.seconds_of(300)
    assert talk.change(0.5, change, 8.0) > 0.9
    assert talk.change(0.5, change - 2, 8.0) == 0 == talk.change(0.5, change + 2, 8.0)


def test_seams_between_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = Sound(np.random.default_rng(0).normal(0, 0.05, 22 * RATE).astype(np.float32))
    whole = listen(sound)
    monkeypatch.setattr(talking, "_BLOCK", 2)
    parts = listen(sound)
    for talk in (whole, parts):  # the last window ends with more or less silence
        assert len(talk.starts) == 5 and talk.seconds == 22 and len(talk.speech) > 22 * RATE / 270
    assert np.array_equal(whole.starts[:-1], parts.starts[:-1])
    assert np.allclose(whole.windows[:-1], parts.windows[:-1], atol=1e-5)


def test_speech_without_words_is_an_utterance_beside_the_others() -> None:
    rng = np.random.default_rng(1)
    for _ in range(200):
        edges = np.cumsum(rng.uniform(0.05, 2, 16)).reshape(8, 2).tolist()
        regions = np.cumsum(rng.uniform(0.05, 4, 8)).reshape(4, 2).tolist()
        spoken = [Utterance(start, end, f"word {k}") for k, (start, end) in enumerate(edges)]
        found = with_wordless(spoken, regions)
        assert [utterance for utterance in found if utterance.text != WORDLESS] == spoken
        assert all(one.end <= other.start for one, other in pairwise(found))
        for start, end in regions:
            inside = [u for u in found if u.start < end and start < u.end]
            times = [start, *(time for u in inside for time in (u.start, u.end)), end]
            gaps = zip(times[::2], times[1::2], strict=True)
            assert all(last - first < APART for first, last in gaps)


def swelling(rate: float, times: np.ndarray) -> np.ndarray:
    return 0.5 + 0.5 * np.sin(2 * np.pi * rate * times)


@pytest.mark.parametrize("name", ["siren", "tone", "noise"])
def test_sounds_that_swell_like_syllables_are_no_speech(name: str) -> None:
    """The network alone takes them for speech from beginning to end."""
    times = np.arange(10 * RATE) / RATE
    noise = 0.2 * np.random.default_rng(0).standard_normal(len(times))
    sound = {
        "siren": 0.3 * np.sin(2 * np.pi * np.cumsum(200 + 100 * np.sin(2 * np.pi * times)) / RATE),
        "tone": 0.3 * swelling(3, times) * np.sin(2 * np.pi * 440 * times),
        "noise": swelling(4, times) * noise,
    }[name].astype(np.float32)
    speech = find_speech(Sound(sound))
    assert sum(end - start for start, end in speech.talk.regions()) > 5
    assert not speech.certain and not set(speech.regions) - set(speech.faint)


def test_speech_without_words_is_not_joined_to_words() -> None:
    utterances = [Utterance(0.0, 1.0, WORDLESS), Utterance(1.1, 1.4, "Yes.")]
    assert join_short(utterances) == utterances
