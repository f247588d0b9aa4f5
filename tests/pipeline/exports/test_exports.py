"""Every format read back by a reader that is not ours."""

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
from support.paths import ROOT

from pipeline.core.errors import UsageError
from pipeline.cli.outputs import output_bases
from pipeline.exports import FORMATS, output_path, parse_formats, write_result
from pipeline.media.inputs import Input

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


def names(said):
    return [flat(u["speaker"]) or "unknown" for u in said["utterances"]]


def test_json_and_lines():
    said = result()
    assert json.loads(FORMATS["json"].write(said)) == said
    lines = FORMATS["jsonl"].write(said).decode().splitlines()
    assert [json.loads(line)["text"] for line in lines] == NASTY
    assert json.loads(lines[1])["media"] == said["media"]


def test_json_holds_no_nan_and_no_numpy():
    import numpy

    said = result()
    said["utterances"][0]["modalities"]["visual"] = {
        "margin": numpy.float32("nan"),
        "frames": numpy.int64(3),
    }
    about = json.loads(FORMATS["json"].write(said))["utterances"][0]["modalities"]["visual"]
    assert about == {"margin": None, "frames": 3}


def test_tables():
    said = result()
    table = pandas.read_csv(io.BytesIO(FORMATS["csv"].write(said)), keep_default_na=False)
    assert table.text.str.strip().tolist() == [flat(text) for text in NASTY]
    assert not table.text.str.startswith(("=", "+", "-", "@")).any()
    assert table.start.tolist() == [u["start"] for u in said["utterances"]]
    assert (
        table.has_audio.tolist() == [True, False, True, False, True] and not table.has_visual.any()
    )

    typed = pandas.read_parquet(io.BytesIO(FORMATS["parquet"].write(said)))
    assert typed.text.tolist() == NASTY and typed.emotion.tolist() == table.emotion.tolist()
    assert (typed[[f"p_{label}" for label in LABELS]].sum(axis=1) == 1).all()
    assert typed.start.dtype == float and typed.has_text.dtype == bool


def test_subtitles():
    said = result()
    for name, body in (("srt", r"{who} [{emotion}]: {text}"), ("vtt", "[{emotion}] {text}")):
        data = FORMATS[name].write(said).decode()
        cues = pysubs2.SSAFile.from_string(data, format_=name)
        assert [(c.start, c.end) for c in cues] == [
            (round(1000 * u["start"]), round(1000 * u["end"])) for u in said["utterances"]
        ]
        assert data.count("-->") == len(NASTY)  # none inside a text
        assert body.format(who="unknown", emotion="anger", text="- Hi, {you}") in data
    assert "<v B&lt;&amp;&gt;\"'>" in data and "<b>" not in data and "&lt;b&gt;left" in data


def test_textgrid_covers_the_medium(tmp_path):
    said = result()
    path = tmp_path / "x.TextGrid"
    path.write_bytes(FORMATS["textgrid"].write(said))
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
    said = result()
    path = tmp_path / "x.eaf"
    path.write_bytes(FORMATS["eaf"].write(said))
    eaf = Eaf(str(path))
    for speaker in dict.fromkeys(names(said)):
        words = eaf.get_annotation_data_for_tier(speaker)
        rows = [
            u for u, name in zip(said["utterances"], names(said), strict=True) if name == speaker
        ]
        assert [(a, b, t) for a, b, t in words] == [
            (round(1000 * u["start"]), round(1000 * u["end"]), flat(u["text"])) for u in rows
        ]
        felt = eaf.get_ref_annotation_data_for_tier(f"emotion@{speaker}")
        assert [value for _, _, value, *_ in felt] == [u["emotion"] for u in rows]
    root = ET.parse(path).getroot()
    # the order that the schema demands, and references that lead somewhere
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
    said = result()
    rows = [line.split(" ") for line in FORMATS["rttm"].write(said).decode().splitlines()]
    assert all(len(row) == 10 and row[0] == "SPEAKER" and row[1] == "my_clip_é" for row in rows)
    assert [float(row[3]) for row in rows] == [u["start"] for u in said["utterances"]]
    assert [row[7] for row in rows][:3] == ["Ann_Lee", "B<&>\"'", "unknown"]
    table = [line.split("\t") for line in FORMATS["audacity"].write(said).decode().splitlines()]
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
    said = result([(a, a + d) for a, d in spans], texts, speakers)
    for form in FORMATS.values():
        form.write(said)
    root = ET.fromstring(FORMATS["eaf"].write(said))
    times = {e.get("TIME_SLOT_ID"): int(e.get("TIME_VALUE")) for e in root.iter("TIME_SLOT")}
    for tier in root.iter("TIER"):
        last = 0
        for a in tier.iter("ALIGNABLE_ANNOTATION"):
            start, end = times[a.get("TIME_SLOT_REF1")], times[a.get("TIME_SLOT_REF2")]
            assert last <= start < end
            last = end
    assert len({tier.get("TIER_ID") for tier in root.iter("TIER")}) == len(list(root.iter("TIER")))
    grid = FORMATS["textgrid"].write(said).decode()
    edges = [
        tuple(map(float, e)) for e in re.findall(r"xmin = (\S+)\n\s+xmax = (\S+)\n\s+text", grid)
    ]
    assert all(a < b for a, b in edges)


