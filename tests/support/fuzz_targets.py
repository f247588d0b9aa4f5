"""The readers that the fuzz test feeds with mutated files, and a small valid file for each."""

from __future__ import annotations

import io
import json
import pickle
import wave
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from support import published_files

__all__ = ["Target", "make_targets"]


@dataclass(frozen=True)
class Target:
    """A reader, and the content of a valid file.

    path: where its file lies; the files beside it are valid.
    share: how often it is chosen.
    """

    name: str
    path: Path
    content: bytes
    read: Callable[[Path], Any]
    share: int = 1


def make_targets(folder: Path, shared: Path | None = None) -> list[Target]:
    """Write valid files into a folder; return one target for each.

    shared: folder of real recordings and transcripts, which are added if given.
    """
    targets = [
        *_transcripts(folder / "transcripts"),
        *_tables(folder / "tables"),
        *_pickles(folder / "pickles"),
        *_settings(folder / "settings"),
        *_runs(folder / "runs"),
        *_weights(folder / "weights"),
        *_store(folder / "store"),
        *_media(folder / "media"),
    ]
    if shared:
        targets += _real(folder / "real", shared)
    for target in targets:
        target.path.parent.mkdir(parents=True, exist_ok=True)
        target.path.write_bytes(target.content)
    return targets


# ---- transcripts


def _read_transcript(path: Path) -> Any:
    from pipeline.segmentation.transcripts import read_rttm, read_transcript

    if path.suffix.lower() == ".rttm":
        return read_rttm(path, "talk", [])
    return read_transcript(path, [], frame_rate=25.0, duration=60.0)


def _transcripts(folder: Path) -> list[Target]:
    from pipeline.exports import FORMATS

    utterances = [
        {
            "start": 1.5 * k,
            "end": 1.5 * k + 1.2,
            "speaker": ("Ann", "Ben Lee")[k % 2],
            "text": ("Hello, you!", "— No: <b>me</b> {at} 00:01:02,5.", "=1+1")[k % 3],
            "emotion": "joy",
            "confidence": 0.75,
            "probabilities": {"joy": 0.75, "anger": 0.25},
            "modalities": {"text": {"present": True}},
        }
        for k in range(5)
    ]
    about = {"media": "talk.wav", "model": "m", "profile": "offline", "labels": ["joy", "anger"]}
    result = about | {"utterances": utterances, "warnings": [], "duration": 9.0}
    targets = [
        Target(name, folder / f"talk.{form.extension}", form.write(result), _read_transcript, 3)
        for name, form in FORMATS.items()
    ]
    youtube = b"WEBVTT\n\n00:01.000 --> 00:03.000 align:start\n<v Ann>so<00:01.500><c> now</c>\n"
    return [*targets, Target("vtt", folder / "karaoke.vtt", youtube, _read_transcript, 3)]


# ---- tables


def _tables(folder: Path) -> list[Target]:
    from pipeline.corpora.synthetic import make_synthetic
    from pipeline.corpora.table import load_table, save_table

    save_table(make_synthetic(4, 2, 2), folder)
    fingerprints = {name: {"extractor": name, "options": {}} for name in ("text", "audio")}
    fingerprints["visual"] = {"extractor": "x", "options": {"size": 3}}
    (folder / "fingerprints.json").write_text(json.dumps(fingerprints))
    names = ["utterances.csv", "table.json", "fingerprints.json", "text.npy"]
    targets = []
    for name in names:
        # each target has its own table, of which one file is mutated
        own = folder / name.partition(".")[0]
        own.mkdir()
        for path in folder.glob("*.*"):
            (own / path.name).write_bytes(path.read_bytes())
        content = (folder / name).read_bytes()
        targets.append(
            Target(name, own / name, content, lambda path: load_table(path.parent), share=3)
        )
    return targets


def _pickles(folder: Path) -> list[Target]:
    from pipeline.corpora.published import read_published

    targets = []
    for layout in ("mmgcn9", "cosmic11"):
        for protocol in (0, 2, 4):
            values = tuple(published_files.content(layout).values())
            path = folder / f"{layout}{protocol}.pkl"
            content = pickle.dumps(values, protocol)
            targets.append(Target("pickle", path, content, read_published, 3))
    return targets


# ---- settings and runs


def _settings(folder: Path) -> list[Target]:
    from pipeline.training.config import load_configuration, to_yaml

    def read_set(path: Path) -> Any:
        lines = path.read_bytes().decode("utf-8", "surrogateescape")
        return load_configuration("table", [lines])

    text = to_yaml(load_configuration("table")).encode()
    overrides = ["train.lr=1e-4", "data.modalities=[text,audio]", "train.weights=[1,0,1]"]
    return [
        Target(
            "config.yaml",
            folder / "config.yaml",
            text,
            lambda path: load_configuration(str(path.parent)),
            4,
        ),
        *(
            Target("--set", folder / f"{k}.txt", override.encode(), read_set, 3)
            for k, override in enumerate(overrides)
        ),
    ]


