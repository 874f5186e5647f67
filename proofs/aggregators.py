"""Aggregators to hold against the laws: our own with what they claim, and common practice.

The recipes are written here the way such code is usually written, defaults included, as examples of
what the laws find. Nothing in this file is meant for use.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import numpy as np

import fairopt
from fairopt.arrays import Array
from proofs.aggregator_laws import Aggregate

ALWAYS = (
    "finite",
    "deterministic",
    "single precision",
    "leaves its input alone",
    "permutation invariant",
    "within the span",
    "ignores the common scale",
    "duplicated tasks",
    "moves elsewhere",
)
"""What every method of `fairopt` claims."""
NON_CONFLICTING = ("non-conflicting", "non-conflicting on edge cases")
DESCENT = (*NON_CONFLICTING, "common descent", "stops where stationary")


def weighted(solve: Callable[[Array], fairopt.Solution]) -> Aggregate:
    """The direction of a solver's weights."""
    return lambda G: np.asarray(solve(G @ G.T).weights @ G)


def mean(G: Array) -> Array:
    """The mean gradient."""
    return np.asarray(G.mean(axis=0))


OURS: MappingProxyType[str, tuple[Aggregate, tuple[str, ...]]] = MappingProxyType(
    {
        "fairgrad, alpha 0": (
            weighted(lambda A: fairopt.fairgrad(A, 0.0)),
            (*ALWAYS, *NON_CONFLICTING, "scale equivariant"),
        ),
        "fairgrad, alpha 1/2": (weighted(lambda A: fairopt.fairgrad(A, 0.5)), (*ALWAYS, *DESCENT)),
        "fairgrad, alpha 1": (
            weighted(lambda A: fairopt.fairgrad(A, 1.0)),
            (*ALWAYS, *DESCENT, "ignores task scales"),
        ),
        "fairgrad, alpha 2": (weighted(lambda A: fairopt.fairgrad(A, 2.0)), (*ALWAYS, *DESCENT)),
        "fairgrad, alpha inf": (
            weighted(lambda A: fairopt.fairgrad(A, np.inf)),
            (*ALWAYS, *DESCENT),
        ),
        "min_norm": (
            weighted(fairopt.min_norm),
            (*ALWAYS, *DESCENT, "within the convex hull", "scale equivariant"),
        ),
        "conflict_averse, c 0.4": (
            weighted(lambda A: fairopt.conflict_averse(A, 0.4)),
            (*ALWAYS, "scale equivariant"),
        ),
        "dual cone of the mean": (
            weighted(lambda A: fairopt.dual_cone_projection(A, np.full(len(A), 1.0 / len(A)))),
            (*ALWAYS, *NON_CONFLICTING, "scale equivariant"),
        ),
        "upgrad": (
            weighted(fairopt.upgrad),
            (*ALWAYS, *NON_CONFLICTING, "scale equivariant", "linear under scaling"),
        ),
    }
)
"""Our methods, and the laws that they claim."""


def least_squares_fairgrad(G: Array) -> Array:
    """FairGrad (alpha = 2) by SciPy's `least_squares` from 1/K, as published code does it."""
    from scipy.optimize import least_squares

    A, K = G @ G.T, len(G)

    def residual(w: Array) -> Array:
        return np.asarray(A @ w - w**-0.5)

    limits = (np.zeros(K), np.full(K, np.inf))
    found = least_squares(residual, np.full(K, 1.0 / K), bounds=limits)
    return np.asarray(found.x @ G)


def slsqp_conflict_averse(G: Array) -> Array:
    """The conflict-averse dual by SciPy's SLSQP from 1/K, small constants in the roots."""
    from scipy.optimize import minimize

    A, K, c = G @ G.T, len(G), 0.4
    start = np.full(K, 1.0 / K)
    reach = c * np.sqrt(start @ A @ start + 1e-8)

    def dual(v: Array) -> float:
        return float(v @ A @ start + reach * np.sqrt(v @ A @ v + 1e-8))

    simplex: Any = {"type": "eq", "fun": lambda v: 1.0 - v.sum()}
    v = minimize(dual, start, bounds=[(0.0, 1.0)] * K, constraints=simplex).x
    return np.asarray((start + reach / (np.sqrt(v @ A @ v) + 1e-8) * v) @ G)


def cvxpy_fairgrad(G: Array) -> Array:
    """FairGrad (alpha = 2) as a convex program over the direction: cvxpy and its default solver."""
    cp: Any = importlib.import_module("cvxpy")
    d = cp.Variable(G.shape[1])
    utility = -cp.sum(cp.inv_pos(G @ d)) - 0.5 * cp.sum_squares(d)
    try:
        cp.Problem(cp.Maximize(utility)).solve()
    except cp.error.SolverError as error:
        raise RuntimeError(f"cvxpy: {str(error)[:60]}") from None
    if d.value is None:
        raise RuntimeError("cvxpy returns no direction")
    return np.asarray(d.value)


RECIPES: MappingProxyType[str, Aggregate] = MappingProxyType(
    {
        "the mean": mean,
        "SciPy least_squares FairGrad, alpha 2": least_squares_fairgrad,
        "SciPy SLSQP conflict-averse, c 0.4": slsqp_conflict_averse,
        "cvxpy FairGrad, alpha 2": cvxpy_fairgrad,
    }
)
"""Common practice."""
EXACT: MappingProxyType[str, str] = MappingProxyType(
    {
        "SciPy least_squares FairGrad, alpha 2": "fairgrad, alpha 2",
        "SciPy SLSQP conflict-averse, c 0.4": "conflict_averse, c 0.4",
        "cvxpy FairGrad, alpha 2": "fairgrad, alpha 2",
        "TorchJD MGDA": "min_norm",
        "TorchJD UPGrad": "upgrad",
        "TorchJD DualProj": "dual cone of the mean",
        "TorchJD CAGrad": "conflict_averse, c 0.4",
        "TorchJD FairGrad": "fairgrad, alpha 2",
        "LibMTL MGDA": "min_norm",
        "LibMTL FairGrad": "fairgrad, alpha 2",
        "LibMTL CAGrad": "conflict_averse, c 0.4",
        "LibMTL Nash_MTL": "fairgrad, alpha 1",
        "LibMTL UPGrad": "upgrad",
    }
)
"""Which of our methods solves the same problem exactly."""
