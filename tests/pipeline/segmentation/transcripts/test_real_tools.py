"""Transcripts as real tools and people write them, and the right utterances."""

from __future__ import annotations

import gc
import math
import time
from pathlib import Path

import pytest

from pipeline.core.errors import MercWarning
from pipeline.segmentation.transcripts import TranscriptError, read_rttm, read_transcript

Rows = list[tuple[str, str]]  # speaker and text
ANNA, BEN = "Bin blue at F two now.", "Set white in Z three now."


def read(path: Path, **options: float) -> tuple[Rows, list[tuple[float, float]], str]:
    """Return speakers and texts, times, and all warnings in one string."""
    warnings: list[MercWarning] = []
    utterances = read_transcript(path, warnings, **options)  # type: ignore[arg-type]
    rows = [(u.speaker, u.text) for u in utterances]
    return rows, [(u.start, u.end) for u in utterances], " ".join(w.text for w in warnings)


def srt(*texts: str) -> str:
    cues = [
        f"{k}\n00:00:{k:02},000 --> 00:00:{k:02},900\n{text}\n" for k, text in enumerate(texts, 1)
    ]
    return "\n".join(cues)


@pytest.fixture
def cases(shared: Path) -> Path:
    return shared / "cases" / "transcripts"


@pytest.mark.parametrize(
    ("name", "speakers"),
    [
        ("whisperx.srt", ("SPEAKER_00", "SPEAKER_01")),
        ("zoom.vtt", ("Anna Berg", "ben@x.org")),
        ("sdh.srt", ("MAN #1", "WOMAN")),
        ("mmss_mix.srt", ("Anna", "Ben")),
        ("otter.txt", ("Anna Berg", "Ben Ort")),
        ("talk.en.srt", ("Anna", "Ben")),
    ],
)
def test_names_are_split_off(cases: Path, name: str, speakers: tuple[str, str]) -> None:
    rows, times, _ = read(cases / name, duration=6.0)
    assert rows == [(speakers[0], ANNA), (speakers[1], BEN)]
    expected = [(0, 3), (3, 6)] if name == "otter.txt" else [(0.9, 2.2), (3.55, 5.9)]
    assert times == expected


def test_other_cases(cases: Path) -> None:
    assert read(cases / "cjk.srt")[0] == [("安娜", "你好"), ("本", "再见")]
    assert read(cases / "style.vtt")[0] == [
        ("Anna", ANNA),
        ("Ben", "Set white in Z three <now>."),
    ]
    assert read(cases / "braces.srt")[0] == [
        ("", "Hello {laughs} there"),
        ("", r"Path C:\new\host and 1 < 2 > 0"),
    ]
    rows, times, _ = read(cases / "twovoice.vtt")
    assert rows == [("Anna", "Bin blue now."), ("Ben", "Set white now.")]
    assert times[0][0] == 0.9 and times[0][1] == times[1][0] and times[1][1] == 5.9
    rows, times, warning = read(cases / "youtube.vtt")
    assert rows == [("", "bin blue at F two now"), ("", "set white in Z three now")]
    assert times == [pytest.approx((0.469, 2.2), abs=0.02), pytest.approx((2.21, 5.9), abs=0.02)]
    assert "rolling" in warning
    assert "2 lines left out (sounds or music" in read(cases / "sdh.srt")[2]
    for name in ("h_paste.srt", "nohours.srt"):
        assert read(cases / name)[1] == [(0.9, 2.2), (3.55, 5.9)], name
    assert read(cases / "uttwords.TextGrid")[0] == [("", "bin blue now")]
    assert read(cases / "mfa.TextGrid")[:2] == ([("Anna", "bin blue now")], [(0.9, 2.2)])


def test_times_in_other_units(cases: Path) -> None:
    for duration in (None, 6.0):
        _, times, warning = read(cases / "ms.csv", duration=duration)  # type: ignore[arg-type]
        assert times == [(0.9, 2.2), (3.55, 5.9)] and "milliseconds" in warning
    assert read(cases / "dur.csv")[1] == [(0.9, 2.2), pytest.approx((3.55, 5.9))]
    assert read(cases / "smpte.csv", frame_rate=25.0)[1] == [(0.88, 2.2), (3.52, 5.88)]
    with pytest.raises(TranscriptError, match="column 'Start' count frames"):
        read(cases / "smpte.csv")


def test_an_rttm_of_several_recordings(cases: Path) -> None:
    assert [turn[2] for turn in read_rttm(cases / "multi.rttm", "dlg")] == ["anna", "ben"]
    with pytest.raises(TranscriptError, match="none named talk"):
        read_rttm(cases / "multi.rttm", "talk")


