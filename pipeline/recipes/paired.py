"""The paired corpus: MELD's words with acted voices and posed faces of the same emotion.

No labelled video may be shipped with merc, so each utterance of MELD gets a voice clip (one voice
per speaker within a dialogue) and a face vector. In real video a face says far less than a FER+
face of the right label, and a model that never met a wrong face trusts every one. Voices and faces
therefore often show another emotion (`Rates`), and any modality may be missing, independently of
the label. Training pairs are drawn again for each epoch; validation pairs are drawn once, from
voices and faces that training does not use.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import beta

from pipeline.core.dialogue import Corpus, Dialogue
from pipeline.core.errors import MercError
from pipeline.core.files import data_folder
from pipeline.core.fingerprints import sha256_of
from pipeline.corpora.meld_transcripts import EMOTIONS, Transcript, read_meld_csv
from pipeline.recipes.acted_voices import HELD_OUT, VoicePool, load_voices
from pipeline.recipes.cache import cached
from pipeline.recipes.posed_faces import FacePool, load_faces

__all__ = ["HELD_OUT_MISMATCH", "PairedCorpus", "Rates", "Words", "load_paired", "pair"]

Report = Callable[[str], None]
FILES = (
    "ferplus_48.npz",
    "meld/train_sent_emo.csv",
    "meld/dev_sent_emo.csv",
    "speech/labels.csv",
)
WHERE = (
    "it needs MELD's transcripts, FER+ and acted voices; "
    "docs/merc-offline.md says where to get them"
)
LONGEST_SESSION = 40  # utterances
SHOWN_SHARE = (0.2, 1.0)  # range of the share of images that show the emotion; the rest are neutral
# of voices and faces in validation and test: lower than in training, which is to be more cautious
# than real video may require
HELD_OUT_MISMATCH = (0.5, 0.6)


@dataclass(frozen=True)
class Rates:
    """How unreliable voices and faces are.

    voice, face: mean probability that an utterance's voice or face shows another emotion. Each
        dialogue draws its own two rates from Beta distributions with these means.
    spread: pseudo-count of the Beta distributions; large: all dialogues have the same rates.
    images: most images behind one face vector.
    missing: probability that an utterance lacks a modality (text, audio, visual).
    missing_dialogue: probability that a whole dialogue lacks it.
    cut: in training, the share of dialogues that are cut into pieces.
    sessions: in training, the number of dialogues without words per epoch.
    """

    voice: float = 0.77
    face: float = 0.81
    spread: float = 1.0
    images: int = 20  # 2 s at 10 frames per second
    missing: tuple[float, float, float] = (0.02, 0.05, 0.10)
    missing_dialogue: tuple[float, float, float] = (0.0, 0.45, 0.45)
    cut: float = 0.6
    sessions: int = 2000

    @staticmethod
    def complete(mismatch: float) -> Rates:
        """Return rates for measuring: nothing missing, one mismatch rate for voices and faces."""
        return Rates(mismatch, mismatch, np.inf, missing=(0.0,) * 3, missing_dialogue=(0.0,) * 3)


@dataclass(frozen=True)
class Words:
    """MELD dialogues and their text vectors, each (n, width) float32."""

    transcripts: list[Transcript]
    vectors: list[np.ndarray]

    @property
    def labels(self) -> np.ndarray:
        """The labels of all utterances."""
        return np.concatenate([transcript.labels for transcript in self.transcripts])

    def select(self, mask: np.ndarray) -> Words:
        """Keep the dialogues where mask (dialogues,) is true."""
        rows = np.flatnonzero(mask)
        return Words([self.transcripts[k] for k in rows], [self.vectors[k] for k in rows])


@dataclass(frozen=True)
class PairedCorpus(Corpus):
    """A corpus that pairs words, voices and faces again for every epoch.

    words, faces: split -> what its dialogues are drawn from.
    voices: all voices.
    held_out: the speakers whose voices only validation and test use, and they use no others.
    """

    words: dict[str, Words] = field(default_factory=dict)
    faces: dict[str, FacePool] = field(default_factory=dict)
    voices: VoicePool | None = None
    held_out: tuple[str, ...] = HELD_OUT
    rates: Rates = Rates()

    def epoch(self, number: int, seed: int) -> list[Dialogue]:
        """Draw the training dialogues of one epoch, and its sessions without words."""
        rng = np.random.default_rng([seed, number, 1])
        dialogues = []
        for dialogue in self.draw("train", rng):
            dialogues += _cut(dialogue, self.rates.cut, rng)
        return dialogues + self.sessions(rng)

    def sessions(self, rng: np.random.Generator) -> list[Dialogue]:
        """Draw dialogues of one speaker without words, all emotions equally frequent.

        Their voices and faces show the label, so they teach the rare emotions that MELD's
        utterances (2 % of them fear) are too few for. Their odds tell the loss how their emotions
        differ in frequency, so the model keeps MELD's prior. Without words there is nothing to
        weigh a voice against; the temperatures set how far it is trusted.
        """
        if not self.rates.sessions:
            return []
        labels = self.words["train"].labels
        odds = -np.log(np.bincount(labels, minlength=len(EMOTIONS)) / len(labels) * len(EMOTIONS))
        transcripts = [_draw_session(number, rng) for number in range(self.rates.sessions)]
        no_text = [
            np.full((len(transcript.labels), self.widths["text"]), np.nan, np.float32)
            for transcript in transcripts
        ]
        rates = replace(
            self.rates,
            voice=0.0,
            face=0.0,
            images=3,
            missing=(1.0, 0.0, 0.0),
            missing_dialogue=(0.0, 0.5, 0.5),
        )
        words, voices = Words(transcripts, no_text), self._voices_of("train")
        dialogues = pair(words, voices, self.faces["train"], rates, rng, "train")
        return [replace(d, id=f"session-{d.id}", odds=odds) for d in dialogues]

    def draw(
        self, split: str, rng: np.random.Generator, rates: Rates | None = None
    ) -> list[Dialogue]:
        """Draw a voice and a face for every utterance of one split.

        rates: default those of the corpus, with `HELD_OUT_MISMATCH` for valid and test.
        """
        if rates is None:
            voice, face = HELD_OUT_MISMATCH
            held_out = replace(self.rates, voice=voice, face=face)
            rates = self.rates if split == "train" else held_out
        voices = self._voices_of(split)
        return pair(self.words[split], voices, self.faces[split], rates, rng, split)

    def _voices_of(self, split: str) -> VoicePool:
        assert self.voices is not None
        if split == "train":
            return self.voices.without(self.held_out)
        return self.voices.only(self.held_out)


def load_paired(data: Path | None = None, report: Report = lambda message: None) -> PairedCorpus:
    """Build the paired corpus from the files in the folder `data` (default: $MERC_DATA).

    valid is MELD's dev part. Every twentieth training dialogue goes to the test part; MELD's own
    test part is not read. The vectors are computed with the extractors of profile `offline` and
    cached. Raises MercError if a file is missing.
    """
    from pipeline.features.profiles import build_extractors

    folder = data_folder(data)
    if folder is None:
        raise MercError(
            f"paired: no data ({WHERE})", "name their folder with --data or in MERC_DATA"
        )
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise MercError(
            f"paired: {folder} has no {', '.join(missing)} ({WHERE})", "put the files there"
        )
    extractors = build_extractors("offline")
    words = load_words(folder / "meld" / "train_sent_emo.csv", extractors["text"], report)
    dev = load_words(folder / "meld" / "dev_sent_emo.csv", extractors["text"], report)
    voices = load_voices(folder / "speech", extractors["audio"], report)
    train_faces, valid_faces = load_faces(folder / "ferplus_48.npz", extractors["visual"], report)
    in_test = np.arange(len(words.transcripts)) % 20 == 19
    corpus = PairedCorpus(
        "paired",
        EMOTIONS,
        [],
        {name: extractor.dim for name, extractor in extractors.items()},
        {name: extractor.fingerprint for name, extractor in extractors.items()},
        settings="offline",
        words={"train": words.select(~in_test), "valid": dev, "test": words.select(in_test)},
        faces={"train": train_faces, "valid": valid_faces, "test": valid_faces},
        voices=voices,
    )
    dialogues = corpus.epoch(0, 0)
    for split in ("valid", "test"):
        dialogues += corpus.draw(split, np.random.default_rng(0))
    return replace(corpus, dialogues=dialogues)


def load_words(path: Path, extractor: Any, report: Report = lambda message: None) -> Words:
    """Load a MELD transcript and compute the text vectors of its utterances."""
    transcripts = read_meld_csv(path)

    def extract() -> np.ndarray:
        texts = [text for transcript in transcripts for text in transcript.texts]
        report(f"text vectors of {len(texts)} utterances of {path.name}")
        return extractor.extract(texts)

    key = {"fingerprint": extractor.fingerprint, "data": sha256_of(path)}
    vectors = cached("words", key, extract)
    ends = np.cumsum([len(transcript.texts) for transcript in transcripts])
    return Words(transcripts, np.split(vectors, ends[:-1]))


def pair(
    words: Words,
    voices: VoicePool,
    faces: FacePool,
    rates: Rates,
    rng: np.random.Generator,
    split: str,
) -> list[Dialogue]:
    """Give every utterance a voice and a face. The same state of rng gives the same pairs."""
    sizes = [len(transcript.labels) for transcript in words.transcripts]
    dialogue_of = np.repeat(np.arange(len(sizes)), sizes)  # of each utterance
    labels = words.labels
    quantiles = rng.random(len(sizes))
    shown = []
    for mean in (rates.voice, rates.face):
        mismatch = _mismatch_rates(mean, rates.spread, quantiles)[dialogue_of]
        shown.append(_shown_emotions(labels, mismatch, rng))
    features = {
        "text": np.concatenate(words.vectors),
        "audio": _draw_voices(words, voices, shown[0], labels, rng),
        "visual": _draw_faces(shown[1], faces, rates.images, rng),
    }
    missing = _draw_missing(dialogue_of, len(sizes), rates, rng)
    for name, rows in zip(features, missing.T, strict=True):
        features[name][rows] = np.nan
    ends = np.cumsum(sizes)[:-1]
    by_dialogue = {name: np.split(matrix, ends) for name, matrix in features.items()}
    return [
        Dialogue(
            f"{split}-{transcript.id}",
            split,
            [str(utterance) for utterance in transcript.utterances],
            transcript.speakers,
            transcript.texts,
            transcript.labels,
            {name: matrices[index] for name, matrices in by_dialogue.items()},
        )
        for index, transcript in enumerate(words.transcripts)
    ]


def _draw_session(number: int, rng: np.random.Generator) -> Transcript:
    n = int(np.exp(rng.uniform(0, np.log(LONGEST_SESSION + 1))))
    labels = rng.integers(0, len(EMOTIONS), n)
    return Transcript(number, list(range(n)), ["one"] * n, [""] * n, labels)


def _mismatch_rates(mean: float, spread: float, quantiles: np.ndarray) -> np.ndarray:
    """Return quantiles of the Beta distribution of mismatch rates.

    Voice and face take the same quantiles, so both are reliable in a dialogue or neither is.
    """
    if not np.isfinite(spread) or mean in (0, 1):
        return np.full(len(quantiles), mean)
    return beta.ppf(quantiles, mean * spread, (1 - mean) * spread)


def _shown_emotions(
    labels: np.ndarray, mismatch: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Draw the emotion that each utterance shows: not its label with probability mismatch (n,)."""
    return np.where(rng.random(len(labels)) < mismatch, _other_emotions(labels, rng), labels)


