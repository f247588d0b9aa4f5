"""IEMOCAP_full_release: transcriptions, consensus labels, sound and split-screen video of 151 dialogues."""

from __future__ import annotations

import math
import re
from collections import Counter
from pathlib import Path

from pipeline.corpora.release import RawCorpus, RawUtterance, clip_seconds, read_text, release_files
from pipeline.corpora.splits import expected_dialogues, iemocap_utterances, official_split
from pipeline.media.containers import MediaError

__all__ = ["CODES", "read_iemocap_raw"]

CODES = {"hap": 0, "sad": 1, "neu": 2, "ang": 3, "exc": 4, "fru": 5}  # others: context only
LINE = re.compile(r"(\S+_\S+)\s+\[(\d+\.?\d*)-(\d+\.?\d*)\]:?\s*(.*)")
LABEL = re.compile(r"\[(\d+\.?\d*) - (\d+\.?\d*)\]\t(\S+)\t(\w+)\t\[.*\]")
DIALOGUE = re.compile(r"Ses0[1-5][FM]_(?:impro|script)\w+", re.IGNORECASE)
SKIP = ("MOCAP_hand", "MOCAP_head", "MOCAP_rotated", "ForcedAlignment", "lab", "Attribute", "Categorical",
        "Self-evaluation")  # fmt: skip


def read_iemocap_raw(root: Path, probe: bool = True, left: str = "letter") -> RawCorpus:
    """Every transcribed line with label, video, sound and the speaker's half of the picture.

    left: who sits left: "letter" (the actor of the dialogue name's letter, F in Ses01F) or "other".
    probe opens each video's container (nothing is decoded).
    """
    if left not in ("letter", "other"):
        raise ValueError(f"left {left!r}: want letter or other")
    corpus = RawCorpus("iemocap")
    files = release_files(root, corpus, SKIP)
    places: dict[
        tuple[str, str], Path
    ] = {}  # (folder, lower-case file name) -> path, any case of endings
    for path in files:
        places.setdefault((_place(path), path.name.lower()), path)
    known = [
        d for split in ("train", "valid", "test") for d in expected_dialogues("iemocap", split)
    ]
    more = sorted(
        {
            path.stem
            for (place, _), path in places.items()
            if place == "transcriptions" and DIALOGUE.fullmatch(path.stem)
        }
        - set(known)
    )
    six = 0
    for dialogue in known:
        found = _dialogue(dialogue, places, probe, left, corpus)
        corpus.utterances += found
        six += sum(u.label >= 0 for u in found)
    if more:
        corpus.notes.append(
            f"{len(more)} dialogues are in no split and left out: {', '.join(more[:5])}"
        )
    own = Counter(u.dialogue for u in corpus.utterances if u.label >= 0)
    other = [d for d, count in iemocap_utterances().items() if count != own[d]]
    corpus.notes.append(
        f"{six} utterances have a consensus label of the six classes (a whole release: 7380); the "
        f"literature's 7433 are those of the published files; {len(other)} dialogues differ"
    )
    return corpus


def _place(path: Path) -> str:
    """Which of the folders that matter a file is in."""
    folders = [part.lower() for part in path.parts[:-1]]
    for name in ("transcriptions", "emoevaluation", "divx"):
        if folders and folders[-1] == name:
            return name
    if "wav" in folders:
        return "sentences" if "sentences" in folders else "dialog"
    return ""


def _dialogue(
    name: str, places: dict[tuple[str, str], Path], probe: bool, left: str, corpus: RawCorpus
) -> list[RawUtterance]:
    lines = _read(places.get(("transcriptions", f"{name.lower()}.txt")), corpus)
    if lines is None:
        corpus.add("no dialogue", name, "no dialog/transcriptions/" + name + ".txt", blocking=True)
        return []
    labels = _labels(
        _read(places.get(("emoevaluation", f"{name.lower()}.txt")), corpus), name, corpus
    )
    video, length = places.get(("divx", f"{name.lower()}.avi")), math.inf  # seconds
    if video is None:
        corpus.add("no video", name, f"no dialog/avi/DivX/{name}.avi", blocking=True)
    elif probe:
        try:
            length = clip_seconds(video)
        except (MediaError, OSError) as error:
            corpus.add(
                "broken clip", name, str(error).removeprefix(str(video)).lstrip(": "), blocking=True
            )
            video = None
    whole = places.get(("dialog", f"{name.lower()}.wav"))
    found: dict[str, RawUtterance] = {}
    silent = []
    for line in lines:
        match = LINE.match(line.strip())
        if not match:
            continue  # notes, and lines of breathing or overlap whose id has no _
        utterance, start, end, text = match.groups()
        if utterance in found:
            corpus.add("row again", utterance)
            continue
        letter = utterance.rsplit("_", 1)[1][:1].upper()
        sound = places.get(("sentences", f"{utterance.lower()}.wav"))
        if sound is None:
            silent.append(utterance)
        found[utterance] = RawUtterance(
            name,
            utterance,
            official_split("iemocap", name) or "",
            letter,
            text.strip(),
            labels.pop(utterance, -1),
            float(start),
            float(end),
            video,
            sound or whole,
            "left" if (letter == name[5]) == (left == "letter") else "right",
            sound is None and whole is not None,
        )
    last = max((u.end for u in found.values()), default=0.0)
    if last > length + 1:
        corpus.add("short video", name, f"{length:.0f} s, the last line ends at {last:.0f} s")
    for utterance in labels:
        corpus.add("label without line", utterance)
    if silent:
        corpus.add(
            "no sound",
            name,
            f"{len(silent)} of {len(found)} lines have no file in sentences/wav"
            + ("" if whole else f", and there is no dialog/wav/{name}.wav"),
            blocking=whole is None,
        )
    return sorted(found.values(), key=lambda u: (u.start, u.end, u.name))


def _labels(lines: list[str] | None, name: str, corpus: RawCorpus) -> dict[str, int]:
    """Utterance -> consensus label; codes outside the six classes and `xxx` (no agreement) are -1."""
    if lines is None:
        corpus.add("no label", name, f"no dialog/EmoEvaluation/{name}.txt", blocking=True)
        return {}
    matches = [match for line in lines if (match := LABEL.fullmatch(line.strip()))]
    return {match[3]: CODES.get(match[4].lower(), -1) for match in matches}


def _read(path: Path | None, corpus: RawCorpus) -> list[str] | None:
    return None if path is None else read_text(path, corpus).splitlines()
