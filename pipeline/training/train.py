"""Train a model: a corpus in, a run folder out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.core.dialogue import Corpus
from pipeline.core.errors import UsageError
from pipeline.core.run_folder import WORK, check_run_folder, claim_run
from pipeline.training.config import Configuration
from pipeline.training.distributed import barrier, leave, ranks
from pipeline.training.fit import Report, no_report
from pipeline.training.planned_run import plan_run
from pipeline.training.protocols import PROTOCOLS
from pipeline.training.report import write_run
from pipeline.training.seeds import check_training_engine, fit_seeds
from pipeline.training.start import Start
from pipeline.training.summary import score_seed
from pipeline.training.tensorboard import event_files, summary_writer

__all__ = ["check_options", "train", "train_corpus"]

EVENTS = "tensorboard"  # folder of the event files in a run


def check_options(
    out: Path, protocol: str, seeds: int, tensorboard: bool = False, engine: str = "local"
) -> None:
    """Raise UsageError for options that `train` would refuse; call it before loading a corpus."""
    if protocol not in (*PROTOCOLS, "both"):
        raise UsageError(f"unknown protocol {protocol!r}", f"choose {', '.join(PROTOCOLS)} or both")
    if seeds < 1:
        raise UsageError(f"--seeds {seeds}: must be 1 or more")
    check_training_engine(engine)
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
    start: Start | None = None,
    engine: str = "local",
) -> dict[str, Any]:
    """Train several seeds and write a run folder. An interrupted run continues where it stopped.

    Args:
        protocol: "clean"; "published", which also trains CSS with the teacher of L3 not detached,
            in `out/attached`; or "both": the clean run, with the published one in `out/published`.
        report: is called with a dict after every epoch: seed, epoch, epochs, loss1 to loss3,
            gamma1 to gamma3, select_accuracy, select_weighted_f1.
        tensorboard: also write event files to `out/tensorboard`.
        start: the model to start from; its `configuration` gives the settings.
        engine: where seeds are trained: "local", or "ray", a Ray cluster (`core.ray_engine`).

    Returns:
        The content of metrics.json. Under torchrun, an empty dict on every rank but 0.

    Raises:
        UsageError: another process is training in `out`, or it holds another run.
        MercError: unusable options, a corpus that cannot be trained on, or a loss that became NaN.
        OSError: a file could not be written.
    """
    check_options(out, protocol, seeds, tensorboard, engine)
    try:
        report = report or no_report
        metrics = _train(corpus, config, protocol, seeds, out, report, tensorboard, start, engine)
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
    start: Start | None,
    engine: str,
) -> dict[str, Any]:
    how = report, tensorboard, start, engine
    first = "clean" if protocol == "both" else protocol
    metrics = train_corpus(corpus, config, first, seeds, out, *how)
    if protocol == "both":
        name = "published"
        other = _train(corpus, config, name, seeds, out / name, *how)
    elif protocol == "published" and getattr(config.train, "detach_teacher", False):
        name = "attached"
        attached = replace(config, train=replace(config.train, detach_teacher=False))
        other = train_corpus(corpus, attached, protocol, seeds, out / name, *how)
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
    start: Start | None = None,
    engine: str = "local",
) -> dict[str, Any]:
    """Write one run folder of one protocol, clean or published; return its metrics.

    A finished run of the same corpus and settings is not trained again.
    """
    run = plan_run(corpus, config, protocol, seeds, out, start)
    if run.finished is not None:
        return run.finished
    barrier()  # every rank has looked at the folder before rank 0 writes to it
    if ranks()[0] == 0:
        run.begin()
    with nullcontext() if ranks()[0] else claim_run(out):
        with _reporting(report, out / EVENTS if tensorboard else None) as report_all:
            folders = fit_seeds(run.parts, config, run.seeds, out / WORK, report_all, start, engine)
        if ranks()[0]:
            return {}
        pairs = zip(run.seeds, folders, strict=True)
        return run.finish([score_seed(run.parts, seed, folder) for seed, folder in pairs])


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
