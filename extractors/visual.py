"""The speaker's face through an utterance to 342 numbers: detect, follow, choose who speaks, embed, average.

One pass over the frames of a medium, whatever its length: only the faces of utterances that are open are kept, as
small grey crops, at most 100 a face.  The network runs on the chosen face alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from extractors.densenet import DIM, fold_norms, load_face_net
from extractors.detectors import Box, find_detector
from extractors.faces import CROP, EVERY, MARGIN, SMALLEST, FaceTracker, Track, crop_face
from extractors.speaking import MouthReader, Mouths, choose_speaker
from extractors.threads import one_thread
from pipeline.core.fingerprints import sha256_of

__all__ = ["CHOICES", "WEIGHTS", "FaceReading", "VisualExtractor"]

WEIGHTS = Path(__file__).parent / "weights" / "face.safetensors"
CHOICES = ("auto", "largest", "mean", "boxes")
VERSION = "1"  # of the recipe in this file, detectors.py, faces.py and speaking.py
RATE = 16000  # Hz, of sound from a callable
KEPT = 100  # crops of one face in one utterance; beyond, evenly thinned
TRACKS = 32  # faces kept in one utterance, the ones seen longest
SHORTEST = 0.2  # seconds: a shorter utterance is widened to hold frames of a stream of 10/s
BATCH = 32

Frames = Iterable[tuple[float, np.ndarray]]
Sound = tuple[np.ndarray, int] | Callable[[float, float], np.ndarray] | None
Boxes = Callable[[float], Box | None]


@dataclass(frozen=True)
class FaceReading:
    """One utterance's face: vector (342,) float32, or None and the reason in `missing`; and what it rests on."""

    vector: np.ndarray | None
    missing: str | None = None
    frames: int = 0  # seen in the utterance
    faces: int = 0  # of them with the chosen face
    used: int = 0  # of them in the mean
    tracks: int = 0  # faces followed
    confidence: float = 0.0  # that the chosen face is the speaker's
    score: float = 0.0  # mean of the detector's, 0 to 1
    side: float = 0.0  # pixels, mean longer side of the box
    centre: tuple[float, float] | None = (
        None  # mean middle of the box, as shares of the frame's width and height
    )
    detector: str = ""
    picture: np.ndarray | None = field(
        default=None, repr=False
    )  # (144,) mean crop of 12 x 12, mean 0, length 1

    def quality(self) -> dict[str, Any]:
        """JSON-able, without vector and picture."""
        return {
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


class VisualExtractor:
    """Face vectors of utterances, and the network itself for single faces.

    weights: a file of `merc pretrain visual`, default the packaged one.  detector: see `find_detector`.
    choose: "auto" (who speaks), "largest", "mean" over all faces, or "boxes" (the caller knows the face).
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
            raise ValueError(f"choice of face {choose!r}: choose one of {', '.join(CHOICES)}")
        path = Path(weights or WEIGHTS)
        if not path.is_file():
            raise OSError(
                f"{path}: the face network's weights are missing; install merc again, or make them with "
                "`merc pretrain visual`"
            )
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
                "every": EVERY,
                "margin": MARGIN,
                "crop": CROP,
                "smallest": SMALLEST,
            },
        }

    def extract(
        self,
        frames: Frames,
        spans: Sequence[tuple[float, float]],
        sound: Sound = None,
        boxes: Boxes | None = None,
    ) -> list[np.ndarray | None]:
        """One (342,) float32 vector per span, None where no face was seen.  Arguments as for `read`."""
        return [reading.vector for reading in self.read(frames, spans, sound, boxes)]

    def read(
        self,
        frames: Frames,
        spans: Sequence[tuple[float, float]],
        sound: Sound = None,
        boxes: Boxes | None = None,
    ) -> list[FaceReading]:
        """Frames in order of time to one reading per span; spans in any order, overlapping or not.

        frames: (seconds, (h, w, 3) uint8 RGB); read once, and no further than the last span.  spans: (start, end) in
        seconds; NaN times give a missing reading.  sound: (samples (n,), rate) of the whole medium, or a function of
        (start, end) giving samples at 16 kHz, or None.  boxes: for choose="boxes", the speaker's face
        (x, y, width, height) in pixels at a time, or None.

        Raises ValueError for frames that are no images or go back in time, and spans that end before they start.
        """
        if (boxes is None) == (self.choose == "boxes"):
            raise ValueError('boxes go with choose="boxes", and only with it')
        readings = [
            FaceReading(None, "the utterance has no times", detector=self._detector.name)
            for _ in spans
        ]
        waiting = sorted(
            (
                _widened(k, start, end)
                for k, (start, end) in enumerate(spans)
                if not (math.isnan(start) or math.isnan(end))
            ),
            key=lambda span: span.start,
        )
        current: list[_Open] = []
        tracker, mouths = FaceTracker(self._detector), dict[int, MouthReader]()
        last = -math.inf
        for time, image in frames:
            if time < last:
                raise ValueError(
                    f"a frame at {time:.3f} s after one at {last:.3f} s: want them in order"
                )
            last = time
            for span in [span for span in current if span.end <= time]:
                current.remove(span)
                readings[span.index] = self._finish(span, sound)
            while waiting and waiting[0].start <= time:
                span = waiting.pop(0)
                if span.end > time:
                    current.append(span)
                else:  # between two frames
                    readings[span.index] = self._finish(span, sound)
            if not current and not waiting:
                break
            if not current:
                tracker.reset()
                mouths.clear()
                continue
            self._look(time, image, current, tracker, mouths, boxes)
        for span in current + waiting:
            readings[span.index] = self._finish(span, sound)
        return readings

    @torch.inference_mode()
    def embed_faces(self, faces: np.ndarray) -> np.ndarray:
        """(n, h, w) uint8 grey faces to (n, 342) float32, all at least 0; a row depends on its face alone (to 1e-5)."""
        return self._run(_checked(faces))

    @torch.inference_mode()
    def classify_faces(self, faces: np.ndarray) -> np.ndarray:
        """(n, h, w) uint8 grey faces to (n, 8) probabilities in FER+ order, averaged over mirror images."""
        faces = _checked(faces)
        views = [
            torch.from_numpy(self._run(view)).to(self.device)
            for view in (faces, faces[:, :, ::-1].copy())
        ]
        return (
            torch.stack([self._net.head(view).softmax(1) for view in views]).mean(0).cpu().numpy()
        )

    def _run(self, faces: np.ndarray) -> np.ndarray:
        rows = np.empty((len(faces), DIM), dtype=np.float32)
        with one_thread():
            for start in range(0, len(faces), BATCH):
                part = torch.from_numpy(np.ascontiguousarray(faces[start : start + BATCH])).to(
                    self.device
                )
                rows[start : start + BATCH] = (
                    self._net.features(self._net.prepare(part)).cpu().numpy()
                )
        return rows

    def _look(
        self,
        time: float,
        image: np.ndarray,
        current: list[_Open],
        tracker: FaceTracker,
        mouths: dict[int, MouthReader],
        boxes: Boxes | None,
    ) -> None:
        """Add the faces of one frame to the open utterances."""
        if (
            not isinstance(image, np.ndarray)
            or image.ndim != 3
            or image.shape[2] != 3
            or image.dtype != np.uint8
        ):
            raise ValueError(
                f"a frame of {getattr(image, 'shape', type(image))}, {getattr(image, 'dtype', '')}: "
                "want (height, width, 3) uint8 RGB"
            )
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        if boxes is None:
            tracks = tracker.update(image, grey) if min(grey.shape) >= SMALLEST else []
        else:
            box = boxes(time)
            tracks = [] if box is None or max(box[2:]) < SMALLEST else [Track(0, box, 1.0)]
        for number in mouths.keys() - {track.number for track in tracks}:
            del mouths[number]  # its next motion would span a gap
        for track in tracks:
            crop = crop_face(grey, track.box, track.roll)
            mouth = mouths.setdefault(track.number, MouthReader()).read(crop)
            for span in current:
                span.add(time, track, crop, mouth, grey.shape)
        for span in current:
            span.frames += 1
            span.small += tracker.small

    def _finish(self, span: _Open, sound: Sound) -> FaceReading:
        faces = list(span.faces.values())
        facts: dict[str, Any] = {
            "frames": span.frames,
            "tracks": len(faces),
            "detector": self._detector.name,
        }
        if not faces:
            why = (
                "no frame in the utterance"
                if not span.frames
                else f"no face of {SMALLEST} pixels or more"
                if span.small
                else "no face"
            )
            return FaceReading(None, why, **facts)
        if self.choose == "mean":
            chosen, confidence = faces, 1 / len(faces)
        elif self.choose == "largest":
            areas = [face.mouths.area for face in faces]
            chosen, confidence = [faces[int(np.argmax(areas))]], max(areas) / sum(areas)
        else:
            best, confidence = choose_speaker(
                [face.mouths for face in faces], *_sound_of(span, sound)
            )
            chosen = [faces[best]]
        crops = np.stack([crop for face in chosen for crop in face.crops])
        weights = np.concatenate(
            [np.full(len(face.crops), face.seen / len(face.crops)) for face in chosen]
        )
        vector = np.average(
            self.embed_faces(crops).astype(np.float64), axis=0, weights=weights
        ).astype(np.float32)
        seen = sum(face.seen for face in chosen)
        score, side, x, y = (
            sum(getattr(face, name) for face in chosen) / seen
            for name in ("score", "side", "x", "y")
        )
        return FaceReading(
            vector,
            None,
            faces=min(seen, span.frames),
            used=len(crops),
            confidence=float(confidence),
            score=score,
            side=side,
            centre=(x, y),
            picture=_picture(crops, weights),
            **facts,
        )


def _picture(crops: np.ndarray, weights: np.ndarray) -> np.ndarray:
    little = cv2.resize(
        np.average(crops, axis=0, weights=weights), (12, 12), interpolation=cv2.INTER_AREA
    ).ravel()
    little -= little.mean()
    return little / max(float(np.linalg.norm(little)), 1e-9)


@dataclass
class _Face:
    """One face in one utterance; crops are every `stride`-th."""

    mouths: Mouths = field(default_factory=Mouths)
    crops: list[np.ndarray] = field(default_factory=list)
    stride: int = 1
    seen: int = 0
    score: float = 0.0
    side: float = 0.0
    x: float = 0.0
    y: float = 0.0


@dataclass
class _Open:
    """An utterance whose frames are passing; asked is what the caller gave, start and end may be wider."""

    index: int
    start: float
    end: float
    asked: tuple[float, float]
    faces: dict[int, _Face] = field(default_factory=dict)
    frames: int = 0
    small: int = 0

    def add(
        self,
        time: float,
        track: Track,
        crop: np.ndarray,
        mouth: tuple[float, float],
        shape: tuple[int, ...],
    ) -> None:
        face = self.faces.setdefault(track.number, _Face())
        if face.seen % face.stride == 0:
            face.crops.append(crop)
            if len(face.crops) > KEPT:
                face.crops, face.stride = face.crops[::2], 2 * face.stride
        left, top, width, height = track.box
        x, y = (left + width / 2) / shape[1], (top + height / 2) / shape[0]
        face.seen += 1
        face.score += track.score
        face.side += max(width, height)
        face.x += x
        face.y += y
        face.mouths.times.append(time)
        face.mouths.openness.append(mouth[0])
        face.mouths.motion.append(mouth[1])
        face.mouths.area += width * height / (shape[0] * shape[1])
        face.mouths.centrality += max(0.0, 1 - math.hypot(x - 0.5, y - 0.5) / math.hypot(0.5, 0.5))
        if len(self.faces) > TRACKS:
            del self.faces[
                min(self.faces.keys() - {track.number}, key=lambda number: self.faces[number].seen)
            ]


def _widened(index: int, start: float, end: float) -> _Open:
    if end < start:
        raise ValueError(f"span {index} ends at {end} s before it starts at {start} s")
    extra = max(0.0, SHORTEST - (end - start)) / 2
    return _Open(index, start - extra, end + extra, (start, end))


def _sound_of(span: _Open, sound: Sound) -> tuple[np.ndarray | None, int, float]:
    """(samples, rate, time of the first) of an utterance."""
    start, end = max(0.0, span.start), span.end
    if sound is None:
        return None, RATE, start
    if callable(sound):
        return np.asarray(sound(start, end), dtype=np.float32), RATE, start
    samples, rate = sound
    if np.ndim(samples) != 1:
        raise ValueError(f"sound of shape {np.shape(samples)}: want one channel, (n,)")
    first = round(start * rate)
    return np.asarray(samples[first : round(end * rate)], dtype=np.float32), rate, first / rate


def _checked(faces: np.ndarray) -> np.ndarray:
    faces = np.asarray(faces)
    if faces.ndim != 3 or faces.dtype != np.uint8 or min(faces.shape[1:]) < 1:
        raise ValueError(
            f"faces of shape {faces.shape}, {faces.dtype}: want grey images (n, height, width) uint8"
        )
    return faces
