"""JSON Lines: an utterance a line, each complete with medium and model, so that files can be concatenated."""

from __future__ import annotations

import json
from typing import Any

from pipeline.core.files import json_ready

__all__ = ["write"]


def write(result: dict[str, Any]) -> bytes:
    about = {key: result[key] for key in ("media", "model", "profile")}
    lines = [
        json.dumps(
            json_ready({**about, "utterance": index, **utterance}),
            ensure_ascii=False,
            allow_nan=False,
        )
        for index, utterance in enumerate(result["utterances"])
    ]
    # a line separator of Unicode inside a text would end the line for some readers
    return "".join(
        text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029").replace("\x85", "\\u0085")
        + "\n"
        for text in lines
    ).encode("utf-8", "replace")
