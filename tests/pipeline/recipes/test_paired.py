"""The paired corpus on small pools whose vectors encode what was drawn, and MELD's transcripts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score
from sklearn.tree import DecisionTreeClassifier

from css_model import CSS, Checkpoint, CSSConfig, Normaliser
from pipeline.core.errors import MercError
from pipeline.corpora.meld_transcripts import EMOTIONS, Transcript, read_meld_csv
from pipeline.recipes.acted_voices import VoicePool
from pipeline.recipes.measure_on_corpus import label_voices, recall
from pipeline.recipes.other_words import TABLES
from pipeline.recipes.paired import PairedCorpus, Rates, Words, corpus_directions, load_paired
from pipeline.recipes.posed_faces import FacePool
from pipeline.recipes.voice_probe import with_voice_probe
from pipeline.training.predictor import Predictor, modality_sets

SENTENCE = 9.0  # the text vector of neutral words
SURPRISE = EMOTIONS.index("surprise")
# the first two are held out
NAMES = ("emodb-09", "tess-OAF", "emodb-03", "emodb-08", "emodb-10", "emodb-12", "tess-YAF")


@pytest.fixture(scope="module")
def corpus() -> PairedCorpus:
    """Make voice vectors (speaker number, emotion, copy) and one-hot face vectors.

    Half of the clips have votes: all for the emotion that the actor plays, or all for neutral.
    """
    rng = np.random.default_rng(0)

    def words(dialogues: int) -> Words:
        transcripts = []
        for number in range(dialogues):
            n = int(rng.integers(1, 15))
            labels = rng.choice(len(EMOTIONS), n, p=[0.47, 0.12, 0.03, 0.07, 0.17, 0.03, 0.11])
            speakers = [f"person {k}" for k in rng.integers(0, 3, n)]
            transcripts.append(
                Transcript(number, list(range(n)), speakers, ["words"] * n, labels.astype(np.int64))
            )
        return Words(
            transcripts,
            [rng.standard_normal((len(t.labels), 4)).astype(np.float32) for t in transcripts],
        )

    clips = [
        (k, label)
        for k, name in enumerate(NAMES)
        for label in range(7)
        for _ in range(3)
        if label != SURPRISE or name.startswith("tess")
    ]
    vectors = np.array([[(k, label, copy) for copy in range(4)] for k, label in clips], np.float32)
    emotions = np.array([label for _, label in clips])
    seen = np.full((len(clips), 7), np.nan, np.float32)
    seen[::2] = np.eye(7)[np.where(np.arange(len(emotions[::2])) % 4 == 0, 0, emotions[::2])]
    seen[emotions == SURPRISE] = np.nan  # nobody was asked about surprise
    speakers = np.array([NAMES[k] for k, _ in clips])
    voices = VoicePool(
        vectors,
        emotions,
        speakers,
        [""] * len(clips),
        np.array([name.partition("-")[0] for name in speakers]),
        seen,
    )
    labels = np.arange(700) % 7
    faces = FacePool(np.eye(7, dtype=np.float32)[labels], labels)
    return PairedCorpus(
        "paired",
        EMOTIONS,
        [],
        {"text": 4, "audio": 3, "visual": 7},
        None,
        words={"train": words(400), "valid": words(50)} | {name: words(60) for name in TABLES},
        faces={"train": faces, "valid": faces},
        voices=voices,
        held_out=NAMES[:2],
        sentences=np.full((5, 4), SENTENCE, np.float32),
        rates=replace(Rates(), sessions=500, neutral_sessions=300, other_words=(20, 30, 60)),
    )


def test_the_corpus_does_not_show_in_voices_of_the_same_emotion(corpus: PairedCorpus):
    """Corpora differ by an offset, and in how frequent their emotions are."""
    assert corpus.voices is not None
    random = np.random.default_rng(0)
    meaning, offset = random.standard_normal((2, 7, 10))
    is_tess = (corpus.voices.corpora == "tess").astype(int)
    rows = meaning[corpus.voices.labels] + 5 * offset[is_tess]
    rows = rows[:, None] + 0.1 * random.standard_normal((len(rows), 2, 10))
    directions = corpus_directions(replace(corpus.voices, vectors=rows.astype(np.float32)))
    assert directions.shape == (1, 10)
    expected = 5 * (offset[1] - offset[0])
    assert np.allclose(directions[0], expected * np.sign(directions[0] @ expected), atol=0.2)


def test_a_probe_tells_voices_and_changes_nothing_else(corpus: PairedCorpus):
    """Of a network that says nothing, so that it labels voices by chance."""
    assert corpus.voices is not None
    rows = np.eye(7, dtype=np.float32)[corpus.voices.labels][:, None].repeat(2, 1)
    rows += np.random.default_rng(0).normal(0, 0.2, rows.shape).astype(np.float32)
    voices = replace(corpus.voices, vectors=rows)
    heard = replace(corpus, voices=voices, widths=corpus.widths | {"audio": 7}, directions={})
    train, valid = heard.epoch(0, 0), heard.draw("valid", np.random.default_rng(0))
    heard = replace(heard, dialogues=train + [replace(d, split="valid") for d in valid])
    config = CSSConfig(heard.widths, EMOTIONS, d=8, heads=2, hidden=8)
    prior = np.log(np.full(7, 1 / 7))
    state = CSS(config).state_dict()
    state |= {name: torch.zeros_like(state[name]) for name in state if "classifier" in name}
    network = Checkpoint(config, state, Normaliser().fit(train), None, prior)
    network.temperatures |= {"audio": 2.0, "text": 3.0}
    probed = with_voice_probe(network, heard)
    part = voices.only(heard.held_out)
    scores = {}
    for name, checkpoint in (("network", network), ("probed", probed)):
        labels, _ = label_voices(Predictor(checkpoint, name), heard, part)["clean"]
        scores[name] = recall(part.labels, labels)
    assert scores["network"] < 0.5 and scores["probed"] > 0.8
    assert probed.temperatures["text"] == 3.0 and probed.temperatures["audio"] != 2.0
    before, after = (Predictor(checkpoint, "") for checkpoint in (network, probed))
    for dialogue in valid:
        alone = [present == "audio" for present in modality_sets(dialogue)]
        change = after.probabilities(dialogue) - before.probabilities(dialogue)
        assert (change[~np.array(alone)] == 0).all()


def joined(dialogues: list, modality: str) -> np.ndarray:
    return np.concatenate([d.features[modality] for d in dialogues])


def test_epochs_differ_and_repeat(corpus: PairedCorpus):
    first, again, second, other = (
        corpus.epoch(n, seed) for n, seed in ((0, 0), (0, 0), (1, 0), (0, 1))
    )
    for modality in corpus.widths:
        same = [
            np.array_equal(joined(first, modality), joined(d, modality), equal_nan=True)
            for d in (again, second, other)
        ]
        assert same == [True, False, False]


def test_cut_dialogues_hold_every_utterance_once(corpus: PairedCorpus):
    pieces = [d for d in corpus.epoch(0, 0) if d.id.startswith("train-0-")]
    whole = corpus.words["train"].transcripts
    assert np.array_equal(
        np.concatenate([d.labels for d in pieces]), np.concatenate([t.labels for t in whole])
    )
    dialogues = {d.id.split("/")[0] for d in pieces}
    assert len(dialogues) == len(whole) < len(pieces)
    assert len({d.id for d in pieces}) == len(pieces)


def test_sessions_have_even_emotions_and_their_odds(corpus: PairedCorpus):
    sessions = [d for n in range(10) for d in corpus.epoch(n, 0) if d.odds is not None]
    shares = np.bincount(np.concatenate([d.labels for d in sessions]), minlength=7)
    assert len(sessions) == 10 * corpus.rates.sessions and shares.min() > 0.85 * shares.max()
    assert all(np.isnan(d.features["text"]).all() for d in sessions)
    epoch = corpus.epoch(0, 0)
    labels = np.concatenate([d.labels for d in epoch if d.odds is None])
    odds = next(d.odds for d in epoch if d.odds is not None)
    prior = np.exp(odds) * np.bincount(labels, minlength=7) / len(labels)
    assert np.allclose(prior, prior[0])  # the words' frequencies times odds are uniform
    for dialogue in sessions:
        speakers = dialogue.features["audio"][dialogue.labels != SURPRISE, 0]
        assert len(set(speakers[~np.isnan(speakers)])) <= 1  # one voice per session


@pytest.mark.parametrize("count", [0, 7])
def test_every_epoch_has_as_many_sessions_as_set(corpus: PairedCorpus, count: int):
    changed = replace(corpus, rates=replace(corpus.rates, sessions=count))
    for number, seed in ((0, 0), (3, 1)):
        dialogues = changed.epoch(number, seed)
        assert sum(d.odds is not None for d in dialogues) == count
        without = [d for d in corpus.epoch(number, seed) if d.odds is None]
        assert [d.id for d in dialogues if d.odds is None] == [d.id for d in without]


@pytest.mark.parametrize("rate", [0.0, 0.5, 1.0])
def test_voices_and_faces_mismatch_at_the_given_rate(corpus: PairedCorpus, rate: float):
    drawn = corpus.draw("train", np.random.default_rng(0), Rates.complete(rate))
    labels = np.concatenate([d.labels for d in drawn])
    assert (joined(drawn, "audio")[:, 1] != labels).mean() == pytest.approx(rate, abs=0.03)
    if rate == 0:  # with votes, a face may be neutral though nothing disagrees
        face = joined(drawn, "visual")
        labelled = face[np.arange(len(labels)), labels]
        assert ((labelled > 0) | (face[:, 0] > 0)).all() and 0.5 < labelled.mean() < 0.9
    assert all(np.isfinite(joined(drawn, modality)).all() for modality in corpus.widths)


def test_wrong_voices_are_muted_as_often_as_set(corpus: PairedCorpus):
    rates = replace(Rates.complete(1.0), muted=0.7)
    drawn = corpus.draw("train", np.random.default_rng(0), rates)
    labels = np.concatenate([d.labels for d in drawn])
    emotional = joined(drawn, "audio")[labels > 0, 1]
    # and one in six of the others is neutral by chance
    assert (emotional == 0).mean() == pytest.approx(0.7 + 0.3 / 6, abs=0.03)
    assert (emotional != labels[labels > 0]).all()


def test_neutral_sessions_show_the_emotion_in_voice_and_face_alone(corpus: PairedCorpus):
    rates = replace(corpus.rates, missing=(0.0,) * 3)
    sessions = replace(corpus, rates=rates).neutral_sessions("train", 400, np.random.default_rng(0))
    labels, text = np.concatenate([d.labels for d in sessions]), joined(sessions, "text")
    assert (text == SENTENCE).all() and set(labels) == set(range(7))
    voice = joined(sessions, "audio")[:, 1]
    heard = ~np.isnan(voice)
    assert (voice == labels)[heard].mean() > 0.8 and 0.7 < heard.mean() < 0.95


def test_dialogues_differ_in_reliability_around_the_mean(corpus: PairedCorpus):
    def wrong(rates: Rates) -> list[float]:
        return [
            np.mean(d.features["audio"][:, 1] != d.labels)
            for d in corpus.draw("train", np.random.default_rng(0), rates)
            if len(d.labels) > 8
        ]

    varied, fixed = wrong(replace(Rates.complete(0.6), spread=4.0)), wrong(Rates.complete(0.6))
    assert np.std(varied) > 1.3 * np.std(fixed)
    assert np.mean(varied) == pytest.approx(0.63, abs=0.06)


def test_a_face_is_partly_neutral(corpus: PairedCorpus):
    drawn = corpus.draw("train", np.random.default_rng(0), Rates.complete(0.0))
    labels, face = np.concatenate([d.labels for d in drawn]), joined(drawn, "visual")
    assert np.allclose(face.sum(1), 1, atol=1e-5)
    showing = face[labels == SURPRISE, SURPRISE]  # without votes
    assert showing.max() == 1 and 0.5 < showing.mean() < 0.75
    voted = face[np.arange(len(labels)), labels][(labels != 0) & (labels != SURPRISE)]
    assert set(voted) == {0.0, 1.0}  # one vote for all images of a face
    assert (face[labels == 0, 0] == 1).all()


def test_each_speaker_has_one_voice_and_no_two_share_it(corpus: PairedCorpus):
    for d in corpus.draw("train", np.random.default_rng(0), Rates.complete(0.5)):
        # two of the corpora have no surprise: then another voice speaks
        audio = [row for row in d.features["audio"] if row[1] != SURPRISE]
        speakers = [
            name
            for name, row in zip(d.speakers, d.features["audio"], strict=True)
            if row[1] != SURPRISE
        ]
        pairs = {(name, float(row[0])) for name, row in zip(speakers, audio, strict=True)}
        assert len({voice for _, voice in pairs}) == len(pairs) == len(set(speakers))


def test_held_out_voices_are_never_trained_on(corpus: PairedCorpus):
    held = {float(NAMES.index(name)) for name in corpus.held_out}
    train = joined([d for n in range(3) for d in corpus.epoch(n, 0)], "audio")[:, 0]
    valid = joined(corpus.draw("valid", np.random.default_rng(0)), "audio")[:, 0]
    assert not held & set(train[~np.isnan(train)]) and set(valid[~np.isnan(valid)]) == held


def test_missing_modalities_are_independent_of_the_label(corpus: PairedCorpus):
    drawn = [d for n in range(6) for d in corpus.epoch(n, 0)]
    masks = np.stack([np.isnan(joined(drawn, m)).any(1) for m in corpus.widths], 1)
    labels = np.concatenate([d.labels for d in drawn])
    assert not masks.all(1).any() and (masks.mean(0) > 0.05).all()
    assert len(np.unique(masks, axis=0)) == 7
    half = len(labels) // 2
    guess = DecisionTreeClassifier().fit(masks[:half], labels[:half]).predict(masks[half:])
    majority = (labels[half:] == 0).mean()
    paired = ~masks[:, 0]  # with words, emotions are as frequent as in MELD for every mask
    shares = [
        (labels[(masks == mask).all(1)] == 0).mean() for mask in np.unique(masks[paired], axis=0)
    ]
    assert np.ptp(shares) < 0.06
    assert accuracy_score(labels[half:], guess) <= majority + 0.005


def test_texts_stay_with_their_utterances(corpus: PairedCorpus):
    rates = Rates.complete(0.6)
    for d, transcript, rows in zip(
        corpus.draw("valid", np.random.default_rng(0), rates),
        corpus.words["valid"].transcripts,
        corpus.words["valid"].vectors,
        strict=True,
    ):
        assert np.array_equal(d.features["text"], rows)
        assert np.array_equal(d.labels, transcript.labels)


HEAD = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
def test_transcripts_in_both_encodings(tmp_path: Path, encoding: str):
    file = tmp_path / "train_sent_emo.csv"
    file.write_bytes(
        (
            HEAD + "1,It’s “fine”…,Joey,joy,positive,3,5\n2,No,Ross,anger,negative,3,1\n"
            "3,Oh,Joey,surprise,negative,2,0\n"
        ).encode(encoding)
    )
    two, three = read_meld_csv(file)
    assert (two.id, three.id) == (2, 3)
    assert (three.utterances, three.texts) == ([1, 5], ["No", "It’s “fine”…"])
    assert [EMOTIONS[k] for k in three.labels] == ["anger", "joy"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2\n", "it has no column Utterance"),
        (HEAD + "1,Hi,Joey,bliss,positive,0,0\n", "row 2"),
        (HEAD + "1,Hi,Joey,joy,positive,x,0\n", "row 2"),
    ],
)
def test_other_tables_are_refused(tmp_path: Path, content: str, message: str):
    file = tmp_path / "train_sent_emo.csv"
    file.write_text(content)
    with pytest.raises(MercError, match=message):
        read_meld_csv(file)


def test_meld_itself(shared: Path):
    for part, dialogues, utterances in (("train", 1038, 9989), ("dev", 114, 1109)):
        transcripts = read_meld_csv(shared / "data" / "meld" / f"{part}_sent_emo.csv")
        texts = [text for transcript in transcripts for text in transcript.texts]
        assert len(transcripts) == dialogues and len(texts) == utterances
        assert not any("�" in text for text in texts)


def test_missing_data_is_named_with_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(MercError, match=r"ferplus_48\.npz.*docs/merc-offline\.md.*put the files"):
        load_paired(tmp_path)
    monkeypatch.delenv("MERC_DATA", raising=False)
    with pytest.raises(MercError, match=r"docs/merc-offline\.md.*--data"):
        load_paired(None)
