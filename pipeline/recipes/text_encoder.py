"""Fine-tune MiniLM on the emotions of four corpora: the encoder `minilm-emotion`.

All weights of the layers are trained, since that is faster than low-rank updates on a processor;
what ships is the best approximation of their change of rank RANK (Eckart and Young 1936), 5 MB
instead of 90. Corpora label differently, so each but MELD has a bias of its own, and an utterance
whose label MELD does not have counts as one of several (a partial label):

    python -m pipeline.recipes.text_encoder --data DATA --out OUT
"""

from __future__ import annotations

import argparse
import csv
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from extractors.delta import pack_delta
from extractors.text import TextExtractor, clean_text
from extractors.token_batches import pool
from pipeline.core.files import write_bytes, write_text
from pipeline.corpora.meld_transcripts import EMOTIONS, read_meld_csv

RANK = 64
EPOCHS, BATCH, LR = 3, 64, 8e-5
WARMUP = 0.06  # of the steps
LONGEST = 96  # tokens
CORPORA = ("meld", "emorynlp", "dailydialog", "goemotions")
# EmoryNLP's labels; peaceful and powerful are one of several of MELD's
NAMES = {
    **{"joyful": "joy", "scared": "fear", "mad": "anger", "sad": "sadness"},
    **{"peaceful": "neutral|joy", "powerful": "joy|anger|surprise|neutral"},
}


class Lines:
    """The utterances of one split of all corpora.

    tokens: n lists; corpus: (n,) indices into CORPORA; allowed: (n, 7), 1 for every emotion that
    the label allows; several: (n,) bool, whether all of them hold, as in GoEmotions.
    """

    def __init__(self, data: Path, split: str, extractor: TextExtractor) -> None:
        rows: list[tuple[int, str, str]] = []
        meld = data / "meld" / f"{'dev' if split == 'valid' else split}_sent_emo.csv"
        for dialogue in read_meld_csv(meld):
            names = (EMOTIONS[label] for label in dialogue.labels)
            rows += [(0, text, name) for text, name in zip(dialogue.texts, names, strict=True)]
        for k, name in enumerate(CORPORA[1:], 1):
            with open(data / "text" / f"{name}.csv", newline="", encoding="utf-8") as file:
                rows += [
                    (k, row["text"], row["label"])
                    for row in csv.DictReader(file)
                    if row["split"] == split
                ]
        rows = [row for row in rows if clean_text(row[1])]
        self.tokens = [ids[:LONGEST] for ids in extractor.tokens([text for _, text, _ in rows])]
        self.corpus = np.array([k for k, _, _ in rows])
        self.allowed = torch.from_numpy(np.stack([_allowed(label) for _, _, label in rows]))
        self.several = torch.tensor(["+" in label for _, _, label in rows])


class Classifier(nn.Module):
    """The encoder with a linear layer, and a bias for every corpus but MELD."""

    def __init__(self, extractor: TextExtractor) -> None:
        super().__init__()
        self.extractor = extractor
        self.encoder = extractor.encoder(dropout=0.1)
        self.encoder.requires_grad_(True)
        self.encoder.embeddings.requires_grad_(False)
        self.dropout, self.head = nn.Dropout(0.1), nn.Linear(extractor.dim, len(EMOTIONS))
        self.bias = nn.Parameter(torch.zeros(len(CORPORA), len(EMOTIONS)))

    def forward(self, lines: Lines, rows: np.ndarray) -> Tensor:
        """Return the logits (n, 7) of these rows, as MELD would label them."""
        batch = self.extractor.pad([lines.tokens[row] for row in rows])
        with torch.autocast("cpu", torch.bfloat16):
            states = self.encoder(**batch).last_hidden_state
        return self.head(self.dropout(pool(states.float(), batch["attention_mask"], "mean")))

    def loss(self, lines: Lines, rows: np.ndarray) -> Tensor:
        """Return the mean negative log-likelihood of partial and of several labels."""
        corpus = torch.from_numpy(lines.corpus[rows])
        bias = self.bias[corpus] * (corpus > 0)[:, None]
        log = torch.log_softmax(self(lines, rows) + bias, 1)
        allowed, several = lines.allowed[rows], lines.several[rows]
        partial = -torch.logsumexp(log.masked_fill(allowed == 0, -1e9), 1)
        shared = -(log * allowed).sum(1) / allowed.sum(1)
        return torch.where(several, shared, partial).mean()


