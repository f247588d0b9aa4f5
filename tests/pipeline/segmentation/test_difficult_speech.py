"""Speech that is quiet, repeated, interrupted or damaged, and turns from RTTM files."""

from __future__ import annotations

import wave
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from support.clips import write_wav

from pipeline.core.dialogue import Utterance, Word
from pipeline.core.errors import MercError
from pipeline.media.decode import RATE, open_media
from pipeline.media.sound import SoundWriter, mix
from pipeline.segmentation.recognition import Recogniser
from pipeline.segmentation.segment import segment
from pipeline.segmentation.speakers import with_other_turns
from pipeline.segmentation.turns import split_turns, with_wordless
from pipeline.segmentation.voice_activity import find_speech
from pipeline.segmentation.whisper_weights import check_name


@pytest.fixture(scope="module")
def speech(media: Path) -> np.ndarray:
    with open_media(media / "jfk.flac") as opened:
        return opened.sound()


def test_speech_is_found_at_any_level(tmp_path: Path, speech: np.ndarray) -> None:
    found = []
    for gain in (1.0, 0.003):  # the peak is 47 dB below full scale
        with open_media(write_wav(tmp_path / f"{gain}.wav", [gain * speech], RATE)) as media:
            regions = find_speech(media).regions
        found.append(sum(end - start for start, end in regions))
    assert found[1] > 0.9 * found[0]


def test_faint_noise_is_no_speech(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).standard_normal(10 * RATE) * 0.001
    with open_media(write_wav(tmp_path / "x.wav", [noise], RATE)) as media:
        assert segment(media, recogniser=Recogniser()).utterances == []


def test_a_sentence_said_four_times_has_words(tmp_path: Path, speech: np.ndarray) -> None:
    """Whisper drops text that repeats itself: a long region is then recognised in parts."""
    sentence = speech[round(7.9 * RATE) : round(10.7 * RATE)]
    path = write_wav(tmp_path / "x.wav", [np.tile(sentence, 4)], RATE)
    with open_media(path) as media:
        utterances = segment(media, recogniser=Recogniser()).utterances
    assert " ".join(u.text for u in utterances).count("country") >= 3


def test_turns_of_an_rttm_file_without_words_are_utterances(media: Path, tmp_path: Path) -> None:
    turns = "0 11 <NA> <NA> A", "3 5 <NA> <NA> B", "9.5 0.1 <NA> <NA> C"
    lines = [f"SPEAKER x 1 {turn} <NA> <NA>\n" for turn in turns]
    (tmp_path / "x.rttm").write_text("".join(lines))
    with open_media(media / "jfk.flac") as opened:
        result = segment(opened, transcript=tmp_path / "x.rttm", recogniser=Recogniser())
    assert [(u.start, u.end, u.text) for u in result.utterances if u.speaker == "B"] == [
        (3.0, 8.0, "…")
    ]
    assert {u.speaker for u in result.utterances} == {"A", "B"}
    assert any("1 of 3 turns hold too little" in warning.text for warning in result.warnings)


def test_no_turn_is_lost_and_none_overlaps_another_of_its_speaker() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        starts = np.cumsum(rng.uniform(0.5, 4, 12))
        turns = sorted(
            (float(start), float(start + rng.uniform(0.5, 6)), str(rng.choice(["A", "B"])))
            for start in starts
        )
        own: dict[str, float] = {}
        for k, (start, end, name) in enumerate(turns):  # turns of one speaker do not overlap
            turns[k] = max(start, own.get(name, 0.0)), max(end, own.get(name, 0.0)), name
            own[name] = turns[k][1]
        turns = sorted(turn for turn in turns if turn[1] - turn[0] >= 0.5)
        chosen = [turn for turn in turns if rng.random() < 0.5]
        utterances = [Utterance(start, end, "x", name) for start, end, name in chosen]
        result, unused = with_other_turns(utterances, turns)
        assert unused == 0
        for name in "AB":
            of_one = [u for u in result if u.speaker == name]
            assert all(a.end <= b.start + 1e-9 for a, b in pairwise(of_one))


def test_words_that_overlap_give_turns_that_do_not() -> None:
    words = [
        Word(0.0, 0.5, " Jacket.", 1.0),
        Word(0.48, 0.5, " No!", 0.3),  # 20 ms, beside the next one
        Word(0.48, 1.2, " It's", 1.0),
        Word(1.2, 1.6, " late.", 1.0),
    ]
    turns = split_turns(words)
    assert [word.text for turn in turns for word in turn] == [word.text for word in words]
    assert all(one[-1].end <= other[0].start for one, other in pairwise(turns))
    assert all(turn[-1].end - turn[0].start >= 0.1 for turn in turns)


def test_speech_without_words_is_cut_where_the_voice_changes() -> None:
    def change(start: float, time: float, end: float) -> float:
        return 1 - abs(time - 4.0) if start < 4.0 < end else 0.0

    (one, other) = with_wordless([], [(1.0, 9.0)], change)
    assert (one.start, other.end) == (1.0, 9.0) and one.end == other.start
    assert one.end == pytest.approx(4.0, abs=0.1)


def test_speakers_that_are_not_found_are_reported(media: Path) -> None:
    with open_media(media / "grid" / "bbaf2n.mpg") as opened:
        result = segment(opened, recogniser=Recogniser(), speakers=3)
    assert any("of 3 speakers were found" in warning.text for warning in result.warnings)


def test_samples_that_are_no_numbers_count_as_silence_and_are_reported(tmp_path: Path) -> None:
    samples = np.full((1, 1000), 0.1, np.float32)
    samples[0, :10], samples[0, 10:20], samples[0, 20:30] = np.nan, np.inf, 1e30
    assert mix(samples)[:30].tolist() == [0.0] * 30 and mix(samples)[30:].min() > 0
    path = tmp_path / "x.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(4)
        file.setframerate(RATE)
        file.writeframes(np.tile(samples[0], 16).tobytes())
    data = bytearray(path.read_bytes())
    data[20:22] = (3).to_bytes(2, "little")  # of floats
    path.write_bytes(data)
    with open_media(path) as media:
        assert media.duration == pytest.approx(1.0)
        assert any("480 samples" in warning.text for warning in media.warnings)
    assert SoundWriter(None, 0.0).damaged == 0


def test_a_recogniser_needs_a_name() -> None:
    with pytest.raises(MercError, match="recogniser ''"):
        check_name("", "roberta")
