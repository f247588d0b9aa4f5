"""IEMOCAP_full_release: transcriptions, consensus labels, sound and split-screen video."""

from __future__ import annotations

import math
import re
from collections import Counter
from pathlib import Path

from pipeline.core.errors import UsageError
from pipeline.corpora.release import (
    MOTION_CAPTURE,
    RawCorpus,
    RawUtterance,
    clip_seconds,
    problem_of,
    read_text,
    release_files,
)
from pipeline.corpora.splits import SPLITS, expected_dialogues, iemocap_utterances, official_split
from pipeline.media.containers import MediaError

__all__ = ["CODES", "read_iemocap_raw"]

# codes of the six classes; other codes, and xxx (no agreement), are context only
CODES = {"hap": 0, "sad": 1, "neu": 2, "ang": 3, "exc": 4, "fru": 5}
LINE = re.compile(r"(\S+_\S+)\s+\[(\d+\.?\d*)-(\d+\.?\d*)\]:?\s*(.*)")
LABEL = re.compile(r"\[(\d+\.?\d*) - (\d+\.?\d*)\]\t(\S+)\t(\w+)\t\[.*\]")
DIALOGUE = re.compile(r"Ses0[1-5][FM]_(?:impro|script)\w+", re.IGNORECASE)
SKIP = (*MOTION_CAPTURE, "lab", "Attribute", "Categorical", "Self-evaluation")

# (kind of folder, lower-case file name) -> path; endings may be in capitals
Files = dict[tuple[str, str], Path]


def read_iemocap_raw(root: Path, probe: bool = True, left: str = "letter") -> RawCorpus:
    """Read every utterance with its label, video, sound and the speaker's half of the picture.

    Args:
        probe: open the container of every video to find broken ones; nothing is decoded.
        left: which actor sits on the left: "letter" (the one in the dialogue's name, F in Ses01F)
            or "other".

    Example::

        corpus = read_iemocap_raw(Path("IEMOCAP_full_release"), probe=False)
        corpus.counts()["valid"]
    """
    if left not in ("letter", "other"):
        raise UsageError(f"left {left!r}: unknown value", "choose letter or other")
    corpus = RawCorpus("iemocap")
    files: Files = {}
    for path in release_files(root, corpus, SKIP):
        files.setdefault((_folder(path), path.name.lower()), path)
    dialogues = [name for split in SPLITS for name in expected_dialogues("iemocap", split)]
    for dialogue in dialogues:
        corpus.utterances += _dialogue(dialogue, files, probe, left, corpus)
    corpus.notes += _notes(corpus, files, set(dialogues))
    return corpus


def _folder(path: Path) -> str:
    """Return which of the folders that matter a file is in."""
    folders = [part.lower() for part in path.parts[:-1]]
    for name in ("transcriptions", "emoevaluation", "divx"):
        if folders and folders[-1] == name:
            return name
    if "wav" in folders:
        return "sentences" if "sentences" in folders else "dialog"
    return ""


def _notes(corpus: RawCorpus, files: Files, dialogues: set[str]) -> list[str]:
    notes = []
    transcribed = {path.stem for (folder, _), path in files.items() if folder == "transcriptions"}
    others = sorted(name for name in transcribed - dialogues if DIALOGUE.fullmatch(name))
    if others:
        notes.append(
            f"{len(others)} dialogues are in no split and left out: {', '.join(others[:5])}"
        )
    counts = Counter(u.dialogue for u in corpus.utterances if u.label >= 0)
    differing = [name for name, count in iemocap_utterances().items() if count != counts[name]]
    notes.append(
        f"{counts.total()} utterances have a consensus label of the six classes (a complete "
        "release: 7380); the literature's 7433 are those of the published files; "
        f"{len(differing)} dialogues differ"
    )
    return notes


def _dialogue(
    name: str, files: Files, probe: bool, left: str, corpus: RawCorpus
) -> list[RawUtterance]:
    lines = _lines(files.get(("transcriptions", f"{name.lower()}.txt")), corpus)
    if lines is None:
        corpus.add("no dialogue", name, f"no dialog/transcriptions/{name}.txt", blocking=True)
        return []
    labels = _labels(name, files, corpus)
    video, length = _video(name, files, probe, corpus)
    dialogue_sound = files.get(("dialog", f"{name.lower()}.wav"))
    utterances: dict[str, RawUtterance] = {}
    silent = 0
    for line in lines:
        match = LINE.match(line.strip())
        if not match:
            continue  # notes, and lines of breathing or overlap whose id has no _
        utterance, start, end, text = match.groups()
        if utterance in utterances:
            corpus.add("row again", utterance)
            continue
        speaker = utterance.rsplit("_", 1)[1][:1].upper()
        sound = files.get(("sentences", f"{utterance.lower()}.wav"))
        silent += sound is None
        on_left = (speaker == name[5]) == (left == "letter")
        utterances[utterance] = RawUtterance(
            dialogue=name,
            name=utterance,
            split=official_split("iemocap", name) or "",
            speaker=speaker,
            text=text.strip(),
            label=labels.pop(utterance, -1),
            start=float(start),
            end=float(end),
            clip=video,
            sound=sound or dialogue_sound,
            side="left" if on_left else "right",
            whole_sound=sound is None and dialogue_sound is not None,
        )
    last = max((u.end for u in utterances.values()), default=0.0)
    if last > length + 1:
        corpus.add("short video", name, f"{length:.0f} s, the last line ends at {last:.0f} s")
    for utterance in labels:
        corpus.add("label without line", utterance)
    if silent:
        detail = f"{silent} of {len(utterances)} lines have no file in sentences/wav"
        if dialogue_sound is None:
            detail += f", and there is no dialog/wav/{name}.wav"
        corpus.add("no sound", name, detail, blocking=dialogue_sound is None)
    return sorted(utterances.values(), key=lambda u: (u.start, u.end, u.name))


def _video(name: str, files: Files, probe: bool, corpus: RawCorpus) -> tuple[Path | None, float]:
    """Return the video of a dialogue and its length in seconds, infinite if it is not known."""
    video = files.get(("divx", f"{name.lower()}.avi"))
    if video is None:
        corpus.add("no video", name, f"no dialog/avi/DivX/{name}.avi", blocking=True)
    elif probe:
        try:
            return video, clip_seconds(video)
        except (MediaError, OSError) as error:
            corpus.add("broken clip", name, problem_of(video, error), blocking=True)
            return None, math.inf
    return video, math.inf


def _labels(name: str, files: Files, corpus: RawCorpus) -> dict[str, int]:
    """Return utterance -> consensus label; -1 for codes outside the six classes."""
    lines = _lines(files.get(("emoevaluation", f"{name.lower()}.txt")), corpus)
    if lines is None:
        corpus.add("no label", name, f"no dialog/EmoEvaluation/{name}.txt", blocking=True)
        return {}
    matches = [match for line in lines if (match := LABEL.fullmatch(line.strip()))]
    return {match[3]: CODES.get(match[4].lower(), -1) for match in matches}


def _lines(path: Path | None, corpus: RawCorpus) -> list[str] | None:
    return None if path is None else read_text(path, corpus).splitlines()
