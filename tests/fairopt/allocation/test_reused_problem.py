"""A problem that keeps its routing: the same answers as problems that are stated afresh."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from benchmarks.problems import networks
from fairopt import (
    AllocationProblem,
    InvalidInput,
    Status,
    allocation_residual,
    alpha_fair_allocation,
)
from fairopt.allocation.methods import hot_start
from fairopt.allocation.presolve import identical_routes


def change(rng, c, w, u):
    """Numbers that change a little everywhere or a lot somewhere, up to links that close."""
    c, w, u = c.copy(), w.copy(), u.copy()
    link, flow = rng.integers(len(c)), rng.integers(len(w))
    kind = rng.choice(["all", "link", "closed", "open", "priority", "volume", "none", "without"])
    if kind == "all":
        c, w = c * rng.uniform(0.99, 1.01, len(c)), w * rng.uniform(0.99, 1.01, len(w))
    if kind == "link":
        c[link] *= rng.uniform(0.3, 3.0)
    if kind in ("closed", "open"):
        c[link] = 0.0 if kind == "closed" else rng.choice([1.0, np.inf])
    if kind == "priority":
        w[flow] *= rng.uniform(0.1, 10.0)
    if kind in ("volume", "none", "without"):
        u[flow] = {"volume": rng.uniform(0.01, 1.0), "none": 0.0, "without": np.inf}[kind]
    return c, w, u


def same_bytes(one, other):
    for name in ("rates", "prices", "upper_prices"):
        assert getattr(one, name).tobytes() == getattr(other, name).tobytes()
    assert (one.status, one.residual, one.detail) == (other.status, other.residual, other.detail)


def series(seed, steps=4):
    """Random changes, each solved from the last answer, from nothing, and stated afresh."""
    rng = np.random.default_rng(seed)
    R, c, alpha, w, u = networks.anything(rng)
    problem = AllocationProblem(R, c, alpha, priority=w, upper=u)
    last = problem.solve()
    for _ in range(steps):
        c, w, u = change(rng, c, w, u)
        given = {"capacity": c, "priority": w, "upper": u}
        fresh = alpha_fair_allocation(R, c, alpha, priority=w, upper=u)
        same_bytes(problem.solve(**given), fresh)
        last = problem.solve(**given, start=last)
        assert last.status is fresh.status, seed
        if last.ok:
            found = last.rates, last.prices, last.upper_prices
            assert allocation_residual(R, c, alpha, *found, priority=w, upper=u) <= 1e-9, seed
        if last.status is Status.OPTIMAL and 0.0 < alpha < np.inf:
            np.testing.assert_allclose(last.rates, fresh.rates, rtol=1e-6, err_msg=str(seed))


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6))
def test_a_series_of_changes_is_solved_like_problems_stated_afresh(seed):
    series(seed)


@settings(max_examples=10)
@given(seed=st.integers(0, 10**6), alpha=st.sampled_from([0.3, 0.5, 1.0, 2.0, 5.0]))
def test_merged_flows_and_conjugate_gradients_follow_too(seed, alpha):
    rng = np.random.default_rng(seed)
    R, c, w = networks.problem("grid", flows=60, seed=seed)
    R, w = sparse.csr_array(R.toarray()[:, rng.integers(60, size=300)]), rng.uniform(0.5, 2.0, 300)
    u = np.where(rng.random(300) < 0.1, 0.05, np.inf)
    for dense, crowded in ((2500, 0), (0, 50)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(hot_start, "DENSE", dense)
            patch.setattr(identical_routes, "CROWDED", crowded)
            problem = AllocationProblem(R, c, alpha, priority=w, upper=u)
            last = problem.solve().require()
            for _ in range(3):
                c, w, u = change(rng, c, w, u)
                c, u = np.maximum(c, 0.1), np.maximum(u, 0.01)  # no flow can only have rate zero
                given = {"capacity": c, "priority": w, "upper": u}
                last = problem.solve(**given, start=last).require()
                fresh = problem.solve(**given).require()
                np.testing.assert_allclose(last.rates, fresh.rates, rtol=1e-7)


def test_what_happens_to_the_arrays_later_has_no_effect():
    R, c, w = networks.problem("karate")
    R, u = R.toarray(), np.full(len(w), 0.5)
    expected = alpha_fair_allocation(R, c, 2.0, priority=w, upper=u)
    for matrix in (R, sparse.csr_array(R), sparse.csc_array(R)):
        given = matrix.copy(), c.copy(), w.copy(), u.copy()
        problem = AllocationProblem(given[0], given[1], 2.0, priority=given[2], upper=given[3])
        for array in (getattr(given[0], "data", None), *given[1:]):
            if isinstance(array, np.ndarray):
                array[...] = 7.0
        if isinstance(given[0], np.ndarray):
            given[0][...] = 7.0
        same_bytes(problem.solve(), expected)
    for array in (problem.capacity, problem.priority, problem.upper):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1.0
    changed = problem.solve(capacity=2.0 * c, alpha=1.0)
    same_bytes(changed, alpha_fair_allocation(R, 2.0 * c, 1.0, priority=w, upper=u))
    same_bytes(problem.solve(), expected)
    assert problem.alpha == 2.0


def test_a_pickled_problem_and_one_shared_by_threads():
    R, c, w = networks.problem("miserables")
    problem = AllocationProblem(R, c, 1.0, priority=w)
    expected = problem.solve()
    same_bytes(pickle.loads(pickle.dumps(problem)).solve(), expected)
    factors = [1.0 + 0.01 * k for k in range(8)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda f: problem.solve(capacity=f * c, start=expected), factors))
        again = list(pool.map(lambda f: problem.solve(capacity=f * c), factors))
    for factor, one, other in zip(factors, found, again, strict=True):
        same_bytes(other, alpha_fair_allocation(R, factor * c, 1.0, priority=w))
        np.testing.assert_allclose(one.require().rates, other.rates, rtol=1e-9)


def test_the_answer_of_another_problem_is_refused_as_a_start():
    problem = AllocationProblem([[1, 1]], [1.0], 1.0)
    other = alpha_fair_allocation([[1, 1], [1, 0]], [1.0, 2.0], 1.0)
    with pytest.raises(InvalidInput, match=r"start = .*one for each of the links"):
        problem.solve(start=other)
    assert repr(problem) == "AllocationProblem(1 links, 2 flows, alpha=1)"


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 5.0])
def test_small_changes_need_one_factor(alpha, monkeypatch):
    """What a start is for: otherwise nothing but time would show that it is not used."""
    factors = []
    right = hot_start.cholesky
    monkeypatch.setattr(hot_start, "cholesky", lambda H: factors.append(len(H)) or right(H))
    R, c, w = networks.problem("regular")
    problem = AllocationProblem(R, c, alpha, priority=w)
    last = problem.solve()
    rng = np.random.default_rng(0)
    found = problem.solve(capacity=c * rng.uniform(0.99, 1.01, len(c)), start=last).require()
    assert len(factors) <= 2
    assert found.iterations <= 15
