"""The laws of gradient aggregators that `proofs.conformance.check_aggregator` knows.

An aggregator turns a (K, D) array of task gradients, one per row, into one direction (D,).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import MappingProxyType
from typing import Any

import numpy as np

from fairopt import min_norm, min_norm_from_gradients
from fairopt.arrays import Array
from proofs.conformance_law import CodeFailed, Instances, Law
from proofs.gradients.problems import (
    conflicting,
    dependent,
    distance,
    mixed_scales,
    plain,
    unit,
)

DRAWS = 6
"""Gradient matrices of each family and size."""
SIZES = (2, 3, 6)
DIGITS = 1e-6
"""Relative to the lengths at hand. Half of the digits of float64: solvers of other people stop at
about there, and a wrong rule is off by far more."""
SINGLE = 1e-3
"""The same for code that is given single precision."""
SCALES = (1e-6, 1e-3, 1e3)

Aggregate = Callable[[Array], Array]
Family = Callable[[int, np.random.Generator], Array]


def tiny(K: int, rng: np.random.Generator) -> Array:
    """All gradients of length 1e-6."""
    return 1e-6 * conflicting(K, rng)


def zero_row(K: int, rng: np.random.Generator) -> Array:
    """One task without a gradient."""
    G = plain(K, rng)
    G[rng.integers(K)] = 0.0
    return G


def near_stationary(K: int, rng: np.random.Generator) -> Array:
    """The min-norm point is about 1e-3 of the gradients."""
    G = plain(K, rng)
    common = np.zeros((1, G.shape[1] + 1))
    common[0, -1] = 1e-3
    return np.hstack([G - G.mean(axis=0), np.zeros((K, 1))]) + common


def repeated(K: int, rng: np.random.Generator) -> Array:
    """The first gradient twice."""
    G = plain(K, rng)
    G[-1] = G[0]
    return G


def alone(K: int, rng: np.random.Generator) -> Array:
    """A single task."""
    return plain(1, rng)


def opposed(K: int, rng: np.random.Generator) -> Array:
    """A convex combination vanishes: Pareto stationary."""
    G = rng.normal(size=(K, K + 1))
    v = rng.dirichlet(np.ones(K)) + 0.1
    G[-1] = -(v[:-1] @ G[:-1]) / v[-1]
    return G


PLAIN = {"plain": plain, "conflicting": conflicting, "dependent": dependent}
EDGES = {
    "mixed scales": mixed_scales,
    "tiny": tiny,
    "zero row": zero_row,
    "near-stationary": near_stationary,
    "repeated": repeated,
    "one task": alone,
}


def drawn(**families: Family) -> Instances:
    """Seeded draws of some families."""

    def instances(seed: int) -> Iterator[tuple[str, Array]]:
        for place, (name, family) in enumerate(families.items()):
            for K in SIZES:
                for draw in range(DRAWS):
                    rng = np.random.default_rng([seed, place, K, draw])
                    yield f"{name} K={K} draw {draw}", family(K, rng)

    return instances


def _call(aggregate: Aggregate, G: Array) -> Array:
    """The direction for a copy of the gradients, if it is one that a law can check."""
    returned = aggregate(G.copy())
    try:
        array = np.asarray(returned)
    except (RuntimeError, TypeError, ValueError) as error:
        raise CodeFailed(f"returns no array: {error}") from error
    if array.dtype.kind in "OSUV" and returned is not None:
        raise CodeFailed(f"returns no array: {type(returned).__name__}")
    if array.shape != G.shape[1:]:
        got = f"shape {array.shape}" if returned is not None else "None"
        raise CodeFailed(f"returns {got}, not shape {G.shape[1:]}, for gradients {G.shape}")
    if array.dtype.kind not in "fiu":
        raise CodeFailed(f"returns no array of real numbers: its type is {array.dtype}")
    d = np.asarray(array, dtype=np.float64)
    if not np.isfinite(d).all():
        raise CodeFailed("the direction is not finite")
    return d


def _differ(left: Array, right: Array, what: str) -> str | None:
    """How far two directions are apart, if they are."""
    off = distance(left, right)
    return None if off <= DIGITS else f"{what}: {off:.1e} of its length away"


def _finite(aggregate: Aggregate, G: Array, rng: np.random.Generator) -> str | None:
    """The call itself refuses what is not finite."""
    _call(aggregate, G)
    return None


def _deterministic(aggregate: Aggregate, G: Array, rng: np.random.Generator) -> str | None:
    """The same call gives the same digits, at once and after another one."""
    first = _call(aggregate, G)
    if not np.array_equal(first, _call(aggregate, G)):
        return "a second call gives other digits"
    _call(aggregate, rng.normal(size=G.shape))
    same = np.array_equal(first, _call(aggregate, G))
    return None if same else "a call after one with other gradients gives other digits"


def _single(aggregate: Aggregate, G: Array, rng: np.random.Generator) -> str | None:
    """float32 gradients give the direction of the same ones in float64."""
    narrow: Any = G.astype(np.float32)
    off = distance(_call(aggregate, narrow), _call(aggregate, narrow.astype(np.float64)))
    return None if off <= SINGLE else f"{off:.1e} of its length from that of float64"


def _pure(aggregate: Aggregate, G: Array, rng: np.random.Generator) -> str | None:
    """The gradients that were handed over are not changed."""
    given = G.copy()
    aggregate(given)
    return None if np.array_equal(given, G) else "the gradients were changed"


def _permutation(aggregate: Aggregate, G: Array, rng: np.random.Generator) -> str | None:
    """The order of the tasks does not matter."""
    order = rng.permutation(len(G))
    return _differ(_call(aggregate, G), _call(aggregate, G[order]), "tasks in another order")


def _conflict(aggregate: Aggregate, G: Array, rng: np.random.Generator) -> str | None:
    """No task's gradient makes an obtuse angle with the direction."""
    d = unit(_call(aggregate, G))
    lengths = np.linalg.norm(G, axis=1)
    cosines = (G @ d)[lengths > 0.0] / lengths[lengths > 0.0]
    worst = float(cosines.min(initial=np.inf))
    return None if worst >= -DIGITS else f"cosine {worst:.1e} with a task"


