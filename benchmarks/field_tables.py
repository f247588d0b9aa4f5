"""Make the tables of MELD's words and of the paired corpus that docs/benchmark.md reports on.

    python benchmarks/field_tables.py SHARED OUT      # OUT/meld_text and OUT/paired

SHARED holds `data`: MELD's transcripts, and what pipeline/recipes/paired.py reads. The text
encoder, minilm-emotion, was fine-tuned on the labels of MELD's training part. MELD's test part is
not at hand, so 38 of the 114 dialogues of its dev part are for validation and the others for the
test. `paired` is a sample of one drawn epoch without the sessions of neutral words: a modality that
is missing there stays missing.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from extractors.text import TextExtractor
from pipeline.core.dialogue import Corpus, Dialogue
from pipeline.corpora.meld_transcripts import EMOTIONS, read_meld_csv
from pipeline.corpora.table import save_table
from pipeline.recipes.paired import load_paired, load_words

VALID = 38  # dialogues of MELD's dev part
SAMPLE = {"train": 9500, "valid": 1500, "test": 2500}  # utterances of the paired corpus, at most


def words_of_meld(data: Path) -> Corpus:
    """Return MELD's utterances with their text features."""
    encoder = TextExtractor("minilm-emotion")
    dialogues = []
    for part in ("train", "dev"):
        path = data / f"meld/{part}_sent_emo.csv"
        words = load_words(path, read_meld_csv(path), encoder, print)
        valid = set(np.random.default_rng(0).permutation(len(words.transcripts))[:VALID].tolist())
        for number, (transcript, rows) in enumerate(
            zip(words.transcripts, words.vectors, strict=True)
        ):
            held_out = "valid" if number in valid else "test"
            dialogues.append(
                Dialogue(
                    id=f"{part}-{transcript.id}",
                    split="train" if part == "train" else held_out,
                    utterances=[str(name) for name in transcript.utterances],
                    speakers=transcript.speakers,
                    texts=transcript.texts,
                    labels=transcript.labels,
                    features={"text": rows},
                )
            )
    note = (
        "MELD's transcripts: valid and test are dialogues of MELD's dev part. The text encoder was "
        "fine-tuned on the labels of the training part."
    )
    made = {"text": encoder.fingerprint}
    return Corpus("meld_text", EMOTIONS, dialogues, {"text": encoder.dim}, made, notes=[note])


def sample_of_paired(data: Path) -> Corpus:
    """Return whole dialogues of the paired corpus, drawn at random, up to `SAMPLE` utterances."""
    corpus = load_paired(data, print)
    rng = np.random.default_rng(0)
    dialogues = []
    for split, most in SAMPLE.items():
        pool = [d for d in corpus.split(split) if d.utterances and not d.id.startswith("session-")]
        count = 0
        for k in rng.permutation(len(pool)):
            if count >= most:
                break
            count += len(pool[k].utterances)
            dialogues.append(replace(pool[k], odds=None))
    note = (
        "A sample of one drawn epoch of the paired corpus: voices and faces were paired with words "
        "at random."
    )
    made, widths = corpus.fingerprints, corpus.widths
    return Corpus("paired", corpus.labels, dialogues, widths, made, notes=[note])


def main(shared: Path, out: Path) -> None:
    """Write both tables."""
    save_table(words_of_meld(shared / "data"), out / "meld_text")
    save_table(sample_of_paired(shared / "data"), out / "paired")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
