"""Remove the markup of subtitles: tags, styles, ruby, entities, marks of direction."""

from __future__ import annotations

import html
import re

from pipeline.exports.rows import line as one_line

__all__ = ["one_line", "plain", "spoken"]

# no pattern can run over another "<" or "{": the time is linear in the length of the text
_TAG = re.compile(r"</?[A-Za-z][^<>]*>|<\d[\d:.]*>|</>")
_RUBY = re.compile(r"<(rt|rp)\b[^<>]*>[^<>]*(?:</\1>|(?=<)|$)", re.IGNORECASE)
_STYLE = re.compile(r"\{\\[A-Za-z0-9][^{}]*\}")  # {\an8}; "{laughs}" stays
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z]{2,31}\d{0,2});")
_MARKS = re.compile("[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")


def plain(text: str, styles: bool = True) -> str:
    """Remove tags and (with `styles`) styles in braces, and resolve entities. Lines stay.

    >>> plain("<i>Hello</i> {laughs} &amp; {\\\\an8}1 < 2 > 0")
    'Hello {laughs} & 1 < 2 > 0'
    """
    text = _TAG.sub("", _RUBY.sub("", text))
    text = _STYLE.sub("", text) if styles else text
    return _ENTITY.sub(lambda match: html.unescape(match.group()), text)


def spoken(text: str) -> str:
    """Remove markup and invisible marks of direction and of line breaks."""
    return _MARKS.sub("", plain(text))
