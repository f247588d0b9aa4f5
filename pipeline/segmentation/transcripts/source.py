"""The text of a transcript, what is known of its recording, and what could not be used of it."""

from __future__ import annotations

import codecs
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from pipeline.core.errors import MercError, MercWarning

__all__ = ["Source", "TranscriptError", "shorten"]

MAX_BYTES = 1 << 26  # 64 MB; the transcript of a whole day has a few megabytes


class TranscriptError(MercError):
    """A transcript cannot be read."""


@dataclass
class Source:
    """A transcript that is being read.

    frame_rate: of the recording's video, for times in frames; None if there is none.
    duration: of the recording in seconds; None if unknown.
    unit_known: whether times are in seconds for certain; a table may give milliseconds.
    warnings: what a user should know. `leave_out` counts lines by reason; `report` turns the
        counts into warnings, so that every line of the file is used or accounted for.
    """

    path: Path
    frame_rate: float | None = None
    duration: float | None = None
    unit_known: bool = True
    warnings: list[MercWarning] = field(default_factory=list)
    left_out: dict[str, list[str]] = field(default_factory=dict)

    def warn(self, text: str) -> None:
        self.warnings.append(MercWarning(self.path.name, text))

    def leave_out(self, reason: str, line: str) -> None:
        """Note that a line is not used. reason: completes "3 lines <reason> and are left out"."""
        self.left_out.setdefault(reason, []).append(line)

    def reasons(self) -> list[str]:
        """Return one sentence for each reason why lines were left out."""
        sentences = []
        for reason, lines in self.left_out.items():
            count = "1 line" if len(lines) == 1 else f"{len(lines)} lines"
            first = "" if len(lines) == 1 else "the first of them "
            sentences.append(f"{count} left out ({reason}), {first}{shorten(lines[0])!r}")
        return sentences

    def report(self) -> None:
        """Turn the counts of `leave_out` into warnings."""
        for sentence in self.reasons():
            self.warn(sentence)

    @cached_property
    def data(self) -> bytes:
        size = self.path.stat().st_size
        if size > MAX_BYTES:
            raise TranscriptError(
                f"{self.path}: {size >> 20} MB is too large for a transcript", "check the file name"
            )
        return self.path.read_bytes()

    @cached_property
    def text(self) -> str:
        """The decoded text; lines end in `\\n`.

        Decodes by byte-order mark; without one as UTF-8, UTF-16 or, with a warning, Windows-1252.
        """
        return self._decode().replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")

    def _decode(self) -> str:
        data = self.data
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return data.decode("utf-16", errors="replace")
        if b"\0" in data[:200]:
            # in little-endian UTF-16 the second byte of an ASCII letter is zero
            little_endian = data[1:200:2].count(0) >= data[0:200:2].count(0)
            return data.decode("utf-16-le" if little_endian else "utf-16-be", errors="replace")
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError:
            self.warn("not UTF-8, read as Windows-1252; if letters are wrong, save it as UTF-8")
            return data.decode("cp1252", errors="replace")


def shorten(line: str) -> str:
    """Put a line of a file on one line of at most 60 characters."""
    line = " ".join(line[:400].split())
    return line if len(line) <= 60 else line[:59] + "…"
