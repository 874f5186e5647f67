"""The projected sum of gradients, and stationarity, from a matrix of twice the digits."""

from fractions import Fraction

import numpy as np
import pytest

from benchmarks.problems import degenerate_gradients as degenerate
from benchmarks.problems import exact_directions as oracle
from fairopt import Status, Verdict, fairgrad
from fairopt.dual_cone_double_gram import squared_length
from fairopt.fairgrad_double_gram import (
    fairgrad_sum_from_double_gram,
    stationarity_from_double_gram,
)
from fairopt.kernels.gram.double_double_gram import double_double_gram, gram_error


def doubled(G):
    """The Gram matrix of rows of any length, and its error."""
    e = np.frexp(np.linalg.norm(G, axis=1))[1]
    high, low = double_double_gram(np.ldexp(G, -e[:, None]))
    both = e[:, None] + e[None, :]
    return np.ldexp(high, both), np.ldexp(low, both), gram_error(G.shape[1])


def vanishing(A):
    """Whether a convex combination is exactly zero."""
    ones = [[a + 1 for a in row] for row in A]
    v = oracle.exact_multipliers(ones, [Fraction(-1)] * len(A))
    return all(sum(a * x for a, x in zip(row, v, strict=True)) == 0 for row in A) and sum(v) == 1


@pytest.mark.parametrize("name", degenerate.FAMILIES)
def test_stationarity_is_never_wrong(name):
    for seed in range(12):
        rng = np.random.default_rng((seed, len(name)))
        G = degenerate.FAMILIES[name](int(rng.integers(2, 6)), rng)
        A = oracle.exact_gram(G)
        verdict, v = stationarity_from_double_gram(*doubled(G))
        if all(A[k][k] > 0 for k in range(len(A))) and vanishing(A):
            assert verdict is Verdict.STATIONARY
        if verdict is not Verdict.NOT_STATIONARY:
            unit = v * np.linalg.norm(G, axis=1)
            assert v.min() >= 0.0
            assert v.sum() == pytest.approx(1.0)
            units = G / np.maximum(np.linalg.norm(G, axis=1, keepdims=True), 1e-300)
            assert np.linalg.norm(unit @ units) <= 1e-6 * unit.sum()


@pytest.mark.parametrize("margin", [1e-3, 1e-8, 1e-11, 1e-13])
def test_margins_that_float64_cannot_see(margin):
    G = np.array([[1.0, 0.0, 0.0], [-1.0, margin, 0.0], [0.3, -1.0, 0.2]])
    assert stationarity_from_double_gram(*doubled(G))[0] is Verdict.NOT_STATIONARY
    verdict, v = stationarity_from_double_gram(*doubled(G * [1.0, 0.0, 1.0]))
    assert verdict is Verdict.STATIONARY
    np.testing.assert_allclose(v, [0.5, 0.5, 0.0], atol=1e-12)


def test_a_zero_gradient_is_its_own_certificate():
    verdict, v = stationarity_from_double_gram(*doubled(np.array([[1.0, 2.0], [0.0, 0.0]])))
    assert verdict is Verdict.STATIONARY
    assert v.tolist() == [0.0, 1.0]


def test_it_is_fairgrad_at_zero_where_that_is_decided():
    rng = np.random.default_rng(4)
    for K in (1, 2, 5, 9):
        G = rng.normal(size=(K, K + 2)) * 10.0 ** rng.uniform(-3, 3, size=(K, 1))
        p = rng.uniform(0.5, 2.0, size=K)
        found = fairgrad_sum_from_double_gram(*doubled(G), p).require()
        plain = fairgrad(G @ G.T, 0.0, priority=p).require()
        np.testing.assert_allclose(found.weights, plain.weights, rtol=1e-6)
        assert found.certificate is None


def test_nothing_is_moved_at_a_stationary_point():
    G = np.array([[3.0, 1.0], [-1.0, 1.0], [-1.0, -1.0]])
    found = fairgrad_sum_from_double_gram(*doubled(G))
    assert found.status == Status.PARETO_STATIONARY
    assert found.weights.tolist() == [0.0, 0.0, 0.0]
    assert np.linalg.norm(found.certificate @ G) < 1e-15
    assert not found.ok


def test_squared_lengths_are_exact():
    G = np.array([[1.0, 0.0], [-1.0, 2.0**-60]])
    high, low, _ = doubled(G)
    w, second = np.array([2.0**60, 2.0**60]), np.array([2.0**-20, 0.0])
    assert squared_length(high, low, w, second) == 1 + Fraction(2) ** -40
    assert squared_length(high, low, w, None) == 1
