"""The unit of gradients and references does not matter, up to the ends of the range of floats."""

from __future__ import annotations

import sys
from fractions import Fraction

import numpy as np
import pytest

from benchmarks.problems.exact_directions import distance, exact_projection
from fairopt import conflict_averse, dual_cone_projection, fairgrad, min_norm, upgrad

SCALES = (1.0, 1e-100, 1e-150, 1e-300, 1e100, 1e150, 1e300)  # of the Gram matrix
REFERENCES = (1.0, 1e-20, 1e-150, 1e-200, 1e20, 1e150)


def conflicting():
    rng = np.random.default_rng(1)
    G = rng.normal(size=(3, 5))
    G[0] -= 2.0 * G[1]
    return G @ G.T, np.array([1.0, 0.2, 0.3])


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("unit", REFERENCES)
def test_units_of_matrix_and_reference_do_not_matter(scale, unit):
    A, r = conflicting()
    for solve in (
        lambda A, r: conflict_averse(A, 0.5, reference=r),
        lambda A, r: dual_cone_projection(A, r),
        lambda A, r: fairgrad(A, 0.0, priority=r),
    ):
        plain, other = solve(A, r), solve(A * scale, r * unit)
        assert plain.ok
        assert other.ok
        np.testing.assert_allclose(other.weights / unit, plain.weights, rtol=1e-9)


@pytest.mark.parametrize("scale", [1e-155, 1e-157, 1e-158, 1e-160])
def test_entries_below_the_range_of_floats_count_into_the_error(scale):
    """A subnormal entry has lost digits, which no answer may pretend to know."""
    rng = np.random.default_rng(3)
    for _ in range(20):
        G = rng.normal(size=(3, 4))
        G = (G - G.mean(axis=0) + 0.05 * rng.normal(size=(3, 4))) * scale
        A = G @ G.T
        found = dual_cone_projection(A, np.full(3, 1.0 / 3.0))
        assert found.gram_error >= 2.0**-1074 / A.diagonal().min()
        rows = [[Fraction(x) for x in row] for row in G.tolist()]
        exact = [[sum(a * b for a, b in zip(x, y, strict=True)) for y in rows] for x in rows]
        grown = [[value * 2**1000 for value in row] for row in exact]  # the oracle uses floats too
        if np.isfinite(found.direction_error):
            best = exact_projection(grown, np.full(3, 1.0 / 3.0))
            off = distance(grown, found.weights, best, np.full(3, 1.0 / 3.0))
            assert off <= found.direction_error * (1.0 + 1e-9) + 1e-12


def test_a_huge_number_of_steps_is_a_number_of_steps():
    A, r = conflicting()
    for most in (2**63 - 1, sys.maxsize, 10**30):
        for found in (
            fairgrad(A, 2.0, max_iterations=most),
            conflict_averse(A, 0.5, max_iterations=most),
            dual_cone_projection(A, r, max_iterations=most),
            upgrad(A, max_iterations=most),
            min_norm(A, max_iterations=most),
        ):
            assert found.ok