def _runs(folder: Path) -> list[Target]:
    from pipeline.core.run_folder import begin_run, find_run
    from pipeline.core.schemas import History, read_json
    from pipeline.training.compare import compare

    metrics = {
        "labels": ["joy", "anger"],
        "protocol": "clean",
        "weighted_f1": {"mean": 0.5, "sd": 0.1},
        "identity": "x",
    }
    rows = ["seed,dialogue,utterance,label,prediction"]
    rows += [
        f"{s},d{d},{u},joy,{'joy' if u else 'anger'}"
        for s in (0, 1)
        for d in (1, 2)
        for u in (0, 1)
    ]
    table = ("\n".join(rows) + "\n").encode()
    content = json.dumps(metrics).encode()
    for run in ("metrics", "predictions", "other"):
        (folder / run).mkdir(parents=True)
        (folder / run / "metrics.json").write_bytes(content)
        (folder / run / "predictions-per-seed.csv").write_bytes(table)

    def read_run(path: Path) -> Any:
        return compare(path.parent, folder / "other", draws=100)

    def read_settings(path: Path) -> Any:
        find_run(path.parent.parent, "x")
        return begin_run(path.parent.parent, "x")

    history = json.dumps({"best_epoch": 1, "epochs": [{"epoch": 1, "loss1": 0.5}]}).encode()
    return [
        Target("metrics.json", folder / "metrics" / "metrics.json", content, read_run, 3),
        Target(
            "predictions.csv",
            folder / "predictions" / "predictions-per-seed.csv",
            table,
            read_run,
            2,
        ),
        Target(
            "settings.json",
            folder / "begun" / ".work" / "settings.json",
            b'{"identity": "x"}',
            read_settings,
        ),
        Target(
            "history.json",
            folder / "history.json",
            history,
            lambda path: read_json(path, History),
        ),
    ]


# ---- weights


def _weights(folder: Path) -> list[Target]:

    from css_model import CSS, Checkpoint, CSSConfig, Normaliser, save_checkpoint
    from extractors.delta import pack_delta, read_delta
    from extractors.encoders import read_about
    from pipeline.corpora.synthetic import make_synthetic
    from pipeline.training.predictor import Predictor

    corpus = make_synthetic(4, 2, 2)
    config = CSSConfig(
        widths=tuple(corpus.widths.items()), labels=corpus.labels, d=8, heads=2, hidden=8, rank=2
    )
    checkpoint = Checkpoint(
        config,
        CSS(config).state_dict(),
        Normaliser().fit(corpus.dialogues),
        {name: {"extractor": name, "options": {"name": "x"}} for name in corpus.widths},
        np.zeros(len(corpus.labels), np.float32),
        {"text": 1.5, "text+audio+visual": 0.9},
    )
    folder.mkdir(parents=True)
    save_checkpoint(folder / "valid.safetensors", checkpoint)

    def read_model(path: Path) -> Any:
        return Predictor.load(path).probabilities(corpus.dialogues[0])

    about = {"base": "minilm", "weights": "x", "pooling": "mean", "cleaning": "quotes", "scale": 2}
    delta = pack_delta({"layer": (np.zeros((2, 4)), np.zeros((4, 2)))}, about)
    return [
        Target(
            "checkpoint",
            folder / "model.safetensors",
            (folder / "valid.safetensors").read_bytes(),
            read_model,
            6,
        ),
        Target("delta", folder / "delta.safetensors", delta, read_delta, 2),
        Target(
            "merc.json",
            folder / "merc.json",
            b'{"pooling": "mean", "cleaning": "quotes"}',
            lambda path: read_about(path.parent),
            2,
        ),
    ]


def _store(folder: Path) -> list[Target]:
    from pipeline.core.dialogue import Segmentation, Utterance
    from pipeline.features.store import Features, Store

    store = Store(folder)
    recording = "ab" * 32
    utterances = [Utterance(0.0, 1.0, "Hello", "A")]
    fingerprint = {"extractor": {"extractor": "x"}, "segmentation": {"kind": "transcript"}}
    features = Features(
        recording, "text", fingerprint, utterances, np.ones((1, 3), np.float32), [{}]
    )
    path = store.write(features)
    segments = store.write_segmentation(recording, {"kind": "x"}, Segmentation(utterances, {}))
    return [
        Target("store", path, path.read_bytes(), store.load, 2),
        Target("segments", segments, segments.read_bytes(), store.load_segmentation, 2),
    ]


# ---- recordings


def _read_media(path: Path) -> Any:
    from pipeline.media.decode import open_media

    with open_media(path) as media:
        if media.has_audio:
            media.sound(0.0, 2.0)
        if media.has_video:
            for k, _ in enumerate(media.frames(5.0)):
                if k == 4:
                    break
        return media.duration


def _media(folder: Path) -> list[Target]:
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        noise = np.random.default_rng(0).normal(0, 3000, 8000).astype(np.int16)
        file.writeframes(noise.tobytes())
    return [Target("wav", folder / "x.wav", stream.getvalue(), _read_media, 4)]


def _real(folder: Path, shared: Path) -> list[Target]:
    targets = []
    for path in sorted((shared / "cases" / "transcripts").iterdir()):
        content = path.read_bytes()
        targets.append(Target(path.name, folder / path.name, content, _read_transcript, 2))
    clips = [*(shared / "cases" / "media").iterdir(), shared / "cases" / "dlg.m4a"]
    for path in sorted(clips):
        if path.stat().st_size < 1 << 20:
            targets.append(Target(path.name, folder / path.name, path.read_bytes(), _read_media, 2))
    return targets
