"""Max-min fairness over several paths: exact rates, a proof for every flow, one model or many."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.optimize import linprog

from fairopt import Status, alpha_fair_path_allocation
from fairopt.allocation.multipath import level_programme, max_min, warm_level_programme
from fairopt.allocation.multipath.level_polish import (
    polished_prices,
    polished_rates,
    without_idle_paths,
)
from fairopt.allocation.multipath.max_min_certificate import Gains, largest_gains
from tests.fairopt.allocation.exact_max_min import max_min_rates

SEEDS = st.integers(0, 2**20)
EXACT = 1e-12  # relative error of a rate
HELD = 1e-9  # by which linear programmes of SciPy may exceed an exact bound


def degenerate(seed):
    """Whole and equal numbers, so that ties abound; links in series, equal paths, no limits."""
    rng = np.random.default_rng([11, seed])
    links, flows = int(rng.integers(1, 6)), int(rng.integers(1, 6))
    owner = np.repeat(np.arange(flows), rng.integers(1, 4, flows))
    R = (rng.random((links, len(owner))) < 0.5) * (1.0 if seed % 3 else rng.integers(1, 3))
    R[rng.integers(links, size=len(owner)), np.arange(len(owner))] = 1.0
    capacity = rng.integers(1, 4, links) * 1.0
    upper = np.where(rng.random(flows) < 0.3, rng.integers(1, 5, flows) * 0.25, np.inf)
    weights = rng.integers(1, 4, flows) * 1.0 if seed % 2 else np.ones(flows)
    if rng.random() < 0.3:  # in series
        R, capacity = np.vstack([R, R[:1]]), np.append(capacity, capacity[0] + rng.integers(2))
    if rng.random() < 0.2:
        capacity[rng.integers(len(capacity))] = rng.choice([0.0, np.inf])
        upper = np.minimum(upper, 9.0)
    if rng.random() < 0.1:
        upper[0] = 0.0
    return R, owner, capacity, upper, weights


def check_exact(seed):
    R, owner, capacity, upper, weights = degenerate(seed)
    found = alpha_fair_path_allocation(
        R, owner, capacity, np.inf, upper=upper, weights=weights
    ).require()
    for rate, exact in zip(
        found.rates, max_min_rates(R, owner, capacity, upper, weights), strict=True
    ):
        assert abs(Fraction(float(rate)) - exact) <= Fraction(EXACT) * exact, (seed, rate, exact)
    assert (found.error <= 1e-10).all()


@settings(max_examples=60, deadline=None)
@given(SEEDS)
def test_rates_are_those_of_fractions(seed):
    check_exact(seed)


def test_without_highspy_rates_are_the_same(monkeypatch):
    monkeypatch.setattr(warm_level_programme, "find_spec", lambda name: None)
    for seed in range(15):
        check_exact(seed)


@pytest.mark.parametrize("warm", [True, False])
def test_flows_on_one_path_leave_the_programme_and_come_back(monkeypatch, warm):
    """Many flows over few links: programmes are shrunk again and again; rates are the same."""
    if not warm:
        monkeypatch.setattr(warm_level_programme, "find_spec", lambda name: None)
    rng = np.random.default_rng(3)
    R = (rng.random((6, 120)) < 0.4) * 1.0
    R[rng.integers(6, size=120), np.arange(120)] = 1.0
    call = (R, np.repeat(np.arange(40), 3), rng.uniform(1.0, 9.0, 6), np.inf)
    shrunk = []
    shrink = level_programme.LevelProgramme.shrink
    with monkeypatch.context() as patch:
        patch.setattr(level_programme.LevelProgramme, "shrink", lambda *parts: shrunk.append(1))
        whole = alpha_fair_path_allocation(*call).require()
        patch.setattr(
            level_programme.LevelProgramme,
            "shrink",
            lambda self, found: (shrunk.append(len(self.flows)), shrink(self, found)),
        )
        small = alpha_fair_path_allocation(*call).require()
    assert max(shrunk) > 6
    np.testing.assert_allclose(small.rates, whole.rates, rtol=EXACT)


def test_last_digits_fill_the_links_that_have_a_price():
    """Two flows over both links, one over the second alone; rates off by a part in a million."""
    rows = sparse.csr_array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    owner, level_of = np.array([0, 0, 1, 1, 2]), np.array([0, 0, 0])
    right = np.array([0.5, 1 / 6, 0.5, 1 / 6, 2 / 3])
    off = right * (1.0 + 1e-7 * np.array([1.0, -2.0, 0.5, 0.0, 3.0]))
    found = polished_rates(rows, owner, level_of, np.array([True, True]), off)
    np.testing.assert_allclose(rows.T @ found, 1.0, rtol=1e-15)
    rates = np.bincount(owner, found)
    np.testing.assert_allclose(rates / rates[2], np.bincount(owner, off) / off[4], rtol=1e-14)
    none = np.zeros(2, dtype=bool)
    np.testing.assert_array_equal(
        polished_rates(rows, owner, level_of, none, 0.99 * off), 0.99 * off
    )


def test_last_digits_of_prices_make_used_paths_cost_the_same_and_empty_those_that_are_too_dear():
    rows = sparse.csr_array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 1.0, 0.0]])
    owner, z = np.array([0, 0, 0, 1]), np.array([0.5, 0.3, 1e-9, 0.2])
    prices = np.array([[1.0, 1.0 + 1e-9, 2.0]])
    kept = without_idle_paths(rows, owner, z, prices)
    np.testing.assert_array_equal(kept, [0.5 + 1e-9, 0.3, 0.0, 0.2])
    (better,) = polished_prices(rows, owner, kept, prices)
    assert better[0] == pytest.approx(better[1], rel=1e-15)
    np.testing.assert_allclose(better, prices[0], rtol=1e-8)
    np.testing.assert_array_equal(without_idle_paths(rows, owner, z, prices[:, [0, 1, 1]]), z)


@pytest.mark.parametrize("decades", [3.0, 12.0])
def test_levels_may_be_decades_apart(decades):
    """Separate pairs of links of any size, and a flow over one of each pair."""
    size = 10.0 ** np.linspace(-decades, decades, 7)
    R = np.kron(np.eye(7), [[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    owner = np.repeat(np.arange(14), [2, 1] * 7)
    found = alpha_fair_path_allocation(R, owner, np.repeat(size, 2), np.inf).require()
    np.testing.assert_allclose(found.rates, np.repeat(size, 2), rtol=EXACT)
    chain = np.vstack([R, np.tile([1.0, 0.0, 0.0], 7)])
    wide = alpha_fair_path_allocation(
        chain, owner, np.append(np.repeat(size, 2), 14.0 * size[-1]), np.inf
    )
    np.testing.assert_allclose(wide.require().rates, np.repeat(size, 2), rtol=EXACT)


def any_point(seed):
    """A problem of capacities 1, feasible rates and prices that have nothing to do with them."""
    R, owner, _, _, _ = degenerate(seed)
    rng = np.random.default_rng([13, seed])
    R = R[R.sum(axis=1) > 0.0]
    z = rng.random(len(owner))
    z = z / (R @ z).max() * rng.choice([1.0, 0.9])
    prices = rng.random((3, len(R))) * (rng.random((3, len(R))) < 0.6)
    return R, owner, rng.normal(size=owner[-1] + 1), z, prices


def true_gains(R, owner, log_unit, z):
    """What each flow could gain while the others keep their rates, or at least its level."""
    sums = (owner == np.arange(owner[-1] + 1)[:, None]) * 1.0
    x = sums @ z
    level, gains = x * np.exp(log_unit), []
    for i in range(len(x)):
        least = np.where(level > level[i], x * level[i] / level, x)
        rows, right = np.vstack([R, -sums]), np.concatenate([np.ones(len(R)), -least])
        gains.append(-linprog(-sums[i], rows, right).fun / x[i] - 1.0)
    return np.array(gains)


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_no_flow_can_gain_more_than_the_bound_whatever_rates_and_prices_are(seed):
    R, owner, log_unit, z, prices = any_point(seed)
    bound = largest_gains(sparse.csr_array(R), owner, log_unit, z, prices).most
    assert (true_gains(R, owner, log_unit, z) <= bound + HELD * (1.0 + bound)).all()


def test_bounds_of_unfair_rates_are_what_could_be_gained():
    """Flow 0 over both of two links, each with a flow of its own."""
    R, owner = np.array([[1.0, 1.0, 0.0], [1.0, 0.0, 1.0]]), np.arange(3)

    def gains(z, prices):
        return largest_gains(sparse.csr_array(R), owner, np.zeros(3), z, np.array(prices)).most

    assert (gains([0.5, 0.5, 0.5], [[1.0, 1.0]]) <= 1e-14).all()
    assert gains([1 / 3, 2 / 3, 2 / 3], [[1.0, 1.0]])[0] == pytest.approx(1.0)
    assert gains([0.5, 0.4, 0.5], np.eye(2))[1] == pytest.approx(0.5)
    np.testing.assert_allclose(gains([0.4, 0.6, 0.6], [[0.0, 0.0]]), [1.5, 2 / 3, 2 / 3])


@pytest.mark.parametrize(
    ("rounding", "status"),
    [(0.0, Status.STEP_LIMIT), (1e-5, Status.ROUNDING_LIMITED)],
)
def test_an_answer_without_proof_is_not_optimal(monkeypatch, rounding, status):
    gains = Gains(np.array([1e-9, 2e-5]), np.array([0.0, rounding]))
    monkeypatch.setattr(max_min, "largest_gains", lambda *parts: gains)
    call = ([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]], [0, 1, 1], [1.0, 1.0], np.inf)
    assert alpha_fair_path_allocation(*call, tol=1e-4).status is Status.OPTIMAL
    found = alpha_fair_path_allocation(*call)
    assert found.status is status
    assert "flows 1 could have up to 2e-05 times more" in found.sentence


def test_a_flow_that_is_nothing_beside_others_is_named_where_float64_proves_nothing_of_it():
    """Flow 0 has 1e-15 of the link that it shares with flow 1, and 1 in the end needs it all."""
    R = np.array([[1.0, 1.0]])
    found = alpha_fair_path_allocation(R, [0, 1], [1.0], np.inf, weights=[1e-15, 1.0])
    assert found.status is Status.ROUNDING_LIMITED
    np.testing.assert_array_equal(found.certificate, [1.0, 0.0])


def test_where_highs_gives_up_programmes_are_solved_afresh_or_nothing_is_certified(monkeypatch):
    R, owner = [[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]], [0, 1, 1]
    monkeypatch.setitem(warm_level_programme.OPTIONS, "simplex_iteration_limit", 0)
    found = alpha_fair_path_allocation(R, owner, [1.0, 3.0], np.inf).require()
    np.testing.assert_allclose(found.rates, [1.0, 3.0])
    monkeypatch.setattr(level_programme.LevelProgramme, "attempt", lambda self: None)
    found = alpha_fair_path_allocation(R, owner, [1.0, 3.0], np.inf)
    assert not found.ok
    assert np.isinf(found.error).all()
