"""MELD.Raw: three transcripts and one clip an utterance, in the folder variants that are about."""

from __future__ import annotations

import math
import re
from pathlib import Path

from pipeline.corpora.meld_transcripts import EMOTIONS, meld_rows
from pipeline.corpora.release import RawCorpus, RawUtterance, clip_seconds, read_text, release_files
from pipeline.corpora.splits import OFFSETS, SPLITS, expected_dialogues
from pipeline.media.containers import MediaError

__all__ = ["read_meld_raw", "seconds"]

PARTS = {"train": "train", "dev": "valid", "test": "test"}  # MELD's names
NAMES = {split: part for part, split in PARTS.items()}
CLIP = re.compile(r"(final_videos_test)?dia(\d+)_utt(\d+)\.mp4", re.IGNORECASE)
TIME = re.compile(r"(\d+):(\d\d):(\d\d)[,.](\d{1,3})")
KNOWN = {  # of the release itself; handled by policy, nothing that a reader could mend
    ("train", 125, 3): ("broken clip", "known: no moov atom"),
    ("valid", 110, 7): ("no clip", "known: missing"),
    ("test", 38, 4): ("mis-cut clip", "known: minutes long"),
    ("test", 220, 0): ("mis-cut clip", "known: minutes long"),
    ("train", 309, 0): ("mis-cut clip", "known: minutes long"),
    ("train", 793, 0): ("doubtful clip", "known: audio or alignment doubtful"),
}
DOUBTFUL = {241, 757}  # dialogues whose alignment is doubtful


def seconds(text: str) -> float:
    """`00:16:16,059` or `0:05:52,435` in seconds; NaN for anything else."""
    found = TIME.fullmatch(text.strip())
    if not found:
        return math.nan
    hours, minutes, whole, part = found.groups()
    return int(hours) * 3600 + int(minutes) * 60 + int(whole) + float(f"0.{part}")


def read_meld_raw(root: Path, probe: bool = True) -> RawCorpus:
    """Every utterance of the three transcripts with its clip, under the published dialogue ids.

    probe opens each clip's container (nothing is decoded): broken and mis-cut clips are found and not used.
    """
    corpus = RawCorpus("meld")
    files = release_files(root, corpus)
    clips = _clips(files, root, corpus)
    used: set[tuple[str, int, int]] = set()
    for split in SPLITS:
        name = f"{NAMES[split]}_sent_emo.csv"
        tables = sorted(
            (p for p in files if p.name.lower() == name), key=lambda p: (len(p.parts), str(p))
        )
        if not tables:
            corpus.add(
                "no transcript",
                name,
                "MELD's repository holds it as data/MELD/" + name,
                blocking=True,
            )
            continue
        if len(tables) > 1:
            corpus.notes.append(
                f"{name} is there {len(tables)} times; {tables[0].relative_to(root)} is read"
            )
        read_text(tables[0], corpus)
        rows = _rows(tables[0], split, corpus)
        for key, row in rows.items():
            used.add(key)
            corpus.utterances.append(_utterance(key, row, clips.get(key), probe, corpus))
        have = {u.dialogue for u in corpus.utterances}
        for dialogue in expected_dialogues("meld", split):
            if dialogue not in have:
                corpus.add(
                    "no dialogue",
                    f"{NAMES[split]} dia{int(dialogue) - OFFSETS[split]}",
                    f"not in {tables[0].name}",
                    blocking=True,
                )
    for key in sorted(set(clips) - used):
        corpus.add("clip without row", _name(key), str(clips[key].relative_to(root)))
    return corpus


def _name(key: tuple[str, int, int]) -> str:
    return f"{NAMES[key[0]]} dia{key[1]}_utt{key[2]}"