@pytest.mark.parametrize(
    ("texts", "rows"),
    [
        (["[Speaker 1] Hi", "[Speaker 2] Ho"], [("Speaker 1", "Hi"), ("Speaker 2", "Ho")]),
        (["(SPEAKER_00): Hi", "(SPEAKER_01): Ho"], [("SPEAKER_00", "Hi"), ("SPEAKER_01", "Ho")]),
        ([">> ANNA: Hi", ">> BEN: Ho"], [("ANNA", "Hi"), ("BEN", "Ho")]),
        (["- Hi.\n- Ho."], [("", "Hi."), ("", "Ho.")]),
        (["- Hi. - Ho."], [("", "Hi."), ("", "Ho.")]),
        (["- MARY: Who?\n- Me."], [("MARY", "Who?"), ("", "Me.")]),
        (["Anna: Hi.\nBen: Ho."], [("Anna", "Hi."), ("Ben", "Ho.")]),
        (["Anna:\nHi there", "Ben: Ho"], [("Anna", "Hi there"), ("Ben", "Ho")]),
        (["Dr. Ann O'Neil-Wu: Hi", "MAN: Ho"], [("Dr. Ann O'Neil-Wu", "Hi"), ("MAN", "Ho")]),
        (["[laughs] Hi", "(SIGHS) Ho", "♪ la la ♪"], [("", "Hi"), ("", "Ho")]),
        (["MAN: [coughs]", "MAN: Hi (if you can) there"], [("MAN", "Hi (if you can) there")]),
        (["Meet at 10:30: bring it", "Yes."], [("", "Meet at 10:30: bring it"), ("", "Yes.")]),
        (["http://x.org", "Listen: no", "Yes", "Well"], [
            ("", "http://x.org"), ("", "Listen: no"), ("", "Yes"), ("", "Well")]),
        (["...", "—", "Yes"], [("", "..."), ("", "—"), ("", "Yes")]),
    ],
)  # fmt: skip
def test_texts_of_subtitles(tmp_path: Path, texts: list[str], rows: Rows) -> None:
    for name, content in (("x.srt", srt(*texts)), ("x.vtt", srt(*texts).replace(",", "."))):
        content = content if name == "x.srt" else "WEBVTT\n\n" + content
        if name == "x.vtt" and any("," in text for text in texts):
            continue
        (tmp_path / name).write_text(content)
        assert read(tmp_path / name)[0] == rows, name


def test_captions_that_grow_or_are_highlighted(tmp_path: Path) -> None:
    grow = "".join(
        f"{k}\n00:00:0{k},000 --> 00:00:0{k + 1},000\n{text}\n\n"
        for k, text in enumerate(["bin", "bin blue", "bin blue now", "set white"], 1)
    )
    (tmp_path / "grow.srt").write_text(grow)
    rows, times, _ = read(tmp_path / "grow.srt")
    assert rows == [("", "bin blue now"), ("", "set white")] and times == [(1, 4), (4, 5)]
    words = ["<u>bin</u> blue", "bin <u>blue</u>", "<u>set</u> white", "set <u>white</u>"]
    (tmp_path / "mark.srt").write_text(
        "".join(
            f"{k}\n00:00:0{k},000 --> 00:00:0{k + 1},000\n{text}\n\n"
            for k, text in enumerate(words, 1)
        )
    )
    assert read(tmp_path / "mark.srt")[:2] == (
        [("", "bin blue"), ("", "set white")],
        [(1, 3), (3, 5)],
    )


@pytest.mark.parametrize(
    ("content", "rows", "times"),
    [
        ("[00:00.900 --> 00:02.200]  Hi\n[00:03.550 --> 00:05.900]  Ho\n",
         [("", "Hi"), ("", "Ho")], [(0.9, 2.2), (3.55, 5.9)]),
        ("[00:00:01] Anna: Hi\n[00:00:03] Ben: Ho\n",
         [("Anna", "Hi"), ("Ben", "Ho")], [(1, 3), (3, 6)]),
        ("Anna Berg (00:01):\nHi\nyou\n\nBen (00:03): Ho\n",
         [("Anna Berg", "Hi you"), ("Ben", "Ho")], [(1, 3), (3, 6)]),
        ("0:01 Anna Berg\nHi.\n\n0:03 Ben\nHo.\n",
         [("Anna Berg", "Hi."), ("Ben", "Ho.")], [(1, 3), (3, 6)]),
        ("Weekly call\n\nAnna Berg   0:01\nHi\n\nBen   0:03\nHo\n",
         [("Anna Berg", "Hi"), ("Ben", "Ho")], [(1, 3), (3, 6)]),
        ("[Anna Berg] 00:00:01\nHi\n\n[Ben] 00:00:03\nHo\n",
         [("Anna Berg", "Hi"), ("Ben", "Ho")], [(1, 3), (3, 6)]),
        ("Berg, Anna   0:01\nHi\nOrt, Ben   0:03\nHo\nOrt, Ben stopped transcription\n",
         [("Berg, Anna", "Hi"), ("Ort, Ben", "Ho")], [(1, 3), (3, 6)]),
        ("0.9\t2.2\tAnna: Hi\n3.55\t5.9\tBen: Ho\n",
         [("Anna", "Hi"), ("Ben", "Ho")], [(0.9, 2.2), (3.55, 5.9)]),
    ],
)  # fmt: skip
def test_texts_with_times(
    tmp_path: Path, content: str, rows: Rows, times: list[tuple[float, float]]
) -> None:
    (tmp_path / "x.txt").write_text(content)
    assert read(tmp_path / "x.txt", duration=6.0)[:2] == (rows, times)


