"""`merc agree`: compare two annotations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.cli.common import INPUT, OUTPUT, Json, Overwrite, example, report_result

__all__ = ["EPILOGS", "agree"]

EPILOGS = {
    "agree": example(
        "merc agree dialogue.merc.json corrected.eaf",
        "merc agree anna/ ben/ --json",
        "merc agree anna/ ben/ --report --out results",
    )
}


def agree(
    one: Annotated[
        Path,
        typer.Argument(
            metavar="A", help="A file, or a folder of files.", rich_help_panel=INPUT,
            show_default=False,
        ),
    ],
    other: Annotated[
        Path,
        typer.Argument(
            metavar="B", help="Another annotation of the same recordings.", rich_help_panel=INPUT,
            show_default=False,
        ),
    ],
    report: Annotated[
        bool,
        typer.Option(
            "--report",
            help="Also write a page with the figures and where A and B differ: "
            "NAME.agreement.merc.html.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the page. Default: that of A.", rich_help_panel=OUTPUT,
            show_default=False,
        ),
    ] = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:  # fmt: skip
    """Measure how far two annotations of the same recordings agree."""
    from pipeline.cli.tables import show_agreement

    def work() -> dict[str, Any]:
        from pipeline.agreement import agree as compare
        from pipeline.core.errors import UsageError

        if out and not report:
            raise UsageError("--out: there is no page to write", "add --report")
        try:
            return compare(one, other, report=report, out=out, overwrite=overwrite)
        except ModuleNotFoundError as error:
            raise UsageError(
                f"merc agree needs the package {error.name}", "pip install 'merc[agree]'"
            ) from error

    report_result(work, json, show_agreement)
