"""The paired corpus: MELD's words, acted voices and posed faces joined by emotion, unreliably on purpose.

No filmed corpus may be shipped, so each utterance of MELD is given a voice clip (one voice per speaker within a
dialogue) and a face vector.  On real video a face says far less than a FER+ face of the right label; a model that
never met a wrong face believes every one.  So voices and faces often show another emotion (`Rates`), and any
modality may be missing, independently of the label.  Training pairs are drawn anew each epoch; validation is drawn
once, from voices and faces that training never used.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import beta

from pipeline.core.dialogue import Corpus, Dialogue
from pipeline.corpora.meld_transcripts import EMOTIONS, Transcript, read_meld_csv
from pipeline.recipes.acted_voices import HELD_OUT, VoicePool, load_voices
from pipeline.recipes.posed_faces import FacePool, load_faces

__all__ = ["JUDGED", "PairedCorpus", "Rates", "Words", "load_paired", "pair"]

WANTED = (
    "MELD's transcripts (meld/train_sent_emo.csv, meld/dev_sent_emo.csv), FER+ (ferplus_48.npz) and acted voices "
    "(speech/labels.csv with its clips); docs/merc-offline.md says where each is had"
)
LONGEST_SESSION = 40  # utterances
SHARE = (0.2, 1.0)  # of them show the emotion, the rest look neutral
JUDGED = (
    0.5,
    0.6,
)  # mismatch of voice and face in validation and test: training is more wary than film may deserve


@dataclass(frozen=True)
class Rates:
    """How unreliable voices and faces are: probabilities per utterance, and how far dialogues differ in them.

    A dialogue's own mismatch rates are Beta distributed with the given means; `spread` is the pseudo-count (large: all
    dialogues alike).  `lost` is the chance that one utterance lacks a modality, `absent` that a dialogue lacks it.
    In training: `cut` is the share of dialogues that are cut into pieces, `sessions` the number of dialogues without
    words in an epoch (`PairedCorpus.sessions`).
    """

    voice: float = 0.77
    face: float = 0.81
    spread: float = 1.0
    images: int = 20  # most behind one face vector: 2 s at 10 frames a second
    lost: tuple[float, float, float] = (0.02, 0.05, 0.10)  # text, audio, visual
    absent: tuple[float, float, float] = (0.0, 0.45, 0.45)
    cut: float = 0.6
    sessions: int = 2000

    @staticmethod
    def whole(mismatch: float) -> Rates:
        """Nothing missing, voices and faces wrong at one rate: for measuring."""
        return Rates(mismatch, mismatch, np.inf, lost=(0.0,) * 3, absent=(0.0,) * 3)


@dataclass(frozen=True)
class Words:
    """MELD dialogues and their text vectors, each (n, width) float32."""

    transcripts: list[Transcript]
    vectors: list[np.ndarray]

    def part(self, rows: np.ndarray) -> Words:
        """The dialogues where `rows` (dialogues,) bool holds."""
        return Words(
            [t for t, kept in zip(self.transcripts, rows, strict=True) if kept],
            [v for v, kept in zip(self.vectors, rows, strict=True) if kept],
        )


@dataclass(frozen=True)
class PairedCorpus(Corpus):
    """What any number of pairings is drawn from: words and faces by split; all voices, `held` never trained on."""

    words: dict[str, Words] = field(default_factory=dict)
    faces: dict[str, FacePool] = field(default_factory=dict)
    voices: VoicePool | None = None
    held: tuple[str, ...] = HELD_OUT
    rates: Rates = Rates()

    def epoch(self, number: int, seed: int) -> list[Dialogue]:
        """The training dialogues with the voices, faces and losses of one epoch, and its sessions without words."""
        rng = np.random.default_rng([seed, number, 1])
        whole = self.draw("train", rng)
        return [part for d in whole for part in _parts(d, self.rates.cut, rng)] + self.sessions(rng)

    def with_sessions(self, count: int) -> PairedCorpus:
        """The same with another number of sessions an epoch."""
        changed = replace(self, rates=replace(self.rates, sessions=count))
        kept = [d for d in self.dialogues if d.split != "train"]
        return replace(changed, dialogues=changed.epoch(0, 0) + kept)

    def sessions(self, rng: np.random.Generator) -> list[Dialogue]:
        """Voices or faces that match, all emotions alike: what MELD's two fear in a hundred would never teach.

        Their odds say so: the model goes on predicting for MELD's prior.  Without words there is nothing to weigh a
        voice against; how far it may be believed is left to the temperatures.
        """
        if not self.rates.sessions:
            return []
        labels = np.concatenate([t.labels for t in self.words["train"].transcripts])
        odds = -np.log(np.bincount(labels, minlength=len(EMOTIONS)) / len(labels) * len(EMOTIONS))
        drawn = []
        for number in range(self.rates.sessions):
            n = int(np.exp(rng.uniform(0, np.log(LONGEST_SESSION + 1))))
            drawn.append(
                Transcript(
                    number, list(range(n)), ["one"] * n, [""] * n, rng.integers(0, len(EMOTIONS), n)
                )
            )
        words = Words(
            drawn,
            [np.full((len(t.labels), self.widths["text"]), np.nan, np.float32) for t in drawn],
        )
        alone = replace(
            self.rates, voice=0.0, face=0.0, images=3, lost=(1.0, 0.0, 0.0), absent=(0.0, 0.5, 0.5)
        )
        assert self.voices is not None
        paired = pair(
            words, self.voices.without(self.held), self.faces["train"], alone, rng, "train"
        )
        return [replace(d, id=f"session-{d.id}", odds=odds) for d in paired]

    def draw(
        self, split: str, rng: np.random.Generator, rates: Rates | None = None
    ) -> list[Dialogue]:
        """A pairing of one split: train from its own voices and faces, valid and test from the held-out ones.

        rates: default the corpus's own, with the mismatch of `JUDGED` for valid and test.
        """
        assert self.voices is not None
        voices = self.voices.without(self.held) if split == "train" else self.voices.only(self.held)
        rates = rates or (
            self.rates if split == "train" else replace(self.rates, voice=JUDGED[0], face=JUDGED[1])
        )
        return pair(self.words[split], voices, self.faces[split], rates, rng, split)


def load_paired(
    data: Path | None = None, report: Callable[[str], None] | None = None
) -> PairedCorpus:
    """From the folder `data` (default $MERC_DATA): ferplus_48.npz, meld/{train,dev}_sent_emo.csv, speech/labels.csv.

    valid is MELD's dev part; one training dialogue in twenty becomes the test part (MELD's own is kept for others),
    both with voices and faces that training never used.  Vectors are made by profile `offline` once and kept
    (`cached`).  Raises FileNotFoundError naming what is absent.
    """
    from pipeline.features.profiles import build_extractors

    named = data or os.environ.get("MERC_DATA")
    if not named:
        raise FileNotFoundError(
            f"no data for paired: {WANTED}; name their folder with --data or in MERC_DATA"
        )
    folder, say = Path(named), report or _say
    for name in (
        "ferplus_48.npz",
        "meld/train_sent_emo.csv",
        "meld/dev_sent_emo.csv",
        "speech/labels.csv",
    ):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"{folder} has no {name}; the paired corpus is built from {WANTED}"
            )
    extractors = build_extractors("offline")
    words = load_words(folder / "meld" / "train_sent_emo.csv", extractors["text"], say)
    dev = load_words(folder / "meld" / "dev_sent_emo.csv", extractors["text"], say)
    voices = load_voices(folder / "speech", extractors["audio"], say)
    seen, unseen = load_faces(folder / "ferplus_48.npz", extractors["visual"], say)
    tested = np.arange(len(words.transcripts)) % 20 == 19
    corpus = PairedCorpus(
        "paired",
        EMOTIONS,
        [],
        {name: extractor.dim for name, extractor in extractors.items()},
        {name: extractor.fingerprint for name, extractor in extractors.items()},
        words={"train": words.part(~tested), "valid": dev, "test": words.part(tested)},
        faces={"train": seen, "valid": unseen, "test": unseen},
        voices=voices,
    )
    fixed = [corpus.draw(split, np.random.default_rng(0)) for split in ("valid", "test")]
    return replace(corpus, dialogues=corpus.epoch(0, 0) + fixed[0] + fixed[1])


def load_words(
    path: Path, extractor: Any, report: Callable[[str], None] = lambda message: None
) -> Words:
    """A MELD transcript with the text vectors of its utterances."""
    from pipeline.core.fingerprints import sha256_of
    from pipeline.recipes.cache import cached

    transcripts = read_meld_csv(path)

    def make() -> np.ndarray:
        texts = [text for transcript in transcripts for text in transcript.texts]
        report(f"text vectors of {len(texts)} utterances of {path.name}")
        return extractor.extract(texts)

    vectors = cached("words", {"fingerprint": extractor.fingerprint, "data": sha256_of(path)}, make)
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
    """Give every utterance a voice and a face; a function of the generator's state."""
    sizes = [len(transcript.labels) for transcript in words.transcripts]
    whose = np.repeat(np.arange(len(sizes)), sizes)  # utterance -> dialogue
    labels = np.concatenate([transcript.labels for transcript in words.transcripts])
    luck = rng.random(len(sizes))
    heard, seen = (
        _shown(labels, _rate(mean, rates.spread, luck)[whose], rng)
        for mean in (rates.voice, rates.face)
    )
    features = {
        "text": np.concatenate(words.vectors),
        "audio": _voices(words, voices, heard, labels, rng),
        "visual": _faces(seen, faces, rates.images, rng),
    }
    for name, gone in zip(features, _missing(whose, len(sizes), rates, rng).T, strict=True):
        features[name][gone] = np.nan
    own = {name: np.split(rows, np.cumsum(sizes)[:-1]) for name, rows in features.items()}
    return [
        Dialogue(
            f"{split}-{transcript.id}",
            split,
            [str(name) for name in transcript.utterances],
            transcript.speakers,
            transcript.texts,
            transcript.labels,
            {name: rows[index] for name, rows in own.items()},
        )
        for index, transcript in enumerate(words.transcripts)
    ]


