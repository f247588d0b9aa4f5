"""Split the speaker off a text: "Anna: Hello", "[SPEAKER_00]: Hello", "WOMAN (ON PHONE): Hello"."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

__all__ = ["Prefix", "accept_prefixes", "find_prefix", "is_capitalised"]

_LONGEST = 80  # characters before the colon
_NOTE = re.compile(r"\s*(?:\([^()]*\)|\[[^\[\]]*\]|（[^（）]*）)\s*$")
_BRACKETED = re.compile(r"^\s*[\[(]\s*([^\[\]()]{1,60}?)\s*[\])]\s*[:：]?\s*(?=\S)")
_NUMBERED = re.compile(r"(?:speaker|spk|person|participant|s)[ _#-]*\w{1,3}", re.IGNORECASE)
_MAIL = re.compile(r"[\w.+-]{1,64}@[\w.-]{1,60}\w")
_NAME = re.compile(r"[\w#@][\w .,'’ʼ`·・\-–#&/+@*]*")
_TITLES = re.compile(r"\b(?:mr|mrs|ms|dr|prof|st|sr|jr|[^\W\d_])\.", re.IGNORECASE)
_CHEVRONS = re.compile(r"^\s*>{2,}\s*")


@dataclass(frozen=True)
class Prefix:
    """A possible speaker before a text.

    strong: its shape is that of a speaker and nothing else, such as SPEAKER_00 or ANNA.
    """

    speaker: str
    text: str
    strong: bool


def find_prefix(text: str) -> Prefix | None:
    """Find what may be the name of a speaker before a text.

    >>> find_prefix("Anna Berg (She/her): Hi")
    Prefix(speaker='Anna Berg', text='Hi', strong=True)
    >>> find_prefix("The train leaves at 10:30 sharp") is None
    True
    """
    chevrons = _CHEVRONS.match(text)
    body = text[chevrons.end() :] if chevrons else text
    bracketed = _BRACKETED.match(body[: 2 * _LONGEST])
    if bracketed:
        name, colon = bracketed[1], bracketed[0].rstrip()[-1] in ":："
        if colon or _NUMBERED.fullmatch(name):
            return Prefix(" ".join(name.split()), body[bracketed.end() :].strip(), True)
    head = body[:_LONGEST]
    for position, character in enumerate(head):
        if character in ":：":
            return _at_colon(body, position)
    return None


def _at_colon(body: str, position: int) -> Prefix | None:
    """Return the name before a colon, if it is one."""
    name, rest = body[:position].strip(), body[position + 1 :]
    note = _NOTE.search(name)
    strong = note is not None
    if note:
        name = name[: note.start()].strip()
    full_width = body[position] == "："
    capitals = name.isupper() and len(name) > 1
    if not (full_width or capitals or not rest or rest[0].isspace()):
        return None  # "10:30", "http://..."
    if not _is_name(name):
        return None
    numbered = _NUMBERED.fullmatch(name) is not None
    strong = strong or capitals or numbered or _MAIL.fullmatch(name) is not None
    return Prefix(" ".join(name.split()), rest.strip(), strong)


def _is_name(name: str) -> bool:
    """Whether a text may be a name: letters, few words, no end of a sentence, no clock."""
    if _MAIL.fullmatch(name):
        return True
    if not any(character.isalpha() for character in name) or not _NAME.fullmatch(name):
        return False
    without_titles = _TITLES.sub("", name)
    sentence_end = ". " in without_titles or (without_titles.endswith(".") and " " in name)
    return not sentence_end and len(name.split()) <= 6


def accept_prefixes(prefixes: list[Prefix | None]) -> list[bool]:
    """Decide which prefixes of the texts of a file are speakers.

    All of them if at least half of the texts have one. Otherwise those of a strong shape and the
    capitalised names that occur again, as long as there are two such texts: "Listen: no" is not a
    speaker.
    """
    named = [prefix for prefix in prefixes if prefix is not None]
    if 2 * len(named) >= len(prefixes):
        return [prefix is not None for prefix in prefixes]
    counts = Counter(prefix.speaker for prefix in named)
    repeated = {name for name, count in counts.items() if count >= 2 and is_capitalised(name)}
    if len(repeated) == 1 and not any(prefix.strong for prefix in named):
        repeated = set()
    accepted = [
        prefix is not None and (prefix.strong or prefix.speaker in repeated) for prefix in prefixes
    ]
    return accepted if sum(accepted) >= 2 else [False] * len(prefixes)


def is_capitalised(name: str) -> bool:
    """Whether a name has at most four words and none in lower case."""
    return all(not word[0].islower() for word in name.split()) and len(name.split()) <= 4
