"""Which dialogues train, which select, which are read once at the end.

clean      select on valid; where the corpus has none, a share of its training dialogues, the seed recorded
published  train on train and valid, keep the epoch best on *test*: leaky, for comparison with printed tables only
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from pipeline.core.dialogue import Corpus, Dialogue
from pipeline.training.config import DataConfig

__all__ = ["PROTOCOLS", "Parts", "part_corpus", "restrict", "speaker_notes"]

PROTOCOLS = ("clean", "published")
LARGEST = 1e18  # its square is beyond float32; openSMILE's largest ratios are of 1e7


@dataclass(frozen=True)
class Parts:
    """`held` names the dialogues of the training part that do not train; notes go onto the card."""

    corpus: Corpus
    protocol: str
    valid: list[Dialogue]
    test: list[Dialogue]
    held: frozenset[str] = frozenset()
    notes: list[str] = field(default_factory=list)

    def train(self, epoch: int, seed: int) -> list[Dialogue]:
        """The training dialogues of one epoch."""
        own = [d for d in self.corpus.epoch(epoch, seed) if d.id not in self.held]
        return own + self.valid if self.protocol == "published" else own

    @property
    def select(self) -> list[Dialogue]:
        """Where the best epoch is chosen."""
        return self.test if self.protocol == "published" else self.valid


def part_corpus(corpus: Corpus, config: DataConfig, protocol: str) -> Parts:
    """Split a corpus for a protocol, carving what it lacks out of its training dialogues.

    Raises ValueError when a part would be empty or without a label, or when the training has fewer than two classes.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"no protocol {protocol!r}; choose {' or '.join(PROTOCOLS)}")
    _refuse_shared(corpus)
    if config.sessions >= 0:
        corpus = corpus.with_sessions(config.sessions)
    valid, test = corpus.split("valid"), corpus.split("test")
    labelled = [d.id for d in corpus.split("train") if (d.labels >= 0).any()]
    if not labelled:
        raise ValueError(
            f"{corpus.name}: no dialogue of the train split has a label; nothing to learn from"
        )
    order = list(np.random.default_rng(config.split_seed).permutation(len(labelled)))
    notes, held, moved = list(corpus.notes), set(), {d.id: d for d in corpus.split("train")}
    wants = {
        "test": round(config.test_share * len(labelled)),
        "valid": round(config.valid_share * len(labelled)),
    }
    for name, own in (("test", test), ("valid", valid)):
        if own:
            continue
        count = max(1, wants[name])
        if count >= len(order):
            raise ValueError(
                f"{corpus.name}: no {name} split, and {len(labelled)} labelled training dialogues are "
                f"too few to take one from; add dialogues, or give some the split {name}"
            )
        taken = {labelled[order.pop()] for _ in range(count)}
        held |= taken
        own.extend(replace(moved[i], split=name) for i in moved if i in taken)
        notes.append(
            f"The corpus has no {name} part: {count} of its {len(labelled)} labelled training dialogues "
            f"were taken (split_seed {config.split_seed}): {', '.join(d.id for d in own)}."
        )
    if corpus.name == "meld":
        notes.append(
            "MELD is not speaker- or episode-independent: 97 % of dev utterances are by training speakers."
        )
    if config.select_audio and "audio" in corpus.widths:
        notes.append(
            f"Audio: {config.select_audio} of {corpus.widths['audio']} columns, chosen with the labels of the "
            "training utterances. They are not the 300 of MELD's published files, which come from another set "
            "(6373 columns) and cannot be made again."
        )
    parts = Parts(corpus, protocol, valid, test, frozenset(held), notes)
    for name, dialogues in (("valid", valid), ("test", test)):
        if not any((d.labels >= 0).any() for d in dialogues):
            raise ValueError(
                f"{corpus.name}: the {name} split has no labelled utterance; label some, or empty the "
                "split so that one is taken from train"
            )
    first = parts.train(0, 0)
    notes += _missing(parts, first)
    counts = count_labels(first, len(corpus.labels))
    if (counts > 0).sum() < 2:
        raise ValueError(
            f"{corpus.name}: the training part has only the class "
            f"{corpus.labels[int(counts.argmax())]!r}; want at least two"
        )
    absent = [label for label, count in zip(corpus.labels, counts, strict=True) if not count]
    if absent:
        notes.append(
            f"Without a training example, hence never to be predicted with reason: {', '.join(absent)}."
        )
    return parts


