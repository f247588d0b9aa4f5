"""ELAN and TextGrid files compared with what pympi reads; subtitles with what pysubs2 reads."""

from __future__ import annotations

from pathlib import Path

import pysubs2
import pytest
from pympi import Eaf
from pympi.Praat import TextGrid

from pipeline.segmentation.transcripts import TranscriptError, read_transcript

LINES = [(0.5, 1.25, "Hello there"), (1.5, 2.0, "What, now?"), (2.0, 3.75, "No")]


def test_elan_as_pympi_writes_it(tmp_path: Path) -> None:
    """A tier of labels below a tier of texts is not spoken."""
    eaf = Eaf(author="x")
    eaf.add_linguistic_type("label", "Symbolic_Association")
    for name in ("Anna", "Ben"):
        eaf.add_tier(name)
        eaf.add_tier(f"emotion {name}", ling="label", parent=name)
        for start, end, text in LINES:
            eaf.add_annotation(name, round(1000 * start), round(1000 * end), text)
            eaf.add_ref_annotation(f"emotion {name}", name, round(1000 * start) + 1, "joy")
    eaf.remove_tier("default")
    eaf.to_file(str(tmp_path / "x.eaf"))
    utterances = read_transcript(tmp_path / "x.eaf")
    for name in ("Anna", "Ben"):
        rows = [(u.start, u.end, u.text) for u in utterances if u.speaker == name]
        assert rows == LINES
    assert len(utterances) == 2 * len(LINES)


@pytest.mark.parametrize("mode", ["normal", "short", "binary"])
def test_every_kind_of_textgrid(tmp_path: Path, mode: str) -> None:
    grid = TextGrid(xmax=5)
    for name in ("Anna", "J\u00fcrgen B."):
        tier = grid.add_tier(name)
        for start, end, text in LINES:
            tier.add_interval(start, end, f'{text} "{name}" \u4f60')
    path = tmp_path / "x.TextGrid"
    grid.to_file(str(path), codec="utf-8", mode=mode)
    expected = [
        (start, end, f'{text} "{name}" \u4f60', name)
        for start, end, text in LINES
        for name in ("Anna", "J\u00fcrgen B.")
    ]
    utterances = [(u.start, u.end, u.text, u.speaker) for u in read_transcript(path)]
    assert utterances == expected


def test_a_textgrid_that_is_cut_short_is_refused(tmp_path: Path, shared: Path) -> None:
    content = (shared / "cases" / "transcripts" / "own.TextGrid").read_text()
    (tmp_path / "x.TextGrid").write_text(content[:1000])
    with pytest.raises(TranscriptError, match="cut short"):
        read_transcript(tmp_path / "x.TextGrid")


@pytest.mark.parametrize("format", ["srt", "vtt"])
def test_the_cues_of_pysubs2(tmp_path: Path, format: str) -> None:
    subtitles = pysubs2.SSAFile()
    for k in range(200):
        text = f"This is line {k}\\Nand more of it."
        subtitles.append(pysubs2.SSAEvent(start=k * 1000, end=k * 1000 + 900, text=text))
    path = tmp_path / f"x.{format}"
    subtitles.save(str(path))
    cues = pysubs2.load(str(path))
    utterances = read_transcript(path)
    assert len(utterances) == len(cues) == 200
    for utterance, cue in zip(utterances, cues, strict=True):
        assert utterance.text == " ".join(cue.plaintext.split())
        assert (utterance.start, utterance.end) == (cue.start / 1000, cue.end / 1000)
