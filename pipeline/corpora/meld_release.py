"""MELD.Raw: three transcripts, and one clip for each utterance.

Copies of MELD arrange their folders in several ways; all of them are read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from pathlib import Path

from pipeline.core.counts import counted
from pipeline.corpora.meld_transcripts import EMOTIONS, meld_rows
from pipeline.corpora.release import (
    RawCorpus,
    RawUtterance,
    clip_seconds,
    problem_of,
    read_text,
    release_files,
)
from pipeline.corpora.splits import OFFSETS, SPLITS, expected_dialogues
from pipeline.media.containers import MediaError

__all__ = ["KNOWN", "read_meld_raw", "seconds"]

PARTS = {"train": "train", "dev": "valid", "test": "test"}  # MELD's names of the splits
NAMES = {split: part for part, split in PARTS.items()}
CLIP = re.compile(r"(final_videos_test)?dia(\d+)_utt(\d+)\.mp4", re.IGNORECASE)
TIME = re.compile(r"(\d+):(\d\d):(\d\d)[,.](\d{1,3})")
# faults of the release itself, in every copy
KNOWN = {
    ("train", 125, 3): ("broken clip", "known: no moov atom"),
    ("valid", 110, 7): ("no clip", "known: missing"),
    ("test", 38, 4): ("mis-cut clip", "known: minutes long"),
    ("test", 220, 0): ("mis-cut clip", "known: minutes long"),
    ("train", 309, 0): ("mis-cut clip", "known: minutes long"),
    ("train", 793, 0): ("doubtful clip", "known: audio or alignment doubtful"),
}
DOUBTFUL = {241, 757}  # dialogues whose alignment is doubtful

Key = tuple[str, int, int]  # split, dialogue, utterance


def seconds(text: str) -> float:
    """Convert a time of MELD's transcripts to seconds; NaN for anything else.

    >>> seconds("00:16:16,059")
    976.059
    """
    match = TIME.fullmatch(text.strip())
    if not match:
        return math.nan
    hours, minutes, whole, fraction = match.groups()
    return int(hours) * 3600 + int(minutes) * 60 + int(whole) + float(f"0.{fraction}")


def read_meld_raw(root: Path, probe: bool = True) -> RawCorpus:
    """Read every utterance of the three transcripts with its clip, under the published ids.

    Args:
        probe: open the container of every clip; broken and mis-cut clips are found and not used.
            Nothing is decoded.

    Example::

        read_meld_raw(Path("MELD.Raw"), probe=False).counts()["valid"]  # (114, 1109)
    """
    corpus = RawCorpus("meld")
    files = release_files(root, corpus)
    clips = _clips(files, root, corpus)
    used: set[Key] = set()
    for split in SPLITS:
        path = _transcript(split, files, root, corpus)
        if path is None:
            continue
        read_text(path, corpus)  # reports another encoding
        for key, row in _rows(path, split, corpus).items():
            used.add(key)
            corpus.utterances.append(_utterance(key, row, clips.get(key), probe, corpus))
        dialogues = {u.dialogue for u in corpus.utterances}
        for dialogue in expected_dialogues("meld", split):
            if dialogue not in dialogues:
                item = f"{NAMES[split]} dia{int(dialogue) - OFFSETS[split]}"
                corpus.add("no dialogue", item, f"not in {path.name}", blocking=True)
    for key in sorted(set(clips) - used):
        corpus.add("clip without row", _name(key), str(clips[key].relative_to(root)))
    return corpus


def _name(key: Key) -> str:
    return f"{NAMES[key[0]]} dia{key[1]}_utt{key[2]}"


def _transcript(split: str, files: Iterable[Path], root: Path, corpus: RawCorpus) -> Path | None:
    """Return the transcript of a split; of several, the one nearest to the root."""
    name = f"{NAMES[split]}_sent_emo.csv"
    paths = [path for path in files if path.name.lower() == name]
    if not paths:
        detail = f"MELD's repository has it as data/MELD/{name}"
        corpus.add("no transcript", name, detail, blocking=True)
        return None
    paths.sort(key=lambda path: (len(path.parts), str(path)))
    if len(paths) > 1:
        corpus.notes.append(f"{len(paths)} copies of {name}; {paths[0].relative_to(root)} is used")
    return paths[0]


def _clips(files: Iterable[Path], root: Path, corpus: RawCorpus) -> dict[Key, Path]:
    """Find the clip of each utterance; in the test split `final_videos_test…` is preferred."""
    candidates: dict[Key, list[Path]] = {}
    for path in files:
        name = CLIP.fullmatch(path.name)
        if not name:
            continue
        split = "test" if name[1] else _split_of_folders(path.relative_to(root))
        if split is None:
            corpus.add("unplaced clip", str(path.relative_to(root)))
            continue
        candidates.setdefault((split, int(name[2]), int(name[3])), []).append(path)
    finals = 0
    for key, paths in candidates.items():
        paths.sort(key=lambda p: (not p.name.lower().startswith("final"), len(p.parts), str(p)))
        final = paths[0].name.lower().startswith("final")
        finals += final and len(paths) > 1
        if len(paths) > 1 + final:
            detail = f"{len(paths)}; {paths[0].relative_to(root)} is used"
            corpus.add("several clips", _name(key), detail)
    if finals:
        count = counted(finals, "test clip")
        corpus.notes.append(f"also present as final_videos_test…, which is used: {count}")
    return {key: paths[0] for key, paths in candidates.items()}


def _split_of_folders(path: Path) -> str | None:
    """Return the split that the innermost folder with such a word in its name stands for."""
    for folder in reversed(path.parts[:-1]):
        for word in re.split(r"[^a-z]+", folder.lower()):
            if word in PARTS:
                return PARTS[word]
    return None


def _rows(path: Path, split: str, corpus: RawCorpus) -> dict[Key, dict[str, str]]:
    rows: dict[Key, dict[str, str]] = {}
    for line, row in meld_rows(path):
        try:
            key = (split, int(row["Dialogue_ID"]), int(row["Utterance_ID"]))
            _label(row)
        except (ValueError, TypeError, AttributeError) as error:
            corpus.add("bad row", f"{path.name} row {line}", str(error), blocking=True)
            continue
        if key in rows:
            corpus.add("row again", _name(key), f"{path.name} row {line}")
            continue
        rows[key] = row
    return dict(sorted(rows.items()))


def _label(row: dict[str, str]) -> int:
    return EMOTIONS.index(row["Emotion"].strip().lower())


def _utterance(
    key: Key, row: dict[str, str], clip: Path | None, probe: bool, corpus: RawCorpus
) -> RawUtterance:
    split, dialogue, number = key
    # of the line, by its transcript; NaN if a time is damaged
    duration = seconds(row.get("EndTime") or "") - seconds(row.get("StartTime") or "")
    if not duration > 0:
        times = f"{row.get('StartTime')} to {row.get('EndTime')}"
        corpus.add("bad time", _name(key), times)
    length, blocking = duration, False
    kind, detail = KNOWN.get(key, ("", ""))
    if clip is None:
        known = kind == "no clip"
        kind, detail, blocking = "no clip", detail if known else "row without clip", not known
    elif probe:
        kind, detail, length = _probe(clip, duration, kind, detail)
        blocking = kind == "broken clip" and key not in KNOWN
    if not kind and split != "valid" and dialogue in DOUBTFUL:
        kind, detail = "doubtful clip", "known: audio or alignment doubtful"
    if kind:
        corpus.add(kind, _name(key), detail, blocking)
    return RawUtterance(
        dialogue=str(dialogue + OFFSETS[split]),
        name=f"dia{dialogue}_utt{number}",
        split=split,
        speaker=row["Speaker"].strip(),
        text=row["Utterance"].strip(),
        label=_label(row),
        start=0.0,
        end=length,
        clip=clip if kind in ("", "doubtful clip") else None,
    )


def _probe(clip: Path, duration: float, kind: str, detail: str) -> tuple[str, str, float]:
    """Return the kind and detail of a finding ("" if none) and the length of an existing clip.

    kind, detail: of the known fault. A copy that does not have the fault is used.
    """
    try:
        length = clip_seconds(clip)
    except (MediaError, OSError) as error:
        return "broken clip", detail or problem_of(clip, error), duration
    if duration > 0 and (length > max(3 * duration, duration + 10) or length < duration / 4):
        return "mis-cut clip", f"{length:.0f} s for a line of {duration:.1f} s", length
    if kind in ("broken clip", "no clip", "mis-cut clip"):
        return "", "", length
    return kind, detail, length
