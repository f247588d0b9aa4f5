"""The graph of merc-offline computes what its model in torch computes, without torch."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.imports import run_alone

import css_model
from css_model import load_checkpoint
from pipeline.core.dialogue import Dialogue
from pipeline.training.evidence import weigh
from pipeline.training.graph_model import GraphModel
from pipeline.training.predictor import WINDOW, Predictor, compute_logits

WEIGHTS = Path(css_model.__file__).parent / "weights" / "merc-offline.safetensors"
GRAPH = Predictor.load("merc-offline")
TORCH = Predictor(load_checkpoint(WEIGHTS), GRAPH.name)

PREDICTION = """
import numpy as np
from pipeline.core.dialogue import Dialogue
from pipeline.training.evidence import weigh
from pipeline.training.predictor import Predictor
predictor = Predictor.load("merc-offline")
features = {name: np.zeros((2, width), np.float32) for name, width in predictor.widths.items()}
dialogue = Dialogue("x", "test", ["0", "1"], ["A", "B"], [""] * 2, np.full(2, -1), features)
assert np.isfinite(weigh(predictor, dialogue).probabilities).all()
"""


def test_predicting_imports_neither_torch_nor_scipy() -> None:
    assert not {"torch", "scipy"} & run_alone(PREDICTION)[1]


def random_dialogue(
    count: int, seed: int = 0, hidden: Collection[str] = (), speakers: int = 3
) -> Dialogue:
    """Return prepared features; each is missing in three of ten utterances, so some have none.

    hidden: modalities that are missing everywhere.
    """
    rng = np.random.default_rng(seed)
    features = {
        name: rng.standard_normal((count, width)).astype(np.float32)
        for name, width in GRAPH.widths.items()
    }
    for name, rows in features.items():
        rows[(rng.random(count) < 0.3) | (name in hidden)] = np.nan
    names = [f"S{k}" for k in rng.integers(0, speakers, count)]
    numbers = [str(k) for k in range(count)]
    return Dialogue("x", "test", numbers, names, [""] * count, np.full(count, -1), features)


def assert_same_logits(dialogue: Dialogue) -> None:
    graph, torch = (compute_logits(model, [dialogue])[0] for model in (GRAPH.model, TORCH.model))
    np.testing.assert_allclose(graph, torch, rtol=1e-5, atol=1e-5)


def test_the_model_that_ships_is_a_graph() -> None:
    assert isinstance(GRAPH.model, GraphModel) and not isinstance(TORCH.model, GraphModel)
    assert GRAPH.model.parameter_count() == TORCH.model.parameter_count()
    assert not isinstance(Predictor.load(WEIGHTS).model, GraphModel)


@pytest.mark.parametrize("count", [0, 1, 2, 17, WINDOW, WINDOW + 1, 3 * WINDOW])
def test_logits_are_those_of_torch(count: int) -> None:
    for seed in range(5):
        assert_same_logits(random_dialogue(count, seed))


@pytest.mark.parametrize("count", [1, 2, 17, WINDOW])
@pytest.mark.parametrize("hidden", ["text", "text audio", "audio visual", "text audio visual"])
def test_modalities_that_are_missing_everywhere(count: int, hidden: str) -> None:
    dialogue = random_dialogue(count, hidden=hidden.split())
    assert_same_logits(dialogue)
    for name in hidden.split():
        del dialogue.features[name]
    assert_same_logits(dialogue)


@pytest.mark.parametrize("speakers", [1, 8, 9, 40])
def test_any_number_of_speakers(speakers: int) -> None:
    assert_same_logits(random_dialogue(60, speakers=speakers))


def test_every_utterance_without_features_has_the_same_logits() -> None:
    """They say nothing, whatever the others say."""
    dialogue = random_dialogue(17)
    for rows in dialogue.features.values():
        rows[[3, 9]] = np.nan
    logits = compute_logits(GRAPH.model, [dialogue])[0]
    np.testing.assert_allclose(logits[3], logits[9], atol=1e-5)
    assert_same_logits(dialogue)


def test_evidence_is_that_of_torch() -> None:
    dialogue = random_dialogue(20)
    graph, torch = weigh(GRAPH, dialogue), weigh(TORCH, dialogue)
    for part in ("alone", "without"):
        for name in GRAPH.widths:
            one, other = getattr(graph, part)[name], getattr(torch, part)[name]
            np.testing.assert_allclose(one, other, atol=1e-5)


def test_wrong_rows_are_refused_as_in_torch() -> None:
    rows = random_dialogue(4).features["text"]
    partly, infinite = np.zeros_like(rows), np.zeros_like(rows)
    partly[2, 0], infinite[1, 5] = np.nan, np.inf
    for wrong in (partly, infinite):
        dialogue = replace(random_dialogue(4), features={"text": wrong})
        messages = []
        for model in (GRAPH.model, TORCH.model):
            with pytest.raises(ValueError, match="text feature of utterance") as error:
                compute_logits(model, [dialogue])
            messages.append(str(error.value))
        assert messages[0] == messages[1]
    narrow = replace(random_dialogue(4), features={"text": rows[:, :7]})
    with pytest.raises(ValueError, match=r"shape \(4, 7\), expected \(4, 384\)"):
        compute_logits(GRAPH.model, [narrow])


def test_other_dimensions_are_refused() -> None:
    config = replace(GRAPH.checkpoint.config, widths=(("text", 4),))
    arrays = {name: array.numpy() for name, array in css_model.CSS(config).state_dict().items()}
    with pytest.raises(ValueError, match="another network"):
        GraphModel(replace(GRAPH.checkpoint, config=config, state=arrays))
