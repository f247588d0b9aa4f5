"""The Python API as a user calls it: every example of its docstrings runs."""

from __future__ import annotations

import doctest
import inspect
import shutil
import subprocess
import sys

import pytest
from support.paths import ROOT

import merc
from pipeline import labelling

FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def examples():
    finder = doctest.DocTestFinder(exclude_empty=True)
    for module in (merc, labelling):
        names = {"merc": merc, "Labeller": labelling.Labeller}
        for test in finder.find(module, module.__name__, extraglobs=names):
            yield pytest.param(test, id=test.name)


@pytest.mark.parametrize("test", examples())
def test_examples_of_the_docstrings(test, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    report: list[str] = []
    result = doctest.DocTestRunner(optionflags=FLAGS).run(test, out=report.append)
    assert result.attempted and not result.failed, "".join(report)


def test_every_public_name_has_an_example():
    for name in merc.__all__:
        value = getattr(merc, name)
        if callable(value):
            assert ">>>" in (inspect.getdoc(value) or ""), name


def test_import_is_light():
    code = (
        "import merc, sys\n"
        "heavy = {'torch', 'pandas', 'transformers', 'av', 'cv2', 'sklearn'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_results_show_themselves_in_a_notebook():
    content = {
        "media": "<b>talk</b>.mp4",
        "model": "merc-offline@0",
        "labels": ["joy", "anger"],
        "warnings": ["<script>"],
        "utterances": [
            {
                "start": 0.0,
                "end": 1.5,
                "speaker": "S1",
                "text": "<i>hello</i>",
                "emotion": "joy",
                "confidence": 0.75,
                "probabilities": {"joy": 0.75, "anger": 0.25},
                "modalities": {"text": {"present": True}},
            }
        ],
    }
    page = merc.Result(content)._repr_html_()
    assert "<table" in page and "0.75" in page and "&lt;i&gt;hello" in page
    assert not any(tag in page for tag in ("<b>", "<i>", "<script>"))


def test_options_of_the_command_line_are_keyword_arguments():
    from pipeline.cli.extract import extract
    from pipeline.cli.label import label
    from pipeline.cli.train import evaluate

    def options(function):
        return set(inspect.signature(function).parameters)

    renamed = {"recordings", "modality", "out", "json", "dataset", "data", "table", "left"}
    assert options(extract) - renamed <= options(merc.extract)
    batch = {"recordings", "format", "out", "jobs", "overwrite", "json"}  # see Result.save
    assert options(label) - batch <= options(merc.label)
    assert options(evaluate) - {"dataset", "data", "json"} <= options(merc.evaluate)
