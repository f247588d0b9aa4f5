"""Measure merc-offline on real recordings: GRID clips, read neutrally, one sentence each.

How often is a clip labelled neutral, how often does its label survive another encoding, and how far
do the probabilities move when voices or faces are exchanged? GRID: Cooke et al. 2006, JASA.
"""

from __future__ import annotations

import io
from dataclasses import replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import av
import numpy as np

from pipeline.core.dialogue import MODALITIES, Dialogue, Segmentation, Utterance
from pipeline.core.errors import MercError
from pipeline.core.failures import run_each
from pipeline.core.files import write_bytes
from pipeline.core.progress import Stage
from pipeline.features.compute import compute_features
from pipeline.features.profiles import ExtractorOptions, build_extractors, options_of
from pipeline.media.decode import RATE, open_media
from pipeline.recipes.distort import add_noise, gain
from pipeline.training.predictor import Predictor, keep_modalities

__all__ = ["VERSIONS", "grid_sentence", "measure_clips", "measure_exchange", "reencode"]

DIGITS = "zero one two three four five six seven eight nine".split()
GRID_WORDS: tuple[dict[str, str] | None, ...] = (
    {"b": "bin", "l": "lay", "p": "place", "s": "set"},
    {"b": "blue", "g": "green", "r": "red", "w": "white"},
    {"a": "at", "b": "by", "i": "in", "w": "with"},
    None,  # the letter itself
    dict(zip("z123456789", DIGITS, strict=True)),
    {"a": "again", "n": "now", "p": "please", "s": "soon"},
)
# name -> height of the picture (None: unchanged), CRF of H.264, gain in dB, signal-to-noise in dB
VERSIONS: dict[str, tuple[int | None, int, float, float | None]] = {
    "re-encoded": (None, 33, 0.0, None),
    "360p": (360, 23, 0.0, None),
    "-12 dB": (None, 23, -12.0, None),
    "15 dB noise": (None, 23, 0.0, 15.0),
}


def grid_sentence(stem: str) -> str:
    """Decode the sentence that a GRID file name stands for. Raises MercError.

    >>> grid_sentence("bbaf2n")
    'bin blue at f two now'
    """
    code = stem[-6:].lower()
    try:
        if len(code) != 6 or not code[3].isalpha():
            raise KeyError(code)
        words = [
            letter if table is None else table[letter]
            for letter, table in zip(code, GRID_WORDS, strict=True)
        ]
    except KeyError as error:
        raise MercError(
            f"{stem}: not a GRID file name", "use the clips' original names, such as bbaf2n.mpg"
        ) from error
    return " ".join(words)


def measure_clips(model: Predictor, folder: Path, jobs: int = 1) -> dict[str, Any]:
    """Measure the model on the clips of `folder` (*.mpg).

    Returns the share of clips labelled neutral and the labels, per set of modalities and prior; the
    share of labels that stay the same (`kept`), per version in VERSIONS; and the effect of
    exchanging voices or faces.
    """
    paths = sorted(folder.glob("*.mpg"))
    if len(paths) < 2:
        raise MercError(
            f"{folder}: fewer than two GRID clips (*.mpg)", "see docs/merc-offline.md for the data"
        )
    clips, failures = run_each(paths, _ReadClip(options_of(model.fingerprints)), jobs=jobs)
    if failures:
        raise MercError(f"{failures[0].input}: {failures[0].reason}", failures[0].remedy)
    originals = [versions["original"] for versions in clips]
    result: dict[str, Any] = {"clips": len(clips), "neutral": {}, "kept": {}, "labels": {}}
    for modalities in ("+".join(MODALITIES), *MODALITIES):
        dialogues = [keep_modalities(dialogue, modalities.split("+")) for dialogue in originals]
        labels = {
            prior: [model.labels[k] for k in _predict(model, dialogues, prior)]
            for prior in ("train", "uniform")
        }
        result["labels"][modalities] = labels
        result["neutral"][modalities] = {
            prior: names.count("neutral") / len(names) for prior, names in labels.items()
        }
    before = _predict(model, originals, "train")
    for version in VERSIONS:
        after = _predict(model, [versions[version] for versions in clips], "train")
        result["kept"][version] = float((before == after).mean())
    result["kept"]["all"] = float(np.mean(list(result["kept"].values())))
    result["exchange"] = {m: measure_exchange(model, originals, m) for m in ("audio", "visual")}
    return result


