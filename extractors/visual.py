"""Visual features: the speaker's face through an utterance as 342 numbers.

Faces are detected and followed, the one that speaks is chosen, and its embeddings are averaged,
sharp ones with more weight.
This takes one pass over the frames of a recording of any length. Only the faces of utterances that
are in progress stay in memory, as small grey crops, at most 100 per face. The network runs on the
chosen face only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from extractors.densenet import DIM, fold_norms, load_face_net
from extractors.detectors import find_detector
from extractors.face_span import FaceSpan, SpanBox, SpanFace, open_spans
from extractors.faces import CROP_SIDE, DETECT_EVERY, MARGIN, MIN_SIDE, FaceTracker, crop_face
from extractors.precision import full_precision
from extractors.sharpness import sharpness
from extractors.speaker_faces import FaceIdentities, Sighting, choose_faces
from extractors.speaking import MouthReader, choose_speaker, speaker_scores
from extractors.threads import one_thread
from pipeline.core.errors import MercError
from pipeline.core.fingerprints import sha256_of
from pipeline.core.weights import check_weights

__all__ = ["CHOICES", "WEIGHTS", "FaceReading", "VisualExtractor"]

WEIGHTS = Path(__file__).parent / "weights" / "face.safetensors"
CHOICES = ("auto", "largest", "mean")
# Raise when the same weights give other features, because of a change here, in detectors.py,
# faces.py, second_look.py, sharpness.py, face_span.py or speaking.py.
VERSION = "2"
RATE = 16000  # Hz, of sound that a function returns
BATCH = 32  # crops
MAX_HELD = 20_000  # crops, 46 MB, of utterances whose face is not chosen yet

Frames = Iterable[tuple[float, np.ndarray]]
Sound = tuple[np.ndarray, int] | Callable[[float, float], np.ndarray] | None


@dataclass(frozen=True)
class FaceReading:
    """The face of one utterance.

    vector: (342,) float32, or None, and then `missing` says why.
    """

    vector: np.ndarray | None
    missing: str | None = None
    frames: int = 0  # in the utterance
    faces: int = 0  # of them with the chosen face
    used: int = 0  # of them in the mean
    tracks: int = 0  # faces followed
    confidence: float = 0.0  # that the chosen face is the speaker's
    score: float = 0.0  # mean detector score, 0 to 1
    side: float = 0.0  # mean longer side of the box, pixels
    # mean centre of the box, as shares of the frame's width and height
    centre: tuple[float, float] | None = None
    detector: str = ""
    boxes: tuple[SpanBox, ...] = ()  # of the chosen face, about every half second
    # degrees, counter-clockwise, by which the faces of the recording must be turned to be upright
    turned: int = 0
    # (144,) mean crop at 12 x 12 pixels, of mean 0 and length 1
    picture: np.ndarray | None = field(default=None, repr=False)

    def quality(self) -> dict[str, Any]:
        """Return all but the vector, the boxes and the picture (JSON-able)."""
        quality = {
            "missing": self.missing,
            "frames": self.frames,
            "faces": self.faces,
            "used": self.used,
            "tracks": self.tracks,
            "confidence": round(self.confidence, 3),
            "score": round(self.score, 3),
            "side": round(self.side, 1),
            "centre": self.centre and [round(share, 3) for share in self.centre],
            "detector": self.detector,
        }
        return quality | ({"turned": self.turned} if self.turned else {})


class VisualExtractor:
    """Compute face features of utterances, and embeddings and emotions of single faces.

    weights: a file written by `merc pretrain visual`; default: the weights that ship with merc.
    detector: see `find_detector`. choose: which face of several to use: "auto" (the one that
    speaks), "largest", or "mean" (the mean of all).

    Raises MercError if the weights or the detector are missing.
    """

    dim = DIM

    def __init__(
        self,
        weights: Path | None = None,
        detector: str = "auto",
        choose: str = "auto",
        device: str = "cpu",
    ) -> None:
        if choose not in CHOICES:
            raise MercError(
                f"choice of face {choose!r} is unknown", f"choose one of {', '.join(CHOICES)}"
            )
        path = Path(weights or WEIGHTS)
        if not path.is_file():
            raise MercError(
                f"{path}: the weights of the face network are missing",
                "install merc again, or train them with `merc pretrain visual`",
            )
        if path == WEIGHTS:
            check_weights("face network", path)
        self.choose, self.device = choose, device
        self._net = fold_norms(load_face_net(path)).to(device)
        self._detector = find_detector(detector)
        self.fingerprint: dict[str, Any] = {
            "extractor": "densenet-ferplus",
            "version": VERSION,
            "weights": sha256_of(path),
            "options": {
                "choose": choose,
                "detector": self._detector.fingerprint,
                "every": DETECT_EVERY,
                "margin": MARGIN,
                "crop": CROP_SIDE,
                "smallest": MIN_SIDE,
            },
        }

    def extract(
        self, frames: Frames, spans: Sequence[tuple[float, float]], sound: Sound = None
    ) -> list[np.ndarray | None]:
        """Return a (342,) float32 feature per span, None if no face was found.

        The arguments are those of `read`.
        """
        return [reading.vector for reading in self.read(frames, spans, sound)]

    def read(
        self,
        frames: Frames,
        spans: Sequence[tuple[float, float]],
        sound: Sound = None,
        speakers: Sequence[str] | None = None,
    ) -> list[FaceReading]:
        """Return a reading per span. Spans may come in any order and overlap.

        frames: pairs of seconds and (h, w, 3) uint8 RGB, in order of time; read once, and no
        further than the last span. spans: (start, end) in seconds; NaN gives a missing reading.
        sound: (samples (n,), rate) of the whole recording, or a function of (start, end) that
        returns samples at 16 kHz, or None. speakers: who speaks in each span, "" if unknown; with
        them, what other spans of the speaker show helps to choose between several faces.

        Raises MercError for frames that are no images or not in order, and for spans that end
        before they start.
        """
        no_times = FaceReading(None, "the utterance has no times", detector=self._detector.name)
        readings = [no_times for _ in spans]
        waiting = open_spans(spans)
        current: list[FaceSpan] = []
        scanner = _FrameScanner(FaceTracker(self._detector))
        contest = _Contest() if speakers is not None and self.choose == "auto" else None

        def finish(span: FaceSpan) -> None:
            if contest is None or not span.faces:
                readings[span.index] = self._finish(span, sound)
                return
            contest.add(span, (speakers or [])[span.index], sound)
            while contest.held > MAX_HELD:  # decide the oldest by what is known so far
                decide(contest.resolve(len(contest.open) // 2 + 1))

        def decide(chosen: list[tuple[FaceSpan, SpanFace, float]]) -> None:
            for span, face, confidence in chosen:
                readings[span.index] = self._reading(span, [face], confidence)

        last = -math.inf
        for time, image in frames:
            if time < last:
                raise MercError(
                    f"frame at {time:.3f} s follows one at {last:.3f} s", "pass frames in order"
                )
            last = time
            for span in [span for span in current if span.end <= time]:
                current.remove(span)
                finish(span)
            while waiting and waiting[0].start <= time:
                span = waiting.pop(0)
                if span.end > time:
                    current.append(span)
                else:  # lies between two frames
                    finish(span)
            if current:
                scanner.add(time, image, current)
            elif waiting:
                scanner.reset()
            else:
                break
        for span in current + waiting:
            finish(span)
        if contest is not None:
            decide(contest.resolve(len(contest.open)))
        turned = scanner.tracker.orientation.turned
        return [replace(reading, turned=turned) for reading in readings] if turned else readings

    @torch.inference_mode()
    def embed_faces(self, faces: np.ndarray) -> np.ndarray:
        """Embed grey faces, (n, h, w) uint8, as (n, 342) float32, all values at least 0.

        A row depends on its face alone (to 1e-5), not on its batch.
        """
        return self._embed(_check_faces(faces))

    @torch.inference_mode()
    def classify_faces(self, faces: np.ndarray) -> np.ndarray:
        """Return (n, 8) probabilities of grey faces, (n, h, w) uint8, in FER+ order.

        Averaged over each face and its mirror image.
        """
        faces = _check_faces(faces)
        views = [
            torch.from_numpy(self._embed(view)).to(self.device)
            for view in (faces, faces[:, :, ::-1].copy())
        ]
        probabilities = torch.stack([self._net.head(view).softmax(1) for view in views])
        return probabilities.mean(0).cpu().numpy()

    def _embed(self, faces: np.ndarray) -> np.ndarray:
        rows = np.empty((len(faces), DIM), dtype=np.float32)
        with one_thread(), full_precision():
            for start in range(0, len(faces), BATCH):
                part = np.ascontiguousarray(faces[start : start + BATCH])
                images = self._net.prepare(torch.from_numpy(part).to(self.device))
                rows[start : start + BATCH] = self._net.features(images).cpu().numpy()
        return rows

    def _choose(self, span: FaceSpan, sound: Sound) -> tuple[list[SpanFace], float]:
        """Return the face or faces to use, and the confidence that the speaker is among them."""
        faces = list(span.faces.values())
        if self.choose == "mean":
            return faces, 1 / len(faces)
        if self.choose == "largest":
            areas = [face.mouth.area for face in faces]
            return [faces[int(np.argmax(areas))]], max(areas) / sum(areas)
        best, confidence = choose_speaker([face.mouth for face in faces], *_cut(sound, span))
        return [faces[best]], confidence

    def _finish(self, span: FaceSpan, sound: Sound) -> FaceReading:
        """Choose the face of an utterance that is over, and average its embeddings."""
        if not span.faces:
            return FaceReading(None, _why_missing(span), **self._facts(span))
        chosen, confidence = self._choose(span, sound)
        return self._reading(span, chosen, confidence)

    def _facts(self, span: FaceSpan) -> dict[str, Any]:
        return {
            "frames": span.frames,
            "tracks": len(span.faces),
            "detector": self._detector.name,
        }

    def _reading(self, span: FaceSpan, chosen: list[SpanFace], confidence: float) -> FaceReading:
        """Average the embeddings of the chosen face."""
        crops = np.stack([crop for face in chosen for crop in face.crops])
        weights = np.concatenate([face.frames * _votes(face.crops) for face in chosen])
        embeddings = self.embed_faces(crops).astype(np.float64)
        frames = sum(face.frames for face in chosen)
        score, side, x, y = (
            sum(getattr(face, name) for face in chosen) / frames
            for name in ("score", "side", "x", "y")
        )
        return FaceReading(
            np.average(embeddings, axis=0, weights=weights).astype(np.float32),
            faces=min(frames, span.frames),
            used=len(crops),
            confidence=float(confidence),
            score=score,
            side=side,
            centre=(x, y),
            boxes=tuple(chosen[0].boxes) if len(chosen) == 1 else (),
            picture=_picture(crops, weights),
            **self._facts(span),
        )


class _Contest:
    """Utterances whose faces wait until all utterances of their speakers have been seen."""

    def __init__(self) -> None:
        self.open: list[FaceSpan] = []
        self.held = 0  # crops
        self._identities = FaceIdentities()
        self._sightings: list[list[Sighting]] = []  # of all utterances so far
        self._speakers: list[str] = []
        self._resolved = 0

    def add(self, span: FaceSpan, speaker: str, sound: Sound) -> None:
        faces = list(span.faces.values())
        prior, evidence = speaker_scores([face.mouth for face in faces], *_cut(sound, span))
        pictures = [_picture(np.stack(face.crops), np.ones(len(face.crops))) for face in faces]
        centres = [(face.x / face.frames, face.y / face.frames) for face in faces]
        identities = self._identities.identify(list(span.faces), pictures, centres)
        self._sightings.append(
            [
                Sighting(*values)
                for values in zip(identities, prior.tolist(), evidence.tolist(), strict=True)
            ]
        )
        self._speakers.append(speaker)
        for face in faces:
            face.mouth.times, face.mouth.openness, face.mouth.motion = [], [], []
        self.open.append(span)
        self.held += sum(len(face.crops) for face in faces)

    def resolve(self, count: int) -> list[tuple[FaceSpan, SpanFace, float]]:
        """Return the `count` oldest utterances with the face of their speaker and its confidence.

        A single face is held for its evidence only.
        """
        chosen = choose_faces(self._sightings, self._speakers)
        oldest, self.open = self.open[:count], self.open[count:]
        decided = []
        for span, (best, confidence) in zip(oldest, chosen[self._resolved :], strict=False):
            faces = list(span.faces.values())
            self.held -= sum(len(face.crops) for face in faces)
            decided.append((span, faces[best], confidence))
        self._resolved += len(oldest)
        return decided


class _FrameScanner:
    """Add the faces of successive frames to the utterances in progress."""

    def __init__(self, tracker: FaceTracker) -> None:
        self.tracker = tracker
        self.mouths: dict[int, MouthReader] = {}

    def reset(self) -> None:
        self.tracker.reset()
        self.mouths.clear()

    def add(self, time: float, image: np.ndarray, spans: Sequence[FaceSpan]) -> None:
        _check_frame(image)
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        tracks = self.tracker.update(image, grey) if min(grey.shape) >= MIN_SIDE else []
        for number in self.mouths.keys() - {track.number for track in tracks}:
            del self.mouths[number]  # its next motion would span a gap
        for track in tracks:
            crop = crop_face(grey, track.box, track.roll)
            mouth = self.mouths.setdefault(track.number, MouthReader()).read(crop)
            for span in spans:
                span.add(time, track, crop, mouth, grey.shape)
        for span in spans:
            span.frames += 1
            span.too_small += self.tracker.too_small


def _why_missing(span: FaceSpan) -> str:
    if not span.frames:
        return "no frame in the utterance"
    return f"no face of {MIN_SIDE} pixels or more" if span.too_small else "no face"


def _votes(crops: Sequence[np.ndarray]) -> np.ndarray:
    """Return weights (n,) of the crops of one face, by their sharpness; their sum is 1."""
    values = sharpness(np.stack(crops)) + 1e-6  # crops without any detail count the same
    return values / values.sum()


def _picture(crops: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the (144,) mean crop at 12 x 12 pixels, of mean 0 and length 1."""
    mean = np.average(crops, axis=0, weights=weights)
    picture = cv2.resize(mean, (12, 12), interpolation=cv2.INTER_AREA).ravel()
    picture -= picture.mean()
    return picture / max(float(np.linalg.norm(picture)), 1e-9)


