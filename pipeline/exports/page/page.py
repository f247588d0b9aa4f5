"""The page of one dialogue: player, transcript, timeline, evidence, edits."""

from __future__ import annotations

import base64
import mimetypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from pipeline.core.errors import MercError
from pipeline.core.files import json_ready
from pipeline.core.fingerprints import checksum
from pipeline.exports.page.plots import draw_probabilities, draw_sound
from pipeline.exports.page.templates import json_data, policy, read, render, url_of

__all__ = ["COLOURS", "colours_of", "data_url", "letters_of", "page_path", "render_page"]

# Okabe and Ito: distinct for all common kinds of colour blindness; with the colour of text on them
COLOURS = (
    ("#999999", "#000"),
    ("#cc79a7", "#000"),
    ("#009e73", "#000"),
    ("#0072b2", "#fff"),
    ("#f0e442", "#000"),
    ("#56b4e9", "#000"),
    ("#d55e00", "#000"),
    ("#e69f00", "#000"),
)

MAX_EMBEDDED = 200 << 20  # bytes


def page_path(base: Path) -> Path:
    """Return the path of a page.

    >>> page_path(Path("out/talk")).as_posix()
    'out/talk.merc.html'
    """
    return base.with_name(f"{base.name}.merc.html")


def letters_of(labels: Sequence[str]) -> list[str]:
    """Return the shortest beginnings that tell the labels apart.

    >>> letters_of(["surprise", "sadness", "joy", "Joy"])
    ['Su', 'Sa', 'J', "J'"]
    """
    letters: list[str] = []
    folded = [label.casefold() for label in labels]
    for label, own in zip(labels, folded, strict=True):
        others = [other for other in folded if other != own]
        size = next(
            (
                n
                for n in range(1, len(label))
                if not any(other.startswith(label[:n].casefold()) for other in others)
            ),
            len(label),
        )
        letter = label[:size].capitalize()
        while letter in letters:
            letter += "'"
        letters.append(letter)
    return letters


def render_page(
    content: dict[str, Any],
    *,
    media: str,
    video: bool = True,
    sound: np.ndarray | None = None,
    pictures: Sequence[bytes | None] = (),
    file: str = "dialogue.merc.json",
    index: str = "",
) -> bytes:
    """Render the page of a result.

    Args:
        content: as the JSON file holds it.
        media: path of the recording relative to the page, or a data URL.
        sound: peaks of the sound, see `media.pictures.loudness`.
        pictures: a JPEG of the face for each utterance.
        file: name under which edits are saved.
        index: path of the page of all recordings relative to this one.
    """
    utterances = content["utterances"]
    ends = [utterance["end"] for utterance in utterances]
    duration = max([content.get("duration") or 0, *ends])
    # without "use strict" twice; one script, which the policy names by its checksum
    script = read("edits.js") + read("page.js").replace('"use strict";\n', "", 1)
    encoded = [picture and base64.b64encode(picture).decode() for picture in pictures]
    data = {
        "content": content,
        "colours": list(colours_of(content["labels"]).values()),
        "letters": letters_of(content["labels"]),
        "file": file,
        # edits belong to this recording and these labels
        "key": checksum(json_ready(content)),
    }
    return render(
        "page.html",
        content=content,
        media=media if media.startswith("data:") else url_of(media),
        video=video,
        index=url_of(index),
        policy=policy(script),
        style=Markup(read("page.css")),
        script=Markup(script),
        sound=Markup(draw_sound(np.zeros(0) if sound is None else sound)),
        curves=Markup(draw_probabilities(utterances, content["labels"], duration)),
        data=json_data(data),
        pictures=json_data(encoded),
    )


def colours_of(labels: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return the colour of each label, and that of text on it; no two labels have the same.

    After the eight colours follow darker and lighter ones.

    >>> colours_of(["joy", "anger"])["joy"]
    ('#999999', '#000')
    """
    return {label: _colour(k) for k, label in enumerate(labels)}


def _colour(number: int) -> tuple[str, str]:
    turn, place = divmod(number, len(COLOURS))
    colour, ink = COLOURS[place]
    if not turn:
        return colour, ink
    # odd turns towards black, even ones towards white, each further than the one before
    dark = turn % 2 == 1
    share = 0.5 ** ((turn + 1) // 2)
    parts = [int(colour[k : k + 2], 16) for k in (1, 3, 5)]
    mixed = [round(part * share + (0 if dark else 255) * (1 - share)) for part in parts]
    return "#" + "".join(f"{part:02x}" for part in mixed), "#fff" if dark else "#000"


def data_url(path: Path) -> str:
    """Return a file as a URL that holds its content.

    Raises MercError for a file of more than 200 MB: browsers refuse pages of that size.
    """
    if path.stat().st_size > MAX_EMBEDDED:
        raise MercError(
            f"{path}: {path.stat().st_size >> 20} MB are too many to embed",
            "leave --embed out and keep the recording next to the page",
        )
    kind = mimetypes.guess_type(path.name)[0] or "video/mp4"
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
