"""Write the page of a labelled recording, and the index of several."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.exports import write_files
from pipeline.exports.page import data_url, page_path, render_index, render_page
from pipeline.media.decode import open_media
from pipeline.media.pictures import face_pictures, loudness

__all__ = ["INDEX", "write_index", "write_page"]

INDEX = "index.merc.html"


def write_page(
    content: dict[str, Any],
    recording: Path,
    base: Path,
    *,
    embed: bool = False,
    index: str = "",
    overwrite: bool = False,
) -> Path:
    """Write `<base>.merc.html`; return its path.

    Args:
        content: as the JSON file holds it.
        embed: put the recording into the page instead of a link to it.
        index: path of the index relative to the page.
        overwrite: whether to replace a file that merc did not write.

    Raises MercError or OSError.
    """
    path = page_path(base)
    with open_media(recording) as media:
        video = media.has_video
        sound = loudness(media)
        pictures = face_pictures(media, content["utterances"])
    page = render_page(
        content,
        media=data_url(recording) if embed else relative(recording, path.parent),
        video=video,
        sound=sound,
        pictures=pictures,
        file=f"{base.name}.merc.json",
        index=index,
    )
    write_files({path: page}, overwrite)
    return path


def write_index(
    folder: Path, pages: Sequence[tuple[Path, dict[str, Any]]], overwrite: bool = False
) -> Path:
    """Write `index.merc.html` into a folder; return its path.

    pages: path of each page and the content of its JSON file. Raises MercError or OSError.
    """
    path = folder / INDEX
    page = render_index([(relative(page, folder), content) for page, content in pages])
    write_files({path: page}, overwrite)
    return path


def relative(path: Path, folder: Path) -> str:
    """Return the path from a folder, with forward slashes; absolute on another drive."""
    try:
        return Path(os.path.relpath(path.absolute(), folder.absolute())).as_posix()
    except ValueError:
        return path.absolute().as_posix()
