"""Stages by price: what they settle, that other methods agree, that last digits are corrected."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from benchmarks.problems.high_precision import path_rates
from fairopt import alpha_fair_path_allocation
from fairopt.allocation.multipath import lexicographic_stages, solve, stage_merge
from fairopt.allocation.multipath.alpha_continuation import solve_by_continuation
from fairopt.allocation.multipath.log_form import drop_negligible_prices, path_form, violation
from fairopt.allocation.multipath.newton import entries_of
from tests.fairopt.allocation.test_multipath import gains_at_no_cost, tied

CHAIN_RATES = {
    20.0: [0.288522322714] * 2 + [2.14426116136, 0.278694193215] + [0.288522322714] * 3,
    50.0: [0.286842584751] * 2 + [2.14342129238, 0.282893538123] + [0.286842584751] * 3,
    100.0: [0.286279278693] * 2 + [2.14313963935, 0.284301803269] + [0.286279278693] * 3,
}
"""Of `tied(3)`, by `high_precision.path_rates`, which takes half a minute for each."""


def scaled(seed, alpha):
    """A tied problem in the form that the methods take."""
    R, owner, capacity = tied(seed)
    limit = (capacity[:, None] / np.where(R > 0.0, R, np.nan)).T
    alone = np.nanmin(limit, axis=1)
    unit = np.array([alone[owner == i].max() for i in range(owner[-1] + 1)])
    kept = np.flatnonzero(R.any(axis=1))
    A = sparse.csr_array(R[kept] / capacity[kept, None] * unit[owner])
    return path_form(A, owner, len(unit), (1.0 - alpha) * np.log(unit), alpha)


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [20.0, 50.0])
def test_rates_are_those_of_a_barrier_with_400_digits(alpha):
    for seed in (2, 7, 11):
        R, owner, capacity = tied(seed)
        found = alpha_fair_path_allocation(R, owner, capacity, alpha).require()
        exact = path_rates(R, owner, capacity, alpha)
        np.testing.assert_allclose(found.rates, exact, rtol=1e-8, err_msg=str(seed))


@pytest.mark.parametrize(("alpha", "exact"), CHAIN_RATES.items())
def test_a_chain_of_exchanges_that_no_price_shows_is_solved(alpha, exact):
    """Two high-price flows must change paths together; rates of the barrier with 400 digits."""
    R, owner, capacity = tied(3)
    found = alpha_fair_path_allocation(R, owner, capacity, alpha).require()
    np.testing.assert_allclose(found.rates, exact, rtol=1e-8)
    assert gains_at_no_cost(R, owner, capacity, found.rates).max() < 1e-4


@pytest.mark.parametrize("alpha", [20.0, 50.0])
def test_stages_agree_with_one_solve_of_everything(alpha):
    """From rates of alpha = 5, so that nothing of the answer is known before."""
    compared = 0
    for seed in range(12):
        form = scaled(seed, alpha)
        with np.errstate(all="ignore"):
            z, prices, _ = solve_by_continuation(form)
            prices = drop_negligible_prices(form, z, prices)
            if violation(form, z, prices) > 1e-6 or len(solve.improvable_flows(form, z)):
                continue
            easy = replace(form, alpha=5.0, log_weight=form.log_weight * (5.0 / alpha))
            found = lexicographic_stages.solve_in_stages(form, solve_by_continuation(easy)[0])
        if found is None or not lexicographic_stages.worth_staging(form, z):
            continue
        compared += 1
        np.testing.assert_allclose(form.total(found[0]), form.total(z), rtol=1e-5)
    assert compared >= 3


def test_stages_stop_where_they_lose_a_rate_or_take_too_long(monkeypatch):
    form = scaled(3, 20.0)
    with np.errstate(all="ignore"):
        z = solve_by_continuation(form)[0]
        assert lexicographic_stages.solve_in_stages(form, z) is not None
        monkeypatch.setattr(lexicographic_stages, "MOST_WORK", 0.0)
        assert lexicographic_stages.solve_in_stages(form, z) is None
        monkeypatch.undo()
        monkeypatch.setattr(lexicographic_stages, "ABOVE", -9.0)  # settled flows lose rate
        assert lexicographic_stages.solve_in_stages(form, z) is None


def test_a_settled_flow_has_a_link_that_its_rate_fills():
    form = scaled(3, 20.0)
    z = np.random.default_rng(0).uniform(0.1, 0.3, len(form.owner))
    limited = np.arange(form.flows) % 2 == 0
    more = lexicographic_stages._with_limits(form, form.total(z), limited)
    links = form.A.shape[0]
    np.testing.assert_allclose((more.A @ z)[links:], 1.0, rtol=1e-14)
    np.testing.assert_array_equal((more.A @ z)[:links], form.A @ z)
    assert (more.transposed != more.A.T).nnz == 0
    assert more.pairs.difference.shape == (len(form.pairs.lower), links + int(limited.sum()))
    assert abs(more.pairs.difference[:, links:]).sum() == 0.0


@given(st.lists(st.floats(-200.0, 200.0), min_size=1, max_size=20), st.integers(0, 2**20))
def test_a_stage_settles_the_highest_prices_down_to_a_gap(prices, seed):
    log_price = np.array(prices)
    among = np.random.default_rng(seed).random(len(prices)) < 0.7
    among[0] = True
    new = lexicographic_stages._above_widest_gap(log_price, among)
    rest = among & ~new
    assert new.any()
    assert not (new & ~among).any()
    top = log_price[among].max()
    assert log_price[new].min() >= top - lexicographic_stages.SETTLED
    if rest.any():
        assert log_price[rest].max() < log_price[new].min()
        assert log_price[rest].max() < top - lexicographic_stages.SOONEST


@pytest.mark.parametrize("seed", [1, 4, 5, 8])
def test_errors_of_an_interior_point_are_corrected(seed):
    """Prices wrong by 1e-9 and rates of 1e-11 on unused paths exceed the tolerance uncorrected."""
    form = scaled(seed, 5.0)
    rng = np.random.default_rng(seed)
    with np.errstate(all="ignore"):
        z, prices, _ = solve_by_continuation(form)
    left = z + 1e-11 * form.total(z)[form.owner] * (z < 1e-9 * form.total(z)[form.owner])
    wrong = np.log(prices) + 1e-9 * rng.normal(size=len(prices))
    lowest = float(form.log_price(z).min())
    with np.errstate(all="ignore"):
        found = stage_merge.merge_stages(form, left, [stage_merge.Stage(wrong, lowest - 100.0)])
    assert violation(form, *found) <= 3e-7
    np.testing.assert_allclose(form.total(found[0]), form.total(z), rtol=1e-9)


@given(st.integers(0, 2**20))
@settings(max_examples=30)
def test_entries_of_rows_are_those_that_scipy_chooses(seed):
    rng = np.random.default_rng(seed)
    m, n = (int(k) for k in rng.integers(1, 8, 2))
    rows = sparse.csr_array((rng.random((m, n)) < 0.5) * rng.normal(size=(m, n)))
    which = rng.integers(0, m, int(rng.integers(0, 10)))
    row, column, value = entries_of(rows, which)
    built = sparse.coo_array((value, (row, column)), shape=(len(which), n))
    np.testing.assert_array_equal(built.toarray(), rows.toarray()[which])
