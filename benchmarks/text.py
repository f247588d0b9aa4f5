"""RoBERTa-Large extraction compared with the matrix products of the machine, on MELD's texts.

    python benchmarks/text.py                        # about a minute on one core
    python benchmarks/text.py --texts 512 --layers 24 --device cuda

The encoder has RoBERTa-Large's layers and random weights; times do not depend on their values.
Rates are useful multiplications and additions per second: those of an utterance's own tokens,
without padding. The machine's rate is measured in the same run, just before and after, on the six
products of a layer at the size of a batch, and on large square matrices; the best counts. On a
machine that others use too, only the ratio is meaningful.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from meld import meld_rows

from extractors.text import TextExtractor

HIDDEN, INNER = 1024, 4096  # RoBERTa-Large


def texts_of_meld(count: int) -> list[str]:
    """Return a random choice of MELD's training utterances, the same in each run."""
    texts = [row["Utterance"] for row in meld_rows("train")]
    return [texts[k] for k in np.random.default_rng(0).permutation(len(texts))[:count]]


def make_encoder(folder: Path, texts: list[str], layers: int) -> Path:
    """Save a RoBERTa with Large's widths and a byte-level BPE trained on `texts`.

    Its tokens are about as long as RoBERTa's.
    """
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


def operations(lengths: np.ndarray, layers: int) -> float:
    """Count the multiplications and additions for utterances of these numbers of tokens."""
    weights = 4 * HIDDEN**2 + 2 * HIDDEN * INNER
    return float(layers * (2 * weights * lengths + 4 * HIDDEN * lengths**2).sum())


def matrix_rate(tokens: int, device: str, seconds: float = 4.0) -> float:
    """Return the operations per second of the matrix products of a layer on `tokens` rows."""
    shapes = [(HIDDEN, HIDDEN)] * 4 + [(INNER, HIDDEN), (HIDDEN, INNER)]
    # four layers do not fit into any cache
    weights = [torch.randn(shape, device=device) for _ in range(4) for shape in shapes]
    rows = {width: torch.randn(tokens, width, device=device) for width in (HIDDEN, INNER)}
    count = 2 * tokens * sum(weight.numel() for weight in weights)
    best, start = 0.0, time.perf_counter()
    with torch.inference_mode():
        while time.perf_counter() - start < seconds:
            begin = clock(device)
            for weight in weights:
                torch.nn.functional.linear(rows[weight.shape[1]], weight)
            best = max(best, count / (clock(device) - begin))
    return best


def square_rate(device: str) -> float:
    """Return the same for 2048 x 2048 matrices, the most favourable size."""
    one, best = torch.randn(2048, 2048, device=device), 0.0
    for _ in range(8):
        begin = clock(device)
        one @ one
        best = max(best, 2 * 2048**3 / (clock(device) - begin))
    return best


def clock(device: str) -> float:
    """Return CPU seconds, which other processes disturb little; on a GPU wall seconds."""
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def padding(lengths: np.ndarray, batch: int) -> float:
    """Return the share of padding if the texts are batched in this order."""
    padded = 0
    for first in range(0, len(lengths), batch):
        part = lengths[first : first + batch]
        padded += len(part) * int(part.max())
    return 1 - lengths.sum() / padded


def choose(lengths: np.ndarray, count: int, batch: int) -> np.ndarray:
    """Choose about `count` texts, evenly over the lengths, in batches as the whole corpus has.

    Batches are neighbours in length, and whole.
    """
    order, step = np.argsort(lengths, kind="stable"), max(1, len(lengths) // count)
    starts = np.arange(0, len(order) - batch, batch * step)
    return np.concatenate([order[start : start + batch] for start in starts])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--texts", type=int, default=192, help="number of utterances to run")
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device, batch, layers = options.device, options.batch, options.layers
    corpus = texts_of_meld(10_000)
    with tempfile.TemporaryDirectory() as name:
        folder = make_encoder(Path(name), corpus, layers)
        extractor = TextExtractor(folder, device=device, batch=batch, precision=options.precision)
        lengths = np.array([len(ids) for ids in extractor.tokens(corpus)])
        rows = choose(lengths, options.texts, batch)
        texts = [corpus[k] for k in rows]
        extractor.extract(texts[:2])  # the first call loads the weights
        batches = np.split(np.sort(lengths), range(batch, len(lengths), batch))
        tokens = int(np.median([part.max() * len(part) for part in batches]))
        rates = {"before": matrix_rate(tokens, device), "square": square_rate(device)}
        start = clock(device)
        extractor.extract(texts)
        seconds = clock(device) - start
        rates["after"] = matrix_rate(tokens, device)
    rate = operations(lengths[rows], layers) / seconds
    corpus_seconds = operations(lengths, layers) / rate
    figures = {
        "device": device,
        "threads": torch.get_num_threads(),
        "precision": options.precision,
        "layers": layers,
        "batch": batch,
        "utterances": len(texts),
        "seconds": round(seconds, 1),
        "tokens_mean": round(float(lengths.mean()), 1),
        "matrix_gflops": {name: round(value / 1e9, 1) for name, value in rates.items()},
        "extraction_gflops": round(rate / 1e9, 1),
        "extraction_over_matrix": round(rate / max(rates.values()), 3),
        "padding_waste": round(padding(np.sort(lengths), batch), 4),
        "padding_if_unsorted": round(padding(lengths, batch), 4),
        "utterances_per_second": round(len(lengths) / corpus_seconds, 2),
        "minutes_for_13708": round(13708 / len(lengths) * corpus_seconds / 60, 1),
    }
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