def _descent(aggregate: Aggregate, G: Array, rng: np.random.Generator) -> str | None:
    """Every task makes progress."""
    worst = float((G @ unit(_call(aggregate, G))).min())
    return None if worst > 0.0 else f"progress {worst:.1e} on a task, per length of the step"


def _span(aggregate: Aggregate, G: Array, rng: np.random.Generator) -> str | None:
    """The direction is a combination of the gradients."""
    d = _call(aggregate, G)
    inside, *_ = np.linalg.lstsq(G.T, d, rcond=None)
    return _differ(inside @ G, d, "the nearest combination of the gradients")


def _hull(aggregate: Aggregate, G: Array, rng: np.random.Generator) -> str | None:
    """The direction is a convex combination of the gradients."""
    d, size = _call(aggregate, G), float(np.linalg.norm(G, axis=1).max())
    if np.abs(d).max() > 2.0 * size:
        return "longer than every gradient"
    off = float(np.linalg.norm(min_norm_from_gradients(G - d).weights @ (G - d)))
    return None if off <= DIGITS * size else f"{off / size:.1e} from the hull of the gradients"


def _equivariance(aggregate: Aggregate, G: Array, rng: np.random.Generator) -> str | None:
    """Gradients times a number give the direction times that number."""
    d = _call(aggregate, G)
    found = (_differ(_call(aggregate, s * G), s * d, f"gradients times {s:g}") for s in SCALES)
    return next(filter(None, found), None)


def _common_scale(aggregate: Aggregate, G: Array, rng: np.random.Generator) -> str | None:
    """Gradients times a number give the same direction, up to its length."""
    d = unit(_call(aggregate, G))
    found = (_differ(unit(_call(aggregate, s * G)), d, f"gradients times {s:g}") for s in SCALES)
    return next(filter(None, found), None)


def _task_scales(aggregate: Aggregate, G: Array, rng: np.random.Generator) -> str | None:
    """Gradients times a number for each give the same direction, up to its length."""
    scale = 10.0 ** rng.uniform(-2, 2, size=(len(G), 1))
    pair = unit(_call(aggregate, G)), unit(_call(aggregate, scale * G))
    return _differ(*pair, "tasks rescaled")


