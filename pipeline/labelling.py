"""Label one recording: a file in, a `Result` with the emotion of every utterance out."""

from __future__ import annotations

import html
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline import __version__
from pipeline.core.arguments import number_between, number_of_speakers, path_of
from pipeline.core.control_characters import escape_bytes
from pipeline.core.counts import utterances_at
from pipeline.core.dialogue import Dialogue, Segmentation, Utterance
from pipeline.core.errors import MercWarning, UsageError
from pipeline.core.progress import Stage, allow_time, no_stage
from pipeline.core.scratch import scratch_folder
from pipeline.features.compute import DialogueFeatures, compute_features
from pipeline.features.overlap import LIKELY
from pipeline.features.profiles import build_extractors, check_device, options_of
from pipeline.media.decode import Media, MediaError, open_media
from pipeline.media.feed import IDLE, Feed
from pipeline.media.inputs import check_transcript
from pipeline.media.live import Live
from pipeline.segmentation.known_speakers import KnownSpeakers
from pipeline.segmentation.languages import is_english
from pipeline.segmentation.live import spoken_parts
from pipeline.segmentation.recognition import Recogniser
from pipeline.segmentation.segment import recognise_utterances, segment
from pipeline.segmentation.turns import join_short
from pipeline.training.evidence import Evidence, conflicts, describe, weigh
from pipeline.training.predictor import PRIORS, WINDOW, Predictor

if TYPE_CHECKING:
    import pandas

__all__ = ["DEFAULT_MODEL", "Labeller", "Result"]

DEFAULT_MODEL = "merc-offline"
NO_KEY_FRAME = "parts of the picture are left out, because its key frames are too far apart"
COLUMNS = ("start", "end", "speaker", "text", "emotion", "confidence")


@dataclass(frozen=True)
class Result:
    """The labelled utterances of one recording.

    `to_dict()` is the content of the JSON file, which every export format starts from. In a
    notebook a result shows itself as a table.

    >>> result = Labeller().label("examples/dialogue.mp4")
    >>> result.utterances[0]["emotion"]
    'joy'
    >>> result.save("dialogue.eaf", overwrite=True)
    PosixPath('dialogue.eaf')
    """

    content: dict[str, Any]
    recording: Path | None = None  # where it lies: ELAN files link to it

    @property
    def utterances(self) -> list[dict[str, Any]]:
        """One dict per utterance: start, end, speaker, text, emotion, confidence, ..."""
        return self.content["utterances"]

    @property
    def warnings(self) -> list[str]:
        """What a reader of these labels should know."""
        return self.content["warnings"]

    def to_dict(self) -> dict[str, Any]:
        """Return the content of the JSON file."""
        return self.content

    def to_dataframe(self) -> pandas.DataFrame:
        """Return one row per utterance.

        Columns: start and end (seconds), speaker, text, emotion, confidence, p_<label> for each
        label, has_<modality> for each modality, uncertain, agree (whether the modalities say the
        same), decisive (the modalities without which the emotion would be another), and for each
        modality emotion_<modality> (what it says alone) and shift_<modality> (by how much it
        raises the probability of the emotion); face_confidence (that the face is the speaker's),
        edited (the fields that a person has changed, if there are any; an emotion that a person
        has chosen has no confidence), and the lists boxes (where the face is) and words (with
        their times), as in the JSON file.
        """
        import pandas

        from pipeline.exports.rows import columns, flat_rows

        frame = pandas.DataFrame(flat_rows(self.content), columns=columns(self.content))
        faces = [utterance["modalities"].get("visual", {}) for utterance in self.utterances]
        frame["boxes"] = pandas.Series([face.get("boxes", []) for face in faces], dtype=object)
        words = [utterance.get("words", []) for utterance in self.utterances]
        frame["words"] = pandas.Series(words, dtype=object)
        return frame

    def save(self, path: str | Path, overwrite: bool = False) -> Path:
        """Write the result in the format that the file's extension names; return the path.

        Raises MercError for an unknown extension, or if the file exists and merc did not write it.
        """
        from pipeline.exports import save

        return save(self.content, Path(path), overwrite, recording=self.recording)

    def _repr_html_(self) -> str:
        title = f"{self.content['media']} ({self.content['model']})"
        frame = self.to_dataframe()[list(COLUMNS)]
        table = frame.to_html(index=False, float_format="{:.2f}".format, border=0)
        warnings = "".join(f"<li>{html.escape(warning)}</li>" for warning in self.warnings)
        return f"<h4>{html.escape(title)}</h4>{table}" + (f"<ul>{warnings}</ul>" * bool(warnings))


