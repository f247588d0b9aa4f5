"""The model: its size, what may change the logits of a dialogue, and what must not."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from css_model import CSS, CSSConfig, collate, losses
from css_model.embeddings import positions
from css_model.encoder import Layout

VARIANTS = [
    {},
    {"iae_input": "parallel"},
    {"gate": "pair"},
    {"gate": "scalar"},
    {"mae": False},
    {"iae": False},
    {"mae": False, "iae": False},
    {"layers": 2},
    {"modality_specific": False},
    {"fusion": "concat"},
]


def test_size_of_the_papers_model() -> None:
    widths = (("text", 1024), ("audio", 1582), ("visual", 342))
    with torch.device("meta"):
        default, pair, two_speakers = (
            CSS(CSSConfig(widths, tuple("abcdef"), **fields)).parameter_count()
            for fields in ({}, {"gate": "pair"}, {"speakers": 2})
        )
    assert default == 50_464_849
    assert pair - default == 3 * (1024**2 + 1024)
    assert default - two_speakers == 1024


@pytest.mark.parametrize("fields", VARIANTS, ids=str)
def test_logits_do_not_depend_on_the_batch(fields: dict, config, dialogue) -> None:
    """Hidden states to 1e-5; logits to 2e-4, as the slope of eq. 9 reaches 100."""
    model = CSS(config(**fields)).eval()
    dialogues = [dialogue(seed, length) for seed, length in enumerate((5, 1, 40, 9, 2, 9))]
    for order in ([0, 1, 2, 3, 4, 5], [3, 0, 5, 4, 2, 1]):
        together = model(collate([dialogues[i] for i in order]))
        ends = torch.tensor([len(dialogues[i].speakers) for i in order]).cumsum(0)
        for i, end in zip(order, ends.tolist(), strict=True):
            alone = model(collate([dialogues[i]]))
            rows = slice(end - len(dialogues[i].speakers), end)
            for modality, hidden in alone.hidden.items():
                assert torch.allclose(hidden, together.hidden[modality][rows], atol=1e-5)
            assert torch.allclose(alone.logits, together.logits[rows], atol=2e-4)


@pytest.mark.parametrize("fields", VARIANTS, ids=str)
def test_gradients_are_finite_with_missing_features(fields: dict, config, dialogue) -> None:
    model = CSS(config(**fields))
    batch = collate(
        [dialogue(1, 6), dialogue(2, 1), dialogue(3, 5, missing=1.0), dialogue(4, 8, missing=0.8)]
    )
    output = model(batch)
    sum(losses(output, batch)).backward()
    assert output.logits.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_an_undeclared_modality_is_missing(config, dialogue) -> None:
    """Rows of NaN, no such key, and no such key with its width given to `collate` are the same."""
    model, one = CSS(config()).eval(), dialogue(1, 8)
    one.features["visual"][:] = np.nan
    features = {name: rows for name, rows in one.features.items() if name != "visual"}
    without = SimpleNamespace(**vars(one) | {"features": features})
    expected = model(collate([one])).logits
    assert torch.equal(model(collate([without])).logits, expected)
    assert torch.equal(model(collate([without], model.config.widths)).logits, expected)
    assert (model(collate([one])).hidden["visual"] == 0).all()


def test_an_utterance_without_features_does_not_change_the_others(config, dialogue) -> None:
    """Attention ignores missing features, rather than reading a zero vector."""
    model, one = CSS(config()).eval(), dialogue(1, 8)
    features = {
        name: np.vstack([rows, np.full((1, rows.shape[1]), np.nan, np.float32)])
        for name, rows in one.features.items()
    }
    longer = SimpleNamespace(
        id="",
        features=features,
        speakers=[*one.speakers, "s0"],
        labels=np.append(one.labels, -1),
    )
    logits = model(collate([longer])).logits[:-1]
    assert torch.allclose(logits, model(collate([one])).logits, atol=1e-5)


def test_a_single_modality_has_no_interaction(config, dialogue) -> None:
    """With text only, h_Ia is zero, and gates and interaction encoder have no influence."""
    model, one = CSS(config()).eval(), dialogue(1, 8, missing=0.0)
    one.features = {"text": one.features["text"]}
    before = model(collate([one])).logits
    with torch.no_grad():
        for parameter in [*model.encoder.iae.parameters(), *model.encoder.gates.parameters()]:
            parameter.normal_()
    assert torch.equal(model(collate([one])).logits, before)
    small = CSS(config(widths=(("text", 12),))).eval()
    assert not small.encoder.iae and small(collate([one])).logits.isfinite().all()


def test_every_modality_context_order_and_speaker_matter(config, dialogue) -> None:
    model, one = CSS(config()).eval(), dialogue(1, 8, missing=0.0)
    base = model(collate([one])).logits
    for name, rows in one.features.items():
        features = one.features | {name: rows[::-1].copy()}
        changed = SimpleNamespace(**vars(one) | {"features": features})
        assert (model(collate([changed])).logits - base).abs().max() > 1e-3
    other = SimpleNamespace(**vars(one) | {"speakers": ["x"] * 8})
    assert (model(collate([other])).logits - base).abs().max() > 1e-3
    renamed = SimpleNamespace(**vars(one) | {"speakers": [name + "!" for name in one.speakers]})
    assert torch.equal(
        model(collate([renamed])).logits, base
    )  # the order of appearance matters, not the names


def test_rows_by_gender(config, dialogue) -> None:
    """M and F keep their rows, whoever begins; by appearance, only who begins counts."""
    by_gender, one = CSS(config(speaker_rows="gender")).eval(), dialogue(1, 6, missing=0.0)
    by_appearance = CSS(config()).eval()
    by_appearance.load_state_dict(by_gender.state_dict())
    logits = {}
    for speakers in ("MFMFMF", "FMFMFM"):
        named = [SimpleNamespace(**vars(one) | {"speakers": list(speakers)})]
        logits[speakers] = by_gender(by_gender.collate(named)).logits
        if speakers[0] == "M":
            assert torch.equal(by_appearance(by_appearance.collate(named)).logits, logits[speakers])
    assert (logits["MFMFMF"] - logits["FMFMFM"]).abs().max() > 1e-3
    assert CSSConfig.from_dict(by_gender.config.to_dict()) == by_gender.config
    assert "speaker_rows" not in by_appearance.config.to_dict()  # as files of older versions
    with pytest.raises(ValueError, match=r"d1.*speaker 's0' is neither M nor F"):
        by_gender.collate([one])
    with pytest.raises(ValueError, match="speaker_rows must be one of appearance, gender"):
        config(speaker_rows="age")


def test_any_number_of_speakers_and_any_length(config, dialogue) -> None:
    model = CSS(config()).eval()
    many = dialogue(1, 700, speakers=300)
    assert model(collate([many])).logits.isfinite().all()
    rows = positions([3, 70_000], 24)
    assert rows.shape == (70_003, 24) and torch.equal(rows[:3], rows[3:6])
    angle = 69_999 / 10_000 ** (torch.arange(0, 24, 2) / 24)
    assert torch.allclose(rows[-1, 0::2], angle.sin(), atol=1e-2)
    assert torch.allclose(rows[-1, 1::2], angle.cos(), atol=1e-2)


def test_layout_equals_attention_dialogue_by_dialogue() -> None:
    lengths, heads = [3, 0, 1, 17, 4, 16], 2
    q, k, v = torch.randn(3, 41, 8, dtype=torch.float64)
    usable = torch.rand(41) < 0.6
    usable[3] = False  # the dialogue of one utterance has no key
    output = Layout(lengths, q.device).attend(q, k, v, usable, heads)
    start, expected = 0, []
    for length in lengths:
        rows = slice(start, start + length)
        keys = usable[rows]
        for head in range(heads):
            part = slice(4 * head, 4 * head + 4)
            scores = q[rows, part] @ k[rows, part][keys].T / 2
            expected.append((rows, part, scores.softmax(-1) @ v[rows, part][keys]))
        start += length
    for rows, part, values in expected:
        assert torch.allclose(output[rows, part], values, atol=1e-12)
    assert (output[3] == 0).all()


def test_half_precision_is_close_to_full(config, dialogue) -> None:
    model, batch = CSS(config(d=64)).eval(), collate([dialogue(1, 30), dialogue(2, 7)])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(batch)
        low = losses(output, batch)
    high = losses(model(batch), batch)
    assert all(value.dtype == torch.float32 for value in low)
    assert torch.allclose(torch.stack(list(low)), torch.stack(list(high)), rtol=0.1, atol=0.02)


def test_initial_scale_suits_the_fusion(config, dialogue) -> None:
    """SPF assumes h̃ of root mean square about 1; its product is then neither tiny nor huge."""
    model = CSS(config(d=128, hidden=128, rank=16, order=4)).eval()
    output = model(collate([dialogue(seed, 20, missing=0.0) for seed in range(4)]))
    assert 0.7 < output.hidden_rms() < 1.5
    z = model.fusion.factors(output.hidden).prod(1)
    assert 0.02 < z.abs().median() < 20


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text": np.zeros((4, 3), np.float32)}, "'d1'.*shape"),
        (
            {"text": np.full((3, 12), np.inf, np.float32)},
            "'d1'.*text feature of utterance 0.*not finite",
        ),
    ],
)
def test_malformed_features_name_their_dialogue(change: dict, message: str, dialogue) -> None:
    one = dialogue(1, 3)
    one.features = one.features | change
    with pytest.raises(ValueError, match=message):
        collate([dialogue(0, 5), one])


def test_wrong_width_for_the_model(config, dialogue) -> None:
    with pytest.raises(ValueError, match="trained on"):
        CSS(config(widths=(("text", 99),)))(collate([dialogue(1, 3)]))


@pytest.mark.parametrize(
    "fields",
    [
        {"d": 25},
        {"heads": 0},
        {"dropout": 1.0},
        {"dropout": "a"},
        {"labels": ("a",)},
        {"labels": ("a", "a")},
        {"widths": ()},
        {"widths": (("text", 0),)},
        {"widths": (("a b", 3),)},
        {"fusion": "magic"},
        {"gate": "none"},
        {"layers": 10**9},
        {"d": True},
        {"mae": 1},
        {"widths": (("text", 3), ("text", 4))},
    ],
)
def test_dimensions_out_of_range_are_refused(fields: dict, config) -> None:
    with pytest.raises(ValueError):
        config(**fields)
    assert CSSConfig.from_dict(config().to_dict()) == config()


def test_a_probe_counts_where_there_is_nothing_else(config, dialogue) -> None:
    """Its evidence is added to those logits and to no others; training leaves it alone."""
    model = CSS(config(probe=True)).eval()
    batch = collate([dialogue(1, 12, missing=0.5), dialogue(2, 9, missing=0.8)])
    single = torch.stack(list(batch.present.values())).sum(0) == 1
    audio = batch.present["audio"] & single
    assert 0 < audio.sum() < len(audio)
    before = model(batch).logits
    probe = model.probes["audio"]
    with torch.no_grad():
        probe.weight.normal_()
        probe.bias.normal_()
    after = model(batch).logits
    added = (after - before)[audio]
    assert torch.equal(after[~audio], before[~audio])
    assert torch.allclose(added, probe(batch.features["audio"])[audio], atol=1e-5)
    sum(losses(model(batch), batch)).backward()
    assert all(p.grad is None for p in model.probes.parameters())
