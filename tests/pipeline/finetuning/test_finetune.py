"""merc finetune text: small encoders fine-tuned for real on MELD's words; resuming, folds, LoRA, bad input."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.asserts import assert_distribution
from support.releases import build_iemocap, small_roberta
from transformers import AutoModel

from extractors import TextExtractor
from pipeline.core.dialogue import Corpus, Dialogue
from pipeline.core.fingerprints import fingerprint_id
from pipeline.corpora.meld_transcripts import EMOTIONS, read_meld_csv
from pipeline.corpora.splits import expected_dialogues
from pipeline.corpora.table import load_table, save_table
from pipeline.finetuning.config import load_settings
from pipeline.finetuning.finetune import finetune_text
from pipeline.finetuning.folds import FOLDS, NOTE, read_folds, with_folds
from pipeline.finetuning.lines import load_lines
from pipeline.finetuning.trainer import Batches
from pipeline.training.train import train

SMALL = [
    "train.epochs=3",
    "train.lr=3e-3",
    "train.threads=1",
    "train.batch=16",
    "train.class_weights=mild",
    "train.weight_decay=0.01",
    "model.dropout=0",
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


def write_table(folder: Path, rows: list[tuple]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "utterances.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(
            [("dialogue", "utterance", "speaker", "text", "label", "split"), *rows]
        )
    return folder


@pytest.fixture(scope="module")
def table(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some of MELD's real dialogues, one utterance without a label."""
    rows = []
    for part, split, count in (("train", "train", 100), ("dev", "valid", 40)):
        for t in read_meld_csv(shared / "data" / "meld" / f"{part}_sent_emo.csv")[:count]:
            rows += [
                (f"{part}{t.id}", number, speaker, text, EMOTIONS[label], split)
                for number, speaker, text, label in zip(
                    t.utterances, t.speakers, t.texts, t.labels, strict=True
                )
            ]
    rows.append(("train0", "more", "Ross", "Nobody said how.", "", "train"))
    return write_table(tmp_path_factory.mktemp("tables") / "table", rows)


