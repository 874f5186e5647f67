"""Hypothesis strategies for the inputs that fairness theorems quantify over.

For your own property tests: every strategy draws valid inputs in which the hard cases (ties,
conflicts, dependence, scales) are frequent, and shrinks to small readable ones.

Example:
    >>> import fairopt
    >>> from hypothesis import given, settings
    >>> @settings(max_examples=20, deadline=None, derandomize=True, database=None)
    ... @given(conflicting_gradients())
    ... def test_everybody_gains(gradients):
    ...     found = fairopt.fairgrad(gradients @ gradients.T, alpha=2.0)
    ...     assert not found.ok or (gradients @ (found.weights @ gradients) > 0).all()
    >>> test_everybody_gains()
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairopt.arrays import Array
from fairopt.extras import extra

with extra("proofs"):
    from hypothesis import strategies as st

HALVES = tuple(Fraction(n, 2) for n in range(7))
"""Few different bids, so that ties and exactly exhausted budgets are frequent."""
MARGINS = (1e-1, 1e-3, 1e-6, 1e-9)
"""Lengths of the min-norm point that `near_stationary_gradients` draws."""
SCALES = (1.0, 1e-6, 1e3)
"""Units of gradients; mostly one."""


@st.composite
def bid_profiles(
    draw: st.DrawFn,
    *,
    max_clients: int = 7,
    max_tasks: int = 4,
    asks: Sequence[Any] = HALVES,
    exact: bool = True,
) -> tuple[NDArray[Any], Any]:
    """(bids, budget) of an auction with frequent ties, missing bids and tight budgets.

    Args:
        draw: Given by Hypothesis.
        max_clients: Largest N; at least 1 client.
        max_tasks: Largest S; at least 1 task.
        asks: Values that bids come from; every other profile has missing bids too.
        exact: Object arrays of fractions; otherwise float64.

    Example:
        >>> from hypothesis import find
        >>> bids, budget = find(bid_profiles(), lambda auction: len(auction[0]) > 1)
        >>> bids.shape, budget
        ((2, 1), Fraction(1, 1))
    """
    clients, tasks = draw(st.integers(1, max_clients)), draw(st.integers(1, max_tasks))
    cells = st.sampled_from([*asks, math.inf] if draw(st.booleans()) else list(asks))
    flat = draw(st.lists(cells, min_size=clients * tasks, max_size=clients * tasks))
    terms = draw(st.lists(st.sampled_from(list(asks)), min_size=1, max_size=clients * tasks + 1))
    scale: Any = draw(st.sampled_from([1, 1, 2, Fraction(1, 2)]))
    budget = sum(map(Fraction, terms), Fraction(0)) * scale or Fraction(1)
    bids = np.empty((clients, tasks), dtype=object)
    bids.ravel()[:] = flat
    return (bids, budget) if exact else (bids.astype(np.float64), float(budget))


@st.composite
def gradient_matrices(
    draw: st.DrawFn, *, max_tasks: int = 6, max_dimension: int = 6, largest: int = 4
) -> Array:
    """(K, D) gradients with whole-number entries in one unit; zero and repeated rows included.

    Small whole numbers make Gram matrices exact, and dependence, duplicates and Pareto stationary
    sets frequent.

    Args:
        draw: Given by Hypothesis.
        max_tasks: Largest K; at least 1 task.
        max_dimension: Largest D.
        largest: Largest absolute entry before the unit.

    Example:
        >>> from hypothesis import find
        >>> find(gradient_matrices(), lambda G: len(G) == 2 and (G @ G.T)[0, 1] < 0)
        array([[ 1.],
               [-1.]])
    """
    shape = draw(st.integers(1, max_tasks)), draw(st.integers(1, max_dimension))
    entries = st.integers(-largest, largest)
    size = shape[0] * shape[1]
    flat = draw(st.lists(entries, min_size=size, max_size=size))
    unit: float = draw(st.sampled_from([1.0, *SCALES]))
    return unit * np.array(flat, dtype=np.float64).reshape(shape)


@st.composite
def gram_matrices(draw: st.DrawFn, *, max_tasks: int = 6) -> Array:
    """(K, K) Gram matrices of `gradient_matrices`: symmetric, positive semidefinite, any rank.

    Example:
        >>> from hypothesis import find
        >>> find(gram_matrices(), lambda A: len(A) == 2 and np.linalg.matrix_rank(A) == 1)
        array([[0., 0.],
               [0., 1.]])
    """
    G = draw(gradient_matrices(max_tasks=max_tasks))
    return np.asarray(G @ G.T)


@st.composite
def conflicting_gradients(draw: st.DrawFn, *, max_tasks: int = 6) -> Array:
    """(K, K) gradients, K >= 2, of which two have a negative product and none is Pareto stationary.

    Every gradient has a common component, so some direction helps all; two of them oppose each
    other in the rest.

    Example:
        >>> from hypothesis import find
        >>> G = find(conflicting_gradients(), lambda G: True)
        >>> G
        array([[ 1.,  2.],
               [ 1., -2.]])
    """
    K = draw(st.integers(2, max_tasks))
    rest = st.lists(st.integers(-4, 4), min_size=K - 1, max_size=K - 1)
    G = np.array([[1, *draw(rest)] for _ in range(K)], dtype=np.float64)
    G[:2, 1:] = 0.0
    G[0, 1] = draw(st.integers(2, 9))
    G[1, 1] = -draw(st.integers(2, 9))
    return G


@st.composite
def near_stationary_gradients(draw: st.DrawFn, *, max_tasks: int = 6) -> tuple[Array, float]:
    """(gradients, margin): the min-norm point has exactly the length `margin`.

    Without their last column the gradients cancel with equal weights; the last column is `margin`.

    Example:
        >>> from hypothesis import find
        >>> G, margin = find(near_stationary_gradients(), lambda drawn: drawn[1] < 1e-5)
        >>> float(np.linalg.norm(G.mean(axis=0))) == margin
        True
    """
    K = draw(st.integers(2, max_tasks))
    row = st.lists(st.integers(-4, 4), min_size=2, max_size=2)
    rows = [draw(row) for _ in range(K - 1)]
    rows.append([-sum(column) for column in zip(*rows, strict=True)])
    margin: float = draw(st.sampled_from(MARGINS))
    return np.hstack([np.array(rows, dtype=np.float64), np.full((K, 1), margin)]), margin


@st.composite
def loss_vectors(draw: st.DrawFn, *, max_tasks: int = 6, zeros: bool = True) -> Array:
    """(S,) losses >= 0 in any unit, with frequent ties and, unless refused, zeros.

    Args:
        draw: Given by Hypothesis.
        max_tasks: Largest S; at least 1 task.
        zeros: Whether some losses may be zero.

    Example:
        >>> from hypothesis import find
        >>> find(loss_vectors(), lambda f: len(f) == 2 and f[0] > f[1])
        array([0.25, 0.  ])
    """
    tasks = draw(st.integers(1, max_tasks))
    quarters = st.integers(0 if zeros else 1, 16)
    flat = draw(st.lists(quarters, min_size=tasks, max_size=tasks))
    unit: float = draw(st.sampled_from([1.0, *SCALES]))
    return unit * np.array(flat, dtype=np.float64) / 4.0
