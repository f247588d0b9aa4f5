"""From a recording and a transcript to utterances: units, failures, near matches."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support.clips import tone, write_wav

from pipeline.media.decode import open_media
from pipeline.segmentation.segment import segment, segmentation_request
from pipeline.segmentation.transcripts import TranscriptError


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    return write_wav(tmp_path / "x.wav", [tone(10, 8000)], 8000)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.csv", "start,end,speaker,text\n20,21.5,A,beyond\n30,31.5,A,the end\n"),
        ("x.srt", "1\n00:00:01,000 --> 00:00:02,000\n[door slams]\n"),
        ("x.srt", "nothing that is a cue\n"),
        ("x.vtt", "WEBVTT\n\n00:01.000 --> 00:02.000\n\u266a la la \u266a\n"),
        ("x.csv", "start,end,text\ninf,nan,Hi\n"),
        ("x.csv", "text\n"),
        ("x.TextGrid", "not a grid"),
        ("x.eaf", "<ANNOTATION_DOCUMENT/>"),
    ],
)
def test_a_transcript_without_a_usable_line_is_a_failure(
    recording: Path, name: str, content: str
) -> None:
    (recording.parent / name).write_text(content)
    with open_media(recording) as media:
        with pytest.raises(TranscriptError, match=name) as caught:
            segment(media)
    assert caught.value.remedy


def test_frames_are_counted_at_the_rate_of_the_video(tmp_path: Path, shared: Path) -> None:
    shutil.copy(shared / "cases" / "transcripts" / "smpte.csv", tmp_path / "dlg.csv")
    for name in ("dlg.mp4", "dlg.m4a"):
        shutil.copy(shared / "cases" / name, tmp_path / name)
    with open_media(tmp_path / "dlg.mp4") as media:
        times = [(u.start, u.end) for u in segment(media).utterances]
    assert times == [(0.88, 2.2), (3.52, 5.88)]
    with open_media(tmp_path / "dlg.m4a") as media:
        with pytest.raises(TranscriptError, match="column 'Start' count frames"):
            segment(media)


def test_a_near_match_is_named_beside_the_transcript(recording: Path) -> None:
    (recording.parent / "x.srt").write_text("1\n00:00:01,000 --> 00:00:02,000\nAnna: Hi\n")
    (recording.parent / "x.de.srt").write_text("1\n00:00:01,000 --> 00:00:02,000\nAnna: Ho\n")
    with open_media(recording) as media:
        result = segment(media)
    assert [u.text for u in result.utterances] == ["Hi"]
    assert any("x.de.srt" in warning.text for warning in result.warnings)


def test_what_is_guessed_or_absent_is_said(recording: Path) -> None:
    contents = {
        "csv": "start,end,speaker,text\n0,1,Anna,Hi\n1,2,,...\n",
        "json": '[{"start": 0, "end": 1, "speaker": "Anna", "text": "Hi"}, '
        '{"start": 1, "end": 2, "text": "..."}]',
        "srt": "1\n00:00:00,000 --> 00:00:01,000\nANNA: Hi\n\n"
        "2\n00:00:01,000 --> 00:00:02,000\n- ...\n- ANNA: Well\n",
    }
    for suffix, content in contents.items():
        path = recording.parent / f"given.{suffix}"
        path.write_text(content)
        with open_media(recording) as media:
            result = segment(media, transcript=path)
        assert result.utterances[1].text == "..." and not result.utterances[1].speaker, suffix
        unnamed = [w for w in result.warnings if "name no speaker" in w.text]
        assert [w.subject for w in unnamed] == [path.name], suffix


class _NoRecogniser:
    fingerprint = None


def test_the_request_names_the_recording_of_an_rttm(recording: Path) -> None:
    (recording.parent / "x.rttm").write_text("SPEAKER x 1 0 1 <NA> <NA> A <NA> <NA>\n")
    request = segmentation_request(recording, recogniser=_NoRecogniser())  # type: ignore[arg-type]
    assert request["recording"] == "x"
