"""Which dialogues train, which select the best epoch, and which are tested once at the end.

clean: select on valid. A corpus without a valid part has one split off its training dialogues.
published: train on train and valid, and keep the epoch that is best on *test*. This leaks the test
part and is for comparison with printed tables only.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from pipeline.core.counts import counted
from pipeline.core.dialogue import Corpus, Dialogue
from pipeline.core.errors import MercError, UsageError
from pipeline.training.config import DataConfig

__all__ = [
    "PROTOCOLS",
    "Parts",
    "available_modalities",
    "count_labels",
    "speaker_notes",
    "split_corpus",
]

PROTOCOLS = ("clean", "published")
# of the labelled training dialogues, split off in this order if the corpus has no such part
SHARES = {"test": 0.15, "valid": 0.1}
LARGEST = 1e18  # its square does not fit float32; openSMILE's largest ratios are near 1e7


@dataclass(frozen=True)
class Parts:
    """A corpus split for a protocol.

    held_out: ids of dialogues of the train split that were moved to valid or test.
    few: valid is too small to choose an epoch by, so it is trained on, too.
    notes: what the card of the run should state.
    """

    corpus: Corpus
    protocol: str
    valid: list[Dialogue]
    test: list[Dialogue]
    held_out: frozenset[str] = frozenset()
    notes: list[str] = field(default_factory=list)
    few: bool = False

    def train(self, epoch: int, seed: int) -> list[Dialogue]:
        """Return the training dialogues of one epoch."""
        dialogues = [d for d in self.corpus.epoch(epoch, seed) if d.id not in self.held_out]
        return dialogues + self.valid if self.protocol == "published" or self.few else dialogues

    @property
    def select(self) -> list[Dialogue]:
        """The dialogues on which the best epoch is chosen."""
        return self.test if self.protocol == "published" else self.valid


def split_corpus(corpus: Corpus, config: DataConfig, protocol: str, few_below: int = 0) -> Parts:
    """Split a corpus for a protocol; split off the valid or test part that it does not have.

    few_below: labelled utterances of valid below which it is trained on, too (protocol clean).

    Raises:
        MercError: malformed dialogues, a part without a label, no feature at all, or training
            labels of fewer than two classes.
    """
    if protocol not in PROTOCOLS:
        raise UsageError(f"unknown protocol {protocol!r}", f"choose {' or '.join(PROTOCOLS)}")
    _check_dialogues(corpus)
    parts = _split(corpus, config, protocol)
    for name, dialogues in (("valid", parts.valid), ("test", parts.test)):
        if not any((d.labels >= 0).any() for d in dialogues):
            raise MercError(
                f"{corpus.name}: the {name} split has no labelled utterance",
                "label some, or remove the split so that one is taken from train",
            )
    parts.notes.extend(_corpus_notes(corpus, config))
    of_valid = int(count_labels(parts.valid, len(corpus.labels)).sum())
    if protocol == "clean" and of_valid < few_below:
        parts = replace(parts, few=True)
        parts.notes.append(
            f"The valid part was trained on, too: its {counted(of_valid, 'labelled utterance')} "
            f"(fewer than train.few_below = {few_below}) cannot tell which epoch is best. So the "
            "figures on valid say nothing."
        )
    dialogues = parts.train(0, 0)
    parts.notes.extend(_missing_notes(parts, dialogues))
    parts.notes.extend(_class_notes(corpus, dialogues))
    return parts


def speaker_notes(corpus: Corpus, rows: int) -> list[str]:
    """Note dialogues with more speakers than the model has embeddings for (`model.speakers`).

    rows: 0 if the model has no embeddings.
    """
    dialogues = [d for d in corpus.dialogues if len(set(d.speakers)) > rows > 0]
    if not dialogues:
        return []
    example = dialogues[0]
    return [
        f"{len(dialogues)} dialogues have more speakers than model.speakers = {rows}, such as "
        f"{example.id} ({len(set(example.speakers))}): the speakers beyond that reuse the "
        "embeddings of the first ones."
    ]


def count_labels(dialogues: list[Dialogue], classes: int) -> np.ndarray:
    """Count the utterances of each class, (classes,) int64."""
    labels = [np.zeros(0, np.int64), *(d.labels[d.labels >= 0] for d in dialogues)]
    return np.bincount(np.concatenate(labels).astype(np.int64), minlength=classes)


def available_modalities(corpus: Corpus, modalities: list[str]) -> list[str]:
    """Return those of `modalities` that the corpus has. Raises MercError if it has none."""
    available = [m for m in modalities if m in corpus.widths]
    if not available:
        raise MercError(
            f"{corpus.name}: has {', '.join(corpus.widths)}, but none of data.modalities "
            f"({', '.join(modalities)})",
            "change data.modalities",
        )
    return available


def _split(corpus: Corpus, config: DataConfig, protocol: str) -> Parts:
    train = corpus.split("train")
    labelled = [d.id for d in train if (d.labels >= 0).any()]
    if not labelled:
        found = counted(len(train), "dialogue")
        raise MercError(
            f"{corpus.name}: {found} in the split train, none with a label",
            "fill in labels for the dialogues to train on, and write train into their column split",
        )
    order = list(np.random.default_rng(config.split_seed).permutation(len(labelled)))
    splits, held_out, notes = {}, set(), list(corpus.notes)
    for name, share in SHARES.items():
        splits[name] = corpus.split(name)
        if splits[name]:
            continue
        count = max(1, round(share * len(labelled)))
        if count >= len(order):
            raise MercError(
                f"{corpus.name}: no {name} split, and {len(labelled)} labelled training dialogues "
                "are too few to take one from",
                f"add dialogues, or move some to the split {name}",
            )
        ids = {labelled[order.pop()] for _ in range(count)}
        held_out |= ids
        splits[name] = [replace(d, split=name) for d in train if d.id in ids]
        names = ", ".join(d.id for d in splits[name])
        notes.append(
            f"The corpus has no {name} part: {count} of its {len(labelled)} labelled training "
            f"dialogues were taken (split_seed {config.split_seed}): {names}."
        )
    return Parts(corpus, protocol, splits["valid"], splits["test"], frozenset(held_out), notes)


def _corpus_notes(corpus: Corpus, config: DataConfig) -> list[str]:
    notes = []
    if corpus.name == "meld":
        notes.append(
            "MELD is not speaker- or episode-independent: 97 % of dev utterances are by training "
            "speakers."
        )
    if config.select_audio and "audio" in corpus.widths:
        notes.append(
            f"Audio: {config.select_audio} of {corpus.widths['audio']} columns, selected with the "
            "labels of the training utterances. They are not the 300 of MELD's published files, "
            "which come from another set (6373 columns) and cannot be reproduced."
        )
    return notes


def _missing_notes(parts: Parts, train: list[Dialogue]) -> list[str]:
    """Note what share of each modality is missing. Raises MercError if train has no feature."""
    notes, present_in_train = [], 0
    for modality in parts.corpus.widths:
        shares = {}
        for name, dialogues in (("train", train), ("valid", parts.valid), ("test", parts.test)):
            rows = [d.features[modality] for d in dialogues if modality in d.features]
            present = sum(int((~np.isnan(matrix).any(1)).sum()) for matrix in rows)
            shares[name] = 1 - present / max(1, sum(len(d.utterances) for d in dialogues))
            present_in_train += present if name == "train" else 0
        if any(shares.values()):
            listed = ", ".join(f"{share:.1%} of {name}" for name, share in shares.items())
            notes.append(f"{modality} is missing in {listed}.")
    if not present_in_train:
        raise MercError(
            f"{parts.corpus.name}: every feature of the training part is missing (rows of NaN)",
            "extract the features again",
        )
    return notes


def _class_notes(corpus: Corpus, train: list[Dialogue]) -> list[str]:
    """Note classes without a training example. Raises MercError for fewer than two classes."""
    counts = count_labels(train, len(corpus.labels))
    if (counts > 0).sum() < 2:
        only = corpus.labels[int(counts.argmax())]
        raise MercError(
            f"{corpus.name}: the training part has only the class {only!r}",
            "label utterances of at least two classes",
        )
    unseen = [label for label, count in zip(corpus.labels, counts, strict=True) if not count]
    if not unseen:
        return []
    return [f"No training example, so predictions mean nothing: {', '.join(unseen)}."]


def _check_dialogues(corpus: Corpus) -> None:
    """Raise MercError for a repeated id, wrong shapes, enormous features or unknown labels."""
    splits: dict[str, str] = {}
    for dialogue in corpus.dialogues:
        name = f"{corpus.name}: dialogue {dialogue.id}"
        if dialogue.id in splits:
            other = splits[dialogue.id]
            repeated = f"is in {other} and {dialogue.split}"
            if other == dialogue.split:
                repeated = "comes twice"
            raise MercError(f"{name} {repeated}", "keep each dialogue once, in one split")
        splits[dialogue.id] = dialogue.split
        _check_features(name, dialogue, corpus.widths)
        _check_labels(name, dialogue, len(corpus.labels))


def _check_features(name: str, dialogue: Dialogue, widths: dict[str, int]) -> None:
    for modality, matrix in dialogue.features.items():
        expected = (len(dialogue.utterances), widths.get(modality))
        if matrix.shape != expected:
            raise MercError(
                f"{name}, {modality}: features of shape {matrix.shape}, expected {expected}",
                "give every utterance one row of the corpus' width",
            )
        largest = np.nanmax(np.abs(matrix), initial=0)
        if largest > LARGEST:
            raise MercError(
                f"{name}, {modality}: a value of {largest:.0e}",
                "extract the features again; no extractor should give a value of that size",
            )


def _check_labels(name: str, dialogue: Dialogue, classes: int) -> None:
    n, labels = len(dialogue.utterances), dialogue.labels
    if len(labels) != n or len(dialogue.speakers) != n:
        raise MercError(
            f"{name}: {n} utterances, {len(labels)} labels, {len(dialogue.speakers)} speakers",
            "give every utterance one of each",
        )
    if n and not (-1 <= labels.min() and labels.max() < classes):
        raise MercError(
            f"{name}: label {int(labels.max())} is out of range",
            f"use 0 to {classes - 1}, or -1 for an utterance without a label",
        )
