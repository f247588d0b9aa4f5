"""`merc train`: a corpus in, a run folder out."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from css_model import CSSConfig
from pipeline.cli.release import RawOptions, corpus_of
from pipeline.core.dialogue import Corpus
from pipeline.core.failures import write_failures
from pipeline.core.files import write_text
from pipeline.training.config import Configuration, load_configuration, to_yaml
from pipeline.training.fit import fit, ranks
from pipeline.training.protocols import PROTOCOLS, Parts, part_corpus, speaker_notes
from pipeline.training.report import write_run
from pipeline.training.summary import summarise
from pipeline.training.tensorboard import board, summary_writer

__all__ = ["fit_seeds", "train", "train_corpus", "train_protocols"]

WORK = ".work"  # checkpoints of an unfinished run
BOARD = "tensorboard"  # event files, on request


def train(
    dataset: str,
    data: Path | None,
    protocol: str,
    seeds: int,
    out: Path,
    overrides: list[str],
    progress: bool = False,
    tensorboard: bool = False,
    raw: RawOptions | None = None,
) -> dict[str, Any]:
    """Train on a corpus by name or a table folder; returns the content of metrics.json, of a raw release with
    `failures`, the number of media in `out/failures.csv`.

    A run that was cut short goes on where it stopped.  tensorboard: event files in `out/tensorboard` too.
    Raises ValueError or OSError with the remedy.
    """
    if protocol not in (*PROTOCOLS, "both"):
        raise ValueError(f"no protocol {protocol!r}; choose {', '.join(PROTOCOLS)} or both")
    if seeds < 1:
        raise ValueError(f"--seeds {seeds}: want at least one")
    if tensorboard:
        summary_writer()  # refused before hours of work, not after
    config = load_configuration(dataset, overrides)
    _check_free(Path(out))
    corpus, failures = corpus_of(
        dataset, data, raw or RawOptions(), config.data.left, ranks()[1] == 1
    )
    if config.data.text_folds:
        from pipeline.finetuning.folds import (
            with_folds,  # transformers: training on tables does without
        )

        corpus = with_folds(corpus, Path(config.data.text_folds))
    try:
        result = train_protocols(corpus, config, protocol, seeds, Path(out), progress, tensorboard)
        if ranks()[0]:
            raise SystemExit(0)  # rank 0 alone writes and speaks
        write_failures(failures, Path(out))
        return result | ({"failures": len(failures)} if failures else {})
    finally:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def train_protocols(
    corpus: Corpus,
    config: Configuration,
    protocol: str,
    seeds: int,
    out: Path,
    progress: bool = False,
    tensorboard: bool = False,
) -> dict[str, Any]:
    """As `train`, on a corpus at hand.

    both: the clean run with the leaky one beside it in `out/published`.  published: with the teacher of L3 detached,
    and in `out/attached` not, as SDT's program has it.
    """
    watched = (progress, tensorboard)
    main = train_corpus(
        corpus, config, "clean" if protocol == "both" else protocol, seeds, out, *watched
    )
    if protocol == "both":
        leaky = train_protocols(corpus, config, "published", seeds, out / "published", *watched)
        beside = {"published": leaky}
    elif protocol == "published" and config.train.detach_teacher:
        attached = replace(config, train=replace(config.train, detach_teacher=False))
        beside = {
            "attached": train_corpus(corpus, attached, protocol, seeds, out / "attached", *watched)
        }
    else:
        return main
    return main if ranks()[0] else write_run(out, main, config, beside=beside)


def train_corpus(
    corpus: Corpus,
    config: Configuration,
    protocol: str,
    seeds: int,
    out: Path,
    progress: bool = False,
    tensorboard: bool = False,
) -> dict[str, Any]:
    """One run folder of one protocol, clean or published."""
    parts = part_corpus(corpus, config.data, protocol)
    parts.notes.extend(speaker_notes(corpus, config.model.speakers))
    CSSConfig(
        tuple(corpus.widths.items()), corpus.labels, **vars(config.model)
    )  # refused before a folder is made
    identity = _identity(corpus, config, protocol, seeds)
    finished = _claim(out, identity)
    if finished is not None:
        return finished
    numbers = [config.train.seed + k for k in range(seeds)]
    folders = fit_seeds(
        parts, config, numbers, out / WORK, progress, out / BOARD if tensorboard else None
    )
    if ranks()[0]:
        return {}
    metrics, tables = summarise(parts, config, dict(zip(numbers, folders, strict=True)))
    best = folders[numbers.index(metrics["best_seed"])]
    os.replace(
        shutil.copy(best / "model.safetensors", out / ".model.tmp"), out / "model.safetensors"
    )
    for seed, folder in zip(numbers, folders, strict=True) if config.train.keep_seeds else ():
        os.replace(
            shutil.copy(folder / "model.safetensors", out / ".model.tmp"),
            out / f"seed-{seed}.safetensors",
        )
    result = write_run(out, metrics | {"identity": identity}, config, tables=tables)
    shutil.rmtree(out / WORK)
    return result


def fit_seeds(
    parts: Parts,
    config: Configuration,
    seeds: list[int],
    work: Path,
    progress: bool = False,
    events: Path | None = None,
) -> list[Path]:
    """Fit every seed, as many at a time as there are cores; the folder of each, in order.

    events: a folder for TensorBoard's event files.
    """
    folders = [work / f"seed-{seed}" for seed in seeds]
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    alone = ranks()[1] > 1 or (config.train.device != "cpu" and torch.cuda.is_available())
    jobs = 1 if alone else min(len(seeds), cores)
    beside = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # ranks of torchrun on this machine
    # at most what torch took at its start: $OMP_NUM_THREADS, else the physical cores
    threads = config.train.threads or max(
        1, min(torch.get_num_threads(), cores // max(jobs, beside))
    )
    first = ranks()[0] == 0
    with _watch(progress and first, seeds, config.train.epochs, events if first else None) as show:
        if jobs == 1:
            before = torch.get_num_threads()
            torch.set_num_threads(threads)
            try:
                for seed, folder in zip(seeds, folders, strict=True):
                    fit(parts, config, seed, folder, show)
            finally:
                torch.set_num_threads(before)
            return folders
        context = multiprocessing.get_context("spawn")  # a forked torch may hang
        queue = context.Queue()
        listener = threading.Thread(target=_listen, args=(queue, show), daemon=True)
        listener.start()
        pool = ProcessPoolExecutor(jobs, context, _start, (parts, config, threads, queue))
        try:
            for done in [
                pool.submit(_work, seed, folder)
                for seed, folder in zip(seeds, folders, strict=True)
            ]:
                done.result()
        finally:
            pool.shutdown(cancel_futures=True)
            queue.put(None)
            listener.join()
    return folders


_JOB: dict[str, Any] = {}  # what `_start` leaves for `_work` in a process of the pool


def _start(parts: Parts, config: Configuration, threads: int, queue: Any) -> None:
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    _JOB.update(parts=parts, config=config, queue=queue)


def _leave_with_parent() -> None:
    """Without it a killed command leaves its processes training, or waiting for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _work(seed: int, folder: Path) -> None:
    fit(_JOB["parts"], _JOB["config"], seed, folder, _JOB["queue"].put)


