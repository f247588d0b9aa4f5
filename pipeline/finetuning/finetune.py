"""`merc finetune text`: a corpus's words in, a text encoder that `TextExtractor` loads out."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from scipy.special import softmax

from extractors.text import TextExtractor, clean_text
from pipeline.core.files import write_text
from pipeline.finetuning.config import METHODS, FinetuneConfig, load_settings
from pipeline.finetuning.encoder_folder import Job, write_encoder
from pipeline.finetuning.folds import FOLDS, write_folds
from pipeline.finetuning.lines import Lines, load_lines
from pipeline.finetuning.report import summarise, write_report
from pipeline.finetuning.trainer import make_head, tune
from pipeline.training.config import to_yaml
from pipeline.training.linear_probe import probe

__all__ = ["finetune_text"]

WORK = ".work"  # checkpoints and parts of an unfinished run
Report = Callable[[dict[str, Any]], None]


def finetune_text(
    dataset: str,
    data: Path | None,
    model: str,
    method: str,
    folds: int,
    seeds: int,
    out: Path,
    overrides: list[str],
    report: Report = lambda row: None,
) -> dict[str, Any]:
    """Fine-tune `seeds` times, keep the best on valid; returns the content of metrics.json.

    folds: also features of the training part by encoders that did not see these dialogues (`text_folds`).  A run that
    was cut short goes on where it stopped; a finished one is answered from its metrics.json.
    Raises ValueError or OSError with the remedy.
    """
    if method not in METHODS:
        raise ValueError(f"no method {method!r}; choose {' or '.join(METHODS)}")
    if seeds < 1 or folds < 0 or folds == 1:
        raise ValueError(
            f"--seeds {seeds}, --folds {folds}: want at least one seed, and 0 (none) or at least 2 folds"
        )
    config = load_settings(dataset, model, overrides)
    lines = load_lines(dataset, data, lambda text: clean_text(text, config.data.cleaning))
    device = "cuda" if config.train.device != "cpu" and torch.cuda.is_available() else "cpu"
    if config.train.device == "cuda" and device == "cpu":
        raise ValueError("train.device=cuda: torch sees no CUDA device here; leave it at auto")
    try:
        extractor = TextExtractor(model, device=device, cleaning=config.data.cleaning)
    except OSError as error:
        raise OSError(
            f"{error}.  For merc finetune that is --model minilm; a folder with a copy of the encoder works "
            "without a network: --model FOLDER"
        ) from error
    identity = _identity(lines, extractor, method, folds, seeds, config)
    finished = _claim(out, identity)
    if finished is not None:
        return finished
    if config.train.threads:
        torch.set_num_threads(config.train.threads)
    job = Job(lines, extractor, method, config, out / WORK)

    before = _before(job)
    found = []
    for seed in range(config.train.seed, config.train.seed + seeds):
        folder = job.work / f"seed-{seed}"
        tune(
            extractor,
            job.examples["train"],
            job.examples["valid"],
            len(lines.labels),
            method,
            config,
            seed,
            folder,
            report,
        )
        found.append(_measured(job, folder, seed))
    metrics, tables = summarise(lines, found, before)
    metrics |= {"model": model, "method": method, "identity": identity}
    best = job.work / f"seed-{metrics['best_seed']}"
    if folds:
        metrics["folds"] = write_folds(job, best, metrics["best_seed"], folds, report)
        os.replace(shutil.copy(job.work / FOLDS, out / ".merc.tmp"), out / FOLDS)
    for path in sorted((best / "model").iterdir()):
        os.replace(shutil.copy(path, out / ".merc.tmp"), out / path.name)
    metrics["fingerprint"] = TextExtractor(out).fingerprint
    write_report(out, metrics, tables, to_yaml(config))
    shutil.rmtree(job.work)
    return metrics


def _before(job: Job) -> dict[str, np.ndarray]:
    """Logistic regression on the encoder as it comes: what fine-tuning has to beat; kept when the run is killed."""
    path = job.work / "before.safetensors"
    if not path.exists():
        vectors = {
            split: torch.from_numpy(job.extractor.extract(job.lines.texts(split)))
            for split in job.lines.parts
        }
        save_file(vectors, path.with_suffix(".tmp"))
        path.with_suffix(".tmp").replace(path)
    features = {split: rows.numpy() for split, rows in load_file(path).items()}
    if not all(np.isfinite(rows).all() for rows in features.values()):
        name = job.extractor.fingerprint["options"]["name"]
        raise ValueError(
            f"{name}: its vectors are not finite numbers: damaged weights, get them anew"
        )
    return probe(features["train"], job.lines.truth("train"), features)


def _measured(job: Job, folder: Path, seed: int) -> dict[str, Any]:
    """What one seed's folder is worth, as users will get it: read back by TextExtractor, in float32."""
    if not (folder / "measured.json").exists():
        write_encoder(job, folder, folder / "model")
        extractor = TextExtractor(folder / "model", device=job.extractor.device)
        head = make_head(job.config.model.head, extractor.dim, len(job.lines.labels))
        head.load_state_dict(load_file(folder / "model" / "head.safetensors"))
        features = {split: extractor.extract(job.lines.texts(split)) for split in job.lines.parts}
        with torch.inference_mode():
            logits = {
                split: head.eval()(torch.from_numpy(rows)).double().numpy()
                for split, rows in features.items()
            }
        save_file(
            {split: torch.from_numpy(rows) for split, rows in features.items()},
            folder / "features.safetensors",
        )
        guess = probe(features["train"], job.lines.truth("train"), features)
        write_text(
            folder / "measured.json",
            json.dumps(
                {
                    "probabilities": {
                        split: np.round(softmax(rows, 1), 5).tolist()
                        for split, rows in logits.items()
                    },
                    "probe": {split: rows.tolist() for split, rows in guess.items()},
                }
            ),
        )
    return {
        "seed": seed,
        **json.loads((folder / "history.json").read_text("utf-8")),
        **json.loads((folder / "measured.json").read_text("utf-8")),
    }


def _identity(
    lines: Lines,
    extractor: TextExtractor,
    method: str,
    folds: int,
    seeds: int,
    config: FinetuneConfig,
) -> str:
    """A hash of everything that the result depends on."""
    parts = {
        split: [(line.dialogue, line.utterance, line.text, line.label) for line in part]
        for split, part in lines.parts.items()
    }
    same = replace(
        config, train=replace(config.train, pause=0.0, threads=0)
    )  # how it is done, not what
    text = json.dumps(
        [
            lines.name,
            lines.labels,
            parts,
            extractor.fingerprint,
            method,
            folds,
            seeds,
            to_yaml(same),
        ],
        sort_keys=True,
    )
    return hashlib.sha256(text.encode()).hexdigest()


def _claim(out: Path, identity: str) -> dict[str, Any] | None:
    """Take the folder for this run; the metrics of the same run when it is already there."""
    finished, unfinished = out / "metrics.json", out / WORK / "settings.json"
    if finished.exists() or unfinished.exists():
        found = json.loads((finished if finished.exists() else unfinished).read_text("utf-8"))
        if found.get("identity") != identity:
            raise FileExistsError(
                f"{out} holds another run (other data or settings); name another --out, or delete it"
            )
        if finished.exists():
            shutil.rmtree(out / WORK, ignore_errors=True)  # a kill may have come before this
        return found if finished.exists() else None
    if out.exists() and (not out.is_dir() or any(path.name != WORK for path in out.iterdir())):
        raise FileExistsError(f"{out} is there and no run of merc finetune; name another --out")
    write_text(unfinished, json.dumps({"identity": identity}))
    return None