def _linear(aggregate: Aggregate, G: Array, rng: np.random.Generator) -> str | None:
    """The direction is linear in factors of the gradients."""
    x, y = rng.uniform(0.1, 2.0, size=(2, len(G), 1))
    together = _call(aggregate, (2.0 * x + 0.5 * y) * G)
    apart = 2.0 * _call(aggregate, x * G) + 0.5 * _call(aggregate, y * G)
    return _differ(together, apart, "scales added before and after")


def _duplicates(aggregate: Aggregate, G: Array, rng: np.random.Generator) -> str | None:
    """Every task twice gives the same direction, up to its length."""
    twice = _call(aggregate, np.concatenate([G, G]))
    return _differ(unit(twice), unit(_call(aggregate, G)), "every task twice")


def _stops(aggregate: Aggregate, G: Array, rng: np.random.Generator) -> str | None:
    """There is no step where no step helps every task."""
    size = float(np.linalg.norm(_call(aggregate, G)) / np.linalg.norm(G, axis=1).max())
    return None if size <= DIGITS else f"a step of {size:.1e} where nothing helps every task"


def _moves(aggregate: Aggregate, G: Array, rng: np.random.Generator) -> str | None:
    """There is a step where some step helps every task."""
    least = float(np.linalg.norm(min_norm(G @ G.T).weights @ G))
    size = float(np.linalg.norm(_call(aggregate, G)))
    return None if size > DIGITS * least else f"no step where one of {least:.1e} helps every task"


_EVERYWHERE = drawn(**PLAIN, **EDGES, stationary=opposed)
_NORMAL = drawn(**PLAIN)
_SCALED = drawn(plain=plain, conflicting=conflicting)
_SOLVABLE = drawn(**PLAIN, **{k: v for k, v in EDGES.items() if k != "zero row"})
_LAWS = (
    Law("finite", "a finite direction for every matrix, edge cases included", _EVERYWHERE, _finite),
    Law(
        "deterministic",
        "the same bytes for the same gradients, at once and after others",
        _NORMAL,
        _deterministic,
    ),
    Law(
        "single precision",
        "gradients in float32 give the direction of the same numbers in float64, to 1e-3",
        _SCALED,
        _single,
    ),
    Law("leaves its input alone", "the gradients are only read", _NORMAL, _pure),
    Law("permutation invariant", "the order of the tasks does not matter", _NORMAL, _permutation),
    Law(
        "non-conflicting", "the direction conflicts with no task: g_k . d >= 0", _NORMAL, _conflict
    ),
    Law(
        "non-conflicting on edge cases",
        "the same with zero rows, near-stationary, mixed or tiny gradients",
        drawn(**EDGES),
        _conflict,
    ),
    Law(
        "common descent",
        "g_k . d > 0 for every task wherever some direction does it",
        _SOLVABLE,
        _descent,
    ),
    Law("within the span", "the direction is a combination of the gradients", _NORMAL, _span),
    Law("within the convex hull", "it is a convex combination of them", _NORMAL, _hull),
    Law(
        "scale equivariant", "gradients times s give s times the direction", _NORMAL, _equivariance
    ),
    Law("ignores the common scale", "gradients times s: same direction", _NORMAL, _common_scale),
    Law("ignores task scales", "rescaled tasks: same direction", _SCALED, _task_scales),
    Law(
        "linear under scaling",
        "with tasks scaled by c > 0 the direction is linear in c (TorchJD's definition)",
        _SCALED,
        _linear,
    ),
    Law("duplicated tasks", "every task twice: same direction", _NORMAL, _duplicates),
    Law(
        "stops where stationary",
        "no step where a convex combination of the gradients vanishes",
        drawn(stationary=opposed),
        _stops,
    ),
    Law("moves elsewhere", "a step wherever some direction helps every task", _SOLVABLE, _moves),
)
AGGREGATOR_LAWS = MappingProxyType({law.name: law for law in _LAWS})
"""Laws that `check_aggregator` knows, by name."""