class Labeller:
    """A trained model with the extractors of its features; it loads once and labels many.

    Args:
        model: a run folder of `merc train`, a model file, or `merc-offline`.
        whisper: the Whisper model that recognises speech: `tiny.en`, `base` (many languages;
            extra `multilingual`), a folder, or another name, which needs a network.
        language: language spoken, such as "de"; default: English, or what a multilingual Whisper
            model detects.
        speakers: number of speakers, if known.
        prior: "train" (classes as frequent as in training), "uniform", or "auto": "train" for
            utterances with words, else "uniform".
        min_confidence: utterances below it are marked as uncertain, 0 to 1.
        device: "cpu", "cuda" or "cuda:N".
        text_model: folder of the fine-tuned text encoder that the run was trained with. A run
            knows its checksum, not its place.

    Raises MercError if the run was trained on features that these extractors do not make.

    >>> labeller = Labeller(speakers=2)
    >>> [u["speaker"] for u in labeller.label("examples/dialogue.mp4").utterances][:3]
    ['S1', 'S2', 'S1']
    """

    def __init__(
        self,
        model: str | Path = DEFAULT_MODEL,
        *,
        whisper: str = "tiny.en",
        language: str | None = None,
        speakers: int | None = None,
        prior: str = "auto",
        min_confidence: float = 0.0,
        device: str = "cpu",
        text_model: str | Path | None = None,
    ) -> None:
        if prior not in PRIORS:
            raise UsageError(f"unknown prior {prior!r}", f"choose {' or '.join(PRIORS)}")
        check_device(device)
        self.prior, self.language = prior, language
        self.speakers = number_of_speakers(speakers)
        self.min_confidence = number_between("minimum confidence", min_confidence, 0, 1)
        self.predictor = Predictor.load(model, device)
        self.profile = self.predictor.profile
        # refuse unknown features before any other model is loaded
        self.predictor.check(self.predictor.fingerprints)
        options = options_of(self.predictor.fingerprints, device)
        if text_model:
            options = replace(options, text_model=str(text_model))
        modalities = tuple(self.predictor.widths)
        self.extractors = build_extractors(self.profile, options, modalities)
        self.predictor.check({name: e.fingerprint for name, e in self.extractors.items()})
        self.recogniser = Recogniser(whisper, language, self.profile)

    def label(
        self,
        path: str | Path,
        transcript: str | Path | None = None,
        stage: Stage = no_stage,
    ) -> Result:
        """Label one recording.

        Args:
            path: a video or sound file.
            transcript: subtitle or annotation file. Default: a file next to the recording with
                the same name; otherwise speech is transcribed.
            stage: is called with the name of each stage as it begins.

        Raises MercError or OSError.
        """
        path = path_of("recording", path)
        given = path_of("transcript", transcript) if transcript else None
        check_transcript(given, [])
        with open_media(path) as media:
            allow_time(stage, media.duration)
            stage("utterances")
            segmentation = segment(
                media,
                transcript=given,
                recogniser=self.recogniser,
                speakers=self.speakers,
                language=self.language,
                stage=stage,
            )
            features = compute_features(media, segmentation, self.extractors, stage)
            stage("emotions")
            dialogue = Dialogue.from_segmentation(path.stem, segmentation, features.vectors)
            evidence = weigh(self.predictor, dialogue, self.prior)
            return Result(self._content(media, segmentation, features, evidence), path)

    def follow(
        self,
        source: str | Path,
        *,
        idle: float = IDLE,
        warn: Callable[[MercWarning], None] | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Label a recording while it is made: yield each utterance when it has ended.

        Args:
            source: a growing file, or "-" for standard input.
            idle: seconds without growth after which a file counts as complete.
            warn: is called with each warning.

        Speakers, normalisation and emotions depend on what came before only, and on the latest
        128 utterances at most. Memory does not grow.

        Yields:
            What the lines of JSON Lines hold: media, model, profile, utterance (its number), and
            the fields of an utterance.

        Raises MercError or OSError.

        >>> rows = Labeller(speakers=2).follow("examples/dialogue.mp4", idle=0)
        >>> next(rows)["text"]
        'I got the job, I start on Monday, and I am so happy.'
        """
        path_of("recording", source)
        idle = number_between("idle", idle, 0)
        tell = warn or _ignore
        speakers = KnownSpeakers(self.speakers)
        past: deque[tuple[Utterance, dict[str, np.ndarray]]] = deque(maxlen=WINDOW)
        told: set[str] = set()  # what holds for more than a part, such as its language
        number = 0
        with ExitStack() as stack:
            feed = stack.enter_context(Feed(source, idle))
            live = stack.enter_context(Live(feed))
            path = stack.enter_context(scratch_folder("merc-live-")) / f"{feed.name}.mkv"
            for start, end in spoken_parts(live):
                zero = live.write(path, end)
                try:
                    found, features = self._read_part(path, start - zero, end - zero, speakers)
                except MediaError as error:
                    found = Segmentation([], {}, [MercWarning("", error.reason)])
                if live.picture_lost:
                    found.warnings.append(MercWarning("", NO_KEY_FRAME))
                for text in [text for text in live.warnings if text not in told]:
                    told.add(text)
                    tell(MercWarning(feed.name, text))
                foreign = self._foreign_words(found, "")
                for warning in (*found.warnings, *foreign):
                    if warning.text not in told:
                        tell(replace(warning, subject=f"{feed.name} at {start:.1f} s"))
                told.update(warning.text for warning in foreign)
                told.add(self.recogniser.doubt_of_language(self.language))
                for index, utterance in enumerate(found.utterances):
                    rows = {name: vectors[index] for name, vectors in features.vectors.items()}
                    past.append((_moved(utterance, zero), rows))
                    common = {"media": feed.name, "model": self.predictor.name}
                    described = self._latest(past, features.of(index, zero))
                    yield common | {"profile": self.profile, "utterance": number, **described}
                    number += 1
            at_end = [text for text in live.warnings if text not in told]
            at_end += [f"breaks off at {live.now:.1f} s: {text}" for text in live.errors[:1]]
            if feed.problem:
                at_end.append(f"{feed.problem}; what follows {live.now:.1f} s is not labelled")
            if not number:
                at_end.append(f"no speech found in {live.now:.1f} s")
            for text in at_end:
                tell(MercWarning(feed.name, text))

    def _read_part(
        self, path: Path, start: float, end: float, speakers: KnownSpeakers
    ) -> tuple[Segmentation, DialogueFeatures]:
        """Find the utterances between two times of a part of a live recording."""
        with open_media(path) as media:
            found = recognise_utterances(media, self.recogniser, self.language)
            inside = [u for u in found.utterances if start <= (u.start + u.end) / 2 < end]
            found = replace(found, utterances=join_short(speakers.name(media, inside)))
            features = compute_features(media, found, self.extractors)
            found.warnings.extend(media.warnings)
            return found, features

    def _latest(
        self,
        past: Sequence[tuple[Utterance, dict[str, np.ndarray]]],
        modalities: dict[str, dict[str, Any]],
    ) -> dict[str, Any]:
        """Describe the last utterance by itself and those before it."""
        segmentation = Segmentation([utterance for utterance, _ in past], {})
        features = {name: np.stack([rows[name] for _, rows in past]) for name in past[-1][1]}
        dialogue = Dialogue.from_segmentation("live", segmentation, features)
        evidence = weigh(self.predictor, dialogue, self.prior)
        return self._utterance(past[-1][0], len(past) - 1, evidence, modalities)

    def _content(
        self,
        media: Media,
        segmentation: Segmentation,
        features: DialogueFeatures,
        evidence: Evidence,
    ) -> dict[str, Any]:
        utterances = []
        for index, utterance in enumerate(segmentation.utterances):
            utterances.append(self._utterance(utterance, index, evidence, features.of(index)))
        subject = media.path.name
        warnings = [*media.warnings, *segmentation.warnings, *self._substitutes(subject)]
        warnings += self._foreign_words(segmentation, subject)
        starts = [utterance.start for utterance in segmentation.utterances]
        warnings += conflicts(evidence, starts, self.predictor.labels, subject)
        warnings += _overlaps(features, starts, subject)
        return {
            "media": escape_bytes(media.path.name),
            "sha256": media.sha256,
            "duration": round(media.duration, 3),
            "merc": __version__,
            "model": self.predictor.name,
            "profile": self.profile,
            "prior": self.prior,
            "min_confidence": self.min_confidence,
            "sound": media.sound_source,
            "picture": media.has_video,
            "segmentation": segmentation.source,
            "fingerprints": features.fingerprints,
            "labels": list(self.predictor.labels),
            "warnings": [escape_bytes(str(warning)) for warning in warnings],
            "utterances": utterances,
        }

    def _utterance(
        self, utterance: Utterance, index: int, evidence: Evidence, modalities: dict[str, Any]
    ) -> dict[str, Any]:
        decided = describe(evidence, index, self.predictor.labels)
        for name, about in decided.pop("modalities").items():
            modalities[name] = modalities[name] | about
        return {
            "start": round(utterance.start, 3),
            "end": round(utterance.end, 3),
            "speaker": utterance.speaker,
            "text": utterance.text,
            **_words(utterance),
            **decided,
            "uncertain": decided["confidence"] < self.min_confidence,
            "modalities": modalities,
        }

    def _foreign_words(self, segmentation: Segmentation, subject: str) -> list[MercWarning]:
        """Warn if the words are not English, which the text encoders that merc knows read."""
        language = self.language or segmentation.source.get("language")
        if is_english(language) or not segmentation.utterances or "text" not in self.extractors:
            return []
        text = (
            f"the words are in {language!r}, but the model learned what words say from English: "
            f"compare with what voice and face say alone"
        )
        return [MercWarning(subject, text)]

    def _substitutes(self, subject: str) -> list[MercWarning]:
        """Warn if another face detector is used than in training."""
        if "visual" not in self.extractors:
            return []
        trained = ((self.predictor.fingerprints or {}).get("visual") or {}).get("options", {})
        used = self.extractors["visual"].fingerprint["options"]["detector"]
        if used == trained.get("detector"):
            return []
        text = f"faces are found by {used}; the model was trained with {trained.get('detector')}"
        return [MercWarning(subject, text)]


def _overlaps(
    features: DialogueFeatures, starts: Sequence[float], subject: str
) -> list[MercWarning]:
    """Warn where two people probably speak at once. starts: seconds."""
    rows = features.quality.get("audio", [{}] * len(starts))
    pairs = zip(starts, rows, strict=True)
    likely = [start for start, row in pairs if row.get("overlap", 0) >= LIKELY]
    if not likely:
        return []
    text = (
        f"two people probably speak at once in {utterances_at(likely)}: "
        f"voice and words may be those of both"
    )
    return [MercWarning(subject, text)]


def _ignore(warning: MercWarning) -> None:
    """Take a warning that nobody asked for."""


def _moved(utterance: Utterance, seconds: float) -> Utterance:
    """Return the utterance later by some seconds."""
    words = [replace(w, start=w.start + seconds, end=w.end + seconds) for w in utterance.words]
    start, end = utterance.start + seconds, utterance.end + seconds
    return replace(utterance, start=start, end=end, words=tuple(words))


def _words(utterance: Utterance) -> dict[str, Any]:
    """Return the recognised words with their times; nothing if they come from a transcript."""
    words = [
        {
            "start": round(word.start, 3),
            "end": round(word.end, 3),
            "text": word.text.strip(),
            "probability": round(word.probability, 3),
        }
        for word in utterance.words
    ]
    return {"words": words} if words else {}
