"""What the pages share: escaped templates, a policy that allows nothing but the page itself."""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from importlib import resources
from typing import Any
from urllib.parse import quote

from jinja2 import BaseLoader, Environment, StrictUndefined
from markupsafe import Markup

from pipeline.core.files import json_ready

__all__ = ["json_data", "policy", "read", "render", "url_of"]


@cache
def read(name: str) -> str:
    """Return the text of a file of this package."""
    return (resources.files("pipeline.exports.page") / name).read_text("utf-8")


def render(name: str, **values: Any) -> bytes:
    """Fill in a template. Every value is escaped, unless it is `Markup`."""
    environment = Environment(loader=BaseLoader(), autoescape=True, undefined=StrictUndefined)
    return environment.from_string(read(name)).render(values).encode("utf-8", "replace")


def json_data(content: Any) -> Markup:
    """Format JSON for a script element: nothing in it can end the element.

    >>> json_data({"text": "</script>"})
    Markup('{"text":"\\\\u003c/script\\\\u003e"}')
    """
    text = json.dumps(json_ready(content), allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def policy(script: str = "") -> str:
    """Return a content security policy: this script and no other, nothing from a network."""
    sources = "'none'"
    if script:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        sources = f"'sha256-{digest}'"
    return (
        f"default-src 'none'; script-src {sources}; style-src 'unsafe-inline'; img-src data:; "
        "media-src 'self' file: data: blob:; base-uri 'none'; form-action 'none'"
    )


def url_of(path: str) -> str:
    """Return a relative URL of a path with forward slashes; its bytes may be no UTF-8.

    >>> url_of("a b#1.mp4"), url_of("javascript:x.mp4"), url_of("../a.mp4")
    ('a%20b%231.mp4', 'javascript%3Ax.mp4', '../a.mp4')
    """
    return quote(path.encode("utf-8", "surrogateescape"))
