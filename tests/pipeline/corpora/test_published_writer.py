"""Layouts of other repositories: their loaders read them; what they cannot hold is refused."""

from __future__ import annotations

import pickle
import pickletools
from dataclasses import replace

import numpy as np
import pytest
from support.published_files import content, write

from extractors import TextExtractor
from pipeline.core.dialogue import Corpus, Dialogue, Utterance
from pipeline.core.errors import MercError
from pipeline.corpora.published import read_published
from pipeline.corpora.published_writer import FORMATS, write_layout
from pipeline.features.store import Features, Store
from pipeline.features.store_export import export

WIDTHS = {"r1": 1024, "r2": 1024, "r3": 1024, "r4": 1024, "audio": 1582, "visual": 342}


def four_layers(values, corpus):
    """Return the corpus with r1 to r4 side by side, as `--text-layers four` stores them."""
    keys = {str(v): v for v in values["labels"]}

    def text(d):
        return np.concatenate([np.stack(values[f"r{k}"][keys[d.id]]) for k in range(1, 5)], axis=1)

    return replace(
        corpus,
        dialogues=[replace(d, features=d.features | {"text": text(d)}) for d in corpus.dialogues],
        widths=corpus.widths | {"text": 4096},
    )


def generic(speakers, labels=(), n=3, widths=(("text", 4096), ("audio", 1582), ("visual", 342))):
    rng = np.random.default_rng(0)
    features = {m: rng.normal(size=(n, width)).astype(np.float32) for m, width in widths}
    dialogue = Dialogue(
        "a clip",
        "test",
        ["0", "1", "2"][:n],
        speakers,
        ["a", "b", "c"][:n],
        np.full(n, -1),
        features,
    )
    return Corpus("store", tuple(labels), [dialogue], dict(widths))


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("layout", ["sdt12", "sdt13"])
def test_a_corpus_survives_each_layout(tmp_path, layout, name):
    values = content(layout, widths=WIDTHS)
    corpus = four_layers(values, read_published(write(values, tmp_path / "in.pkl")).corpus)
    write_layout(corpus, name, tmp_path / "out.pkl")
    for text, wanted in (("r1", "r1"), ("mean", None)):
        back = read_published(tmp_path / "out.pkl", text).corpus
        assert (back.name, back.labels) == (corpus.name, corpus.labels)
        for expected, actual in zip(corpus.dialogues, back.dialogues, strict=True):
            assert (expected.id, expected.split, expected.speakers, expected.texts) == (
                actual.id,
                actual.split,
                actual.speakers,
                actual.texts,
            )
            assert expected.labels.tolist() == actual.labels.tolist()
            layers = expected.features["text"].reshape(len(expected.labels), 4, 1024)
            text_rows = (
                expected.features["text"]
                if name == "mmgcn"
                else layers[:, 0]
                if wanted
                else layers.mean(1)
            )
            np.testing.assert_allclose(actual.features["text"], text_rows, atol=1e-6)
            assert all(
                np.array_equal(expected.features[m], actual.features[m])
                for m in actual.features
                if m != "text"
            )
    assert ("audio" in back.widths) == (name != "cosmic")


@pytest.mark.parametrize("name, fields", [("sdt", 12), ("mmgcn", 9), ("cosmic", 10)])
def test_features_of_a_store_have_the_fields_that_the_loaders_expect(tmp_path, name, fields):
    corpus = generic(["Anna", "Ben", "Anna"])
    corpus.dialogues[0].features["visual"][1] = np.nan
    notes = write_layout(corpus, name, tmp_path / "out.pkl")
    assert any("no label" in note for note in notes)
    assert any("visual is missing for 1 of 3" in note for note in notes) == (name != "cosmic")
    data = (tmp_path / "out.pkl").read_bytes()
    values = pickle.loads(data)  # noqa: S301  our own file, read as the other repositories do
    assert len(values) == fields
    speakers, labels = (values[0], values[1]) if name == "cosmic" else (values[1], values[2])
    assert speakers == {"a clip": ["M", "F", "M"]} and labels == {"a clip": [-1, -1, -1]}
    names = [argument for _, argument, _ in pickletools.genops(data) if isinstance(argument, str)]
    assert "numpy.core.multiarray _reconstruct" in names and not any(
        "numpy._core" in word for word in names
    )


def test_three_speakers_are_written_one_hot_as_in_meld(tmp_path):
    write_layout(generic(["x", "y", "z"]), "sdt", tmp_path / "out.pkl")
    values = pickle.loads((tmp_path / "out.pkl").read_bytes())  # noqa: S301
    assert len(values) == 13 and values[1] == {"a clip": np.eye(9)[:3].tolist()}
    ten = generic([str(k) for k in range(10)], n=10)
    ten.dialogues[0].texts[:] = ten.dialogues[0].utterances[:] = [str(k) for k in range(10)]
    with pytest.raises(ValueError, match=r"a clip.*10 speakers.*holds 9"):
        write_layout(ten, "sdt", tmp_path / "ten.pkl")
    assert not (tmp_path / "ten.pkl").exists()


@pytest.mark.parametrize(
    "name, widths, message",
    [
        ("sdt", (("text", 1024), ("audio", 1582), ("visual", 342)), "only one layer is stored"),
        ("cosmic", (("text", 384),), "384 wide"),
        ("sdt", (("text", 4096), ("visual", 342)), "audio features are missing"),
        ("mmgcn", (("text", 100), ("audio", 88), ("visual", 342)), "88 wide"),
        ("mmgcn", (("audio", 1582), ("visual", 342)), "text features are missing"),
        ("pandas", (("text", 1),), "choose sdt"),
    ],
)
def test_what_a_layout_cannot_hold_is_refused(tmp_path, name, widths, message):
    with pytest.raises(ValueError, match=message):
        write_layout(generic(["a", "a", "a"], widths=widths), name, tmp_path / "out.pkl")
    assert not list(tmp_path.iterdir())


def test_the_store_exports_them(tmp_path):
    store = Store(tmp_path / "store")
    utterances = [Utterance(0.0, 1.0, "a", "Anna"), Utterance(1.0, 2.0, "b", "Ben")]
    for modality, width in (("text", 384), ("audio", 1582), ("visual", 342)):
        fingerprint = {"extractor": {"extractor": modality}, "segmentation": {"kind": "transcript"}}
        store.write(
            Features(
                "0" * 64,
                modality,
                fingerprint,
                utterances,
                np.ones((2, width), np.float32),
                [{}, {}],
            )
        )
    store.add_name("0" * 64, "talk.mp4")
    _, notes = export(store, tmp_path / "out", "mmgcn")
    values = pickle.loads((tmp_path / "out" / "mmgcn.pkl").read_bytes())  # noqa: S301
    assert len(values) == 9 and any("384 wide" in note for note in notes)
    with pytest.raises(ValueError, match="profile roberta"):
        export(store, tmp_path / "sdt.pkl", "sdt")
    with pytest.raises(MercError, match="overwrite"):
        export(store, tmp_path / "out" / "mmgcn.pkl", "mmgcn")


def test_four_text_layers_are_the_last_first_and_their_mean_is_last4():
    texts = ["Hello there.", "I am so angry with you"]
    four = TextExtractor(layers="four")
    parts = four.extract(texts).reshape(2, 4, -1)
    assert four.dim == 4 * parts.shape[-1]
    np.testing.assert_allclose(parts[:, 0], TextExtractor(layers="last").extract(texts), atol=1e-6)
    np.testing.assert_allclose(
        parts.mean(1), TextExtractor(layers="last4").extract(texts), atol=1e-6
    )
