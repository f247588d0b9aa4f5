"""Parquet: typed columns, one row per utterance.

Everything else in the result is in the metadata of the schema, as JSON under the key "merc".
"""

from __future__ import annotations

import io
import json
from typing import Any

from pipeline.core.files import json_ready
from pipeline.exports.rows import columns, flat_rows

__all__ = ["write"]

TEXTS = ("speaker", "text", "emotion", "decisive", "edited")
FLAGS = ("uncertain", "agree")


def write(result: dict[str, Any]) -> bytes:
    """Format a result as a table."""
    import pyarrow
    from pyarrow import parquet

    fields = [("media", pyarrow.string()), ("utterance", pyarrow.int32())]
    for name in columns(result):
        if name in TEXTS or name.startswith("emotion_"):
            fields.append((name, pyarrow.string()))
        elif name in FLAGS or name.startswith("has_"):
            fields.append((name, pyarrow.bool_()))
        else:
            fields.append((name, pyarrow.float64()))
    rows = []
    for index, row in enumerate(flat_rows(result)):
        rows.append({"media": result["media"], "utterance": index, **row})
    about = {key: value for key, value in result.items() if key != "utterances"}
    metadata = {"merc": json.dumps(json_ready(about), sort_keys=True)}
    buffer = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(rows, pyarrow.schema(fields, metadata)), buffer)
    return buffer.getvalue()