def test_programme_time(tmp_path: Path) -> None:
    (tmp_path / "x.srt").write_text(srt("Hi", "Ho").replace("00:00:0", "10:00:0"))
    _, times, warning = read(tmp_path / "x.srt", duration=6.0)
    assert times == [(1, 1.9), (2, 2.9)] and "10:00:00" in warning
    assert read(tmp_path / "x.srt", duration=40_000.0)[1][0][0] == 36_001


@pytest.mark.parametrize(
    ("name", "content", "times"),
    [
        ("x.txt", "10:02:01\t From  Anna : Hi\n10:02:03\t From  Ben to Everyone : Ho\n",
         [(1, 3), (3, 6)]),
        ("x.txt", "10:02:01 From Anna to Everyone:\n\tHi\n10:02:03 From Ben to Everyone:\n\tHo\n",
         [(1, 3), (3, 6)]),
        ("x.txt", "Start\tEnd\tSpeaker\tText\n1\t2\tAnna\tHi\n3\t4\tBen\tHo\n", [(1, 2), (3, 4)]),
        ("x.txt", "00:00:01:05 - 00:00:02:10\nSpeaker 1\nHi\n\n00:00:03:00 - 00:00:04:00\n"
         "Speaker 2\nHo\n", [(1.2, 2.4), (3, 4)]),
        ("x.txt", "**Anna** [00:01]\nHi\n\n**Ben** [00:03]\nHo\n", [(1, 3), (3, 6)]),
        ("x.txt", "Anna: (00:00:01)\nHi\nBen: (00:00:03)\nHo\n", [(1, 3), (3, 6)]),
        ("x.txt", "Anna: Hi #00:00:01-5#\nBen: Ho #00:00:03-0#\n", [(0, 1.5), (1.5, 3)]),
        ("x.json", '{"results": {"utterances": [{"start": 1, "end": 2, "transcript": "Hi", '
         '"speaker": "Anna"}, {"start": 3, "end": 4, "transcript": "Ho", "speaker": "Ben"}]}}',
         [(1, 2), (3, 4)]),
        ("x.json", '{"chunks": [{"timestamp": [1, 2], "text": " Anna: Hi"}, '
         '{"timestamp": [3, null], "text": " Ben: Ho"}]}', [(1, 2), (3, 6)]),
    ],
)  # fmt: skip
def test_exports_of_tools(
    tmp_path: Path, name: str, content: str, times: list[tuple[float, float]]
) -> None:
    (tmp_path / name).write_text(content)
    rows, found, _ = read(tmp_path / name, duration=6.0, frame_rate=25.0)
    assert found == times and [text.split(": ")[-1] for _, text in rows] == ["Hi", "Ho"]
    if "chunks" not in content:
        assert rows[0][0] in ("Anna", "Speaker 1") and rows[1][0] in ("Ben", "Speaker 2")


@pytest.mark.parametrize(
    "line", ["Anna\t\t00:00:00.500\t0.5\t00:00:01.200\t1.2\tHi", "#1 00:00:01-0# Anna: Hi"]
)
def test_times_of_an_unknown_layout_are_refused(tmp_path: Path, line: str) -> None:
    """Otherwise they would be spoken words, and recognition would guess other times."""
    (tmp_path / "x.txt").write_text(f"{line}\n{line}\n")
    with pytest.raises(TranscriptError, match="times in a layout that merc does not know"):
        read(tmp_path / "x.txt")


