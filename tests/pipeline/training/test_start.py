"""A trained model is adapted to other labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from support.training import edited

from pipeline.core.dialogue import Corpus, Dialogue
from pipeline.core.errors import MercError
from pipeline.training.evaluate import evaluate
from pipeline.training.fit import fit
from pipeline.training.predictor import Predictor
from pipeline.training.protocols import split_corpus
from pipeline.training.start import load_start
from pipeline.training.train import train

QUICK = ["train.threads=1", "train.epochs=2"]


def own_labels(corpus: Corpus) -> Corpus:
    """Two classes of the corpus keep their names, the others are one new class."""
    index = np.array([0, 1, *[2] * (len(corpus.labels) - 2), -1])
    relabelled = edited(corpus, lambda d: replace(d, labels=index[d.labels]))
    return replace(relabelled, labels=(*corpus.labels[:2], "mine"))


def adapt(corpus: Corpus, run: Path, folder: Path, *settings: str) -> dict[str, torch.Tensor]:
    start = load_start(run, corpus)
    config = start.configuration([*QUICK, *settings])
    fit(split_corpus(corpus, config.data, "clean"), config, 0, folder, start=start)
    return load_file(folder / "model.safetensors")


def test_an_adapted_run_has_the_labels_of_the_user(
    corpus: Corpus, run: Path, tmp_path: Path
) -> None:
    own = own_labels(corpus)
    start = load_start(run, own)
    metrics = train(own, start.configuration(QUICK), "clean", 1, tmp_path / "run", start=start)
    assert metrics["start"] == start.name and metrics["labels"] == list(own.labels)
    assert any("New classes: mine" in note for note in metrics["notes"])
    assert f"Training started from {start.name}" in (tmp_path / "run" / "card.md").read_text()
    assert evaluate(str(tmp_path / "run"), own)["labels"] == list(own.labels)
    predictor = Predictor.load(tmp_path / "run")
    assert predictor.fingerprints == start.checkpoint.fingerprints
    # an adapted run can be adapted again
    assert load_start(tmp_path / "run", corpus).checkpoint.config.labels == own.labels


def test_below_the_limit_only_the_outputs_are_trained(
    corpus: Corpus, run: Path, tmp_path: Path
) -> None:
    before = load_file(run / "model.safetensors")
    own = own_labels(corpus)
    for limit, trunk_stays in ((10**6, True), (0, False)):
        after = adapt(own, run, tmp_path / str(limit), f"train.head_only_below={limit}")
        trunk = [n for n in before if n.startswith(("model.encoder.", "model.fusion."))]
        assert all(torch.equal(before[n], after[n]) for n in trunk) == trunk_stays
        statistics = [n for n in before if n.startswith("normaliser.")]
        assert all(torch.equal(before[n], after[n]) for n in statistics)


def test_a_small_valid_part_is_trained_on_too(corpus: Corpus, run: Path, tmp_path: Path) -> None:
    def other_labels(dialogue: Dialogue) -> Dialogue:
        if dialogue.split != "valid":
            return dialogue
        return replace(dialogue, labels=(dialogue.labels + 1) % len(corpus.labels))

    start = load_start(run, corpus)
    few = ["train.few_below=1000000", "train.few_epochs=2"]
    models = []
    for name, changed in (("one", corpus), ("other", edited(corpus, other_labels))):
        config = start.configuration([*QUICK, *few])
        metrics = train(changed, config, "clean", 1, tmp_path / name, start=start)
        assert [row["best_epoch"] for row in metrics["per_seed"]] == [2]
        assert any("The valid part was trained on, too" in note for note in metrics["notes"])
        card = (tmp_path / name / "card.md").read_text()
        assert "No epoch was chosen" in card and "fitted on the valid part" not in card
        models.append(Predictor.load(tmp_path / name).checkpoint)
    name = "encoder.project.text.weight"
    assert not torch.equal(models[0].state[name], models[1].state[name])
    assert models[0].temperatures == start.checkpoint.temperatures


def test_few_labels_move_the_weights_halfway(corpus: Corpus, run: Path, tmp_path: Path) -> None:
    """Adam's first step moves a weight by the learning rate, if its gradient is not tiny."""
    start = load_start(run, corpus)
    settings = ["train.few_below=1000000", "train.few_epochs=1", "train.batch=100000"]
    config = start.configuration([*QUICK, *settings, "train.lr=0.01"])
    parts = split_corpus(corpus, config.data, "clean", config.train.few_below)
    fit(parts, config, 0, tmp_path, start=start)
    name = "model.encoder.project.text.weight"
    before, after = (load_file(path / "model.safetensors")[name] for path in (run, tmp_path))
    assert (after - before).abs().max().item() == pytest.approx(0.005, rel=1e-2)


