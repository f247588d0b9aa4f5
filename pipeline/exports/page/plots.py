"""Draw the sound and the probabilities of a dialogue as SVG, with matplotlib.

The pictures have no text and no colours of their own: they are stretched along the timeline, and
the style sheet of the page colours the groups `sound` and `curve-0`, `curve-1`, ..., or the classes
`e0`, `e1`, ..., `differ` and `alone`.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

__all__ = ["draw_annotations", "draw_probabilities", "draw_sound"]

WIDTH = 1000 / 72  # inches; 1000 units of SVG


def draw_sound(peaks: np.ndarray) -> str:
    """Draw the peaks of the sound, (bins,) from 0 to 1, as a symmetric shape; none: a line."""
    peaks = peaks if len(peaks) else np.zeros(1)
    figure, axes = _canvas(height=60)
    edges = np.linspace(0, 1, len(peaks) + 1)
    shape = axes.stairs(peaks, edges, baseline=-peaks, fill=True)
    shape.set_gid("sound")
    axes.set(xlim=(0, 1), ylim=(-1, 1))
    return _svg(figure)


def draw_probabilities(
    utterances: Sequence[dict[str, Any]], labels: Sequence[str], duration: float
) -> str:
    """Draw one curve for each label: flat in an utterance, straight between two of them."""
    figure, axes = _canvas(height=120)
    spoken = sorted((u for u in utterances if u["probabilities"]), key=lambda u: u["start"])
    times = [time for u in spoken for time in (u["start"], u["end"])]
    for number, label in enumerate(labels):
        values = [p for u in spoken for p in [u["probabilities"].get(label, 0.0)] * 2]
        (curve,) = axes.plot(times, values)
        curve.set_gid(f"curve-{number}")
    axes.set(xlim=(0, max(duration, 1e-3)), ylim=(-0.02, 1.02))
    return _svg(figure)


def draw_annotations(
    sides: Sequence[Sequence[dict[str, Any]]],
    differ: Sequence[dict[str, Any]],
    alone: Sequence[dict[str, Any]],
    labels: Sequence[str],
    duration: float,
) -> str:
    """Draw two annotations in two rows, and below them where they differ.

    differ, alone: utterances of another emotion, and those in one annotation only.
    """
    figure, axes = _canvas(height=72)
    rows = [(2 - row, list(side)) for row, side in enumerate(sides)]
    groups = [
        (f"e{number}", row, [u for u in side if u["emotion"] == label])
        for number, label in enumerate(labels)
        for row, side in rows
    ]
    for name, row, utterances in [*groups, ("differ", 0, differ), ("alone", 0, alone)]:
        spans = [(u["start"], u["end"] - u["start"]) for u in utterances]
        if spans:
            axes.broken_barh(spans, (row + 0.1, 0.8)).set_gid(name)
    axes.set(xlim=(0, max(duration, 1e-3)), ylim=(0, 3))
    # a page has several of these drawings: classes instead of names that are there once
    return re.sub(r' id="(e\d+|differ|alone)"', r' class="\1"', _svg(figure))


def _canvas(height: int) -> tuple[Figure, Any]:
    figure = Figure(figsize=(WIDTH, height / 72))
    figure.patch.set_visible(False)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    return figure, axes


def _svg(figure: Figure) -> str:
    file = io.StringIO()
    # the salt and no date: the same drawing has the same bytes
    with matplotlib.rc_context({"svg.hashsalt": "merc", "path.simplify": False}):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"\s+style=\"[^\"]*\"", "", svg)  # the page allows no styles in attributes
    svg = re.sub(r" id=\"(?:figure|axes|patch)_\d+\"", "", svg)  # the same in both drawings
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)
    stretched = r'<svg viewBox="\1" preserveAspectRatio="none" aria-hidden="true">'
    svg = re.sub(r"<svg [^>]*?viewBox=\"([^\"]*)\"[^>]*>", stretched, svg)
    return svg
