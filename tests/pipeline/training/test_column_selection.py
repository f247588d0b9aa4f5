"""Selection of columns: on training labels alone, and stored with the model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from css_model import Normaliser
from pipeline.core.dialogue import Dialogue
from pipeline.training.column_selection import select_columns


@pytest.fixture
def dialogue() -> Dialogue:
    """Columns 3, 17 and 28 tell the label; utterances 0 to 8 have none."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 200)
    rows = random.normal(size=(200, 30)).astype(np.float32)
    rows[:, [3, 17, 28]] += 2 * labels[:, None]
    rows[5] = np.nan  # a missing feature
    return Dialogue(
        id="a",
        split="train",
        utterances=list(map(str, range(200))),
        speakers=["s"] * 200,
        texts=[""] * 200,
        labels=np.where(np.arange(200) < 9, -1, labels),
        features={"audio": rows},
    )


def test_columns_are_selected_on_labelled_utterances(dialogue):
    assert select_columns([dialogue], "audio", 3).tolist() == [3, 17, 28]
    rows = dialogue.features["audio"]
    unlabelled_differ = np.where((dialogue.labels < 0)[:, None], rows[:, ::-1], rows)
    other = replace(dialogue, features={"audio": unlabelled_differ})
    assert select_columns([other], "audio", 3).tolist() == [3, 17, 28]
    with pytest.raises(ValueError, match="30 columns"):
        select_columns([dialogue], "audio", 31)


def test_the_normaliser_stores_the_columns(dialogue):
    columns, rows = np.array([3, 17, 28]), dialogue.features["audio"]
    selecting = Normaliser("speaker", columns={"audio": columns}).fit([dialogue])
    selected = replace(dialogue, features={"audio": rows[:, columns]})
    plain = Normaliser("speaker").fit([selected])
    expected = plain.apply(selected.features, dialogue.speakers)["audio"]
    restored = Normaliser.from_parts(selecting.to_dict(), selecting.tensors())
    for normaliser in (selecting, restored):
        applied = normaliser.apply(dialogue.features, dialogue.speakers)["audio"]
        np.testing.assert_array_equal(applied, expected)
        assert normaliser.widths({"audio": 30, "text": 5}) == {"audio": 3, "text": 5}
        assert normaliser.inputs == {"audio": 30}
    with pytest.raises(ValueError, match="expected 30"):
        restored.apply({"audio": rows[:, :29]}, dialogue.speakers)
    with pytest.raises(ValueError, match="do not agree"):
        Normaliser.from_parts({"method": "corpus"}, selecting.tensors())