def _clips(files: list[Path], root: Path, corpus: RawCorpus) -> dict[tuple[str, int, int], Path]:
    """(split, dialogue, utterance) -> clip; of the test part `final_videos_test…` is preferred."""
    found: dict[tuple[str, int, int], list[Path]] = {}
    for path in files:
        name = CLIP.fullmatch(path.name)
        if not name:
            continue
        folders = [part.lower() for part in reversed(path.relative_to(root).parts[:-1])]
        split = next(
            (
                PARTS[word]
                for part in folders
                for word in re.split(r"[^a-z]+", part)
                if word in PARTS
            ),
            None,
        )
        split = "test" if name[1] else split
        if split is None:
            corpus.add("unplaced clip", str(path.relative_to(root)))
            continue
        found.setdefault((split, int(name[2]), int(name[3])), []).append(path)
    finals = 0
    for key, paths in found.items():
        paths.sort(key=lambda p: (not p.name.lower().startswith("final"), len(p.parts), str(p)))
        final = paths[0].name.lower().startswith("final")
        finals += final and len(paths) > 1
        if len(paths) > 1 + final:
            corpus.add(
                "several clips", _name(key), f"{len(paths)}; {paths[0].relative_to(root)} is used"
            )
    if finals:
        corpus.notes.append(
            f"{finals} test clips are there as final_videos_test… too: those are used"
        )
    return {key: paths[0] for key, paths in found.items()}


def _rows(path: Path, split: str, corpus: RawCorpus) -> dict[tuple[str, int, int], dict[str, str]]:
    rows: dict[tuple[str, int, int], dict[str, str]] = {}
    for line, row in meld_rows(path):
        try:
            key = (split, int(row["Dialogue_ID"]), int(row["Utterance_ID"]))
            EMOTIONS.index(row["Emotion"].strip().lower())
        except (ValueError, TypeError, AttributeError) as error:
            corpus.add("bad row", f"{path.name} row {line}", str(error), blocking=True)
            continue
        if key in rows:
            corpus.add("row again", _name(key), f"{path.name} row {line}")
            continue
        rows[key] = row
    return dict(sorted(rows.items()))


def _utterance(
    key: tuple[str, int, int],
    row: dict[str, str],
    clip: Path | None,
    probe: bool,
    corpus: RawCorpus,
) -> RawUtterance:
    split, dialogue, number = key
    line = seconds(row.get("EndTime") or "") - seconds(row.get("StartTime") or "")
    if not line > 0:  # NaN too
        corpus.add("bad time", _name(key), f"{row.get('StartTime')} to {row.get('EndTime')}")
    kind, detail = KNOWN.get(key, ("", ""))
    length, blocking = line, False
    if clip is None:
        kind, detail, blocking = (
            "no clip",
            detail if kind == "no clip" else "row without clip",
            kind != "no clip",
        )
    elif probe:
        kind, detail, length = _probe(clip, line, kind, detail)
        blocking = kind == "broken clip" and key not in KNOWN
    if not kind and split != "valid" and dialogue in DOUBTFUL:
        kind, detail = "doubtful clip", "known: audio or alignment doubtful"
    if kind:
        corpus.add(kind, _name(key), detail, blocking)
    usable = clip if kind in ("", "doubtful clip") else None
    return RawUtterance(
        str(dialogue + OFFSETS[split]),
        f"dia{dialogue}_utt{number}",
        split,
        row["Speaker"].strip(),
        row["Utterance"].strip(),
        EMOTIONS.index(row["Emotion"].strip().lower()),
        0.0,
        length,
        usable,
    )


def _probe(clip: Path, line: float, kind: str, detail: str) -> tuple[str, str, float]:
    """Finding and length of a clip that is there.  A copy better than the release's known fault counts as good."""
    try:
        length = clip_seconds(clip)
    except (MediaError, OSError) as error:
        return "broken clip", detail or str(error).removeprefix(str(clip)).lstrip(": "), line
    if line > 0 and (length > max(3 * line, line + 10) or length < line / 4):
        return "mis-cut clip", f"{length:.0f} s for a line of {line:.1f} s", length
    return (
        ("", "", length)
        if kind in ("broken clip", "no clip", "mis-cut clip")
        else (kind, detail, length)
    )
