"""Result files: one format, one module; a new format is one module and one line of FORMATS."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.core.errors import UsageError
from pipeline.core.files import cache_folder, write_bytes
from pipeline.exports import audacity, csv, eaf, json, jsonl, parquet, rttm, srt, textgrid, vtt

__all__ = ["FORMATS", "Format", "output_path", "parse_formats", "write_result"]


@dataclass(frozen=True)
class Format:
    """write(result) gives the bytes; linked: `result["media"]` must be a path relative to the file written."""

    extension: str
    write: Callable[[dict[str, Any]], bytes]
    linked: bool = False


FORMATS = {
    "json": Format("json", json.write),
    "jsonl": Format("jsonl", jsonl.write),
    "csv": Format("csv", csv.write),
    "parquet": Format("parquet", parquet.write),
    "srt": Format("srt", srt.write),
    "vtt": Format("vtt", vtt.write),
    "textgrid": Format("TextGrid", textgrid.write),
    "eaf": Format("eaf", eaf.write, linked=True),
    "rttm": Format("rttm", rttm.write),
    "audacity": Format("txt", audacity.write),
}


def parse_formats(names: str) -> list[str]:
    """ "json,srt" to its names; UsageError for one that does not exist."""
    wanted = list(dict.fromkeys(name.strip().lower() for name in names.split(",") if name.strip()))
    unknown = [name for name in wanted if name not in FORMATS]
    if unknown or not wanted:
        raise UsageError(
            f"--format {names!r}: no format {', '.join(unknown) or 'named'}; choose from "
            f"{', '.join(FORMATS)}"
        )
    return wanted


def output_path(base: Path, format: str) -> Path:
    return base.with_name(f"{base.name}.merc.{FORMATS[format].extension}")


def write_result(
    result: dict[str, Any],
    medium: Path,
    base: Path,
    formats: Sequence[str],
    overwrite: bool = False,
) -> list[Path]:
    """Write a result in several formats, or none of them.

    A file is merc's own, and replaced, when its bytes are what merc wrote: their hash is noted in the cache folder.
    Anything else there, a corrected `.merc.eaf` included, is kept.

    Raises FileExistsError for a file that merc did not write, OSError when writing fails.
    """
    files = {}
    for name in formats:
        path = output_path(base, name)
        told = result | {"media": _relative(medium, path)} if FORMATS[name].linked else result
        files[path] = FORMATS[name].write(told)
    stale = {path: data for path, data in files.items() if not _same(path, data)}
    for path in stale:
        if (
            os.path.lexists(path)
            and not overwrite
            and not (path.is_file() and _noted(path.read_bytes()))
        ):
            raise FileExistsError(
                f"{path} exists and is not as merc wrote it; --overwrite replaces it, or name "
                "another folder with --out"
            )
    for path, data in stale.items():
        write_bytes(path, data)
        _note(data)
    return list(files)


def _relative(medium: Path, path: Path) -> str:
    try:
        return Path(os.path.relpath(medium.absolute(), path.absolute().parent)).as_posix()
    except ValueError:  # another drive
        return medium.name


def _same(path: Path, data: bytes) -> bool:
    return path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data


def _mark(data: bytes) -> Path:
    name = hashlib.sha256(data).hexdigest()
    return cache_folder() / "written" / name[:2] / name


def _noted(data: bytes) -> bool:
    return _mark(data).exists()


def _note(data: bytes) -> None:
    with suppress(
        OSError
    ):  # no home to write in: replacing this file will need --overwrite, nothing worse
        _mark(data).parent.mkdir(parents=True, exist_ok=True)
        _mark(data).touch()
