"""Write the page of a labelled recording, the index of several, and the annotated video."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.core.counts import counted
from pipeline.core.errors import MercWarning
from pipeline.core.files import relative_path, replacing
from pipeline.core.progress import Stage, no_stage
from pipeline.exports import check_free, note, write_files
from pipeline.exports.page import colours_of, data_url, page_path, render_index, render_page
from pipeline.exports.rows import label_of, line
from pipeline.media.captions import Caption
from pipeline.media.decode import open_media
from pipeline.media.fonts import undrawable
from pipeline.media.overlay import write_overlay as write_video
from pipeline.media.pictures import face_pictures, loudness

__all__ = [
    "INDEX",
    "overlay_path",
    "overlay_warnings",
    "write_index",
    "write_overlay",
    "write_page",
]

INDEX = "index.merc.html"
SURE = 0.5  # confidence in a face below which its box has a "?"


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
        media=data_url(recording) if embed else relative_path(recording, path.parent),
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
    page = render_index([(relative_path(page, folder), content) for page, content in pages])
    write_files({path: page}, overwrite)
    return path


def overlay_path(base: Path) -> Path:
    """Return the path of an annotated video.

    >>> overlay_path(Path("out/talk")).as_posix()
    'out/talk.merc.mp4'
    """
    return base.with_name(f"{base.name}.merc.mp4")


def write_overlay(
    content: dict[str, Any],
    recording: Path,
    base: Path,
    *,
    overwrite: bool = False,
    stage: Stage = no_stage,
) -> Path:
    """Write `<base>.merc.mp4`: the recording with face boxes, names, words and emotions on it.

    Args:
        content: as the JSON file holds it. Characters that no font here has become a warning.
        recording: needs a picture.
        overwrite: whether to replace a file that merc did not write.
        stage: is called as stage("overlay", done).

    Returns:
        The path of the video.

    Raises MercError or OSError.
    """
    path = overlay_path(base)
    check_free(path, overwrite)
    captions = captions_of(content)
    with open_media(recording) as media, replacing(path) as temporary:
        write_video(media, captions, temporary, lambda done: stage("overlay", done))
    note(path)
    return path


def overlay_warnings(content: dict[str, Any]) -> list[str]:
    """Say why a result has no annotated video, or what in it cannot be read."""
    subject = content["media"]
    if not content["picture"]:
        text = "there is no annotated video, because the recording has no picture"
        return [str(MercWarning(subject, text))]
    captions = captions_of(content)
    missing = undrawable("".join(c.name + c.label + c.text for c in captions))
    if not missing:
        return []
    text = (
        f"no font on this computer has {counted(len(missing), 'character')} of its words or names "
        f"({missing[:10]}); the annotated video shows boxes for them. Install a font that has them"
    )
    return [str(MercWarning(subject, text))]


def captions_of(content: dict[str, Any]) -> list[Caption]:
    """Return what is drawn for each utterance of a result, in order of time."""
    colours = colours_of(content["labels"])
    captions = []
    for utterance in sorted(content["utterances"], key=lambda u: u["start"]):
        colour, ink = colours.get(utterance["emotion"], ("#dddddd", "#000000"))
        confidence = utterance["confidence"]
        face = utterance["modalities"].get("visual", {})
        percent = "" if confidence is None else f" {confidence:.0%}"
        captions.append(
            Caption(
                utterance["start"],
                utterance["end"],
                line(utterance["speaker"]),
                line(label_of(utterance)) + percent,
                line(utterance["text"]),
                _rgb(colour),
                _rgb(ink),
                face.get("boxes") or (),
                face.get("confidence", 1.0) < SURE,
            )
        )
    return captions


def _rgb(colour: str) -> tuple[int, int, int]:
    """Return the parts of a colour such as #0072b2 or #fff."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    return int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:], 16)
