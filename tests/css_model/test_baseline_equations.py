"""The core operation of each comparison model, against plain numpy in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import erf, expit, log_softmax, softmax

from css_model import Batch, collate, config_class, make_model
from css_model.baselines.ada2i import TensorRing
from css_model.baselines.cmn import read_memory
from css_model.baselines.contrast import contrast_labels, contrast_views
from css_model.baselines.dialoguegcn import RelationalConvolution
from css_model.baselines.graphs import DeepGraphConvolution, ModalityGraph, normalised
from css_model.baselines.haucl import HypergraphAutoencoder
from css_model.baselines.hypergraphs import HypergraphConvolution, ModalityHypergraph
from css_model.baselines.m3net import FrequencyConvolution
from css_model.baselines.misa import central_moment_discrepancy
from css_model.baselines.sequences import same_speaker_order
from css_model.encoder import Layout

from .conftest import LABELS, WIDTHS, make_dialogue


def build(name: str, **fields):
    return make_model(config_class(name)(WIDTHS, LABELS, **fields)).double().eval()


def array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().numpy()


def linear(layer: torch.nn.Linear, x: np.ndarray) -> np.ndarray:
    out = x @ array(layer.weight).T
    return out if layer.bias is None else out + array(layer.bias)


def gru(cell: torch.nn.GRUCell, x: np.ndarray, h: np.ndarray) -> np.ndarray:
    a = x @ array(cell.weight_ih).T + array(cell.bias_ih)
    b = h @ array(cell.weight_hh).T + array(cell.bias_hh)
    (ar, az, an), (br, bz, bn) = np.split(a, 3, -1), np.split(b, 3, -1)
    reset, update = expit(ar + br), expit(az + bz)
    return (1 - update) * np.tanh(an + reset * bn) + update * h


def gru_states(layer: torch.nn.GRU, rows: np.ndarray) -> np.ndarray:
    """Return the states of a GRU of one layer over rows (n, width)."""
    cell = torch.nn.GRUCell(layer.input_size, layer.hidden_size).double()
    cell.load_state_dict({n.removesuffix("_l0"): p for n, p in layer.named_parameters()})
    states = [np.zeros(layer.hidden_size)]
    for row in rows:
        states.append(gru(cell, row, states[-1]))
    return np.stack(states[1:])


def whole_dialogue(seed: int, length: int) -> Batch:
    """Return a batch in float64 of one dialogue without missing features."""
    batch = collate([make_dialogue(seed, length, missing=0.0)], WIDTHS)
    batch.features.update({m: rows.double() for m, rows in batch.features.items()})
    return batch


def test_sdt_gates_modalities_that_are_present() -> None:
    model = build("sdt", d=8, heads=2)
    hidden = {name: torch.randn(3, 8).double() for name, _ in WIDTHS}
    present = {name: torch.tensor([True, name != "audio", False]) for name, _ in WIDTHS}
    fused = array(model._fuse(hidden, present))
    weight = array(model.modality_gate.weight)
    for k, names in ((0, ["text", "audio", "visual"]), (1, ["text", "visual"])):
        rows = np.stack([array(hidden[name][k]) for name in names])
        np.testing.assert_allclose(fused[k], (softmax(rows @ weight.T, 0) * rows).sum(0))


@pytest.mark.parametrize("detach", [False, True])
def test_sdt_losses(detach: bool) -> None:
    model = build("sdt", d=8, heads=2, temperature=2.0, detach_teacher=detach)
    batch = collate([make_dialogue(1, 9)], WIDTHS)
    batch.features.update({name: rows.double() for name, rows in batch.features.items()})
    output = model(batch)
    terms = model.losses(output, batch)
    use = array((batch.labels >= 0) & batch.known)
    labels = array(batch.labels)
    expected = np.zeros(3)
    for k in np.flatnonzero(use):
        expected[0] -= log_softmax(array(output.logits[k]))[labels[k]]
        for name, logits in output.unimodal.items():
            if not batch.present[name][k]:
                continue
            expected[1] -= log_softmax(array(logits[k]))[labels[k]]
            teacher = softmax(array(output.logits[k]) / 2)
            student = log_softmax(array(logits[k]) / 2)
            expected[2] += (teacher * (np.log(teacher) - student)).sum()
    np.testing.assert_allclose([t.item() for t in terms], expected / use.sum())
    (gradient,) = torch.autograd.grad(
        terms[2], [model.classifier.weight], allow_unused=True, materialize_grads=True
    )
    assert bool((gradient == 0).all()) == detach


def test_the_graph_of_mmgcn() -> None:
    lengths, names = [2, 3], ["text", "audio"]
    rows = {name: torch.randn(5, 4).double() for name in names}
    present = {"text": torch.ones(5, dtype=torch.bool), "audio": torch.tensor([1, 0, 1, 1, 1]) > 0}
    graph = ModalityGraph(rows, present, lengths)
    nodes = graph.nodes(rows)
    layer = DeepGraphConvolution(4, 2, 0.2, 0.5).double()
    result = array(graph.rows(layer(nodes, nodes, graph.adjacency)))
    start = 0
    for length in lengths:
        keys = [(n, t) for n in names for t in range(start, start + length) if present[n][t]]
        x = np.stack([array(rows[n][t]) for n, t in keys])
        unit = x / np.linalg.norm(x, axis=1, keepdims=True)
        angle = np.arccos(np.clip(unit @ unit.T, -1 + 1e-5, 1 - 1e-5))
        joined = np.array([[a[0] == b[0] or a[1] == b[1] for b in keys] for a in keys])
        weight = joined * (1 - angle / math.pi)
        scale = 1 / np.sqrt(weight.sum(1))
        mixed = 0.8 * (scale[:, None] * weight * scale) @ x + 0.2 * x
        beta = math.log(0.5 / 2 + 1)
        expected = (1 - beta) * mixed + beta * mixed @ array(layer.weight)
        for (name, t), values in zip(keys, expected, strict=True):
            column = 4 * names.index(name)
            np.testing.assert_allclose(result[t, column : column + 4], values, atol=1e-12)
        start += length
    assert (result[1, 4:] == 0).all()


def test_mm_dfn_runs_an_lstm_over_each_speaker() -> None:
    speakers = torch.tensor([0, 1, 0, 2, 1, 0, 0])
    order, runs = same_speaker_order(speakers, [5, 0, 2])
    assert order.tolist() == [0, 2, 1, 4, 3, 5, 6] and runs == [2, 2, 1, 2]


def test_dynamic_fusion_of_mm_dfn() -> None:
    """An LSTM cell decides what enters each layer of GCNII*; a layer adds to its input."""
    model, batch = build("mm-dfn", d=6, hidden=4, layers=2), whole_dialogue(9, 5)
    present = model.present(batch)
    rows = {name: torch.randn(5, 6).double() for name in present}
    graph = ModalityGraph(rows, present, [5])
    inputs = graph.nodes(rows)
    result, adjacency = array(model._convolve(graph, inputs))[0], array(graph.adjacency)[0]
    nodes = first = np.maximum(linear(model.enter, array(inputs)[0]), 0)
    h, c, cell = np.zeros_like(nodes), np.zeros_like(nodes), model.fusion
    for number, layer in enumerate(model.convolutions, 1):
        gates = nodes @ array(cell.weight_ih).T + h @ array(cell.weight_hh).T
        i, f, g, o = np.split(gates + array(cell.bias_ih + cell.bias_hh), 4, -1)
        c = expit(f) * c + expit(i) * np.tanh(g)
        h = expit(o) * np.tanh(c)
        spread, beta = adjacency @ h, math.log(0.5 / number + 1)
        mapped = np.concatenate([spread, first], -1) @ array(layer.weight)
        mixed = (1 - beta) * (0.8 * spread + 0.2 * first) + beta * mapped
        nodes = nodes + np.maximum(mixed, 0)
    np.testing.assert_allclose(result, nodes, atol=1e-12)


def test_one_direction_of_dialoguernn() -> None:
    model = build("dialoguernn", d_global=4, d_party=3, d_emotion=2, hidden=4)
    direction, width = model.forwards, sum(width for _, width in WIDTHS)
    utterances, speakers = torch.randn(1, 5, width).double(), [0, 1, 0, 0, 1]
    result = array(direction(utterances, torch.tensor([speakers])))[0]
    parties, state, emotion, past = np.zeros((2, 3)), np.zeros(4), np.zeros(2), []
    for t, speaker in enumerate(speakers):
        u = array(utterances)[0, t]
        context = np.zeros(4)
        if past:
            scores = np.stack(past) @ linear(direction.attention, u)
            context = softmax(scores) @ np.stack(past)
        state = gru(direction.global_cell, np.concatenate([u, parties[speaker]]), state)
        past.append(state)
        parties[speaker] = gru(direction.party_cell, np.concatenate([u, context]), parties[speaker])
        emotion = gru(direction.emotion_cell, parties[speaker], emotion)
        np.testing.assert_allclose(result[t], emotion)


def test_relational_convolution_of_dialoguegcn() -> None:
    layer = RelationalConvolution(3, 2, relations=4, bases=2).double()
    nodes, weight = torch.randn(1, 4, 3).double(), torch.rand(1, 4, 4).double()
    relation = torch.randint(0, 4, (1, 4, 4))
    edges = torch.rand(1, 4, 4) < 0.7
    edges |= torch.eye(4, dtype=torch.bool)
    weight = torch.where(edges, weight, 0)
    result = array(layer(nodes, weight, relation, edges))[0]
    matrices = np.einsum("rk,kdh->rdh", array(layer.share), array(layer.basis))
    for i in range(4):
        total = float(weight[0, i, i]) * linear(layer.itself, array(nodes[0, i]))
        for j in range(4):
            if edges[0, i, j]:
                r = int(relation[0, i, j])
                count = int(((relation[0, i] == r) & edges[0, i]).sum())
                total = total + float(weight[0, i, j]) / count * array(nodes[0, j]) @ matrices[r]
        np.testing.assert_allclose(result[i], total)


def test_reading_a_memory() -> None:
    query, memory = torch.randn(1, 3, 4).double(), torch.randn(1, 3, 4).double()
    readable = torch.tensor([[[0, 0, 0], [1, 0, 0], [1, 1, 0]]]) > 0
    result = array(read_memory(query, memory, readable))[0]
    assert (result[0] == 0).all()
    cells = array(memory)[0, :2]
    weights = softmax(cells @ array(query)[0, 2])
    np.testing.assert_allclose(result[2], weights @ cells)
    np.testing.assert_allclose(result[1], cells[0])


@pytest.mark.parametrize("name", ["cmn", "icon"])
def test_hops_of_cmn_and_icon(name: str) -> None:
    """Two memories of GRU states, or one that depends on whose turn it is and is rewritten."""
    model, batch = build(name, d=5, hops=2), whole_dialogue(3, 6)
    speakers = batch.speakers.numpy()
    rows = np.concatenate([array(x) for x in batch.features.values()], 1)

    def by_speaker(layer: torch.nn.GRU, x: np.ndarray) -> np.ndarray:
        states = np.zeros((len(x), 5))
        for speaker in set(speakers):
            states[speakers == speaker] = gru_states(layer, x[speakers == speaker])
        return states

    def read(query: np.ndarray, cells: np.ndarray) -> np.ndarray:
        return softmax(cells @ query) @ cells if len(cells) else np.zeros(5)

    queries = np.tanh(linear(model.query, rows))
    own = other = rows
    for hop in range(2):
        if name == "cmn":
            own, other = by_speaker(model.own[hop], own), by_speaker(model.other[hop], other)
        elif hop == 0:
            own, other = by_speaker(model.own, rows), by_speaker(model.other, rows)
            turns = [np.tanh(np.where((speakers == s)[:, None], own, other)) for s in speakers]
        following = []
        for t, query in enumerate(queries):
            same = speakers[:t] == speakers[t]
            if name == "cmn":
                total = read(query, own[:t][same]) + read(query, other[:t][~same])
            else:
                turns[t] = gru_states(model.rewrite if hop else model.together, turns[t])
                total = read(query, turns[t][:t])
            following.append(np.tanh(query + total))
        queries = np.stack(following)
    expected = linear(model.classifier, queries)
    np.testing.assert_allclose(array(model(batch).logits), expected, atol=1e-12)


@pytest.mark.parametrize("name", ["cmn", "icon"])
def test_memories_hold_the_last_utterances(name: str) -> None:
    """With a window of 2, the third utterance back is seen through the states of GRUs alone."""
    model = build(name, d=6, window=2, hops=1)
    one = make_dialogue(3, 6, missing=0.0)
    one.speakers = [f"s{k}" for k in range(6)]  # no one speaks twice: no state carries over
    for rows in one.features.values():
        rows[0] *= 5
    batch = collate([one], WIDTHS)
    batch.features.update({m: rows.double() for m, rows in batch.features.items()})
    before = model(batch).logits.clone()
    for rows in batch.features.values():
        rows[0] *= -1
    changed = (model(batch).logits - before).abs().max(1).values > 1e-12
    expected = [True, True, True] + [name == "icon"] * 3  # ICON's global GRU remembers
    assert changed.tolist() == expected


def test_central_moment_discrepancy() -> None:
    a, b = np.random.default_rng(0).random((2, 9, 3))
    expected = np.linalg.norm(a.mean(0) - b.mean(0))
    for k in range(2, 6):
        moments = [((x - x.mean(0)) ** k).mean(0) for x in (a, b)]
        expected += np.linalg.norm(moments[0] - moments[1])
    result = central_moment_discrepancy(torch.from_numpy(a), torch.from_numpy(b))
    np.testing.assert_allclose(float(result), expected, rtol=1e-6)


def test_losses_of_misa() -> None:
    model, batch = build("misa", d=4), whole_dialogue(5, 9)
    batch.labels.clamp_(min=0)
    output = model(batch)
    parts = {name: array(rows) for name, rows in output.extra.items()}
    names = [name for name, _ in WIDTHS]

    def overlap(a: np.ndarray, b: np.ndarray) -> float:
        a, b = a - a.mean(0), b - b.mean(0)
        a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
        return float(np.mean((a.T @ b) ** 2))

    pairs = [(a, b) for k, a in enumerate(names) for b in names[k + 1 :]]
    spaces = [(f"specific_{n}", f"invariant_{n}") for n in names]
    spaces += [(f"specific_{a}", f"specific_{b}") for a, b in pairs]
    invariant = [[output.extra[f"invariant_{name}"] for name in pair] for pair in pairs]
    similarity = np.mean([central_moment_discrepancy(*pair).item() for pair in invariant])
    second = similarity + 0.3 * sum(overlap(parts[a], parts[b]) for a, b in spaces)
    errors = [
        linear(model.reconstruct[n], parts[f"specific_{n}"] + parts[f"invariant_{n}"])
        - parts[f"projected_{n}"]
        for n in names
    ]
    log_p = log_softmax(array(output.logits), 1)
    task = -np.mean([row[label] for row, label in zip(log_p, batch.labels, strict=True)])
    terms = [term.item() for term in model.losses(output, batch)]
    np.testing.assert_allclose(terms, [task, second, np.mean([np.mean(e**2) for e in errors])])


def test_the_memory_of_mfn() -> None:
    model = build("mfn", d=3, memory=4, hidden=5)
    cells, memory = torch.randn(2, 18).double(), torch.randn(2, 4).double()

    def net(layers: torch.nn.Sequential, x: np.ndarray) -> np.ndarray:
        return linear(layers[3], np.maximum(linear(layers[0], x), 0))

    attended = softmax(net(model.attention, array(cells)), -1) * array(cells)
    both = np.concatenate([attended, array(memory)], -1)
    retain, update = expit(net(model.retain_gate, both)), expit(net(model.update_gate, both))
    expected = retain * array(memory) + update * np.tanh(net(model.update, attended))
    np.testing.assert_allclose(array(model._remember(cells, memory)), expected)


def test_mult_attends_across_modalities() -> None:
    """The stream of a modality reads the other one, not itself: keys come from the source."""
    model = build("mult", d=8, heads=2, layers=1)
    batch = collate([make_dialogue(2, 5, missing=0.0)], WIDTHS)
    batch.features.update({m: rows.double() for m, rows in batch.features.items()})
    with torch.no_grad():
        for name, stack in model.cross.items():
            if name.endswith("_audio"):
                for block in stack:
                    block.attention.out.weight.zero_()
    before = model(batch).logits
    batch.features["audio"][0] *= -1
    changed = (model(batch).logits - before).abs().max(1).values
    assert changed[0] > 1e-6  # its own streams
    assert (changed > 1e-6).all()  # audio's self-attention spreads it


def test_every_layer_of_mult() -> None:
    model, batch = build("mult", d=4, heads=2, layers=1), whole_dialogue(6, 5)

    def block(layer: torch.nn.Module, x: np.ndarray, context: np.ndarray | None) -> np.ndarray:
        query = layer_norm(layer.norm, x)
        keys = query if context is None else layer_norm(layer.norm, context)
        x = x + attend(layer.attention, query, keys)
        inner = linear(layer.feed[0], layer_norm(layer.norm_feed, x))
        return x + linear(layer.feed[2], inner * (1 + erf(inner / math.sqrt(2))) / 2)

    angles = np.arange(5)[:, None] / 10_000 ** (np.array([0, 0, 2, 2]) / 4)
    where = np.where([True, False, True, False], np.sin(angles), np.cos(angles))
    names = [name for name, _ in WIDTHS]
    rows = {n: linear(model.project[n], array(batch.features[n])) + where for n in names}
    gathered = []
    for target in names:
        streams = [
            block(model.cross[f"{target}_{source}"][0], rows[target], rows[source])
            for source in names
            if source != target
        ]
        gathered.append(block(model.memory[target][0], np.concatenate(streams, 1), None))
    joined = np.concatenate(gathered, 1)
    joined = joined + linear(model.second, np.maximum(linear(model.first, joined), 0))
    expected = linear(model.classifier, joined)
    np.testing.assert_allclose(array(model(batch).logits), expected, atol=1e-6)


def edge_weights(a: np.ndarray, b: np.ndarray, window: int) -> np.ndarray:
    """Return the angular weights of edges within a window, normalised by both degrees."""
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b)]
    weight = 1 - np.arccos(np.clip(unit[0] @ unit[1].T, -1 + 1e-5, 1 - 1e-5)) / math.pi
    distance = np.abs(np.subtract.outer(np.arange(len(a)), np.arange(len(b))))
    weight = np.where(distance <= window, weight, 0)
    return weight / np.sqrt(np.outer(weight.sum(1), weight.sum(0)))


def layer_norm(layer: torch.nn.LayerNorm, x: np.ndarray) -> np.ndarray:
    z = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + layer.eps)
    return z * array(layer.weight) + array(layer.bias)


def test_graphsmile_alternates_between_and_within_modalities() -> None:
    model = build("graphsmile", d=4, layers=2, window=1)
    batch = collate([make_dialogue(4, 5, missing=0.0)], WIDTHS)
    batch.features.update({m: rows.double() for m, rows in batch.features.items()})
    speakers = array(model.speaker.weight)[batch.speakers.numpy() % 2]
    inputs = {}
    for name, rows in batch.features.items():
        z = linear(model.project[name][0], array(rows))
        inputs[name] = np.where(z > 0, z, 0.01 * z) + speakers
    outputs = []
    for k, (first, second) in enumerate(model.pairs):
        a, b = inputs[first], inputs[second]
        between, own = edge_weights(a, b, 1), [edge_weights(x, x, 1) for x in (a, b)]
        for layer in model.graphs[k]:
            read = [np.maximum(linear(layer.between, x), 0) for x in (between @ b, between.T @ a)]
            a, b = (
                layer_norm(layer.norm_between, x + y) for x, y in zip((a, b), read, strict=True)
            )
            read = [
                np.maximum(linear(layer.within, w @ x), 0) for w, x in zip(own, (a, b), strict=True)
            ]
            a, b = (layer_norm(layer.norm_within, x + y) for x, y in zip((a, b), read, strict=True))
        outputs += [linear(model.output[2 * k], a), linear(model.output[2 * k + 1], b)]
    expected = np.mean(outputs, 0)
    output = model(batch)
    np.testing.assert_allclose(array(output.extra["hidden"]), expected)
    np.testing.assert_allclose(array(output.logits), linear(model.classifier, expected))


@pytest.mark.parametrize("name", ["graphsmile", "cfn-esa"])
def test_shift_loss(name: str) -> None:
    """The mean cross-entropy over pairs of labelled utterances of a dialogue, within the window."""
    reach, place = {"graphsmile": (2, 2), "cfn-esa": (5, 1)}[name]
    model = build(name, d=8, **{"shift_window": 2} if name == "graphsmile" else {"heads": 2})
    batch = collate([make_dialogue(5, 6), make_dialogue(6, 3)], WIDTHS)
    batch.features.update({m: rows.double() for m, rows in batch.features.items()})
    output = model(batch)
    hidden, labels = array(output.extra["hidden"]), array(batch.labels)
    classes = np.array([0, 1, 2, 0])[labels] if name == "graphsmile" else labels  # sad: as angry
    known = (labels >= 0) & array(batch.known)
    terms = []
    for start, end in ((0, 6), (6, 9)):
        for i in range(start, end):
            for j in range(i + 1, min(end, i + reach + 1)):
                if known[i] and known[j]:
                    z = linear(model.shift.earlier, hidden[i])
                    z = np.maximum(z + linear(model.shift.later, hidden[j]), 0)
                    z = log_softmax(linear(model.shift.classifier, z))
                    terms.append(-z[int(classes[i] != classes[j])])
    loss = model.losses(output, batch)[place]
    np.testing.assert_allclose(loss.item(), np.mean(terms))


def attend(layer: torch.nn.Module, x: np.ndarray, context: np.ndarray) -> np.ndarray:
    """Multi-head attention of x (n, d) to all rows of the context (m, d)."""
    query, (key, value) = linear(layer.query, x), np.split(linear(layer.key_value, context), 2, 1)
    parts = []
    for q, k, v in zip(*(np.split(y, layer.heads, 1) for y in (query, key, value)), strict=True):
        parts.append(softmax(q @ k.T / math.sqrt(q.shape[1]), 1) @ v)
    return linear(layer.out, np.concatenate(parts, 1))


def test_text_is_the_centre_of_cfn_esa() -> None:
    model = build("cfn-esa", d=4, heads=2, layers=1)
    rows = {name: torch.randn(5, 4).double() for name, _ in WIDTHS}
    present = {name: torch.tensor([True] * 4 + [name != "audio"]) for name, _ in WIDTHS}
    rows["audio"][4] = 0
    layer = model.cross[0]
    result = layer(rows, present, Layout([5], torch.device("cpu")))
    reads = {"text": ["audio", "visual"], "audio": ["text"], "visual": ["text"]}
    for target, sources in reads.items():
        x = total = array(rows[target])
        for source in sources:
            keys = array(rows[source])[array(present[source])]
            total = total + attend(layer.attention[f"{target}_{source}"], x, keys)
        h, feed = layer_norm(layer.norm[target], total), layer.feed[target]
        h = layer_norm(
            feed.norm, h + linear(feed.layers[3], np.maximum(linear(feed.layers[0], h), 0))
        )
        h[~array(present[target])] = 0
        np.testing.assert_allclose(array(result[target]), h, atol=1e-12)
    assert set(layer.attention) == {f"{a}_{b}" for a, sources in reads.items() for b in sources}


def test_hypergraph_convolution() -> None:
    """Hyperedge by hyperedge: an edge per modality, an edge per utterance."""
    names, lengths = ["text", "audio"], [2, 3]
    present = {"text": torch.ones(5, dtype=torch.bool), "audio": torch.tensor([1, 0, 1, 1, 1]) > 0}
    rows = {name: torch.randn(5, 4).double() for name in names}
    graph = ModalityHypergraph(present, lengths)
    layer = HypergraphConvolution(4, 2).double()
    with torch.no_grad():
        layer.log_omega.normal_()
        layer.log_gamma.normal_()
    result = array(graph.rows(layer(graph.nodes(rows), graph.incidence.double())))
    omega, gamma = np.exp(array(layer.log_omega)), np.exp(array(layer.log_gamma))
    expected, start = np.zeros((5, 2, 4)), 0
    for length in lengths:
        keys = [
            (m, t) for m in (0, 1) for t in range(start, start + length) if present[names[m]][t]
        ]
        edges = [(omega[m], 0, [k for k in keys if k[0] == m]) for m in (0, 1)]
        edges += [
            (omega[2], 1, [k for k in keys if k[1] == t]) for t in range(start, start + length)
        ]
        total: dict = dict.fromkeys(keys, (0.0, 0.0))
        for weight, kind, members in edges:
            shares = np.array([gamma[m, kind] for m, _ in members])
            values = np.stack([linear(layer.linear, array(rows[names[m]][t])) for m, t in members])
            feature = shares @ values / shares.sum()
            for key in members:
                total[key] = (total[key][0] + weight * feature, total[key][1] + weight)
        for (m, t), (feature, weight) in total.items():
            expected[t, m] = np.maximum(feature / weight, 0)
        start += length
    np.testing.assert_allclose(result.reshape(5, 2, 4), expected, atol=1e-12)


def test_m3net_weighs_two_filters() -> None:
    """A low-pass and a high-pass filter with weights (1 ± r) / 2 for every edge."""
    layer, nodes = FrequencyConvolution(3).double(), torch.randn(1, 4, 3).double()
    edges = np.array([[0, 1, 1, 0], [1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]])
    degree = edges.sum(1)
    v, expected = array(nodes)[0], np.zeros((4, 3))
    for i in range(4):
        low = high = v[i] / 2  # each filter holds the node itself, with weights of sum 1
        for j in range(4):
            if edges[i, j]:
                score = linear(layer.target, v[i]) + linear(layer.source, v[j])
                r = np.tanh(score)
                step = v[j] / math.sqrt(degree[i] * degree[j])
                low, high = low + (1 + r) / 2 * step, high - (1 - r) / 2 * step
        expected[i] = low + high
    adjacency = normalised(torch.from_numpy(edges).double())
    result = layer(nodes, adjacency[None], torch.nn.Identity())
    np.testing.assert_allclose(array(result)[0], expected)


def test_ada2i_gates_features_by_a_tensor_ring() -> None:
    """Feature k: σ of the trace of the product of all modalities' matrices and O_k."""
    names, d, rank = ("text", "audio", "visual"), 3, 2
    ring = TensorRing(names, d, rank).double()
    hidden = {name: torch.randn(2, d).double() for name in names}
    present = {name: torch.tensor([True, name != "audio"]) for name in names}
    hidden["audio"][1] = 0
    result = ring(hidden, present)
    for name in names:
        order = [name, *(other for other in names if other != name)]
        for n in range(2):
            product = np.eye(rank)
            for other in order:
                if present[other][n]:
                    core = linear(ring.core[other], array(hidden[other][n]))
                    product = product @ core.reshape(rank, rank)
            weight = array(ring.gate[name].weight).reshape(d, rank, rank)
            traces = [np.trace(product @ weight[k].T) for k in range(d)]
            h = array(hidden[name][n])
            expected = h + expit(np.array(traces) + array(ring.gate[name].bias)) * h
            np.testing.assert_allclose(array(result[name][n]), expected)


