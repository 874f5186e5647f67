"""Large alpha in decimals: each part against its definition, the whole against mpmath."""

from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from benchmarks.steep_split_flows import UNDER, reference, small_network
from fairopt import Status, alpha_fair_path_allocation
from fairopt.allocation.multipath import decimal_certificate, decimal_continuation, solve
from fairopt.allocation.multipath.certificate import rate_errors
from fairopt.allocation.multipath.decimal_form import DecimalForm, Sides, decimals, newton_change
from proofs.fairness.split_flows import SHARED, USERS, errors_in_decimals
from tests.fairopt.allocation.test_multipath import gains_at_no_cost, tied

CHAIN_RATES = {
    20.0: [0.288522322714] * 2 + [2.14426116136, 0.278694193215] + [0.288522322714] * 3,
    50.0: [0.286842584751] * 2 + [2.14342129238, 0.282893538123] + [0.286842584751] * 3,
    100.0: [0.286279278693] * 2 + [2.14313963935, 0.284301803269] + [0.286279278693] * 3,
}
"""Of `tied(3)`, by `high_precision.path_rates`, which takes half a minute for each."""


@pytest.mark.parametrize(("alpha", "exact"), CHAIN_RATES.items())
def test_a_chain_of_exchanges_that_no_price_shows_is_solved(alpha, exact):
    """Two high-price flows must change paths together; rates of the barrier with 400 digits."""
    R, owner, capacity = tied(3)
    found = alpha_fair_path_allocation(R, owner, capacity, alpha).require()
    np.testing.assert_allclose(found.rates, exact, rtol=1e-11)
    assert found.error.max() <= 1e-12
    assert gains_at_no_cost(R, owner, capacity, found.rates).max() < 1e-4


@pytest.mark.parametrize(("alpha", "seeds"), [(10.0, (12, 40, 62, 69)), (50.0, (12, 48, 69, 76))])
def test_rates_are_those_of_mpmath_and_within_their_errors(alpha, seeds):
    for seed in seeds:
        problem = small_network(seed)
        found = alpha_fair_path_allocation(*problem, alpha)
        assert found.status is Status.OPTIMAL, seed
        assert found.error.max() <= 1e-3
        exact = reference(*problem, alpha, found)
        if exact is None:
            continue
        off = np.array([float(abs(x / e - 1)) for x, e in zip(found.rates, exact, strict=True)])
        assert (off <= found.error + UNDER).all(), seed


@given(st.integers(0, 2**20))
@settings(max_examples=20, deadline=None)
def test_newton_changes_solve_the_equations_of_their_sides(seed):
    rng = np.random.default_rng(seed)
    R, owner, capacity = tied(int(rng.integers(50)))
    kept = R.any(axis=1)
    R, capacity, flows = R[kept], capacity[kept], int(owner[-1]) + 1
    form = DecimalForm(
        sparse.csr_array(R.T), owner, capacity, decimals(rng.uniform(0.5, 2.0, flows)), 2.0
    )
    used = rng.random(len(owner)) < 0.7
    used[form.first] = True
    sides = Sides(used, rng.random(len(capacity)) < 0.7)
    extra, missing = decimals(rng.normal(size=len(owner))), decimals(rng.normal(size=flows))
    room, stiff = decimals(rng.normal(size=len(capacity))), decimals(rng.uniform(0.5, 2.0, flows))
    small = Decimal("1e-3")
    with localcontext() as context:
        context.prec = 60
        d = newton_change(form, sides, extra, missing, room, stiff, small, small)
        ahead = d.pi[owner] + extra - form.cost(d.prices)
        filled = form.load(d.z) - small * d.prices
        tolerance = Decimal("1e-40")
        assert max(abs(small * d.z - ahead)[used]) < tolerance
        assert max(abs(stiff * d.x + d.pi - missing)) < tolerance
        assert max(abs(form.total(d.z) - d.x)) < tolerance
        assert max(abs(filled - room)[sides.priced], default=0) < tolerance
    assert not d.z[~used].any()
    assert not d.prices[~sides.priced].any()


def test_errors_in_decimals_are_those_of_floats():
    """At points of which float64 can say something; loads fit, else floats reduce fewer rates."""
    rng = np.random.default_rng(0)
    A = sparse.csr_array(SHARED)
    for alpha in (0.5, 1.0, 2.0, 20.0):
        for _ in range(5):
            z = np.array([0.4, 0.4, 0.5, 0.6]) * np.exp(0.1 * rng.normal(size=4))
            z = z / float((A @ z).max())
            prices = np.array([1.0, 2.0, 2.0]) * np.exp(0.1 * rng.normal(size=3))
            args = A, USERS, rng.normal(size=3), alpha, z, prices
            np.testing.assert_allclose(errors_in_decimals(*args), rate_errors(*args), rtol=1e-9)


def test_a_gap_without_lost_utility_is_noticed(monkeypatch):
    """A negative control: two flows should share a link equally, and its price is too high."""
    args = sparse.csr_array([[1.0, 1.0]]), np.arange(2), np.zeros(2), 1.0
    point = np.array([0.4, 0.6]), np.array([2.5])
    off = np.abs(point[0] / 0.5 - 1.0)
    assert (off <= errors_in_decimals(*args, *point)).all()
    monkeypatch.setattr(decimal_certificate, "_lost", lambda ratio, pays, alpha: Decimal(0))
    assert not (off <= errors_in_decimals(*args, *point)).all()


@pytest.mark.parametrize(
    ("room", "limit"), [(solve, "MOST_WORK"), (decimal_continuation, "MOST_DECADES")]
)
def test_too_much_work_ends_without_an_answer_that_is_called_optimal(room, limit, monkeypatch):
    monkeypatch.setattr(room, limit, 0)
    assert not alpha_fair_path_allocation(*tied(3), 20.0).ok


def test_volumes_and_weights_hold_at_large_alpha():
    """By hand: flow 0 takes its volume, the others share what is left by their weights."""
    R, owner = [[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0]], [0, 0, 1, 2]
    found = alpha_fair_path_allocation(
        R, owner, [1.0, 2.0], 100.0, upper=[0.5, np.inf, np.inf], weights=[1.0, 1.0, 1.0]
    ).require()
    np.testing.assert_allclose(found.rates, [0.5, 1.0, 1.5], rtol=1e-12)
    assert found.error.max() <= 1e-3
