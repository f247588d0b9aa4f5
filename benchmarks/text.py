"""RoBERTa-Large extraction against what the machine's matrix products allow, on MELD's own texts.

    python benchmarks/text.py                        # about a minute of one core
    python benchmarks/text.py --texts 512 --layers 24 --device cuda

The encoder has RoBERTa-Large's layers and random weights, made here; times do not depend on their values.  Rates are
useful multiplications and additions a second: those of an utterance's own tokens, padding not counted.  The machine's
rate is measured in the same run, right before and after, on the six products of a layer at the sizes that a batch has,
and on large square matrices; the best counts.  Only the ratio means anything on a machine that others use too.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from extractors.text import TextExtractor

ROOT = Path(__file__).resolve().parents[1]
HIDDEN, INNER = 1024, 4096  # RoBERTa-Large


def texts_of_meld(count: int) -> list[str]:
    """A random choice of MELD's training utterances, the same in each run."""
    path = (
        Path(os.environ.get("MERC_SHARED", ROOT.parent / "shared"))
        / "data"
        / "meld"
        / "train_sent_emo.csv"
    )
    if not path.is_file():
        raise SystemExit(f"MELD's transcripts are not in {path}: name their folder in MERC_SHARED")
    with path.open(encoding="utf-8", newline="") as file:
        said = [row["Utterance"] for row in csv.DictReader(file)]
    return [said[k] for k in np.random.default_rng(0).permutation(len(said))[:count]]


def make_encoder(folder: Path, texts: list[str], layers: int) -> Path:
    """RoBERTa with Large's widths; a byte-level BPE of `texts`, whose tokens are about as long as RoBERTa's own."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import RobertaConfig, RobertaModel, RobertaTokenizerFast

    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(
        texts,
        vocab_size=20_000,
        min_frequency=1,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
    )
    bpe.save_model(str(folder))
    RobertaTokenizerFast.from_pretrained(folder, model_max_length=512).save_pretrained(folder)
    config = RobertaConfig(
        vocab_size=bpe.get_vocab_size(),
        hidden_size=HIDDEN,
        num_hidden_layers=layers,
        num_attention_heads=16,
        intermediate_size=INNER,
        max_position_embeddings=514,
        type_vocab_size=1,
    )
    RobertaModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


def work_of(lengths: np.ndarray, layers: int) -> float:
    """Multiplications and additions of the encoder for utterances of so many tokens: weights, and attention."""
    weights = 4 * HIDDEN**2 + 2 * HIDDEN * INNER
    return float(layers * (2 * weights * lengths + 4 * HIDDEN * lengths**2).sum())


def matrix_rate(tokens: int, device: str, seconds: float = 4.0) -> float:
    """Multiplications and additions a second of the products of a layer on a batch of `tokens`, nothing between."""
    shapes = [(HIDDEN, HIDDEN)] * 4 + [(INNER, HIDDEN), (HIDDEN, INNER)]
    layers = [
        [torch.randn(shape, device=device) for shape in shapes] for _ in range(4)
    ]  # beyond any cache
    rows = {width: torch.randn(tokens, width, device=device) for width in (HIDDEN, INNER)}
    best = 0.0
    start = time.perf_counter()
    with torch.inference_mode():
        while time.perf_counter() - start < seconds:
            begin = clock(device)
            for weights in layers:
                for weight in weights:
                    torch.nn.functional.linear(rows[weight.shape[1]], weight)
            best = max(
                best,
                2 * tokens * sum(w.numel() for ws in layers for w in ws) / (clock(device) - begin),
            )
    return best


def square_rate(device: str) -> float:
    """The same of products of two matrices of 2048 x 2048, the kindest size."""
    one, best = torch.randn(2048, 2048, device=device), 0.0
    for _ in range(8):
        begin = clock(device)
        one @ one
        best = max(best, 2 * 2048**3 / (clock(device) - begin))
    return best


def clock(device: str) -> float:
    """CPU seconds of this process, so that others on the machine disturb little; wall seconds on a GPU."""
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--texts", type=int, default=192, help="how many utterances are run")
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    everything = texts_of_meld(10_000)
    with tempfile.TemporaryDirectory() as place:
        folder = make_encoder(Path(place), everything, chosen.layers)
        extractor = TextExtractor(
            folder, device=chosen.device, batch=chosen.batch, precision=chosen.precision
        )
        counts = np.array([len(ids) for ids in extractor.tokens(everything)])
        # the padding of the whole corpus: batches of neighbours in order of length
        batches = np.split(np.sort(counts), range(chosen.batch, len(counts), chosen.batch))
        padded = np.concatenate([np.full(len(part), part.max()) for part in batches])
        # so that a short run has the batches of a long one: whole batches of neighbours, evenly through the lengths
        order, step = np.argsort(counts, kind="stable"), max(1, len(counts) // chosen.texts)
        first = np.arange(0, len(order) - chosen.batch, chosen.batch * step)
        rows = np.concatenate([order[k : k + chosen.batch] for k in first])
        texts, own = [everything[k] for k in rows], counts[rows]
        extractor.extract(texts[:2])  # weights are read by the first text
        tokens = int(np.median([part.max() * len(part) for part in batches]))
        rates = [matrix_rate(tokens, chosen.device), square_rate(chosen.device)]
        begin = clock(chosen.device)
        extractor.extract(texts)
        taken = clock(chosen.device) - begin
        rates.append(matrix_rate(tokens, chosen.device))
    rate = work_of(own, chosen.layers) / taken
    whole = work_of(counts, chosen.layers) / rate
    told = {
        "device": chosen.device,
        "threads": torch.get_num_threads(),
        "precision": chosen.precision,
        "layers": chosen.layers,
        "batch": chosen.batch,
        "utterances": len(texts),
        "seconds": round(taken, 1),
        "tokens_mean": round(float(counts.mean()), 1),
        "matrix_gflops": {
            name: round(r / 1e9, 1)
            for name, r in zip(("before", "square", "after"), rates, strict=True)
        },
        "extraction_gflops": round(rate / 1e9, 1),
        "extraction_over_matrix": round(rate / max(rates), 3),
        "padding_waste": round(1 - counts.sum() / padded.sum(), 4),
        "padding_if_unsorted": round(
            1
            - counts.sum()
            / (
                chosen.batch
                * sum(
                    counts[k : k + chosen.batch].max() for k in range(0, len(counts), chosen.batch)
                )
            ),
            4,
        ),
        "utterances_per_second": round(len(counts) / whole, 2),
        "minutes_for_13708": round(13708 / len(counts) * whole / 60, 1),
    }
    print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