def _rate(mean: float, spread: float, luck: np.ndarray) -> np.ndarray:
    """The quantiles `luck` of the Beta distribution of mismatch rates: one draw makes voice and face good or bad."""
    if not np.isfinite(spread) or mean in (0, 1):
        return np.full(len(luck), mean)
    return beta.ppf(luck, mean * spread, (1 - mean) * spread)


def _shown(labels: np.ndarray, mismatch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The emotions shown: with chance `mismatch` (n,) another than the label."""
    return np.where(rng.random(len(labels)) < mismatch, _other(labels, rng), labels)


def _other(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Emotions other than `labels`, all alike."""
    return (labels + rng.integers(1, len(EMOTIONS), len(labels))) % len(EMOTIONS)


def _voices(
    words: Words, voices: VoicePool, shown: np.ndarray, labels: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """(n, 1582): each speaker of a dialogue lent one voice, different ones while there are enough."""
    names, speaker = np.unique(voices.speakers, return_inverse=True)
    clips = _Bins(speaker * len(EMOTIONS) + voices.labels, len(names) * len(EMOTIONS))
    cast = []
    for transcript in words.transcripts:
        order = rng.permutation(len(names))
        lent = {
            name: order[index % len(order)]
            for index, name in enumerate(dict.fromkeys(transcript.speakers))
        }
        cast += [lent[name] for name in transcript.speakers]
    wanted = np.array(cast, np.int64) * len(EMOTIONS)
    while (
        none := clips.counts[wanted + shown] == 0
    ).any():  # EmoDB has no surprise: another emotion, never no voice
        shown = np.where(none, _other(labels, rng), shown)
    return voices.vectors[
        clips.draw(wanted + shown, rng), rng.integers(0, voices.vectors.shape[1], len(shown))
    ]


def _faces(shown: np.ndarray, faces: FacePool, most: int, rng: np.random.Generator) -> np.ndarray:
    """(n, 342): each the mean over 1 to `most` images, of which a random share shows the emotion."""
    pool = _Bins(faces.labels, len(EMOTIONS))
    # frames of one face are far from independent
    many = np.exp(rng.uniform(0, np.log(most + 1), len(shown))).astype(np.int64)
    showing = np.maximum(1, np.rint(many * rng.uniform(*SHARE, len(shown)))).astype(np.int64)
    first = np.cumsum(many) - many
    place = np.arange(many.sum()) - np.repeat(first, many)
    emotion = np.where(place < np.repeat(showing, many), np.repeat(shown, many), 0)
    total = np.add.reduceat(faces.vectors[pool.draw(emotion, rng)], first, axis=0)
    return (total / many[:, None]).astype(np.float32)


class _Bins:
    """Rows by number of bin: how many each holds, and a random row of it."""

    def __init__(self, numbers: np.ndarray, bins: int) -> None:
        self.rows = np.argsort(numbers, kind="stable")
        self.counts = np.bincount(numbers, minlength=bins)
        self.first = np.cumsum(self.counts) - self.counts

    def draw(self, numbers: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return self.rows[self.first[numbers] + rng.integers(0, self.counts[numbers])]


def _missing(
    whose: np.ndarray, dialogues: int, rates: Rates, rng: np.random.Generator
) -> np.ndarray:
    """(n, 3) bool, without regard to the labels; no utterance loses everything."""
    always = np.array(rates.lost) == 1
    absent = np.ones((dialogues, 3), bool)
    while (whole := absent.all(1)).any():
        absent[whole] = always | (rng.random((whole.sum(), 3)) < rates.absent)
    gone = absent[whose] | (rng.random((len(whose), 3)) < rates.lost)
    nothing = gone.all(1)
    gone[nothing] = absent[whose[nothing]]
    return gone


def _parts(dialogue: Dialogue, cut: float, rng: np.random.Generator) -> list[Dialogue]:
    """The dialogue, with chance `cut` in pieces: what users bring begins anywhere, and less is learned by heart."""
    chance = rng.random() if rng.random() < cut else 0.0
    edges = np.flatnonzero(rng.random(len(dialogue.labels) - 1) < chance) + 1
    bounds = [0, *edges.tolist(), len(dialogue.labels)]
    return [
        replace(
            dialogue,
            id=f"{dialogue.id}/{start}",
            utterances=dialogue.utterances[start:end],
            speakers=dialogue.speakers[start:end],
            texts=dialogue.texts[start:end],
            labels=dialogue.labels[start:end],
            features={m: rows[start:end] for m, rows in dialogue.features.items()},
        )
        for start, end in pairwise(bounds)
    ]


def _say(message: str) -> None:
    print(f"paired: {message}", file=sys.stderr, flush=True)
