"""What `merc extract` prints, writes besides the store, and returns."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.extract import AGAIN, KEPT, ExtractOptions, Summary, extract
from pipeline.failures import exit_code, write_failures

__all__ = ["run"]


def run(paths: list[Path], out: Path | None, options: ExtractOptions, jobs: int, as_json: bool) -> int:
    """The exit code; unusable arguments are 2 and leave nothing behind."""
    try:
        summary = extract(paths, out, options, jobs)
    except (ValueError, OSError) as error:
        print(f"merc: {error}", file=sys.stderr)
        return 2
    code = exit_code(summary.failures)
    listed = None
    try:
        listed = write_failures(summary.failures, out or Path.cwd())
    except OSError as error:
        print(f"merc: {error}", file=sys.stderr)
        code = 1
    if as_json:
        files = [asdict(file) for file in summary.files]
        print(json.dumps({"store": str(summary.store), "files": files, "nothing_done": summary.nothing_done,
                          "failures": [asdict(failure) for failure in summary.failures]}, ensure_ascii=False))
    else:
        _show(summary)
    if listed:
        print(f"merc: {len(summary.failures)} of {len(summary.files) + len(summary.failures)} inputs failed, see "
              f"{listed}", file=sys.stderr)
    return code


def _show(summary: Summary) -> None:
    console = Console(highlight=False)
    if summary.files and not summary.nothing_done:
        table = Table()
        steps = list(summary.files[0].present)
        for name in ("medium", "utterances", *steps):
            table.add_column(name, overflow="fold")
        for file in summary.files:
            cells = [Text(f"{file.present[step]} of {file.utterances} {_how(file.done[step])}".rstrip(),
                          style="" if file.present[step] == file.utterances else "yellow") for step in steps]
            table.add_row(Text(file.input), Text(f"{file.utterances} {_how(file.done['utterances'])}".rstrip()), *cells)
        console.print(table)
    for file in summary.files:
        for warning in file.warnings:
            console.print(Text(f"! {warning}", style="yellow"), soft_wrap=True)
        if AGAIN in file.done.values():
            steps = [step for step, how in file.done.items() if how == AGAIN]
            console.print(Text(f"! {file.input}: {', '.join(steps)} in the store was damaged and is made again",
                               style="yellow"), soft_wrap=True)
    kept = sum(set(file.done.values()) == {KEPT} for file in summary.files)
    done = len(summary.files) - kept
    if summary.nothing_done:
        console.print(Text(f"nothing to do: all {kept} in {summary.store} already"), soft_wrap=True)
    else:
        console.print(Text(f"{done} extracted, {kept} there already: {summary.store}"), soft_wrap=True)


def _how(step: str) -> str:
    return "" if step == "made" else f"({step})"
