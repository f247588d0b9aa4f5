"""Gaps between turns are filled where a voice goes on."""

from itertools import pairwise

import numpy as np

from pipeline.segmentation.turns import CLOSED_GAP, close_gaps


def test_gaps_close_inside_a_region_only() -> None:
    """Turns never shrink, overlap less or leave their region, whatever the regions are."""
    rng = np.random.default_rng(0)
    for _ in range(100):
        times = np.cumsum(rng.uniform(0.05, 3, 12))
        spans = [(float(a), float(b)) for a, b in times.reshape(6, 2)]
        edges = np.cumsum(rng.uniform(0.2, 6, 8))
        regions = [(float(a), float(b)) for a, b in edges.reshape(4, 2)]
        closed = close_gaps(spans, regions, lambda start, end: (start + end) / 2)
        for (start, end), (first, last) in zip(spans, closed, strict=True):
            assert first <= start and end <= last
        for (one, other), (before, after) in zip(pairwise(spans), pairwise(closed), strict=True):
            end, start = before[1], after[0]
            gap = (one[1], other[0])
            inside = any(a <= gap[0] and gap[1] <= b for a, b in regions)
            if inside and gap[1] - gap[0] <= CLOSED_GAP:
                assert end == start
            else:
                assert (end, start) == gap