def test_ada2i_weighs_modalities_and_compares_directions() -> None:
    model = build("ada2i", d=4, heads=2, layers=1, rank=2)
    batch = collate([make_dialogue(7, 6)], WIDTHS)
    batch.features.update({m: rows.double() for m, rows in batch.features.items()})
    output = model(batch)
    gated = model.features_ring(output.hidden, output.present)
    first, _, second = model.score
    for n in range(6):
        names = [name for name in gated if output.present[name][n]]
        rows = [array(gated[name][n]) for name in names]
        scores = [linear(second, np.tanh(linear(first, h))).item() for h in rows]
        weight, logits, votes = softmax(scores), np.zeros(4), np.zeros(4)
        for name, share, h in zip(names, weight, rows, strict=True):
            classes = array(model.vote[name])
            cosine = classes @ h / np.linalg.norm(classes, axis=1) / np.linalg.norm(h)
            np.testing.assert_allclose(array(output.unimodal[name][n]), 10 * cosine)
            votes += share * 10 * cosine
            logits += share * h
        np.testing.assert_allclose(array(output.extra["votes"][n]), votes)
        np.testing.assert_allclose(array(output.logits[n]), linear(model.classifier, logits))


def test_haucl_thins_out_the_hypergraph() -> None:
    """Means and probabilities, outside training: memberships and the loss, one by one."""
    present = {"text": torch.tensor([1, 1, 1]) > 0, "audio": torch.tensor([1, 0, 1]) > 0}
    graph = ModalityHypergraph(present, [2, 1])
    nodes = graph.nodes({name: torch.randn(3, 4).double() for name in present})
    layer = HypergraphAutoencoder(4, 2, 0.5, True).double().eval()
    members, loss = layer(nodes, graph)
    full = array(graph.incidence).astype(float)
    z_nodes = np.split(
        linear(layer.node_moments, array(layer.nodes(nodes, graph.incidence))), 2, -1
    )
    divergences: tuple[list, list] = ([], [])
    entropies: tuple[list, list] = ([], [])
    for b in range(2):
        for e in range(full.shape[2]):
            inside = np.flatnonzero(full[b, :, e])
            if not len(inside):
                assert (array(members)[b, :, e] == 0).all()
                continue
            edge = np.maximum(linear(layer.edges, array(nodes)[b, inside].mean(0)), 0)
            mean, log_variance = np.split(linear(layer.edge_moments, edge), 2)
            divergences[0].append((mean**2 + np.exp(log_variance) - 1 - log_variance).mean() / 2)
            for v in np.flatnonzero(array(graph.known)[b, :, 0]):
                p = expit(z_nodes[0][b, v] @ mean / 2)
                np.testing.assert_allclose(array(members)[b, v, e], full[b, v, e] * p)
                entropies[int(full[b, v, e])].append(-np.log(p if full[b, v, e] else 1 - p))
        for v in np.flatnonzero(array(graph.known)[b, :, 0]):
            mean, log_variance = z_nodes[0][b, v], z_nodes[1][b, v]
            divergences[1].append((mean**2 + np.exp(log_variance) - 1 - log_variance).mean() / 2)
    expected = sum(map(np.mean, divergences)) + sum(map(np.mean, entropies)) / 2
    np.testing.assert_allclose(loss.item(), expected)


