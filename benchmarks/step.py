"""One training step of CSS at the paper's size, by scheme, with dialogues as long as the corpora's.

    python benchmarks/step.py                 # MELD's lengths; about 2 minutes on one core
    python benchmarks/step.py --corpus iemocap --repeats 3
    python benchmarks/step.py --part length   # memory and time of labelling, up to 5,000 utterances

Seconds are CPU time of this process, which a busy machine disturbs little. Schemes take turns and
the fastest repeat counts; compare only figures of one run. `paper` is what the paper describes:
utterances padded to the longest dialogue, three gradients, SciPy's SLSQP, a fourth backward pass,
torch's default Adam. `sketch` is the default of merc; `packed` has γ from whole gradients. `sdt` is
merc's SDT on padded utterances with torch's default Adam, as SDT's program trains it; `sdt packed`,
as merc trains it.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable

import numpy as np
import torch
from meld import ROOT, meld_rows
from scipy.optimize import minimize

from css_model import (
    CSS,
    Batch,
    CSSConfig,
    ParetoGradientModulator,
    WeightedSum,
    losses,
    min_norm_weights,
)
from css_model.allocator import keep_freed_memory
from css_model.baselines.sdt import SDT, SDTConfig

WIDTHS = (("text", 1024), ("audio", 1582), ("visual", 342))
LIMITS = [  # scheme, scheme, largest ratio
    ("packed", "paper", 0.45),
    ("sketch", "paper", 0.45),
    ("sketch", "sdt", 0.60),
    ("repr", "fixed", 1.10),
    ("sketch", "fixed", 2.4),
    ("packed", "fixed", 2.4),
    ("fixed", "fixed padded", 0.66),
    ("packed bf16", "packed", 0.65),
    ("repr bf16", "repr", 0.65),
]


def lengths_of(corpus: str) -> list[int]:
    """Return the number of utterances of each training dialogue."""
    if corpus == "iemocap":
        splits = json.loads((ROOT / "pipeline" / "corpora" / "splits.json").read_text())["iemocap"]
        return [splits["utterances"][name] for name in splits["train"]]
    dialogues = Counter(row["Dialogue_ID"] for row in meld_rows("train"))
    return list(dialogues.values())


def make_batch(lengths: list[int], seed: int = 0) -> Batch:
    """Make a batch of random features and labels."""
    generator = torch.Generator().manual_seed(seed)
    n = sum(lengths)
    return Batch(
        {name: torch.randn(n, width, generator=generator) for name, width in WIDTHS},
        {name: torch.ones(n, dtype=torch.bool) for name, _ in WIDTHS},
        torch.randint(0, 2, (n,), generator=generator),
        lengths,
        torch.randint(0, 6, (n,), generator=generator),
    )


def padded(batch: Batch) -> Batch:
    """Pad all dialogues to the longest, as a model without packing does."""
    longest = max(batch.lengths)
    rows = torch.cat([torch.arange(n) + i * longest for i, n in enumerate(batch.lengths)])
    total = longest * len(batch.lengths)

    def spread(values: torch.Tensor, fill: float) -> torch.Tensor:
        out = torch.full((total, *values.shape[1:]), fill, dtype=values.dtype)
        out[rows] = values
        return out

    return Batch(
        {name: spread(values, 0) for name, values in batch.features.items()},
        {name: spread(values, False) for name, values in batch.present.items()},
        spread(batch.speakers, 0),
        [longest] * len(batch.lengths),
        spread(batch.labels, -1),
    )


def slsqp(gram: np.ndarray) -> np.ndarray:
    """Find the weights of the smallest convex combination with SciPy."""
    return minimize(
        lambda x: 0.5 * x @ gram @ x,
        np.full(3, 1 / 3),
        jac=lambda x: gram @ x,
        method="SLSQP",
        bounds=[(0, 1)] * 3,
        constraints={"type": "eq", "fun": lambda x: x.sum() - 1, "jac": lambda x: np.ones(3)},
    ).x


def paper_step(model: CSS, batch: Batch, optimizer: torch.optim.Optimizer) -> None:
    """Take a step as the paper describes it."""
    output = model(batch)
    three = losses(output, batch)
    theta = list(model.encoder.parameters())
    rows = []
    for loss in three:
        gradients = torch.autograd.grad(loss, theta, retain_graph=True, allow_unused=True)
        parts = []
        for parameter, gradient in zip(theta, gradients, strict=True):
            parts.append((torch.zeros_like(parameter) if gradient is None else gradient).flatten())
        flat = torch.cat(parts)
        rows.append(flat / flat.norm())
    g = torch.stack(rows)
    gamma = slsqp((g @ g.T).double().numpy())
    optimizer.zero_grad()
    sum(float(w) * loss for w, loss in zip(gamma, three, strict=True)).backward()
    optimizer.step()


def our_step(
    model: CSS,
    batch: Batch,
    optimizer: torch.optim.Optimizer,
    modulator: ParetoGradientModulator,
    bf16: bool = False,
) -> None:
    """Take a step as merc does."""
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        output = model(batch)
    modulator.backward(losses(output, batch), output)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def sdt_step(model: SDT, batch: Batch, optimizer: torch.optim.Optimizer) -> None:
    """Take a step of SDT."""
    output = model(batch)
    WeightedSum(model, model.loss_weights).backward(model.losses(output, batch), output)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def steps(corpus: str, dialogues: int, repeats: int, d: int, only: list[str]) -> dict[str, float]:
    """Return the fastest CPU seconds of each scheme (if `only` is not empty, of those in it)."""
    lengths = np.random.default_rng(0).choice(lengths_of(corpus), dialogues).tolist()
    batch, wide = make_batch(lengths), padded(make_batch(lengths))
    print(
        f"{corpus}: {dialogues} dialogues, {len(batch)} utterances, "
        f"{len(batch) / len(wide):.0%} of the padded rows; "
        f"d = {d}, {torch.get_num_threads()} thread(s)"
    )
    torch.manual_seed(0)
    model = CSS(CSSConfig(WIDTHS, tuple("abcdef"), d=d, hidden=d))
    plain = torch.optim.Adam(model.parameters(), 1e-6, weight_decay=1e-5)
    fused = torch.optim.Adam(model.parameters(), 1e-6, weight_decay=1e-5, fused=True)
    sdt = SDT(SDTConfig(WIDTHS, tuple("abcdef"), d=d))
    sdt_plain = torch.optim.Adam(sdt.parameters(), 1e-6, weight_decay=1e-5)
    sdt_fused = torch.optim.Adam(sdt.parameters(), 1e-6, weight_decay=1e-5, fused=True)
    scopes = ("sketch", "trunk", "last", "repr")
    modulators = {theta: ParetoGradientModulator(model, theta) for theta in scopes}
    fixed = ParetoGradientModulator(model, weights=(1, 1, 1))
    schemes: dict[str, Callable[[], None]] = {
        "paper": lambda: paper_step(model, wide, plain),
        "packed": lambda: our_step(model, batch, fused, modulators["trunk"]),
        "sdt": lambda: sdt_step(sdt, wide, sdt_plain),
        "sdt packed": lambda: sdt_step(sdt, batch, sdt_fused),
        "sketch": lambda: our_step(model, batch, fused, modulators["sketch"]),
        "last": lambda: our_step(model, batch, fused, modulators["last"]),
        "repr": lambda: our_step(model, batch, fused, modulators["repr"]),
        "fixed": lambda: our_step(model, batch, fused, fixed),
        "fixed padded": lambda: our_step(model, wide, fused, fixed),
        "packed bf16": lambda: our_step(model, batch, fused, modulators["trunk"], True),
        "repr bf16": lambda: our_step(model, batch, fused, modulators["repr"], True),
    }
    schemes = {name: step for name, step in schemes.items() if not only or name in only}
    best = dict.fromkeys(schemes, float("inf"))
    for turn in range(repeats + 1):  # the first turn warms up
        for name, step in schemes.items():
            start = time.process_time()
            step()
            if turn:
                best[name] = min(best[name], time.process_time() - start)
    return best


def solve_time() -> tuple[float, float]:
    """Return the CPU microseconds to weigh three unit gradients: merc's solver and SLSQP."""
    generator = torch.Generator().manual_seed(0)
    grams = []
    for _ in range(200):
        g = torch.randn(3, 6, generator=generator, dtype=torch.float64)
        g /= g.norm(dim=1, keepdim=True)
        grams.append(g @ g.T)
    start = time.process_time()
    for _ in range(10):
        for gram in grams:
            min_norm_weights(gram)
    ours = (time.process_time() - start) / 2000
    start = time.process_time()
    for gram in grams:
        slsqp(gram.numpy())
    return 1e6 * ours, 1e6 * (time.process_time() - start) / 200


