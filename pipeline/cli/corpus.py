"""`merc corpus`: check a raw release, or make a table of annotated recordings."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.common import (
    INPUT,
    MODEL,
    OUTPUT,
    Device,
    Jobs,
    Json,
    TextModel,
    example,
    fail,
    finish,
    report_result,
    workers,
)

if TYPE_CHECKING:
    from pipeline.annotated_corpus import AnnotatedCorpus

__all__ = ["corpus_app"]

SHOWN = 12  # findings of one kind in the table; --json has all

corpus_app = typer.Typer(
    no_args_is_help=True,
    help="Check a raw release, or make a table of annotated recordings.",
)


@corpus_app.command(epilog=example("merc corpus check MELD.Raw"))
def check(
    path: Annotated[
        Path, typer.Argument(help="IEMOCAP_full_release or MELD.Raw.", show_default=False)
    ],
    probe: Annotated[
        bool,
        typer.Option(
            help="Open every clip to find those that are broken or badly cut.",
            rich_help_panel=INPUT,
        ),
    ] = True,
    json: Json = False,
) -> None:
    """List what is present, missing, broken or badly cut.

    Exits with code 1 if anything that the splits need is missing.
    """

    def work() -> dict[str, Any]:
        from pipeline.corpora.release_check import check as run

        return run(path, probe)

    result = report_result(work, json, _show)
    raise typer.Exit(0 if result["complete"] else 1)


@corpus_app.command(
    "from-annotations",
    epilog=example(
        "merc corpus from-annotations talks/ --out talks-table",
        "merc train --dataset talks-table --start merc-offline --out runs/talks",
        "merc label new.mp4 --model runs/talks",
    ),
)
def from_annotations(
    folder: Annotated[
        Path,
        typer.Argument(
            help="Recordings with corrected JSON, EAF, TextGrid, CSV ... next to them.",
            rich_help_panel=INPUT,
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            help="Folder of the table dataset.", rich_help_panel=OUTPUT, show_default=False
        ),
    ],
    start: Annotated[
        str,
        typer.Option(
            help="Extract the features that this model reads: merc-offline, a run folder or a "
            "model file.",
            rich_help_panel=MODEL,
        ),
    ] = "merc-offline",
    labels: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated label set, in this order; a label with a comma in double quotes. "
            "Default: the labels that occur.",
            rich_help_panel=INPUT,
            show_default=False,
        ),
    ] = None,
    unedited: Annotated[
        bool,
        typer.Option(
            "--unedited",
            help="Also use results of merc that nobody has corrected.",
            rich_help_panel=INPUT,
        ),
    ] = False,
    text_model: TextModel = None,
    store: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the store. Default: $MERC_STORE, else ~/.cache/merc/store.",
            rich_help_panel=OUTPUT,
            show_default=False,
        ),
    ] = None,
    device: Device = "cpu",
    jobs: Jobs = None,
    json: Json = False,
) -> None:
    """Make a table for merc train of recordings with corrected annotations next to them.

    Exits with code 1 if an annotation could not be used; the others are in the table.
    """
    from dataclasses import asdict

    from pipeline.annotated_corpus import corpus_from_annotations
    from pipeline.cli.progress import RunProgress
    from pipeline.cli.terminal import print_json
    from pipeline.core.files import check_folder
    from pipeline.corpora.table import check_replaceable, save_table

    cells = next(csv.reader([labels], skipinitialspace=True)) if labels else []
    names = [name.strip() for name in cells if name.strip()] or None
    try:
        check_folder(out)
        check_replaceable(out, folder.resolve().name, "--out")
        with RunProgress() as progress:
            made = corpus_from_annotations(
                folder,
                start,
                store,
                labels=names,
                unedited=unedited,
                text_model=text_model,
                device=device,
                progress=progress,
                **workers(jobs),
            )
        save_table(made.corpus, out)
    except (ValueError, OSError) as error:
        fail(error)
    if json:
        print_json(
            {
                "table": str(out),
                "store": str(made.store),
                "labels": list(made.corpus.labels),
                "dialogues": _dialogues(made),
                "warnings": [str(warning) for warning in made.warnings],
                "failures": [asdict(failure) for failure in made.failures],
            }
        )
    else:
        _show_annotations(made, out, start)
    total = len(made.annotations) + len(made.failures)
    raise typer.Exit(finish(made.failures, total, Path.cwd(), [folder]))


def _dialogues(made: AnnotatedCorpus) -> list[dict[str, Any]]:
    import numpy as np

    corpus = made.corpus
    return [
        {
            "dialogue": d.id,
            "annotation": made.annotations[d.id],
            "split": d.split,
            "utterances": len(d.utterances),
            "labels": {
                name: int((d.labels == k).sum())
                for k, name in enumerate(corpus.labels)
                if (d.labels == k).any()
            },
            "present": {m: int((~np.isnan(rows).all(1)).sum()) for m, rows in d.features.items()},
        }
        for d in corpus.dialogues
    ]


def _show_annotations(made: AnnotatedCorpus, out: Path, start: str) -> None:
    """Print one line per dialogue, the warnings, and what to do next."""
    from rich.table import Table

    from pipeline.cli.terminal import console as make_console
    from pipeline.cli.terminal import plain
    from pipeline.core.counts import counted

    console = make_console()
    table = Table(title=plain(f"{made.corpus.name}: annotated recordings"), title_justify="left")
    for name in ("dialogue", "split", "utterances", "labels", *made.corpus.widths):
        table.add_column(name, overflow="fold")
    for row in _dialogues(made):
        labels = ", ".join(f"{name} {count}" for name, count in row["labels"].items())
        counts: list[Any] = [str(row["utterances"]), plain(labels)]
        counts += map(str, row["present"].values())
        table.add_row(plain(row["dialogue"]), row["split"], *counts)
    console.print(table)
    for warning in made.warnings:
        console.print(plain(f"! {warning}", style="yellow"), soft_wrap=True)
    done = counted(len(made.corpus.dialogues), "dialogue")
    following = f"merc train --dataset {out} --start {start} --out RUN"
    console.print(plain(f"wrote {out}: {done} ({following})"), soft_wrap=True)


def _show(result: dict[str, Any]) -> None:
    """Print the findings as a table, the counts, and whether anything is missing."""
    from rich.table import Table

    from pipeline.cli.terminal import console as make_console
    from pipeline.cli.terminal import plain
    from pipeline.core.counts import counted

    console = make_console()
    table = Table(title=plain(f"{result['dataset']} in {result['path']}"), title_justify="left")
    for column in ("finding", "item", "detail", "how merc handles it", "needed"):
        table.add_column(column, overflow="fold")
    totals = Counter(finding["kind"] for finding in result["findings"])
    shown: Counter[str] = Counter()
    for finding in sorted(result["findings"], key=lambda f: (not f["needed"], f["kind"])):
        kind = finding["kind"]
        shown[kind] += 1
        if shown[kind] <= SHOWN:
            item, detail = plain(finding["item"]), plain(finding["detail"])
            table.add_row(kind, item, detail, finding["policy"], "yes" if finding["needed"] else "")
        elif shown[kind] == SHOWN + 1:
            table.add_row(kind, f"and {totals[kind] - SHOWN} more (--json lists all)", "", "", "")
    if result["findings"]:
        console.print(table)
    classes = ", ".join(f"{label} {count}" for label, count in result["classes"].items())
    for line in [*result["against"], *result["notes"], classes]:
        console.print(plain(line), soft_wrap=True)
    console.print(
        f"{counted(result['utterances'], 'utterance')}, {result['usable_clips']} with a usable clip"
        + ("" if result["probed"] else " (clips not opened: --no-probe)")
    )
    console.print(
        "Everything that the splits need is there."
        if result["complete"]
        else "Something that the splits need is missing or broken: see the rows marked yes."
    )
