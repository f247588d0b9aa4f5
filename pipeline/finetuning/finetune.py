"""Fine-tune a text encoder on a corpus: utterances in, a folder that `TextExtractor` loads out."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from scipy.special import softmax

from extractors.text import TextExtractor, clean_text
from pipeline.core.errors import MercError, UsageError
from pipeline.core.files import write_text
from pipeline.core.fingerprints import PACKAGED_TEXT, checksum
from pipeline.core.run_folder import begin_run, copy_into, end_run, find_run
from pipeline.finetuning.classifier import make_head
from pipeline.finetuning.config import METHODS, FinetuneConfig, load_settings
from pipeline.finetuning.encoder_folder import HEAD, write_encoder
from pipeline.finetuning.lines import Lines
from pipeline.finetuning.report import summarise, write_report
from pipeline.finetuning.trainer import Examples, tune
from pipeline.training.config import to_yaml
from pipeline.training.linear_probe import probe

__all__ = ["finetune_text"]

Report = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Job:
    """What all seeds share."""

    lines: Lines
    extractor: TextExtractor  # before fine-tuning
    method: str
    config: FinetuneConfig

    @cached_property
    def examples(self) -> dict[str, Examples]:
        """The tokenised train and valid parts."""
        return {
            split: Examples(self.extractor.tokens(self.lines.texts(split)), self.lines.truth(split))
            for split in ("train", "valid")
        }

    def features(self, extractor: TextExtractor) -> dict[str, np.ndarray]:
        """Extract the features (n, dim) of every part."""
        return {split: extractor.extract(self.lines.texts(split)) for split in self.lines.parts}


def finetune_text(
    lines: Lines,
    model: str,
    method: str = "full",
    seeds: int = 1,
    out: Path = Path("encoder"),
    overrides: Sequence[str] = (),
    report: Report = lambda row: None,
) -> dict[str, Any]:
    """Fine-tune with `seeds` seeds and keep the best on valid; return the content of metrics.json.

    The same call resumes a run that was killed, and returns the metrics of a finished one.

    Args:
        lines: labelled utterances, see `load_lines`.
        model: "minilm", a name on the Hugging Face hub, or a folder.
        method: "full" (all weights) or "lora" (low-rank matrices).
        out: folder of the encoder and its report.
        overrides: settings such as "train.epochs=2".
        report: gets a row after every training step, see `tune`.

    Raises:
        MercError: unusable arguments, a part without utterances, damaged weights, a loss that
            became NaN.

    Example::

        lines = load_lines(find_source("meld", Path("MELD.Raw")))
        finetune_text(lines, "minilm", "lora", seeds=3, out=Path("runs/text"))
    """
    if method not in METHODS:
        raise UsageError(f"no method {method!r}", f"choose {' or '.join(METHODS)}")
    if seeds < 1:
        raise UsageError(f"--seeds {seeds}: too few", "use at least one")
    config = load_settings(lines.settings, model, overrides)
    lines = lines.with_words(lambda text: clean_text(text, config.data.cleaning)).checked()
    extractor = _open_encoder(model, config)
    identity = _identity(lines, extractor, method, seeds, config)
    finished = find_run(out, identity)
    if finished is not None:
        return finished
    work = begin_run(out, identity)
    if config.train.threads:
        torch.set_num_threads(config.train.threads)
    job = Job(lines, extractor, method, config)

    before = _probe_before(job, work / "before.safetensors")
    results = []
    for seed in range(config.train.seed, config.train.seed + seeds):
        folder = work / f"seed-{seed}"
        train, valid = job.examples["train"], job.examples["valid"]
        classes = len(lines.labels)
        tune(extractor, train, valid, classes, method, config, seed, folder, report)
        results.append({"seed": seed, **_read(folder / "history.json"), **_measure(job, folder)})
    metrics, tables = summarise(lines, results, before)
    for path in sorted((work / f"seed-{metrics['best_seed']}" / "model").iterdir()):
        copy_into(path, out / path.name)
    metrics |= {
        "model": model,
        "method": method,
        "identity": identity,
        "fingerprint": TextExtractor(out).fingerprint,
    }
    write_report(out, metrics, tables, to_yaml(config))
    end_run(out)
    return metrics


def _open_encoder(model: str, config: FinetuneConfig) -> TextExtractor:
    device = "cuda" if config.train.device != "cpu" and torch.cuda.is_available() else "cpu"
    if config.train.device == "cuda" and device == "cpu":
        raise UsageError(
            "train.device=cuda: torch finds no CUDA device on this machine", "leave it at auto"
        )
    try:
        return TextExtractor(model, device=device, cleaning=config.data.cleaning)
    except MercError as error:
        if model in PACKAGED_TEXT or Path(model).expanduser().exists():
            raise
        raise MercError(
            error.reason,
            f"{error.remedy} (in merc finetune: --model minilm), or a copy of the encoder: "
            "--model FOLDER",
        ) from error


def _probe_before(job: Job, path: Path) -> dict[str, np.ndarray]:
    """Fit logistic regression to the original encoder's features; return its labels of every part.

    path: where the features are stored, for a run that is killed and resumes.
    """
    if not path.exists():
        vectors = job.features(job.extractor)
        temporary = path.with_suffix(".tmp")
        save_file({split: torch.from_numpy(rows) for split, rows in vectors.items()}, temporary)
        temporary.replace(path)
    features = {split: rows.numpy() for split, rows in load_file(path).items()}
    if not all(np.isfinite(rows).all() for rows in features.values()):
        name = job.extractor.fingerprint["options"]["name"]
        raise MercError(
            f"{name}: its features are not finite numbers, so its weights are damaged",
            "download them again",
        )
    return probe(features["train"], job.lines.truth("train"), features)


def _measure(job: Job, folder: Path) -> dict[str, Any]:
    """Write one seed's encoder and measure it as users will get it: loaded again, in float32.

    Returns per part the probabilities (n, classes) of its head, and the labels (n,) of logistic
    regression on its features.
    """
    path = folder / "measured.json"
    if path.exists():
        return _read(path)
    model, labels = folder / "model", job.lines.labels
    weights = folder / "best.safetensors"
    write_encoder(job.extractor, weights, job.method, job.config.lora, labels, model)
    extractor = TextExtractor(model, device=job.extractor.device)
    head = make_head(job.config.model.head, extractor.dim, len(labels))
    head.load_state_dict(load_file(model / HEAD))
    features = job.features(extractor)
    probabilities = {}
    for split, rows in features.items():
        with torch.inference_mode():
            logits = head.eval()(torch.from_numpy(rows)).double().numpy()
        probabilities[split] = np.round(softmax(logits, 1), 5).tolist()
    guess = probe(features["train"], job.lines.truth("train"), features)
    measured = {
        "probabilities": probabilities,
        "probe": {split: rows.tolist() for split, rows in guess.items()},
    }
    write_text(path, json.dumps(measured))
    return measured


def _identity(
    lines: Lines, extractor: TextExtractor, method: str, seeds: int, config: FinetuneConfig
) -> str:
    """Return a checksum of everything that the result depends on."""
    parts = {
        split: [(line.dialogue, line.utterance, line.text, line.label) for line in part]
        for split, part in lines.parts.items()
    }
    # neither the time between checkpoints nor the number of threads changes the result
    config = replace(config, train=replace(config.train, pause=0.0, threads=0))
    return checksum(
        [lines.name, lines.labels, parts, extractor.fingerprint, method, seeds, to_yaml(config)]
    )


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text("utf-8"))
