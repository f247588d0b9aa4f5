"""`merc corpus`: check a raw release."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.cli.common import INPUT, Json, example, report_result

__all__ = ["corpus_app"]

SHOWN = 12  # findings of one kind in the table; --json has all

corpus_app = typer.Typer(no_args_is_help=True, help="Check a raw release of IEMOCAP or MELD.")


@corpus_app.callback()
def _group() -> None:
    # keeps `check` a subcommand while it is the only one
    ...


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
