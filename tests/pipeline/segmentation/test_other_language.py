"""Another language inside an English recording is reported with its times; English is not."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
from support.clips import write_wav
from support.paths import ROOT

from pipeline.media.decode import RATE, open_media
from pipeline.segmentation.recognition import Recogniser


@pytest.fixture(scope="module")
def recogniser():
    return Recogniser()


def spans(recogniser, path):
    with open_media(path) as media:
        warnings = recogniser.recognise(media).warnings
    text = " ".join(warning.text for warning in warnings if "another language" in warning.text)
    return [(float(a), float(b)) for a, b in re.findall(r"([\d.]+)–([\d.]+) s", text)]


def read(path, start=0.0, end=None):
    with open_media(path) as media:
        return media.sound(start, end or media.duration)


def test_spanish_after_english(recogniser, shared):
    [(start, end)] = spans(recogniser, shared / "cases" / "media" / "mixed.wav")
    assert 1.6 < start < 2.8 and end > 3.4


@pytest.mark.parametrize("pause", [0.2, 1.0])
@pytest.mark.parametrize("voice", ["03", "08"])
def test_german_between_english(recogniser, shared, tmp_path, voice, pause):
    english = read(shared / "media" / "jfk.flac", 0.0, 10.6)
    clips = sorted((shared / "data" / "speech" / "emodb").glob(f"{voice}*.flac"))
    # one clip per sentence: a second hearing of the same words makes Whisper surer of them
    files = list({path.stem[2:5]: path for path in clips}.values())[:5]
    silence = np.zeros(round(pause * RATE), np.float32)
    parts = [english]
    for path in files:
        parts += [silence, read(path)]
    german = (len(english) / RATE, sum(map(len, parts)) / RATE)
    path = write_wav(tmp_path / "mixed.wav", [np.concatenate([*parts, silence, english])], RATE)
    found = spans(recogniser, path)
    assert found
    inside = sum(max(0.0, min(b, german[1]) - max(a, german[0])) for a, b in found)
    outside = sum(b - a for a, b in found) - inside
    assert inside > 0.3 * (german[1] - german[0]) and outside < 1.5


@pytest.mark.parametrize("name", ["jfk.flac", "turns/sample.wav", "hamilton.mp4", "grid"])
def test_english_is_not_reported(recogniser, media, tmp_path, name):
    path = media / name
    if path.is_dir():
        clips = [read(clip) for clip in sorted(path.glob("*.mpg"))]
        path = write_wav(tmp_path / "grid.wav", [np.concatenate(clips)], RATE)
    assert spans(recogniser, path) == []


WORDS = """
import sys
from pipeline.media.decode import open_media
from pipeline.segmentation.recognition import Recogniser
for path in sys.argv[1:]:
    with open_media(path) as media:
        words = Recogniser().recognise(media).words
        print([(word.start, word.end, word.text, word.probability) for word in words])
"""


def test_threads_change_no_word(media):
    clips = [str(media / "grid" / "brbk7n.mpg"), str(media / "jfk.flac")]
    outputs = {
        subprocess.run(
            [sys.executable, "-c", WORDS, *clips],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads},
            check=True,
            capture_output=True,
        ).stdout
        for threads in ("1", "2", "4")
    }
    assert len(outputs) == 1
