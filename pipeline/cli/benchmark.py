"""`merc benchmark`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.cli.common import (
    MODEL,
    OUTPUT,
    Engine,
    Json,
    Seeds,
    Settings,
    example,
    fail,
    report_result,
)
from pipeline.cli.terminal import print_line
from pipeline.cli.train import Data, Dataset, load_for_training

__all__ = ["EPILOGS", "benchmark"]

EPILOGS = {
    "benchmark": example(
        "merc benchmark --dataset synthetic --models css,sdt,mfn --seeds 2 --out runs/field",
        "merc benchmark --dataset meld --data FILE --protocol both --out runs/meld",
        "merc benchmark --dataset mytable --modalities text --width 128 --out runs/text",
    )
}


def benchmark(
    dataset: Dataset,
    out: Annotated[
        Path,
        typer.Option(
            help="Folder of the tables and of every model's run. A killed benchmark continues.",
            rich_help_panel=OUTPUT,
            show_default=False,
        ),
    ],
    data: Data = None,
    models: Annotated[
        str, typer.Option(help="Comma-separated models, or all.", rich_help_panel=MODEL)
    ] = "all",
    protocol: Annotated[
        str,
        typer.Option(
            help="clean: select on valid; published: select on test, leaky; both.",
            rich_help_panel=MODEL,
        ),
    ] = "clean",
    seeds: Seeds = 5,
    settings: Annotated[
        str | None,
        typer.Option(
            help="Use the sizes and hyperparameters of iemocap or meld, whatever the data. "
            "Default: those of the dataset.",
            rich_help_panel=MODEL,
            show_default=False,
        ),
    ] = None,
    width: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Width of every model that has one.",
            rich_help_panel=MODEL,
            show_default=False,
        ),
    ] = None,
    modalities: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated modalities to use, such as text. Default: all of the dataset.",
            rich_help_panel=MODEL,
            show_default=False,
        ),
    ] = None,
    set: Settings = None,
    device: Annotated[
        str,
        typer.Option(help="auto (CUDA if there is a device), cpu or cuda.", rich_help_panel=MODEL),
    ] = "auto",
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Number of seeds to train at once, each in its own process; on a CUDA device they "
            "share its memory. Default: one per core, on CUDA 1; with --engine ray as many as the "
            "cluster has room for.",
            rich_help_panel=MODEL,
            show_default=False,
        ),
    ] = None,
    engine: Engine = "local",
    json: Json = False,
) -> None:
    """Train CSS and the models that it is compared with, and write the tables of the comparison.

    Every model has its own paper's settings. Exit code 1: some models failed, the others are done.
    """
    from pipeline.cli.tables import show_benchmark

    names = [name.strip() for name in models.split(",") if name.strip()]
    if settings not in (None, "iemocap", "meld"):
        fail(f"--settings {settings}: unknown; choose iemocap or meld")
    overrides = [f"train.device={device}"]
    if modalities:
        overrides.append(f"data.modalities=[{modalities}]")

    def work() -> dict[str, Any]:
        from pipeline.cli.progress import training_progress
        from pipeline.loading import ReleaseOptions
        from pipeline.training.benchmark import benchmark as run
        from pipeline.training.benchmark import check_benchmark

        check_benchmark(out, names, protocol, seeds, engine)
        corpus, _, _ = load_for_training(dataset, data, overrides, ReleaseOptions(), engine=engine)
        with training_progress(keep=False) as report:
            return run(
                corpus,
                settings or corpus.settings,
                out,
                names,
                protocol,
                seeds,
                [*overrides, *(set or [])],
                width=width,
                jobs=jobs,
                report=report,
                engine=engine,
            )

    result = report_result(work, json, lambda result: show_benchmark(result, out))
    failed = {n: m["error"] for n, m in result["models"].items() if "error" in m}
    for name, reason in failed.items():
        print_line(f"merc: {name} failed: {reason}", error=True)
    if failed:
        raise typer.Exit(1)