def _listen(queue: Any, show: Callable[[dict[str, Any]], None]) -> None:
    while (row := queue.get()) is not None:
        show(row)


@contextmanager
def _watch(
    progress: bool, seeds: list[int], epochs: int, events: Path | None
) -> Iterator[Callable[[dict[str, Any]], None]]:
    """A live bar per seed with losses and γ, and TensorBoard's files, each where wanted."""
    watchers: list[Callable[[dict[str, Any]], None]] = []
    with ExitStack() as stack:
        if events is not None:
            watchers.append(stack.enter_context(board(events)))
        if progress:
            from pipeline.cli.progress import training_progress

            watchers.append(stack.enter_context(training_progress(seeds, epochs)))

        def show(row: dict[str, Any]) -> None:
            for watch in watchers:
                watch(row)

        yield show


def _claim(out: Path, identity: str) -> dict[str, Any] | None:
    """Take the folder for this run; the metrics of the same run when it is already there.

    Raises FileExistsError for a folder that holds anything else.
    """
    finished, unfinished = out / "metrics.json", out / WORK / "settings.json"
    if finished.exists():
        metrics = json.loads(finished.read_text("utf-8"))
        if metrics.get("identity") == identity:
            return metrics
        raise FileExistsError(
            f"{out} holds another run (other data or settings); name another --out, or delete it"
        )
    same = unfinished.exists() and json.loads(unfinished.read_text("utf-8"))["identity"] == identity
    if not same and any(
        (out / WORK).glob("seed-*/*")
    ):  # a training that failed at once left nothing worth keeping
        raise FileExistsError(
            f"{out} holds an unfinished run with other data or settings; repeat its command to go on "
            "with it, name another --out, or delete it"
        )
    if out.is_dir() and any(file.name != WORK for file in out.iterdir()) and not same:
        raise FileExistsError(f"{out} is not empty and holds no run; name a new folder for --out")
    if ranks()[1] > 1:
        torch.distributed.barrier()  # no rank looks after another has written
    if not same and ranks()[0] == 0:
        write_text(unfinished, json.dumps({"identity": identity}))
    return None


def _check_free(out: Path) -> None:
    """Raise FileExistsError for a folder with content that is no run, before hours of work."""
    runs = [name for name in ("metrics.json", WORK) if (out / name).exists()]
    if out.exists() and not runs and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} is not empty and holds no run; name a new folder for --out")


def _identity(corpus: Corpus, config: Configuration, protocol: str, seeds: int) -> str:
    """A hash of everything that the result depends on."""
    digest = hashlib.sha256(
        json.dumps(
            [
                corpus.name,
                corpus.labels,
                corpus.widths,
                corpus.fingerprints,
                to_yaml(config),
                protocol,
                seeds,
                [(d.id, d.split, d.utterances, d.speakers) for d in corpus.dialogues],
            ],
            sort_keys=True,
        ).encode()
    )
    for d in corpus.dialogues:
        digest.update(d.labels.tobytes())
        for modality in sorted(d.features):
            digest.update(d.features[modality].tobytes())
    return digest.hexdigest()
