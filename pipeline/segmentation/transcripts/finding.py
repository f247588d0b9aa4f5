"""Find the transcript next to a recording, under the names that people and tools give it."""

from __future__ import annotations

import os
import re
import time
import unicodedata
from bisect import bisect_left
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pipeline.core.errors import MercWarning
from pipeline.media.inputs import EXTENSIONS

__all__ = ["find_transcript"]

# in this order, if several files have the same name; RTTM says who speaks, but not what
SUFFIXES = (".srt", ".vtt", ".textgrid", ".csv", ".eaf", ".tsv", ".rttm")
ASKED_FOR = (".txt",)  # used only if named with --transcript: plain text may be anything
UNREADABLE = tuple(".ass .ssa .sbv .ttml .dfxp .sub .lrc .docx .stm".split())
KIND = r"(?:cc|sdh|hi|auto|orig)"  # captions for the deaf, automatic captions
TAG = re.compile(rf"[a-z]{{2,3}}(?:[-_][a-z0-9]{{2,8}}){{0,3}}(?:[-.]{KIND})?|{KIND}")
SEPARATORS = " ._-([+"  # between the recording's name and what is added to it
SETTLED = 2.0  # s; a folder changed more recently may change again within its timestamp


def find_transcript(
    media_path: Path, warnings: list[MercWarning] | None = None, language: str | None = None
) -> Path | None:
    """Return the transcript next to a recording; name near matches that are not used in warnings.

    For `talk.mp4` in this order: `talk.srt`, `talk.mp4.srt`, `talk.en.srt` (any language, first
    `language`, then English); then the same in other case or another Unicode form. A file that fits
    another recording better is not used. What merc wrote (`*.merc.*`) is not a transcript. Plain
    text is used only if asked for, and RTTM only if there is no other file.
    """
    media_path = Path(media_path)
    folder = _folder(media_path.parent)
    candidates = folder.candidates(media_path, language or "en")
    chosen = min(candidates, key=lambda c: c.order) if candidates else None
    path = media_path.parent / chosen.name if chosen else None
    if warnings is not None:
        near = [c.name for c in sorted(candidates, key=lambda c: c.order) if c is not chosen]
        # of files with the same name, such as talk.srt and talk.vtt, one is enough
        if chosen:
            near = [n for n in near if _stem(n) != _stem(chosen.name)]
        near += folder.near(media_path)
        if near:
            names = ", ".join(near[:3]) + (f" and {len(near) - 3} more" if len(near) > 3 else "")
            used = f"; {chosen.name} is" if chosen else ""
            endings = {n[len(_stem(n)) :].lower() for n in near}
            unread = ", ".join(ending for ending in UNREADABLE if ending in endings)
            convert = f"merc does not read {unread}: convert it, for example to .srt. "
            text = f"not used as transcript: {names}{used}. {convert if unread else ''}"
            text += "Use --transcript to choose another file"
            warnings.append(MercWarning(media_path.name, text))
    return path


@dataclass(frozen=True)
class _Candidate:
    name: str
    order: tuple[int | str, ...]  # smaller is better


@dataclass(frozen=True)
class _Folder:
    """The names in a folder, arranged so that each recording takes logarithmic time."""

    path: Path
    names: tuple[str, ...]

    @cached_property
    def transcripts(self) -> list[tuple[str, str]]:
        """(folded name, name) of what may be transcripts, sorted."""
        suffixes = SUFFIXES + ASKED_FOR + UNREADABLE
        found = [(fold(n), n) for n in self.names if n.lower().endswith(suffixes)]
        return sorted(pair for pair in found if ".merc." not in pair[0])

    @cached_property
    def recordings(self) -> dict[str, list[str]]:
        """Folded stem -> names of the recordings that have it."""
        found: dict[str, list[str]] = {}
        for name in self.names:
            stem, _, extension = name.rpartition(".")
            if extension.lower() in EXTENSIONS:
                found.setdefault(fold(stem), []).append(name)
        return found

    def starting_with(self, prefix: str) -> list[str]:
        """Return the names of possible transcripts that start with a folded prefix."""
        names, first = self.transcripts, bisect_left(self.transcripts, (prefix,))
        found = []
        while first < len(names) and names[first][0].startswith(prefix):
            found.append(names[first][1])
            first += 1
        return found

    def candidates(self, media: Path, language: str) -> list[_Candidate]:
        found = []
        for name in self.starting_with(fold(media.stem) + "."):
            rank = _rank(name, media.name, language)
            if rank is None or self._fits_another(name, media.name, rank, language):
                continue
            if (self.path / name).is_file():
                found.append(_Candidate(name, rank))
        return found

    def near(self, media: Path) -> list[str]:
        """Return names that start with the recording's, are not candidates, and fit no other."""
        found = []
        for separator in SEPARATORS:
            for name in self.starting_with(fold(media.stem) + separator):
                if _rank(name, media.name, "en") is None and not self._belongs(name, media.name):
                    found.append(name)
        return sorted(found)

    def _fits_another(self, name: str, media: str, rank: tuple, language: str) -> bool:
        for other in self._recordings_before(name):
            other_rank = _rank(name, other, language) if other != media else None
            if other_rank is not None and other_rank[:2] < rank[:2]:
                return True
        return False

    def _belongs(self, name: str, media: str) -> bool:
        """Whether a name starts with that of a recording of a longer name, or is that recording."""
        others = self._recordings_before(name)
        return any(other != media and len(_stem(other)) >= len(_stem(media)) for other in others)

    def _recordings_before(self, name: str) -> list[str]:
        """Return the recordings whose stem the name starts with."""
        folded, found = fold(name), []
        for position, character in enumerate(folded):
            if character in SEPARATORS:
                found += self.recordings.get(folded[:position], [])
        return found


def _rank(name: str, media: str, language: str) -> tuple[int, int, int, str] | None:
    """Return how well a transcript's name fits that of a recording; None if it is no match."""
    stem, suffix = _stem(name), name[len(_stem(name)) :].lower()
    if suffix not in SUFFIXES:
        return None
    exact = int(not stem.startswith(_stem(media)))  # 1: other case or Unicode form
    folded, wanted = fold(stem), fold(_stem(media))
    words = int(suffix == ".rttm")
    if folded == wanted:
        fit = 0
    elif folded == fold(media):
        fit = 1
    elif folded.startswith(wanted + ".") and TAG.fullmatch(folded[len(wanted) + 1 :]):
        tag = folded[len(wanted) + 1 :]
        fit = 2 if tag.split("-")[0] == language else 3
    elif folded.startswith(fold(media) + ".") and TAG.fullmatch(folded[len(fold(media)) + 1 :]):
        fit = 4
    else:
        return None
    return words, 10 * exact + fit, SUFFIXES.index(suffix), name


def fold(name: str) -> str:
    """Compare names without case and Unicode form: "É" may be one character or two."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _stem(name: str) -> str:
    return name.rpartition(".")[0] or name


_cache: dict[Path, tuple[tuple[int, int], _Folder]] = {}


def _folder(path: Path) -> _Folder:
    """List a folder, or reuse its list if it has not changed: a folder may hold 100,000 files."""
    about = path.stat()
    key = (about.st_mtime_ns, about.st_ino)
    cached = _cache.get(path)
    if cached and cached[0] == key:
        return cached[1]
    folder = _Folder(path, tuple(sorted(os.listdir(path))))
    _cache.clear()
    if time.time() - about.st_mtime > SETTLED:
        _cache[path] = (key, folder)
    return folder
