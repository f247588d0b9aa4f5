"""`merc agree`: compare two annotations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.cli.common import INPUT, Json, example, report_result

__all__ = ["EPILOGS", "agree"]

EPILOGS = {
    "agree": example("merc agree dialogue.merc.json corrected.eaf", "merc agree anna/ ben/ --json")
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
    json: Json = False,
) -> None:  # fmt: skip
    """Measure how far two annotations of the same recordings agree."""
    from pipeline.cli.tables import show_agreement

    def work() -> dict[str, Any]:
        from pipeline.agreement import agree as compare
        from pipeline.core.errors import UsageError

        try:
            return compare(one, other)
        except ModuleNotFoundError as error:
            raise UsageError(
                f"merc agree needs the package {error.name}", "pip install 'merc[agree]'"
            ) from error

    report_result(work, json, show_agreement)
