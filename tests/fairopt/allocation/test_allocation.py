"""The residual rejects wrong points; the solver agrees with every reference implementation."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.problems import networks
from benchmarks.problems.high_precision import exact_rates
from fairopt import Status, allocation_residual, alpha_fair_allocation, reference
from tests import laws

ALPHAS = (0.5, 1.0, 2.0, 5.0, 50.0, 100.0)
EVERY = (0.0, *ALPHAS, np.inf)
CONIC = 2e-3  # rates of a conic solver where the objective is flat
SMALL = ([[1.0, 1.0, 0.0], [1.0, 0.0, 1.0]], [1.0, 2.0])


def _residual(found, R, c, alpha, **problem):
    parts = (found.rates, found.prices, found.upper_prices)
    return allocation_residual(R, c, alpha, *parts, **problem)


@pytest.mark.parametrize("alpha", EVERY)
def test_the_residual_rejects_every_changed_answer(alpha):
    """The answer is accepted; each part of it changed by a thousandth is not."""
    R, c = np.array(SMALL[0]), np.array(SMALL[1])
    upper = np.array([np.inf, 0.4, np.inf])
    found = alpha_fair_allocation(R, c, alpha, upper=upper).require()
    assert _residual(found, R, c, alpha, upper=upper) < 1e-12
    for name, k in (("rates", 0), ("rates", 1), ("rates", 2), ("prices", 1), ("upper_prices", 1)):
        parts = {part: getattr(found, part).copy() for part in ("rates", "prices", "upper_prices")}
        if parts[name][k] == 0.0:
            parts[name][k] += 0.5
        else:
            parts[name][k] *= 1.001
        assert allocation_residual(R, c, alpha, *parts.values(), upper=upper) > 1e-6, (name, k)


@pytest.mark.parametrize("alpha", EVERY)
def test_the_residual_rejects_slack_and_negative_numbers(alpha):
    R, c = SMALL
    found = alpha_fair_allocation(R, c, alpha)
    assert _residual(found, R, 1.01 * np.array(c), alpha) > 1e-3
    assert allocation_residual(R, c, alpha, found.rates, -found.prices) == np.inf
    assert allocation_residual(R, c, alpha, found.rates * np.nan, found.prices) == np.inf
    assert allocation_residual(R, c, alpha, found.rates, np.zeros(2)) >= 0.5


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 4.0])
def test_agrees_with_cvxpy(alpha):
    rng = np.random.default_rng(0)
    R = (rng.random((5, 9)) < 0.5) * rng.uniform(0.5, 2.0, (5, 9))
    R[0] = 1.0
    c, w, u = rng.uniform(1.0, 3.0, 5), rng.uniform(0.5, 2.0, 9), rng.uniform(0.1, 2.0, 9)
    ours = alpha_fair_allocation(R, c, alpha, priority=w, upper=u).require().rates
    np.testing.assert_allclose(reference.allocation(R, c, alpha, w, u), ours, rtol=CONIC)


def test_convex_set_with_linear_limits_is_the_same():
    R, c = np.array(SMALL[0]), np.array(SMALL[1])
    for alpha in (1.0, np.inf):
        ours = alpha_fair_allocation(R, c, alpha).rates
        theirs = reference.allocation_on_set(lambda x: [R @ x <= c], 3, alpha)
        np.testing.assert_allclose(theirs, ours, rtol=CONIC)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_max_min_is_exact_progressive_filling(data):
    m, n = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 6))
    cell = st.integers(0, 3)
    R = [[data.draw(cell) for _ in range(n)] for _ in range(m)]
    c = [data.draw(st.integers(1, 6)) for _ in range(m)]
    used = [any(row[i] for row in R) for i in range(n)]
    bound = st.one_of(st.none(), st.integers(1, 3))
    u = [data.draw(bound if k else st.integers(1, 3)) for k in used]
    exact = reference.max_min_rates(R, c, u)
    upper = [np.inf if b is None else float(b) for b in u]
    found = alpha_fair_allocation(R, c, np.inf, upper=upper).require()
    np.testing.assert_allclose(found.rates, [float(x) for x in exact], rtol=1e-13)


def test_largest_total_is_that_of_all_vertices():
    rng = np.random.default_rng(3)
    for _ in range(10):
        R, c, w = rng.uniform(0.2, 2.0, (3, 3)), rng.uniform(1.0, 2.0, 3), rng.uniform(0.5, 2.0, 3)
        limits, right = np.vstack([R, -np.eye(3)]), np.concatenate([c, np.zeros(3)])
        best = 0.0
        for rows in itertools.combinations(range(6), 3):
            x = np.linalg.solve(limits[list(rows)], right[list(rows)])
            if (limits @ x <= right + 1e-9).all():
                best = max(best, float(w @ x))
        found = alpha_fair_allocation(R, c, 0.0, priority=w).require()
        assert w @ found.rates == pytest.approx(best, rel=1e-9)


@pytest.mark.parametrize("name", networks.NAMES)
@pytest.mark.parametrize("alpha", ALPHAS)
def test_networks_are_solved(name, alpha):
    R, c, w = networks.problem(name)
    found = alpha_fair_allocation(R, c, alpha, priority=w).require()
    assert found.residual <= 1e-11
    assert found.residual == _residual(found, R, c, alpha, priority=w)


@pytest.mark.slow
@pytest.mark.parametrize("name", networks.NAMES)
@pytest.mark.parametrize("alpha", [0.5, 1.0, 5.0, 100.0])
def test_rates_have_nine_digits(name, alpha):
    R, c, w = networks.problem(name, flows=40)
    found = alpha_fair_allocation(R, c, alpha, priority=w).require()
    exact = exact_rates(R.toarray(), c, alpha, w, found.prices)
    error = max(abs(float(x / e - 1)) for x, e in zip(found.rates, exact, strict=True))
    assert error <= 1e-9


def test_one_link_in_closed_form():
    """x_i ~ p_i^(1/alpha) on a link alone; half and half at alpha = 1."""
    w = np.array([1.0, 4.0, 9.0])
    for alpha in ALPHAS:
        share = w ** (1.0 / alpha)
        found = alpha_fair_allocation(np.ones((1, 3)), [6.0], alpha, priority=w).require()
        np.testing.assert_allclose(found.rates, 6.0 * share / share.sum(), rtol=1e-12)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_line_in_closed_form(alpha):
    """L links of capacity 1, one long flow, one short flow each: x = 1 / (1 + L^(1/alpha))."""
    L = 5
    found = alpha_fair_allocation(np.hstack([np.ones((L, 1)), np.eye(L)]), np.ones(L), alpha)
    long = 1.0 / (1.0 + L ** (1.0 / alpha))
    np.testing.assert_allclose(found.require().rates, [long] + [1.0 - long] * L, rtol=1e-12)


def _rates(R, c, alpha, w):
    return alpha_fair_allocation(R, c, alpha, priority=w).require().rates


networks_and_alphas = st.tuples(
    st.sampled_from(networks.NAMES), st.sampled_from(ALPHAS), st.integers(0, 10**6)
)


@settings(deadline=None, max_examples=25)
@given(networks_and_alphas)
def test_scaling_laws(case):
    name, alpha, seed = case
    R, c, w = networks.problem(name, 40, seed)
    laws.capacities_scale_rates(_rates, R, c, alpha, w, 1e3 if alpha <= 50 else 3.0)
    laws.priorities_have_no_unit(_rates, R, c, alpha, w, 1e3)
    laws.rows_have_units(_rates, R, c, alpha, w, np.random.default_rng(seed))


@settings(deadline=None, max_examples=25)
@given(networks_and_alphas)
def test_more_priority_never_means_less(case):
    name, alpha, seed = case
    laws.priority_is_monotone(_rates, *networks.problem(name, 30, seed), alpha, seed % 30)


@settings(deadline=None, max_examples=25)
@given(networks_and_alphas)
def test_duplicated_flows_share(case):
    """Two flows on one path with half of p^(1/alpha) each have half the rate each."""
    name, alpha, seed = case
    R, c, w = networks.problem(name, 30, seed)
    laws.duplicated_flow_splits(_rates, R.toarray(), c, alpha, w, seed % 30)


@pytest.mark.parametrize("name", networks.NAMES)
def test_large_alpha_approaches_max_min(name):
    R, c, _ = networks.problem(name)
    w = np.ones(R.shape[1])
    limit = _rates(R, c, np.inf, w)
    errors = [np.abs(_rates(R, c, a, w) / limit - 1.0).max() for a in (10.0, 30.0, 90.0)]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 10.0 / 90.0


@pytest.mark.parametrize("name", networks.NAMES)
def test_max_min_has_bottlenecks(name):
    R, c, w = networks.problem(name)
    laws.has_bottlenecks(R.toarray(), c, _rates(R, c, np.inf, w))
    not_max_min = _rates(R, c, 5.0, w)
    with pytest.raises(AssertionError):
        laws.has_bottlenecks(R.toarray(), c, not_max_min)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_warm_start_changes_only_the_time(alpha):
    R, c, w = networks.problem("karate")
    cold = alpha_fair_allocation(R, c, alpha, priority=w)
    near = alpha_fair_allocation(R, 1.01 * c, alpha, priority=w)
    for start in (near, near.prices, np.zeros(len(c)), np.ones(len(c))):
        warm = alpha_fair_allocation(R, c, alpha, priority=w, start=start).require()
        np.testing.assert_allclose(warm.rates, cold.rates, rtol=1e-9)
    again = alpha_fair_allocation(R, c, alpha, priority=w, start=cold)
    assert again.iterations <= 1


def test_same_input_same_bytes():
    R, c, w = networks.problem("grid")
    first, second = (alpha_fair_allocation(R, c, 2.0, priority=w) for _ in range(2))
    assert first == second
    assert first != alpha_fair_allocation(R, c, 3.0, priority=w)


@pytest.mark.parametrize("alpha", [0.05, *ALPHAS])
@pytest.mark.parametrize("name", networks.NAMES)
def test_fallback_alone_finds_the_answer(monkeypatch, name, alpha):
    """The interior point is wired in: without any ascent it ends in the same place."""
    from fairopt.allocation import finite_alpha

    R, c, w = networks.problem(name)
    expected = _rates(R, c, alpha, w)
    monkeypatch.setattr(finite_alpha, "CHUNKS", ())
    monkeypatch.setattr(finite_alpha, "MORE_CHUNKS", ())
    np.testing.assert_allclose(_rates(R, c, alpha, w), expected, rtol=1e-9 / min(alpha, 1.0))


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.2])
@pytest.mark.parametrize("name", networks.NAMES)
def test_small_alpha_is_solved(name, alpha):
    for seed in range(3):
        R, c, w = networks.problem(name, 60, seed)
        assert alpha_fair_allocation(R, c, alpha, priority=w).ok, seed


@pytest.mark.parametrize("alpha", [0.5, 1.0, 20.0, np.inf])
def test_linearly_dependent_links_change_nothing(alpha):
    """A link again, in another unit, or with more slack: same rates, and prices that add up."""
    R, c, w = networks.problem("karate", 40)
    rows = R.toarray()
    more = np.vstack([rows, 3.0 * rows[::-1], rows])
    room = np.concatenate([c, 3.0 * c[::-1], 1.5 * c])
    found = alpha_fair_allocation(more, room, alpha, priority=w).require()
    np.testing.assert_allclose(found.rates, _rates(R, c, alpha, w), rtol=1e-9)
    assert not found.prices[2 * len(c) :].any()


def test_only_proportional_links_are_redundant():
    from scipy import sparse

    from fairopt.allocation.presolve.redundant_links import proportional

    A = np.array([[0.2, 0.4, 0], [0.3, 0.6, 0], [0.2, 0.4, 0.1], [0.4, 0.2, 0], [0.3, 0.6, 0]])
    row, offset = proportional(sparse.csr_array(A), np.arange(5))
    np.testing.assert_array_equal(row, [0, 0, 1, 2, 0])
    np.testing.assert_allclose(np.exp(offset), [1.0, 1.5, 1.0, 1.0, 1.5])
    some, _ = proportional(sparse.csr_array(A), np.array([1, 2, 4]))
    np.testing.assert_array_equal(some, [0, 1, 0])


@pytest.mark.parametrize("alpha", [0.1, 1.0, 50.0])
def test_a_bad_start_costs_time_only(alpha):
    R, c, w = networks.problem("regular")
    expected = _rates(R, c, alpha, w)
    rng = np.random.default_rng(0)
    for start in (10.0 ** rng.uniform(-200, 200, len(c)), (rng.random(len(c)) < 0.1) * 1.0):
        found = alpha_fair_allocation(R, c, alpha, priority=w, start=start).require()
        np.testing.assert_allclose(found.rates, expected, rtol=1e-9 / min(alpha, 1.0))


def test_many_links_use_conjugate_gradients(monkeypatch):
    from fairopt.allocation.methods import newton

    R, c, w = networks.problem("regular")
    expected = _rates(R, c, 2.0, w)
    monkeypatch.setattr(newton, "DENSE", 0)
    np.testing.assert_allclose(_rates(R, c, 2.0, w), expected, rtol=1e-9)


def fuzz(seeds):
    for seed in seeds:
        R, c, alpha, w, u = networks.anything(np.random.default_rng(seed))
        found = alpha_fair_allocation(R, c, alpha, priority=w, upper=u)
        parts = (found.rates, found.prices, found.upper_prices)
        assert not any(np.isnan(part).any() for part in parts), seed
        residual = allocation_residual(R, c, alpha, *parts, priority=w, upper=u)
        if found.ok:
            assert residual <= 1e-9, seed
        else:
            assert residual > 1e-9, seed
            assert found.status != Status.STEP_LIMIT, seed
        closed = (R[c == 0.0] > 0.0).any(axis=0) | (u == 0.0)
        if 1.0 <= alpha < np.inf and closed.any():
            assert found.status == Status.INFEASIBLE, seed
            np.testing.assert_array_equal(found.certificate > 0.0, closed)


def test_never_a_wrong_optimum():
    fuzz(range(200))


@pytest.mark.slow
def test_never_a_wrong_optimum_at_length():
    fuzz(range(200, 2000))


def ties(seeds):
    for seed in seeds:
        R, c, alpha, w = networks.degenerate(np.random.default_rng(seed))
        found = alpha_fair_allocation(R, c, alpha, priority=w)
        assert found.status in (Status.OPTIMAL, Status.OUT_OF_RANGE), seed
        parts = (found.rates, found.prices, found.upper_prices)
        if found.ok:
            assert allocation_residual(R, c, alpha, *parts, priority=w) <= 1e-9, seed
        else:
            assert alpha >= 20.0, seed


def test_degenerate_links_are_solved():
    ties(range(150))


@pytest.mark.slow
def test_degenerate_links_are_solved_at_length():
    ties(range(150, 600))
