"""`merc corpus`: look at a raw release before hours are spent on it."""

from __future__ import annotations

import json as json_lines
import sys
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["corpus_app"]

corpus_app = typer.Typer(no_args_is_help=True, help="Look at a raw release of IEMOCAP or MELD.")


@corpus_app.callback()
def corpus() -> None:
    """A callback keeps `check` a subcommand while it is the only one."""


@corpus_app.command()
def check(
    path: Annotated[Path, typer.Argument(help="IEMOCAP_full_release or MELD.Raw.")],
    probe: Annotated[
        bool, typer.Option(help="Open every clip to find broken and mis-cut ones.")
    ] = True,
    json: Annotated[
        bool, typer.Option("--json", help="One JSON object on stdout instead of a table.")
    ] = False,
) -> None:
    """What is there, missing, broken or mis-cut; exit code 1 if anything the splits need is absent."""
    from pipeline.corpora.release_check import check as run
    from pipeline.corpora.release_check import show

    try:
        result = run(path, probe)
    except (ValueError, OSError) as error:
        print(f"merc: {error}", file=sys.stderr)
        raise typer.Exit(2) from None
    if json:
        print(json_lines.dumps(result, sort_keys=True))
    else:
        show(result)
    raise typer.Exit(0 if result["complete"] else 1)
