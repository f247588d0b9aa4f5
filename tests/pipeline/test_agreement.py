"""Agreement of two annotations, against formulas written out and against itself."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from support.results import result
from typer.testing import CliRunner

from pipeline.agreement import agree, match_utterances
from pipeline.cli.app import app
from pipeline.core.errors import MercError
from pipeline.exports import FORMATS
from pipeline.segmentation.agreement_of_times import compare_times

LABELS = ("neutral", "joy", "anger")


def write(path, emotions, shift=0.0, speakers=("Ann", "Ben")):
    spans = [
        (2.0 * k + shift, 2.0 * k + 1.5 + shift, speakers[k % 2], f"text {k}")
        for k in range(len(emotions))
    ]
    content = result(spans, LABELS)
    for utterance, emotion in zip(content["utterances"], emotions, strict=True):
        utterance["emotion"] = emotion
    path.parent.mkdir(exist_ok=True)
    form = "eaf" if path.suffix == ".eaf" else "json"
    path.write_bytes(FORMATS[form].write(content))
    return path


def test_figures_are_those_of_their_formulas(tmp_path):
    rng = np.random.default_rng(0)
    one = [LABELS[k] for k in rng.integers(0, 3, 40)]
    other = [a if rng.random() < 0.6 else LABELS[rng.integers(3)] for a in one]
    found = agree(write(tmp_path / "a.json", one), write(tmp_path / "b.eaf", other, 0.1))
    table = np.array([[sum((a, b) == (x, y) for a, b in zip(one, other, strict=True))
                       for y in found["labels"]] for x in found["labels"]])  # fmt: skip
    assert found["confusion"] == table.tolist() and table.sum() == 40
    same, n = np.trace(table), table.sum()
    assert found["agreement"] == same / n
    chance = (table.sum(0) * table.sum(1)).sum() / n**2
    assert found["kappa"] == pytest.approx((same / n - chance) / (1 - chance))
    # Krippendorff (2011), nominal data of two observers
    counts = table.sum(0) + table.sum(1)
    observed = 2 * (n - same)
    expected = (counts.sum() ** 2 - (counts**2).sum()) / (counts.sum() - 1)
    assert found["alpha"] == pytest.approx(1 - observed / expected)
    assert len(found["disagreements"]) == n - same
    assert found["utterances"] == {"a": 40, "b": 40, "pairs": 40}
    first = next(k for k in range(40) if one[k] != other[k])
    row = found["disagreements"][0]
    assert (row["start"], row["a"], row["b"]) == (2.0 * first, one[first], other[first])
    # 0.1 of every 1.5 s is missed, and 0.1 s is extra
    assert found["speakers"]["missed"] == pytest.approx(0.1 / 1.5, abs=1e-3)
    assert found["speakers"]["confused"] == 0


def test_names_of_speakers_do_not_matter_but_who_is_who_does(tmp_path):
    emotions = ["joy", "anger"] * 5
    one = write(tmp_path / "a.json", emotions)
    renamed = agree(one, write(tmp_path / "b.json", emotions, speakers=("S2", "S1")))
    assert renamed["speakers"]["error"] == 0 and renamed["kappa"] == 1
    merged = agree(one, write(tmp_path / "c.json", emotions, speakers=("S1", "S1")))
    assert merged["speakers"]["confused"] == pytest.approx(0.5)
    assert agree(one, write(tmp_path / "d.json", emotions, speakers=("", "")))["speakers"] is None


def test_what_is_not_defined_is_none(tmp_path):
    found = agree(write(tmp_path / "a.json", ["joy"] * 3), write(tmp_path / "b.json", ["joy"] * 3))
    assert found["agreement"] == 1 and found["kappa"] is None and found["alpha"] is None


def test_other_labels_uncertain_and_unlabelled_are_stated(tmp_path):
    one = write(tmp_path / "a.json", ["joy", "fear", "", "neutral"])
    other = write(tmp_path / "b.eaf", ["joy", "anger", "joy", "uncertain"])
    found = agree(one, other)
    assert found["agreement"] == 0.5 and found["utterances"]["pairs"] == 4
    assert found["warnings"] == [
        "2 pairs without a label on one side, or uncertain, are not compared",
        "only the first annotation uses fear",
        "only the second annotation uses anger",
    ]


def test_an_utterance_is_in_one_pair_at_most():
    def at(*spans):
        return [{"start": start, "end": end} for start, end in spans]

    one, other = at((0, 1), (1, 3), (5, 6)), at((0, 1), (0, 1.1), (1.2, 3), (8, 9))
    pairs = match_utterances(one, other)
    assert pairs == [(one[0], other[0]), (one[1], other[2])]
    assert match_utterances(one, one) == list(zip(one, one, strict=True))
    assert match_utterances([], one) == []


def test_other_recordings_are_refused(tmp_path):
    one = write(tmp_path / "a.json", ["joy", "fear"])
    with pytest.raises(MercError, match="no utterances of the same times; check"):
        agree(one, write(tmp_path / "b.json", ["joy", "fear"], 100.0))
    for name, sha in (("a", "1" * 64), ("c", "2" * 64)):
        path = write(tmp_path / f"{name}.json", ["joy", "fear"])
        path.write_text(json.dumps(json.loads(path.read_text()) | {"sha256": sha}))
    with pytest.raises(MercError, match="different recordings"):
        agree(one, tmp_path / "c.json")


def test_a_page_links_to_the_page_of_the_dialogue_or_to_the_recording(tmp_path):
    one = write(tmp_path / "a" / "talk#1.merc.json", ["joy", "anger"])
    other = write(tmp_path / "b" / "talk#1.eaf", ["joy", "joy"])

    def links():
        page = Path(agree(one, other, report=True, out=tmp_path / "o")["page"])
        assert page.name == "talk#1.agreement.merc.html"
        return set(re.findall(r'href="([^"]*)"', page.read_text("utf-8")))

    assert links() == set()
    (tmp_path / "b" / "talk#1.mp4").touch()
    assert links() == {"../b/talk%231.mp4", "../b/talk%231.mp4#t=2.000"}
    (tmp_path / "a" / "talk#1.merc.html").touch()
    assert links() == {"../a/talk%231.merc.html", "../a/talk%231.merc.html#t=2.000"}


def test_what_has_no_partner_is_listed(tmp_path):
    one = write(tmp_path / "a.json", ["joy"] * 6)
    found = agree(one, write(tmp_path / "b.json", ["joy"] * 6, 4.0))
    assert [(row["in"], row["start"]) for row in found["unpaired"]] == [
        ("a", 0.0), ("a", 2.0), ("b", 12.0), ("b", 14.0),
    ]  # fmt: skip
    assert found["warnings"] == []
    found = agree(one, write(tmp_path / "b.json", ["joy"] * 6, 8.0))
    assert "only 2 of 6 and 6 utterances have the same times" in found["warnings"][0]
    with pytest.raises(MercError, match="neither is empty"):
        agree(one, write(tmp_path / "b.json", []))


def test_commands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for folder, second in (("anna", "joy"), ("ben", "anger")):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "talk.merc.json", ["joy", second, "neutral"])
        write(tmp_path / folder / f"{folder}.json", ["joy"])

    def run(*arguments):
        return CliRunner().invoke(app, list(map(str, arguments)))

    done = run("agree", "anna", "ben", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["utterances"]["pairs"] == 3 and found["disagreements"][0]["recording"] == "talk"
    assert found["unpaired"] == []
    assert found["warnings"][:2] == [
        "anna/anna.json is not compared: ben has no annotation of anna",
        "ben/ben.json is not compared: anna has no annotation of ben",
    ]
    done = run("agree", "anna", "ben", "--report")
    assert "Cohen's kappa" in done.stdout and "wrote anna/agreement.merc.html" in done.stdout
    assert run("agree", "anna", "ben", "--report").exit_code == 0  # its own file is replaced
    assert run("agree", "anna", "ben", "--report", "--out", "o").exit_code == 0
    assert Path("o/agreement.merc.html").is_file()
    assert run("agree", "anna", "ben", "--out", "o").exit_code == 2
    Path("anna/agreement.merc.html").write_text("my own notes")
    assert run("agree", "anna", "ben", "--report").exit_code == 2
    assert Path("anna/agreement.merc.html").read_text() == "my own notes"
    assert run("agree", "anna", "nowhere").exit_code == 2
    assert run("agree", "anna", "ben/ben.json").exit_code == 2

    (tmp_path / "broken.json").write_text("{")
    done = run("export", "anna/talk.merc.json", "broken.json", "--format", "eaf,srt", "--out", "o")
    assert done.exit_code == 1 and "broken.json" in (tmp_path / "o/failures.csv").read_text()
    assert sorted(path.name for path in (tmp_path / "o").glob("talk*")) == [
        "talk.merc.eaf",
        "talk.merc.srt",
    ]
    done = run("export", "anna/talk.merc.json", "--format", "vtt", "--out", "o")
    assert done.exit_code == 0 and "broken.json" in (tmp_path / "o/failures.csv").read_text()
    assert agree(tmp_path / "o/talk.merc.eaf", tmp_path / "anna/talk.merc.json")["agreement"] == 1
    assert run("export", "anna/talk.merc.json", "--format", "docx").exit_code == 2


@pytest.mark.parametrize("gap", [0.0, 0.5, -0.5])
def test_utterances_of_one_speaker_that_touch_are_compared_one_by_one(gap):
    side = [{"start": 3.0 * k, "end": 3.0 * k + 3 - gap, "speaker": "Ann"} for k in range(4)]
    assert compare_times([(side, side)])["segmentation"] == {"purity": 1, "coverage": 1, "f": 1}
    joined = [side[0] | {"end": side[1]["end"]}, *side[2:]]
    if gap <= 0:  # joining across a pause is no error to pyannote.metrics
        assert compare_times([(side, joined)])["segmentation"]["purity"] < 1
