"""Standardise features by the statistics of a corpus, or of each speaker."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["METHODS", "Normaliser"]

METHODS = ("none", "corpus", "speaker")
LIMIT = 10.0  # sd; some IS10 values are ratios that reach 1e6 on sound unlike the corpus


class Normaliser:
    """Standardise numpy features. A row of NaN (missing) remains one.

    method: one for all modalities, or modality -> method (default: "corpus"):
        "corpus": (x - mean) / sd of the training rows;
        "speaker": the same with mean and variance of the speaker within the dialogue, shrunk
            towards the corpus as if `pseudo` further utterances had its statistics. It works from
            one utterance on, and removes what microphone, room and voice add to all utterances of a
            speaker;
        "none".
    pseudo: number of those utterances.
    columns: modality -> indices of the columns to use, ascending; default: all.
    directions: modality -> (k, width), directions in the space of the features along which rows
        differ for reasons that must not count, such as the corpus. They are erased: standardised
        rows are projected on the space orthogonal to all of them (as in Ravfogel et al. 2020, ACL)
        before the statistics of the speaker. Method "none" erases nothing.

    Values are clipped at ±10 sd.

    Raises ValueError for unknown methods and malformed arguments.
    """

    def __init__(
        self,
        method: str | Mapping[str, str] = "corpus",
        pseudo: float = 6.0,
        columns: Mapping[str, np.ndarray] | None = None,
        directions: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        self.method = method if isinstance(method, str) else dict(method)
        for name in [method] if isinstance(method, str) else method.values():
            if name not in METHODS:
                raise ValueError(f"normalisation must be one of {', '.join(METHODS)}, not {name!r}")
        if not 0 < pseudo < float("inf"):
            raise ValueError(f"pseudo must be a positive number of utterances, not {pseudo}")
        self.pseudo = float(pseudo)
        self.columns: dict[str, np.ndarray] = {}
        for name, values in (columns or {}).items():
            chosen = np.asarray(values, np.int64)
            if chosen.ndim != 1 or not len(chosen) or chosen[0] < 0 or (np.diff(chosen) <= 0).any():
                raise ValueError(f"columns of {name} must be ascending, and at least one")
            self.columns[name] = chosen
        self.directions = dict(directions or {})
        # modality -> (r, width) float32, orthonormal; what `directions` span once standardised
        self.erased: dict[str, np.ndarray] = {}
        # modality -> width before the selection of columns, if there is one
        self.inputs: dict[str, int] = {}
        # modality -> (width,) float32
        self.mean: dict[str, np.ndarray] = {}
        self.sd: dict[str, np.ndarray] = {}

    def method_of(self, modality: str) -> str:
        """Return the method of a modality."""
        return self.method if isinstance(self.method, str) else self.method.get(modality, "corpus")

    def widths(self, given: Mapping[str, int]) -> dict[str, int]:
        """Map modality -> width to modality -> width after the selection of columns."""
        return {name: len(self.columns.get(name, range(width))) for name, width in given.items()}

    def fit(self, dialogues: Iterable[Any]) -> Normaliser:
        """Compute mean and sd of every modality over the present rows, summed in float64.

        dialogues: objects with `features`, modality -> (n, width). A constant value gets sd 1.
        """
        dialogues = list(dialogues)
        self.mean, self.sd, self.erased = {}, {}, {}
        for name in dict.fromkeys(name for dialogue in dialogues for name in dialogue.features):
            all_rows = [d.features[name] for d in dialogues if name in d.features]
            width = np.shape(all_rows[0])[-1]
            if name in self.columns:
                self.inputs[name] = self._check_columns(name, width)
            mean, sd = _statistics(
                [_present(self._select(name, rows)) for rows in all_rows],
                self.widths({name: width})[name],
            )
            self.mean[name], self.sd[name] = mean.astype(np.float32), sd.astype(np.float32)
            if name in self.directions:
                self.erased[name] = _basis(self._select(name, self.directions[name]) / sd)
        return self

    def apply(
        self, features: Mapping[str, np.ndarray], speakers: Sequence[str]
    ) -> dict[str, np.ndarray]:
        """Return the standardised features of one dialogue, modality -> (n, width) float32.

        features: modality -> (n, width). speakers: n names.

        Raises ValueError for a width or modality other than those of `fit`.
        """
        return {
            name: self._modality(name, np.asarray(rows), speakers)
            for name, rows in features.items()
        }

    def _modality(self, name: str, rows: np.ndarray, speakers: Sequence[str]) -> np.ndarray:
        method = self.method_of(name)
        if name in self.inputs and rows.shape[-1:] != (self.inputs[name],):
            raise ValueError(
                f"{name} features have shape {rows.shape}, expected {self.inputs[name]} columns"
            )
        rows = self._select(name, rows)
        if method == "none":
            return rows.astype(np.float32)
        if name not in self.mean:
            known = ", ".join(self.mean) or "nothing yet"
            raise ValueError(f"no statistics for {name}: this normaliser knows {known}")
        expected = (len(speakers), len(self.mean[name]))
        if rows.shape != expected:
            raise ValueError(f"{name} features have shape {rows.shape}, expected {expected}")
        values = (rows.astype(np.float64) - self.mean[name]) / self.sd[name]
        if name in self.erased:
            basis = self.erased[name].astype(np.float64)
            values -= values @ basis.T @ basis  # NaN remains
        if method == "speaker":
            for speaker in dict.fromkeys(speakers):
                rows_of_speaker = np.array([other == speaker for other in speakers])
                values[rows_of_speaker] = self._shrink(values[rows_of_speaker])
        return np.clip(values, -LIMIT, LIMIT).astype(np.float32)  # NaN passes through

    def _shrink(self, values: np.ndarray) -> np.ndarray:
        """Standardise one speaker's rows, which are in units of the corpus (mean 0, variance 1)."""
        present = np.clip(_present(values), -LIMIT, LIMIT)
        total = len(present) + self.pseudo
        mean = present.sum(0) / total
        variance = (np.square(present - mean).sum(0) + self.pseudo * (1 + np.square(mean))) / total
        return (values - mean) / np.sqrt(variance)

    def _select(self, name: str, rows: np.ndarray) -> np.ndarray:
        return rows[:, self.columns[name]] if name in self.columns else rows

    def _check_columns(self, name: str, width: int) -> int:
        if self.columns[name][-1] >= width:
            raise ValueError(
                f"column {self.columns[name][-1]} is out of range: {name} has {width} columns"
            )
        return width

    def to_dict(self) -> dict[str, Any]:
        """Return what is not in `tensors` (JSON-able)."""
        values: dict[str, Any] = {"method": self.method, "pseudo": self.pseudo}
        return values | {"inputs": self.inputs} if self.columns else values

    def tensors(self) -> dict[str, np.ndarray]:
        """Return "mean.…" and "sd.…" of every modality, and any "columns.…" and "erased.…"."""
        tables = {"mean": self.mean, "sd": self.sd, "columns": self.columns, "erased": self.erased}
        return {
            f"{kind}.{name}": values.astype(np.float32)
            for kind, table in tables.items()
            for name, values in table.items()
        }

    @classmethod
    def from_parts(cls, values: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> Normaliser:
        """Rebuild a normaliser from what `to_dict` and `tensors` returned.

        Raises ValueError for malformed or incomplete statistics.
        """
        columns = {
            key.removeprefix("columns."): array
            for key, array in tensors.items()
            if key.startswith("columns.")
        }
        result = cls(values.get("method", "corpus"), values.get("pseudo", 6.0), columns)
        inputs = values.get("inputs", {})
        if not isinstance(inputs, dict) or set(inputs) != set(columns):
            raise ValueError("selected columns and the widths before the selection do not agree")
        if not all(isinstance(width, int) for width in inputs.values()):
            raise ValueError("the widths before the selection of columns are malformed")
        result.inputs = {name: result._check_columns(name, width) for name, width in inputs.items()}
        for key, array in tensors.items():
            kind, _, name = key.partition(".")
            known = kind in ("mean", "sd", "columns", "erased")
            dimensions = 2 if kind == "erased" else 1
            if not known or array.ndim != dimensions or not np.isfinite(array).all():
                raise ValueError(f"malformed statistics {key!r}")
            if kind != "columns":
                getattr(result, kind)[name] = array.astype(np.float32)
        if _lengths(result.mean) != _lengths(result.sd):
            raise ValueError("means and standard deviations do not agree")
        if any((values <= 0).any() for values in result.sd.values()):
            raise ValueError("a standard deviation is not positive")
        for name, basis in result.erased.items():
            expected = (len(basis), len(result.mean.get(name, ())))
            if basis.shape != expected or not np.allclose(
                basis @ basis.T, np.eye(len(basis)), 0, 1e-3
            ):
                raise ValueError(f"the erased directions of {name} are not orthonormal")
        return result


def _basis(directions: np.ndarray) -> np.ndarray:
    """Return an orthonormal basis (r, width) float32 of what directions (k, width) span."""
    _, sizes, rows = np.linalg.svd(directions, full_matrices=False)
    return rows[sizes > 1e-6 * sizes.max(initial=1e-12)].astype(np.float32)


def _present(rows: np.ndarray) -> np.ndarray:
    """Return the rows that are not missing, in float64."""
    rows = np.asarray(rows, np.float64)
    return rows[~np.isnan(rows).all(1)] if len(rows) else rows


def _statistics(blocks: list[np.ndarray], width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and sd over the rows of all blocks; 0 and 1 if there are none."""
    count = sum(len(block) for block in blocks)
    if not count:
        return np.zeros(width), np.ones(width)
    mean = sum(block.sum(0, dtype=np.float64) for block in blocks) / count
    variance = sum(np.square(block - mean).sum(0) for block in blocks) / count
    sd = np.sqrt(variance)
    # rounding gives a constant value of 1e6 an sd of 1e-10
    return mean, np.where(sd > 1e-7 * np.maximum(np.abs(mean), 1e-12), sd, 1.0)


def _lengths(table: Mapping[str, np.ndarray]) -> dict[str, int]:
    return {name: len(values) for name, values in table.items()}
