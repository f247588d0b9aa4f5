"""Media to utterances: from a transcript where there is one, else by recognition.  Times are those of the file."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.core.dialogue import Segmentation, Utterance, Word
from pipeline.core.fingerprints import sha256_of
from pipeline.media.decode import Media
from pipeline.segmentation.alignment import align
from pipeline.segmentation.recognition import Recogniser, RecognitionError
from pipeline.segmentation.speakers_by_face import by_faces, method
from pipeline.segmentation.speakers_by_voice import (
    HOP,
    METHOD,
    SHORTEST,
    assign_speakers,
    in_order,
    voice_changes,
    voice_frames,
    voices,
)
from pipeline.segmentation.transcripts import find_transcript, read_rttm, read_transcript
from pipeline.segmentation.turns import join_short, split_turns

__all__ = ["VERSION", "segment", "segmentation_request", "transcript_source"]

VERSION = 3  # of the rules here: enters every fingerprint
Progress = Callable[[float, float], None]


def segment(
    media: Media,
    *,
    transcript: Path | None = None,
    recogniser: Recogniser | None = None,
    speakers: int | None = None,
    language: str | None = None,
    progress: Progress | None = None,
) -> Segmentation:
    """Utterances of a medium, in order of time, each with text.

    transcript: SRT, VTT, CSV, TextGrid, text, or RTTM (speakers alone); by default the file beside the medium.  Its
    times and speakers win over recognition; voices are clustered only where it names no speaker.
    Raises TranscriptError or RecognitionError.
    """
    path = transcript or find_transcript(media.path)
    source: dict[str, Any] = {"version": VERSION, "kind": "transcript" if path else "recognition"}
    warnings: list[str] = []
    if path:
        source |= {"format": path.suffix.lower().lstrip("."), "sha256": sha256_of(path)}
    if path and path.suffix.lower() != ".rttm":
        said = read_transcript(path, warnings)
        if any(math.isnan(utterance.start) for utterance in said):
            words = _words(media, recogniser, language, source, warnings, progress)
            said, unheard = align(said, words)
            if unheard:
                warnings.append(
                    f"{path.name}: {len(unheard)} of {len(unheard) + len(said)} utterances were not heard "
                    f"in the medium and are left out, the first: {unheard[0][:60]!r}"
                )
        said = _within(said, media, path.name, warnings)
    else:
        words = _words(media, recogniser, language, source, warnings, progress)
        turns = split_turns(words, lambda start, gap, end: _voice_changes(media, start, gap, end))
        said = [
            Utterance(turn[0].start, turn[-1].end, "".join(word.text for word in turn).strip())
            for turn in turns
        ]
        said = [utterance for utterance in said if utterance.text]
    if path and path.suffix.lower() == ".rttm":
        source["speakers"] = {"method": "given"}
        said = _by_turns(said, read_rttm(path))
    elif said and not any(utterance.speaker for utterance in said):
        source["speakers"] = METHOD | {
            "count": speakers,
            "faces": method() if media.has_video else None,
        }
        vectors, seconds = voices(media, said)
        numbers, seen = assign_speakers(vectors, seconds, speakers), 0
        if source["speakers"]["faces"]:
            numbers, seen = by_faces(media, said, numbers, (seconds < SHORTEST).tolist())
        said = [
            replace(u, speaker="" if k < 0 else f"S{k + 1}")
            for u, k in zip(said, in_order(numbers), strict=True)
        ]
        if max(numbers) > 0:
            warnings.append(
                "speakers are approximate: found by clustering voices"
                + (f"; {seen} short utterances by their faces" if seen else "")
            )
    else:
        source["speakers"] = {"method": "given"}
    if source["kind"] == "recognition" or source["format"] == "rttm":
        said = join_short(said)
    if not said:
        warnings.append(
            "no speech found, so there are no utterances"
            if media.has_audio
            else "no audio stream and no transcript, so no speech and no utterances"
        )
    return Segmentation(said, source, warnings)


def _words(
    media: Media,
    recogniser: Recogniser | None,
    language: str | None,
    source: dict[str, Any],
    warnings: list[str],
    progress: Progress | None,
) -> list[Word]:
    if recogniser is None:
        raise ValueError(f"{media.path.name}: no transcript with times, and no recogniser given")
    source["recogniser"] = recogniser.fingerprint
    if language:
        source["language"] = language
    if not media.has_audio:
        return []
    heard = recogniser.recognise(media, language, progress)
    warnings += heard.warnings
    return heard.words


def _within(said: list[Utterance], media: Media, name: str, warnings: list[str]) -> list[Utterance]:
    """In order of time and inside the medium; what had to be changed is said."""
    total = media.duration
    swapped = [replace(u, start=u.end, end=u.start) if u.end < u.start else u for u in said]
    inside = [replace(u, start=max(0.0, u.start), end=min(u.end, total)) for u in swapped]
    kept = [u for u in inside if u.end > u.start]
    ordered = sorted(kept, key=lambda u: (u.start, u.end))
    for count, what in (
        (sum(u.end < u.start for u in said), "end before they begin: their times are exchanged"),
        (
            sum(a != b for a, b in zip(swapped, inside, strict=True)) - (len(inside) - len(kept)),
            f"run past the medium's {total:.1f} s: cut there",
        ),
        (
            len(inside) - len(kept),
            f"lie outside the medium's {total:.1f} s or have no length: left out",
        ),
    ):
        if count > 0:
            warnings.append(f"{name}: {count} of {len(said)} utterances {what}")
    if ordered != kept:
        warnings.append(f"{name}: times go backwards; utterances are put in order of time")
    return ordered


def _voice_changes(media: Media, start: float, gap: float, end: float) -> bool:
    left, right = voice_frames(media, start, gap), voice_frames(media, gap, end)
    if min(len(left), len(right)) * HOP < 0.5:
        return False
    import numpy as np

    return voice_changes(np.concatenate([left, right]), len(left))


def _by_turns(said: list[Utterance], turns: list[tuple[float, float, str]]) -> list[Utterance]:
    """The speaker of the turn that shares most time with each utterance; none where no turn does."""

    def shared(utterance: Utterance, turn: tuple[float, float, str]) -> float:
        return min(utterance.end, turn[1]) - max(utterance.start, turn[0])

    named = []
    for utterance in said:
        best = max(turns, key=lambda turn: shared(utterance, turn), default=None)
        named.append(
            replace(utterance, speaker=best[2])
            if best and shared(utterance, best) > 0
            else utterance
        )
    return named


def segmentation_request(
    path: Path,
    *,
    transcript: Path | None = None,
    recogniser: Recogniser,
    speakers: int | None = None,
    language: str | None = None,
) -> dict[str, Any]:
    """Describe what `segment` would be asked to do with the recording at `path`.

    JSON-able. Two equal requests for the same recording give the same segmentation, so the store
    uses it as a key.

    Raises RecognitionError if the recogniser's weights are missing and there is no transcript.
    """
    transcript = transcript or find_transcript(path)
    try:
        words = recogniser.fingerprint
    except RecognitionError:
        if not transcript:
            raise
        words = None  # a transcript with times needs no recogniser
    return {
        "version": VERSION,
        "transcript": sha256_of(transcript) if transcript else None,
        "kind": transcript.suffix.lower() if transcript else None,
        "recogniser": words,
        "language": language,
        "speakers": speakers,
        "voices": METHOD,
        "faces": method(),
    }


def transcript_source(sha256: str, format: str) -> dict[str, Any]:
    """Return `Segmentation.source` for a transcript that has times and speakers.

    sha256: of the transcript's bytes. format: its suffix in lower case, without the dot.

    >>> transcript_source("9f86d0", "csv")["speakers"]
    {'method': 'given'}
    """
    return {
        "version": VERSION,
        "kind": "transcript",
        "format": format,
        "sha256": sha256,
        "speakers": {"method": "given"},
    }
