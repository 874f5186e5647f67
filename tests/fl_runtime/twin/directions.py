"""Weights of a common direction, from a Gram matrix: the K x K problems go to `fairopt`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fairopt import conflict_averse, fairgrad, min_norm, upgrad
from fairopt.solution import Solution, Status

Array = np.ndarray[Any, Any]

NOTHING = 1e-12
"""Square of a direction, relative to that of its parts, below which it is rounding."""

MEAN = {"method": "mean"}


def method_of(algorithm: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The method that an algorithm with a trunk stands for."""
    names = {"linear-scalarisation": "mean", "nash": "fair-grad"}
    method = {"method": names.get(algorithm, algorithm), **options}
    if algorithm == "nash":
        method["alpha"] = 1.0
    return method


def weights(
    method: Mapping[str, Any], gram: Array, rows: Sequence[int], seed: int
) -> tuple[Array, str]:
    """Weights and `decided`, `stationary` (zero) or `undecided` (the mean)."""
    K = len(gram)
    mean = np.full(K, 1.0 / K)
    name = method["method"]
    if name == "mean":
        return mean, "decided"
    found = _solved(method, gram, rows, seed)
    w = np.asarray(found.weights, dtype=np.float64)
    if found.status == Status.PARETO_STATIONARY:
        return np.zeros(K), "stationary"
    if not found.ok:
        return mean, "undecided"
    if method.get("length", "mean") == "own":
        return w, "decided"
    square = float(w @ gram @ w)
    if square <= NOTHING * float(np.abs(w) @ np.sqrt(np.diag(gram))) ** 2:
        return np.zeros(K), "stationary"
    return w * np.sqrt(float(mean @ gram @ mean) / square), "decided"


def _solved(method: Mapping[str, Any], gram: Array, rows: Sequence[int], seed: int) -> Solution:
    """The answer of a method."""
    name = method["method"]
    if name == "fair-grad":
        priority = method.get("priority") or None
        share = None if priority is None else [priority[row] for row in rows]
        return fairgrad(gram, method.get("alpha", 2.0), priority=share)
    if name == "mgda":
        return min_norm(gram)
    if name == "cagrad":
        return conflict_averse(gram, method.get("c", 0.4))
    if name == "upgrad":
        return upgrad(gram)
    return Solution(_pcgrad(gram, np.random.default_rng(seed)), Status.OPTIMAL, 0.0, 0)


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
