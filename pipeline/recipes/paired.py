"""The paired corpus: words of dialogues with acted voices and posed faces of the same emotion.

No labelled video may be shipped with merc, so each utterance of MELD, EmoryNLP, DailyDialog and
GoEmotions gets a voice clip (one voice per speaker within a dialogue) and a face vector. How much
voices and faces of an emotion show is measured: a voice is any clip of an actor who plays the
emotion, and the images behind a face vector follow the crowd's votes on a face of CREMA-D (`seen`
of `VoicePool`), so many expressions are weak, muted or mixed. Some still show another emotion, and
in some dialogues all do (`Rates`), so that the model learns when not to trust them. In sessions of
neutral words only voice and face tell the emotion. Any modality may be missing, independently of
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
from pipeline.core.fingerprints import checksum
from pipeline.corpora.meld_transcripts import EMOTIONS, Transcript, read_meld_csv
from pipeline.recipes.acted_voices import HELD_OUT, VoicePool, load_voices
from pipeline.recipes.cache import cached
from pipeline.recipes.other_words import NEUTRAL_SENTENCES, TABLES, read_words
from pipeline.recipes.posed_faces import FacePool, load_faces

__all__ = ["PairedCorpus", "Rates", "Words", "corpus_directions", "load_paired", "pair"]

Report = Callable[[str], None]
FILES = (
    "ferplus_48.npz",
    "meld/train_sent_emo.csv",
    "meld/dev_sent_emo.csv",
    "speech/labels.csv",
    "speech/cremad/labels.csv",
    "speech/ravdess/labels.csv",
    *(f"text/{name}.csv" for name in TABLES),
)
WHERE = "it needs transcripts, FER+ and acted voices; docs/merc-offline.md says where to get them"
LONGEST_SESSION = 40  # utterances
SHOWN_SHARE = (0.2, 1.0)  # range of the votes for an emotion that CREMA-D's crowd never judged
# chance that a speaker of a dialogue comes from a corpus, by the number of its actors and emotions
CAST = {"cremad": 0.5, "ravdess": 0.25, "emodb": 0.17, "tess": 0.08}
NEUTRAL = EMOTIONS.index("neutral")


@dataclass(frozen=True)
class Rates:
    """How unreliable voices and faces are.

    voice, face: mean probability that an utterance's voice or face shows another emotion. Each
        dialogue draws its own two rates from Beta distributions with these means.
    spread: pseudo-count of the Beta distributions; large: all dialogues have the same rates.
    muted: share of the wrong voices and faces that show nothing (neutral). On film, disagreement
        with the words is mostly of this kind.
    neutral: a neutral utterance shows another emotion at this share of the rate.
    unreliable: share of dialogues where all voices and faces show a random other emotion.
    images: most images behind one face vector.
    missing: probability that an utterance lacks a modality (text, audio, visual).
    missing_dialogue: probability that a whole dialogue lacks it.
    cut: in training, the share of dialogues that are cut into pieces.
    sessions: number of dialogues without words per epoch.
    neutral_sessions: number of dialogues per epoch whose words are neutral.
    other_words: EmoryNLP, DailyDialog and GoEmotions: most dialogues of each per epoch.
    """

    voice: float = 0.3
    face: float = 0.3
    spread: float = 0.5
    muted: float = 0.7
    neutral: float = 0.3
    unreliable: float = 0.45
    images: int = 20  # 2 s at 10 frames per second
    missing: tuple[float, float, float] = (0.02, 0.05, 0.10)
    missing_dialogue: tuple[float, float, float] = (0.0, 0.35, 0.35)
    cut: float = 0.5
    sessions: int = 6000
    neutral_sessions: int = 4500
    other_words: tuple[int, int, int] = (150, 150, 1500)

    @staticmethod
    def complete(mismatch: float) -> Rates:
        """Return rates for measuring: nothing missing, one mismatch rate for voices and faces."""
        return Rates(
            mismatch,
            mismatch,
            np.inf,
            muted=0.0,
            neutral=1.0,
            unreliable=0.0,
            missing=(0.0,) * 3,
            missing_dialogue=(0.0,) * 3,
        )


@dataclass(frozen=True)
class Words:
    """Dialogues and their text vectors, each (n, width) float32."""

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

    words: split -> what its dialogues are drawn from; also "NAME" and "NAME valid" for TABLES.
    faces: split -> what its faces are drawn from.
    voices: all voices.
    sentences: (n, width) text vectors of neutral words.
    held_out: the speakers whose voices only validation and test use, and they use no others.
    """

    words: dict[str, Words] = field(default_factory=dict)
    faces: dict[str, FacePool] = field(default_factory=dict)
    sentences: np.ndarray | None = None
    voices: VoicePool | None = None
    held_out: tuple[str, ...] = HELD_OUT
    rates: Rates = Rates()

    def epoch(self, number: int, seed: int) -> list[Dialogue]:
        """Draw the training dialogues of one epoch, and its sessions."""
        rng = np.random.default_rng([seed, number, 1])
        words = [self.words["train"]]
        for name, most in zip(TABLES, self.rates.other_words, strict=True):
            pool = self.words[name]
            chosen = rng.permutation(len(pool.transcripts)) < most
            words.append(pool.select(chosen))
        voices, faces = self._voices_of("train"), self.faces["train"]
        dialogues = []
        for k, part in enumerate(words):
            for dialogue in pair(part, voices, faces, self.rates, rng, f"train-{k}"):
                dialogues += _cut(replace(dialogue, split="train"), self.rates.cut, rng)
        dialogues += self.neutral_sessions("train", self.rates.neutral_sessions, rng)
        labels = np.concatenate([dialogue.labels for dialogue in dialogues])
        return dialogues + self.sessions(labels[labels >= 0], rng)

    def sessions(self, labels: np.ndarray, rng: np.random.Generator) -> list[Dialogue]:
        """Draw dialogues of one speaker without words, all emotions equally frequent.

        Their voices and faces show the label, so they teach the emotions that are rare in words.
        Their odds tell the loss how their emotions differ in frequency from `labels` (n,), so the
        model keeps the prior of these.
        """
        if not self.rates.sessions:
            return []
        counts = np.bincount(labels, minlength=len(EMOTIONS))
        odds = -np.log(counts / counts.sum() * len(EMOTIONS))
        transcripts = [_draw_session(number, rng) for number in range(self.rates.sessions)]
        no_text = [
            np.full((len(transcript.labels), self.widths["text"]), np.nan, np.float32)
            for transcript in transcripts
        ]
        rates = replace(
            Rates.complete(0.0), images=3, missing=(1.0, 0.0, 0.0), missing_dialogue=(0.0, 0.3, 0.7)
        )
        words, voices = Words(transcripts, no_text), self._voices_of("train")
        dialogues = pair(words, voices, self.faces["train"], rates, rng, "train")
        return [replace(d, id=f"session-{d.id}", odds=odds) for d in dialogues]

    def neutral_sessions(self, split: str, number: int, rng: np.random.Generator) -> list[Dialogue]:
        """Draw dialogues of neutral words, whose emotions only voices and faces show."""
        if not number:
            return []
        assert self.sentences is not None
        transcripts, vectors = [], []
        for k in range(number):
            transcript = _draw_session(k, rng, longest=8)
            labels = transcript.labels
            labels[rng.random(len(labels)) < 0.2] = NEUTRAL
            transcripts.append(transcript)
            vectors.append(self.sentences[rng.integers(0, len(self.sentences), len(labels))])
        rates = replace(
            self.rates, voice=0.15, face=0.15, unreliable=0.0, missing_dialogue=(0.0, 0.15, 0.15)
        )
        voices = self._voices_of(split)
        dialogues = pair(Words(transcripts, vectors), voices, self.faces[split], rates, rng, split)
        return [replace(d, id=f"neutral-{d.id}") for d in dialogues]

    def draw(
        self, split: str, rng: np.random.Generator, rates: Rates | None = None
    ) -> list[Dialogue]:
        """Draw a voice and a face for every utterance of one split of MELD.

        rates: default those of the corpus.
        """
        voices = self._voices_of(split)
        return pair(self.words[split], voices, self.faces[split], rates or self.rates, rng, split)

    def holding_out(self, speakers: tuple[str, ...]) -> PairedCorpus:
        """Return the corpus with more speakers that training does not use, drawn anew."""
        assert self.voices is not None
        held_out = (*self.held_out, *speakers)
        directions = {"audio": corpus_directions(self.voices.without(held_out))}
        corpus = replace(self, held_out=held_out, directions=directions)
        dialogues = corpus.epoch(0, 0)
        for split in ("valid", "test"):
            rng = np.random.default_rng(0)
            dialogues += corpus.draw(split, rng) + corpus.neutral_sessions(split, 150, rng)
        return replace(corpus, dialogues=dialogues)

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
    from pipeline.features.profiles import ExtractorOptions, build_extractors

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
    models = ExtractorOptions(text_model="minilm-emotion", audio_model="whisper")
    extractors = build_extractors("offline", models)
    words, dev = (
        load_words(path, read_meld_csv(path), extractors["text"], report)
        for path in (folder / "meld" / f"{part}_sent_emo.csv" for part in ("train", "dev"))
    )
    others = {}
    for name in TABLES:
        path = folder / "text" / f"{name}.csv"
        others[name] = load_words(path, read_words(path), extractors["text"], report)
        valid = read_words(path, "valid")
        others[f"{name} valid"] = load_words(path, valid, extractors["text"], report)
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
        words={"train": words.select(~in_test), "valid": dev, "test": words.select(in_test)}
        | others,
        faces={"train": train_faces, "valid": valid_faces, "test": valid_faces},
        voices=voices,
        sentences=_neutral_words(words.select(~in_test), extractors["text"]),
    )
    return corpus.holding_out(())


