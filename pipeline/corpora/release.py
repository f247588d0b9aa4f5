"""What a raw release holds: utterances with their clips, and everything that is not as it should be."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.corpora.splits import LABELS, SPLITS
from pipeline.media.containers import MediaError, check_local, open_container

__all__ = [
    "POLICIES",
    "Finding",
    "RawCorpus",
    "RawUtterance",
    "clip_seconds",
    "read_text",
    "recognise_release",
    "release_files",
    "walk_files",
]

POLICIES = {  # what is done about each kind of finding
    "no transcript": "its dialogues are lost",
    "no dialogue": "lost",
    "no video": "no visual features",
    "no clip": "text only",
    "broken clip": "not used: no face, and no voice but from a file of its own",
    "mis-cut clip": "text only: the clip is not the line",
    "doubtful clip": "used, listed",
    "clip without row": "ignored",
    "row again": "the first is kept",
    "bad row": "left out",
    "bad time": "the clip's own length counts",
    "several clips": "one is used",
    "unplaced clip": "ignored: no folder says train, dev or test",
    "still packed": "unpack it",
    "hidden copy": "ignored",
    "other case": "read all the same",
    "other encoding": "read as Windows-1252",
    "short video": "lines beyond its end have no picture",
    "no sound": "cut from the dialogue's",
    "no label": "context only",
    "label without line": "left out",
}
ARCHIVES = (".tar", ".tar.gz", ".tgz", ".zip", ".rar", ".7z", ".part", ".crdownload")


@dataclass(frozen=True)
class RawUtterance:
    """One line of a corpus.  clip: the medium to read between start and end (seconds in that medium), or None.

    sound: a file of its own for the voice, or (whole_sound) that of the dialogue; side: "left" or "right" half of a
    split screen, where the speaker is; label -1 = none.
    """

    dialogue: str  # as in the published files
    name: str
    split: str
    speaker: str
    text: str
    label: int
    start: float
    end: float
    clip: Path | None = None
    sound: Path | None = None
    side: str = ""
    whole_sound: bool = False


@dataclass(frozen=True)
class Finding:
    """kind is a key of POLICIES; blocking: the splits need what is absent."""

    kind: str
    item: str
    detail: str = ""
    blocking: bool = False


@dataclass
class RawCorpus:
    name: str
    utterances: list[RawUtterance] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, kind: str, item: str, detail: str = "", blocking: bool = False) -> None:
        self.findings.append(Finding(kind, item, detail, blocking))

    def counts(self) -> dict[str, tuple[int, int]]:
        """Split -> dialogues, labelled utterances."""
        labelled = [u for u in self.utterances if u.label >= 0]
        return {
            s: (
                len({u.dialogue for u in labelled if u.split == s}),
                sum(u.split == s for u in labelled),
            )
            for s in SPLITS
        }

    def classes(self) -> dict[str, int]:
        found = Counter(u.label for u in self.utterances if u.label >= 0)
        return {label: found[k] for k, label in enumerate(LABELS[self.name])}


def walk_files(root: Path, skip: tuple[str, ...] = ()) -> Iterator[Path]:
    """Files below root in sorted order, without hidden ones (macOS leaves `._copies`) and folders named in skip."""
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(
            name for name in folders if not name.startswith((".", "__MACOSX")) and name not in skip
        )
        yield from (Path(folder, name) for name in sorted(names) if not name.startswith("."))


def recognise_release(root: Path) -> str | None:
    """iemocap, meld, or None: by folders and file names that only one of them has."""
    for path in walk_files(root, ("MOCAP_hand", "MOCAP_head", "MOCAP_rotated", "ForcedAlignment")):
        folders = {part.lower() for part in path.relative_to(root).parts[:-1]} | {root.name.lower()}
        if folders & {"transcriptions", "emoevaluation"} or path.name.lower().startswith("ses0"):
            return "iemocap"
        if path.name.lower().endswith("_sent_emo.csv") or path.name.lower().startswith(
            ("dia", "final_videos_testdia")
        ):
            return "meld"
    return None


def release_files(root: Path, corpus: RawCorpus, skip: tuple[str, ...] = ()) -> list[Path]:
    """`walk_files`, and as findings: archives (a release half unpacked), copies that macOS left, names in capitals."""
    files = list(walk_files(root, skip))
    copies = sorted(path for path in root.rglob("._*") if path.is_file())
    capitals = [path for path in files if path.suffix != path.suffix.lower()]
    for kind, what, found in (
        ("hidden copy", "._*", copies),
        ("other case", "endings in capitals", capitals),
    ):
        if found:
            corpus.add(kind, what, f"{len(found)}, the first: {found[0].relative_to(root)}")
    for path in files:
        if path.name.lower().endswith(ARCHIVES):
            corpus.add("still packed", str(path.relative_to(root)))
    return files


def read_text(path: Path, corpus: RawCorpus) -> str:
    """UTF-8, else Windows-1252, which is a finding."""
    raw = path.read_bytes()
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        corpus.add("other encoding", path.name, "not UTF-8")
        return raw.decode("cp1252", errors="replace")


def clip_seconds(path: Path) -> float:
    """The length that the container tells, nothing decoded.  Raises MediaError for what cannot be opened."""
    check_local(path)
    with open_container(path) as container:
        if not container.streams.audio and not container.streams.video:
            raise MediaError(f"{path}: neither sound nor picture")
        told = [
            float(s.duration * s.time_base) for s in container.streams if s.duration and s.time_base
        ]
        length = container.duration / 1e6 if container.duration else max(told, default=0.0)
    if not length > 0:
        raise MediaError(f"{path}: tells no length: it is cut short")
    return length