def measure_exchange(
    model: Predictor, dialogues: list[Dialogue], modality: str
) -> dict[str, float]:
    """Give every utterance the feature of the next one; return how far the probabilities move.

    The distance is half the L1 distance. Utterances without that feature, before or after, do not
    count.
    """
    rows = np.concatenate([dialogue.features[modality] for dialogue in dialogues])
    rolled = np.roll(rows, 1, 0)
    ends = np.cumsum([len(dialogue.utterances) for dialogue in dialogues])[:-1]
    exchanged = [
        replace(dialogue, features=dialogue.features | {modality: part})
        for dialogue, part in zip(dialogues, np.split(rolled, ends), strict=True)
    ]
    old = np.concatenate([model.probabilities(dialogue) for dialogue in dialogues])
    new = np.concatenate([model.probabilities(dialogue) for dialogue in exchanged])
    usable = ~np.isnan(rows).any(1) & ~np.isnan(rolled).any(1)
    distance = np.abs(old - new).sum(1)[usable] / 2
    return {
        "utterances": int(usable.sum()),
        "mean": float(distance.mean()),
        "least": float(distance.min()),
        "largest": float(distance.max()),
        "labels_changed": float((old.argmax(1) != new.argmax(1))[usable].mean()),
    }


def reencode(
    source: Path, target: Path, height: int | None, crf: int, decibels: float, snr: float | None
) -> None:
    """Write a clip as H.264 and AAC in MP4 with another height, gain or noise (see VERSIONS)."""
    with open_media(source) as media:
        sound = gain(media.sound(0, media.duration), decibels)
    if snr is not None:
        sound = add_noise(sound, RATE, snr, 1.0, np.random.default_rng(0))
    file = io.BytesIO()
    with av.open(str(source)) as clip, av.open(file, "w", format="mp4") as output:
        audio = output.add_stream("aac", rate=RATE, layout="mono", bit_rate=64_000)
        assert isinstance(audio, av.AudioStream)
        _write_frames(clip, output, height, crf)
        _write_sound(output, audio, sound)
    write_bytes(target, file.getvalue())


def _write_frames(clip: Any, output: Any, height: int | None, crf: int) -> None:
    rate = clip.streams.video[0].average_rate or Fraction(25)
    video: Any = None
    for number, frame in enumerate(clip.decode(video=0)):
        # H.264 with 4:2:0 colour needs even sides
        new_height = (height or frame.height) // 2 * 2
        new_width = round(frame.width * new_height / frame.height / 2) * 2
        if video is None:
            video = output.add_stream("libx264", rate=rate, options={"crf": str(crf)})
            video.width, video.height, video.pix_fmt = new_width, new_height, "yuv420p"
        frame = frame.reformat(new_width, new_height, "yuv420p")
        frame.pts, frame.time_base = number, 1 / rate
        output.mux(video.encode(frame))
    output.mux(video.encode(None))


def _write_sound(output: Any, stream: Any, sound: np.ndarray) -> None:
    samples = np.clip(sound, -1, 1)[None].astype(np.float32)
    frame = av.AudioFrame.from_ndarray(samples, "fltp", "mono")
    frame.sample_rate = RATE
    output.mux(stream.encode(frame))
    output.mux(stream.encode(None))


class _ReadClip:
    """Compute the features of a clip and of its versions: name of the version -> dialogue."""

    def __init__(self, options: ExtractorOptions) -> None:
        self.options = options

    @cached_property
    def extractors(self) -> dict[str, Any]:
        """The model's extractors, loaded once per process."""
        return build_extractors("offline", self.options)

    def __call__(self, path: Path, stage: Stage) -> dict[str, Dialogue]:
        text = grid_sentence(path.stem)
        with TemporaryDirectory(prefix="merc-clips-") as folder:
            files = {"original": path}
            for number, (name, settings) in enumerate(VERSIONS.items()):
                stage(f"re-encode: {name}")
                files[name] = Path(folder) / f"{number}.mp4"
                reencode(path, files[name], *settings)
            stage("features")
            return {name: self._dialogue(file, text) for name, file in files.items()}

    def _dialogue(self, path: Path, text: str) -> Dialogue:
        with open_media(path) as media:
            utterance = Utterance(0.0, media.duration, text, "A")
            segmentation = Segmentation([utterance], {"kind": "transcript"})
            vectors = compute_features(media, segmentation, self.extractors).vectors
        return Dialogue.from_segmentation(path.stem, segmentation, vectors)


def _predict(model: Predictor, dialogues: list[Dialogue], prior: str) -> np.ndarray:
    """Return the label of each dialogue's first utterance."""
    return np.array([model.probabilities(d, prior)[0].argmax() for d in dialogues])