def test_haucl_samples_in_training_only() -> None:
    model = build("haucl", d=8, layers=1, dropout=0.0)
    batch = collate([make_dialogue(8, 5)], WIDTHS)
    batch.features.update({m: rows.double() for m, rows in batch.features.items()})
    assert torch.equal(model(batch).logits, model(batch).logits)
    model.train()
    assert not torch.equal(model(batch).logits, model(batch).logits)


def test_views_are_contrasted_within_a_dialogue() -> None:
    a, b = torch.randn(2, 3, 4).double(), torch.randn(2, 3, 4).double()
    known = torch.tensor([[1, 1, 0], [1, 0, 0]]) > 0
    unit = [array(x) / np.linalg.norm(array(x), axis=-1, keepdims=True) for x in (a, b)]
    terms = []
    for i in range(2):
        for x, y in (unit, unit[::-1]):
            terms.append(-log_softmax(x[0, :2] @ y[0, i] / 0.5)[i])
    terms += [0, 0]  # alone in its dialogue
    result = contrast_views(a, b, known[..., None], 0.5)
    np.testing.assert_allclose(result.item(), np.mean(terms))


def test_labels_are_contrasted() -> None:
    rows, labels = torch.randn(6, 3).double(), torch.tensor([0, 1, 0, 0, 2, 1])
    use = torch.tensor([1, 1, 1, 1, 1, 0]) > 0  # leaves labels 1 and 2 with one row each
    unit = array(rows) / np.linalg.norm(array(rows), axis=1, keepdims=True)
    terms = []
    for i in (0, 2, 3):
        others = [j for j in range(5) if j != i]
        scores = log_softmax(unit[others] @ unit[i] / 0.5)
        terms.append(-np.mean([scores[others.index(j)] for j in (0, 2, 3) if j != i]))
    np.testing.assert_allclose(contrast_labels(rows, labels, use, 0.5).item(), np.mean(terms))
    assert contrast_labels(rows, labels, use & (labels > 0), 0.5) == 0