def corpus_directions(voices: VoicePool) -> np.ndarray:
    """Return (corpora - 1, d), the differences between the corpora where the emotion is the same.

    Every emotion that all corpora have counts the same.
    """
    names = list(dict.fromkeys(voices.corpora))
    of_corpus = [voices.select(voices.corpora == name) for name in names]
    shared = [
        k for k in range(len(EMOTIONS)) if all((part.labels == k).any() for part in of_corpus)
    ]
    centres = np.stack(
        [
            np.mean([part.vectors[part.labels == k].mean((0, 1)) for k in shared], 0)
            for part in of_corpus
        ]
    )
    return centres[1:] - centres[0]


def load_words(
    path: Path,
    transcripts: list[Transcript],
    extractor: Any,
    report: Report = lambda message: None,
) -> Words:
    """Compute the text vectors of transcripts from a file."""
    texts = [text for transcript in transcripts for text in transcript.texts]

    def extract() -> np.ndarray:
        report(f"text vectors of {len(texts)} utterances of {path.name}")
        return extractor.extract(texts)

    key = {"fingerprint": extractor.fingerprint, "texts": checksum(texts)}
    vectors = cached("words", key, extract)
    ends = np.cumsum([len(transcript.texts) for transcript in transcripts])
    return Words(transcripts, np.split(vectors, ends[:-1]))


