"""What the allocation refuses, and what it answers with a status and a certificate."""

import numpy as np
import pytest
from scipy import sparse

from fairopt import (
    InvalidInput,
    NotSolved,
    Status,
    allocation_residual,
    alpha_fair_allocation,
    alpha_fair_path_allocation,
)

R, C = [[1.0, 1.0, 0.0], [1.0, 0.0, 1.0]], [1.0, 2.0]


@pytest.mark.parametrize(
    ("changes", "argument"),
    [
        ({"routing": [[1.0, -1.0]], "capacity": [1.0]}, "routing"),
        ({"routing": [[1.0, np.nan]], "capacity": [1.0]}, "routing"),
        ({"routing": [[1.0, np.inf]], "capacity": [1.0]}, "routing"),
        ({"routing": [[1.0, 1j]], "capacity": [1.0]}, "routing"),
        ({"routing": [["1", "2"]], "capacity": [1.0]}, "routing"),
        ({"routing": [[True, True]], "capacity": [1.0]}, "routing"),
        ({"routing": [[1.0], [1.0, 2.0]]}, "routing"),
        ({"routing": [1.0, 2.0], "capacity": [1.0]}, "routing"),
        ({"routing": np.zeros((2, 0))}, "routing"),
        ({"routing": sparse.csr_array(np.array([[1.0, -1.0]])), "capacity": [1.0]}, "routing"),
        ({"routing": sparse.csr_array(np.array([[1.0, 1j]])), "capacity": [1.0]}, "routing"),
        ({"routing": sparse.csr_array(np.array([[True, True]])), "capacity": [1.0]}, "routing"),
        ({"capacity": [1.0]}, "capacity"),
        ({"capacity": [1.0, -2.0]}, "capacity"),
        ({"capacity": [1.0, np.nan]}, "capacity"),
        ({"capacity": "ab"}, "capacity"),
        ({"alpha": -1.0}, "alpha"),
        ({"alpha": np.nan}, "alpha"),
        ({"alpha": [1.0, 2.0]}, "alpha"),
        ({"alpha": "1"}, "alpha"),
        ({"priority": [1.0, 1.0]}, "priority"),
        ({"priority": [1.0, 0.0, 1.0]}, "priority"),
        ({"priority": [1.0, np.inf, 1.0]}, "priority"),
        ({"upper": [1.0, -1.0, 1.0]}, "upper"),
        ({"upper": [1.0, np.nan, 1.0]}, "upper"),
        ({"upper": 1.0}, "upper"),
        ({"tol": 0.0}, "tol"),
        ({"start": [1.0]}, "start"),
        ({"start": [1.0, -1.0]}, "start"),
        ({"start": [1.0, np.nan]}, "start"),
    ],
)
def test_refusals_name_the_argument(changes, argument):
    call = {"routing": R, "capacity": C, "alpha": 1.0} | changes
    with pytest.raises(InvalidInput) as caught:
        alpha_fair_allocation(**call)
    assert caught.value.argument == argument


@pytest.mark.parametrize("argument", ["rates", "prices", "upper_prices"])
def test_the_residual_checks_shapes(argument):
    call = {"rates": np.ones(3), "prices": np.ones(2), "upper_prices": np.ones(3)}
    with pytest.raises(InvalidInput) as caught:
        allocation_residual(R, C, 1.0, **call | {argument: np.ones(7)})
    assert caught.value.argument == argument


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, 5.0, np.inf])
def test_every_kind_of_matrix_is_the_same(alpha):
    expected = alpha_fair_allocation(R, C, alpha).require()
    dense = np.array(R)
    rows, columns = np.nonzero(dense)
    halves = sparse.coo_array(
        (np.full(2 * len(rows), 0.5), (np.tile(rows, 2), np.tile(columns, 2))), shape=dense.shape
    )
    zeros = sparse.csr_array((dense.ravel(), (np.repeat([0, 1], 3), np.tile([0, 1, 2], 2))))
    kinds = [dense.astype(int), dense.astype(np.float32), np.asfortranarray(dense), halves, zeros]
    kinds += [sparse.csc_matrix(dense), sparse.csr_array(dense.astype(np.int8))]
    for kind in kinds:
        found = alpha_fair_allocation(kind, C, alpha)
        np.testing.assert_array_equal(found.rates, expected.rates)
        np.testing.assert_array_equal(found.prices, expected.prices)


def test_input_is_untouched():
    matrix = sparse.csr_array(np.array(R))
    matrix.indices[:2] = matrix.indices[:2][::-1].copy()  # unsorted
    kept = matrix.copy()
    c = np.array(C)
    c.setflags(write=False)
    alpha_fair_allocation(matrix, c, 2.0)
    np.testing.assert_array_equal(matrix.indices, kept.indices)
    np.testing.assert_array_equal(matrix.data, kept.data)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.9, np.inf])
def test_no_capacity_is_rate_zero_below_one_and_at_max_min(alpha):
    found = alpha_fair_allocation(R, [0.0, 2.0], alpha).require()
    np.testing.assert_allclose(found.rates, [0.0, 0.0, 2.0])
    assert found.prices[0] == np.inf


