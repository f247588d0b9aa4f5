"""Where the files of IEMOCAP and MELD are, and what to say when they are not."""

from __future__ import annotations

import os
from pathlib import Path

from pipeline.core.dialogue import Corpus
from pipeline.corpora.published import read_published, recognise
from pipeline.corpora.release import recognise_release
from pipeline.corpora.splits import LABELS
from pipeline.corpora.table import load_table
from pipeline.corpora.unpickle import load

__all__ = [
    "RawReleaseError",
    "find_corpus",
    "load_iemocap",
    "load_meld",
    "missing_data",
    "place_of",
]

ENDINGS = (".pkl", ".pickle", ".p", ".pk")
SOURCES = {  # file -> repository, by corpus
    "iemocap": (
        ("iemocap_multimodal_features.pkl", "butterfliesss/SDT"),
        ("IEMOCAP_features.pkl", "hujingwen6666/MMGCN, zerohd4869/MM-DFN"),
        ("iemocap_multi_features_mmgcn_cosmic.pkl", "lijfrank/CFN-ESA, lijfrank/GraphSmile"),
        ("iemocap_features_roberta.pkl", "declare-lab/conv-emotion (COSMIC); text only"),
    ),
    "meld": (
        ("meld_multimodal_features.pkl", "butterfliesss/SDT"),
        ("MELD_features_raw1.pkl", "hujingwen6666/MMGCN, zerohd4869/MM-DFN"),
        ("meld_multi_features_mmgcn_cosmic.pkl", "lijfrank/CFN-ESA, lijfrank/GraphSmile"),
        ("meld_features_roberta.pkl", "declare-lab/conv-emotion (COSMIC); text only"),
    ),
}
RELEASES = {"iemocap": "IEMOCAP_full_release", "meld": "MELD.Raw"}
TERMS = {
    "iemocap": "IEMOCAP needs a licence from USC (SAIL) and must never be passed on, features included",
    "meld": "MELD is under GPL-3 (declare-lab/MELD); its clips are for research",
}


class RawReleaseError(FileNotFoundError):
    """A folder that has no features of its own, but the media to make them from."""

    def __init__(self, place: Path, corpus: str) -> None:
        super().__init__(
            f"{place}: the raw release of {corpus}, without features; make them: merc extract --dataset "
            f"{corpus} --data {place} --table TABLE, then name the table with --data TABLE "
            f"(merc corpus check {place} examines the release)"
        )
        self.place = place


def missing_data(corpus: str) -> str:
    """Which files, from whom, under which terms, and where to put them."""
    files = "\n".join(f"    {name}  ({where})" for name, where in SOURCES[corpus])
    return (
        f"no data for {corpus}: merc does not ship it.\n"
        f"  Any one of these files, linked from the README of its repository on GitHub:\n{files}\n"
        f"  Or the release itself, {RELEASES[corpus]} unpacked: its features are then made first.\n"
        f"  Terms: {TERMS[corpus]}.\n"
        f"  Put it anywhere and name it with --data FILE (or its folder with --data FOLDER), "
        "or set MERC_DATA to that folder."
    )


def place_of(corpus: str, data: Path | None = None) -> Path:
    """`data`, else $MERC_DATA.  Raises FileNotFoundError with `missing_data` when neither is there."""
    named = data or os.environ.get("MERC_DATA")
    if not named:
        raise FileNotFoundError(missing_data(corpus))
    place = Path(named)
    if not place.exists():
        raise FileNotFoundError(
            f"{'--data' if data else 'MERC_DATA'} {place}: no such file or folder; "
            + missing_data(corpus)
        )
    return place


def load_iemocap(data: Path | None = None) -> Corpus:
    """IEMOCAP from a published feature file; data is the file or its folder, default $MERC_DATA."""
    return find_corpus("iemocap", data)


def load_meld(data: Path | None = None) -> Corpus:
    """MELD from a published feature file; data is the file or its folder, default $MERC_DATA."""
    return find_corpus("meld", data)


def find_corpus(corpus: str, data: Path | None = None) -> Corpus:
    """iemocap or meld out of the one published file, or imported table, at or under `data` (default $MERC_DATA).

    Raises FileNotFoundError with `missing_data` when there is none, RawReleaseError for a raw release, ValueError when
    there are several or it is bad.
    """
    place = place_of(corpus, data)
    if place.is_file():
        return _file(place, corpus)
    for folder in (place, place / corpus):
        if (folder / "utterances.csv").is_file():
            return _table(folder, corpus)
    files = sorted(
        path
        for path in place.rglob("*")
        if path.suffix.lower() in ENDINGS and path.is_file() and not path.name.startswith("._")
    )  # macOS leaves ._copies
    found = {path: _seen(path) for path in files}
    fitting = [path for path, what in found.items() if what == corpus]
    if not fitting:
        raw = recognise_release(place)
        if raw == corpus:
            raise RawReleaseError(place, raw)
        hint = f"\n  It looks like the raw release of {raw}: use --dataset {raw}." if raw else ""
        others = hint + "".join(
            f"\n  seen: {path.name}: {what}" for path, what in list(found.items())[:8]
        )
        raise FileNotFoundError(
            f"{place}: no feature file of {corpus} in this folder; {missing_data(corpus)}{others}"
        )
    if len(fitting) > 1:
        raise ValueError(
            f"{place}: {len(fitting)} feature files of {corpus}: {', '.join(map(str, fitting))}; "
            "name one with --data"
        )
    return _file(fitting[0], corpus)


def _seen(path: Path) -> str:
    """The corpus that a file holds, or why it holds none."""
    try:
        return recognise(load(path), path)[0].corpus
    except (ValueError, OSError) as error:
        return str(error).removeprefix(str(path)).lstrip(": ")


def _file(path: Path, corpus: str) -> Corpus:
    found = read_published(path)
    if found.layout.corpus != corpus:
        raise ValueError(
            f"{path}: holds {found.layout.corpus} in {found.layout.name}'s layout, not {corpus}; "
            f"use --dataset {found.layout.corpus}"
        )
    return found.corpus


def _table(folder: Path, corpus: str) -> Corpus:
    """A table that `merc import` wrote before."""
    found = load_table(folder)
    if found.labels != LABELS[corpus]:
        raise ValueError(
            f"{folder}: its labels are {', '.join(found.labels)}, not {corpus}'s "
            f"{', '.join(LABELS[corpus])}; use --dataset {folder} without --data"
        )
    return found
