"""Every format is read back by another library."""

import io
import itertools
import json
import random
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pandas
import pysubs2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pympi import Eaf
from pympi.Praat import TextGrid
from support.imports import run_alone
from support.paths import ROOT

from pipeline.core.errors import MercError, UsageError
from pipeline.exports import FORMATS, output_path, parse_formats, save, write_result
from pipeline.segmentation.annotations import read_annotation

LABELS = ["neutral", "joy", "anger"]
NASTY = [
    'He said "no" --> & <b>left</b>',
    "=1+2|' /C calc'!A0",
    "- Hi, {you}",
    "два\nlines\x07 \u2028here",
    "'",
]


def result(spans=None, texts=NASTY, speakers=("Ann Lee", "B<&>\"'", ""), duration=60.0):
    spans = spans or [(0.5 + 2 * k, 2.25 + 2 * k) for k in range(len(texts))]
    return {
        "media": "my clip é.mp4",
        "model": "merc-offline",
        "profile": "offline",
        "labels": LABELS,
        "warnings": [],
        "duration": duration,
        "utterances": [
            {
                "start": start,
                "end": end,
                "speaker": speakers[k % len(speakers)],
                "text": texts[k % len(texts)],
                "emotion": LABELS[k % 3],
                "confidence": 0.5,
                "probabilities": dict(zip(LABELS, [0.5, 0.25, 0.25], strict=True)),
                "modalities": {
                    "text": {"present": True},
                    "audio": {"present": k % 2 == 0, "reason": "x"},
                },
            }
            for k, (start, end) in enumerate(spans)
        ],
    }


def flat(text):
    return " ".join(text.replace("\x07", "").split())


def speakers_of(content):
    return [flat(u["speaker"]) or "unknown" for u in content["utterances"]]


def test_json_and_lines():
    content = result()
    assert json.loads(FORMATS["json"].write(content)) == content
    lines = FORMATS["jsonl"].write(content).decode().splitlines()
    assert [json.loads(line)["text"] for line in lines] == NASTY
    assert json.loads(lines[1])["media"] == content["media"]


def test_json_holds_no_nan_and_no_numpy():
    import numpy

    content = result()
    content["utterances"][0]["modalities"]["visual"] = {
        "margin": numpy.float32("nan"),
        "frames": numpy.int64(3),
    }
    about = json.loads(FORMATS["json"].write(content))["utterances"][0]["modalities"]["visual"]
    assert about == {"margin": None, "frames": 3}


def test_tables():
    content = result()
    table = pandas.read_csv(io.BytesIO(FORMATS["csv"].write(content)), keep_default_na=False)
    assert table.text.str.strip().tolist() == [flat(text) for text in NASTY]
    assert not table.text.str.startswith(("=", "+", "-", "@")).any()
    assert table.start.tolist() == [u["start"] for u in content["utterances"]]
    assert table.has_audio.tolist() == [True, False, True, False, True]
    assert not table.has_visual.any()

    typed = pandas.read_parquet(io.BytesIO(FORMATS["parquet"].write(content)))
    assert typed.text.tolist() == NASTY and typed.emotion.tolist() == table.emotion.tolist()
    assert (typed[[f"p_{label}" for label in LABELS]].sum(axis=1) == 1).all()
    assert typed.start.dtype == float and typed.has_text.dtype == bool


def test_subtitles():
    content = result()
    for name, body in (("srt", r"{who} [{emotion}]: {text}"), ("vtt", "[{emotion}] {text}")):
        data = FORMATS[name].write(content).decode()
        cues = pysubs2.SSAFile.from_string(data, format_=name)
        assert [(c.start, c.end) for c in cues] == [
            (round(1000 * u["start"]), round(1000 * u["end"])) for u in content["utterances"]
        ]
        assert data.count("-->") == len(NASTY)  # no arrow in a text
        assert body.format(who="unknown", emotion="anger", text="- Hi, {you}") in data
    assert "<v B&lt;&amp;&gt;\"'>" in data and "<b>" not in data and "&lt;b&gt;left" in data


