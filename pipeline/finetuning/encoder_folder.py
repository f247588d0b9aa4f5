"""A fine-tuned encoder as the folder that `TextExtractor` loads."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from safetensors.torch import load_file, save_file

from extractors.delta import apply_delta, pack_delta
from extractors.text import ABOUT, DELTAS, TextExtractor
from pipeline.core.files import write_bytes, write_text
from pipeline.finetuning.config import FinetuneConfig
from pipeline.finetuning.lines import Lines
from pipeline.finetuning.trainer import Examples, quiet

__all__ = ["Job", "write_encoder"]


@dataclass(frozen=True)
class Job:
    """What every seed and fold shares."""

    lines: Lines
    extractor: TextExtractor  # the encoder as it is before
    method: str
    config: FinetuneConfig
    work: Path

    @cached_property
    def examples(self) -> dict[str, Examples]:
        """Train and valid as the encoder reads them."""
        return {
            split: Examples(self.extractor.tokens(self.lines.texts(split)), self.lines.truth(split))
            for split in ("train", "valid")
        }


def write_encoder(job: Job, tuned: Path, folder: Path) -> None:
    """The best epoch in `tuned` as a folder that TextExtractor loads; safetensors and JSON only.

    LoRA's changes are rounded to half precision first, so that the folder and its delta.safetensors give one vector.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = load_file(tuned / "best.safetensors")
    named = job.extractor.fingerprint["options"]["name"]
    about = {
        "base": named,
        "weights": job.extractor.fingerprint["weights"],
        "pooling": job.extractor.pooling,
        "cleaning": job.extractor.cleaning,
        "scale": job.config.lora.alpha / job.config.lora.rank,
    }
    encoder = job.extractor.encoder()
    if job.method == "lora":
        front, middle = "encoder.base_model.model.", ".lora_A.default.weight"  # peft's names
        layers = {
            name.removeprefix(front).removesuffix(middle): (
                state[name],
                state[name.replace("lora_A", "lora_B")],
            )
            for name in state
            if name.endswith(middle)
        }
        write_bytes(folder / "delta.safetensors", pack_delta(layers, about))
        apply_delta(encoder, folder / "delta.safetensors")
        if named in (
            *DELTAS,
            "delta",
            "folder",
        ):  # only what others have too can be changed by a file of its own
            (folder / "delta.safetensors").unlink()
    else:
        own = {
            name.removeprefix("encoder."): weight
            for name, weight in state.items()
            if name.startswith("encoder.")
        }
        encoder.load_state_dict(own, strict=False)
    with quiet():
        encoder.save_pretrained(
            folder,
            state_dict={
                name: weight
                for name, weight in encoder.state_dict().items()
                if not name.startswith("pooler.")
            },
        )
        job.extractor.save_tokenizer(folder)
    save_file(
        {
            name.removeprefix("head."): weight
            for name, weight in state.items()
            if name.startswith("head.")
        },
        folder / "head.safetensors",
        {"labels": json.dumps(job.lines.labels)},
    )
    write_text(
        folder / ABOUT,
        json.dumps(
            {key: about[key] for key in ("base", "pooling", "cleaning")} | {"method": job.method},
            indent=1,
            sort_keys=True,
        )
        + "\n",
    )
