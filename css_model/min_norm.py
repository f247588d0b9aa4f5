"""The QP of eqs. 14-15: the exact minimum-norm point of a simplex, searched face by face."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from itertools import combinations

import torch
from torch import Tensor

__all__ = ["min_norm_weights"]

ROUNDING = 1e-15  # relative rounding error of the sum of opposite gradients
MAX_OBJECTIVES = 12  # 2^12 faces; CSS has three objectives
# of the optimality conditions and of linear dependence, relative to the terms of the sums
TOLERANCE = 1e-12


def min_norm_weights(gram: Tensor) -> Tensor:
    """Return the γ that minimises γᵀ Q γ subject to γ >= 0 and Σγ = 1 (eq. 15).

    gram: the Gram matrix Q, (k, k) with k up to 12; only its lower triangle is read.

    The solution is exact at any scale. If it is not unique (duplicate gradients, or zero within
    their hull), the solutions on the smallest faces are averaged, so that equal gradients get equal
    weights.

    Returns:
        γ, (k,) float64 on the CPU.

    Raises ValueError for a matrix that is not square, not finite, or no Gram matrix.

    >>> gradients = torch.tensor([[1.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
    >>> min_norm_weights(gradients @ gradients.T)
    tensor([0.8000, 0.2000], dtype=torch.float64)
    """
    shape = tuple(gram.shape)
    if len(shape) != 2 or shape[0] != shape[1] or not 1 <= shape[0] <= MAX_OBJECTIVES:
        raise ValueError(
            f"expected a (k, k) Gram matrix with k from 1 to {MAX_OBJECTIVES}, not {shape}"
        )
    return torch.tensor(_solve(gram.tolist()), dtype=torch.float64)


def _solve(q: list[list[float]]) -> list[float]:
    """Solve in Python floats, which takes microseconds, about as long as one tensor operation."""
    k = len(q)
    diagonal = [q[i][i] for i in range(k)]
    if not all(0 <= value < math.inf for value in diagonal):
        raise ValueError(f"a Gram matrix has a finite diagonal of squared norms, not {diagonal}")
    if 0 in diagonal:  # zero gradients have the minimum norm
        zeros = diagonal.count(0)
        return [1 / zeros if value == 0 else 0.0 for value in diagonal]
    # In units of each gradient's length, u_i = γ_i |g_i|, no product overflows or vanishes:
    # minimise uᵀ C u with the matrix of cosines C and Σ w_i u_i fixed.
    norms = [math.sqrt(value) for value in diagonal]
    shortest = min(norms)
    w = [shortest / norm for norm in norms]
    c = [[1.0] * k for _ in range(k)]
    for i in range(1, k):
        for j in range(i):
            c[i][j] = c[j][i] = q[i][j] / norms[i] / norms[j]
            if not -2 < c[i][j] < 2:  # allows for rounding; false for NaN
                raise ValueError(
                    f"not a Gram matrix: entry ({i}, {j}) is {q[i][j]}, the diagonal {diagonal}"
                )
    candidates: list[tuple[float, list[float]]] = []
    for face in _faces(k):
        u = _on_face(c, w, face)
        if u is not None and (top := max(u)) > 0:
            u = [value / top for value in u]  # prevents underflow of the products with w
            if len(face) == k:  # no corner lies outside: this is the only optimum
                return _weights(w, face, u)
            gap, unique = _violation(c, w, face, u)
            if unique:
                return _weights(w, face, u)
            candidates.append((gap, _weights(w, face, u)))
    allowed = max(TOLERANCE, min(gap for gap, _ in candidates))
    tied = [weights for gap, weights in candidates if gap <= allowed]
    return [math.fsum(weights[i] for weights in tied) / len(tied) for i in range(k)]


@cache
def _faces(k: int) -> list[tuple[int, ...]]:
    """Return the faces of the simplex, the largest first."""
    return [face for size in range(k, 0, -1) for face in combinations(range(k), size)]


def _on_face(c: list[list[float]], w: list[float], face: Sequence[int]) -> list[float] | None:
    """Return u >= 0 proportional to the solution of C_S u = w_S on a face S.

    Returns None if the solution lies outside the face, or its corners are dependent; then the faces
    of the face are tried.

    Gaussian elimination of a positive semidefinite matrix. The last unknown stays a ratio, which
    also solves a face whose hull contains zero (C_S is singular, and u its null vector).
    """
    if len(face) == 1:
        return [1.0]
    if len(face) == 2:
        i, j = face
        a, b = w[i] - c[i][j] * w[j], w[j] - c[i][j] * w[i]
        return None if a < 0 or b < 0 or a + b <= TOLERANCE * (w[i] + w[j]) else [a, b]
    if len(face) == 3:
        return _on_triangle(c, w, face)
    size = len(face)
    rows = [[c[i][j] for j in face] + [w[i]] for i in face]
    for p in range(size - 1):
        pivot = rows[p][p]
        if pivot <= TOLERANCE:
            return None
        for i in range(p + 1, size):
            factor = rows[i][p] / pivot
            for j in range(p + 1, size + 1):
                rows[i][j] -= factor * rows[p][j]
    scale, last = max(rows[-1][-2], 0.0), rows[-1][-1]
    if last < 0 or (scale <= TOLERANCE and last <= TOLERANCE * max(w[i] for i in face)):
        return None
    u = [0.0] * size
    u[-1] = last
    for p in range(size - 2, -1, -1):
        value = scale * rows[p][size]
        for j in range(p + 1, size):
            value -= rows[p][j] * u[j]
        if value < 0:
            return None
        u[p] = value / rows[p][p]
    return u


def _on_triangle(c: list[list[float]], w: list[float], face: Sequence[int]) -> list[float] | None:
    """Eliminate as `_on_face` does, written out for three corners: runs in every training step."""
    i, j, k = face
    ij, ik, jk, wi = c[i][j], c[i][k], c[j][k], w[i]
    jj, cross, bj = 1 - ij * ij, jk - ij * ik, w[j] - ij * wi
    if jj <= TOLERANCE:
        return None
    factor = cross / jj
    scale, last = max(1 - ik * ik - factor * cross, 0.0), w[k] - ik * wi - factor * bj
    if last < 0 or (scale <= TOLERANCE and last <= TOLERANCE * max(wi, w[j], w[k])):
        return None
    second = (scale * bj - cross * last) / jj
    if second < 0:
        return None
    first = scale * wi - ij * second - ik * last
    return None if first < 0 else [first, second, last]


def _violation(
    c: list[list[float]], w: list[float], face: Sequence[int], u: list[float]
) -> tuple[float, bool]:
    """Check the optimality of u on a face: (C u)_i >= v w_i, with equality on the face.

    Returns:
        The largest relative violation, and whether u is the only optimum: it is if every corner
        outside the face is strictly worse. Stops at the first large violation.
    """
    pairs = list(zip(face, u, strict=True))
    norm = weight = largest = 0.0
    for i, a in pairs:
        weight += w[i] * a
        row = c[i]
        for j, b in pairs:
            term = a * b * row[j]
            norm += term
            largest += abs(term)
    norm = norm / weight if norm > ROUNDING * largest else 0.0
    worst, unique = 0.0, True
    for i, row in enumerate(c):
        inner, terms = 0.0, norm * w[i]
        for j, b in pairs:
            term = row[j] * b
            inner += term
            terms += abs(term)
        residual = inner - norm * w[i]
        if i in face:
            residual = -abs(residual)
        elif residual <= 1e-9 * terms:
            unique = False
        if -residual > worst * terms:
            worst = -residual / terms
            if worst > 1e-6:
                return worst, False
    return worst, unique and worst <= TOLERANCE


def _weights(w: list[float], face: Sequence[int], u: list[float]) -> list[float]:
    """Return γ for the u of a face."""
    gamma = [0.0] * len(w)
    for i, value in zip(face, u, strict=True):
        gamma[i] = w[i] * value
    total = math.fsum(gamma)
    return [value / total for value in gamma]