def _cut(sound: Sound, span: FaceSpan) -> tuple[np.ndarray | None, int, float]:
    """Return an utterance's samples, their rate and the time of the first."""
    start, end = max(0.0, span.start), span.end
    if sound is None:
        return None, RATE, start
    if callable(sound):
        return np.asarray(sound(start, end), dtype=np.float32), RATE, start
    samples, rate = sound
    if np.ndim(samples) != 1:
        raise MercError(
            f"sound has shape {np.shape(samples)}, expected one channel, (n,)",
            "average the channels first",
        )
    first = round(start * rate)
    return np.asarray(samples[first : round(end * rate)], dtype=np.float32), rate, first / rate


def _check_frame(image: Any) -> None:
    if not isinstance(image, np.ndarray):
        raise MercError(f"frame is a {type(image).__name__}", "pass (height, width, 3) uint8 RGB")
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise MercError(
            f"frame has shape {image.shape} and type {image.dtype}",
            "pass (height, width, 3) uint8 RGB",
        )


def _check_faces(faces: np.ndarray) -> np.ndarray:
    faces = np.asarray(faces)
    if faces.ndim != 3 or faces.dtype != np.uint8 or min(faces.shape[1:]) < 1:
        raise MercError(
            f"faces have shape {faces.shape} and type {faces.dtype}",
            "pass grey images, (n, height, width) uint8",
        )
    return faces