def with_evidence():
    """The second utterance is uncertain, and its audio says something else."""
    content = result()
    second = content["utterances"][1] | {"uncertain": True, "agree": False, "decisive": ["text"]}
    own = {"text": {"emotion": "joy", "shift": 0.25}, "audio": {"emotion": "anger", "shift": -0.1}}
    second["modalities"] = {m: {"present": True} | about for m, about in own.items()}
    second["modalities"]["visual"] = {"present": True, "confidence": 0.75}
    content["utterances"][1] = second
    return content


def test_an_uncertain_emotion_is_written_as_uncertain(tmp_path):
    content = with_evidence()
    for name in ("srt", "vtt", "audacity", "textgrid"):
        before, after = (FORMATS[name].write(c).decode() for c in (result(), content))
        assert (before.count("joy"), after.count("joy")) == (2, 1), name
        assert after.count("uncertain") == 1, name
    path = tmp_path / "x.eaf"
    path.write_bytes(FORMATS["eaf"].write(content))
    eaf = Eaf(str(path))
    tier = "emotion@B<&>\"'"
    assert [value for _, _, value, *_ in eaf.get_ref_annotation_data_for_tier(tier)] == [
        "uncertain",
        "joy",
    ]
    root = ET.parse(path).getroot()
    entries = {e.get("CVE_ID"): e.find("CVE_VALUE").text for e in root.iter("CV_ENTRY_ML")}
    assert sorted(entries.values()) == sorted([*LABELS, "uncertain"])


def test_tables_hold_the_evidence():
    content = with_evidence()
    table = pandas.read_csv(io.BytesIO(FORMATS["csv"].write(content)), keep_default_na=False)
    typed = pandas.read_parquet(io.BytesIO(FORMATS["parquet"].write(content)))
    assert list(typed.columns[2:]) == list(table.columns)
    row = typed.loc[1]
    assert row.emotion == "joy" and row.uncertain and row.agree is False and row.decisive == "text"
    assert row.emotion_text == "joy" and row.emotion_audio == "anger"
    assert row.face_confidence == 0.75 and pandas.isna(typed.face_confidence[0])
    assert row.shift_audio == -0.1 and typed.shift_visual.isna().all()
    assert typed.loc[0, "agree"] is None and not typed.uncertain[0]
    assert table.loc[1, ["agree", "emotion_audio"]].tolist() == ["False", "anger"]


def test_an_edited_emotion_has_no_confidence_in_tables(tmp_path):
    content = result()
    first, second = content["utterances"][:2]
    first |= {"emotion": "anger", "edited": {"text": True, "emotion": True}}
    second |= {"edited": {"end": True}}
    assert json.loads(FORMATS["json"].write(content))["utterances"][0]["confidence"] == 0.5
    lines = [json.loads(row) for row in FORMATS["jsonl"].write(content).decode().splitlines()]
    assert [row["confidence"] for row in lines[:2]] == [None, 0.5]
    assert lines[0]["edited"] == first["edited"]
    table = pandas.read_csv(io.BytesIO(FORMATS["csv"].write(content)), keep_default_na=False)
    assert table.confidence.tolist()[:2] == ["", "0.5"]
    typed = pandas.read_parquet(io.BytesIO(FORMATS["parquet"].write(content)))
    assert typed.confidence.isna().tolist() == [True, *[False] * 4]
    for frame in (table, typed):
        assert frame.edited.tolist() == ["emotion+text", "end", "", "", ""]
    for name in ("csv", "parquet", "jsonl"):
        path = tmp_path / f"talk.{FORMATS[name].extension}"
        path.write_bytes(FORMATS[name].write(content))
        read = read_annotation(path)
        assert [u["emotion"] for u in read["utterances"]] == [
            u["emotion"] for u in content["utterances"]
        ]
        assert not read["warnings"]
        path.write_bytes(FORMATS[name].write(result()))
        assert b"edited" not in path.read_bytes()


def test_textgrid_covers_the_recording(tmp_path):
    content = result()
    path = tmp_path / "x.TextGrid"
    path.write_bytes(FORMATS["textgrid"].write(content))
    grid = TextGrid(str(path), codec="utf-8")
    assert (grid.xmin, grid.xmax) == (0, 60)
    for number, tier in enumerate(grid.tiers):
        intervals = tier.get_all_intervals()
        assert intervals[0][0] == 0 and intervals[-1][1] == 60
        assert all(a[1] == b[0] for a, b in itertools.pairwise(intervals))
        assert tier.name.startswith("emotion@") == bool(number % 2)
    assert (2.25, 2.5) not in [i[:2] for i in grid.tiers[0].get_all_intervals()]
    assert [i[2] for i in grid.tiers[1].get_all_intervals() if i[2]] == ["neutral", "neutral"]


