"""merc-offline on real recordings: is plain speech neutral, do labels survive a new encoding, does the evidence count?

The clips are GRID's (Cooke et al. 2006): one sentence of read speech each, a face in full view, neutral throughout.
"""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import av
import numpy as np

from pipeline.core.dialogue import MODALITIES, Dialogue, Segmentation, Utterance
from pipeline.core.files import write_bytes
from pipeline.core.workers import map_items
from pipeline.features.compute import features_of
from pipeline.features.profiles import build_extractors
from pipeline.media.decode import open_media
from pipeline.recipes.distort import add_noise, gain
from pipeline.recipes.measure_on_corpus import only
from pipeline.training.predictor import Predictor

__all__ = ["VERSIONS", "exchange", "grid_sentence", "on_clips", "rewrite"]

WORDS = (
    {"b": "bin", "l": "lay", "p": "place", "s": "set"},
    {"b": "blue", "g": "green", "r": "red", "w": "white"},
    {"a": "at", "b": "by", "i": "in", "w": "with"},
    None,
    dict(
        zip("z123456789", "zero one two three four five six seven eight nine".split(), strict=True)
    ),
    {"a": "again", "n": "now", "p": "please", "s": "soon"},
)
VERSIONS = {  # name -> height of the picture, CRF of H.264, gain in dB, signal to noise in dB
    "re-encoded": (None, 33, 0.0, None),
    "360p": (360, 23, 0.0, None),
    "-12 dB": (None, 23, -12.0, None),
    "15 dB noise": (None, 23, 0.0, 15.0),
}


def grid_sentence(stem: str) -> str:
    """The sentence that a GRID file name encodes: bbaf2n is "bin blue at f two now".  Raises ValueError."""
    code = stem[-6:].lower()
    try:
        if len(code) != 6 or not code[3].isalpha():
            raise KeyError(code)
        return " ".join(
            letter if table is None else table[letter]
            for letter, table in zip(code, WORDS, strict=True)
        )
    except KeyError as error:
        raise ValueError(f"{stem}: not a GRID file name (six letters such as bbaf2n)") from error


def on_clips(model: Predictor, folder: Path, jobs: int = 1) -> dict[str, Any]:
    """Shares over the clips of `folder` (*.mpg): neutral, by modality; labels kept by version; swaps."""
    paths = sorted(folder.glob("*.mpg"))
    if len(paths) < 2:
        raise FileNotFoundError(
            f"{folder}: no GRID clips (*.mpg); take them from the corpus's own site"
        )
    found = dict(map_items(_read_clip, paths, jobs))
    clips = [found[k]["original"] for k in range(len(paths))]
    neutral = model.labels.index("neutral")
    result: dict[str, Any] = {"clips": len(clips), "neutral": {}, "kept": {}, "labels": {}}
    for kept in ("+".join(MODALITIES), *MODALITIES):
        for prior in ("train", "uniform"):
            guess = _guesses(model, [only(d, *kept.split("+")) for d in clips], prior)
            result["neutral"].setdefault(kept, {})[prior] = float((guess == neutral).mean())
            result["labels"].setdefault(kept, {})[prior] = [model.labels[k] for k in guess]
    before = _guesses(model, clips, "train")
    for version in VERSIONS:
        after = _guesses(model, [found[k][version] for k in range(len(paths))], "train")
        result["kept"][version] = float((before == after).mean())
    result["kept"]["all"] = float(np.mean(list(result["kept"].values())))
    result["exchange"] = {m: exchange(model, clips, m) for m in ("audio", "visual")}
    return result