def batches(lines: Lines, epoch: int) -> list[np.ndarray]:
    """Draw the batches of an epoch: MELD twice, the others once, of similar length."""
    rng = np.random.default_rng([0, epoch])
    rows = np.arange(len(lines.tokens))
    rows = np.concatenate([rows[lines.corpus == 0], rows])
    rng.shuffle(rows)
    result = []
    for start in range(0, len(rows), 32 * BATCH):
        part = np.array(
            sorted(rows[start : start + 32 * BATCH], key=lambda k: len(lines.tokens[k]))
        )
        chunks = [part[k : k + BATCH] for k in range(0, len(part), BATCH)]
        rng.shuffle(chunks)  # type: ignore[arg-type]
        result += chunks
    return result


def train(data: Path, out: Path) -> Classifier:
    """Train, or go on from `out/checkpoint.pt`, which is of this program's own making."""
    torch.manual_seed(0)
    extractor = TextExtractor("minilm")
    model = Classifier(extractor)
    lines, valid = Lines(data, "train", extractor), Lines(data, "valid", extractor)
    groups: list[tuple[list[nn.Parameter], float, float]] = [
        ([p for p in model.encoder.parameters() if p.requires_grad], LR, 0.01),
        (list(model.head.parameters()), 1e-3, 0.01),
        ([model.bias], 1e-2, 0.0),
    ]
    optimiser = torch.optim.AdamW(
        [{"params": p, "lr": lr, "weight_decay": decay} for p, lr, decay in groups],
        betas=(0.9, 0.98),
    )
    total = EPOCHS * len(batches(lines, 0))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min(1, (step + 1) / (WARMUP * total)) * (1 - step / total)
    )
    checkpoint, first = out / "checkpoint.pt", 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        schedule.load_state_dict(state["schedule"])
        first = state["epoch"]
    for epoch in range(first, EPOCHS):
        torch.manual_seed(100 + epoch)
        model.train()
        for rows in batches(lines, epoch):
            loss = model.loss(lines, rows)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
        figures = evaluate(model, valid)
        write_text(out / f"epoch-{epoch + 1}.json", json.dumps(figures, indent=1) + "\n")
        state = {"model": model.state_dict(), "optimiser": optimiser.state_dict()}
        state |= {"schedule": schedule.state_dict(), "epoch": epoch + 1}
        torch.save(state, f"{checkpoint}.part")
        os.replace(f"{checkpoint}.part", checkpoint)
    return model


@torch.inference_mode()
def evaluate(model: Classifier, lines: Lines) -> dict[str, Any]:
    """Return accuracy and weighted F1 per corpus, of utterances with one label, as MELD labels."""
    from sklearn.metrics import accuracy_score, f1_score

    model.eval()
    figures = {}
    for k, name in enumerate(CORPORA):
        rows = np.flatnonzero((lines.corpus == k) & (lines.allowed.sum(1) == 1).numpy())
        logits = torch.cat([model(lines, part) for part in np.array_split(rows, len(rows) // 64)])
        truth, guess = lines.allowed[rows].argmax(1), logits.argmax(1)
        figures[name] = {
            "accuracy": float(accuracy_score(truth, guess)),
            "weighted_f1": float(f1_score(truth, guess, average="weighted")),
        }
    return figures


def compress(model: Classifier) -> bytes:
    """Return the change of the layers, at rank RANK, as `extractors.delta` reads it."""
    before = model.extractor.encoder().state_dict()
    layers = {}
    for name, weight in model.encoder.state_dict().items():
        if name.startswith("encoder.layer") and weight.dim() == 2:
            u, s, vh = torch.linalg.svd(weight - before[name], full_matrices=False)
            root = s[:RANK].sqrt()
            a, b = root[:, None] * vh[:RANK], u[:, :RANK] * root
            layers[name.removesuffix(".weight")] = a.numpy(), b.numpy()
    about = {
        "base": "minilm",
        "weights": model.extractor.fingerprint["weights"],
        "pooling": "mean",
        "cleaning": "quotes",
        "scale": 1.0,
    }
    return pack_delta(layers, about)


def _allowed(label: str) -> np.ndarray:
    allowed = np.zeros(len(EMOTIONS), np.float32)
    for part in label.split("+"):
        for emotion in NAMES.get(part, part).split("|"):
            allowed[EMOTIONS.index(emotion)] = 1
    return allowed


def main() -> None:
    """Run the recipe from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with meld/ and text/")
    parser.add_argument("--out", type=Path, required=True, help="folder of the weights")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    model = train(arguments.data, arguments.out)
    write_bytes(arguments.out / "text.safetensors", compress(model))


if __name__ == "__main__":
    main()