def test_elan(tmp_path):
    content = result()
    path = tmp_path / "x.eaf"
    path.write_bytes(FORMATS["eaf"].write(content))
    eaf = Eaf(str(path))
    for speaker in dict.fromkeys(speakers_of(content)):
        words = eaf.get_annotation_data_for_tier(speaker)
        pairs = zip(content["utterances"], speakers_of(content), strict=True)
        rows = [utterance for utterance, name in pairs if name == speaker]
        assert [(a, b, t) for a, b, t in words] == [
            (round(1000 * u["start"]), round(1000 * u["end"]), flat(u["text"])) for u in rows
        ]
        emotions = eaf.get_ref_annotation_data_for_tier(f"emotion@{speaker}")
        assert [value for _, _, value, *_ in emotions] == [u["emotion"] for u in rows]
    root = ET.parse(path).getroot()
    # the schema fixes the order of elements
    order = [child.tag for child in root]
    assert list(dict.fromkeys(order)) == [
        "HEADER",
        "TIME_ORDER",
        "TIER",
        "LINGUISTIC_TYPE",
        "LANGUAGE",
        "CONSTRAINT",
        "CONTROLLED_VOCABULARY",
    ]
    entries = {e.get("CVE_ID"): e.find("CVE_VALUE").text for e in root.iter("CV_ENTRY_ML")}
    for annotation in root.iter("REF_ANNOTATION"):
        assert entries[annotation.get("CVE_REF")] == annotation.find("ANNOTATION_VALUE").text
    ids = [e.get("ANNOTATION_ID") for e in root.iter() if e.get("ANNOTATION_ID")]
    assert len(ids) == len(set(ids))
    slots = {e.get("TIME_SLOT_ID") for e in root.iter("TIME_SLOT")}
    assert all(
        {e.get("TIME_SLOT_REF1"), e.get("TIME_SLOT_REF2")} <= slots
        for e in root.iter("ALIGNABLE_ANNOTATION")
    )
    assert root.find("HEADER").get("TIME_UNITS") == "milliseconds"
    assert root.find("HEADER/MEDIA_DESCRIPTOR").get("RELATIVE_MEDIA_URL") == "./my clip é.mp4"


def test_rttm_and_audacity():
    content = result()
    rows = [line.split(" ") for line in FORMATS["rttm"].write(content).decode().splitlines()]
    assert all(len(row) == 10 and row[0] == "SPEAKER" and row[1] == "my_clip_é" for row in rows)
    assert [float(row[3]) for row in rows] == [u["start"] for u in content["utterances"]]
    assert [row[7] for row in rows][:3] == ["Ann_Lee", "B<&>\"'", "unknown"]
    table = [line.split("\t") for line in FORMATS["audacity"].write(content).decode().splitlines()]
    assert all(len(row) == 3 for row in table) and float(table[1][0]) == 2.5


def test_no_utterances():
    empty = result(texts=[], spans=[]) | {"utterances": []}
    for name, form in FORMATS.items():
        assert isinstance(form.write(empty), bytes), name
    assert pandas.read_parquet(io.BytesIO(FORMATS["parquet"].write(empty))).empty
    assert "neutral" in pandas.read_csv(io.BytesIO(FORMATS["csv"].write(empty))).columns[6]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 50), st.floats(0, 9)), min_size=1, max_size=12),
    st.lists(st.text(max_size=20), min_size=1, max_size=4),
    st.lists(st.text(max_size=6), min_size=1, max_size=3),
)
def test_any_times_and_texts_make_valid_tiers(spans, texts, speakers):
    content = result([(a, a + d) for a, d in spans], texts, speakers)
    for form in FORMATS.values():
        form.write(content)
    root = ET.fromstring(FORMATS["eaf"].write(content))
    times = {e.get("TIME_SLOT_ID"): int(e.get("TIME_VALUE")) for e in root.iter("TIME_SLOT")}
    for tier in root.iter("TIER"):
        last = 0
        for a in tier.iter("ALIGNABLE_ANNOTATION"):
            start, end = times[a.get("TIME_SLOT_REF1")], times[a.get("TIME_SLOT_REF2")]
            assert last <= start < end
            last = end
    assert len({tier.get("TIER_ID") for tier in root.iter("TIER")}) == len(list(root.iter("TIER")))
    grid = FORMATS["textgrid"].write(content).decode()
    edges = [
        tuple(map(float, e)) for e in re.findall(r"xmin = (\S+)\n\s+xmax = (\S+)\n\s+text", grid)
    ]
    assert all(a < b for a, b in edges)