def speaker_notes(corpus: Corpus, rows: int) -> list[str]:
    """Dialogues with more speakers than the model's table has rows (`model.speakers`), if any."""
    many = [d for d in corpus.dialogues if len(set(d.speakers)) > rows]
    return [
        f"{len(many)} dialogues have more speakers than model.speakers = {rows}, such as {d.id} "
        f"({len(set(d.speakers))}): the later ones share embeddings with the first."
        for d in many[:1]
    ]


def _missing(parts: Parts, train: list[Dialogue]) -> list[str]:
    """What share of each modality is missing.  Raises ValueError when the training part has no feature at all."""
    notes, found = [], 0
    for modality in parts.corpus.widths:
        shares = {}
        for name, dialogues in (("train", train), ("valid", parts.valid), ("test", parts.test)):
            rows = [d.features[modality] for d in dialogues if modality in d.features]
            there = sum(int((~np.isnan(matrix).any(1)).sum()) for matrix in rows)
            shares[name] = 1 - there / max(1, sum(len(d.utterances) for d in dialogues))
            found += there if name == "train" else 0
        if any(shares.values()):
            notes.append(
                f"{modality} is missing in {', '.join(f'{s:.1%} of {name}' for name, s in shares.items())}."
            )
    if not found:
        raise ValueError(
            f"{parts.corpus.name}: every feature of the training part is missing (rows of NaN)"
        )
    return notes


def count_labels(dialogues: list[Dialogue], classes: int) -> np.ndarray:
    known = (
        np.concatenate([d.labels[d.labels >= 0] for d in dialogues])
        if dialogues
        else np.zeros(0, np.int64)
    )
    return np.bincount(known.astype(np.int64), minlength=classes)


def restrict(corpus: Corpus, modalities: list[str]) -> list[str]:
    """The modalities asked for that the corpus has.  Raises ValueError when none is left."""
    chosen = [m for m in modalities if m in corpus.widths]
    if not chosen:
        raise ValueError(
            f"{corpus.name} has {', '.join(corpus.widths)}, none of data.modalities "
            f"({', '.join(modalities)})"
        )
    return chosen


def _refuse_shared(corpus: Corpus) -> None:
    """Dialogues of one name in two parts, wrong widths, labels out of range: each named."""
    seen: dict[str, str] = {}
    for d in corpus.dialogues:
        if d.id in seen:
            both = f"is in {seen[d.id]} and {d.split}" if seen[d.id] != d.split else "comes twice"
            raise ValueError(
                f"{corpus.name}: dialogue {d.id} {both}; a dialogue belongs to one split"
            )
        seen[d.id] = d.split
        n = len(d.utterances)
        for modality, matrix in d.features.items():
            if matrix.shape != (n, corpus.widths.get(modality)):
                raise ValueError(
                    f"{corpus.name}: dialogue {d.id}, {modality}: {matrix.shape} where "
                    f"({n}, {corpus.widths.get(modality)}) is wanted"
                )
            largest = np.nanmax(np.abs(matrix), initial=0)
            if largest > LARGEST:
                raise ValueError(
                    f"{corpus.name}: dialogue {d.id}, {modality}: a value of {largest:.0e}; a feature of "
                    "that size is an error of what made it"
                )
        if len(d.labels) != n or len(d.speakers) != n:
            raise ValueError(
                f"{corpus.name}: dialogue {d.id}: {n} utterances, {len(d.labels)} labels, "
                f"{len(d.speakers)} speakers"
            )
        if n and not (-1 <= d.labels.min() and d.labels.max() < len(corpus.labels)):
            raise ValueError(
                f"{corpus.name}: dialogue {d.id}: label {int(d.labels.max())} where "
                f"{len(corpus.labels)} labels are known (0 to {len(corpus.labels) - 1}, -1 = none)"
            )