def exchange(model: Predictor, dialogues: list[Dialogue], modality: str) -> dict[str, float]:
    """Give every utterance the feature of the next one: how far its probabilities move (half the L1 distance)."""
    rows = np.concatenate([d.features[modality] for d in dialogues])
    moved = np.split(np.roll(rows, 1, 0), np.cumsum([len(d.utterances) for d in dialogues])[:-1])
    old = np.concatenate([model.probabilities(d) for d in dialogues])
    new = np.concatenate(
        [
            model.probabilities(_with(d, modality, part))
            for d, part in zip(dialogues, moved, strict=True)
        ]
    )
    usable = ~np.isnan(rows).any(1) & ~np.isnan(np.roll(rows, 1, 0)).any(1)
    distance = np.abs(old - new).sum(1)[usable] / 2
    return {
        "utterances": int(usable.sum()),
        "mean": float(distance.mean()),
        "least": float(distance.min()),
        "largest": float(distance.max()),
        "labels_changed": float((old.argmax(1) != new.argmax(1))[usable].mean()),
    }


def rewrite(
    source: Path, target: Path, height: int | None, crf: int, decibels: float, snr: float | None
) -> None:
    """Another encoding of a clip: H.264 and AAC in MP4; smaller or larger, softer, noisier."""
    with open_media(source) as media:
        sound = gain(media.sound(0, media.duration), decibels)
    if snr is not None:
        sound = add_noise(sound, 16_000, snr, 1.0, np.random.default_rng(0))
    file = io.BytesIO()
    with av.open(str(source)) as clip, av.open(file, "w", format="mp4") as output:
        rate = clip.streams.video[0].average_rate or Fraction(25)
        track = output.add_stream("aac", rate=16_000, layout="mono", bit_rate=64_000)
        assert isinstance(track, av.AudioStream)
        picture: Any = None
        for number, frame in enumerate(clip.decode(video=0)):
            tall = (height or frame.height) // 2 * 2
            wide = round(frame.width * tall / frame.height / 2) * 2
            if picture is None:
                picture = output.add_stream("libx264", rate=rate, options={"crf": str(crf)})
                picture.width, picture.height, picture.pix_fmt = wide, tall, "yuv420p"
            frame = frame.reformat(wide, tall, "yuv420p")
            frame.pts, frame.time_base = number, 1 / rate
            output.mux(picture.encode(frame))
        output.mux(picture.encode(None))
        samples = av.AudioFrame.from_ndarray(
            np.clip(sound, -1, 1)[None].astype(np.float32), "fltp", "mono"
        )
        samples.sample_rate = 16_000
        output.mux(track.encode(samples))
        output.mux(track.encode(None))
    write_bytes(target, file.getvalue())


def _read_clip(path: Path, tell: Any) -> dict[str, Dialogue]:
    """Work of one process: features of a clip and of its versions."""
    global _EXTRACTORS
    _EXTRACTORS = _EXTRACTORS or build_extractors("offline")
    with TemporaryDirectory(prefix="merc-clips-") as folder:
        files = {"original": path}
        for number, (name, how) in enumerate(VERSIONS.items()):
            files[name] = Path(folder) / f"{number}.mp4"
            rewrite(path, files[name], *how)
        return {
            name: _dialogue(file, grid_sentence(path.stem), _EXTRACTORS)
            for name, file in files.items()
        }


_EXTRACTORS: dict[str, Any] = {}  # opened once a process


def _dialogue(path: Path, text: str, extractors: dict[str, Any]) -> Dialogue:
    with open_media(path) as media:
        said = Segmentation([Utterance(0.0, media.duration, text, "A")], {"kind": "transcript"})
        vectors = features_of(media, said, extractors).vectors
    return Dialogue(path.stem, "test", ["0"], ["A"], [text], np.array([-1]), vectors)


def _with(dialogue: Dialogue, modality: str, rows: np.ndarray) -> Dialogue:
    return Dialogue(
        dialogue.id,
        dialogue.split,
        dialogue.utterances,
        dialogue.speakers,
        dialogue.texts,
        dialogue.labels,
        dialogue.features | {modality: rows},
    )


def _guesses(model: Predictor, dialogues: list[Dialogue], prior: str) -> np.ndarray:
    return np.array([model.probabilities(d, prior)[0].argmax() for d in dialogues])
