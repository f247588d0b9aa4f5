"""`merc import`: convert a published feature file to a table dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.cli.common import OUTPUT, Json, example, report_result
from pipeline.cli.terminal import print_line

__all__ = ["EPILOGS", "import_"]

EPILOGS = {"import": example("merc import iemocap_multimodal_features.pkl --out iemocap")}


def import_(
    file: Annotated[
        Path,
        typer.Argument(
            help="A published IEMOCAP or MELD feature file (pickle).", show_default=False
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="Folder of the table.", rich_help_panel=OUTPUT, show_default=False)
    ],
    text: Annotated[
        str, typer.Option(help="RoBERTa layers: r1 (the last) or mean (of r1 to r4).")
    ] = "r1",
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace an existing table.", rich_help_panel=OUTPUT),
    ] = False,
    json: Json = False,
) -> None:
    """Convert a published feature file to a table dataset.

    The pickle is read without executing it.
    """
    report_result(lambda: _import(file, out, text, overwrite), json, _show)


def _import(file: Path, out: Path, text: str, overwrite: bool) -> dict[str, Any]:
    from pipeline.core.errors import UsageError
    from pipeline.corpora.published import read_published
    from pipeline.corpora.table import save_table

    if out.exists() and not out.is_dir():
        raise UsageError(f"{out}: this is a file", "name a folder with --out")
    if out.is_dir() and any(out.iterdir()) and not overwrite:
        raise UsageError(f"{out}: the folder is not empty", "name a new folder, or add --overwrite")
    published = read_published(file, text)
    corpus = published.corpus
    save_table(corpus, out)
    fingerprints = corpus.fingerprints
    return {
        "table": str(out),
        "layout": published.layout.name,
        "dataset": corpus.name,
        "widths": dict(corpus.widths),
        "text": fingerprints["text"]["field"] if fingerprints else "unknown",
        "notes": published.notes,
    }


def _show(result: dict[str, Any]) -> None:
    dataset, table = result["dataset"], result["table"]
    widths = ", ".join(f"{modality} {width}" for modality, width in result["widths"].items())
    print_line(f"{dataset} in {result['layout']}'s layout: {widths} (text: {result['text']})")
    for note in result["notes"]:
        print_line(f"  {note}")
    print_line(f"{table}: train on it with merc train --dataset {dataset} --data {table}")
