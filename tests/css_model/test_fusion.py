"""SPF equals its expansion and an explicit tensor; every fusion ignores missing modalities."""

from __future__ import annotations

from itertools import product

import pytest
import torch
import torch.nn.functional as F

from css_model import CSS, SynergisticPolynomialFusion, collate, losses
from css_model.comparators import FUSIONS
from css_model.fusion import EPS, signed_sqrt

M = ("text", "audio", "visual")


def spf(**fields) -> SynergisticPolynomialFusion:
    fusion = SynergisticPolynomialFusion(
        **{"modalities": M, "d": 6, "rank": 4, "order": 3} | fields
    ).double()
    with torch.no_grad():
        fusion.constant.normal_()
        if fusion.gate is not None:
            fusion.gate.normal_()
    return fusion


def inputs(n: int = 5, d: int = 6) -> dict[str, torch.Tensor]:
    return {name: torch.randn(n, d, dtype=torch.float64) for name in M}


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_equals_the_sum_over_all_monomials(order: int) -> None:
    """Each of the (modalities + 1)^p terms picks one modality, or the constant, for every order."""
    fusion, h = spf(order=order), inputs()
    total = torch.zeros(5, 4, dtype=torch.float64)
    for choice in product(range(4), repeat=order):
        term = torch.ones(5, 4, dtype=torch.float64)
        for j, m in enumerate(choice):
            if m == 3:
                term = term * fusion.constant[j]
            else:
                w = fusion.weight[m].view(order, 4, 6)[j]
                term = term * torch.sigmoid(fusion.gate[j, m]) * F.gelu(h[M[m]] @ w.T)
        total = total + term
    expected = fusion.out(torch.sign(total) * (total.square() / (total.abs() + EPS)).sqrt())
    assert torch.allclose(fusion(h), expected, atol=1e-12)


def test_equals_an_explicit_cp_tensor_without_gelu(monkeypatch: pytest.MonkeyPatch) -> None:
    """If GELU is the identity, each rank is a rank-1 tensor over [h_text; h_audio; h_visual; 1]."""
    monkeypatch.setattr(F, "gelu", lambda x: x)
    fusion, h = spf(), inputs()
    one = torch.ones(5, 1, dtype=torch.float64)
    vector = torch.cat([*(h[name] for name in M), one], -1)  # (5, 19)
    gates = torch.sigmoid(fusion.gate)
    rows = []  # 3 of (4, 19)
    for j in range(3):
        parts = [gates[j, m] * fusion.weight[m].view(3, 4, 6)[j] for m in range(3)]
        rows.append(torch.cat([*parts, fusion.constant[j][:, None]], -1))
    tensor = torch.einsum("ra,rb,rc->rabc", *rows)
    z = torch.einsum("rabc,na,nb,nc->nr", tensor, vector, vector, vector)
    assert torch.allclose(fusion(h), fusion.out(signed_sqrt(z)), atol=1e-10)


def test_gradcheck() -> None:
    fusion, h = spf(), inputs(3)
    present = {
        "text": torch.tensor([True, True, True]),
        "audio": torch.tensor([False, True, True]),
        "visual": torch.tensor([False, True, False]),
    }
    for parameter in fusion.parameters():
        parameter.requires_grad_(True)
    rows = [h[name].requires_grad_(True) for name in M]
    assert torch.autograd.gradcheck(lambda *x: fusion(dict(zip(M, x, strict=True)), present), rows)
    names = [name for name, _ in fusion.named_parameters()]
    assert torch.autograd.gradcheck(
        lambda *values: torch.func.functional_call(
            fusion, dict(zip(names, values, strict=True)), (h, present)
        ),
        list(fusion.parameters()),
    )


def test_signed_square_root() -> None:
    z = torch.tensor([-4.0, -1e-3, 0.0, 1e-3, 4.0], dtype=torch.float64, requires_grad=True)
    y = signed_sqrt(z)
    assert torch.allclose(y, z.sign() * z.abs().sqrt(), atol=EPS**0.5)
    assert torch.equal(y, -signed_sqrt(-z)) and (y.diff() > 0).all()
    y.sum().backward()
    assert z.grad.isfinite().all()


def test_an_all_zero_row_gives_finite_gradients() -> None:
    """Without ε, a single row of zeros would turn every gradient into NaN."""
    fusion = SynergisticPolynomialFusion(M, 6)
    h = {name: torch.zeros(2, 6, requires_grad=True) for name in M}
    fusion(h, {name: torch.tensor([True, False]) for name in M}).sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in fusion.parameters())
    assert all(rows.grad.isfinite().all() for rows in h.values())


def test_the_sum_is_rescaled_over_the_present_modalities() -> None:
    """Three equal modalities give the same as one of them alone, at any order."""
    fusion = spf(order=4)
    with torch.no_grad():
        fusion.weight.copy_(fusion.weight[:1].expand_as(fusion.weight))
        fusion.gate.zero_()
    h = torch.randn(5, 6, dtype=torch.float64)
    everything = fusion(dict.fromkeys(M, h))
    alone = {name: torch.full((5,), name == "audio") for name in M}
    assert torch.allclose(fusion({"text": h * 7, "audio": h, "visual": h - 3}, alone), everything)


def test_product_is_float32_under_autocast() -> None:
    fusion = SynergisticPolynomialFusion(M, 64, order=4)
    h = {name: torch.randn(50, 64) for name in M}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert fusion.factors(h).dtype == torch.float32
        low = fusion(h)
    assert (low - fusion(h)).abs().max() < 0.05


def test_without_msp_there_is_one_projection_and_no_gate() -> None:
    fusion, h = spf(modality_specific=False), inputs()
    assert fusion.gate is None and fusion.weight.shape == (1, 12, 6)
    swapped = {"text": h["visual"], "audio": h["text"], "visual": h["audio"]}
    assert torch.allclose(fusion(h), fusion(swapped))


def test_mlb_multiplies_pairs(config) -> None:
    fusion = FUSIONS["mlb"](config(d=6, heads=2, rank=2))
    h = {name: rows.float() for name, rows in inputs().items()}
    present = {name: torch.arange(5) != k for k, name in enumerate(M)}
    sides = {}
    for name in M:
        factor = fusion.factors[name]
        side = torch.tanh(h[name] @ factor.weight.T + factor.bias)
        sides[name] = torch.where(present[name][:, None], side, 1.0)  # 1 has no say in a product
    products = [sides[a] * sides[b] for a, b in (M[:2], (M[0], M[2]), M[1:])]
    expected = torch.cat(products, 1) @ fusion.out.weight.T + fusion.out.bias
    assert torch.allclose(fusion(h, present), expected, atol=1e-6)


@pytest.mark.parametrize("name", FUSIONS)
def test_every_fusion_learns_and_ignores_missing_features(name: str, config, dialogue) -> None:
    model = CSS(config(fusion=name, dropout=0.0))
    batch = collate([dialogue(1, 9), dialogue(2, 1), dialogue(3, 4, missing=1.0)])
    output = model(batch)
    before = losses(output, batch)[0].item()
    assert output.logits.isfinite().all()
    optimiser = torch.optim.Adam(model.parameters(), 5e-3)
    for _ in range(30):
        optimiser.zero_grad()
        loss = losses(model(batch), batch)[0]
        loss.backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
        optimiser.step()
    assert loss.item() < before / 2
    # the logits do not depend on the values of missing rows
    for feature, available in batch.present.items():
        batch.features[feature][~available] = 1e6
    again = model(batch).logits
    for feature, available in batch.present.items():
        batch.features[feature][~available] = -3.0
    assert torch.equal(model(batch).logits, again)
