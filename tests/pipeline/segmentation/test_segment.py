"""Media to utterances on real speech: words, turns, speakers, times of the file; and silence stays silent."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import jiwer
import numpy as np
import pytest
from support.clips import grid_sentence, join, sound_of, tone, write_wav

from pipeline.core.dialogue import Segmentation, Utterance, Word
from pipeline.media.decode import open_media
from pipeline.segmentation.recognition import Recogniser, RecognitionError
from pipeline.segmentation.segment import segment
from pipeline.segmentation.speakers_by_voice import assign_speakers
from pipeline.segmentation.turns import COMFORT, join_short, split_turns

DIGITS = "zero one two three four five six seven eight nine".split()
JFK = "and so my fellow americans ask not what your country can do for you ask what you can do for your country"


@pytest.fixture(scope="module")
def recogniser() -> Iterator[Recogniser]:
    yield Recogniser()


def found(path: Path, recogniser: Recogniser, **options: object) -> Segmentation:
    with open_media(path) as medium:
        result = segment(medium, recogniser=recogniser, **options)  # type: ignore[arg-type]
        for utterance in result.utterances:
            assert (
                0 <= utterance.start < utterance.end <= medium.duration + 1e-6
                and utterance.text.strip()
            )
        assert [u.start for u in result.utterances] == sorted(u.start for u in result.utterances)
        return result


def plain(text: str) -> str:
    """Lower case without punctuation; `F2` is spoken `f two`."""
    spaced = "".join(
        f" {DIGITS[int(c)]} " if c.isdigit() else c if c.isalpha() else " " for c in text.lower()
    )
    return " ".join(spaced.split())


def words(utterances: list[Utterance]) -> str:
    return plain(" ".join(u.text for u in utterances))


def test_a_grid_dialogue_has_its_turns_and_words(
    tmp_path: Path, media: Path, recogniser: Recogniser
) -> None:
    """Eleven clips end to end: no utterance crosses a turn, every turn is found, words as right as in single clips."""
    clips = sorted((media / "grid").glob("*.mpg"))
    turns = join(tmp_path / "x.wav", clips)
    result = found(tmp_path / "x.wav", recogniser)
    for utterance in result.utterances:
        shares = [min(utterance.end, end) - max(utterance.start, start) for start, end in turns]
        assert max(shares) > 0.9 * (utterance.end - utterance.start), utterance
    holders = [
        int(np.argmax([min(u.end, end) - max(u.start, start) for start, end in turns]))
        for u in result.utterances
    ]
    assert sorted(set(holders)) == list(range(11)) and len(holders) <= 13
    told = [grid_sentence(clip) for clip in clips]
    heard = [
        words([u for u, k in zip(result.utterances, holders, strict=True) if k == turn])
        for turn in range(11)
    ]
    assert (
        jiwer.wer(told, heard) < 0.16
    )  # .106 one by one; .212 when a region takes the words of its neighbour
    assert all(
        type(u.start) is float and type(u.end) is float for u in result.utterances
    )  # JSON wants no numpy
    assert "model" not in result.source or str(tmp_path) not in repr(result.source)


def test_one_clip_is_one_utterance_of_one_speaker(media: Path, recogniser: Recogniser) -> None:
    (utterance,) = found(media / "grid" / "sbwe5n.mpg", recogniser).utterances
    assert words([utterance]) == "set blue with e five now" and utterance.speaker == "S1"
    assert utterance.start == pytest.approx(0.5, abs=0.3) and utterance.end == pytest.approx(
        2.0, abs=0.3
    )


def test_jfk_is_one_speaker_with_few_errors_and_the_same_twice(
    media: Path, recogniser: Recogniser
) -> None:
    first = found(media / "jfk.flac", recogniser)
    assert jiwer.wer(JFK, words(first.utterances)) < 0.05
    assert {u.speaker for u in first.utterances} == {"S1"}
    assert found(media / "jfk.flac", recogniser) == first


def test_a_real_conversation(tmp_path: Path, media: Path, recogniser: Recogniser) -> None:
    """With its RTTM the speakers are those given; without, its two are found, and it is called approximate."""
    shutil.copy(media / "turns" / "sample.wav", tmp_path / "alone.wav")
    alone = found(tmp_path / "alone.wav", recogniser)
    assert {u.speaker for u in alone.utterances} == {"S1", "S2"}
    assert alone.source["speakers"]["approximate"] and any(
        "approximate" in text for text in alone.warnings
    )
    assert "originally from chicago" in words(alone.utterances) and 8 <= len(alone.utterances) <= 16
    assert alone.utterances[0].start == pytest.approx(6.69, abs=0.1)  # nobody speaks before
    given = found(media / "turns" / "sample.wav", recogniser)
    assert {u.speaker for u in given.utterances} == {"speaker90", "speaker91"}
    assert given.source["speakers"] == {"method": "given"}


def test_untimed_text_finds_its_place(tmp_path: Path, media: Path, recogniser: Recogniser) -> None:
    clips = [media / "grid" / f"{name}.mpg" for name in ("sbwe5n", "lrwp9a", "lwbsza")]
    turns = join(tmp_path / "x.wav", clips)
    told = [grid_sentence(clip) for clip in clips]
    (tmp_path / "x.txt").write_text(
        "".join(f"{name}: {text}\n" for name, text in zip("ABC", told, strict=True))
    )
    result = found(tmp_path / "x.wav", recogniser, transcript=tmp_path / "x.txt")
    assert [(u.speaker, u.text) for u in result.utterances] == list(zip("ABC", told, strict=True))
    for utterance, (start, end) in zip(result.utterances, turns, strict=True):
        assert start < utterance.start < start + 1 and end - 1.5 < utterance.end < end


def test_nothing_is_heard_where_nobody_speaks(
    tmp_path: Path, media: Path, recogniser: Recogniser
) -> None:
    """Whisper invents thanks and goodbyes in silence, noise and music; merc has no utterance there."""
    rng, rate = np.random.default_rng(0), 16_000
    chord = sum(tone(12, rate, hertz) for hertz in (220, 277.2, 329.6)) / 3
    beat = chord * (np.sin(2 * np.pi * 2 * np.arange(len(chord)) / rate) > 0)
    sounds = {
        "silence": np.zeros(12 * rate),
        "noise": 0.1 * rng.standard_normal(12 * rate),
        "chord": chord,
        "beat": beat,
        "short": 0.1 * rng.standard_normal(800),
    }
    for name, sound in sounds.items():
        result = found(
            write_wav(tmp_path / f"{name}.wav", [np.clip(sound, -1, 1)], rate), recogniser
        )
        assert not result.utterances, (name, result.utterances)
        assert any("no speech" in text for text in result.warnings), name
    for name in ("face_no_audio_stream.mp4", "face_silent_audio.mp4"):
        result = found(media / "edge" / name, recogniser)
        assert not result.utterances and any("no speech" in text for text in result.warnings)


def test_times_are_those_of_the_file(tmp_path: Path, media: Path, recogniser: Recogniser) -> None:
    """Seven seconds of silence in front move every utterance by seven seconds."""
    sound = sound_of(media / "jfk.flac")
    write_wav(
        tmp_path / "x.wav", [np.concatenate([np.zeros(7 * 16_000, np.float32), sound])], 16_000
    )
    shifted = found(tmp_path / "x.wav", recogniser).utterances
    straight = found(media / "jfk.flac", recogniser).utterances
    assert jiwer.wer(words(straight), words(shifted)) < 0.05
    assert shifted[0].start - 7 == pytest.approx(straight[0].start, abs=0.25)
    assert [u.start - 7 for u in shifted] == pytest.approx(
        [u.start for u in straight], abs=1.0
    )  # Whisper's times


def test_another_language_than_english_is_warned_of(media: Path, recogniser: Recogniser) -> None:
    assert any(
        "English" in text for text in found(media / "jfk.flac", recogniser, language="de").warnings
    )
    with pytest.raises(RecognitionError, match="large-v3"):
        Recogniser("large-v3", profile="offline")


def _said(*pieces: tuple[float, float, str]) -> list[Word]:
    return [Word(start, end, f" {text}", 1.0) for start, end, text in pieces]


def test_turns_end_at_sentences_and_pauses_and_long_ones_at_breaths() -> None:
    turns = split_turns(
        _said(
            (0, 0.5, "Mr."), (0.5, 1, "Fox"), (1.1, 1.6, "ran."), (1.7, 2, "He"), (2.9, 3.4, "hid")
        )
    )
    assert [[w.text.strip() for w in turn] for turn in turns] == [
        ["Mr.", "Fox", "ran."],
        ["He"],
        ["hid"],
    ]
    steady = _said(*((k / 2, k / 2 + 0.5, "word") for k in range(40)))  # 20 s without a breath
    assert all(turn[-1].end - turn[0].start <= 15 for turn in split_turns(steady))
    breaths = _said(
        *((k / 2 + 0.4 * (k // 8), k / 2 + 0.5 + 0.4 * (k // 8), "word") for k in range(24))
    )
    assert [len(turn) for turn in split_turns(breaths)] == [8, 8, 8]
    assert all(turn[-1].end - turn[0].start <= COMFORT for turn in split_turns(breaths))
    assert [w for turn in split_turns(steady) for w in turn] == steady
    assert not split_turns([])


def test_very_short_neighbours_of_one_speaker_are_one_utterance() -> None:
    said = [
        Utterance(0, 0.3, "Hello.", "A"),
        Utterance(0.4, 0.6, "Hello.", "A"),
        Utterance(0.7, 3, "Come in.", "B"),
        Utterance(3.1, 3.3, "Oh.", "A"),
        Utterance(5, 7, "Thanks.", "A"),
    ]
    assert [u.text for u in join_short(said)] == ["Hello. Hello.", "Come in.", "Oh.", "Thanks."]


def test_speakers_by_voice_are_numbered_by_appearance() -> None:
    """Two clouds far apart; a turn without sound has no speaker; asked for two, two are found."""
    rng = np.random.default_rng(0)
    voices = np.stack(
        [rng.standard_normal(256) * 0.1 + 3 * (k == np.arange(256) % 2) for k in (1, 0, 1, 0)]
    )
    silent = np.full((1, 256), np.nan)
    two = np.full(4, 2.0)
    assert assign_speakers(np.concatenate([voices, silent]), np.full(5, 2.0), 2) == [0, 1, 0, 1, -1]
    assert assign_speakers(voices, two, 2) == assign_speakers(voices, two) == [0, 1, 0, 1]
    assert assign_speakers(voices, two, 1) == assign_speakers(voices * 0.1, two) == [0, 0, 0, 0]
    assert assign_speakers(np.zeros((0, 256)), np.zeros(0)) == []
