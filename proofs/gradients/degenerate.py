"""Gradients on which a solver that trusts its Gram matrix goes wrong, and their neighbours.

None is artificial: few examples, dead units, opposite heads, copies and units make them in
training. A neighbour has a Gram matrix that is the same within the error assumed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import numpy as np

from fairopt.arrays import Array
from proofs.exact_algebra import Matrix, Row
from proofs.gradients.problems import SEED, exact_gram

SIZES = (2, 3, 5)
DRAWS = 3
DEEP_DRAWS = 60
NEIGHBOURS = 3
"""Neighbours of every problem: along a new axis, in place, and against a direction."""


def more_than_dimensions(K: int, rng: np.random.Generator) -> Array:
    """More tasks than dimensions: often no direction helps all."""
    return rng.normal(size=(K, max(1, K // 2)))


def nearly_stationary(K: int, rng: np.random.Generator) -> Array:
    """A convex combination nearly vanishes, by 1e-1 to 1e-13."""
    G = _cancelling(K, rng)
    return np.asarray(G + 10.0 ** rng.uniform(-13, -1) * rng.normal(size=G.shape))


def stationary_face(K: int, rng: np.random.Generator) -> Array:
    """Some tasks cancel each other, to rounding; the others do not."""
    face = int(rng.integers(2, K + 1))
    return np.concatenate([_cancelling(face, rng, K + 2), rng.normal(size=(K - face, K + 2))])


def nearly_opposite(K: int, rng: np.random.Generator) -> Array:
    """A nearly opposite pair in other units, among others."""
    G = rng.normal(size=(K, K + 1))
    G[1] = -(10.0 ** rng.uniform(-3, 3)) * G[0]
    G[1] += 10.0 ** rng.uniform(-12, 0) * rng.normal(size=K + 1)
    return G


def opposite(K: int, rng: np.random.Generator) -> Array:
    """Two exactly opposite tasks, and others."""
    G = rng.normal(size=(K, K + 1))
    G[1] = -2.0 * G[0]
    return G


def copies(K: int, rng: np.random.Generator) -> Array:
    """Every task again in another unit."""
    G = rng.normal(size=((K + 1) // 2, K + 1))
    return np.asarray(np.concatenate([G, 4.0 * G])[:K])


def nearly_copies(K: int, rng: np.random.Generator) -> Array:
    """Two tasks that agree to 1e-2 to 1e-15."""
    G = rng.normal(size=(K, K + 1))
    G[1] = G[0] + 10.0 ** rng.uniform(-15, -2) * rng.normal(size=K + 1)
    return G


def thin(K: int, rng: np.random.Generator) -> Array:
    """A cone of non-conflicting directions that is only 1e-1 to 1e-12 wide."""
    G = rng.normal(size=(K, K))
    G -= G.mean(axis=0)
    G[:, 0] = 10.0 ** rng.uniform(-12, -1)
    return G


def centred(K: int, rng: np.random.Generator) -> Array:
    """The mean gradient vanishes to rounding."""
    G = rng.normal(size=(K, K + 1))
    return np.asarray(G - G.mean(axis=0))


def one_missing(K: int, rng: np.random.Generator) -> Array:
    """A task without a gradient, which makes every set stationary and conflicts with nothing."""
    G = rng.normal(size=(K, K + 1))
    G[rng.integers(K)] = 0.0
    return G


def mixed(K: int, rng: np.random.Generator) -> Array:
    """Lengths over sixteen decades."""
    return np.asarray(rng.normal(size=(K, K + 1)) * 10.0 ** rng.uniform(-8, 8, size=(K, 1)))


FAMILIES: MappingProxyType[str, Callable[[int, np.random.Generator], Array]] = MappingProxyType(
    {
        family.__name__.replace("_", " "): family
        for family in (
            more_than_dimensions,
            nearly_stationary,
            stationary_face,
            nearly_opposite,
            opposite,
            copies,
            nearly_copies,
            thin,
            centred,
            one_missing,
            mixed,
        )
    }
)
PER_DRAW = len(FAMILIES) * len(SIZES)
SCOPE = f"{DRAWS * PER_DRAW} gradient matrices of {len(FAMILIES)} degenerate families, K = 2, 3, 5"
DEEP_SCOPE = SCOPE.replace(str(DRAWS * PER_DRAW), f"{DEEP_DRAWS * PER_DRAW:,}")


def problems(
    deep: bool, largest: int = SIZES[-1], positive: bool = False
) -> Iterator[tuple[str, Array, Array]]:
    """(name, gradients, reference) of every family; references are the mean, a task, or anything.

    Example:
        >>> len(list(problems(deep=False)))
        99
    """
    for place, (name, family) in enumerate(FAMILIES.items()):
        for K in (size for size in SIZES if size <= largest):
            for draw in range(DEEP_DRAWS if deep else DRAWS):
                rng = np.random.default_rng([SEED, 11, place, K, draw])
                G = family(K, rng)
                r = (np.full(K, 1.0 / K), np.eye(K)[rng.integers(K)], rng.normal(size=K))[draw % 3]
                yield f"{name} K={K} draw {draw}", G, np.abs(r) + 0.1 if positive else r


def neighbours(G: Array, error: float, direction: Array, name: str) -> Iterator[Matrix]:
    """Exact Gram matrices of other gradients that are within `error` of the float one of G.

    An entry may be off by `error` times the lengths of its two gradients.
    """
    A = G @ G.T
    rng = np.random.default_rng([SEED, *name.encode()])
    for kind in range(NEIGHBOURS):
        B = exact_gram(_moved(G, error, direction, kind, rng))
        if is_within(B, A, error):
            yield B


def _moved(G: Array, error: float, direction: Array, kind: int, rng: np.random.Generator) -> Array:
    """Other gradients of nearly the same inner products."""
    size = np.linalg.norm(G, axis=1, keepdims=True)
    signs = np.sign(rng.normal(size=size.shape))
    if kind == 0:
        return np.hstack([G, 0.98 * np.sqrt(error) * signs * size])
    if kind == 1:
        return np.asarray(G + 0.3 * error * size * signs * G[rng.permutation(len(G))] / size.max())
    length = float(np.linalg.norm(direction))
    against = direction / length if length > 0.0 else direction
    return np.asarray(G - 0.3 * error * size * (signs > 0.0) * against)


def is_within(B: Matrix, A: Array, error: float) -> bool:
    """Whether every entry of B is within the error of A, exactly."""
    rows = [[Fraction(float(x)) for x in row] for row in A]
    limit, K = Fraction(error) ** 2, range(len(rows))
    return all((B[i][j] - rows[i][j]) ** 2 <= limit * rows[i][i] * rows[j][j] for i in K for j in K)


def exact_row(values: Any) -> Row:
    """Floats as fractions."""
    return [Fraction(float(x)) for x in values]


def _cancelling(K: int, rng: np.random.Generator, D: int | None = None) -> Array:
    """K gradients of which a convex combination vanishes, to rounding."""
    G, v = rng.normal(size=(K, D or K + 2)), rng.dirichlet(np.ones(K)) + 0.05
    G[-1] = -(v[:-1] @ G[:-1]) / v[-1]
    return G
