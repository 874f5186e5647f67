"""Seeded families of task gradients on which the claims are checked; rows are gradients."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from types import MappingProxyType

import numpy as np

from fairopt import Solution
from fairopt.arrays import Array
from proofs.exact_algebra import Matrix, Row, dot, times

Solver = Callable[..., Solution]
"""What the claims are about: from a Gram matrix and parameters to a solution."""

SEED = 20240215
DRAWS = 3
"""Draws of every family and size."""
DEEP_DRAWS = 40
SIZES = (2, 3, 6)
ALPHAS = (0.5, 1.0, 2.0, 10.0)
PROVED = 1e-10
"""The residual below which an answer called OPTIMAL is proved to lie; the tightest default
tolerance of the solvers is below it."""


def plain(K: int, rng: np.random.Generator) -> Array:
    """Random unit gradients, more dimensions than tasks."""
    return _unit_rows(rng.normal(size=(K, K + 3)))


def conflicting(K: int, rng: np.random.Generator) -> Array:
    """Two camps at a cosine of about -0.9."""
    side = np.where(np.arange(K) % 2, -1.0, 1.0)[:, None]
    axis = np.eye(1, K + 3)
    return _unit_rows(side * axis + 0.3 * _unit_rows(rng.normal(size=(K, K + 3))))


def dependent(K: int, rng: np.random.Generator) -> Array:
    """More gradients than dimensions, in an open half space."""
    G = rng.normal(size=(K, 2))
    G[:, 0] = np.abs(G[:, 0]) + 0.5
    return _unit_rows(G)


def mixed_scales(K: int, rng: np.random.Generator) -> Array:
    """Norms over four decades."""
    scales: Array = 10.0 ** rng.uniform(-2, 2, size=(K, 1))
    return plain(K, rng) * scales


FAMILIES: MappingProxyType[str, Callable[[int, np.random.Generator], Array]] = MappingProxyType(
    {"plain": plain, "conflicting": conflicting, "dependent": dependent, "mixed": mixed_scales}
)
PER_SWEEP = len(FAMILIES) * len(SIZES)
SCOPE = f"{DRAWS * PER_SWEEP} gradient matrices of {len(FAMILIES)} families, K = 2, 3, 6"
DEEP_SCOPE = f"{DEEP_DRAWS * PER_SWEEP} gradient matrices of {len(FAMILIES)} families, K = 2, 3, 6"


def samples(deep: bool, *families: str) -> Iterator[tuple[str, Array]]:
    """(name, gradients) of every family, or of those named; none is Pareto stationary.

    Example:
        >>> len(list(samples(deep=False)))
        36
    """
    for name in families or FAMILIES:
        for K in SIZES:
            for draw in range(DEEP_DRAWS if deep else DRAWS):
                code = list(FAMILIES).index(name)
                rng = np.random.default_rng([SEED, code, K, draw])
                yield f"{name} K={K} draw {draw}", FAMILIES[name](K, rng)


def samples_at(
    alphas: Sequence[float], deep: bool, *families: str
) -> Iterator[tuple[str, Array, float]]:
    """(name, gradients, power): every one of `samples` at every power."""
    for name, G in samples(deep, *families):
        for alpha in alphas:
            yield f"{name}, alpha {alpha:g}", G, alpha


def grid(values: tuple[int, ...], tasks: int) -> Iterator[Array]:
    """All sets of integer gradients in the plane with entries from a few values.

    Example:
        >>> len(list(grid((-1, 0, 1), 2)))
        45
    """
    points = list(itertools.product(values, repeat=2))
    for rows in itertools.combinations_with_replacement(points, tasks):
        yield np.array(rows, dtype=np.float64)


def exact_gram(gradients: Array) -> Matrix:
    """The Gram matrix in fractions.

    Example:
        >>> exact_gram(np.array([[0.5, 1.0]]))
        [[Fraction(5, 4)]]
    """
    rows = [[Fraction(float(x)) for x in row] for row in gradients]
    return [[dot(a, b) for b in rows] for a in rows]


def progress(gradients: Array, weights: Array) -> Row:
    """<g_k, d> for every task, exactly, with the weights as they are."""
    return times(exact_gram(gradients), [Fraction(float(x)) for x in weights])


def distance(left: Array, right: Array) -> float:
    """Between two directions, relative to the longer one, whatever their unit.

    Example:
        >>> distance(np.array([1e300, 0.0]), np.array([0.0, 1e300]))
        1.4142135623730951
    """
    scale = max(float(np.abs(left).max(initial=0.0)), float(np.abs(right).max(initial=0.0)))
    if scale == 0.0:
        return 0.0
    one, two = left / scale, right / scale
    longest = max(float(np.linalg.norm(one)), float(np.linalg.norm(two)))
    return float(np.linalg.norm(one - two)) / longest


def unit(vector: Array) -> Array:
    """Of length one, whatever its unit; zero stays.

    Example:
        >>> unit(np.array([3e-200, 4e-200]))
        array([0.6, 0.8])
    """
    scale = float(np.abs(vector).max(initial=0.0))
    if scale == 0.0:
        return vector
    scaled = vector / scale
    return np.asarray(scaled / np.linalg.norm(scaled))


def _unit_rows(G: Array) -> Array:
    """Rows of length one."""
    return np.asarray(G / np.linalg.norm(G, axis=1, keepdims=True))
