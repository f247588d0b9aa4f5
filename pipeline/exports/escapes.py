"""Escape what a text format would take for its own syntax, with an invisible character.

SubRip and Audacity have no escapes, and a WebVTT cue has none for merc's "[emotion]". A word joiner
(U+2060, no width, no line break) breaks up whatever a player or merc's reader would take for a
tag, an arrow or the end of a name. A word joiner of the text itself is doubled, so nothing is lost.
"""

from __future__ import annotations

import re

__all__ = [
    "JOINER",
    "NO_NAME",
    "escape",
    "escape_label",
    "escape_name",
    "speaker_named",
    "unescape",
]

JOINER = "\u2060"
NO_NAME = "unknown"  # written for an utterance without a speaker

# after "<", "{", "&" and "--": what makes a tag, a style, an entity or an arrow of it
_SYNTAX = re.compile(r"<(?=[/\w])|\{(?=\\)|&(?=#?\w+;)|--(?=>)")
_UNESCAPE = re.compile(f"{JOINER}({JOINER}?)")


def escape(text: str, syntax: bool = True) -> str:
    """Escape a text so that it holds no tag, style, entity or arrow.

    syntax: False for a format that has escapes for these; then only word joiners are doubled.

    >>> escape("a --> <b>") == "a --\u2060> <\u2060b>"
    True
    """
    text = text.replace(JOINER, 2 * JOINER)
    return _SYNTAX.sub(lambda match: match.group() + JOINER, text) if syntax else text


def escape_name(speaker: str, syntax: bool = True) -> str:
    """Escape a speaker's name so that "]:", which ends the label after it, is not part of it.

    No name becomes "unknown"; the name "unknown" gets a word joiner.
    """
    if not speaker:
        return NO_NAME
    if speaker == NO_NAME:
        return NO_NAME + JOINER
    return escape(speaker, syntax).replace("]:", f"]{JOINER}:")


def escape_label(label: str, syntax: bool = True) -> str:
    """Escape an emotion so that it holds neither the end of a label nor the start of one.

    >>> escape_label("a] [b") == "a]\u2060 \u2060[b"
    True
    """
    label = escape(label, syntax).replace(" [", f" {JOINER}[")
    return re.sub(r"\](?=[:\s]|$)", "]" + JOINER, label)


def unescape(text: str) -> str:
    """Undo `escape`, `escape_name` and `escape_label`.

    >>> unescape(escape("{\\\\an8} &amp; -->"))
    '{\\\\an8} &amp; -->'
    """
    return _UNESCAPE.sub(r"\1", text)


def speaker_named(name: str) -> str:
    """Return the speaker that a name in a file stands for: "" for "unknown".

    >>> speaker_named("unknown"), speaker_named(escape_name("unknown")), speaker_named("Ann")
    ('', 'unknown', 'Ann')
    """
    return "" if name == NO_NAME else unescape(name)
