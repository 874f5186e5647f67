"""Weights of a common direction; programmes in K numbers go to `fairopt`, or to SciPy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.optimize import nnls

from fairopt import conflict_averse, fairgrad, min_norm
from fairopt.arrays import GRAM_ERROR
from fairopt.solution import Solution, Status

Array = np.ndarray[Any, Any]

NOTHING = 1e-12
"""Square of a direction, relative to that of its parts, below which it is rounding."""

CLOSE = 1e-8
"""Square of the shortest mixture of unit gradients, below which a decision is within rounding."""

TINY = 1e-100
"""Entries of a gradient whose squares are lost."""

MEAN = {"method": "mean"}


def method_of(algorithm: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The method that an algorithm with a trunk stands for."""
    names = {"linear-scalarisation": "mean", "nash": "fair-grad"}
    method = {"method": names.get(algorithm, algorithm), **options}
    if algorithm == "nash":
        method["alpha"] = 1.0
    return method


def is_close(X: Array) -> bool:
    """Whether gradients are within rounding of a Pareto stationary point, none of them being zero.

    Then rounding decides what a method answers, and two implementations may differ; likewise where
    the square of a gradient underflows.
    """
    largest = np.abs(X).max(axis=1)
    if ((largest > 0.0) & (largest < TINY)).any():
        return True
    if len(X) < 2 or not largest.all():
        return False
    unit = X / np.linalg.norm(X, axis=1)[:, None]
    w = np.asarray(min_norm(unit @ unit.T).weights)
    return float(((w @ unit) ** 2).sum()) < CLOSE


def weights(
    method: Mapping[str, Any],
    X: Array,
    tasks: Sequence[int],
    seed: int,
    factors: Array | None = None,
) -> tuple[Array, str]:
    """Weights and `decided`, `stationary` (zero) or `undecided` (the mean).

    Args:
        method: Its name and parameters.
        X: (K, p) gradients or updates.
        tasks: (K,) whose they are.
        seed: Of what is drawn.
        factors: Of the gradients, as the method sees them; the length is that of those as they are.
    """
    K, gram = len(X), X @ X.T
    mean = np.full(K, 1.0 / K)
    if method["method"] == "mean" and factors is None:
        return mean, "decided"
    f = np.ones(K) if factors is None else factors
    Y = X * f[:, None]
    found = _solved(method, Y, Y @ Y.T, tasks, seed)
    w = f * np.asarray(found.weights, dtype=np.float64)
    if found.status == Status.PARETO_STATIONARY:
        return np.zeros(K), "stationary"
    if not found.ok:
        return mean, "undecided"
    if method.get("length", "mean") == "own":
        return w, "decided"
    square = float(((w @ X) ** 2).sum())
    if square <= NOTHING * float(np.abs(w) @ np.sqrt(np.diag(gram))) ** 2:
        return np.zeros(K), "stationary"
    return w * np.sqrt(float(((mean @ X) ** 2).sum()) / square), "decided"


def _solved(
    method: Mapping[str, Any], X: Array, gram: Array, tasks: Sequence[int], seed: int
) -> Solution:
    """The answer of a method."""
    name = method["method"]
    if name == "mean":
        return Solution(np.full(len(X), 1.0 / len(X)), Status.OPTIMAL, 0.0, 0)
    if name == "fair-grad":
        priority = method.get("priority") or None
        share = None if priority is None else [priority[task] for task in tasks]
        alpha = method.get("alpha", 2.0)
        return fairgrad(gram, alpha, priority=share, gram_error=GRAM_ERROR)
    if name == "mgda":
        return min_norm(gram, gram_error=GRAM_ERROR)
    if name == "cagrad":
        return conflict_averse(gram, method.get("c", 0.4), gram_error=GRAM_ERROR)
    found = _upgrad(X) if name == "upgrad" else _pcgrad(gram, np.random.default_rng(seed))
    return Solution(found, Status.OPTIMAL, 0.0, 0)


def _upgrad(X: Array) -> Array:
    """The mean of the projections of all gradients onto what conflicts with none of them.

    That of g is g + X'u, with the u >= 0 for which it is shortest.
    """
    return np.mean([row + nnls(X.T, -x)[0] for row, x in zip(np.eye(len(X)), X, strict=True)], 0)


def _pcgrad(gram: Array, rng: np.random.Generator) -> Array:
    """Every gradient loses its conflicts with the others, in random order; then the mean."""
    K = len(gram)
    rows = []
    for i in range(K):
        mine = np.eye(K)[i]
        for j in rng.permutation(K):
            overlap = float(mine @ gram[:, j])
            if j != i and overlap < 0.0 and gram[j, j] > 0.0:
                mine = mine - overlap / gram[j, j] * np.eye(K)[j]
        rows.append(mine)
    return np.mean(rows, axis=0)
