"""Sound and music cues such as "[door slams]" and "♪ upbeat music ♪" are not spoken words."""

from __future__ import annotations

import re

__all__ = ["without_sounds"]

# no bracket inside a bracket, so the time is linear; a bracket before ":" is a speaker
_BRACKETS = re.compile(r"[\[［【][^\[\]［］【】]*[\]］】](?!\s*[:：])")
_PARENTHESES = re.compile(r"[(（][^()（）]*[)）](?!\s*[:：])")
_MUSIC = re.compile(r"^\s*[♩♪♫♬].*$|^\s*#\s.*\s#\s*$", re.DOTALL)
_SPEAKER = re.compile(r"^[\[(]\s*(?:speaker|spk|person|participant)[ _#-]*\w{1,3}\s*[\])]", re.I)


def without_sounds(text: str) -> str:
    """Remove descriptions of sounds; "" if nothing else is there.

    Square brackets are removed wherever they are, parentheses only at the beginning or the end of
    a text, where subtitles for the deaf put them.

    >>> without_sounds("[laughs] Come in (if you can), all of you. (DOOR SLAMS)")
    'Come in (if you can), all of you.'
    """
    if _MUSIC.match(text):
        return ""
    if not any(character in text for character in "[(［（【♩♪♫♬"):
        return text
    if not _SPEAKER.match(text):
        text = _BRACKETS.sub(" ", text)
        text = _at_edges(text)
    return " ".join(text.translate(dict.fromkeys(map(ord, "♩♪♫♬"))).split())


def _at_edges(text: str) -> str:
    """Remove parentheses at the beginning and the end of a text."""
    spans = [match.span() for match in _PARENTHESES.finditer(text)]
    first, last = 0, len(text)
    for start, end in spans:
        if text[first:start].strip(" -–—"):
            break
        first = end
    for start, end in reversed(spans):
        if start < first or text[end:last].strip(" .!?"):
            break
        last = start
    return text[first:last]