def one_length(n: int) -> None:
    """Label one dialogue of n utterances; print peak MiB beyond the model, and CPU seconds."""
    model = CSS(CSSConfig(WIDTHS, tuple("abcdef"))).eval()
    batch = make_batch([n])
    with torch.inference_mode():
        model(make_batch([2]))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start = time.process_time()
        model(batch)
        seconds = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"utterances": n, "MiB": (peak - before) / 1024, "seconds": seconds}))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", choices=("step", "length", "one"), default="step")
    parser.add_argument("--corpus", choices=("meld", "iemocap"), default="meld")
    parser.add_argument("--dialogues", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--d", type=int, default=1024)
    parser.add_argument("--only", nargs="*", default=[], help="schemes, e.g. packed fixed")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--utterances", type=int, default=5000)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()  # as merc train does; it speeds up every scheme
    if options.part == "one":
        one_length(options.utterances)
    elif options.part == "length":
        for n in (10, 100, 500, 1000, 2000, 5000):
            # one process each, because the peak of a process never falls
            command = [sys.executable, __file__, "--part", "one", "--utterances", str(n)]
            subprocess.run(command, check=True)
    else:
        best = steps(options.corpus, options.dialogues, options.repeats, options.d, options.only)
        for name, seconds in best.items():
            print(f"{name:14} {seconds:8.2f} s")
        print()
        for a, b, limit in LIMITS:
            if a in best and b in best:
                print(f"{a + ' / ' + b:24} {best[a] / best[b]:5.2f}   at most {limit}")
        ours, theirs = solve_time()
        print(f"{'one QP':24} {ours:5.1f} µs   at most 20 (SLSQP {theirs:.0f})")


if __name__ == "__main__":
    main()
