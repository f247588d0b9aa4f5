"""Read and check the dialogues of a published feature file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from pipeline.core.dialogue import Dialogue
from pipeline.core.errors import MercError
from pipeline.corpora.layouts import ROBERTA, Layout
from pipeline.corpora.pickled_values import as_text, is_list_of_numbers, is_sequence, printable
from pipeline.corpora.splits import LABELS

__all__ = ["DialogueReader"]

# A small file that repeats one vector could ask for any amount of memory.
MOST_VALUES = 2**28  # of features; MELD with all four layers has 2^26
MOST_UTTERANCES = 10**6
MOST_SPEAKERS = 64  # of one dialogue


class DialogueReader:
    """Reads dialogues from the fields of one file, and checks them.

    widths: modality -> number of columns, known once a dialogue is read.
    """

    def __init__(
        self,
        path: Path,
        layout: Layout,
        values: dict[str, Any],
        fields: dict[str, tuple[str, ...]],
    ) -> None:
        """fields: modality -> the fields whose mean is its feature."""
        self.path, self.layout, self.values, self.fields = path, layout, values, fields
        self.widths: dict[str, int] = {}
        self.field_widths: dict[str, int] = {}
        self.total_values = self.total_utterances = 0

    def read(self, name: Any, split: str) -> Dialogue:
        """Read a dialogue. Raises MercError naming the file and the dialogue."""
        labels = self._labels(name)
        n = len(labels)
        self.total_utterances += n
        if self.total_utterances > MOST_UTTERANCES:
            self._fail(name, f"more than {MOST_UTTERANCES} utterances up to here")
        # a field that disagrees means a damaged file, even if it is not used
        for field in ("sentiment", *ROBERTA):
            if field in self.values:
                self._rows(name, field, n)
        features = {modality: self._feature(name, modality, n) for modality in self.fields}
        return Dialogue(
            id=as_text(name),
            split=split,
            utterances=self._utterances(name, n),
            speakers=self._speakers(name, n),
            texts=[as_text(item) for item in self._rows(name, "sentences", n)],
            labels=labels,
            features=features,
        )

    def _fail(self, name: Any, reason: str) -> NoReturn:
        raise MercError(
            f"{self.path}: dialogue {printable(name)}: {reason}",
            "download the file again, or use an original copy",
        )

    def _rows(self, name: Any, field: str, n: int | None = None) -> Any:
        """Return the items of a dialogue in a field, one for each of its n labels."""
        content = self.values[field]
        if name not in content:
            self._fail(name, f"it is in a split but has no {field}: the file is not complete")
        rows = content[name]
        if not is_sequence(rows):
            self._fail(name, f"{field} is a {type(rows).__name__}, not a list over utterances")
        if n is not None and len(rows) != n:
            self._fail(name, f"{len(rows)} {field} for {n} labels")
        return rows

    def _labels(self, name: Any) -> np.ndarray:
        """Return the labels, (n,) int64."""
        rows, names = self._rows(name, "labels"), LABELS[self.layout.corpus]
        if not len(rows):
            self._fail(name, "it has no utterances")
        for number, label in enumerate(rows, 1):
            whole = isinstance(label, (int, np.integer)) and not isinstance(label, bool)
            if not whole or not 0 <= label < len(names):
                self._fail(
                    name,
                    f"utterance {number} has label {printable(label)}; {self.layout.corpus} has "
                    f"0 to {len(names) - 1} ({', '.join(names)})",
                )
        return np.array([int(label) for label in rows], np.int64)

    def _feature(self, name: Any, modality: str, n: int) -> np.ndarray:
        """Return the features of one modality, (n, width) float32."""
        fields = self.fields[modality]
        layers = [self._vectors(name, field, n) for field in fields]
        if len({layer.shape for layer in layers}) > 1:
            self._fail(name, f"{', '.join(fields)} differ in width")
        feature = layers[0] if len(layers) == 1 else np.mean(np.stack(layers), axis=0)
        self.widths[modality] = feature.shape[1]
        return feature

    def _vectors(self, name: Any, field: str, n: int) -> np.ndarray:
        """Return a field as (n, width) float32; the width is the same in the whole file."""
        rows = []
        for row in self._rows(name, field, n):
            single = isinstance(row, np.ndarray) and row.ndim == 2 and len(row) == 1
            rows.append(row[0] if single else row)
        for number, row in enumerate(rows, 1):
            if not is_list_of_numbers(row):
                self._fail(name, f"{field} of utterance {number} is not a list of numbers")
            width = self.field_widths.setdefault(field, len(row))
            if len(row) != width or not width:
                self._fail(
                    name, f"{field} of utterance {number} is {len(row)} wide, elsewhere {width}"
                )
        self.total_values += n * self.field_widths[field]
        if self.total_values > MOST_VALUES:
            self._fail(
                name,
                f"more than {MOST_VALUES} feature values up to here: no published file is so large",
            )
        with np.errstate(over="ignore"):
            matrix = np.array(rows, dtype=np.float32)
        bad = ~np.isfinite(matrix).all(1)
        if bad.any():
            others = f", and {int(bad.sum()) - 1} more" if bad.sum() > 1 else ""
            place = f"{field} of utterance {int(bad.argmax()) + 1}"
            self._fail(name, f"{place} is NaN or infinite{others}")
        return matrix

    def _speakers(self, name: Any, n: int) -> list[str]:
        """Return names as they are; one-hot rows are numbered in order of first appearance."""
        numbers: dict[Any, str] = {}
        speakers = []
        for row in self._rows(name, "speakers", n):
            if isinstance(row, (str, bytes, int, np.integer)):
                speakers.append(as_text(row))
                continue
            if not is_list_of_numbers(row) or len(row) > MOST_SPEAKERS:
                self._fail(name, "a speaker is neither a name nor a one-hot row")
            one_hot = tuple(float(x) for x in row)
            speakers.append(numbers.setdefault(one_hot, str(len(numbers))))
        return speakers

    def _utterances(self, name: Any, n: int) -> list[str]:
        """Return the file's utterance ids if it has one for each, else numbers from 0."""
        ids = self.values.get("ids")
        rows = ids.get(name) if isinstance(ids, dict) else None
        if isinstance(rows, (list, tuple, np.ndarray)):
            rows = self._rows(name, "ids", n)
            valid = all(isinstance(row, (str, int, np.integer)) for row in rows)
            if valid and len(set(map(str, rows))) == n:
                return [as_text(row) for row in rows]
        return [str(k) for k in range(n)]
