"""What a raw release holds: utterances with their clips, and everything that is wrong with it."""

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
    "problem_of",
    "read_text",
    "recognise_release",
    "release_files",
    "walk_files",
]

POLICIES = {  # kind of finding -> how merc handles it
    "no transcript": "its dialogues are missing",
    "no dialogue": "the dialogue is missing",
    "no video": "no visual features",
    "no clip": "text only",
    "broken clip": "not used: no face, and no voice unless it has a sound file",
    "mis-cut clip": "text only: the clip is not the utterance",
    "doubtful clip": "used",
    "clip without row": "ignored",
    "row again": "the first row is used",
    "bad row": "left out",
    "bad time": "the length of the clip is used",
    "several clips": "one of them is used",
    "unplaced clip": "ignored: no folder name says train, dev or test",
    "still packed": "unpack it",
    "hidden copy": "ignored",
    "other case": "read as usual",
    "other encoding": "read as Windows-1252",
    "short video": "utterances beyond its end have no face",
    "no sound": "the sound of the dialogue is used",
    "no label": "context only",
    "label without line": "left out",
}
ARCHIVES = (".tar", ".tar.gz", ".tgz", ".zip", ".rar", ".7z", ".part", ".crdownload")
# folders of IEMOCAP that take long to list and hold nothing that merc reads
MOTION_CAPTURE = ("MOCAP_hand", "MOCAP_head", "MOCAP_rotated", "ForcedAlignment")


@dataclass(frozen=True)
class RawUtterance:
    """One utterance of a raw release.

    dialogue: its id in the published files.
    label: index into `splits.LABELS`; -1: no label.
    start, end: in seconds of the clip.
    clip: the recording; None: text only.
    sound: a sound file of the utterance, or with `whole_sound` of the dialogue.
    side: "left" or "right", the half of a split screen that shows the speaker.
    """

    dialogue: str
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
    """Something unexpected in a raw release.

    kind: a key of POLICIES.
    blocking: the splits need what is missing or broken.
    """

    kind: str
    item: str
    detail: str = ""
    blocking: bool = False


@dataclass
class RawCorpus:
    """The utterances of a raw release, what is wrong with it, and notes for reports."""

    name: str
    utterances: list[RawUtterance] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, kind: str, item: str, detail: str = "", blocking: bool = False) -> None:
        """Add a finding."""
        self.findings.append(Finding(kind, item, detail, blocking))

    def counts(self) -> dict[str, tuple[int, int]]:
        """Return the number of dialogues and of labelled utterances of each split."""
        counts = {}
        for split in SPLITS:
            labelled = [u for u in self.utterances if u.label >= 0 and u.split == split]
            counts[split] = (len({u.dialogue for u in labelled}), len(labelled))
        return counts

    def classes(self) -> dict[str, int]:
        """Return the number of utterances of each label."""
        counts = Counter(u.label for u in self.utterances if u.label >= 0)
        return {label: counts[k] for k, label in enumerate(LABELS[self.name])}


def walk_files(root: Path, skip: tuple[str, ...] = ()) -> Iterator[Path]:
    """Yield the files below a folder in sorted order.

    Hidden files (macOS leaves `._copies`) and the folders named in skip are left out.
    """
    for parent, folders, names in os.walk(root):
        folders[:] = sorted(
            name for name in folders if not name.startswith((".", "__MACOSX")) and name not in skip
        )
        yield from (Path(parent, name) for name in sorted(names) if not name.startswith("."))


def recognise_release(root: Path) -> str | None:
    """Return which release lies below a folder, "iemocap" or "meld"; None if neither.

    It is recognised by folders and file names that only one of them has.
    """
    for path in walk_files(root, MOTION_CAPTURE):
        folders = {part.lower() for part in path.relative_to(root).parts[:-1]} | {root.name.lower()}
        name = path.name.lower()
        if folders & {"transcriptions", "emoevaluation"} or name.startswith("ses0"):
            return "iemocap"
        if name.endswith("_sent_emo.csv") or name.startswith(("dia", "final_videos_testdia")):
            return "meld"
    return None


def release_files(root: Path, corpus: RawCorpus, skip: tuple[str, ...] = ()) -> list[Path]:
    """Return `walk_files` as a list.

    Archives (a release that is only partly unpacked), hidden copies and endings in capitals become
    findings.
    """
    files = list(walk_files(root, skip))
    copies = sorted(path for path in root.rglob("._*") if path.is_file())
    capitals = [path for path in files if path.suffix != path.suffix.lower()]
    for kind, item, paths in (
        ("hidden copy", "._*", copies),
        ("other case", "endings in capitals", capitals),
    ):
        if paths:
            corpus.add(kind, item, f"{len(paths)}, the first: {paths[0].relative_to(root)}")
    for path in files:
        if path.name.lower().endswith(ARCHIVES):
            corpus.add("still packed", str(path.relative_to(root)))
    return files


def read_text(path: Path, corpus: RawCorpus) -> str:
    """Read a file as UTF-8, otherwise as Windows-1252, which becomes a finding."""
    raw = path.read_bytes()
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        corpus.add("other encoding", path.name, "not UTF-8")
        return raw.decode("cp1252", errors="replace")


def clip_seconds(path: Path) -> float:
    """Return the length of a clip in seconds, as its container states it; nothing is decoded.

    Raises MediaError if the clip cannot be opened or states no length.
    """
    check_local(path)
    with open_container(path) as container:
        streams = container.streams
        if not streams.audio and not streams.video:
            raise MediaError(f"{path}: neither sound nor picture", "copy it again")
        lengths = [float(s.duration * s.time_base) for s in streams if s.duration and s.time_base]
        length = container.duration / 1e6 if container.duration else max(lengths, default=0.0)
    if not length > 0:
        raise MediaError(f"{path}: states no length: it was cut short", "copy it again")
    return length


def problem_of(path: Path, error: MediaError | OSError) -> str:
    """Return what is wrong with a clip, without its path."""
    reason = error.reason if isinstance(error, MediaError) else str(error)
    return reason.removeprefix(str(path)).lstrip(": ")
