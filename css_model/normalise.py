"""Standardisation of features by the statistics of a corpus, or of each speaker shrunk towards the corpus."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["METHODS", "Normaliser"]

METHODS = ("none", "corpus", "speaker")
LIMIT = 10.0  # standard deviations; IS10 has ratios that run to 1e6 on sound unlike the corpus


class Normaliser:
    """Features in, features out, numpy; a row of NaN (missing) stays one.

    method: one for all modalities, or modality -> method (default `corpus`).
    `corpus`: (x - mean) / sd of the training rows.  `speaker`: the same with the speaker's own mean and variance
    within the dialogue, shrunk as if `pseudo` utterances of the corpus had been heard besides; it works from one
    utterance on and removes what microphone, room and voice add to all of a speaker's utterances.
    Values are clipped at ±10 sd.  columns: modality -> the columns that are kept, rising; default all.
    """

    def __init__(
        self,
        method: str | Mapping[str, str] = "corpus",
        pseudo: float = 6.0,
        columns: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        self.method = method if isinstance(method, str) else dict(method)
        for name in [method] if isinstance(method, str) else method.values():
            if name not in METHODS:
                raise ValueError(f"normalisation must be one of {', '.join(METHODS)}, not {name!r}")
        if not 0 < pseudo < float("inf"):
            raise ValueError(f"pseudo must be a positive number of utterances, not {pseudo}")
        self.pseudo = float(pseudo)
        self.columns = {name: np.asarray(kept, np.int64) for name, kept in (columns or {}).items()}
        for name, kept in self.columns.items():
            if kept.ndim != 1 or not len(kept) or kept[0] < 0 or (np.diff(kept) <= 0).any():
                raise ValueError(f"columns of {name} must be different, rising and at least one")
        self.inputs: dict[
            str, int
        ] = {}  # modality -> width before the choice, where columns are chosen
        self.mean: dict[str, np.ndarray] = {}  # modality -> (width,) float32
        self.sd: dict[str, np.ndarray] = {}

    def method_of(self, modality: str) -> str:
        return self.method if isinstance(self.method, str) else self.method.get(modality, "corpus")

    def widths(self, given: Mapping[str, int]) -> dict[str, int]:
        """Modality -> width after the choice of columns."""
        return {name: len(self.columns.get(name, range(width))) for name, width in given.items()}

    def fit(self, dialogues: Iterable[Any]) -> Normaliser:
        """Mean and sd of every modality over the present rows (float64 sums).  A constant feature gets sd 1."""
        dialogues = list(dialogues)
        self.mean, self.sd = {}, {}
        for name in dict.fromkeys(name for dialogue in dialogues for name in dialogue.features):
            width = np.shape(next(d.features[name] for d in dialogues if name in d.features))[-1]
            if name in self.columns:
                self.inputs[name] = self._checked(name, width)
            blocks = [
                _present(self._chosen(name, d.features[name]))
                for d in dialogues
                if name in d.features
            ]
            count = sum(len(block) for block in blocks)
            if not count:
                inner = self.widths({name: width})[name]
                mean, sd = np.zeros(inner), np.ones(inner)
            else:
                mean = sum(block.sum(0, dtype=np.float64) for block in blocks) / count
                variance = sum(np.square(block - mean).sum(0) for block in blocks) / count
                sd = np.sqrt(variance)
                # rounding leaves a constant feature of 1e6 a "deviation" of 1e-10
                sd = np.where(sd > 1e-7 * np.maximum(np.abs(mean), 1e-12), sd, 1.0)
            self.mean[name], self.sd[name] = mean.astype(np.float32), sd.astype(np.float32)
        return self

    def apply(
        self, features: Mapping[str, np.ndarray], speakers: Sequence[str]
    ) -> dict[str, np.ndarray]:
        """The features of one dialogue, modality -> (n, width) float32.  Raises ValueError for another width."""
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
        rows = self._chosen(name, rows)
        if method == "none":
            return rows.astype(np.float32)
        if name not in self.mean:
            raise ValueError(
                f"no statistics for {name}: this normaliser knows {', '.join(self.mean) or 'nothing yet'}"
            )
        expected = (len(speakers), len(self.mean[name]))
        if rows.shape != expected:
            raise ValueError(f"{name} features have shape {rows.shape}, expected {expected}")
        values = (rows.astype(np.float64) - self.mean[name]) / self.sd[name]
        if method == "speaker":
            for speaker in dict.fromkeys(speakers):
                own = np.array([other == speaker for other in speakers])
                values[own] = self._shrunk(values[own])
        return np.clip(values, -LIMIT, LIMIT).astype(np.float32)  # NaN passes through

    def _shrunk(self, values: np.ndarray) -> np.ndarray:
        """One speaker's rows, in corpus units (mean 0, variance 1), by statistics shrunk towards those."""
        heard = np.clip(_present(values), -LIMIT, LIMIT)
        total = len(heard) + self.pseudo
        mean = heard.sum(0) / total
        variance = (np.square(heard - mean).sum(0) + self.pseudo * (1 + np.square(mean))) / total
        return (values - mean) / np.sqrt(variance)

    def _chosen(self, name: str, rows: np.ndarray) -> np.ndarray:
        return rows[:, self.columns[name]] if name in self.columns else rows

    def _checked(self, name: str, width: int) -> int:
        if self.columns[name][-1] >= width:
            raise ValueError(f"column {self.columns[name][-1]} of {name}, which has {width}")
        return width

    def to_dict(self) -> dict[str, Any]:
        """What is not a tensor, JSON-able; `tensors` holds the rest."""
        return {"method": self.method, "pseudo": self.pseudo} | (
            {"inputs": self.inputs} if self.columns else {}
        )

    def tensors(self) -> dict[str, np.ndarray]:
        """ "mean.<modality>" and "sd.<modality>" -> (width,) float32; "columns.<modality>" where some are chosen."""
        return {
            f"{kind}.{name}": values.astype(np.float32)
            for kind, table in (("mean", self.mean), ("sd", self.sd), ("columns", self.columns))
            for name, values in table.items()
        }

    @classmethod
    def from_parts(cls, values: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> Normaliser:
        """Raises ValueError for statistics that are malformed, or do not come in pairs."""
        columns = {
            key.removeprefix("columns."): array
            for key, array in tensors.items()
            if key.startswith("columns.")
        }
        result = cls(values.get("method", "corpus"), values.get("pseudo", 6.0), columns)
        inputs = values.get("inputs", {})
        if (
            not isinstance(inputs, dict)
            or set(inputs) != set(columns)
            or not all(isinstance(width, int) for width in inputs.values())
        ):
            raise ValueError(
                "chosen columns and the widths before the choice do not belong together"
            )
        result.inputs = {name: result._checked(name, width) for name, width in inputs.items()}
        for key, array in tensors.items():
            kind, _, name = key.partition(".")
            if (
                kind not in ("mean", "sd", "columns")
                or array.ndim != 1
                or not np.isfinite(array).all()
            ):
                raise ValueError(f"malformed statistics {key!r}")
            if kind != "columns":
                (result.mean if kind == "mean" else result.sd)[name] = array.astype(np.float32)
        if {m: len(v) for m, v in result.mean.items()} != {m: len(v) for m, v in result.sd.items()}:
            raise ValueError("means and deviations do not belong together")
        if any((values <= 0).any() for values in result.sd.values()):
            raise ValueError("a deviation is not positive")
        return result


def _present(rows: np.ndarray) -> np.ndarray:
    rows = np.asarray(rows, np.float64)
    return rows[~np.isnan(rows).all(1)] if len(rows) else rows
