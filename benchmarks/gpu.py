"""Extraction, labelling and a training step on the CPU and, where there is one, on an NVIDIA GPU.

    python benchmarks/gpu.py --clips FOLDER_OF_CLIPS          # a few minutes
    python benchmarks/gpu.py --clips FOLDER_OF_CLIPS --device cpu --seconds 10 --layers 2

Prints a table of wall seconds, the fastest of `--repeats` after a warm-up, without loading models.
The recording joins the clips. It has a transcript, because recognising speech stays on the CPU. The
text encoder has RoBERTa-Large's layers and random weights, so it needs no download, and the run
that labels is random too: times do not depend on the values. `difference` is the largest one
between the results of both devices: of features and probabilities, relative to their largest value.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from material import join
from stages import find_clips
from step import WIDTHS, lengths_of, make_batch
from text import make_encoder

from css_model import CSS, Checkpoint, CSSConfig, Normaliser, losses, save_checkpoint
from css_model.pareto import ParetoGradientModulator
from extractors import AudioExtractor, TextExtractor, VisualExtractor
from pipeline.core.dialogue import Dialogue
from pipeline.features.compute import compute_features
from pipeline.labelling import Labeller
from pipeline.media.decode import open_media
from pipeline.segmentation.segment import segment

LABELS = ("anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise")
WORDS = (
    ("bin", "lay", "place", "set"),
    ("blue", "green", "red", "white"),
    ("at", "by", "in", "with"),
    ("now, please!", "again?", "soon...", "or I shall have to do it myself, as always."),
)
TURN = 3.0  # s of an utterance
SHARED_MODELS: dict[str, dict[str, Any]] = {}


def texts() -> list[str]:
    return [" ".join(words) for words in itertools.product(*WORDS)]


def write_transcript(clip: Path, seconds: float) -> None:
    """Write an utterance for every few seconds, by two speakers in turn."""
    rows = ["start,end,speaker,text"]
    for number, text in zip(range(int(seconds // TURN)), itertools.cycle(texts()), strict=False):
        start = number * TURN
        rows.append(f'{start + 0.2},{start + TURN - 0.2},S{number % 2 + 1},"{text}"')
    clip.with_suffix(".csv").write_text("\n".join(rows) + "\n")


def extractors_on(device: str, encoder: Path) -> dict[str, Any]:
    if device not in SHARED_MODELS:
        SHARED_MODELS[device] = {
            "text": TextExtractor(encoder, device=device),
            "audio": AudioExtractor(),
            "visual": VisualExtractor(device=device),
        }
    return SHARED_MODELS[device]


def timed(device: str, repeats: int, work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the fastest wall seconds of `work` after a warm-up, and its last result."""
    best = float("inf")
    for turn in range(repeats + 1):
        _wait(device)
        start = time.perf_counter()
        result = work()
        _wait(device)
        if turn:
            best = min(best, time.perf_counter() - start)
    return best, result


def _wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def write_run(path: Path, features: dict[str, np.ndarray], encoder: Path) -> Path:
    """Write a model with random weights for these features."""
    widths = tuple((name, rows.shape[1]) for name, rows in features.items())
    torch.manual_seed(0)
    model = CSS(CSSConfig(widths, LABELS, d=256, hidden=256))
    count = len(next(iter(features.values())))
    dialogue = Dialogue("", "train", [""] * count, [""] * count, [], np.zeros(count), features)
    made = {name: e.fingerprint for name, e in extractors_on("cpu", encoder).items()}
    prior = np.full(len(LABELS), -np.log(len(LABELS)))
    normaliser = Normaliser().fit([dialogue])
    save_checkpoint(
        path, Checkpoint(model.config, model.state_dict(), normaliser, made, prior), half=False
    )
    return path