def test_the_time_of_day(tmp_path: Path) -> None:
    """A recording starts at about the first time, if all times then lie inside it."""
    for first, start in (("14:02:01", 1), ("14:02:40", 0), ("9:59:59 PM", 0)):
        (tmp_path / "x.txt").write_text(f"[{first}] Anna: Hi\n")
        rows, times, warning = read(tmp_path / "x.txt", duration=300.0)
        assert rows == [("Anna", "Hi")] and times == [(start, 300)]
        assert "all times may be shifted" in warning
    (tmp_path / "x.srt").write_text(srt("Hi", "Ho").replace("00:00:0", "10:02:0"))
    assert read(tmp_path / "x.srt", duration=6.0)[1] == [(1, 1.9), (2, 2.9)]
    spread = srt("Hi", "Ho").replace("00:00:01", "10:02:01").replace("00:00:02", "10:22:02")
    (tmp_path / "x.srt").write_text(spread)
    assert read(tmp_path / "x.srt", duration=6.0)[1][0][0] == 36_121


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.json", b'[{"start": 0,\n "text": oops}]', "line 2, column 10: unexpected 'oops}]'"),
        ("x.json", b'{"utterances": [', "line 1, column 17: the file ends too early"),
        ("x.jsonl", b'{"text": "Hi"}\n{"text"\n', "line 2, column 8: the file ends"),
        ("x.srt", bytes(range(256)) * 20, "not a text file, but binary data"),
        ("x.csv", b"PK\x03\x04" + bytes(100), "a Word, Excel or ZIP file"),
        ("x.eaf", b"<a>\n <b></a>", "no valid XML at line 2, column 7"),
        ("x.parquet", b"PAR1", "damaged or cut short"),
    ],
)
def test_malformed_files(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TranscriptError) as caught:
        read(tmp_path / name)
    assert message in caught.value.reason and caught.value.remedy


@pytest.mark.parametrize("cell", ["inf", "-inf", "nan", "1e999", "9" * 400, "soon"])
def test_times_that_are_no_numbers(tmp_path: Path, cell: str) -> None:
    (tmp_path / "x.csv").write_text(f"start,end,text\n{cell},2,Hi\n")
    with pytest.raises(TranscriptError, match="'start', 'end' can be read"):
        read(tmp_path / "x.csv")
    (tmp_path / "y.csv").write_text(f"start,end,text\n{cell},2,Hi\n3,4,Ho\n")
    rows, times, warning = read(tmp_path / "y.csv")
    assert rows == [("", "Ho")] and times == [(3, 4)] and "cannot be read" in warning
    assert read_transcript(tmp_path / "y.csv")[0].start == 3


def test_every_cue_is_accounted_for(tmp_path: Path) -> None:
    (tmp_path / "x.srt").write_text(
        "junk\n\n1\n00:00:01,000 --> 00:00:02,000\nHi\n\n2\n00:00:xx --> 00:00:05,000\nlost\n\n"
        "3\n00:00:06,000 --> 00:00:07,000\n\n"
    )
    rows, _, warning = read(tmp_path / "x.srt")
    assert rows == [("", "Hi")]
    for reason in ("before the first cue", "times cannot be read", "cues without words"):
        assert f"1 line left out ({reason}" in warning or f"their {reason}" in warning
    (tmp_path / "y.srt").write_text(srt("[music]", "♪ la ♪"))
    with pytest.raises(TranscriptError, match="2 lines left out \\(sounds"):
        read(tmp_path / "y.srt")


UNITS = ["<v a ", "{\\", "&#", "[", "(", "- ", "Anna: ", "<c>", "\n- a", '"', "a@"]
UNITS += ["00:00:01,000 --> "]


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("suffix", [".srt", ".vtt", ".csv", ".txt", ".TextGrid"])
def test_time_is_linear(tmp_path: Path, unit: str, suffix: str) -> None:
    """Twice the input takes about twice the time, not four times."""

    def spent(count: int) -> float:
        path = tmp_path / f"x{suffix}"
        body = unit * count
        content = {
            ".srt": srt(body),
            ".vtt": f"WEBVTT\n\n00:01.000 --> 00:02.000\n{body}\n",
            ".csv": f"start,end,text\n1,2,{body}\n",
        }.get(suffix, body)
        path.write_text(content)
        gc.collect()
        gc.disable()  # a collection goes through the objects of all other tests
        began = time.process_time()
        try:
            read_transcript(path)
        except TranscriptError:
            pass
        finally:
            gc.enable()
        return time.process_time() - began

    spent(100)
    # other programs add to a time, so the least of three; four times the input, squared, is 16
    growth = (spent(40_000) / max(spent(10_000), 0.02) for _ in range(3))
    assert any(factor < 10 for factor in growth)


def test_nothing_is_infinite(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text(f"{'9' * 400}\t2\tHi\n1\t2\tHo\n")
    assert all(math.isfinite(u.end) for u in read_transcript(tmp_path / "x.txt"))
