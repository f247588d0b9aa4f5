"""Train a model: a corpus in, a run folder out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.core.dialogue import Corpus, Dialogue
from pipeline.core.errors import MercError, UsageError
from pipeline.core.fingerprints import checksum
from pipeline.core.run_folder import (
    WORK,
    begin_run,
    check_run_folder,
    copy_into,
    end_run,
    find_run,
)
from pipeline.training.config import Configuration, to_yaml
from pipeline.training.distributed import barrier, leave, ranks
from pipeline.training.fit import Report, no_report
from pipeline.training.protocols import PROTOCOLS, speaker_notes, split_corpus
from pipeline.training.report import write_run
from pipeline.training.seeds import fit_seeds
from pipeline.training.summary import summarise
from pipeline.training.tensorboard import event_files, summary_writer

__all__ = ["check_options", "train", "train_corpus"]

EVENTS = "tensorboard"  # folder of the event files in a run


def check_options(out: Path, protocol: str, seeds: int, tensorboard: bool = False) -> None:
    """Raise UsageError for options that `train` would refuse; call it before loading a corpus."""
    if protocol not in (*PROTOCOLS, "both"):
        raise UsageError(f"unknown protocol {protocol!r}", f"choose {', '.join(PROTOCOLS)} or both")
    if seeds < 1:
        raise UsageError(f"--seeds {seeds}: must be 1 or more")
    if tensorboard:
        summary_writer()
    check_run_folder(out)


def train(
    corpus: Corpus,
    config: Configuration,
    protocol: str = "clean",
    seeds: int = 5,
    out: Path = Path("run"),
    *,
    report: Report | None = None,
    tensorboard: bool = False,
) -> dict[str, Any]:
    """Train several seeds and write a run folder. An interrupted run continues where it stopped.

    Args:
        protocol: "clean"; "published", which also trains CSS with the teacher of L3 not detached,
            in `out/attached`; or "both": the clean run, with the published one in `out/published`.
        report: is called with a dict after every epoch: seed, epoch, epochs, loss1 to loss3,
            gamma1 to gamma3, select_accuracy, select_weighted_f1.
        tensorboard: also write event files to `out/tensorboard`.

    Returns:
        The content of metrics.json. Under torchrun, an empty dict on every rank but 0.

    Raises:
        MercError: unusable options, a corpus that cannot be trained on, or a loss that became NaN.
        OSError: a file could not be written.
    """
    check_options(out, protocol, seeds, tensorboard)
    try:
        metrics = _train(corpus, config, protocol, seeds, out, report or no_report, tensorboard)
        return {} if ranks()[0] else metrics
    finally:
        leave()


def _train(
    corpus: Corpus,
    config: Configuration,
    protocol: str,
    seeds: int,
    out: Path,
    report: Report,
    tensorboard: bool,
) -> dict[str, Any]:
    first = "clean" if protocol == "both" else protocol
    metrics = train_corpus(corpus, config, first, seeds, out, report, tensorboard)
    if protocol == "both":
        name = "published"
        other = _train(corpus, config, name, seeds, out / name, report, tensorboard)
    elif protocol == "published" and getattr(config.train, "detach_teacher", False):
        name = "attached"
        attached = replace(config, train=replace(config.train, detach_teacher=False))
        other = train_corpus(corpus, attached, protocol, seeds, out / name, report, tensorboard)
    else:
        return metrics
    return metrics if ranks()[0] else write_run(out, metrics, config, beside={name: other})


def train_corpus(
    corpus: Corpus,
    config: Configuration,
    protocol: str,
    seeds: int,
    out: Path,
    report: Report = no_report,
    tensorboard: bool = False,
) -> dict[str, Any]:
    """Write one run folder of one protocol, clean or published; return its metrics.

    A finished run of the same corpus and settings is not trained again.
    """
    parts = split_corpus(corpus, config.data, protocol)
    parts.notes.extend(speaker_notes(corpus, getattr(config.model, "speakers", 0)))
    _check_model(corpus, config)
    identity = _identity(corpus, config, protocol, seeds)
    finished = find_run(out, identity)
    if finished is not None:
        return finished
    barrier()  # every rank has looked at the folder before rank 0 writes to it
    if ranks()[0] == 0:
        begin_run(out, identity)
    numbers = [config.train.seed + k for k in range(seeds)]
    with _reporting(report, out / EVENTS if tensorboard else None) as report_all:
        folders = fit_seeds(parts, config, numbers, out / WORK, report_all)
    if ranks()[0]:
        return {}
    metrics, tables = summarise(parts, config, dict(zip(numbers, folders, strict=True)))
    models = {
        seed: folder / "model.safetensors" for seed, folder in zip(numbers, folders, strict=True)
    }
    copy_into(models[metrics["best_seed"]], out / "model.safetensors")
    if config.train.keep_seeds:
        for seed, model in models.items():
            copy_into(model, out / f"seed-{seed}.safetensors")
    metrics = write_run(out, metrics | {"identity": identity}, config, tables=tables)
    end_run(out)
    return metrics


@contextmanager
def _reporting(report: Report, events: Path | None) -> Iterator[Report]:
    """Yield a report that also writes TensorBoard's event files, if a folder for them is given."""
    if events is None or ranks()[0]:
        yield report
        return
    with event_files(events) as write:

        def report_both(row: dict[str, Any]) -> None:
            write(row)
            report(row)

        yield report_both


def _check_model(corpus: Corpus, config: Configuration) -> None:
    """Raise MercError for an impossible model, before a run folder is made."""
    try:
        config.model_config(tuple(corpus.widths.items()), corpus.labels)
    except ValueError as error:
        raise MercError(f"settings of the model: {error}", "change them with --set") from error


def _identity(corpus: Corpus, config: Configuration, protocol: str, seeds: int) -> str:
    """Return a checksum of everything that the result depends on."""
    return checksum(
        {
            "corpus": [corpus.name, corpus.labels, corpus.widths, corpus.fingerprints],
            "dialogues": [_dialogue_checksum(dialogue) for dialogue in corpus.dialogues],
            "settings": to_yaml(config),
            "protocol": protocol,
            "seeds": seeds,
        }
    )


def _dialogue_checksum(dialogue: Dialogue) -> str:
    features = [dialogue.features[modality].tobytes() for modality in sorted(dialogue.features)]
    content = [dialogue.id, dialogue.split, dialogue.utterances, dialogue.speakers]
    return checksum(content, b"".join([dialogue.labels.tobytes(), *features]))
