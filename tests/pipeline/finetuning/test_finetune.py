"""Small encoders fine-tuned on MELD's words: resuming, LoRA, bad input."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.asserts import assert_distribution
from support.releases import small_roberta
from support.tables import write_table
from transformers import AutoModel

from extractors import TextExtractor
from pipeline.core.errors import MercError
from pipeline.core.fingerprints import fingerprint_id
from pipeline.corpora import find_source
from pipeline.corpora.meld_transcripts import EMOTIONS, read_meld_csv
from pipeline.corpora.table import load_table
from pipeline.finetuning.finetune import finetune_text
from pipeline.finetuning.lines import Lines, load_lines

SMALL = [
    "train.epochs=3",
    "train.lr=3e-3",
    "train.threads=1",
    "train.batch=16",
    "train.class_weights=mild",
    "train.weight_decay=0.01",
    "model.dropout=0.1",
]
FILES = {
    "config.json",
    "config.yaml",
    "curves.csv",
    "curves.png",
    "head.safetensors",
    "merc.json",
    "metrics.json",
    "model.safetensors",
    "predictions.csv",
    "tokenizer.json",
    "tokenizer_config.json",
}


@pytest.fixture(scope="module")
def table(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some of MELD's dialogues; one utterance has no label."""
    rows: list[tuple[object, ...]] = []
    for part, split, count in (("train", "train", 100), ("dev", "valid", 40)):
        for t in read_meld_csv(shared / "data" / "meld" / f"{part}_sent_emo.csv")[:count]:
            for k, text in enumerate(t.texts):
                label = EMOTIONS[t.labels[k]]
                rows.append((f"{part}{t.id}", t.utterances[k], t.speakers[k], text, label, split))
    rows.append(("train0", "more", "Ross", "Nobody said how.", "", "train"))
    return write_table(tmp_path_factory.mktemp("tables") / "table", rows)


@pytest.fixture(scope="module")
def lines(table: Path) -> Lines:
    return load_lines(find_source(str(table)))