@pytest.mark.parametrize("alpha", [1.0, 2.0, 100.0])
@pytest.mark.parametrize("problem", [{"capacity": [0.0, 2.0]}, {"upper": [0.0, 0.0, np.inf]}])
def test_no_capacity_is_infeasible_from_one_on(alpha, problem):
    found = alpha_fair_allocation(**{"routing": R, "capacity": C, "alpha": alpha} | problem)
    assert found.status is Status.INFEASIBLE
    assert found.residual == np.inf
    np.testing.assert_array_equal(found.certificate, [1.0, 1.0, 0.0])
    assert found.rates[2] > 0.0
    with pytest.raises(NotSolved, match="flows 0, 1"):
        found.require()


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, 2.0, np.inf])
def test_unlimited_flow_is_unbounded(alpha):
    found = alpha_fair_allocation([[1.0, 0.0, 1.0]], [1.0], alpha)
    assert found.status is Status.UNBOUNDED
    np.testing.assert_array_equal(found.certificate, [0.0, 1.0, 0.0])
    assert found.rates[1] == np.inf
    assert "flows 1 " in found.sentence
    assert alpha_fair_allocation([[1.0, 0.0]], [1.0], alpha, upper=[np.inf, 3.0]).ok
    assert not alpha_fair_allocation([[1.0, 1.0]], [np.inf], alpha).ok


def test_upper_has_its_own_price():
    found = alpha_fair_allocation([[1.0, 1.0]], [1.0], 1.0, upper=[0.2, np.inf]).require()
    np.testing.assert_allclose(found.rates, [0.2, 0.8])
    np.testing.assert_allclose(found.upper_prices, [5.0 - 1.25, 0.0])


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("size", [1e-300, 1e-100, 1e100, 1e300])
def test_extreme_scales(alpha, size):
    """Rates and prices scale, or the status says that they cannot be represented."""
    found = alpha_fair_allocation(R, size * np.array(C), alpha)
    plain = alpha_fair_allocation(R, C, alpha)
    if found.ok:
        np.testing.assert_allclose(found.rates / size, plain.rates, rtol=1e-9)
    else:
        assert alpha == 2.0
        assert found.status is Status.OUT_OF_RANGE
    moved = alpha_fair_allocation(np.array(R) / size, C, alpha)
    assert moved.status in (Status.OPTIMAL, Status.OUT_OF_RANGE)


@pytest.mark.parametrize("alpha", [300.0, 5e3, 1e6, 1e300])
def test_alpha_beyond_float64_names_the_range(alpha):
    """Rates are still the max-min ones, prices are not made up."""
    wide = np.array([1.0, 50.0])
    found = alpha_fair_allocation(R, wide, alpha)
    limit = alpha_fair_allocation(R, wide, np.inf).rates
    assert found.status is Status.OUT_OF_RANGE
    assert "then only alpha = inf" in found.sentence
    np.testing.assert_array_equal(found.rates, limit)
    named = float(found.sentence.split("up to alpha = ")[1].split(",")[0])
    assert alpha_fair_allocation(R, wide, 0.99 * named).ok


@pytest.mark.parametrize("alpha", [1e-300, 1e-9, 1e-4])
def test_alpha_near_zero_is_solved_or_says_why(alpha):
    found = alpha_fair_allocation(R, C, alpha, priority=[1.0, 2.0, 3.0])
    assert found.status in (Status.OPTIMAL, Status.OUT_OF_RANGE, Status.STEP_LIMIT)
    assert np.isfinite(found.rates).all()


@pytest.mark.parametrize("alpha", [1e-3, 1e-2])
def test_rates_that_vanish_are_named(alpha):
    """(p / q)^(1 / alpha) leaves float64 long before alpha = 0; the others keep their rates."""
    found = alpha_fair_allocation(R, C, alpha, priority=[0.001, 2.0, 3.0])
    assert found.status is Status.OUT_OF_RANGE
    assert "flows 0 are below" in found.sentence
    np.testing.assert_allclose(found.rates, [0.0, 1.0, 2.0], atol=1e-300)


def test_flows_far_below_what_their_links_could_carry():
    """Bounds of 1 beside links of 1e200: the bounded flows do not hold up the others."""
    thin = 1e-200 * np.array([[1.0, 1.0, 1.0], [1.0, 0.0, 1.0]])
    for alpha in (0.5, 1.0, 1.5):
        found = alpha_fair_allocation(thin, C, alpha, upper=[np.inf, np.inf, 1.0]).require()
        np.testing.assert_allclose(found.rates, [0.5e200, 0.5e200, 1.0], rtol=1e-9)


def test_no_links():
    found = alpha_fair_allocation(np.zeros((0, 2)), [], 1.0, upper=[1.0, 2.0]).require()
    np.testing.assert_array_equal(found.rates, [1.0, 2.0])


def test_prints_on_one_screen():
    many = alpha_fair_allocation(np.ones((1, 1000)), [1.0], 1.0)
    assert len(str(many).splitlines()) <= 12


def test_no_paths_is_a_fact_about_the_routing():
    for R, owner in ((np.zeros((2, 0)), []), (np.zeros((2, 0)), [0])):
        with pytest.raises(InvalidInput) as caught:
            alpha_fair_path_allocation(R, owner, [1.0, 1.0], 1.0)
        assert caught.value.argument == "routing"
    with pytest.raises(InvalidInput) as caught:
        alpha_fair_path_allocation(np.ones((2, 1)), [], [1.0, 1.0], 1.0)
    assert caught.value.argument == "owner"
