"""No ok answer is further from the exact projection than its bound says, for any such gradients."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations_with_replacement

import numpy as np
import pytest

from benchmarks.problems.degenerate_gradients import (
    FAMILIES,
    perturbed,
    reference,
    within,
)
from benchmarks.problems.exact_directions import (
    distance,
    exact_gram,
    exact_projection,
    exact_upgrad,
    length,
    root,
)
from fairopt import InvalidInput, Status, dual_cone_projection, upgrad
from fairopt.solution import worst

EACH = 40  # problems of a family; `make explore` and the benchmark draw more
ROUNDING = 1e-13  # of the oracle's square root and of the float that it is compared with
LAW = 3.0  # times the bound: |P|, <g0, P> and |P|^2 are each off by at most that


def problems(name, count, seed):
    rng = np.random.default_rng((seed, len(name), ord(name[0])))
    for _ in range(count):
        K = int(rng.integers(2, 7))
        yield FAMILIES[name](K, rng), reference(K, rng), rng


@pytest.mark.parametrize("name", FAMILIES)
def test_the_exact_projection_is_within_the_bound(name):
    for G, r, _ in problems(name, EACH, 0):
        found = dual_cone_projection(G @ G.T, r)
        assert found.status != Status.STEP_LIMIT
        assert found.ok == (found.direction_error <= max(1e-5, 8.0 * found.gram_error**0.5))
        A = exact_gram(G)
        exact = exact_projection(A, r)
        assert distance(A, found.weights, exact, r) <= found.direction_error + ROUNDING


def perturbations(name, count, seed):
    """(distance, bound) for gradients that the Gram matrix cannot tell from the given ones."""
    for G, r, rng in problems(name, count, seed):
        A = G @ G.T
        found = dual_cone_projection(A, r)
        if not np.isfinite(found.direction_error):
            continue
        B = exact_gram(perturbed(G, float(found.gram_error), rng))
        if within(B, A, float(found.gram_error)):
            exact = exact_projection(B, r)
            yield distance(B, found.weights, exact, r), found.direction_error, found


@pytest.mark.parametrize("name", FAMILIES)
def test_gradients_within_gram_error_are_within_the_bound(name):
    for off, bound, _ in perturbations(name, EACH, 1):
        assert off <= bound + ROUNDING


def test_the_perturbations_refute_a_residual_as_a_bound():
    """What was called OPTIMAL before, a residual of 1e-12, says nothing about the direction."""
    seen = [
        (off, found.residual)
        for name in ("anti", "thin", "stationary_face")
        for off, _, found in perturbations(name, EACH, 2)
    ]
    assert max(off / max(residual, 1e-16) for off, residual in seen) > 1e6


@pytest.mark.parametrize("name", FAMILIES)
def test_ok_directions_obey_the_laws_of_projections(name):
    for G, r, _ in problems(name, EACH, 3):
        found = dual_cone_projection(G @ G.T, r)
        if not found.ok:
            continue
        A = exact_gram(G)
        w, s = [Fraction(float(x)) for x in found.weights], [Fraction(float(x)) for x in r]
        unit = length(A, s)
        Aw = [sum(a * x for a, x in zip(row, w, strict=True)) for row in A]
        slack = LAW * found.direction_error + ROUNDING
        size = length(A, w) / unit
        along = root(abs(sum(a * x for a, x in zip(Aw, s, strict=True)))) / unit
        assert size <= 1.0 + slack
        assert abs(along**2 - size**2) <= slack * (1.0 + size)
        for k, progress in enumerate(Aw):
            if A[k][k] > 0:
                assert float(progress) / root(A[k][k]) / unit >= -slack


@pytest.mark.parametrize("name", FAMILIES)
def test_the_order_of_tasks_does_not_matter(name):
    for G, r, rng in problems(name, EACH // 4, 4):
        order = rng.permutation(len(r))
        one = dual_cone_projection(G @ G.T, r)
        other = dual_cone_projection(G[order] @ G[order].T, r[order])
        if one.ok and other.ok:
            A = exact_gram(G)
            w = [Fraction(0)] * len(r)
            for place, k in enumerate(order):
                w[k] = Fraction(float(other.weights[place]))
            off = distance(A, one.weights, w, r)
            assert off <= one.direction_error + other.direction_error + ROUNDING


@pytest.mark.parametrize("name", FAMILIES)
def test_upgrad_is_within_the_bound(name):
    for G, r, _ in problems(name, EACH // 4, 5):
        r = np.abs(r)
        found = upgrad(G @ G.T, r)
        assert found.status != Status.STEP_LIMIT
        A = exact_gram(G)
        pairs = zip(found.weights, exact_upgrad(A, r), strict=True)
        off = [Fraction(float(w)) - e for w, e in pairs]
        total = sum(x * root(A[k][k]) for k, x in enumerate(r))
        assert length(A, off) / total <= found.direction_error + ROUNDING


@pytest.mark.parametrize("K", [4, 16, 64])
@pytest.mark.parametrize("rank", [0.25, 0.6, 2.0])
def test_float32_matrices_never_end_at_the_step_limit(K, rank):
    rng = np.random.default_rng(K)
    for _ in range(4):
        G = rng.normal(size=(K, max(1, int(rank * K)))).astype(np.float32)
        A = G @ G.T
        for found in (upgrad(A), dual_cone_projection(A, np.full(K, 1.0 / K))):
            assert found.status != Status.STEP_LIMIT


def test_more_tasks_than_dimensions_in_float32_have_no_common_direction():
    G = np.random.default_rng(94).normal(size=(16, 4)).astype(np.float32)
    found = upgrad(G @ G.T)
    assert np.linalg.norm(found.weights @ G.astype(np.float64)) < 1e-6
    assert found.ok
    assert 0.0 < found.direction_error < 0.03


def test_a_wedge_that_the_gram_matrix_cannot_resolve_is_undecided():
    for margin in (1e-7, 3e-8):
        G = np.array([[1.0, 0.0, 0.0], [-1.0, margin, 0.0], [0.3, -1.0, 0.2]])
        found = dual_cone_projection(G @ G.T, [0.0, 0.0, 1.0])
        assert found.status == Status.UNDECIDED


def test_accuracy_decides_what_is_ok():
    G = np.array([[1.0, 0.0, 0.0], [-1.0, 1e-3, 0.0], [0.3, -1.0, 0.2]])
    loose = dual_cone_projection(G @ G.T, [0.0, 0.0, 1.0], accuracy=1e-3)
    tight = dual_cone_projection(G @ G.T, [0.0, 0.0, 1.0], accuracy=1e-15)
    assert loose.ok
    assert tight.status == Status.UNDECIDED
    assert 1e-15 < tight.direction_error < 1e-3
    for bad in (0.0, 1.0, -1.0, np.nan, "1"):
        with pytest.raises(InvalidInput, match="accuracy"):
            dual_cone_projection(G @ G.T, [0.0, 0.0, 1.0], accuracy=bad)


def test_max_iterations_is_honoured():
    G = np.random.default_rng(1).normal(size=(12, 12))
    r = -G.sum(axis=0) @ G.T / 12.0
    stopped = dual_cone_projection(G @ G.T, r, max_iterations=1)
    assert stopped.status == Status.STEP_LIMIT
    assert dual_cone_projection(G @ G.T, r, max_iterations=200).ok


RANK = (
    Status.OPTIMAL,
    Status.ROUNDING_LIMITED,
    Status.PARETO_STATIONARY,
    Status.UNDECIDED,
    Status.STEP_LIMIT,
    Status.OUT_OF_RANGE,
    Status.UNBOUNDED,
    Status.INFEASIBLE,
    Status.NOT_FINITE,
)


def test_worst_orders_statuses_by_meaning():
    assert set(RANK) == set(Status)
    for good, bad in combinations_with_replacement(RANK, 2):
        assert worst([good, bad]) is worst([bad, good]) is bad
    assert worst(np.array([[0, 7], [3, 7]]), axis=0).tolist() == [3, 7]


def test_one_bad_projection_is_not_hidden_by_rounding():
    """Statuses merged by number called five good projections and one at the step limit ok."""
    assert max(Status.ROUNDING_LIMITED, Status.STEP_LIMIT) == Status.ROUNDING_LIMITED
    assert worst([Status.ROUNDING_LIMITED] * 5 + [Status.STEP_LIMIT]) is Status.STEP_LIMIT
