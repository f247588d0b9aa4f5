"""Published feature files made with plain pickle, independently of merc's writers."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
from support.paths import ROOT

SPLITS = json.loads((ROOT / "pipeline/corpora/splits.json").read_text())
FIELDS = {  # name of the layout -> (corpus, fields in order)
    "mmgcn9": ("iemocap", "ids speakers labels text audio visual sentences train test"),
    "mmgcn10": ("meld", "ids speakers labels text audio visual sentences train test extra"),
    "sdt12": ("iemocap", "ids speakers labels r1 r2 r3 r4 audio visual sentences train test"),
    "sdt13": ("meld", "ids speakers labels r1 r2 r3 r4 audio visual sentences train test extra"),
    "cfnesa14": (
        "meld",
        "ids speakers labels sentiment r1 r2 r3 r4 audio visual sentences train test extra",
    ),
    "cosmic10": ("iemocap", "speakers labels r1 r2 r3 r4 sentences train test valid"),
    "cosmic11": ("meld", "speakers labels sentiment r1 r2 r3 r4 sentences train test valid"),
}
SMALL = {"text": 4, "r1": 5, "r2": 5, "r3": 5, "r4": 5, "audio": 6, "visual": 3}


def real_sizes(corpus: str) -> dict:
    """Return the number of utterances of each dialogue, which sum to the published counts.

    MELD's are spread evenly inside each part.
    """
    if corpus == "iemocap":
        return dict(SPLITS["iemocap"]["utterances"])
    sizes = {}
    for split, total in (("train", 9989), ("valid", 1109), ("test", 2610)):
        first, last = SPLITS["meld"][split]
        ids = [k for k in range(first, last + 1) if k not in SPLITS["meld"]["train_missing"]]
        sizes |= {k: total // len(ids) + (i < total % len(ids)) for i, k in enumerate(ids)}
    return sizes


def small_sizes(corpus: str) -> dict:
    """Return the number of utterances of each of four dialogues."""
    names = (
        ("Ses01F_impro01", "Ses01F_impro02", "Ses01M_impro01", "Ses05F_impro01")
        if corpus == "iemocap"
        else (0, 7, 1040, 1200)
    )
    return dict(zip(names, (3, 1, 4, 2), strict=True))


def parts(corpus: str, sizes: dict) -> dict[str, list]:
    """Split dialogues into train, valid and test."""
    if corpus == "iemocap":
        return {
            split: [v for v in sizes if v in SPLITS["iemocap"][split]]
            for split in ("train", "valid", "test")
        }
    return {
        split: [v for v in sizes if SPLITS["meld"][split][0] <= v <= SPLITS["meld"][split][1]]
        for split in ("train", "valid", "test")
    }


def content(
    layout: str, sizes: dict | None = None, widths: dict | None = None, seed: int = 0
) -> dict:
    """Make the content of a file, field name -> value; change it, then `write` it."""
    corpus, fields = FIELDS[layout]
    sizes, widths, rng = sizes or small_sizes(corpus), widths or SMALL, np.random.default_rng(seed)
    split = parts(corpus, sizes)
    labels = 6 if corpus == "iemocap" else 7
    values: dict = {
        "ids": {v: [f"{v}_{k:03d}" for k in range(n)] for v, n in sizes.items()},
        "labels": {v: [int(x) for x in rng.integers(0, labels, n)] for v, n in sizes.items()},
        "sentiment": {v: [int(x) for x in rng.integers(0, 3, n)] for v, n in sizes.items()},
        "sentences": {v: [f"Line {k}, “so” é" for k in range(n)] for v, n in sizes.items()},
        "speakers": {v: [_speaker(corpus, k) for k in range(n)] for v, n in sizes.items()},
        "extra": None,
        **split,
    }
    if "valid" not in fields.split():
        values["train"] = split["train"] + split["valid"]
    if layout == "mmgcn10":
        values["train"], values["test"] = set(values["train"]), frozenset(values["test"])
    for name, width in widths.items():
        if name in fields.split():
            values[name] = {
                v: list(rng.normal(size=(n, width)).astype(np.float32)) for v, n in sizes.items()
            }
    return {name: values[name] for name in fields.split()}


def _speaker(corpus: str, k: int) -> str | list[float]:
    """Return the speaker of utterance k: a letter in IEMOCAP, one-hot of nine in MELD."""
    if corpus == "iemocap":
        return "M" if k % 2 else "F"
    return np.eye(9)[min(k, 8) % 3].tolist()


def write(values: dict, path: Path, protocol: int = 4) -> Path:
    """Pickle the values of `content` as a tuple."""
    path.write_bytes(pickle.dumps(tuple(values.values()), protocol))
    return path
