"""What `merc extract` prints, writes besides the store, and returns."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.cli.progress import RunProgress
from pipeline.core.dialogue import MODALITIES
from pipeline.core.failures import Failure, write_failures
from pipeline.corpora.splits import SPLITS
from pipeline.features.extract import AGAIN, KEPT, ExtractOptions, Summary, extract

if TYPE_CHECKING:
    from pipeline.features.extract_release import CorpusSummary

__all__ = ["run", "run_corpus", "show_corpus"]


def run(
    paths: list[Path], out: Path | None, options: ExtractOptions, jobs: int, as_json: bool
) -> int:
    """The exit code; unusable arguments are 2 and leave nothing behind."""
    try:
        with RunProgress() as progress:
            summary = extract(paths, out, options, jobs, progress)
    except (ValueError, OSError) as error:
        print(f"merc: {error}", file=sys.stderr)
        return 2
    code, listed = _listed(summary.failures, out)
    if as_json:
        files = [asdict(file) for file in summary.files]
        print(
            json.dumps(
                {
                    "store": str(summary.store),
                    "files": files,
                    "nothing_done": summary.nothing_done,
                    "failures": [asdict(failure) for failure in summary.failures],
                },
                ensure_ascii=False,
            )
        )
    else:
        _show(summary)
    if listed:
        print(
            f"merc: {len(summary.failures)} of {len(summary.files) + len(summary.failures)} inputs failed, see "
            f"{listed}",
            file=sys.stderr,
        )
    return code


def run_corpus(
    dataset: str,
    data: Path | None,
    out: Path | None,
    options: ExtractOptions,
    jobs: int,
    left: str,
    table: Path | None,
    as_json: bool,
) -> int:
    """A raw release; the exit code as of `run`.  table: a folder for the corpus as a table of its own."""
    from pipeline.core.files import check_folder
    from pipeline.corpora.table import save_table
    from pipeline.features.extract_release import extract_corpus

    try:
        if table:
            check_folder(table)
            _check_table(table, dataset)
        named = data or os.environ.get("MERC_DATA")
        if not named:
            raise ValueError(
                f"--dataset {dataset}: name the folder of its raw release with --data, or in MERC_DATA"
            )
        with RunProgress() as progress:
            summary = extract_corpus(dataset, Path(named), out, options, jobs, left, progress)
        if table:
            for modality in set(MODALITIES) - set(summary.corpus.widths):  # of an earlier table
                (table / f"{modality}.npy").unlink(missing_ok=True)
            save_table(summary.corpus, table)
    except (ValueError, OSError) as error:
        print(f"merc: {error}", file=sys.stderr)
        return 2
    code, listed = _listed(summary.failures, out)
    if as_json:
        print(json.dumps(_told(summary) | {"table": table and str(table)}, ensure_ascii=False))
    else:
        show_corpus(summary)
        if table:
            print(f"table: {table} (merc train --dataset {dataset} --data {table})")
    if listed:
        print(f"merc: {len(summary.failures)} media failed, see {listed}", file=sys.stderr)
    return code


def show_corpus(summary: CorpusSummary, console: Console | None = None) -> None:
    """Utterances of each part and how many have each modality; findings; what was done."""
    told, console = _told(summary), console or Console(highlight=False)
    table = Table(title=Text(f"{told['dataset']}: utterances"), title_justify="left")
    for name in ("", "dialogues", "lines", "labelled", *summary.corpus.widths):
        table.add_column(name)
    for name, part in told["parts"].items():
        table.add_row(name, *map(str, part.values()))
    console.print(table)
    for warning in [*told["notes"], *told["warnings"]]:
        console.print(Text(f"! {warning}", style="yellow"), soft_wrap=True)
    steps = told["steps"]
    if summary.nothing_done:
        console.print(
            Text(f"nothing to do: all {len(summary.files)} media in {summary.store} already"),
            soft_wrap=True,
        )
    else:
        console.print(
            Text(
                f"{len(summary.files)} media, features {', '.join(f'{how} {n}' for how, n in steps.items())}"
                f": {summary.store}"
            ),
            soft_wrap=True,
        )


def _told(summary: CorpusSummary) -> dict[str, Any]:
    corpus = summary.corpus
    parts = {}
    for split in SPLITS:
        own = corpus.split(split)
        present = {
            m: sum(int((~np.isnan(d.features[m]).all(1)).sum()) for d in own) for m in corpus.widths
        }
        parts[split] = {
            "dialogues": len(own),
            "lines": sum(len(d.utterances) for d in own),
            "labelled": sum(int((d.labels >= 0).sum()) for d in own),
        } | present
    return {
        "dataset": corpus.name,
        "store": str(summary.store),
        "media": len(summary.files),
        "parts": parts,
        "steps": dict(
            sorted(Counter(how for file in summary.files for how in file.done.values()).items())
        ),
        "nothing_done": summary.nothing_done,
        "notes": summary.raw.notes,
        "warnings": summary.warnings,
        "sides": {name: list(pair) for name, pair in summary.sides.items()},
        "findings": [asdict(finding) for finding in summary.raw.findings],
        "failures": [asdict(failure) for failure in summary.failures],
    }


def _check_table(table: Path, dataset: str) -> None:
    """Raise FileExistsError for a table that is not of an earlier call."""
    about = table / "table.json"
    if (table / "utterances.csv").exists() and not (
        about.exists() and f'"name": "{dataset}"' in about.read_text("utf-8", errors="replace")
    ):
        raise FileExistsError(f"--table {table}: another table is there; name another folder")


def _listed(failures: list[Failure], out: Path | None) -> tuple[int, Path | None]:
    """The exit code, and where the failures are listed."""
    try:
        return 1 if failures else 0, write_failures(failures, out or Path.cwd())
    except OSError as error:
        print(f"merc: {error}", file=sys.stderr)
        return 1, None


def _show(summary: Summary) -> None:
    console = Console(highlight=False)
    if summary.files and not summary.nothing_done:
        table = Table()
        steps = list(summary.files[0].present)
        for name in ("medium", "utterances", *steps):
            table.add_column(name, overflow="fold")
        for file in summary.files:
            cells = [
                Text(
                    f"{file.present[step]} of {file.utterances} {_how(file.done[step])}".rstrip(),
                    style="" if file.present[step] == file.utterances else "yellow",
                )
                for step in steps
            ]
            table.add_row(
                Text(file.input),
                Text(f"{file.utterances} {_how(file.done['utterances'])}".rstrip()),
                *cells,
            )
        console.print(table)
    for file in summary.files:
        for warning in file.warnings:
            told = warning.removeprefix(f"{Path(file.input).name}: ")
            console.print(Text(f"! {file.input}: {told}", style="yellow"), soft_wrap=True)
        if AGAIN in file.done.values():
            steps = [step for step, how in file.done.items() if how == AGAIN]
            console.print(
                Text(
                    f"! {file.input}: {', '.join(steps)} in the store was damaged and is made again",
                    style="yellow",
                ),
                soft_wrap=True,
            )
    kept = sum(set(file.done.values()) == {KEPT} for file in summary.files)
    done = len(summary.files) - kept
    if summary.nothing_done:
        console.print(Text(f"nothing to do: all {kept} in {summary.store} already"), soft_wrap=True)
    else:
        console.print(
            Text(f"{done} extracted, {kept} there already: {summary.store}"), soft_wrap=True
        )


def _how(step: str) -> str:
    return "" if step == "made" else f"({step})"
