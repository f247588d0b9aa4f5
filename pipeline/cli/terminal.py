"""Print: all that merc prints goes through this file.

Names of files, words of transcripts and messages come from strangers. Their control characters
(ESC, C1, overrides of the direction of text) are shown as escapes such as \\x1b instead of being
sent to the terminal. Bytes of file names that are not UTF-8, and what the terminal's encoding
lacks, are shown as escapes too, so that printing never fails.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

from pipeline.core.control_characters import (
    NOT_LINES,
    escape_bytes,
    escape_control_characters,
)

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

__all__ = ["clean", "console", "flush", "plain", "print_json", "print_line", "show_traceback"]


def clean(text: object) -> str:
    """Return a text that can be printed; line breaks stay.

    >>> clean("talk\\x1b[2J.mp4")
    'talk\\\\x1b[2J.mp4'
    """
    return escape_control_characters(str(text), lines=True)


def flush() -> None:
    """Write what standard output still holds back."""
    sys.stdout.flush()


def print_line(text: object = "", *, error: bool = False) -> None:
    """Print text and a line break on standard output, or on standard error."""
    stream = sys.stderr if error else sys.stdout
    _write(stream, f"{clean(text)}\n")


def print_json(content: Any, *, sort_keys: bool = False) -> None:
    """Print one JSON object on standard output; control characters are JSON's escapes in it.

    Bytes of file names that are not UTF-8 are escapes such as \\xe9, as everywhere.
    """
    text = json.dumps(content, ensure_ascii=False, sort_keys=sort_keys)
    text = escape_bytes(text, r"\\x{:02x}")  # in JSON, a backslash is two
    text = NOT_LINES.sub(lambda match: json.dumps(match[0])[1:-1], text)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeError:  # a terminal that is not UTF-8
        text = json.dumps(json.loads(text), sort_keys=sort_keys)
    _write(sys.stdout, f"{text}\n")


def console(*, error: bool = False, highlight: bool = False, soft_wrap: bool = False) -> Console:
    """Return a rich console whose text is cleaned, on standard output or standard error."""
    from rich.console import Console
    from rich.segment import Segment

    class CleanConsole(Console):
        """Cleans every piece of text just before it is written, whatever drew it."""

        def _render_buffer(self, buffer: Iterable[Segment]) -> str:
            segments = []
            for text, style, control in buffer:
                segments.append(
                    Segment(text if control else _in(clean(text), self), style, control)
                )
            return super()._render_buffer(segments)

    return CleanConsole(stderr=error, highlight=highlight, soft_wrap=soft_wrap)


def plain(text: object, style: str = "") -> Text:
    """Return text for a cell or title of a table: cleaned, without rich's markup."""
    from rich.text import Text

    return Text(clean(text), style=style)


def show_traceback(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Print a traceback, which may quote text from files; for `sys.excepthook`."""
    for line in traceback.format_exception(kind, error, trace):
        print_line(line.rstrip("\n"), error=True)


def _in(text: str, console: Console) -> str:
    """Replace what the encoding of a console lacks."""
    return text.encode(console.encoding, "backslashreplace").decode(console.encoding)


def _write(stream: TextIO, text: str) -> None:
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()
