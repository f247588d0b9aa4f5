"""Segment recordings of real speech: words, turns, speakers, times. Silence stays empty."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import jiwer
import numpy as np
import pytest
from support.clips import grid_sentence, join, sound_of, tone, write_wav

from extractors.voice import DIM
from pipeline.core.dialogue import Segmentation, Utterance, Word
from pipeline.core.errors import MercError, MercWarning, UsageError
from pipeline.core.fingerprints import sha256_of
from pipeline.media.decode import open_media
from pipeline.segmentation.recognition import Recogniser, RecognitionError
from pipeline.segmentation.segment import segment, segmentation_request, transcript_source
from pipeline.segmentation.speakers_by_voice import assign_speakers
from pipeline.segmentation.turns import COMFORT, join_short, split_turns

DIGITS = "zero one two three four five six seven eight nine".split()
JFK = (
    "and so my fellow americans ask not what your country can do for you "
    "ask what you can do for your country"
)


@pytest.fixture(scope="module")
def recogniser() -> Iterator[Recogniser]:
    yield Recogniser()


def segment_file(path: Path, recogniser: Recogniser, **options: object) -> Segmentation:
    """Segment a file and check what holds for every recording."""
    with open_media(path) as media:
        result = segment(media, recogniser=recogniser, **options)  # type: ignore[arg-type]
        for utterance in result.utterances:
            assert 0 <= utterance.start < utterance.end <= media.duration + 1e-6
            assert utterance.text.strip()
        assert [u.start for u in result.utterances] == sorted(u.start for u in result.utterances)
        assert all(isinstance(warning, MercWarning) for warning in result.warnings)
        return result


def plain(text: str) -> str:
    """Lower case without punctuation; `F2` becomes `f two`."""
    letters = []
    for character in text.lower():
        if character.isdigit():
            letters.append(f" {DIGITS[int(character)]} ")
        else:
            letters.append(character if character.isalpha() else " ")
    return " ".join("".join(letters).split())


def words(utterances: list[Utterance]) -> str:
    return plain(" ".join(u.text for u in utterances))


def test_a_grid_dialogue_has_its_turns_and_words(
    tmp_path: Path, media: Path, recogniser: Recogniser
) -> None:
    """Eleven clips end to end: no utterance crosses a turn, and every turn has its words."""
    clips = sorted((media / "grid").glob("*.mpg"))
    turns = join(tmp_path / "x.wav", clips)
    result = segment_file(tmp_path / "x.wav", recogniser)
    holders = []  # for each utterance, the turn it overlaps most
    for utterance in result.utterances:
        overlaps = [min(utterance.end, end) - max(utterance.start, start) for start, end in turns]
        assert max(overlaps) > 0.9 * (utterance.end - utterance.start), utterance
        holders.append(int(np.argmax(overlaps)))
    assert sorted(set(holders)) == list(range(11)) and len(holders) <= 13
    recognised = [
        words([u for u, holder in zip(result.utterances, holders, strict=True) if holder == turn])
        for turn in range(11)
    ]
    # .106 clip by clip; .212 if a region takes the words of its neighbour
    assert jiwer.wer([grid_sentence(clip) for clip in clips], recognised) < 0.16
    # JSON cannot hold numpy numbers
    assert all(type(u.start) is float and type(u.end) is float for u in result.utterances)
    assert "model" not in result.source or str(tmp_path) not in repr(result.source)


def test_one_clip_is_one_utterance_of_one_speaker(media: Path, recogniser: Recogniser) -> None:
    (utterance,) = segment_file(media / "grid" / "sbwe5n.mpg", recogniser).utterances
    assert words([utterance]) == "set blue with e five now" and utterance.speaker == "S1"
    assert utterance.start == pytest.approx(0.5, abs=0.3)
    assert utterance.end == pytest.approx(2.0, abs=0.3)


def test_jfk_is_one_speaker_with_few_errors_and_the_same_twice(
    media: Path, recogniser: Recogniser
) -> None:
    first = segment_file(media / "jfk.flac", recogniser)
    assert jiwer.wer(JFK, words(first.utterances)) < 0.05
    assert {u.speaker for u in first.utterances} == {"S1"}
    assert segment_file(media / "jfk.flac", recogniser) == first


def test_a_real_conversation(tmp_path: Path, media: Path, recogniser: Recogniser) -> None:
    """Its two speakers are found, which is called approximate; with its RTTM they are given."""
    shutil.copy(media / "turns" / "sample.wav", tmp_path / "alone.wav")
    alone = segment_file(tmp_path / "alone.wav", recogniser)
    assert {u.speaker for u in alone.utterances} == {"S1", "S2"}
    assert alone.source["speakers"]["approximate"]
    (warning,) = [w for w in alone.warnings if "approximate" in w.text]
    assert warning.subject == "alone.wav"
    assert "originally from chicago" in words(alone.utterances) and 8 <= len(alone.utterances) <= 16
    assert alone.utterances[0].start == pytest.approx(6.69, abs=0.1)  # nobody speaks before
    given = segment_file(media / "turns" / "sample.wav", recogniser)
    assert {u.speaker for u in given.utterances} == {"speaker90", "speaker91"}
    assert given.source["speakers"] == {"method": "given"}


def test_progress_advances_while_speech_is_recognised(
    tmp_path: Path, media: Path, recogniser: Recogniser
) -> None:
    """33 s of speech and then 11 s more take several windows of Whisper."""
    join(tmp_path / "x.wav", [*sorted((media / "grid").glob("*.mpg")), media / "jfk.flac"])
    stages: list[tuple[str, float | None]] = []

    def stage(name: str, done: float | None = None) -> None:
        stages.append((name, done))

    segment_file(tmp_path / "x.wav", recogniser, stage=stage)
    shares = [done for name, done in stages if name == "utterances" and done is not None]
    assert len(shares) == len(stages) >= 2
    assert np.all(np.diff(shares) > 0) and 0 < shares[0] < 0.9 < shares[-1] <= 1


def test_untimed_text_finds_its_place(tmp_path: Path, media: Path, recogniser: Recogniser) -> None:
    clips = [media / "grid" / f"{name}.mpg" for name in ("sbwe5n", "lrwp9a", "lwbsza")]
    turns = join(tmp_path / "x.wav", clips)
    lines = list(zip("ABC", [grid_sentence(clip) for clip in clips], strict=True))
    transcript = tmp_path / "x.txt"
    transcript.write_text("".join(f"{speaker}: {text}\n" for speaker, text in lines))
    result = segment_file(tmp_path / "x.wav", recogniser, transcript=transcript)
    assert [(u.speaker, u.text) for u in result.utterances] == lines
    for utterance, (start, end) in zip(result.utterances, turns, strict=True):
        assert start < utterance.start < start + 1 and end - 1.5 < utterance.end < end


def test_without_times_and_without_a_recogniser_there_is_a_remedy(
    tmp_path: Path, media: Path
) -> None:
    (tmp_path / "x.txt").write_text("Ask not what your country can do for you.\n")
    with open_media(media / "jfk.flac") as opened:
        with pytest.raises(MercError, match=r"jfk\.flac: no transcript with times") as caught:
            segment(opened, transcript=tmp_path / "x.txt")
    assert caught.value.remedy == "provide a transcript with times, or a recogniser"


def test_there_are_no_utterances_without_speech(
    tmp_path: Path, media: Path, recogniser: Recogniser
) -> None:
    """Whisper invents thanks and goodbyes in silence, noise and music; merc must not."""
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
    paths = [
        write_wav(tmp_path / f"{name}.wav", [np.clip(sound, -1, 1)], rate)
        for name, sound in sounds.items()
    ]
    paths += [media / "edge" / f"face_{name}.mp4" for name in ("no_audio_stream", "silent_audio")]
    for path in paths:
        result = segment_file(path, recogniser)
        assert not result.utterances, (path.name, result.utterances)
        assert any("no speech" in warning.text for warning in result.warnings), path.name


def test_times_are_those_of_the_file(tmp_path: Path, media: Path, recogniser: Recogniser) -> None:
    """Seven seconds of silence in front move every utterance by seven seconds."""
    rate = 16_000
    padded = np.concatenate([np.zeros(7 * rate, np.float32), sound_of(media / "jfk.flac")])
    write_wav(tmp_path / "x.wav", [padded], rate)
    shifted = segment_file(tmp_path / "x.wav", recogniser).utterances
    straight = segment_file(media / "jfk.flac", recogniser).utterances
    assert jiwer.wer(words(straight), words(shifted)) < 0.05
    assert shifted[0].start - 7 == pytest.approx(straight[0].start, abs=0.25)
    starts = [u.start for u in straight]
    assert [u.start - 7 for u in shifted] == pytest.approx(starts, abs=1.0)  # Whisper's times


def test_another_language_than_english_gives_a_warning(media: Path, recogniser: Recogniser) -> None:
    german = segment_file(media / "jfk.flac", recogniser, language="de")
    assert any("English" in warning.text for warning in german.warnings)
    with pytest.raises(RecognitionError, match="large-v3") as caught:
        Recogniser("large-v3", profile="offline")
    assert "--profile roberta" in caught.value.remedy


def test_an_unknown_language_is_refused() -> None:
    for language in ("xx", "german", ""):
        with pytest.raises(UsageError, match="unknown language") as caught:
            Recogniser(language=language)
        assert "de, el, en" in caught.value.remedy


def test_a_damaged_recogniser_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"x")
    with pytest.raises(RecognitionError, match=r"config\.json and tokenizer\.json missing"):
        assert Recogniser(str(tmp_path)).fingerprint
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).write_text("{}")
    damaged = Recogniser(str(tmp_path))
    assert damaged.fingerprint["weights"] == sha256_of(tmp_path / "model.bin")
    assert str(tmp_path) != damaged.fingerprint["options"]["model"] == tmp_path.name


def test_a_request_names_the_transcript_by_its_content(
    tmp_path: Path, media: Path, recogniser: Recogniser
) -> None:
    """It has no paths, changes with the transcript and the options, and needs no recording."""
    recording, transcript = tmp_path / "x.wav", tmp_path / "x.CSV"
    alone = segmentation_request(recording, recogniser=recogniser)
    assert alone["transcript"] is alone["kind"] is None
    assert alone["recogniser"] == recogniser.fingerprint
    transcript.write_text("start,end,speaker,text\n0,1,A,hello\n")
    named = segmentation_request(recording, recogniser=recogniser, speakers=2, language="en")
    assert named["transcript"] == sha256_of(transcript) and named["kind"] == ".csv"
    assert (named["speakers"], named["language"]) == (2, "en")
    assert str(tmp_path) not in repr(named) and set(named) == set(alone)
    missing = Recogniser(str(tmp_path))  # a folder without weights
    assert segmentation_request(recording, recogniser=missing)["recogniser"] is None
    transcript.unlink()
    with pytest.raises(RecognitionError, match="missing"):
        segmentation_request(recording, recogniser=missing)


def test_the_source_of_a_transcript_is_what_segment_says(tmp_path: Path, media: Path) -> None:
    transcript = tmp_path / "x.csv"
    transcript.write_text("start,end,speaker,text\n0,1,A,hello\n")
    with open_media(media / "jfk.flac") as opened:
        source = segment(opened, transcript=transcript).source
    assert source == transcript_source(sha256_of(transcript), "csv")


def _words(*pieces: tuple[float, float, str]) -> list[Word]:
    return [Word(start, end, f" {text}", 1.0) for start, end, text in pieces]


def test_turns_end_at_sentences_and_pauses_and_long_ones_at_breaths() -> None:
    fox = _words(
        (0, 0.5, "Mr."), (0.5, 1, "Fox"), (1.1, 1.6, "ran."), (1.7, 2, "He"), (2.9, 3.4, "hid")
    )
    texts = [[word.text.strip() for word in turn] for turn in split_turns(fox)]
    assert texts == [["Mr.", "Fox", "ran."], ["He"], ["hid"]]
    steady = _words(*((k / 2, k / 2 + 0.5, "word") for k in range(40)))  # 20 s without a breath
    assert all(turn[-1].end - turn[0].start <= 15 for turn in split_turns(steady))
    breath_every_eight = [k / 2 + 0.4 * (k // 8) for k in range(24)]
    breaths = _words(*((start, start + 0.5, "word") for start in breath_every_eight))
    assert [len(turn) for turn in split_turns(breaths)] == [8, 8, 8]
    assert all(turn[-1].end - turn[0].start <= COMFORT for turn in split_turns(breaths))
    assert [word for turn in split_turns(steady) for word in turn] == steady
    assert not split_turns([])


def test_very_short_neighbours_of_one_speaker_are_one_utterance() -> None:
    utterances = [
        Utterance(0, 0.3, "Hello.", "A"),
        Utterance(0.4, 0.6, "Hello.", "A"),
        Utterance(0.7, 3, "Come in.", "B"),
        Utterance(3.1, 3.3, "Oh.", "A"),
        Utterance(5, 7, "Thanks.", "A"),
    ]
    texts = [u.text for u in join_short(utterances)]
    assert texts == ["Hello. Hello.", "Come in.", "Oh.", "Thanks."]


def test_speakers_by_voice_are_numbered_by_appearance() -> None:
    """Two distant clusters; an utterance without sound has no speaker; `count` is obeyed."""
    rng = np.random.default_rng(0)
    even = np.arange(DIM) % 2
    voices = np.stack([rng.standard_normal(DIM) * 0.1 + 3 * (k == even) for k in (1, 0, 1, 0)])
    silent = np.full((1, DIM), np.nan)
    seconds = np.full(4, 2.0)
    with_silence = np.concatenate([voices, silent])
    assert assign_speakers(with_silence, np.full(5, 2.0), 2) == [0, 1, 0, 1, -1]
    assert assign_speakers(voices, seconds, 2) == [0, 1, 0, 1]
    assert assign_speakers(voices, seconds) == [0, 1, 0, 1]
    assert assign_speakers(voices, seconds, 1) == [0, 0, 0, 0]
    assert assign_speakers(voices * 0.1, seconds) == [0, 0, 0, 0]
    assert assign_speakers(np.zeros((0, 256)), np.zeros(0)) == []