def test_mpt_reads_prompts_beside_the_text() -> None:
    """Keys and values: the text of the dialogue, then the filtered rows of voice and face."""
    model = build("mpt-hcl", d=4, heads=2, layers=1)
    layer, rows = model.transformer[0], {n: torch.randn(3, 4).double() for n, _ in WIDTHS}
    present = {name: torch.tensor([True, name != "audio", True]) for name, _ in WIDTHS}
    result = layer(rows["text"], rows, present, [3])
    x, query = array(rows["text"]), layer_norm(layer.norm, array(rows["text"]))
    keys, values = np.split(linear(layer.key_value, query), 2, 1)
    for name in ("audio", "visual"):
        h = array(rows[name])[array(present[name])]
        gate, value = (linear(part, h) for part in (layer.filter_gate[name], layer.filter[name]))
        prompt = linear(layer.key_value, layer_norm(layer.norm, expit(gate) * np.tanh(value)))
        keys = np.concatenate([keys, prompt[:, :4]])
        values = np.concatenate([values, prompt[:, 4:]])
    parts = []
    for q, k, v in zip(
        *(np.split(y, 2, 1) for y in (linear(layer.query, query), keys, values)), strict=True
    ):
        parts.append(softmax(q @ k.T / math.sqrt(2), 1) @ v)
    h = x + linear(layer.out, np.concatenate(parts, 1))
    feed = linear(layer.feed[0], layer_norm(layer.norm_feed, h))
    exact = torch.nn.functional.gelu(torch.from_numpy(feed)).numpy()
    np.testing.assert_allclose(array(result), h + linear(layer.feed[2], exact), atol=1e-12)
