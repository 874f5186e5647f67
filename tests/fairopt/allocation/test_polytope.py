"""Alpha-fair utilities on a polytope: planted answers, the twin, hand cases, statuses, units."""

import dataclasses

import numpy as np
import pytest
from scipy import sparse
from scipy.optimize import linprog

from fairopt import (
    InvalidInput,
    NotSolved,
    PolytopeAllocation,
    Status,
    alpha_fair_allocation,
    alpha_fair_on_polytope,
    polytope_certificate,
)
from fairopt.allocation.polytope.farkas import proves_empty
from fairopt.reference import allocation_on_polytope
from proofs.fairness.planted_polytopes import planted

T = [[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
ALPHAS = (0.1, 0.5, 1.0, 2.0, 5.0, 20.0)
ROUNDING = 1e-13  # of a logarithm of a float


def judged(found, problem):
    """The certificate of an answer as the caller gets it."""
    return polytope_certificate(
        point=found.point,
        prices=found.prices,
        equality_prices=found.equality_prices,
        utility_prices=found.utility_prices,
        **problem,
    )


@pytest.mark.parametrize("alpha", ALPHAS)
def test_planted_answers_are_found_and_inside_their_intervals(alpha):
    solved = 0
    for seed in range(12):
        case = planted(np.random.default_rng([5, seed]), alpha, signs=bool(seed % 2))
        found = alpha_fair_on_polytope(**case.problem)
        off = np.abs(np.log(found.utilities / case.x))
        assert (off <= np.log1p(found.error) + ROUNDING).all()
        if found.ok:
            solved += 1
            assert off.max() <= 1e-5  # at alpha = 0.1 its certified error may be 1e-3
            proof = judged(found, case.problem)
            assert proof.error.max() <= 1e-3
            np.testing.assert_allclose(proof.error, found.error, rtol=0.5, atol=1e-7)
    assert solved >= 11


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, 2.0, np.inf])
def test_it_agrees_with_the_twin(alpha):
    for seed in range(3):
        rng = np.random.default_rng([6, seed])
        rows, A = rng.random((3, 6)), rng.random((1, 6))
        G, h = rng.random((4, 6)), rng.uniform(1.0, 2.0, size=4)
        given = {"G": G, "h": h, "A": A, "b": 0.2 * A.sum(axis=1), "weights": [1.0, 2.0, 0.5]}
        found = alpha_fair_on_polytope(rows, alpha=alpha, **given).require()
        twin = allocation_on_polytope(rows, alpha, **given)
        if alpha == 0.0:
            total = float(np.sum(found.utilities / given["weights"]))
            assert total == pytest.approx(float(np.sum(twin / given["weights"])), rel=1e-6)
        else:
            np.testing.assert_allclose(found.utilities, twin, rtol=2e-3)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, 3.0, 10.0, np.inf])
def test_a_network_is_a_polytope(alpha):
    R, c = np.array([[1.0, 1.0, 0.0], [1.0, 0.0, 1.0]]), [1.0, 2.0]
    found = alpha_fair_on_polytope(np.eye(3), G=R, h=c, alpha=alpha).require()
    rates = alpha_fair_allocation(R, c, alpha).require().rates
    np.testing.assert_allclose(found.utilities, rates, rtol=1e-7)


@pytest.mark.parametrize("alpha", [0.5, 2.0, np.inf])
def test_units_change_nothing(alpha):
    rng = np.random.default_rng(11)
    P = planted(rng, 1.0).problem | {"alpha": alpha, "priority": None}
    P["G"] = np.vstack([P["G"], np.ones(P["T"].shape[1])])
    P["h"] = np.append(P["h"], 2.0 * P["h"].max() + 50.0)
    row, column, unit = (10.0 ** rng.uniform(-5, 5, size=s) for s in (*P["G"].shape, len(P["T"])))
    changed = P | {
        "T": P["T"] * unit[:, None] * column,
        "G": P["G"] * row[:, None] * column,
        "h": P["h"] * row,
        "A": P["A"] * column,
        "weights": unit,
    }
    one, two = (alpha_fair_on_polytope(**problem).require() for problem in (P, changed))
    np.testing.assert_allclose(two.utilities / unit, one.utilities, rtol=1e-5)


