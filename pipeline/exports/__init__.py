"""Write results to files, one module per format.

A new format is a new module with `write(result) -> bytes` and one line in `FORMATS`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.core.control_characters import escape_bytes
from pipeline.core.errors import MercError, UsageError
from pipeline.core.files import cache_folder, write_bytes
from pipeline.core.fingerprints import sha256_of
from pipeline.exports import audacity, csv, eaf, json, jsonl, parquet, rttm, srt, textgrid, vtt

__all__ = [
    "FORMATS",
    "Format",
    "check_free",
    "note",
    "output_path",
    "parse_formats",
    "save",
    "write_files",
    "write_result",
]


@dataclass(frozen=True)
class Format:
    """An output format.

    write: turns a result into the bytes of a file.
    links_media: whether the file links to the recording; `result["media"]` is then its path
        relative to the file.
    """

    extension: str
    write: Callable[[dict[str, Any]], bytes]
    links_media: bool = False


FORMATS = {
    "json": Format("json", json.write),
    "jsonl": Format("jsonl", jsonl.write),
    "csv": Format("csv", csv.write),
    "parquet": Format("parquet", parquet.write),
    "srt": Format("srt", srt.write),
    "vtt": Format("vtt", vtt.write),
    "textgrid": Format("TextGrid", textgrid.write),
    "eaf": Format("eaf", eaf.write, links_media=True),
    "rttm": Format("rttm", rttm.write),
    "audacity": Format("txt", audacity.write),
}


def parse_formats(names: str) -> list[str]:
    """Split a comma-separated list of format names.

    Raises UsageError for an unknown format or an empty list.

    >>> parse_formats("json, SRT")
    ['json', 'srt']
    """
    formats = list(dict.fromkeys(name.strip().lower() for name in names.split(",") if name.strip()))
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        reason = f"unknown format {', '.join(unknown)}" if unknown else "no format named"
        raise UsageError(f"--format {names!r}: {reason}", f"choose from {', '.join(FORMATS)}")
    return formats


def output_path(base: Path, format: str) -> Path:
    """Return the path of an output file.

    >>> output_path(Path("out/talk"), "textgrid").as_posix()
    'out/talk.merc.TextGrid'
    """
    return base.with_name(f"{base.name}.merc.{FORMATS[format].extension}")


def write_result(
    result: dict[str, Any],
    media: Path | None,
    base: Path,
    formats: Sequence[str],
    overwrite: bool = False,
) -> list[Path]:
    """Write a result in several formats next to each other, or in none of them.

    Args:
        media: the recording, for formats that link to it; None: its name alone is the link.
        base: path of the files without their extension.
        overwrite: whether to replace files that merc did not write.

    A file that merc wrote, and that was not edited since, is replaced: merc notes the checksum of
    each file it writes in the cache folder. Any other file is kept.

    Returns:
        The paths of the files.

    Raises MercError if a file exists that merc did not write, OSError if writing fails.
    """
    files = {}
    for name in formats:
        path = output_path(base, name)
        files[path] = _render(result, FORMATS[name], path, media)
    write_files(files, overwrite)
    return list(files)


def save(
    result: dict[str, Any], path: Path, overwrite: bool = False, *, recording: Path | None = None
) -> Path:
    """Write a result in the format that the file's extension names; return the path.

    Args:
        overwrite: whether to replace a file that merc did not write.
        recording: path of the recording, for formats that link to it. By default the link is
            `result["media"]`, which assumes that the recording lies in the same folder.

    Raises MercError for an unknown extension or if the file exists and merc did not write it,
    OSError if writing fails.
    """
    by_extension = {format.extension.lower(): format for format in FORMATS.values()}
    format = by_extension.get(path.suffix.lower().removeprefix("."))
    if format is None:
        extensions = ", ".join(f".{format.extension}" for format in FORMATS.values())
        raise MercError(f"{path}: unknown extension {path.suffix!r}", f"choose from {extensions}")
    write_files({path: _render(result, format, path, recording)}, overwrite)
    return path


def _render(result: dict[str, Any], format: Format, path: Path, media: Path | None) -> bytes:
    name, form = result["media"], r"\x{:02x}"
    if format.links_media:
        name, form = _relative(media, path) if media else name, "%{:02X}"  # as in URLs
    return format.write(result | {"media": escape_bytes(name, form)})


def _relative(media: Path, path: Path) -> str:
    try:
        return Path(os.path.relpath(media.absolute(), path.absolute().parent)).as_posix()
    except ValueError:  # another drive
        return media.name


def write_files(files: dict[Path, bytes], overwrite: bool = False) -> None:
    """Write all files or none. A file that merc did not write is replaced only with `overwrite`.

    Raises MercError if such a file exists, OSError if writing fails.
    """
    changed = {path: data for path, data in files.items() if not _has_content(path, data)}
    for path in changed:
        check_free(path, overwrite)
    for path, data in changed.items():
        write_bytes(path, data)
        note(path)


def check_free(path: Path, overwrite: bool = False) -> None:
    """Raise MercError if a file exists that merc did not write, unless it may be overwritten."""
    if os.path.lexists(path) and not overwrite and not _is_our_own(path):
        raise MercError(
            f"{path}: exists and was not written by merc, or was edited since",
            "replace it with --overwrite (in Python, overwrite=True), or choose another folder "
            "with --out",
        )


def note(path: Path) -> None:
    """Note that merc wrote a file, so that it may replace it."""
    # without a cache folder to write to, replacing this file will need --overwrite
    with suppress(OSError):
        mark = _mark(path)
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()


def _has_content(path: Path, data: bytes) -> bool:
    return path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data


def _is_our_own(path: Path) -> bool:
    return path.is_file() and _mark(path).exists()


def _mark(path: Path) -> Path:
    name = sha256_of(path)
    return cache_folder() / "written" / name[:2] / name
