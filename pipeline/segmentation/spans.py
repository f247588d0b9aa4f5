"""Spans of time, (start, end) in seconds."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["Span", "uncovered"]

Span = tuple[float, float]


def uncovered(start: float, end: float, others: Iterable[Span]) -> list[Span]:
    """Return the parts of a span outside others, in order.

    others: those that share a moment with the span, in order, without overlaps.

    >>> uncovered(0.0, 4.0, [(-1.0, 1.0), (1.0, 1.8)])
    [(1.8, 4.0)]
    """
    edges = [start, *(time for other in others for time in other), end]
    pairs = zip(edges[::2], edges[1::2], strict=True)
    return [(first, last) for first, last in pairs if first < last]
