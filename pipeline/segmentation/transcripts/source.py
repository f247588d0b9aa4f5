"""The text of a transcript, what is known of its recording, and what could not be used of it."""

from __future__ import annotations

import codecs
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from pipeline.core.errors import MercError, MercWarning

__all__ = ["NothingInItError", "Source", "TranscriptError", "shorten"]

MAX_BYTES = 1 << 26  # 64 MB; the transcript of a whole day has a few megabytes

_BINARY = {
    b"PK\x03\x04": "a Word, Excel or ZIP file",
    b"\xd0\xcf\x11\xe0": "an old Word or Excel file",
    b"%PDF-": "a PDF",
    b"{\\rtf": "a Rich Text file",
    b"\x1f\x8b": "a gzip file",
    b"PAR1": "a Parquet file",
}


class TranscriptError(MercError):
    """A transcript cannot be read."""


class NothingInItError(TranscriptError):
    """A transcript is empty, or was read without leaving anything out and has no utterances."""


@dataclass
class Source:
    """A transcript that is being read.

    frame_rate: of the recording's video, for times in frames; None if there is none.
    duration: of the recording in seconds; None if unknown.
    recording: its file name; None if unknown.
    unit_known: whether times are in seconds for certain; a table may give milliseconds.
    of_day: whether times are those of a day for certain, not of a programme.
    warnings: what a user should know. `leave_out` counts lines by reason; `report` turns the
        counts into warnings, so that every line of the file is used or accounted for.
    """

    path: Path
    frame_rate: float | None = None
    duration: float | None = None
    recording: str | None = None
    unit_known: bool = True
    of_day: bool = False
    warnings: list[MercWarning] = field(default_factory=list)
    left_out: dict[str, list[str]] = field(default_factory=dict)

    def warn(self, text: str) -> None:
        self.warnings.append(MercWarning(self.path.name, text))

    def ignore_emotions(self, where: str) -> None:
        """Warn that the emotions in the file are not used. where: such as "column Emotion"."""
        self.warn(f"emotion labels ({where}) are not used: merc predicts its own")

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

    @property
    def is_blank(self) -> bool:
        """Whether there is nothing but white space in the file."""
        return not self.data.removeprefix(codecs.BOM_UTF8).strip()

    @cached_property
    def text(self) -> str:
        """The decoded text; lines end in `\\n`.

        Decodes by byte-order mark; without one as UTF-8, UTF-16 or, with a warning, Windows-1252.

        Raises TranscriptError for a file that is no text.
        """
        decoded = self._decode()
        self._refuse_binary(decoded)
        return decoded.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")

    def _decode(self) -> str:
        data = self.data
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return data.decode("utf-16", errors="replace")
        # in little-endian UTF-16 the second byte of an ASCII letter is zero, else the first
        even, odd = data[0:4096:2].count(0), data[1:4096:2].count(0)
        if max(even, odd) > 0.02 * len(data[:4096]) and min(even, odd) < 0.1 * max(even, odd):
            return data.decode("utf-16-le" if odd > even else "utf-16-be", errors="replace")
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError:
            self.warn("not UTF-8, read as Windows-1252; if letters are wrong, save it as UTF-8")
            return data.decode("cp1252", errors="replace")

    def _refuse_binary(self, decoded: str) -> None:
        """Raise TranscriptError if this is another kind of file with the extension of a text."""
        kind = next((kind for magic, kind in _BINARY.items() if self.data.startswith(magic)), "")
        head = decoded[:4096]
        control = sum(c < " " and c not in "\t\n\r\v\f\x1b" for c in head)
        if kind or control > 0.05 * len(head):
            raise TranscriptError(
                f"{self.path}: not a text file, but {kind or 'binary data'}",
                f"export the transcript again as {self.path.suffix.lower()}, encoded in UTF-8",
            )


def shorten(line: str) -> str:
    """Put a line of a file on one line of at most 60 characters."""
    line = " ".join(line[:400].split())
    return line if len(line) <= 60 else line[:59] + "…"