def measure(device: str, clip: Path, encoder: Path, run: Path, options: Any) -> dict[str, Any]:
    """Return stage -> (seconds, result) on one device."""
    figures: dict[str, Any] = {}
    repeats = options.repeats
    with open_media(clip) as media:
        segmentation = segment(media)
        for modality, extractor in extractors_on(device, encoder).items():
            figures[modality] = timed(
                device,
                repeats,
                lambda one={modality: extractor}: compute_features(
                    media, segmentation, one
                ).vectors[modality],  # noqa: B023
            )
    if not run.exists():
        write_run(run, {m: figures[m][1] for m in ("text", "audio", "visual")}, encoder)
    labeller = Labeller(run, device=device, text_model=encoder)

    def label() -> np.ndarray:
        rows = labeller.label(clip).utterances
        return np.array([[row["probabilities"][name] for name in LABELS] for row in rows])

    figures["label"] = timed(device, repeats, label)
    for name, bf16 in (("training step", False), ("training step, bf16", True)):
        figures[name] = timed(device, repeats, training_step(device, bf16, options.dialogues))
    return figures


def training_step(device: str, bf16: bool, dialogues: int) -> Callable[[], None]:
    """Return a function that takes a step of CSS at the paper's size on IEMOCAP's lengths."""
    lengths = np.random.default_rng(0).choice(lengths_of("iemocap"), dialogues).tolist()
    batch = make_batch(lengths).to(device)
    torch.manual_seed(0)
    model = CSS(CSSConfig(WIDTHS, tuple("abcdef"))).to(device)
    optimizer = torch.optim.Adam(model.parameters(), 1e-6, weight_decay=1e-5, fused=True)
    modulator = ParetoGradientModulator(model)

    def step() -> None:
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=bf16):
            output = model(batch)
        modulator.backward(losses(output, batch), output)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def difference(one: Any, other: Any) -> float | None:
    """Return the largest difference, relative to the largest value; None if there is no result."""
    if one is None or other is None:
        return None
    missing = np.isnan(one)
    if (missing != np.isnan(other)).any():
        return float("inf")
    return float(np.nanmax(np.abs(one - other)) / np.nanmax(np.abs(one)))


def table(measured: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one row per stage: seconds on each device, their ratio, the difference of results."""
    rows = []
    for stage, (seconds, result) in measured["cpu"].items():
        row: dict[str, Any] = {"stage": stage, "cpu_s": round(seconds, 3)}
        if "cuda" in measured:
            on_gpu, other = measured["cuda"][stage]
            gap = difference(result, other)
            row |= {"cuda_s": round(on_gpu, 4), "ratio": round(seconds / on_gpu, 2)}
            row["difference"] = None if gap is None else float(f"{gap:.1e}")
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--layers", type=int, default=24, help="of the text encoder")
    parser.add_argument("--dialogues", type=int, default=16, help="in the batch of the step")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--device", choices=("auto", "cpu"), default="auto")
    options = parser.parse_args()
    devices = ["cpu"]
    if options.device == "auto" and torch.cuda.is_available():
        devices.append("cuda")
        print(f"GPU: {torch.cuda.get_device_name()}, torch {torch.__version__}")
    else:
        print(f"no GPU is used, torch {torch.__version__}")
    print(f"CPU: {torch.get_num_threads()} threads")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = join(find_clips(options.clips), folder / "clip.mp4", options.seconds)
        write_transcript(clip, options.seconds)
        (folder / "encoder").mkdir()
        encoder = make_encoder(folder / "encoder", texts(), options.layers)
        measured = {
            device: measure(device, clip, encoder, folder / "run.safetensors", options)
            for device in devices
        }
    rows = table(measured)
    print("| " + " | ".join(rows[0]) + " |")
    print("|" + "---|" * len(rows[0]))
    for row in rows:
        print("| " + " | ".join("" if v is None else str(v) for v in row.values()) + " |")
    if "cuda" in measured:
        print(f"peak GPU memory: {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB")
    print(json.dumps({"seconds": options.seconds, "layers": options.layers, "rows": rows}))


if __name__ == "__main__":
    main()
