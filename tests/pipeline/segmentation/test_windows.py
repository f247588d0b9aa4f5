"""Windows for Whisper: every word goes back to the speech that it was heard in."""

from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.segmentation.windows import Window

# speech at 0.9 to 2.2 s and at 3.55 to 5.9 s; in the window they begin at 0 and 1.8 s
WINDOW = Window([(0.9, 2.2), (3.55, 5.9)], [0.0, 1.8], np.zeros(0, np.float32))


def place(start, end, previous_end=1.0):
    word = SimpleNamespace(word=" now.", start=start, end=end, probability=0.7)
    return WINDOW.place(word, previous_end)


@pytest.mark.parametrize("end", [1.3, 1.7, 2.2, 3.0, 4.2])
def test_a_word_that_begins_in_speech_stays_there(end):
    placed = place(1.05, end)
    assert placed.start == pytest.approx(1.95) and placed.end <= 2.2


@pytest.mark.parametrize("start, end", [(1.8, 2.1), (1.6, 2.4), (1.25, 2.6)])
def test_a_word_that_begins_in_silence_goes_where_its_middle_is(start, end):
    assert place(start, end).start >= 3.55


def test_a_word_ends_after_it_begins_inside_one_region():
    rng = np.random.default_rng(0)
    for start, length in rng.uniform([0, 0], [4.2, 2], (500, 2)):
        placed = place(start, start + length)
        assert any(a <= placed.start < placed.end <= b + 1e-9 for a, b in WINDOW.regions)
