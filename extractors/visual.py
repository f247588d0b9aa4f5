"""Visual features: the speaker's face through an utterance as 342 numbers.

Faces are detected and followed, the one that speaks is chosen, and its embeddings are averaged,
sharp ones with more weight.
This takes one pass over the frames of a recording of any length. Only the faces of utterances that
are in progress stay in memory, as small grey crops, at most 100 per face. The network runs on the
chosen face only, and of every four neighbouring frames on the sharpest; with several threads,
decoding, the search for faces and the network run beside each other. No value depends on that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from extractors.crops import CROP_SIDE, MARGIN
from extractors.detectors import find_detector
from extractors.face_contest import FaceContest
from extractors.face_network import FaceNetwork
from extractors.face_reading import FaceReading, mean_picture
from extractors.face_span import FaceSpan, Sound, SpanFace, cut_sound, open_spans
from extractors.face_weights import DIM
from extractors.faces import LOOK_EVERY, MIN_SIDE, FaceTracker
from extractors.frame_scanner import FrameScanner
from extractors.sharpness import sharpest, sharpness
from extractors.speaking import choose_speaker
from extractors.threads import read_ahead, side_by_side
from pipeline.core.errors import MercError
from pipeline.core.fingerprints import sha256_of
from pipeline.core.forks import models_used
from pipeline.core.resources import threads_of_process
from pipeline.core.weights import check_weights

if TYPE_CHECKING:
    from extractors.densenet import FaceNetOnDevice

__all__ = ["CHOICES", "FOLLOWING", "WEIGHTS", "FaceReading", "VisualExtractor"]

WEIGHTS = Path(__file__).parent / "weights" / "face.safetensors"
CHOICES = ("auto", "largest", "mean")
# Raise when the same face gives another vector, because of a change here, in face_network.py,
# densenet.py or crops.py.
# A model refuses features of another version than it was trained on.
VERSION = "2"
# Raise when other faces or frames are chosen, because of a change here, in detectors.py, faces.py,
# tracks.py, second_look.py, sharpness.py, face_span.py or speaking.py. Features in the store are
# made again; models remain.
FOLLOWING = "3"
BATCH = 16  # crops
MAX_HELD = 20_000  # crops, 46 MB, of utterances whose face is not chosen yet

Frames = Iterable[tuple[float, np.ndarray]]


@dataclass(frozen=True)
class _Average:
    """The feature of a face, the number of crops it is made of, and their mean."""

    vector: np.ndarray
    used: int
    picture: np.ndarray


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
        self._net = _open(path, device)
        self._detector = find_detector(detector)
        self.fingerprint: dict[str, Any] = {
            "extractor": "densenet-ferplus",
            "version": VERSION,
            "following": FOLLOWING,
            "weights": sha256_of(path),
            "options": {
                "choose": choose,
                "detector": self._detector.fingerprint,
                "every": LOOK_EVERY,
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
        scanner = FrameScanner(FaceTracker(self._detector))
        contest = FaceContest() if speakers is not None and self.choose == "auto" else None
        averages: dict[int, Future[_Average]] = {}

        def finish(span: FaceSpan) -> None:
            if contest is None or not span.faces:
                readings[span.index] = self._finish(span, sound)
                return
            contest.add(span, (speakers or [])[span.index], sound)
            if len(span.faces) == 1:
                average(span, *span.faces.values())
            while contest.held > MAX_HELD:  # decide the oldest by what is known so far
                decide(contest.resolve(len(contest.open) // 2 + 1))

        def average(span: FaceSpan, face: SpanFace) -> None:
            averages[span.index] = pool.submit(self._average, [face])

        def decide(chosen: list[tuple[FaceSpan, SpanFace, float]]) -> None:
            for span, face, _ in chosen:
                if span.index not in averages:
                    average(span, face)
            for span, face, confidence in chosen:
                found = averages.pop(span.index).result()
                readings[span.index] = self._reading(span, [face], confidence, found)

        models_used()
        threads = threads_of_process()
        with side_by_side(threads) as pool:
            self._follow(read_ahead(frames, threads), waiting, scanner, finish)
            if contest is not None:
                decide(contest.resolve(len(contest.open)))
        turned = scanner.tracker.orientation.turned
        return [replace(reading, turned=turned) for reading in readings] if turned else readings

    def _follow(
        self,
        frames: Frames,
        waiting: list[FaceSpan],
        scanner: FrameScanner,
        finish: Callable[[FaceSpan], None],
    ) -> None:
        """Collect the faces of each utterance; call `finish` with it when it is over."""
        current: list[FaceSpan] = []
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

    def embed_faces(self, faces: np.ndarray) -> np.ndarray:
        """Embed grey faces, (n, h, w) uint8, as (n, 342) float32, all values at least 0.

        A row depends on its face alone (to 1e-5), not on its batch.
        """
        return self._embed(_check_faces(faces))

    def classify_faces(self, faces: np.ndarray) -> np.ndarray:
        """Return (n, 8) probabilities of grey faces, (n, h, w) uint8, in FER+ order.

        Averaged over each face and its mirror image.
        """
        faces = _check_faces(faces)
        views = (faces, faces[:, :, ::-1])
        probabilities = [self._net.emotions(self._embed(view)) for view in views]
        return np.mean(probabilities, 0)

    def _embed(self, faces: np.ndarray) -> np.ndarray:
        rows = np.empty((len(faces), DIM), dtype=np.float32)
        for start in range(0, len(faces), BATCH):
            part = slice(start, start + BATCH)
            rows[part] = self._net.features(faces[part])
        return rows

    def _choose(self, span: FaceSpan, sound: Sound) -> tuple[list[SpanFace], float]:
        """Return the face or faces to use, and the confidence that the speaker is among them."""
        faces = list(span.faces.values())
        if self.choose == "mean":
            return faces, 1 / len(faces)
        if self.choose == "largest":
            areas = [face.mouth.area for face in faces]
            return [faces[int(np.argmax(areas))]], max(areas) / sum(areas)
        best, confidence = choose_speaker([face.mouth for face in faces], *cut_sound(sound, span))
        return [faces[best]], confidence

    def _finish(self, span: FaceSpan, sound: Sound) -> FaceReading:
        """Choose the face of an utterance that is over, and average its embeddings."""
        if not span.faces:
            return FaceReading(None, _why_missing(span), **self._facts(span))
        chosen, confidence = self._choose(span, sound)
        return self._reading(span, chosen, confidence, self._average(chosen))

    def _facts(self, span: FaceSpan) -> dict[str, Any]:
        return {
            "frames": span.frames,
            "tracks": len(span.faces),
            "detector": self._detector.name,
        }

    def _average(self, chosen: list[SpanFace]) -> _Average:
        """Average the embeddings of the chosen face, or of several."""
        parts = [_sharpest(face) for face in chosen]
        crops = np.concatenate([crops for crops, _ in parts])
        weights = np.concatenate([weights for _, weights in parts])
        embeddings = self.embed_faces(crops).astype(np.float64)
        vector = np.average(embeddings, axis=0, weights=weights).astype(np.float32)
        return _Average(vector, len(crops), mean_picture(crops, weights))

    def _reading(
        self, span: FaceSpan, chosen: list[SpanFace], confidence: float, average: _Average
    ) -> FaceReading:
        frames = sum(face.frames for face in chosen)
        score, side, x, y = (
            sum(getattr(face, name) for face in chosen) / frames
            for name in ("score", "side", "x", "y")
        )
        return FaceReading(
            average.vector,
            faces=min(frames, span.frames),
            used=average.used,
            confidence=float(confidence),
            score=score,
            side=side,
            centre=(x, y),
            boxes=tuple(chosen[0].boxes) if len(chosen) == 1 else (),
            picture=average.picture,
            **self._facts(span),
        )


def _open(path: Path, device: str) -> FaceNetwork | FaceNetOnDevice:
    if device == "cpu":
        return FaceNetwork(path)
    from extractors.densenet import FaceNetOnDevice  # with torch and timm

    return FaceNetOnDevice(path, device)


def _why_missing(span: FaceSpan) -> str:
    if not span.frames:
        return "no frame in the utterance"
    return f"no face of {MIN_SIDE} pixels or more" if span.too_small else "no face"


def _sharpest(face: SpanFace) -> tuple[np.ndarray, np.ndarray]:
    """Return the crops of a face to use, and their weights, whose sum is its number of frames."""
    crops = np.stack(face.crops)
    values = sharpness(crops) + 1e-6  # crops without any detail count the same
    rows = sharpest(values)
    return crops[rows], face.frames * values[rows] / values[rows].sum()


def _check_faces(faces: np.ndarray) -> np.ndarray:
    faces = np.asarray(faces)
    if faces.ndim != 3 or faces.dtype != np.uint8 or min(faces.shape[1:]) < 1:
        raise MercError(
            f"faces have shape {faces.shape} and type {faces.dtype}",
            "pass grey images, (n, height, width) uint8",
        )
    return faces