def _neutral_words(words: Words, extractor: Any) -> np.ndarray:
    """Return text vectors of neutral words: the actors' sentences, and as many draws of MELD's.

    Of MELD's utterances that are labelled neutral, those of four words or more.
    """
    pool = [
        row
        for transcript, rows in zip(words.transcripts, words.vectors, strict=True)
        for text, label, row in zip(transcript.texts, transcript.labels, rows, strict=True)
        if label == NEUTRAL and len(text.split()) >= 4
    ]
    sentences = extractor.extract(list(NEUTRAL_SENTENCES))
    repeats = np.tile(sentences, (len(pool) // len(sentences), 1))
    return np.concatenate([repeats, np.stack(pool)])


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
    # an utterance without a label is context: what it shows is of no consequence
    labels = np.maximum(words.labels, 0)
    quantiles = rng.random(len(sizes))
    unreliable = (rng.random(len(sizes)) < rates.unreliable)[dialogue_of]
    shown = []
    for mean in (rates.voice, rates.face):
        mismatch = _mismatch_rates(mean, rates.spread, quantiles)[dialogue_of]
        expressions = _shown_emotions(labels, mismatch, rates, rng)
        shown.append(np.where(unreliable, _other_emotions(labels, rng), expressions))
    features = {
        "text": np.concatenate(words.vectors),
        "audio": _draw_voices(words, voices, shown[0], rng),
        "visual": _draw_faces(shown[1], voices, faces, rates.images, rng),
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


def _draw_session(
    number: int, rng: np.random.Generator, longest: int = LONGEST_SESSION
) -> Transcript:
    # so that as many utterances are alone as in dialogues of two to three, four to eight, ...
    lengths = np.arange(1, longest + 1)
    n = int(rng.choice(lengths, p=lengths**-2.0 / (lengths**-2.0).sum()))
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
    labels: np.ndarray, mismatch: np.ndarray, rates: Rates, rng: np.random.Generator
) -> np.ndarray:
    """Draw the emotion that each utterance shows: not its label with probability mismatch (n,)."""
    mismatch = np.where(labels == NEUTRAL, rates.neutral * mismatch, mismatch)
    muted = (rng.random(len(labels)) < rates.muted) & (labels != NEUTRAL)
    other = np.where(muted, NEUTRAL, _other_emotions(labels, rng))
    return np.where(rng.random(len(labels)) < mismatch, other, labels)


def _other_emotions(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw emotions other than the labels, uniformly."""
    return (labels + rng.integers(1, len(EMOTIONS), len(labels))) % len(EMOTIONS)


def _draw_voices(
    words: Words, voices: VoicePool, shown: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Draw (n, d) voice vectors: clips of actors who play the emotions `shown`.

    Each speaker of a dialogue gets one voice; they are different while there are enough. Two of the
    corpora have no surprise: then another voice speaks.
    """
    names, speaker = np.unique(voices.speakers, return_inverse=True)
    corpora = [str(name).partition("-")[0] for name in names]
    sizes = {corpus: corpora.count(corpus) for corpus in corpora}
    chances = np.log([CAST.get(corpus, 1.0) / sizes[corpus] for corpus in corpora])
    cast = []
    for transcript in words.transcripts:
        # Gumbel noise: draws speakers with these chances, each once
        order = np.argsort(-(chances + rng.gumbel(size=len(names))))
        speakers = dict.fromkeys(transcript.speakers)
        voice_of = {name: order[k % len(order)] for k, name in enumerate(speakers)}
        cast += [voice_of[name] for name in transcript.speakers]
    clips = _Bins(speaker * len(EMOTIONS) + voices.labels, len(names) * len(EMOTIONS))
    of_emotion = _Bins(voices.labels, len(EMOTIONS))
    bins = np.array(cast, np.int64) * len(EMOTIONS) + shown
    without = clips.counts[bins] == 0
    rows = np.empty(len(shown), np.int64)
    rows[~without] = clips.draw(bins[~without], rng)
    rows[without] = of_emotion.draw(shown[without], rng)
    return voices.vectors[rows, rng.integers(0, voices.vectors.shape[1], len(shown))]


def _draw_faces(
    shown: np.ndarray, voices: VoicePool, faces: FacePool, limit: int, rng: np.random.Generator
) -> np.ndarray:
    """Draw (n, 342) face vectors, each the mean over 1 to `limit` images.

    The emotions of the images follow the crowd's votes on a clip of an actor who plays the emotion
    `shown`; of an emotion without votes, a random share shows it and the others are neutral.
    """
    judged = voices.select(~np.isnan(voices.seen).any(1))
    clips = _Bins(judged.labels, len(EMOTIONS))
    votes = np.zeros((len(shown), len(EMOTIONS)))
    known = clips.counts[shown] > 0
    votes[known] = judged.seen[clips.draw(shown[known], rng)]
    share = rng.uniform(*SHOWN_SHARE, len(shown))[~known]
    votes[~known, NEUTRAL] += 1 - share
    votes[~known, shown[~known]] += share
    # log-uniform: the frames of one face are far from independent
    counts = np.exp(rng.uniform(0, np.log(limit + 1), len(shown))).astype(np.int64)
    first = np.cumsum(counts) - counts
    steps = np.repeat(np.cumsum(votes, 1), counts, 0)
    emotions = (rng.random((len(steps), 1)) * steps[:, -1:] >= steps).sum(1)
    emotions = np.minimum(emotions, len(EMOTIONS) - 1)
    pool = _Bins(faces.labels, len(EMOTIONS))
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
    return [dialogue.part(start, end) for start, end in pairwise(bounds)]
