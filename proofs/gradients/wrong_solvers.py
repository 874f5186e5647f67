"""Solvers that are one step away from a right one: the negative controls of the claims.

All return a `Solution` that calls itself optimal, as careless code does. None is meant for use.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fairopt import Solution, Status, conflict_averse, fairgrad
from fairopt.arrays import Array

RIDGE = 1e-3
"""Added to the diagonal, relative to its mean, by those who fear a singular matrix."""


def claimed(weights: Any) -> Solution:
    """Weights that call themselves optimal."""
    return Solution(np.asarray(weights, dtype=np.float64), Status.OPTIMAL, 0.0, 1)


def linear_scalarisation(gram: Array, alpha: float = 0.0, **_: Any) -> Solution:
    """The plain sum of the gradients, whatever the fairness."""
    return claimed(np.ones(len(gram)))


def ridge(gram: Array, alpha: float, **options: Any) -> Solution:
    """FairGrad of a matrix that was made regular first."""
    padded = gram + RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
    return fairgrad(padded, alpha, **options)


def never_stationary(gram: Array, alpha: float, **options: Any) -> Solution:
    """FairGrad, with weights of the padded matrix where there are none."""
    found = fairgrad(gram, alpha, **options)
    return found if found.ok else claimed(ridge(gram, alpha).weights)


def other_alpha(gram: Array, alpha: float, **options: Any) -> Solution:
    """FairGrad for a slightly larger power."""
    return fairgrad(gram, 1.1 * alpha + 0.01, **options)


def capped_alpha(gram: Array, alpha: float, **options: Any) -> Solution:
    """FairGrad for powers between 1/2 and 5, quietly."""
    return fairgrad(gram, min(max(alpha, 0.5), 5.0), **options)


def impatient(gram: Array, alpha: float, *, start: Any = None, **_: Any) -> Solution:
    """Ten damped fixed-point steps from wherever one starts."""
    w = np.ones(len(gram)) if start is None else np.asarray(start, dtype=np.float64)
    for _step in range(10):
        w = np.sqrt(w * np.maximum(gram @ w, 1e-3) ** -alpha)
    return claimed(w)


def normalised(gram: Array, alpha: float, **options: Any) -> Solution:
    """FairGrad weights scaled to sum one: the right direction of the wrong length."""
    found = fairgrad(gram, alpha, **options)
    return claimed(found.weights / found.weights.sum())


def frank_wolfe(gram: Array, **_: Any) -> Solution:
    """Thirty Frank-Wolfe steps towards the min-norm point."""
    v = np.full(len(gram), 1.0 / len(gram))
    for step in range(30):
        vertex = np.eye(len(gram))[np.argmin(gram @ v)]
        v = v + 2.0 / (step + 2.0) * (vertex - v)
    return claimed(v)


def dropped_multipliers(gram: Array, reference: Any, **_: Any) -> Solution:
    """The projection that forgets all conflicts but the worst."""
    w = np.array(reference, dtype=np.float64)
    slopes = gram @ w
    k = int(np.argmin(slopes))
    if slopes[k] < 0.0:
        w[k] -= slopes[k] / gram[k, k]
    return claimed(w)


def half_radius(gram: Array, c: float, **options: Any) -> Solution:
    """The conflict-averse direction of a ball half as large."""
    return conflict_averse(gram, 0.5 * c, **options)


def smoothed_dual(gram: Array, c: float, **options: Any) -> Solution:
    """The conflict-averse direction with multipliers drawn towards equal ones by a hundredth."""
    v = conflict_averse(gram, c, **options).dual
    if v is None:
        return conflict_averse(gram, c, **options)
    r = np.full(len(gram), 1.0 / len(gram))
    v = 0.99 * v + 0.01 * r
    reach = c * np.sqrt(r @ gram @ r) / np.sqrt(v @ gram @ v)
    return Solution(r + reach * v, Status.OPTIMAL, 0.0, 1, dual=v)


def rescaled(gram: Array, c: float, **options: Any) -> Solution:
    """The conflict-averse direction divided by 1 + c^2, as released code returns it."""
    found = conflict_averse(gram, c, **options)
    return Solution(found.weights / (1 + c * c), found.status, 0.0, 1, dual=found.dual)