def test_weights_and_priorities():
    pool = {"A": [[1.0, 1.0, 1.0]], "b": [6.0]}
    fair = alpha_fair_on_polytope(T, alpha=1.0, priority=[1.0, 2.0], **pool).require()
    np.testing.assert_allclose(fair.utilities, [2.0, 4.0], rtol=1e-8)
    level = alpha_fair_on_polytope(T, alpha=np.inf, weights=[1.0, 2.0], **pool).require()
    np.testing.assert_allclose(level.utilities, [2.0, 4.0], rtol=1e-9)


def test_levels_by_hand():
    """The first is stuck at 1; the others share what is left of 6 with a cap of 2 on one."""
    limits = {"G": [[1.0, 0, 0], [1, 1, 1], [0, 1, 0]], "h": [1.0, 6.0, 2.0]}
    found = alpha_fair_on_polytope(np.eye(3), alpha=np.inf, **limits).require()
    np.testing.assert_allclose(found.utilities, [1.0, 2.0, 3.0], rtol=1e-9)
    assert found.prices.shape == (3, 3)
    assert found.error.max() < 1e-9


def test_redundant_equalities_change_nothing():
    once = alpha_fair_on_polytope(T, A=[[1.0, 1, 1]], b=[1.0], alpha=1.0).require()
    twice = {"A": [[1.0, 1, 1], [2, 2, 2], [0, 0, 0]], "b": [1.0, 2.0, 0.0]}
    found = alpha_fair_on_polytope(T, alpha=1.0, **twice).require()
    np.testing.assert_allclose(found.utilities, once.utilities, rtol=1e-8)
    assert judged(found, {"T": T, "alpha": 1.0, **twice}).error.max() < 1e-6


EMPTY = {
    "equalities": {"A": [[1.0, 1, 1], [2, 2, 2]], "b": [1.0, 3.0]},
    "a zero row": {"A": [[0.0, 0, 0]], "b": [1.0]},
    "an inequality": {"G": [[1.0, 1.0, 1.0]], "h": [-1.0]},
    "both": {"G": [[1.0, 1.0, 0.0]], "h": [1.0], "A": [[2.0, 2.0, 0.0]], "b": [3.0]},
}


@pytest.mark.parametrize("limits", EMPTY.values(), ids=EMPTY)
@pytest.mark.parametrize("alpha", [0.0, 0.5, 2.0, np.inf])
def test_an_empty_polytope_is_infeasible_with_a_proof(limits, alpha):
    found = alpha_fair_on_polytope(T, alpha=alpha, **limits)
    assert found.status is Status.INFEASIBLE
    G, h = np.array(limits.get("G", np.zeros((0, 3)))), np.array(limits.get("h", []))
    A, b = np.array(limits.get("A", np.zeros((0, 3)))), np.array(limits.get("b", []))
    assert proves_empty((G, h, A, b, np.array(T)), found.farkas)
    assert not proves_empty((G, h + 9.0, A, 0.0 * b, np.array(T)), found.farkas)
    with pytest.raises(NotSolved, match="infeasible"):
        found.require()


def test_negative_utilities_alone_are_infeasible():
    found = alpha_fair_on_polytope([[-1.0, 0.0]], A=[[1.0, 0.0]], b=[1.0], alpha=2.0)
    assert found.status is Status.INFEASIBLE


FORCED = {
    "a closed row": {"G": [[1.0, 1, 0], [0, 0, 1]], "h": [1.0, 0.0]},
    "two constraints together": {"G": [[-1.0, 0, 1], [1, 1, 0]], "h": [-1.0, 1.0]},
}


@pytest.mark.parametrize("limits", FORCED.values(), ids=FORCED)
def test_a_utility_that_can_only_be_zero(limits):
    for alpha in (1.0, 2.0):
        found = alpha_fair_on_polytope(T, alpha=alpha, **limits)
        assert found.status is Status.INFEASIBLE
        np.testing.assert_array_equal(found.certificate, [0.0, 1.0])
        assert "utilities 1 can only be zero" in found.sentence
        np.testing.assert_allclose(found.utilities, [1.0, 0.0], rtol=1e-7)
    for alpha in (0.0, 0.5, np.inf):
        found = alpha_fair_on_polytope(T, alpha=alpha, **limits).require()
        np.testing.assert_allclose(found.utilities, [1.0, 0.0], rtol=1e-7)
        assert (found.prices >= 0.0).all()


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, 3.0, np.inf])
def test_what_nothing_limits_is_unbounded(alpha):
    found = alpha_fair_on_polytope(T, G=[[0.0, 0, 1]], h=[2.0], alpha=alpha)
    assert found.status is Status.UNBOUNDED
    np.testing.assert_array_equal(found.certificate, [1.0, 0.0])
    np.testing.assert_allclose(found.utilities, [np.inf, 2.0], rtol=1e-7)
    everything = alpha_fair_on_polytope(T, alpha=alpha)
    assert everything.status is Status.UNBOUNDED
    assert np.isposinf(everything.utilities).all()