@pytest.fixture(scope="module")
def encoder(lines: Lines, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_roberta(tmp_path_factory.mktemp("encoder") / "small", lines.texts("train"))


@pytest.fixture(scope="module")
def run(lines: Lines, encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    finetune_text(lines, str(encoder), "full", 1, out, SMALL)
    return out


def test_the_run_learns_and_is_complete(run: Path, table: Path, lines: Lines) -> None:
    # no pickle, no checkpoint
    assert {path.name for path in run.iterdir()} == FILES
    metrics = json.loads((run / "metrics.json").read_text())
    curve = list(csv.DictReader((run / "curves.csv").open()))
    assert [row["epoch"] for row in curve] == ["1", "2", "3"]
    assert float(curve[-1]["loss"]) < float(curve[0]["loss"]) - 0.1
    majority = metrics["baselines"]["majority"]["valid"]["weighted_f1"]
    assert metrics["valid"]["weighted_f1"]["mean"] > majority + 0.05
    scores = [float(row["valid_weighted_f1"]) for row in curve]
    assert scores[metrics["per_seed"][0]["best_epoch"] - 1] == max(scores)
    rows = list(csv.DictReader((run / "predictions.csv").open()))
    truth = [lines.labels[line.label] for line in lines.parts["valid"]]
    assert [row["label"] for row in rows] == truth
    probabilities = [[float(row[f"p_{label}"]) for label in lines.labels] for row in rows]
    assert_distribution(np.array(probabilities), 1e-4)
    utterances = sum(d.labels.size for d in load_table(table, False).split("train"))
    # the one without a label is not learned
    assert metrics["parts"]["train"]["utterances"] == utterances - 1


def test_the_folder_is_an_encoder_with_its_own_fingerprint(
    run: Path, encoder: Path, tmp_path: Path
) -> None:
    before, after = TextExtractor(encoder), TextExtractor(run)
    assert after.fingerprint == json.loads((run / "metrics.json").read_text())["fingerprint"]
    assert after.fingerprint["weights"] != before.fingerprint["weights"]
    assert after.dim == before.dim and after.pooling == "first"
    texts = ["You’re late!", "Oh no."]
    assert np.abs(after.extract(texts) - before.extract(texts)).max() > 0.01
    changed = tmp_path / "changed"
    shutil.copytree(run, changed)
    weights = load_file(run / "model.safetensors")
    name = next(iter(weights))
    weights[name] = weights[name] + 1e-3
    save_file(weights, changed / "model.safetensors", {"format": "pt"})
    assert fingerprint_id(TextExtractor(changed).fingerprint) != fingerprint_id(after.fingerprint)


def test_a_killed_run_resumes_to_the_same_bytes(
    run: Path, lines: Lines, encoder: Path, tmp_path: Path
) -> None:
    """Killed within an epoch, at the end of one, and while a checkpoint was written."""
    out, kills, often = tmp_path / "again", set(), [*SMALL, "train.pause=0.2"]

    def kill(row: dict) -> None:
        steps = row["steps"] // 3
        if row["step"] not in kills and row["step"] in (steps // 2, steps, 2 * steps + 3):
            kills.add(row["step"])
            raise KeyboardInterrupt

    for _ in range(4):
        try:
            finetune_text(lines, str(encoder), "full", 1, out, often, kill)
            break
        except KeyboardInterrupt:
            assert not (out / "model.safetensors").exists()
            (out / ".work" / "seed-0" / "checkpoint.tmp").write_bytes(b"half a checkp")
    assert len(kills) == 3
    # config.yaml holds the other pause
    for name in sorted(FILES - {"config.yaml"}):
        assert (out / name).read_bytes() == (run / name).read_bytes(), name
    # finished: returned from the folder
    metrics = json.loads((run / "metrics.json").read_text())
    assert finetune_text(lines, str(encoder), "full", 1, out, SMALL) == metrics
    with pytest.raises(MercError, match="another run"):
        finetune_text(lines, str(encoder), "full", 1, out, [*SMALL, "train.seed=5"])


def test_lora_on_minilm(table: Path, tmp_path: Path) -> None:
    """Folder and delta.safetensors give the same vectors, equal to those of peft's own merge."""
    from peft import LoraConfig, get_peft_model

    rows: list[tuple[object, ...]] = []
    for split, count in (("train", 12), ("valid", 4)):
        for d in load_table(table, False).split(split)[:count]:
            for k, text in enumerate(d.texts):
                label = "joy" if d.labels[k] == EMOTIONS.index("joy") else "other"
                rows.append((d.id, d.utterances[k], "x", text, label, split))
    small = load_lines(find_source(str(write_table(tmp_path / "small", rows))))
    out = tmp_path / "run"
    settings = ["train.epochs=1", "lora.rank=4", "lora.lr=5e-3", "train.threads=1"]
    metrics = finetune_text(small, "minilm", "lora", 1, out, [*settings, "data.cleaning=cosmic"])
    delta = out / "delta.safetensors"
    assert delta.stat().st_size < 400_000
    whole, changed, base = TextExtractor(out), TextExtractor(delta), TextExtractor("minilm")
    assert whole.pooling == changed.pooling == "mean"
    assert whole.cleaning == changed.cleaning == "cosmic"
    texts = ["I’m so happy for you!", "Go away."]
    np.testing.assert_allclose(whole.extract(texts), changed.extract(texts), atol=1e-5)
    assert np.abs(whole.extract(texts) - base.extract(texts)).max() > 1e-3
    assert changed.fingerprint["weights"] == base.fingerprint["weights"]
    assert len({fingerprint_id(e.fingerprint) for e in (whole, changed, base)}) == 3
    majority = metrics["baselines"]["majority"]["valid"]
    assert majority["utterances"] == metrics["parts"]["valid"]["utterances"]

    tensors = {name: tensor.float() for name, tensor in load_file(delta).items()}
    layers = sorted({name[:-2] for name in tensors})
    model = get_peft_model(base.encoder(), LoraConfig(r=4, lora_alpha=32, target_modules=layers))
    for name, weight in model.named_parameters():
        for letter in "AB":
            if f".lora_{letter}." in name:
                layer = name.removeprefix("base_model.model.").partition(".lora_")[0]
                weight.data = tensors[f"{layer}.{letter}"]
    merged = model.merge_and_unload().state_dict()
    for name, weight in AutoModel.from_pretrained(out).state_dict().items():
        if not name.startswith("pooler."):
            torch.testing.assert_close(weight, merged[name], atol=1e-6, rtol=1e-5)

    other = tmp_path / "other.safetensors"
    with pytest.raises(ValueError, match="not an update of an encoder"):
        TextExtractor(out / "model.safetensors")
    other.write_bytes(delta.read_bytes().replace(b'weights\\": \\"', b'weights\\": \\"0', 1)[:-1])
    with pytest.raises(ValueError):
        TextExtractor(other)


def test_bad_input_is_named(lines: Lines, table: Path, encoder: Path, tmp_path: Path) -> None:
    def tune(
        *overrides: str,
        lines: Lines = lines,
        model: Path = encoder,
        method: str = "full",
        seeds: int = 1,
        out: Path = tmp_path / "out",
    ) -> None:
        finetune_text(lines, str(model), method, seeds, out, [*SMALL, *overrides])

    with pytest.raises(MercError, match=r"did you mean train\.lr"):
        tune("train.lrr=1")
    with pytest.raises(MercError, match="divisor"):
        tune("train.accumulate=3")
    with pytest.raises(MercError, match="full or lora"):
        tune(method="half")
    with pytest.raises(MercError, match="at least one"):
        tune(seeds=0)
    with pytest.raises(MercError, match="no such folder"):
        tune(model=tmp_path / "gone")
    with pytest.raises(MercError, match="holds no run"):
        tune(out=table)
    foreign = [replace(line, text="’") for line in lines.parts["valid"]]
    with pytest.raises(MercError, match="no labelled line with words in the valid part"):
        tune("data.cleaning=cosmic", lines=replace(lines, parts={**lines.parts, "valid": foreign}))
    # nothing is written before all this is checked
    assert not (tmp_path / "out").exists()
    with pytest.raises(MercError, match="this encoder has dense, key, query, value"):
        tune("lora.layers=[q_proj]", method="lora", out=tmp_path / "layers")
    damaged = tmp_path / "damaged"
    shutil.copytree(encoder, damaged)
    weights = load_file(encoder / "model.safetensors")
    nan = {name: weight * torch.nan for name, weight in weights.items()}
    save_file(nan, damaged / "model.safetensors", {"format": "pt"})
    with pytest.raises(MercError, match="not finite numbers"):
        tune(model=damaged, out=tmp_path / "nan")


def test_a_loss_that_is_not_finite_ends_training(
    lines: Lines, encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.nn.functional, "cross_entropy", lambda x, *rest: x.sum() * torch.nan)
    with pytest.raises(MercError, match=r"seed 0, step 1: the loss became NaN.*lower train\.lr"):
        finetune_text(lines, str(encoder), "full", 1, tmp_path / "out", SMALL)


def test_a_missing_encoder_says_how_to_get_it(
    lines: Lines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    roberta = "FacebookAI/roberta-large"
    with pytest.raises(
        MercError, match=rf"{roberta} is not on.*connect.*--model minilm.*--model FOLDER"
    ):
        finetune_text(lines, roberta, "full", 1, tmp_path / "out")
