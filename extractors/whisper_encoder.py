"""Load only the encoder of a CTranslate2 Whisper model, or only its first layers.

CTranslate2 has no such model, so what it needs of the decoder is cut to one layer and one token.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import Any, BinaryIO

__all__ = ["load_encoder"]

VERSION = 6  # of CTranslate2's binary format: ctranslate2.specs.model_spec writes it
EMBEDDINGS = "decoder/embeddings/weight"
LAYER = re.compile(r"(?P<part>encoder|decoder)/layer_(?P<number>\d+)/")
FILES = ("config.json", "vocabulary.txt")


def load_encoder(folder: Path, layers: int = 1000, **options: Any) -> Any:
    """Return a `ctranslate2.models.Whisper` of which only `encode` may be called.

    layers: most layers of the encoder; the normalisation after its last one follows in any case.
    options: of its constructor.

    Raises RuntimeError or ValueError if the folder holds no such model.
    """
    import ctranslate2

    files: dict[str, bytes] = {name: (folder / name).read_bytes() for name in FILES}
    with open(folder / "model.bin", "rb") as file:
        files["model.bin"] = _first_layers(file, layers)
    return ctranslate2.models.Whisper(str(folder), files=files, **options)


def _first_layers(file: BinaryIO, layers: int) -> bytes:
    """Copy a model with that many layers of its encoder, one of its decoder, and one token.

    A file holds: version, name of the kind of model, its revision, the number of variables, and
    for each its name, shape, type, and bytes; then the number of aliases and two names for each.
    """
    start = file.read(4)
    if start != struct.pack("I", VERSION):
        raise ValueError(f"its format has version {start.hex()}, not {VERSION}")
    start += _text(file) + file.read(4)
    keep = {"encoder": layers, "decoder": 1}
    variables = []
    for _ in range(*struct.unpack("I", file.read(4))):
        name, rank = _text(file), file.read(1)
        shape = file.read(4 * rank[0])
        kind, length = file.read(1), struct.unpack("I", file.read(4))[0]
        layer = name[2:-1].decode()
        place = LAYER.match(layer)
        if place and int(place["number"]) >= keep[place["part"]]:
            file.seek(length, 1)
            continue
        values = file.read(length)
        if layer == EMBEDDINGS:
            tokens, width = struct.unpack("II", shape)
            shape, values = struct.pack("II", 1, width), values[: length // tokens]
        size = struct.pack("I", len(values))
        variables.append(name + rank + shape + kind + size + values)
    return start + struct.pack("I", len(variables)) + b"".join(variables) + file.read()


def _text(file: BinaryIO) -> bytes:
    """Read a string with the two bytes of its length before it."""
    length = file.read(2)
    return length + file.read(struct.unpack("H", length)[0])