def test_names_of_output_files():
    assert output_path(Path("o/my.clip"), "textgrid").name == "my.clip.merc.TextGrid"


def test_files_that_merc_did_not_write_are_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    base, recording = tmp_path / "o" / "x", tmp_path / "v" / "x.mp4"
    first, second = result(), result(duration=70.0)
    paths = write_result(first, recording, base, ["json", "srt", "eaf"])
    assert b'RELATIVE_MEDIA_URL="./../v/x.mp4"' in paths[2].read_bytes()
    write_result(second, recording, base, ["json"])  # written by merc: replaced
    assert json.loads(paths[0].read_text())["duration"] == 70
    paths[2].write_bytes(paths[2].read_bytes().replace(b"neutral", b"bored"))  # edited by hand
    before = {path: path.read_bytes() for path in paths}
    with pytest.raises(MercError, match=r"edited since; .*--overwrite"):
        write_result(first, recording, base, ["json", "eaf"])
    # nothing is written, not even the file that could be replaced
    assert {path: path.read_bytes() for path in paths} == before
    write_result(first, recording, base, ["eaf"], overwrite=True)
    assert b"bored" not in paths[2].read_bytes()
    assert not list(tmp_path.rglob(".merc-*"))


@pytest.mark.parametrize("name", FORMATS)
def test_save_chooses_the_format_by_extension(tmp_path, monkeypatch, name):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    content = result()
    for extension in (FORMATS[name].extension, FORMATS[name].extension.upper()):
        path = tmp_path / "new" / f"my.talk.{extension}"
        assert save(content, path) == path
        assert path.read_bytes() == FORMATS[name].write(content)
    save(result(duration=70.0), path)  # written by merc: replaced
    path.write_bytes(b"edited by hand")
    with pytest.raises(MercError, match="overwrite=True"):
        save(content, path)
    assert path.read_bytes() == b"edited by hand"
    save(content, path, overwrite=True)
    assert path.read_bytes() == FORMATS[name].write(content)


def test_save_links_to_the_recording(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = save(result(), tmp_path / "o" / "x.eaf", recording=tmp_path / "v" / "x.mp4")
    assert b'RELATIVE_MEDIA_URL="./../v/x.mp4"' in path.read_bytes()


@pytest.mark.parametrize("name", ["talk", "talk.docx", ".json"])
def test_save_refuses_other_extensions(tmp_path, name):
    with pytest.raises(MercError, match=r"\.json, \.jsonl, .*\.TextGrid, \.eaf, \.rttm, \.txt"):
        save(result(), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_format_names():
    assert parse_formats("json, SRT,json") == ["json", "srt"]
    for wrong in ("docx", "", "json,,docx"):
        with pytest.raises(UsageError, match="textgrid"):
            parse_formats(wrong)


def test_same_bytes_in_another_process():
    """No format depends on the time, the hash seed or the machine."""
    code = (
        "import hashlib, json, sys; from pipeline.exports import FORMATS\n"
        "content = json.load(sys.stdin)\n"
        "data = b''.join(format.write(content) for format in FORMATS.values())\n"
        "print(hashlib.sha256(data).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            input=json.dumps(result()),
            text=True,
            cwd=ROOT,
            check=True,
            capture_output=True,
            env={"PYTHONHASHSEED": str(random.randrange(1000))},
        ).stdout
        for _ in range(2)
    }
    assert len(digests) == 1


def test_exports_import_no_media():
    assert not [m for m in run_alone("import pipeline.exports")[1] if "pipeline.media" in m]
