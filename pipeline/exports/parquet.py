"""Parquet: typed columns, a row an utterance; model and profile in the schema's metadata under "merc"."""

from __future__ import annotations

import io
import json
from typing import Any

from pipeline.core.files import json_ready
from pipeline.exports.rows import flat_rows

__all__ = ["write"]


def write(result: dict[str, Any]) -> bytes:
    import pyarrow
    from pyarrow import parquet

    rows = [
        {"media": result["media"], "utterance": index, **row}
        for index, row in enumerate(flat_rows(result))
    ]
    words, number, flag = pyarrow.string(), pyarrow.float64(), pyarrow.bool_()
    columns = [
        ("media", words),
        ("utterance", pyarrow.int32()),
        ("start", number),
        ("end", number),
        ("speaker", words),
        ("text", words),
        ("emotion", words),
        ("confidence", number),
        *((f"p_{label}", number) for label in result["labels"]),
        *((f"has_{modality}", flag) for modality in ("text", "audio", "visual")),
    ]
    about = {key: value for key, value in result.items() if key != "utterances"}
    schema = pyarrow.schema(columns, {"merc": json.dumps(json_ready(about), sort_keys=True)})
    file = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(rows, schema), file)
    return file.getvalue()
