"""`merc export`: convert annotations, and labelled tables, into other formats."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.cli.common import (
    INPUT,
    OUTPUT,
    Json,
    Overwrite,
    example,
    fail,
    finish,
)
from pipeline.cli.terminal import print_json, print_line

__all__ = ["EPILOGS", "WITHOUT_LABELS", "export"]

WITHOUT_LABELS = (
    "no utterance has a label: all are written as -1, and programs that need labels will stop"
)

EPILOGS = {
    "export": example(
        "merc export dialogue.merc.json --format eaf,srt",
        "merc export corrected.eaf --format json --out corrected",
        "merc export mytable --format cfn-esa --out mytable.pkl",
    )
}


def export(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="Results of merc, corrected or not, in any of its formats but RTTM; or tables.",
            rich_help_panel=INPUT,
            show_default=False,
        ),
    ],
    format: Annotated[
        str,
        typer.Option(
            help="Comma-separated: json, jsonl, csv, parquet, srt, vtt, textgrid, eaf, rttm, "
            "audacity; of a table: sdt, mmgcn, cosmic, cfn-esa, m3net, the pickles that these "
            "programs read.",
            rich_help_panel=OUTPUT,
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the new files. Default: next to each file. For one pickle, also its "
            "name.",
            rich_help_panel=OUTPUT,
            show_default=False,
        ),
    ] = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Convert labelled dialogues into other formats, and tables into those of other programs."""
    from pipeline.core.failures import run_each
    from pipeline.core.files import check_folder
    from pipeline.corpora.published_writer import FORMATS as LAYOUTS
    from pipeline.exports import parse_formats

    names = list(dict.fromkeys(name.strip().lower() for name in format.split(",")))
    layouts = [name for name in names if name in LAYOUTS]
    if layouts and len(layouts) < len(names):
        fail(f"--format {format}: {', '.join(layouts)} are formats of tables; name them alone")
    try:
        if layouts:
            work: Any = _ExportTable(tuple(layouts), _pickles(files, layouts, out), overwrite)
        else:
            work = _Export(tuple(parse_formats(format)), out, overwrite)
        if out:
            check_folder(out.parent if layouts and out.suffix == ".pkl" else out)
    except (ValueError, OSError) as error:
        fail(error)
    results, failures = run_each(files, work)
    exported = [result for result in results if result is not None]
    if json:
        failed = [asdict(failure) for failure in failures]
        print_json({"results": exported, "failures": failed})
    else:
        for result in exported:
            for warning in result["warnings"]:
                print_line(f"! {warning}")
            for path in result["files"]:
                print_line(f"wrote {path}")
        for failure in failures:
            print_line(f"merc: {failure}", error=True)
    folder = out.parent if out and layouts and out.suffix == ".pkl" else out or Path.cwd()
    raise typer.Exit(finish(failures, len(files), folder, files))


@dataclass(frozen=True)
class _Export:
    formats: tuple[str, ...]
    out: Path | None
    overwrite: bool

    def __call__(self, path: Path, stage: Callable[..., None]) -> dict[str, Any]:
        from pipeline.exports import write_result
        from pipeline.segmentation.annotations import find_recording, read_annotation, stem_of

        stage("read")
        content = read_annotation(path)
        recording = find_recording(path, content["media"])
        stage("write")
        base = (self.out or path.parent) / stem_of(path)
        media = recording or path.with_name(content["media"])
        files = write_result(content, media, base, self.formats, self.overwrite)
        return {
            "input": str(path),
            "files": [str(file) for file in files],
            "warnings": content["warnings"],
        }


def _pickles(tables: list[Path], layouts: list[str], out: Path | None) -> dict[Path, list[Path]]:
    """Return table -> the file of each layout."""
    from pipeline.core.errors import UsageError

    if out and out.suffix == ".pkl":
        if len(tables) * len(layouts) > 1:
            raise UsageError(f"--out {out}: one file for several pickles", "name a folder")
        return {tables[0]: [out]}
    return {
        table: [(out or table.parent) / f"{table.resolve().name}.{name}.pkl" for name in layouts]
        for table in tables
    }


@dataclass(frozen=True)
class _ExportTable:
    layouts: tuple[str, ...]
    files: dict[Path, list[Path]]
    overwrite: bool

    def __call__(self, path: Path, stage: Callable[..., None]) -> dict[str, Any]:
        from pipeline.core.errors import MercError
        from pipeline.corpora.published_writer import write_layout
        from pipeline.corpora.table import load_table

        stage("read")
        existing = [file for file in self.files[path] if file.exists()]
        if existing and not self.overwrite:
            raise MercError(
                f"{existing[0]}: exists already",
                "name another --out, or replace it with --overwrite",
            )
        corpus = load_table(path)
        if not any((d.labels >= 0).any() for d in corpus.dialogues):
            print_line(f"! {path}: {WITHOUT_LABELS}", error=True)
        stage("write")
        notes = [
            note
            for name, file in zip(self.layouts, self.files[path], strict=True)
            for note in write_layout(corpus, name, file, one_layer=True)
        ]
        files = [str(file) for file in self.files[path]]
        return {"input": str(path), "files": files, "warnings": list(dict.fromkeys(notes))}
