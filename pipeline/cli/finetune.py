"""`merc finetune`: fine-tune an encoder on a corpus."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.cli.common import (
    INPUT,
    MODEL,
    OUTPUT,
    Json,
    Seeds,
    Settings,
    example,
    report_result,
)

__all__ = ["finetune_app"]

finetune_app = typer.Typer(no_args_is_help=True, help="Fine-tune an encoder on a corpus.")


@finetune_app.callback()
def _group() -> None:
    # keeps `text` a subcommand while it is the only one
    ...


@finetune_app.command(
    epilog=example(
        "merc finetune text --dataset meld --data MELD.Raw --out runs/text",
        "merc finetune text --dataset mytable --model minilm --method lora --out runs/text",
    )
)
def text(
    dataset: Annotated[
        str,
        typer.Option(
            help="meld, iemocap, or a table folder (utterances.csv is enough).",
            rich_help_panel=INPUT,
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            help="Folder of the encoder and its figures. An interrupted run continues.",
            rich_help_panel=OUTPUT,
            show_default=False,
        ),
    ],
    data: Annotated[
        Path | None,
        typer.Option(
            help="Raw release, MELD's *_sent_emo.csv, or published file. Default: $MERC_DATA.",
            rich_help_panel=INPUT,
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            help="Encoder: a hub name (fetched once), minilm (comes with merc), or a folder.",
            rich_help_panel=MODEL,
        ),
    ] = "FacebookAI/roberta-large",
    method: Annotated[
        str,
        typer.Option(help="full: all weights; lora: low-rank changes.", rich_help_panel=MODEL),
    ] = "full",
    seeds: Seeds = 1,
    set: Settings = None,
    json: Json = False,
) -> None:
    """Fine-tune a text encoder on single utterances, as COSMIC did.

    Use it with --text-model OUT.
    """
    from pipeline.cli.tables import show_finetuning

    def work() -> dict[str, Any]:
        from pipeline.cli.progress import finetuning_progress
        from pipeline.corpora import find_source
        from pipeline.finetuning.finetune import finetune_text
        from pipeline.finetuning.lines import load_lines

        lines = load_lines(find_source(dataset, data))
        with finetuning_progress() as report:
            return finetune_text(lines, model, method, seeds, out, set or [], report)

    report_result(work, json, show_finetuning)