def test_class_weights_give_the_smoothed_frequencies(corpus: Corpus, run: Path) -> None:
    start = load_start(run, corpus)
    counts = np.zeros(len(corpus.labels), np.int64)
    counts[:2] = 40, 2
    weights = start.class_weights(corpus.labels, counts)
    smoothed = start.counts(corpus.labels, counts, few=True)
    ratio = (weights * counts)[:2] / smoothed[:2]
    assert ratio[0] == pytest.approx(ratio[1]) and weights[1] > weights[0]


def test_what_does_not_help_is_not_kept(corpus: Corpus, run: Path, tmp_path: Path) -> None:
    """On labels of chance, training ends early, with the start or an epoch soon after."""
    rng = np.random.default_rng(0)

    def shuffle(dialogue: Dialogue) -> Dialogue:
        return replace(dialogue, labels=rng.permutation(dialogue.labels))

    start = load_start(run, corpus)
    noise = edited(corpus, shuffle)
    config = start.configuration(
        ["train.threads=1", "train.lr=1", "train.epochs=40", "train.patience=3"]
    )
    rows: list[dict] = []
    fit(split_corpus(noise, config.data, "clean"), config, 0, tmp_path, rows.append, start)
    assert len(rows) < 40
    assert all(row["select_loss"] > 0 for row in rows)


def test_other_features_are_refused(corpus: Corpus, run: Path) -> None:
    other = {m: made | {"version": "other"} for m, made in (corpus.fingerprints or {}).items()}
    with pytest.raises(MercError, match="other text features"):
        load_start(run, replace(corpus, fingerprints=other))
    wide = edited(
        corpus, lambda d: replace(d, features={"text": np.zeros((len(d.labels), 7), np.float32)})
    )
    with pytest.raises(MercError, match="of width"):
        load_start(run, replace(wide, widths={"text": 7}))


@pytest.mark.parametrize("setting", ["model.d=32", "data.normalise_text=none", "model.order=2"])
def test_what_the_start_decides_cannot_be_set(corpus: Corpus, run: Path, setting: str) -> None:
    with pytest.raises(MercError, match="which training starts from"):
        load_start(run, corpus).configuration([setting])


def test_a_modality_that_the_corpus_lacks_is_left_as_it_was(
    corpus: Corpus, run: Path, tmp_path: Path
) -> None:
    def only_text(dialogue: Dialogue) -> Dialogue:
        return replace(dialogue, features={"text": dialogue.features["text"]})

    text = edited(corpus, only_text)
    made = corpus.fingerprints and {"text": corpus.fingerprints["text"]}
    text = replace(text, widths={"text": corpus.widths["text"]}, fingerprints=made)
    before = load_file(run / "model.safetensors")
    after = adapt(text, run, tmp_path, "train.head_only_below=0")
    assert set(Predictor.load(tmp_path / "model.safetensors").widths) == set(corpus.widths)
    names = ["model.encoder.project.audio.weight", "model.encoder.output.visual.weight"]
    assert all(torch.equal(before[name], after[name]) for name in names)
    changed = "model.encoder.project.text.weight"
    assert not torch.equal(before[changed], after[changed])
