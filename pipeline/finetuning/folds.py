"""Text features of the training part by encoders that did not see it: the leak of fine-tuned features, closed.

An encoder is surer of the utterances it was fine-tuned on than of any other, and a model trained on such features
learns to trust them too much.  So the training dialogues are cut into K folds; for each an encoder is fine-tuned on the
others and gives the fold's features.  Separately fine-tuned encoders do not share a space: here all start from the same
weights, are trained under the finished encoder's head, which stays as it is, and are turned onto the finished
encoder's space by orthogonal Procrustes (Schönemann 1966, doi 10.1007/BF02289451) over the utterances both trained on.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from scipy.linalg import orthogonal_procrustes

from extractors.text import TextExtractor, clean_text
from pipeline.core.dialogue import Corpus
from pipeline.core.fingerprints import sha256_of
from pipeline.finetuning.encoder_folder import Job, write_encoder
from pipeline.finetuning.lines import Line
from pipeline.finetuning.trainer import Examples, tune
from pipeline.recipes.paired import PairedCorpus
from pipeline.training.linear_probe import probe
from pipeline.training.metrics import scores

__all__ = ["FOLDS", "Folds", "fold_of", "read_folds", "with_folds", "write_folds"]

FOLDS = "folds.safetensors"
NOTE = "Text features of training dialogues are by encoders that did not see them (folds)."


def fold_of(lines: list[Line], folds: int, seed: int) -> np.ndarray:
    """(n,) the fold of each line: whole dialogues at random, sizes as even as they come.

    Raises ValueError when there are fewer dialogues than folds.
    """
    sizes: dict[str, int] = {}
    for line in lines:
        sizes[line.dialogue] = sizes.get(line.dialogue, 0) + 1
    if len(sizes) < folds:
        raise ValueError(f"--folds {folds}: the train part has {len(sizes)} dialogues only")
    names = list(sizes)
    filled, chosen = np.zeros(folds), {}
    for k in np.random.default_rng([seed, folds]).permutation(len(names)):
        chosen[names[k]] = int(filled.argmin())
        filled[filled.argmin()] += sizes[names[k]]
    return np.array([chosen[line.dialogue] for line in lines])


def write_folds(
    job: Job, full: Path, seed: int, folds: int, report: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """Fine-tune the folds and write their features to `job.work / FOLDS`; returns what they are worth on valid.

    full: the folder of the finished seed.  `wins` says whether logistic regression learns more for valid from the
    folds' features than from the finished encoder's own.
    """
    lines, train, valid = job.lines.parts["train"], job.examples["train"], job.examples["valid"]
    head, own = (
        load_file(full / "model" / "head.safetensors"),
        load_file(full / "features.safetensors"),
    )
    whole, select = own["train"].numpy(), own["valid"].numpy()
    fold = fold_of(lines, folds, seed)
    turned, raw = np.empty_like(whole), np.empty_like(whole)
    for k in range(folds):
        folder, seen = job.work / f"fold-{k}", np.flatnonzero(fold != k)
        if not (folder / "features.safetensors").exists():
            part = Examples([train.rows[i] for i in seen], train.labels[seen])
            tune(
                job.extractor,
                part,
                valid,
                len(job.lines.labels),
                job.method,
                job.config,
                seed,
                folder,
                lambda row, k=k: report({**row, "fold": k}),
                head,
            )  # type: ignore[misc]
            write_encoder(job, folder, folder / "model")
            vectors = TextExtractor(folder / "model", device=job.extractor.device).extract(
                job.lines.texts("train")
            )
            save_file({"train": torch.from_numpy(vectors)}, folder / "features.tmp")
            (folder / "features.tmp").replace(folder / "features.safetensors")
            shutil.rmtree(folder / "model")
            (folder / "best.safetensors").unlink()
        vectors = load_file(folder / "features.safetensors")["train"].numpy()
        raw[fold == k] = vectors[fold == k]
        turned[fold == k] = _turn(vectors[seen], whole[seen])(vectors[fold == k])
    truth = {"train": job.lines.truth("train"), "valid": job.lines.truth("valid")}
    result: dict[str, Any] = {
        "folds": folds,
        "seed": seed,
        "probe_valid_weighted_f1": {
            name: _f1(
                truth["valid"],
                probe(rows, truth["train"], {"valid": select})["valid"],
                job.lines.labels,
            )
            for name, rows in (
                ("finished encoder", whole),
                ("folds", turned),
                ("folds, not turned", raw),
            )
        },
    }
    values = result["probe_valid_weighted_f1"]
    result["wins"] = values["folds"] > values["finished encoder"]
    # a reader of one fold reads the others, or they share no space
    result["probe_of_one_fold_on_the_others"] = {
        name: float(
            np.mean(
                [
                    _f1(
                        truth["train"][fold != k],
                        probe(
                            rows[fold == k], truth["train"][fold == k], {"other": rows[fold != k]}
                        )["other"],
                        job.lines.labels,
                    )
                    for k in range(folds)
                ]
            )
        )
        for name, rows in (("folds", turned), ("folds, not turned", raw))
    }
    keys = np.stack([_key(line.dialogue, line.text) for line in lines])
    changes = full / "model" / "delta.safetensors"
    about = {
        "folds": folds,
        "seed": seed,
        "encoder": TextExtractor(full / "model").fingerprint,
        "delta": sha256_of(changes) if changes.exists() else None,
    }
    save_file(
        {"features": torch.from_numpy(turned), "keys": torch.from_numpy(keys)},
        job.work / FOLDS,
        {"merc": json.dumps(about, sort_keys=True)},
    )
    return result


@dataclass(frozen=True)
class Folds:
    """Features (n, width) of training utterances, found by dialogue and words; the encoder they belong to."""

    rows: np.ndarray
    places: dict[bytes, int]
    encoder: dict[str, Any]  # fingerprint
    delta: str | None  # sha256

    def vector(self, dialogue: str, text: str) -> np.ndarray | None:
        found = self.places.get(_key(dialogue, text).tobytes())
        return None if found is None else self.rows[found]

    def match(self, fingerprint: dict[str, Any]) -> bool:
        """Did the finished encoder make this, as its folder or as its changes (delta.safetensors)?"""
        return fingerprint == self.encoder or self.delta == fingerprint.get("options", {}).get(
            "delta", ""
        )


def read_folds(run: Path) -> Folds:
    """What `merc finetune text --folds` wrote.  Raises ValueError where there is none."""
    path = Path(run) / FOLDS
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {})["merc"])
            keys, rows = file.get_tensor("keys").numpy(), file.get_tensor("features").numpy()
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise ValueError(
            f"{path}: no features of folds ({error}); run: merc finetune text --folds 5"
        ) from error
    return Folds(
        rows, {key.tobytes(): k for k, key in enumerate(keys)}, about["encoder"], about["delta"]
    )


def with_folds(corpus: Corpus, run: Path) -> Corpus:
    """The corpus with the folds' text features in its training part, in the place of the encoder's own.

    run: a folder of `merc finetune text --folds`.  Raises ValueError when the corpus' text features are not this run's,
    or a training utterance with text features is not among the folds.
    """
    folds, dialogues = read_folds(run), []
    made = (corpus.fingerprints or {}).get("text")
    if made is not None and not folds.match(made):
        raise ValueError(
            f"{run}: its encoder is not the one that made the text features of {corpus.name}; "
            f"extract with --text-model {run}"
        )
    if corpus.widths.get("text") != folds.rows.shape[1]:
        raise ValueError(
            f"{run}: {folds.rows.shape[1]} numbers an utterance where {corpus.name} has "
            f"{corpus.widths.get('text', 'no text')}"
        )
    if isinstance(corpus, PairedCorpus):
        return _paired(corpus, folds, run)
    for d in corpus.dialogues:
        if d.split == "train" and "text" in d.features:
            text = d.features["text"].copy()
            for k in np.flatnonzero(~np.isnan(text).any(1) & (d.labels >= 0)):
                found = folds.vector(d.id, d.texts[k])
                if found is None:
                    raise ValueError(
                        f"{run}: dialogue {d.id}, utterance {d.utterances[k]} of {corpus.name} is not in "
                        "its folds; they belong to other dialogues or words"
                    )
                text[k] = found
            d = replace(d, features=d.features | {"text": text})
        dialogues.append(d)
    return replace(corpus, dialogues=dialogues, notes=[*corpus.notes, NOTE])


def _paired(corpus: PairedCorpus, folds: Folds, run: Path) -> Corpus:
    """The paired corpus, whose test part is of MELD's training dialogues too, with the folds' vectors of words."""
    words = dict(corpus.words)
    for split in ("train", "test"):
        found = [
            [folds.vector(str(t.id), text) for text in t.texts] for t in words[split].transcripts
        ]
        if any(row is None for rows in found for row in rows):
            raise ValueError(
                f"{run}: its folds lack some of MELD's training utterances; they belong to other words"
            )
        words[split] = replace(words[split], vectors=[np.array(rows, np.float32) for rows in found])
    held = replace(corpus, words=words, notes=[*corpus.notes, NOTE])
    return replace(
        held,
        dialogues=held.epoch(0, 0)
        + held.split("valid")
        + held.draw("test", np.random.default_rng(0)),
    )


def _key(dialogue: str, text: str) -> np.ndarray:
    """(16,) uint8: what names an utterance here, without its words (IEMOCAP's must not be passed on)."""
    return np.frombuffer(
        hashlib.sha256(f"{dialogue}\0{clean_text(text)}".encode()).digest()[:16], np.uint8
    )


def _turn(own: np.ndarray, full: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """The rotation (and shift of the mean) that brings `own` nearest to `full`, both (n, d)."""
    centre, goal = own.mean(0), full.mean(0)
    rotation, _ = orthogonal_procrustes(
        (own - centre).astype(np.float64), (full - goal).astype(np.float64)
    )
    return lambda rows: ((rows - centre) @ rotation + goal).astype(np.float32)


def _f1(truth: np.ndarray, guess: np.ndarray, labels: tuple[str, ...]) -> float:
    return scores(truth, guess, labels)["weighted_f1"]
