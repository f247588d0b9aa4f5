"""Characters in text from files that a terminal would obey instead of showing.

These are the control characters (C0 and C1, among them ESC, which starts commands to the
terminal), and those that change the direction or the lines of the text around them.
"""

from __future__ import annotations

import re

__all__ = ["escape_bytes", "escape_control_characters", "has_control_characters"]

# C0, DEL and C1; Arabic letter mark, left-to-right and right-to-left marks; line and paragraph
# separator; embeddings and overrides; isolates; deprecated format characters; interlinear
# annotations; tags; lone surrogates (bytes of a file name that are not UTF-8)
CONTROL = (
    "\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u206f\ufff9-\ufffb"
    "\U000e0000-\U000e007f\ud800-\udfff"
)
ANY = re.compile(f"[{CONTROL}]")
NOT_LINES = re.compile(f"(?!\n)[{CONTROL}]")
BYTES = re.compile("[\udc80-\udcff]")  # how Python writes bytes of a file name that are not UTF-8


def has_control_characters(text: str) -> bool:
    """Say whether a text has control characters, line breaks among them.

    >>> has_control_characters("joy"), has_control_characters("joy\\x1b[31m")
    (False, True)
    """
    return ANY.search(text) is not None


def escape_control_characters(text: str, lines: bool = False) -> str:
    r"""Write control characters as escapes, such as \\x1b; the text can then be printed anywhere.

    lines: keep line breaks.

    >>> print(escape_control_characters("a\x1b[31m\u202eb"))
    a\x1b[31m\u202eb
    """
    return (NOT_LINES if lines else ANY).sub(_escape, text)


def escape_bytes(text: str, form: str = "\\x{:02x}") -> str:
    r"""Write the bytes of a file name that are not UTF-8 as escapes; other text stays.

    Names that differ in such bytes alone stay different. form: how a byte is written.

    >>> print(escape_bytes("caf\udce9.mp4"), escape_bytes("caf\udce9.mp4", "%{:02X}"))
    caf\xe9.mp4 caf%E9.mp4
    """
    return BYTES.sub(lambda match: form.format(ord(match[0]) - 0xDC00), text)


def _escape(match: re.Match[str]) -> str:
    if BYTES.match(match[0]):
        return escape_bytes(match[0])
    code = ord(match[0])
    names = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
    if match[0] in names:
        return names[match[0]]
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