def _other_emotions(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw emotions other than the labels, uniformly."""
    return (labels + rng.integers(1, len(EMOTIONS), len(labels))) % len(EMOTIONS)


def _draw_voices(
    words: Words, voices: VoicePool, shown: np.ndarray, labels: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Draw (n, 1582) voice vectors.

    Each speaker of a dialogue gets one voice; they are different while there are enough.
    """
    names, speaker = np.unique(voices.speakers, return_inverse=True)
    clips = _Bins(speaker * len(EMOTIONS) + voices.labels, len(names) * len(EMOTIONS))
    cast = []
    for transcript in words.transcripts:
        order = rng.permutation(len(names))
        speakers = dict.fromkeys(transcript.speakers)
        voice_of = {name: order[k % len(order)] for k, name in enumerate(speakers)}
        cast += [voice_of[name] for name in transcript.speakers]
    first_bin = np.array(cast, np.int64) * len(EMOTIONS)
    # EmoDB has no surprise: such an utterance shows another emotion rather than lack a voice
    while (empty := clips.counts[first_bin + shown] == 0).any():
        shown = np.where(empty, _other_emotions(labels, rng), shown)
    rows = clips.draw(first_bin + shown, rng)
    return voices.vectors[rows, rng.integers(0, voices.vectors.shape[1], len(shown))]


def _draw_faces(
    shown: np.ndarray, faces: FacePool, limit: int, rng: np.random.Generator
) -> np.ndarray:
    """Draw (n, 342) face vectors, each the mean over 1 to `limit` images.

    A random share of the images shows the emotion; the others are neutral.
    """
    pool = _Bins(faces.labels, len(EMOTIONS))
    # log-uniform: the frames of one face are far from independent
    counts = np.exp(rng.uniform(0, np.log(limit + 1), len(shown))).astype(np.int64)
    showing = np.rint(counts * rng.uniform(*SHOWN_SHARE, len(shown)))
    showing = np.maximum(1, showing).astype(np.int64)
    first = np.cumsum(counts) - counts
    position = np.arange(counts.sum()) - np.repeat(first, counts)
    emotions = np.where(position < np.repeat(showing, counts), np.repeat(shown, counts), 0)
    total = np.add.reduceat(faces.vectors[pool.draw(emotions, rng)], first, axis=0)
    return (total / counts[:, None]).astype(np.float32)


class _Bins:
    """Rows grouped by bin: how many each bin has, and random rows of it."""

    def __init__(self, bin_of: np.ndarray, bins: int) -> None:
        self.rows = np.argsort(bin_of, kind="stable")
        self.counts = np.bincount(bin_of, minlength=bins)
        self.first = np.cumsum(self.counts) - self.counts

    def draw(self, bins: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draw one row of each of these bins."""
        return self.rows[self.first[bins] + rng.integers(0, self.counts[bins])]


def _draw_missing(
    dialogue_of: np.ndarray, dialogues: int, rates: Rates, rng: np.random.Generator
) -> np.ndarray:
    """Draw (n, 3) bool, independent of the labels. No utterance lacks every modality."""
    always = np.array(rates.missing) == 1
    whole = np.ones((dialogues, 3), bool)
    while (empty := whole.all(1)).any():
        whole[empty] = always | (rng.random((empty.sum(), 3)) < rates.missing_dialogue)
    missing = whole[dialogue_of] | (rng.random((len(dialogue_of), 3)) < rates.missing)
    empty = missing.all(1)
    missing[empty] = whole[dialogue_of[empty]]
    return missing


def _cut(dialogue: Dialogue, share: float, rng: np.random.Generator) -> list[Dialogue]:
    """Cut the dialogue into pieces with probability `share`.

    Users' recordings start anywhere in a dialogue, and pieces are harder to memorise.
    """
    probability = rng.random() if rng.random() < share else 0.0
    edges = np.flatnonzero(rng.random(len(dialogue.labels) - 1) < probability) + 1
    bounds = [0, *edges.tolist(), len(dialogue.labels)]
    return [
        replace(
            dialogue,
            id=f"{dialogue.id}/{start}",
            utterances=dialogue.utterances[start:end],
            speakers=dialogue.speakers[start:end],
            texts=dialogue.texts[start:end],
            labels=dialogue.labels[start:end],
            features={name: rows[start:end] for name, rows in dialogue.features.items()},
        )
        for start, end in pairwise(bounds)
    ]
