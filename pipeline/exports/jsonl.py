"""JSON Lines: one utterance per line.

Each line names its recording and model, so that files can be concatenated. An emotion that a person
has chosen has no confidence.
"""

from __future__ import annotations

import json
from typing import Any

from pipeline.core.files import json_ready
from pipeline.exports.rows import confidence_of

__all__ = ["write"]

# some readers end a line at these characters
LINE_ENDS = str.maketrans({"\u2028": "\\u2028", "\u2029": "\\u2029", "\x85": "\\u0085"})


def write(result: dict[str, Any]) -> bytes:
    """Format each utterance of a result as one line."""
    common = {key: result[key] for key in ("media", "model", "profile")}
    lines = []
    for index, utterance in enumerate(result["utterances"]):
        own = utterance | {"confidence": confidence_of(utterance)}
        content = json_ready({**common, "utterance": index, **own})
        text = json.dumps(content, ensure_ascii=False, allow_nan=False)
        lines.append(text.translate(LINE_ENDS) + "\n")
    return "".join(lines).encode("utf-8", "replace")
