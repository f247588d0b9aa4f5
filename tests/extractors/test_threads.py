"""Work beside other work: the same bytes with any number of threads, and no thread too many."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.threads import with_threads

from extractors import VisualExtractor
from extractors.speech import SpeechExtractor
from extractors.threads import AHEAD, read_ahead
from pipeline.media.decode import open_media
from pipeline.segmentation.recognition import Recogniser
from pipeline.segmentation.talking import listen


@pytest.mark.parametrize("threads", [1, 2])
def test_reading_ahead_changes_no_item_and_stops_with_its_reader(threads: int) -> None:
    assert list(read_ahead(range(50), threads)) == list(range(50))
    assert list(read_ahead([None, 0], threads)) == [None, 0]
    source = itertools.count()
    reader = read_ahead(source, threads)
    assert [next(reader) for _ in range(3)] == [0, 1, 2]
    reader.close()
    assert next(source) <= 3 + AHEAD


@pytest.mark.parametrize("threads", [1, 2])
def test_what_was_read_before_an_error_comes_first(threads: int) -> None:
    def broken() -> Iterator[int]:
        yield from range(5)
        raise OSError("the disk is gone")

    seen = []
    with pytest.raises(OSError, match="the disk is gone"):
        for item in read_ahead(broken(), threads):
            seen.append(item)
    assert seen == list(range(5))


def test_models_of_ctranslate2_leave_torch_its_threads(media: Path) -> None:
    samples = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)

    def load_and_use() -> bytes:
        recogniser = Recogniser()
        with open_media(media / "jfk.flac") as opened:
            words = recogniser.recognise(opened).words
        return repr(words).encode() + SpeechExtractor().extract(samples, 16_000).tobytes()

    assert len(set(with_threads(load_and_use))) == 1


def test_who_talks_is_the_same_with_any_number_of_threads(media: Path) -> None:
    with open_media(media / "turns" / "sample.wav") as opened:
        assert len(set(with_threads(lambda: listen(opened).windows.tobytes()))) == 1


def test_faces_are_the_same_with_any_number_of_threads(media: Path) -> None:
    def read() -> bytes:
        with open_media(media / "grid" / "bbaf2n.mpg") as opened:
            readings = VisualExtractor().read(
                opened.frames(), [(0.2, 1.4), (1.5, 2.8)], opened.sound, ["S1", "S1"]
            )
        return b"".join(reading.vector.tobytes() for reading in readings)

    assert len(set(with_threads(read))) == 1
