"""The Python API as a user calls it. tests/test_docstrings.py runs its examples."""

from __future__ import annotations

import inspect
import re
import sys

import numpy as np
import pytest
from support.imports import run_alone

import merc
from pipeline.core.errors import UsageError

LABEL_IN_FORKS = """
import multiprocessing
import merc

def label(use):
    return len(use.label({clip!r}).utterances)

def label_copied():
    return label(labeller)

def label_anew():
    return label(merc)

def fork(work):
    with multiprocessing.get_context("fork").Pool(1) as pool:
        try:
            print(pool.apply_async(work).get(100))
        except merc.MercError as error:
            print(error)

labeller = merc.Labeller()
fork(label_anew)
print(label(labeller))
fork(label_copied)
fork(label_anew)
"""


def test_import_is_light():
    heavy = {"torch", "pandas", "transformers", "av", "cv2", "sklearn"}
    assert not heavy & run_alone("import merc")[1]


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
    renamed |= {"watch", "log"}  # of the terminal alone
    assert options(extract) - renamed <= options(merc.extract)
    # of files, as Result.save writes them
    batch = {"recordings", "format", "out", "jobs", "overwrite", "json", "log", "follow"}
    assert options(label) - batch <= options(merc.label)
    assert options(evaluate) - {"dataset", "data", "json"} <= options(merc.evaluate)


def test_unusable_arguments_are_refused_by_name(tmp_path):
    recording = tmp_path / "talk.wav"
    recording.touch()
    for name, values in {"speakers": (0, -1, 1.5, True, "2"), "min_confidence": ("0.5", 2)}.items():
        for value in values:
            with pytest.raises(UsageError, match=f"{re.escape(repr(value))}; choose a .*number"):
                merc.Labeller(**{name: value})
            if name == "speakers":
                with pytest.raises(UsageError, match="number of speakers"):
                    merc.extract(recording, store=tmp_path / "s", speakers=value)
    labeller = merc.Labeller(speakers=np.int64(2), min_confidence=np.float32(0.5))
    for wrong in (None, b"talk.mp4", ["talk.mp4"]):
        with pytest.raises(UsageError, match=r"recording .*: not a path"):
            labeller.label(wrong)
    with pytest.raises(UsageError, match=r"nope\.srt: no such file"):
        labeller.label("talk.mp4", transcript="nope.srt")
    for idle in ("x", -1, None):
        with pytest.raises(UsageError, match=r"idle .*at least 0"):
            next(labeller.follow("talk.mp4", idle=idle))


@pytest.mark.skipif(sys.platform != "linux", reason="forks")
def test_a_fork_of_a_process_that_has_labelled_is_refused_and_does_not_hang(media):
    """Whether it uses the copied models or its own; a fork before their first use works."""
    code = LABEL_IN_FORKS.format(clip=str(media / "grid" / "bbaf2n.mpg"))
    before, parent, *forks = run_alone(code)[0]
    assert before == parent == "1" and len(forks) == 2
    assert all("get_context('spawn')" in line for line in forks)
