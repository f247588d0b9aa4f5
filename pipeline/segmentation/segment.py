"""Segment a recording into utterances, from a transcript or by speech recognition."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.core.dialogue import Segmentation, Utterance
from pipeline.core.errors import MercError, MercWarning
from pipeline.core.fingerprints import sha256_of
from pipeline.core.progress import Stage, no_stage
from pipeline.media.decode import Media
from pipeline.media.frame_rate import frame_rate_of
from pipeline.segmentation.alignment import align
from pipeline.segmentation.recognition import Recogniser, Recognition, RecognitionError
from pipeline.segmentation.speakers import (
    assign_by_turns,
    assign_by_voice_and_face,
    with_other_turns,
)
from pipeline.segmentation.speakers_at_once import with_second_speakers
from pipeline.segmentation.speakers_by_channel import (
    CHANNEL_METHOD,
    by_channel,
    channel_changes,
    separate_channels,
)
from pipeline.segmentation.speakers_by_face import face_method
from pipeline.segmentation.speakers_by_voice import VOICE_METHOD, renumber
from pipeline.segmentation.transcripts import (
    TranscriptError,
    find_transcript,
    read_rttm,
    read_transcript,
)
from pipeline.segmentation.turns import (
    WORDLESS,
    close_gaps,
    join_short,
    split_turns,
    with_wordless,
)
from pipeline.segmentation.voice_activity import NO_SPEECH, Speech, quietest, stretches

__all__ = [
    "VERSION",
    "recognise_utterances",
    "segment",
    "segmentation_request",
    "transcript_source",
]

VERSION = 11  # of the rules of this package; part of every fingerprint


def segment(
    media: Media,
    *,
    transcript: Path | None = None,
    recogniser: Recogniser | None = None,
    speakers: int | None = None,
    language: str | None = None,
    stage: Stage = no_stage,
) -> Segmentation:
    """Segment a recording into utterances with text, in order of time.

    transcript: a file in one of the formats in `transcripts.READERS`, or RTTM (speakers only);
        default: a file next to the recording with the same name. Its times and speakers are used
        as they are.
    recogniser: recognises speech if there is no transcript, or one without times.
    speakers: their number, if known. Voices are clustered if the transcript names no speaker.
    stage: called as stage("utterances", done) while speech is recognised.

    >>> from pipeline.media.decode import open_media
    >>> with open_media("examples/dialogue.mp4") as media:
    ...     segmentation = segment(media, recogniser=Recogniser(), speakers=2)

    Raises TranscriptError or RecognitionError, and MercError if a recogniser is needed but None.
    """
    near: list[MercWarning] = []
    path = transcript or find_transcript(media.path, near, language)
    rttm = path is not None and path.suffix.lower() == ".rttm"
    run = _Run(media, recogniser, language, stage, _initial_source(path), near)
    if path and (name := _chosen_by(media.path, path)):
        run.source["recording"] = name
    if path and not rttm:
        utterances = run.from_transcript(path)
    else:
        utterances = run.from_recognition()
    if path and rttm:
        turns = read_rttm(path, media.path.stem, run.warnings)
        utterances = assign_by_turns(utterances, turns)
        utterances, unused = with_other_turns(utterances, turns)
        if unused:
            run.warn(f"{unused} of {len(turns)} turns hold too little speech to use", path.name)
    if rttm or not utterances or any(utterance.speaker for utterance in utterances):
        run.source["speakers"] = {"method": "given"}
        unnamed = sum(not utterance.speaker for utterance in utterances)
        if unnamed:
            run.warn(
                f"{unnamed} of {len(utterances)} utterances name no speaker",
                path.name if path else "",
            )
    else:
        utterances = run.find_speakers(utterances, speakers)
    if rttm or not path:
        utterances = join_short(utterances)
    if not path:
        utterances = with_second_speakers(media, run.speech.talk, utterances)
    run.warn_of_wordless(utterances)
    if not utterances:
        heard = run.speech.regions
        found = "words could be recognised in its speech" if heard else "speech found"
        run.warn(
            f"no {found}, so there are no utterances"
            if media.has_audio
            else "no speech (no audio stream) and no transcript, so there are no utterances"
        )
    return Segmentation(utterances, run.source, run.warnings)


def recognise_utterances(
    media: Media, recogniser: Recogniser, language: str | None = None
) -> Segmentation:
    """Find the utterances of a recording by recognition alone; their speakers are not named."""
    run = _Run(media, recogniser, language, no_stage, _initial_source(None))
    utterances = run.from_recognition()
    run.warn_of_wordless(utterances)
    return Segmentation(utterances, run.source, run.warnings)


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
    transcript = transcript or find_transcript(path, language=language)
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
        "recording": _chosen_by(path, transcript) if transcript else None,
        "recogniser": words,
        "language": language,
        "speakers": speakers,
        "voices": VOICE_METHOD,
        "faces": face_method(),
    }


def _chosen_by(path: Path, transcript: Path) -> str | None:
    """Return the name by which a recording is found in a transcript that may be of several."""
    names = {".rttm": path.stem} | dict.fromkeys((".json", ".jsonl", ".parquet"), path.name)
    return names.get(transcript.suffix.lower())


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


@dataclass
class _Run:
    """The steps of one segmentation, which add to its source and its warnings."""

    media: Media
    recogniser: Recogniser | None
    language: str | None
    stage: Stage
    source: dict[str, Any]
    warnings: list[MercWarning] = field(default_factory=list)
    speech: Speech = NO_SPEECH  # when utterances were recognised

    def warn(self, text: str, subject: str = "") -> None:
        self.warnings.append(MercWarning(subject or self.media.path.name, text))

    def from_transcript(self, path: Path) -> list[Utterance]:
        """Read the utterances of a transcript; recognise speech if they have no times.

        Raises TranscriptError if no utterance can be used.
        """
        utterances = read_transcript(
            path,
            self.warnings,
            frame_rate=frame_rate_of(self.media.path),
            duration=self.media.duration,
            recording=self.media.path.name,
        )
        if any(math.isnan(utterance.start) for utterance in utterances):
            total = len(utterances)
            utterances, unmatched = align(utterances, self._recognise().words)
            if not utterances:
                raise TranscriptError(
                    f"{path}: none of its {total} utterances was recognised in the recording",
                    "check that it belongs to this recording, or provide a transcript with times",
                )
            if unmatched:
                self.warn(
                    f"{len(unmatched)} of {total} utterances were not recognised in the recording "
                    f"and are left out, the first of them {unmatched[0][:60]!r}",
                    path.name,
                )
            self.warn(
                "times are approximate: the transcript has none, so its words were aligned with "
                "recognised words",
                path.name,
            )
        fitted = self._fit_times(utterances, path.name)
        if not fitted:
            first = utterances[0].start
            raise TranscriptError(
                f"{path}: none of its {len(utterances)} utterances lies within the recording's "
                f"{self.media.duration:.1f} s; the first starts at {first:.1f} s",
                "check that it belongs to this recording, and that its times are in seconds "
                "from the recording's start",
            )
        return fitted

    def from_recognition(self) -> list[Utterance]:
        """Recognise speech and split it into utterances."""

        recognition = self._recognise()
        words = recognition.words
        speech = self.speech = recognition.speech
        separate = separate_channels(self.media, [(word.start, word.end) for word in words])

        def change(start: float, time: float, end: float) -> float:
            if separate:
                return float(channel_changes(self.media, time))
            return speech.talk.change(start, time, end)

        utterances = []
        turns = split_turns(words, change)
        spans = close_gaps(
            [(turn[0].start, turn[-1].end) for turn in turns],
            sorted([*speech.regions, *speech.certain]),
            partial(quietest, self.media),
        )
        for turn, (start, end) in zip(turns, spans, strict=True):
            text = "".join(word.text for word in turn).strip()
            if text:
                utterances.append(Utterance(start, end, text, words=tuple(turn)))
        certain = [(parts[0][0], parts[-1][1]) for parts in stretches(speech.certain)]
        return with_wordless(utterances, certain, change)

    def warn_of_wordless(self, utterances: list[Utterance]) -> None:
        """Warn of recognised speech without words, and of what may be speech."""
        wordless = [u for u in utterances if u.text == WORDLESS] if self.speech.regions else []
        if wordless:
            seconds = sum(u.end - u.start for u in wordless)
            second = sum(
                any(u is not v and u.start < v.end and v.start < u.end for v in utterances)
                for u in wordless
            )
            count = f"{len(wordless)} of {len(utterances)} utterances"
            if second:
                count += f"; during {second} of them, another person speaks, too"
            self.warn(
                f"no words were recognised in {seconds:.1f} s of speech, whose text is "
                f"{WORDLESS!r} ({count})"
            )
        silent = sum(
            end - start
            for start, end in self.speech.faint
            if not any(u.start < end and start < u.end for u in utterances)
        )
        if silent:
            self.warn(
                f"no reliable words in {silent:.1f} s that may be faint speech or noise; there are "
                "no utterances at those times"
            )

    def find_speakers(self, utterances: list[Utterance], count: int | None) -> list[Utterance]:
        """Name speakers by their channels, or voices and, for short utterances, faces."""
        spans = [(utterance.start, utterance.end) for utterance in utterances]
        if separate_channels(self.media, spans):
            channels = by_channel(self.media, utterances)
            if count in (None, len(set(channels))):
                self.source["speakers"] = CHANNEL_METHOD | {"count": count}
                return [
                    replace(utterance, speaker=f"S{number + 1}")
                    for utterance, number in zip(utterances, renumber(channels), strict=True)
                ]
        faces = face_method() if self.media.has_video else None
        self.source["speakers"] = VOICE_METHOD | {"count": count, "faces": faces}
        result = assign_by_voice_and_face(self.media, utterances, count, faces is not None)
        if count != 1 and any(utterance.speaker for utterance in result.utterances):
            text = "speakers are approximate: found by clustering voices"
            if result.by_face:
                text += f"; {result.by_face} short utterances by their faces"
            self.warn(text)
        found = len({utterance.speaker for utterance in result.utterances} - {""})
        if count and found != count:
            self.warn(f"{found} of {count} speakers were found")
        return result.utterances

    def _recognise(self) -> Recognition:
        if self.recogniser is None:
            raise MercError(
                f"{self.media.path.name}: no transcript with times, and no recogniser",
                "provide a transcript with times, or a recogniser",
            )
        self.source["recogniser"] = self.recogniser.fingerprint
        if self.language:
            self.source["language"] = self.language
        if not self.media.has_audio:
            return Recognition([], NO_SPEECH, self.language, [])

        def progress(done: float) -> None:
            self.stage("utterances", done)

        recognition = self.recogniser.recognise(self.media, self.language, progress)
        self.warnings += recognition.warnings
        if recognition.language:
            self.source["language"] = recognition.language
        return recognition

    def _fit_times(self, utterances: list[Utterance], subject: str) -> list[Utterance]:
        """Put utterances in order of time and inside the recording, and warn of every change."""
        end = self.media.duration
        forward, inside = [], []
        for u in utterances:
            u = replace(u, start=u.end, end=u.start) if u.end < u.start else u
            forward.append(u)
            inside.append(replace(u, start=max(0.0, u.start), end=min(u.end, end)))
        remaining = [u for u in inside if u.end > u.start]
        ordered = sorted(remaining, key=lambda u: (u.start, u.end))

        swapped = sum(u.end < u.start for u in utterances)
        removed = len(inside) - len(remaining)
        kept = [u for u, v in zip(forward, inside, strict=True) if v.end > v.start]
        for count, what in (
            (swapped, "end before they start; their times were swapped"),
            (sum(u.start < 0 for u in kept), "start before 0 s and were cut there"),
            (
                sum(u.end > end for u in kept),
                f"extend beyond the recording's {end:.1f} s and were cut there",
            ),
            (removed, f"lie outside the recording's {end:.1f} s or are empty, and were left out"),
        ):
            if count > 0:
                self.warn(f"{count} of {len(utterances)} utterances {what}", subject)
        if ordered != remaining:
            self.warn("times go backwards; utterances were sorted by time", subject)
        return ordered


def _initial_source(path: Path | None) -> dict[str, Any]:
    """Describe where the utterances come from; the steps add to it."""
    source: dict[str, Any] = {"version": VERSION, "kind": "transcript" if path else "recognition"}
    if path:
        source |= {"format": path.suffix.lower().lstrip("."), "sha256": sha256_of(path)}
    return source
