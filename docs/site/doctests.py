"""Extension of griffe: the examples of a docstring become code blocks.

Examples stand in the text, without a heading; Markdown would take `>>>` for a quotation.
"""

from __future__ import annotations

from typing import Any

import griffe

__all__ = ["Doctests"]


class Doctests(griffe.Extension):
    """Put every paragraph that begins with `>>>` into a code block."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring:
            paragraphs = obj.docstring.value.split("\n\n")
            obj.docstring.value = "\n\n".join(
                f"```pycon\n{text}\n```" if text.startswith(">>>") else text for text in paragraphs
            )