def test_sparse_and_dense_agree():
    rng = np.random.default_rng(2)
    rows, G = (rng.random((5, 40)) * (rng.random((5, 40)) < 0.1) for _ in range(2))
    rows[:, :5] += np.eye(5)
    G = np.vstack([G, np.ones(40)])
    dense = alpha_fair_on_polytope(rows, G=G, h=np.ones(6), alpha=1.0).require()
    found = alpha_fair_on_polytope(
        sparse.coo_array(rows), G=sparse.csc_matrix(G), h=np.ones(6), alpha=1.0
    ).require()
    np.testing.assert_allclose(found.utilities, dense.utilities, rtol=1e-12)


def test_both_forms_of_the_newton_system_agree():
    """More variables than rows, and the same with rows repeated until there are more of them."""
    rng = np.random.default_rng(4)
    rows, G, h = rng.random((3, 12)), rng.random((4, 12)), np.ones(4)
    A, b = np.ones((1, 12)), [0.5]
    few = alpha_fair_on_polytope(rows, G=G, h=h, A=A, b=b, alpha=2.0).require()
    many = {"G": np.vstack([G] * 9), "h": np.concatenate([h * (1.0 + k) for k in range(9)])}
    found = alpha_fair_on_polytope(rows, A=A, b=b, alpha=2.0, **many).require()
    np.testing.assert_allclose(found.utilities, few.utilities, rtol=1e-6)


def test_what_is_not_certified_is_not_optimal():
    rng = np.random.default_rng(8)
    scale = 10.0 ** np.linspace(0, 6, 4)
    rows, G = np.diag(scale), rng.random((4, 4))
    found = alpha_fair_on_polytope(rows, G=G + np.eye(4), h=np.ones(4), alpha=100.0)
    assert found.ok == bool(found.error.max() <= 1e-3)
    assert found.status in (Status.OPTIMAL, Status.STEP_LIMIT, Status.OUT_OF_RANGE)


def test_prices_beyond_float64_are_out_of_range():
    found = alpha_fair_on_polytope([[1e-4]], A=[[1.0]], b=[1.0], alpha=150.0)
    assert found.status is Status.OUT_OF_RANGE
    assert found.utilities[0] == pytest.approx(1e-4)
    assert "measure in units near a typical utility" in found.sentence


def test_the_record_is_frozen_and_prints():
    found = alpha_fair_on_polytope(T, A=[[1.0, 1, 1]], b=[1.0], alpha=1.0)
    assert isinstance(found, PolytopeAllocation)
    assert found == alpha_fair_on_polytope(T, A=[[1.0, 1, 1]], b=[1.0], alpha=1.0)
    assert found != dataclasses.replace(found, iterations=99)
    assert "residual" in str(found)
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.status = Status.OPTIMAL


GIVEN = {"T": T, "G": [[1.0, 0.0, 1.0]], "h": [1.0], "A": [[0.0, 1.0, 1.0]], "b": [1.0]}
WRONG = [
    ("T", np.zeros((0, 3))),
    ("T", np.zeros((2, 0))),
    ("T", [1.0, 2.0, 3.0]),
    ("T", [[1.0, np.nan, 0.0]]),
    ("T", [[1.0, np.inf, 0.0]]),
    ("T", [[1j, 1.0, 0.0]]),
    ("T", [["1", "2", "3"]]),
    ("T", sparse.csr_array(np.ones((2, 3)) * 1j)),
    ("T", sparse.csr_array([[np.nan, 1.0, 1.0]])),
    ("G", [[1.0, 1.0]]),
    ("G", [[np.nan, 1.0, 1.0]]),
    ("G", None),
    ("h", None),
    ("h", [1.0, 2.0]),
    ("h", [np.inf]),
    ("h", [np.nan]),
    ("A", [[1.0, 1.0, 1.0, 1.0]]),
    ("A", None),
    ("b", None),
    ("b", [[1.0]]),
    ("b", [-np.inf]),
    ("alpha", -0.1),
    ("alpha", 200.5),
    ("alpha", np.nan),
    ("alpha", [1.0, 2.0]),
    ("alpha", "1"),
    ("weights", [1.0]),
    ("weights", [1.0, 0.0]),
    ("weights", [1.0, np.inf]),
    ("priority", [1.0, -1.0]),
    ("priority", [1.0, np.nan]),
    ("priority", [1.0, 1.0, 1.0]),
    ("tol", 0.0),
    ("tol", 1.0),
]


