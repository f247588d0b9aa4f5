"""What a training step of a model costs: time and peak memory."""

from __future__ import annotations

import gc
import time
import weakref
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree
from torch.utils._python_dispatch import TorchDispatchMode

from pipeline.core.dialogue import Corpus
from pipeline.training.config import Configuration
from pipeline.training.inputs import class_weights, fit_inputs
from pipeline.training.protocols import split_corpus
from pipeline.training.seeds import limited_threads
from pipeline.training.state import new_state
from pipeline.training.step import TrainingStep, choose_device

__all__ = ["LiveBytes", "measure_cost"]

DIALOGUES = 32  # of the batch, the same for every model
REPEATS = 3  # the fastest counts


def measure_cost(corpus: Corpus, config: Configuration) -> dict[str, float]:
    """Measure a training step on 32 training dialogues, the same ones for every model.

    Returns:
        seconds: the fastest of three steps after one to warm up; CPU time of one thread, on a CUDA
            device wall-clock time. memory: the most bytes of tensors alive during a step:
            parameters, gradients, the optimiser's state, activations.

    Raises whatever the step raises.
    """
    device = choose_device(config.train.device)
    parts = split_corpus(corpus, config.data, "clean")
    inputs = fit_inputs(parts, config.data, seed=0)
    gc.collect()  # the model measured before this one
    labelled = [d for d in parts.train(0, 0) if (d.labels >= 0).any()]
    order = np.random.default_rng(0).permutation(len(labelled))[:DIALOGUES]
    batch = inputs.prepare(labelled[k] for k in order)
    state = new_state(inputs.model_widths, corpus.labels, config, 0, device)
    state.model.train()
    weights = class_weights(inputs.counts, config.train.class_weights)
    step = TrainingStep(state, inputs, config, device, weights)
    with limited_threads(1 if device.type == "cpu" else torch.get_num_threads()):
        step(batch)
        seconds = min(_seconds(step, batch, device) for _ in range(REPEATS))
        memory = _peak_bytes(step, batch, device)
    return {"seconds": seconds, "memory": float(memory)}


def _seconds(step: TrainingStep, batch: list[Any], device: torch.device) -> float:
    if device.type == "cpu":
        start = time.process_time()
        step(batch)
        return time.process_time() - start
    torch.cuda.synchronize()
    start = time.perf_counter()
    step(batch)
    torch.cuda.synchronize()
    return time.perf_counter() - start


def _peak_bytes(step: TrainingStep, batch: list[Any], device: torch.device) -> int:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        step(batch)
        return int(torch.cuda.max_memory_allocated())
    optimizer = step.state.optimizer
    slots = (value for slots in optimizer.state.values() for value in slots.values())
    with LiveBytes([*step.state.model.parameters(), *slots]) as live:
        step(batch)
    return live.peak


class LiveBytes(TorchDispatchMode):
    """Count the bytes of the tensors that operations return, as long as they are alive.

    peak: the largest sum so far. Unlike the memory of a process, it depends neither on the
    allocator nor on what ran before.

    >>> with LiveBytes() as live:
    ...     one = torch.zeros(10)
    ...     view = one[:5]
    ...     del one, view
    ...     other = torch.zeros(10)
    >>> live.peak
    40
    """

    def __init__(self, tensors: Iterable[Any] = ()) -> None:
        super().__init__()
        self.peak = self._now = 0
        self._known: set[int] = set()
        for tensor in tensors:
            self._add(tensor)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for item in _pytree.tree_leaves(result):
            self._add(item)
        return result

    def _add(self, item: Any) -> None:
        if not isinstance(item, Tensor):
            return
        storage = item.untyped_storage()
        key, size = id(storage), storage.nbytes()
        if key in self._known:
            return
        self._known.add(key)
        self._now += size
        self.peak = max(self.peak, self._now)
        weakref.finalize(storage, self._remove, key, size)

    def _remove(self, key: int, size: int) -> None:
        self._known.discard(key)
        self._now -= size
