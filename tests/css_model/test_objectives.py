"""Eqs. 11-13 equal a plain numpy implementation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from css_model import CSS, collate, inverse_frequency, losses


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.fixture
def case(config, dialogue):
    batch = collate([dialogue(1, 7), dialogue(2, 3), dialogue(3, 5, missing=0.7)])
    return CSS(config()).eval()(batch), batch


@pytest.mark.parametrize("literal", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_against_numpy(case, temperature: float, literal: bool, weighted: bool) -> None:
    output, batch = case
    weights = np.array([0.5, 2.0, 1.0, 3.0]) if weighted else np.ones(4)
    present = {name: rows.numpy() for name, rows in batch.present.items()}
    fused = output.logits.detach().double().numpy()
    l1 = l2 = l3 = total = mass = 0.0
    for i, label in enumerate(batch.labels.tolist()):
        if label < 0 or not any(rows[i] for rows in present.values()):
            continue
        total, mass = total + 1, mass + weights[label]
        l1 -= weights[label] * np.log(softmax(fused[i])[label])
        for name, rows in output.unimodal.items():
            if present[name][i]:
                student = rows[i].detach().double().numpy()
                l2 -= weights[label] * np.log(softmax(student)[label])
                p = softmax((softmax(fused[i]) if literal else fused[i]) / temperature)
                q = softmax((softmax(student) if literal else student) / temperature)
                l3 += (p * np.log(p / q)).sum()
    actual = losses(
        output,
        batch,
        temperature,
        literal=literal,
        class_weights=torch.tensor(weights) if weighted else None,
    )
    assert np.allclose(
        [value.item() for value in actual], [l1 / mass, l2 / mass, l3 / total], rtol=1e-5, atol=1e-6
    )
    assert actual.weights == pytest.approx((mass, mass, total))


def test_teacher_is_detached_by_default(case) -> None:
    output, batch = case
    for detach in (True, False):
        gradient = torch.autograd.grad(
            losses(output, batch, detach_teacher=detach)[2],
            output.logits,
            retain_graph=True,
            allow_unused=True,
        )[0]
        assert (gradient is None) is detach


def test_utterances_without_label_or_features_do_not_count(config, dialogue) -> None:
    one, other = dialogue(1, 7), dialogue(2, 4)
    other.labels[:] = -1
    without = dialogue(3, 6, missing=1.0)
    model = CSS(config()).eval()
    alone, more = collate([one]), collate([one, other, without])
    expected, actual = losses(model(alone), alone), losses(model(more), more)
    assert torch.allclose(torch.stack(list(expected)), torch.stack(list(actual)), rtol=1e-5)
    nothing = collate([other, without])
    assert [value.item() for value in losses(model(nothing), nothing)] == [0.0, 0.0, 0.0]


def test_labels_out_of_range_are_refused(case) -> None:
    output, batch = case
    batch.labels[0] = 4
    with pytest.raises(ValueError, match="out of range"):
        losses(output, batch)
    with pytest.raises(ValueError, match="temperature"):
        losses(output, batch, temperature=0.0)


def test_inverse_frequency() -> None:
    labels = torch.tensor([0, 0, 0, 1, -1, 3])
    weights = inverse_frequency(labels, 4)
    assert weights[2] == 0 and weights[1] == weights[3] == 3 * weights[0]
    # three of four classes occur
    assert weights[labels[labels >= 0]].mean() == pytest.approx(0.75)