def test_places(tmp_path):
    def bases(*paths, out=None):
        inputs = [Input(tmp_path / p, str(Path(p).parent)) for p in paths]
        return [str(b.relative_to(out or tmp_path)) for b in output_bases(inputs, out)]

    out = tmp_path / "out"
    assert bases("a/x.mp4", "b/y.mp4", out=out) == ["x", "y"]
    assert bases("a/x.mp4", "b/x.mp4", "y.mp4", out=out) == ["a/x", "b/x", "y"]
    assert bases("a/x.mp4", "a/x.wav", out=out) == ["x.mp4", "x.wav"]
    assert bases("x.mp4", "a/x.mp4", out=out) == ["x", "a/x"]
    assert bases("a/x.mp4", "b/X.mp4", "a/x.wav") == ["a/x.mp4", "b/X", "a/x.wav"]
    named = [Input(tmp_path / "a" / "x.mp4"), Input(tmp_path / "b" / "x.mp4")]
    assert [str(b.relative_to(out)) for b in output_bases(named, out)] == ["a/x", "b/x"]
    assert output_path(Path("o/my.clip"), "textgrid").name == "my.clip.merc.TextGrid"


def test_nothing_foreign_is_overwritten(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    base, medium = tmp_path / "o" / "x", tmp_path / "v" / "x.mp4"
    first, second = result(), result(duration=70.0)
    paths = write_result(first, medium, base, ["json", "srt", "eaf"])
    assert b'RELATIVE_MEDIA_URL="./../v/x.mp4"' in paths[2].read_bytes()
    write_result(second, medium, base, ["json"])  # our own: replaced
    assert json.loads(paths[0].read_text())["duration"] == 70
    paths[2].write_bytes(paths[2].read_bytes().replace(b"neutral", b"bored"))  # corrected by hand
    before = {path: path.read_bytes() for path in paths}
    with pytest.raises(FileExistsError, match="--overwrite"):
        write_result(first, medium, base, ["json", "eaf"])
    assert {path: path.read_bytes() for path in paths} == before  # not even the file that was ours
    write_result(first, medium, base, ["eaf"], overwrite=True)
    assert b"bored" not in paths[2].read_bytes()
    assert not list(tmp_path.rglob(".merc-*"))


def test_format_names():
    assert parse_formats("json, SRT,json") == ["json", "srt"]
    for wrong in ("docx", "", "json,,docx"):
        with pytest.raises(UsageError, match="textgrid"):
            parse_formats(wrong)


def test_same_bytes_in_another_process():
    """No clock, no hash seed, no machine in any format."""
    code = (
        "import sys, json; from pipeline.exports import FORMATS; said = json.load(sys.stdin)\n"
        "import hashlib; print(hashlib.sha256(b''.join(f.write(said) for f in FORMATS.values())).hexdigest())"
    )
    root = ROOT
    sums = {
        subprocess.run(
            [sys.executable, "-c", code],
            input=json.dumps(result()),
            text=True,
            cwd=root,
            check=True,
            capture_output=True,
            env={"PYTHONHASHSEED": str(random.randrange(1000))},
        ).stdout
        for _ in range(2)
    }
    assert len(sums) == 1
