"""`merc export`: convert annotations into other formats."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.cli.common import (
    INPUT,
    OUTPUT,
    Formats,
    Json,
    Overwrite,
    example,
    fail,
    finish,
)
from pipeline.cli.terminal import print_json, print_line

__all__ = ["EPILOGS", "export"]

EPILOGS = {
    "export": example(
        "merc export dialogue.merc.json --format eaf,srt",
        "merc export corrected.eaf --format json --out corrected",
    )
}


def export(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="Results of merc, corrected or not, in any of its formats but RTTM.",
            rich_help_panel=INPUT,
            show_default=False,
        ),
    ],
    format: Formats,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the new files. Default: next to each file.",
            rich_help_panel=OUTPUT,
            show_default=False,
        ),
    ] = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Convert labelled dialogues into other formats."""
    from pipeline.core.failures import run_each
    from pipeline.core.files import check_folder
    from pipeline.exports import parse_formats

    try:
        formats = parse_formats(format)
        if out:
            check_folder(out)
    except (ValueError, OSError) as error:
        fail(error)
    results, failures = run_each(files, _Export(tuple(formats), out, overwrite))
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
    raise typer.Exit(finish(failures, len(files), out or Path.cwd()))


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
