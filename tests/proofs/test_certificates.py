"""Enclosures contain the residuals that floats compute, and reject what is not a solution."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fairopt
from fairopt import errors
from proofs.certificates import (
    Enclosure,
    enclose_conflict_averse,
    enclose_dual_cone,
    enclose_fairgrad,
    enclose_min_norm,
)
from proofs.strategies import conflicting_gradients, gradient_matrices, near_stationary_gradients

ROUNDING = 1e-11  # of a float residual of small whole-number matrices, away from stationary points


@settings(max_examples=60)
@given(conflicting_gradients(), st.sampled_from([0.5, 1.0, 3.0, 50.0]), st.booleans())
def test_fairgrad(G, alpha, moved):
    A = G @ G.T
    weights = fairopt.fairgrad(A, alpha).weights * (1.001 if moved else 1.0)
    proved = enclose_fairgrad(A, alpha, weights)
    residual = fairopt.fairgrad_residual(A, alpha, weights)
    assert proved.low <= proved.high
    assert proved.contains(residual, ROUNDING * (1.0 + residual))
    assert proved.at_most(1e-10) == (not moved)


def test_small_alpha_amplifies_rounding_and_the_enclosure_says_how_much():
    A = np.array([[5.0, -7.0], [-7.0, 17.0]])
    found = fairopt.fairgrad(A, 0.01)
    proved = enclose_fairgrad(A, 0.01, found.weights)
    assert found.status == fairopt.Status.ROUNDING_LIMITED
    assert proved.low > 1e-3  # no float64 weights near these have a small residual
    assert proved.high <= found.floor


@settings(max_examples=60)
@given(gradient_matrices(), st.integers(0, 5))
def test_min_norm_and_dual_cone(G, place):
    A = G @ G.T
    found = fairopt.min_norm(A)
    assert enclose_min_norm(A, found.weights).at_most(1e-10)
    r = np.arange(1.0, len(G) + 1.0)
    found = fairopt.dual_cone_projection(A, r)
    if found.status == fairopt.Status.OPTIMAL:
        assert enclose_dual_cone(A, r, found.weights).at_most(1e-11)
    k = place % len(G)
    if A[k, k] > 0.0:
        moved = found.weights + 0.01 * np.eye(len(G))[k] * np.abs(found.weights).sum()
        proved = enclose_dual_cone(A, r, moved)
        assert proved.contains(fairopt.dual_cone_residual(A, r, moved), ROUNDING)


@settings(max_examples=40)
@given(conflicting_gradients(), st.sampled_from([0.0, 0.4, 1.7]))
def test_conflict_averse(G, c):
    A = G @ G.T
    found = fairopt.conflict_averse(A, c)
    r = np.full(len(G), 1.0 / len(G))
    proved = enclose_conflict_averse(A, c, found.weights, found.dual, r)
    assert proved.at_most(1e-9)
    bad = enclose_conflict_averse(A, c, 1.001 * found.weights, found.dual, r)
    assert not bad.at_most(1e-9)


def test_an_error_of_the_matrix_widens_the_gap():
    A, c = np.array([[1.0, -0.5], [-0.5, 4.0]]), 0.5
    found = fairopt.conflict_averse(A, c, gram_error=1e-9)
    gaps = [
        enclose_conflict_averse(A, c, found.weights, found.dual, gram_error=error)
        for error in (0.0, 1e-12, 1e-9)
    ]
    assert gaps[0].high < gaps[1].low < gaps[1].high < gaps[2].low
    assert gaps[2].high <= found.residual < 1e-7
    assert enclose_conflict_averse(np.eye(2), c, [1, 1], [1, 0], [0, 0], 1e-9).high == math.inf


def test_thirds_are_exact():
    third = Fraction(1, 3)
    assert enclose_fairgrad([[9]], 1, [third]) == Enclosure(0.0, 0.0)
    assert enclose_min_norm([[1, 0], [0, 2]], [2 * third, third]).high == 0.0


def test_zero_weights_stand_for_what_rounds_to_them():
    A = np.array([[1.0, 0.0], [0.0, 1e12]])
    vanishing = [1.0, 0.0]
    assert enclose_fairgrad(A, 2.0, vanishing).high == math.inf  # its progress would be zero
    B = np.array([[1.0, 100.0], [100.0, 20000.0]])
    exact = fairopt.fairgrad(B, 200.0)
    assert exact.weights[1] == 0.0
    assert enclose_fairgrad(B, 200.0, exact.weights).at_most(1e-10)
    assert enclose_fairgrad(B, 2.0, [1.0, 0.0]).high == math.inf


def test_a_gram_matrix_cannot_prove_stationarity():
    g = np.array([1.0, 1.0 / 3.0, 0.1], dtype=np.float32)
    G = np.stack([g, -g / np.float32(3.0)]).astype(np.float64)
    A = G @ G.T
    v = fairopt.min_norm(A).weights
    assert enclose_min_norm(A, v).at_most(1e-10)  # proved for the matrix
    assert np.linalg.norm(v @ G) > 1e-10  # not true of the gradients


@settings(max_examples=30)
@given(near_stationary_gradients())
def test_optimal_is_proved_near_stationary_points_too(drawn):
    G, _ = drawn
    A = G @ G.T
    found = fairopt.fairgrad(A, 2.0)
    if found.status == fairopt.Status.OPTIMAL:
        proved = enclose_fairgrad(A, 2.0, found.weights)
        assert proved.at_most(1e-10 + found.floor)


def test_bad_input():
    with pytest.raises(errors.InvalidInput, match="alpha"):
        enclose_fairgrad([[1.0]], 0.0, [1.0])
    with pytest.raises(errors.InvalidInput, match="gram"):
        enclose_min_norm([[1.0, 0.0]], [1.0])
    with pytest.raises(errors.InvalidInput, match="finite"):
        enclose_fairgrad([[1.0]], 1.0, [math.nan])
    assert enclose_min_norm([[1.0]], [-1.0]).high == math.inf
    assert enclose_conflict_averse([[1.0]], 0.5, [1.0], [-1.0]).high == math.inf