@pytest.mark.parametrize(("argument", "value"), WRONG)
def test_wrong_input_is_refused_by_name(argument, value):
    with pytest.raises(InvalidInput) as caught:
        alpha_fair_on_polytope(**GIVEN | {"alpha": 1.0} | {argument: value})
    assert caught.value.argument == argument


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("point", [1.0]),
        ("prices", [1.0, 1.0]),
        ("equality_prices", None),
        ("utility_prices", [1.0]),
    ],
)
def test_wrong_points_and_prices_are_refused_by_name(argument, value):
    point = {"point": [0.5, 0.5, 0.5], "prices": [1.0], "equality_prices": [1.0], "alpha": 1.0}
    with pytest.raises(InvalidInput) as caught:
        polytope_certificate(**GIVEN | point | {argument: value})
    assert caught.value.argument == argument
    with pytest.raises(InvalidInput, match="utility_prices"):
        polytope_certificate(**GIVEN | point | {"alpha": np.inf})


def test_a_free_variable_as_two():
    """A transfer between the two, of any sign, that both constraints see."""
    rows = [[1.0, 0.0, 1.0, -1.0], [0.0, 1.0, -1.0, 1.0]]
    limits = {"G": [[1.0, 0, 0, 0], [0, 1.0, 0, 0]], "h": [3.0, 1.0]}
    found = alpha_fair_on_polytope(rows, alpha=1.0, **limits).require()
    np.testing.assert_allclose(found.utilities, [2.0, 2.0], rtol=1e-6)


def expected(rows, limits):
    """EMPTY, or which utilities nothing limits and which can only be zero, by a programme each."""
    found = [linprog(-row, options={"presolve": False}, **limits) for row in rows]
    if any(each.status == 2 for each in found):
        return None
    return [each.status == 3 for each in found], [
        each.status == 0 and -each.fun < 1e-9 for each in found
    ]


@pytest.mark.parametrize("alpha", [0.0, 0.5, 2.0, np.inf])
def test_statuses_are_those_of_linear_programmes(alpha):
    seen = set()
    for seed in range(40):
        rng = np.random.default_rng([9, seed])
        n, k, m, e = (int(rng.integers(*ends)) for ends in ((1, 4), (1, 6), (1, 5), (1, 3)))
        rows, G, A = (rng.integers(-low, 4, (size, k)) for low, size in ((0, n), (2, m), (1, e)))
        h, b = rng.integers(-2, 6, m), rng.integers(-1, 4, e)
        found = alpha_fair_on_polytope(rows, G=G, h=h, A=A, b=b, alpha=alpha)
        facts = expected(rows, {"A_ub": G, "b_ub": h, "A_eq": A, "b_eq": b})
        status, certificate = Status.OPTIMAL, None
        if facts is None:
            status = Status.INFEASIBLE
        elif any(facts[1]) and 1.0 <= alpha < np.inf:
            status, certificate = Status.INFEASIBLE, facts[1]
        elif any(facts[0]):
            status, certificate = Status.UNBOUNDED, facts[0]
        assert found.status is status, (seed, found.sentence)
        assert (found.farkas is not None) == (facts is None)
        if certificate is not None:
            np.testing.assert_array_equal(found.certificate, certificate)
        seen.add(status)
    assert len(seen) == 3


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, 5.0, np.inf])
def test_free_disposal(alpha):
    """The last variable only helps to meet the second constraint, which so has no price."""
    rows = [[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]]
    limits = {"G": [[1.0, 1.0, 0.0], [1.0, 1.0, -0.5]], "h": [1.0, 0.25]}
    found = alpha_fair_on_polytope(rows, alpha=alpha, **limits).require()
    alone = alpha_fair_on_polytope(
        np.array(rows)[:, :2], G=[[1.0, 1.0]], h=[1.0], alpha=alpha
    ).require()
    np.testing.assert_allclose(found.utilities, alone.utilities, rtol=1e-7)
    proof = judged(found, {"T": rows, "alpha": alpha, **limits})
    assert proof.feasibility < 1e-12
    assert alpha == 0.0 or proof.error.max() < 1e-3
