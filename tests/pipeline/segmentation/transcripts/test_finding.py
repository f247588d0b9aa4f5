"""The transcript next to a recording is found under the names people use."""

from __future__ import annotations

import os
import time
import unicodedata
from pathlib import Path

import pytest

from pipeline.core.errors import MercWarning
from pipeline.segmentation.transcripts import TranscriptError, find_transcript, read_transcript


def found(folder: Path, media: str, *names: str) -> tuple[str | None, str]:
    """Return the name of the transcript, and the warnings."""
    for name in (media, *names):
        (folder / name).touch()
    warnings: list[MercWarning] = []
    path = find_transcript(folder / media, warnings)
    return path.name if path else None, " ".join(w.text for w in warnings)


@pytest.mark.parametrize(
    "name",
    "talk.srt talk.SRT talk.en.srt talk.mp4.srt talk.eaf Talk.srt talk.pt-BR.vtt talk.mp4.en.vtt "
    "talk.en.sdh.srt TALK.EN.SRT talk.rttm talk.tsv".split(),
)
def test_names_that_are_used(tmp_path: Path, name: str) -> None:
    assert found(tmp_path, "talk.mp4", name) == (name, "")


def test_other_unicode_form(tmp_path: Path) -> None:
    composed, apart = (unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD"))
    assert found(tmp_path, f"{composed}.mp4", f"{apart}.srt") == (f"{apart}.srt", "")


@pytest.mark.parametrize(
    "name", ["talk.txt", "talk_final.srt", "talk (1).srt", "talk.forced-x.ass"]
)
def test_near_matches_are_named(tmp_path: Path, name: str) -> None:
    path, warning = found(tmp_path, "talk.mp4", name)
    assert path is None and name in warning and "--transcript" in warning


def test_a_format_that_merc_does_not_read_is_said(tmp_path: Path) -> None:
    _, warning = found(tmp_path, "talk.mp4", "talk.ass", "talk.txt")
    assert "merc does not read .ass: convert it, for example to .srt." in warning
    with pytest.raises(TranscriptError, match=r"convert it, for example to \.srt"):
        read_transcript(tmp_path / "talk.ass")
    with pytest.raises(TranscriptError, match="a folder, not a file"):
        read_transcript(tmp_path)


def test_the_best_match_is_used(tmp_path: Path) -> None:
    names = ["talk.de.srt", "talk.en.srt", "talk.vtt"]
    path, warning = found(tmp_path, "talk.mp4", *names)
    assert path == "talk.vtt" and "talk.de.srt" in warning
    (tmp_path / "talk.vtt").unlink()
    assert found(tmp_path, "talk.mp4")[0] == "talk.en.srt"
    german = find_transcript(tmp_path / "talk.mp4", language="de")
    assert german and german.name == "talk.de.srt"


def test_a_transcript_belongs_to_the_recording_it_fits_best(tmp_path: Path) -> None:
    for name in ("talk.mp4", "Talk.mp4", "talk.en.mp4", "talk_2.mp4"):
        (tmp_path / name).touch()
    assert found(tmp_path, "talk.mp4", "Talk.srt", "talk.en.srt", "talk_2.srt") == (None, "")
    assert found(tmp_path, "Talk.mp4")[0] == "Talk.srt"
    assert found(tmp_path, "talk.en.mp4")[0] == "talk.en.srt"
    assert found(tmp_path, "talk.merc.mp4", "talk.merc.srt") == (None, "")


def test_a_large_folder_is_listed_once(tmp_path: Path) -> None:
    """Time is linear: a recording among 100,000 files takes well under a millisecond."""
    for k in range(4_000):
        (tmp_path / f"clip_{k}.mp4").touch()
        (tmp_path / f"clip_{k}.srt").touch()
    (tmp_path / "clip.mp4").touch()
    os.utime(tmp_path, (time.time() - 60,) * 2)  # as in a folder that is not being written
    find_transcript(tmp_path / "clip_0.mp4")
    began = time.process_time()
    for k in range(1_000):
        path = find_transcript(tmp_path / f"clip_{k}.mp4", [])
        assert path and path.name == f"clip_{k}.srt"
    assert time.process_time() - began < 2.0
