"""Find a corpus by its name or folder, and read it."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.core.dialogue import Corpus
from pipeline.core.errors import MercError, UsageError
from pipeline.core.files import data_folder
from pipeline.corpora.how_to_get import RELEASES, how_to_get
from pipeline.corpora.splits import LABELS

__all__ = ["Source", "find_release", "find_source", "read_corpus"]

CORPORA = (*LABELS, "synthetic")
PICKLES = (".pkl", ".pickle", ".p", ".pk")


@dataclass(frozen=True)
class Source:
    """Where a corpus is.

    kind: "table", "published" (a feature file), "release" (recordings, without features) or
        "synthetic".
    name: "iemocap", "meld" or "synthetic"; the name of the folder for any other table.
    path: the file or folder; None for the synthetic corpus.
    settings: the defaults to train it with, see `Corpus.settings`.
    """

    kind: str
    name: str
    path: Path | None
    settings: str = "table"


def find_source(dataset: str, data: Path | None = None) -> Source:
    """Find a corpus.

    Args:
        dataset: "iemocap", "meld", "synthetic", or a folder with a table (utterances.csv). Without
            `data`, such a folder wins over a corpus of the same name.
        data: for iemocap and meld: a published feature file, a folder that holds one, a table, or
            the raw release; default: $MERC_DATA.

    Raises:
        MercError: nothing there (with where to get it), or several feature files.

    >>> find_source("synthetic").kind
    'synthetic'
    """
    if dataset in CORPORA and (data is not None or not _is_table(Path(dataset))):
        return _named(dataset, data)
    folder = Path(dataset)
    if not folder.is_dir():
        close = difflib.get_close_matches(dataset, CORPORA, 1)
        choices = f"choose {', '.join(CORPORA)}, or name a folder with a table (utterances.csv)"
        raise UsageError(
            f"--dataset {dataset}: no corpus of that name, and no such folder",
            f"did you mean {close[0]}? Otherwise {choices}" if close else choices,
        )
    if data is not None:
        raise UsageError(
            f"--data {data}: the table {dataset} already holds its features", "omit --data"
        )
    # a path, so that the settings of a folder called meld are not those of the corpus
    settings = str(folder) if len(folder.parts) > 1 else f"./{folder}"
    return Source("table", folder.resolve().name, folder, settings)


def find_release(dataset: str, data: Path | None = None) -> Source:
    """Find the raw release of iemocap or meld in a folder, whatever else the folder holds.

    Raises MercError if the folder holds no such release.
    """
    from pipeline.corpora.release import recognise_release

    if dataset not in RELEASES:
        raise UsageError(
            f"--dataset {dataset}: not a corpus with a raw release",
            f"choose from {', '.join(RELEASES)}; name other recordings as arguments",
        )
    folder = data_folder(data)
    if folder is None:
        raise MercError(f"no data for {dataset}: merc does not ship it", how_to_get(dataset))
    if not folder.is_dir():
        raise MercError(f"--data {folder}: no such folder", f"name {RELEASES[dataset]}")
    corpus = recognise_release(folder)
    if corpus is None:
        raise MercError(
            f"--data {folder}: no raw release of {dataset}",
            f"unpack its archives; `merc corpus check {folder}` lists what is missing",
        )
    if corpus != dataset:
        raise MercError(
            f"--data {folder}: the raw release of {corpus}, not of {dataset}",
            f"use --dataset {corpus}",
        )
    return Source("release", dataset, folder, dataset)


def read_corpus(source: Source, *, features: bool = True) -> Corpus:
    """Read a corpus with its features.

    features: False reads only utterances.csv of a table, which then needs no features.

    Raises MercError for a raw release (which has none yet), and for damaged or unexpected files.

    >>> read_corpus(find_source("synthetic")).widths
    {'text': 32, 'audio': 24, 'visual': 20}
    """
    return replace(_read(source, features), settings=source.settings)


def _named(corpus: str, data: Path | None) -> Source:
    if corpus == "synthetic":
        if data is not None:
            raise UsageError(
                f"--data {data}: the synthetic corpus is generated from a seed", "omit --data"
            )
        return Source("synthetic", corpus, None, corpus)
    path = data_folder(data)
    if path is None:
        raise MercError(f"no data for {corpus}: merc does not ship it", how_to_get(corpus))
    if not path.exists():
        option = "--data" if data else "MERC_DATA"
        raise MercError(f"{option} {path}: no such file or folder", how_to_get(corpus))
    if path.is_file():
        return Source("published", corpus, path, corpus)
    for folder in (path, path / corpus):
        if _is_table(folder):
            return Source("table", corpus, folder, corpus)
    return _in_folder(corpus, path)


def _in_folder(corpus: str, folder: Path) -> Source:
    """Find the one feature file of a corpus below a folder, or its raw release."""
    from pipeline.corpora.release import recognise_release

    contents = {}
    for path in sorted(folder.rglob("*")):
        # macOS leaves ._copies
        if path.suffix.lower() in PICKLES and path.is_file() and not path.name.startswith("._"):
            contents[path] = _content(path)
    files = [path for path, content in contents.items() if content == corpus]
    if len(files) == 1:
        return Source("published", corpus, files[0], corpus)
    if files:
        raise MercError(
            f"{folder}: {len(files)} feature files of {corpus}: {', '.join(map(str, files))}",
            "name one with --data",
        )
    release = recognise_release(folder)
    if release == corpus:
        return Source("release", corpus, folder, corpus)
    hints = [f"{path.name}: {content}" for path, content in list(contents.items())[:8]]
    if release:
        hints.insert(
            0, f"the folder looks like the raw release of {release}: use --dataset {release}"
        )
    raise MercError(
        f"{folder}: no feature file of {corpus} in this folder",
        "".join([how_to_get(corpus), *(f"\n  {hint}" for hint in hints)]),
    )


def _content(path: Path) -> str:
    """Return the corpus that a pickle holds, or why it holds none."""
    from pipeline.corpora.layouts import recognise
    from pipeline.corpora.unpickle import load

    try:
        return recognise(load(path), path)[0].corpus
    except (ValueError, OSError) as error:
        return str(error).removeprefix(str(path)).lstrip(": ")


def _is_table(folder: Path) -> bool:
    return (folder / "utterances.csv").is_file()


def _read(source: Source, features: bool) -> Corpus:
    if source.kind == "synthetic":
        from pipeline.corpora.synthetic import make_synthetic

        return make_synthetic()
    assert source.path is not None
    if source.kind == "table":
        return _table(source, features)
    if source.kind == "published":
        return _published(source)
    name, path = source.name, source.path
    raise MercError(
        f"{path}: the raw release of {name}, without features",
        f"extract them: merc extract --dataset {name} --data {path} --table TABLE, "
        f"then name the table with --data TABLE (`merc corpus check {path}` examines the release)",
    )


def _table(source: Source, features: bool) -> Corpus:
    from pipeline.corpora.table import load_table

    assert source.path is not None
    corpus = load_table(source.path, features=features)
    labels = LABELS.get(source.settings)
    if labels and corpus.labels != labels:
        raise MercError(
            f"{source.path}: its labels are {', '.join(corpus.labels)}, not {source.name}'s "
            f"{', '.join(labels)}",
            f"use --dataset {source.path} without --data",
        )
    return corpus


def _published(source: Source) -> Corpus:
    from pipeline.corpora.published import read_published

    assert source.path is not None
    published = read_published(source.path)
    corpus = published.layout.corpus
    if corpus != source.name:
        raise MercError(
            f"{source.path}: holds {corpus} in {published.layout.name}'s layout, not {source.name}",
            f"use --dataset {corpus}",
        )
    return published.corpus
