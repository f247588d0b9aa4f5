"""Corpora by name, and any table folder."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from pipeline.core.dialogue import Corpus

__all__ = ["CORPORA", "load_corpus"]

CORPORA = {  # name -> module:function(data: Path | None) -> Corpus
    "iemocap": "pipeline.corpora.locate:load_iemocap",
    "meld": "pipeline.corpora.locate:load_meld",
    "paired": "pipeline.recipes.paired:load_paired",
    "synthetic": "pipeline.corpora.synthetic:load_synthetic",
}


def load_corpus(name: str, data: Path | None = None) -> Corpus:
    """A corpus by name (`data` is where its files lie), or the table in a folder.

    Raises ValueError or FileNotFoundError with what was wrong and what to do.
    """
    if name in CORPORA:
        module, _, function = CORPORA[name].partition(":")
        loader: Callable[[Path | None], Corpus] = getattr(import_module(module), function)
        return loader(data)
    folder = Path(name)
    if not folder.is_dir():
        near = difflib.get_close_matches(name, CORPORA, 1)
        raise FileNotFoundError(
            f"{name}: no such corpus or folder"
            + (f"; did you mean {near[0]}?" if near else ".")
            + f" Corpora: {', '.join(CORPORA)}; else name a table folder"
        )
    if data is not None:
        raise ValueError(
            f"--data {data}: a table folder ({name}) brings its own data; leave --data out"
        )
    from pipeline.corpora.table import load_table

    return load_table(folder)
