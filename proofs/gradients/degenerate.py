"""Gradients on which a solver that trusts its Gram matrix goes wrong, and their neighbours.

None is artificial: few examples, dead units, opposite heads, copies and units make them in
training. A neighbour has a Gram matrix that is the same within the error assumed.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import numpy as np

from fairopt.arrays import Array
from proofs.exact_algebra import Matrix, Row
from proofs.gradients.problems import SEED, exact_gram, unit

SIZES = (2, 3, 5)
DRAWS = 3
DEEP_DRAWS = 60
COARSE = 1e-8
"""A `gram_error` so much above rounding that only the terms of the error itself count."""
NEIGHBOURS = 5
"""Of every problem: along a new axis, in place, all or some tasks against the direction, and all
without their part along the reference."""
STEPS = (0.98, 0.49, 0.24)
"""Times the error: the largest step against a direction that stays within it is taken."""


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


def touching(K: int, rng: np.random.Generator) -> Array:
    """Two short tasks, opposite but for 1.5 `COARSE` along what the others want.

    Every matrix within `COARSE` has a direction near the projection that conflicts with either one
    or the other, but some have none that conflicts with neither.
    """
    frame, _ = np.linalg.qr(rng.normal(size=(K + 1, K + 1)))
    G = frame[1] - 0.1 * frame[0] + 0.1 * rng.normal(size=(K, K - 1)) @ frame[2:]
    G[0], G[1] = 1e-4 * frame[0], 1e-4 * (1.5 * COARSE * frame[1] - frame[0])
    return np.asarray(G)


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


def nearly_centred(K: int, rng: np.random.Generator) -> Array:
    """The mean is shorter than a matrix within `COARSE` can tell from zero; one task opposes it."""
    frame, _ = np.linalg.qr(rng.normal(size=(K, K)))
    simplex = frame @ (np.eye(K) - 1.0 / K) * np.sqrt(K / (K - 1.0))
    share = np.full((K, 1), (K + 1.5) / (K - 1.0))
    share[0] = -1.5
    return np.asarray(np.hstack([simplex.T, 0.4 * np.sqrt(COARSE) * share]))


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
            touching,
            copies,
            nearly_copies,
            thin,
            centred,
            nearly_centred,
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
        117
    """
    for name, family in FAMILIES.items():
        for K in (size for size in SIZES if size <= largest):
            for draw in range(DEEP_DRAWS if deep else DRAWS):
                rng = np.random.default_rng([SEED, *name.encode(), K, draw])
                G = family(K, rng)
                r = (np.full(K, 1.0 / K), np.eye(K)[rng.integers(K)], rng.normal(size=K))[draw % 3]
                yield f"{name} K={K} draw {draw}", G, np.abs(r) + 0.1 if positive else r


def neighbours(
    G: Array, error: float, weights: Array, reference: Array, name: str
) -> Iterator[Matrix]:
    """Exact Gram matrices of other gradients that are within `error` of the float one of G.

    An entry may be off by `error` times the lengths of its two gradients.

    Args:
        G: (K, D) gradients.
        error: Of the entries.
        weights: Of a direction.
        reference: Weights of the reference.
        name: Of the problem; it decides what is random.
    """
    A = G @ G.T
    rng = np.random.default_rng([SEED, *name.encode()])
    size = np.linalg.norm(G, axis=1, keepdims=True)
    signs = np.sign(rng.normal(size=size.shape))
    against, along = unit(weights @ G), unit(reference @ G)
    moves = (
        [np.hstack([G, 0.98 * np.sqrt(error) * signs * size])],
        [G + 0.3 * error * size * signs * G[rng.permutation(len(G))] / size.max()],
        [G - step * error * size * against for step in STEPS],
        [G - step * error * size * (signs > 0.0) * against for step in STEPS],
        [G - step * np.outer(G @ along, along) for step in (1.0, *STEPS)],
    )
    for kind in moves:
        within = (B for B in map(exact_gram, kind) if is_within(B, A, error))
        yield from itertools.islice(within, 1)


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