@pytest.fixture(scope="module")
def encoder(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    texts = load_lines(str(table)).texts("train")
    return small_roberta(tmp_path_factory.mktemp("encoder") / "small", texts)


@pytest.fixture(scope="module")
def run(table: Path, encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    out = tmp_path_factory.mktemp("runs") / "run"
    finetune_text(str(table), None, str(encoder), "full", 2, 1, out, SMALL)
    yield out


def test_the_run_learns_and_is_whole(run: Path, table: Path) -> None:
    assert {path.name for path in run.iterdir()} == FILES | {
        FOLDS
    }  # no pickle, nothing left of the work
    metrics = json.loads((run / "metrics.json").read_text())
    curve = list(csv.DictReader((run / "curves.csv").open()))
    assert [row["epoch"] for row in curve] == ["1", "2", "3"]
    assert float(curve[-1]["loss"]) < float(curve[0]["loss"]) - 0.1
    assert (
        metrics["valid"]["weighted_f1"]["mean"]
        > metrics["baselines"]["majority"]["valid"]["weighted_f1"] + 0.05
    )
    kept = next(row for row in curve if int(row["epoch"]) == metrics["per_seed"][0]["best_epoch"])
    assert float(kept["valid_weighted_f1"]) == max(float(row["valid_weighted_f1"]) for row in curve)
    lines = load_lines(str(table))
    rows = list(csv.DictReader((run / "predictions.csv").open()))
    assert [row["label"] for row in rows] == [
        lines.labels[line.label] for line in lines.parts["valid"]
    ]
    assert_distribution(
        np.array([[float(row[f"p_{label}"]) for label in lines.labels] for row in rows]), 1e-4
    )
    assert (
        metrics["parts"]["train"]["utterances"]
        == sum(d.labels.size for d in load_table(table, False).split("train")) - 1
    )  # the one without a label is not learned


def test_the_folder_is_an_encoder_with_a_fingerprint_of_its_own(
    run: Path, encoder: Path, tmp_path: Path
) -> None:
    before, after = TextExtractor(encoder), TextExtractor(run)
    assert after.fingerprint == json.loads((run / "metrics.json").read_text())["fingerprint"]
    assert after.fingerprint["weights"] != before.fingerprint["weights"]
    assert after.dim == before.dim and after.pooling == "first"
    texts = ["You’re late!", "Oh no."]
    assert np.abs(after.extract(texts) - before.extract(texts)).max() > 0.01
    changed = tmp_path / "changed"
    changed.mkdir()
    for file in run.iterdir():
        (changed / file.name).write_bytes(file.read_bytes())
    weights = load_file(run / "model.safetensors")
    name = next(iter(weights))
    save_file(
        weights | {name: weights[name] + 1e-3}, changed / "model.safetensors", {"format": "pt"}
    )
    assert fingerprint_id(TextExtractor(changed).fingerprint) != fingerprint_id(after.fingerprint)


def test_a_killed_run_resumes_to_the_same_bytes(
    run: Path, table: Path, encoder: Path, tmp_path: Path
) -> None:
    """Cut in mid-epoch, at an epoch's end, in a fold, and with half a checkpoint left behind."""
    out, met, often = tmp_path / "again", set(), [*SMALL, "train.pause=0.2"]

    def cut(row: dict) -> None:
        place = "fold" if "fold" in row else row["step"]
        steps = row["steps"] // 3
        if place not in met and place in ("fold", steps // 2, steps, 2 * steps + 3):
            met.add(place)
            raise KeyboardInterrupt

    for _ in range(5):
        try:
            finetune_text(str(table), None, str(encoder), "full", 2, 1, out, often, cut)
            break
        except KeyboardInterrupt:
            assert not (out / "model.safetensors").exists()
            for folder in out.glob(".work/*/checkpoints"):
                (folder / "checkpoint-999").mkdir(exist_ok=True)
                (folder / "checkpoint-999" / "trainer_state.json").write_text('{"global_step": 9')
    assert len(met) == 4
    for name in sorted(FILES - {"config.yaml"} | {FOLDS}):  # config.yaml tells the other pause
        assert (out / name).read_bytes() == (run / name).read_bytes(), name
    assert finetune_text(str(table), None, str(encoder), "full", 2, 1, out, SMALL) == json.loads(
        (run / "metrics.json").read_text()
    )  # finished: nothing is made again
    with pytest.raises(FileExistsError, match="another run"):
        finetune_text(str(table), None, str(encoder), "full", 2, 1, out, [*SMALL, "train.seed=5"])


def test_low_rank_changes_of_minilm(table: Path, tmp_path: Path) -> None:
    """Folder and delta file give the same vectors, those of peft's own merge; small, and named in the fingerprint."""
    from peft import LoraConfig, get_peft_model

    small = write_table(
        tmp_path / "small",
        [
            (d.id, name, "x", text, "joy" if label == EMOTIONS.index("joy") else "other", d.split)
            for split, count in (("train", 12), ("valid", 4))
            for d in load_table(table, False).split(split)[:count]
            for name, text, label in zip(d.utterances, d.texts, d.labels, strict=True)
        ],
    )
    out = tmp_path / "run"
    metrics = finetune_text(
        str(small),
        None,
        "minilm",
        "lora",
        0,
        1,
        out,
        [
            "train.epochs=1",
            "lora.rank=4",
            "lora.lr=5e-3",
            "train.threads=1",
            "data.cleaning=cosmic",
        ],
    )
    delta = out / "delta.safetensors"
    assert delta.stat().st_size < 400_000
    whole, changed, base = TextExtractor(out), TextExtractor(delta), TextExtractor("minilm")
    assert (
        whole.pooling == changed.pooling == "mean"
        and whole.cleaning == changed.cleaning == "cosmic"
    )
    texts = ["I’m so happy for you!", "Go away."]
    np.testing.assert_array_equal(whole.extract(texts), changed.extract(texts))
    assert np.abs(whole.extract(texts) - base.extract(texts)).max() > 1e-3
    assert changed.fingerprint["weights"] == base.fingerprint["weights"]
    assert len({fingerprint_id(e.fingerprint) for e in (whole, changed, base)}) == 3
    assert (
        metrics["baselines"]["majority"]["valid"]["utterances"]
        == metrics["parts"]["valid"]["utterances"]
    )

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
    with pytest.raises(ValueError, match="not the changes"):
        TextExtractor(out / "model.safetensors")
    other.write_bytes(delta.read_bytes().replace(b'weights\\": \\"', b'weights\\": \\"0', 1)[:-1])
    with pytest.raises(ValueError):
        TextExtractor(other)


def test_folds_take_the_place_of_training_features(run: Path, table: Path) -> None:
    """Training utterances get the vectors of an encoder that never saw their dialogue; all others stay."""
    extractor, found = TextExtractor(run), load_table(table, False)
    made = [
        Dialogue(
            d.id,
            d.split,
            d.utterances,
            d.speakers,
            d.texts,
            d.labels,
            {"text": extractor.extract(d.texts)},
        )
        for d in found.dialogues
    ]
    corpus = Corpus(
        "t", found.labels, made, {"text": extractor.dim}, {"text": extractor.fingerprint}
    )
    held = with_folds(corpus, run)
    for before, after in zip(corpus.dialogues, held.dialogues, strict=True):
        same = (before.features["text"] == after.features["text"]).all(1)
        assert (same == ((before.labels < 0) | (before.split != "train"))).all()
    apart = [
        np.corrcoef(a.features["text"].ravel(), b.features["text"].ravel())[0, 1]
        for a, b in zip(corpus.split("train"), held.split("train"), strict=True)
    ]
    assert np.median(apart) > 0.5  # one space
    worth = json.loads((run / "metrics.json").read_text())["folds"]
    values = worth["probe_valid_weighted_f1"]
    assert worth["wins"] == (values["folds"] > values["finished encoder"])
    assert read_folds(run).match(extractor.fingerprint)
    other = {"text": extractor.fingerprint | {"weights": "0" * 64}}
    with pytest.raises(ValueError, match="not the one that made the text features"):
        with_folds(Corpus("t", found.labels, made, {"text": extractor.dim}, other), run)
    with pytest.raises(ValueError, match="no features of folds"):
        with_folds(corpus, table)
    strange = [
        Dialogue(
            "new",
            "train",
            ["0"],
            ["x"],
            ["Never said."],
            np.array([0]),
            {"text": np.zeros((1, extractor.dim), np.float32)},
        )
    ]
    with pytest.raises(ValueError, match="dialogue new, utterance 0"):
        with_folds(Corpus("t", found.labels, strange, {"text": extractor.dim}), run)


def test_merc_train_takes_the_folds(run: Path, table: Path, tmp_path: Path) -> None:
    extractor, found = TextExtractor(run), load_table(table, False)
    made = [replace(d, features={"text": extractor.extract(d.texts)}) for d in found.dialogues[::4]]
    corpus = Corpus(
        "t", found.labels, made, {"text": extractor.dim}, {"text": extractor.fingerprint}
    )
    save_table(corpus, tmp_path / "t")
    small = [
        "model.d=16",
        "model.heads=2",
        "model.hidden=16",
        "model.rank=4",
        "train.epochs=1",
        "train.threads=1",
    ]
    plain, held = (
        train(str(tmp_path / "t"), None, "clean", 1, tmp_path / name, [*small, *more])
        for name, more in (("plain", []), ("held", [f"data.text_folds={run}"]))
    )
    assert NOTE in held["notes"] and NOTE not in plain["notes"]
    assert held["fingerprints"] == plain["fingerprints"] == {"text": extractor.fingerprint}
    assert held["identity"] != plain["identity"]


def test_batches_are_of_like_length_and_whole() -> None:
    lengths = np.random.default_rng(0).integers(3, 60, 1003).tolist()
    batches = Batches(lengths, 16, 0)
    first, second = list(batches), list(batches)
    assert first == second and len(first) == len(batches) == 63
    assert sorted(k for batch in first for k in batch) == list(range(1003))
    padded = sum(max(lengths[k] for k in batch) * len(batch) for batch in first)
    assert padded < 1.1 * sum(lengths)
    batches.epoch = 1
    assert list(batches) != first


def test_words_of_raw_releases(shared: Path, tmp_path: Path) -> None:
    meld = load_lines("meld", shared / "data" / "meld")
    assert {split: len(part) for split, part in meld.parts.items()} == {
        "train": 9989,
        "valid": 1109,
        "test": 0,
    }
    assert meld.parts["valid"][0].dialogue == "1039" and any(
        "test_sent_emo.csv" in note for note in meld.notes
    )
    with pytest.raises(ValueError, match="use --dataset meld"):
        load_lines("iemocap", shared / "data" / "meld")
    names = [expected_dialogues("iemocap", split)[0] for split in ("train", "valid")]
    build_iemocap(tmp_path / "release", shared, names, seconds=1.0)
    iemocap = load_lines("iemocap", tmp_path / "release")
    assert {line.dialogue for line in iemocap.parts["train"]} == {names[0]}
    assert {line.dialogue for line in iemocap.parts["valid"]} == {names[1]} and not iemocap.parts[
        "test"
    ]
    assert all(
        line.text and line.utterance.startswith(line.dialogue) for line in iemocap.parts["train"]
    )


def test_bad_input_is_named(
    table: Path, encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tune(
        dataset: Path | str = table,
        *more: str,
        model: str = str(encoder),
        method: str = "full",
        out: Path = tmp_path / "out",
        **options,
    ) -> None:
        finetune_text(
            str(dataset),
            options.get("data"),
            model,
            method,
            options.get("folds", 0),
            1,
            out,
            [*SMALL, *more],
        )

    monkeypatch.delenv("MERC_DATA", raising=False)
    good = [
        ("a", "1", "x", "Hi.", "joy", "train"),
        ("a", "2", "x", "No!", "anger", "train"),
        ("b", "1", "x", "Hi.", "joy", "valid"),
    ]
    for name, rows, words in (
        ("novalid", good[:2], "no labelled line with words in the valid part"),
        ("one", [good[0], good[2]], "every line of the train part is 'joy'"),
        ("notrain", good[2:], "no labelled line with words in the train part"),
        ("wordless", [(*row[:3], " ", *row[4:]) for row in good], "3 lines without words"),
    ):
        with pytest.raises(ValueError, match=words):
            tune(write_table(tmp_path / name, rows))
    (tmp_path / "one" / "table.json").write_text('{"labels": ["anger"]}')
    with pytest.raises(ValueError, match=r"'joy'.*not among the labels"):
        tune(tmp_path / "one")
    with pytest.raises(FileNotFoundError, match="no corpus with words"):
        tune("nowhere")
    with pytest.raises(FileNotFoundError, match="no data for meld"):
        tune("meld")
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        tune("meld", data=tmp_path / "gone")
    with pytest.raises(ValueError, match=r"did you mean train\.lr"):
        tune(table, "train.lrr=1")
    with pytest.raises(ValueError, match="divisor"):
        tune(table, "train.accumulate=3")
    with pytest.raises(ValueError, match="full or lora"):
        tune(method="half")
    with pytest.raises(ValueError, match="2 folds"):
        tune(folds=1)
    with pytest.raises(OSError, match="no such folder"):
        tune(model=str(tmp_path / "gone"))
    with pytest.raises(FileExistsError, match="no run of merc finetune"):
        tune(out=table)
    assert not (tmp_path / "out").exists()  # nothing is begun before all this is known
    with pytest.raises(ValueError, match="this encoder has dense, key, query, value"):
        tune(table, "lora.layers=[q_proj]", method="lora", out=tmp_path / "layers")
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for file in encoder.iterdir():
        (damaged / file.name).write_bytes(file.read_bytes())
    weights = load_file(encoder / "model.safetensors")
    save_file(
        {name: weight * torch.nan for name, weight in weights.items()},
        damaged / "model.safetensors",
        {"format": "pt"},
    )
    with pytest.raises(ValueError, match="not finite numbers"):
        tune(model=str(damaged), out=tmp_path / "nan")


def test_an_absent_encoder_says_how_to_get_it(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        OSError,
        match=r"FacebookAI/roberta-large is not on.*connect.*--model minilm.*--model FOLDER",
    ):
        finetune_text(
            str(table), None, "FacebookAI/roberta-large", "full", 0, 1, tmp_path / "out", []
        )


def test_settings_are_those_of_cosmic() -> None:
    meld, iemocap = (
        load_settings(name, "FacebookAI/roberta-large") for name in ("meld", "iemocap")
    )
    assert (meld.train.lr, meld.model.dropout) == (1e-5, 0.1)
    assert (iemocap.train.lr, iemocap.model.dropout) == (1e-6, 0.2)
    for config in (meld, iemocap):
        assert (config.train.epochs, config.train.batch, config.train.weight_decay) == (30, 32, 0.1)
        assert (config.model.head, config.train.warmup, config.lora.layers) == (
            "dense",
            0.06,
            ["query", "value"],
        )
    assert load_settings("meld", "minilm").model.head == "linear"
