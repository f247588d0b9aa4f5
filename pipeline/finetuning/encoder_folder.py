"""A fine-tuned encoder as a folder that `TextExtractor` loads: safetensors and JSON only."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file, save_file
from torch import Tensor

from extractors.delta import pack_delta
from extractors.encoders import ABOUT, DELTAS
from extractors.pretrained import add_updates
from extractors.text import TextExtractor
from pipeline.core.files import write_bytes, write_text
from pipeline.finetuning.classifier import quiet
from pipeline.finetuning.config import LoraConfig

__all__ = ["HEAD", "write_encoder"]

HEAD = "head.safetensors"
DELTA = "delta.safetensors"


def write_encoder(
    extractor: TextExtractor,
    weights: Path,
    method: str,
    lora: LoraConfig,
    labels: Sequence[str],
    folder: Path,
) -> None:
    """Apply trained weights to the extractor's encoder and write it, with its head, to `folder`.

    weights: best.safetensors of `tune`. With method "lora" the update is also written on its own
    as delta.safetensors, provided that others have the original encoder. It is rounded to half
    precision first, so that both give the same vectors.
    """
    folder.mkdir(parents=True, exist_ok=True)
    trained = load_file(weights)
    name = extractor.fingerprint["options"]["name"]
    about = {"base": name, "pooling": extractor.pooling, "cleaning": extractor.cleaning}
    encoder = extractor.encoder()
    if method == "lora":
        delta = {
            **about,
            "weights": extractor.fingerprint["weights"],
            "scale": lora.alpha / lora.rank,
        }
        write_bytes(folder / DELTA, pack_delta(_lora_layers(trained), delta))
        add_updates(encoder, folder / DELTA)
        if name in (*DELTAS, "delta", "folder"):  # others do not have this encoder
            (folder / DELTA).unlink()
    else:
        encoder.load_state_dict(_under("encoder.", trained), strict=False)
    state = {key: w for key, w in encoder.state_dict().items() if not key.startswith("pooler.")}
    with quiet():
        encoder.save_pretrained(folder, state_dict=state)
        extractor.save_tokenizer(folder)
    metadata = {"labels": json.dumps(list(labels))}
    save_file(_under("head.", trained), folder / HEAD, metadata)
    write_text(folder / ABOUT, _pretty({**about, "method": method}))


def _under(prefix: str, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Select the weights whose names begin with a prefix, which is removed."""
    return {
        name.removeprefix(prefix): weight
        for name, weight in weights.items()
        if name.startswith(prefix)
    }


def _lora_layers(weights: dict[str, Tensor]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return layer -> (A, B), from peft's names."""
    start, end = "encoder.base_model.model.", ".lora_A.default.weight"
    layers = {}
    for name in weights:
        if name.endswith(end):
            layer = name.removeprefix(start).removesuffix(end)
            a, b = weights[name], weights[name.replace("lora_A", "lora_B")]
            layers[layer] = a.numpy(), b.numpy()
    return layers


def _pretty(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=1, sort_keys=True) + "\n"
