"""Polytopes in any unit, with any redundant rows: the same status and the same utilities."""

import numpy as np
import pytest

from fairopt import Status, alpha_fair_on_polytope, polytope_certificate
from fairopt.allocation.polytope import equalities
from fairopt.allocation.polytope.farkas import proves_empty, proves_zero
from fairopt.allocation.polytope.problem import read
from fairopt.allocation.polytope.units import in_own_units

ALPHAS = (0.0, 0.3, 1.0, 2.0, 5.0, np.inf)
POWERS = (-300, -100, -30, 30, 100, 300)
LARGEST_LOG = 650.0  # of a price that float64 still holds
PROBLEMS = {
    "two share": {"T": np.eye(2), "G": [[1.0, 1.0]], "h": [1.0]},
    "machines": {
        "T": [[2.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 3.0]],
        "G": [[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0], [-2.0, -1.0, 0.0, 0.0]],
        "h": [1.0, 1.0, -0.5],
        "A": [[1.0, 1.0, 1.0, 1.0]],
        "b": [1.5],
        "weights": [1.0, 1.0],
    },
    "a repeated row": {
        "T": [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]],
        "A": [[1.0, -1.0, 1.0], [1.0, 1.0, 1.0], [1.0, -1.0, 1.0]],
        "b": [0.0, 1.0, 0.0],
    },
    "one can only be zero": {"T": np.eye(2), "G": [[1.0, 1.0], [-1.0, 0.0]], "h": [1.0, -1.0]},
    "empty": {"T": np.eye(2), "G": [[1.0, 1.0]], "h": [1.0], "A": [[1.0, 1.0]], "b": [2.0]},
}
EXPECTED = {  # by hand
    "two share": [0.5, 0.5],
    "a repeated row": [0.5, 0.5],
}


def powers(alpha):
    """Two of them at every alpha; the problem that is solved is the same for all, see below."""
    return POWERS[ALPHAS.index(alpha) % 3 :: 3]


def checked(problem):
    """The checked problem."""
    names = ("T", "G", "h", "A", "b", "alpha", "weights", "priority")
    return read(*(problem.get(name) for name in names))


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
def test_the_problem_in_own_units_is_the_same_to_the_last_bit(problem):
    one, _ = in_own_units(checked(problem | {"alpha": 2.0}))
    for power in POWERS:
        changed = problem | {"T": np.ldexp(problem["T"], -power), "alpha": 2.0}
        changed["weights"] = np.full(len(problem["T"]), 2.0**-power)
        for name in ("h", "b"):
            if name in problem:
                changed[name] = np.ldexp(problem[name], power)
        other, units = in_own_units(checked(changed))
        assert units.exact
        for name in ("h", "b", "weights"):
            np.testing.assert_array_equal(getattr(other, name), getattr(one, name))
        for name in ("T", "G", "A"):
            np.testing.assert_array_equal(getattr(other, name).data, getattr(one, name).data)


def same(found, one, unit, log_prices):
    """Status and utilities of `one` in other units, where float64 holds the prices."""
    if log_prices < LARGEST_LOG:
        assert found.status is one.status, found.sentence
    else:
        assert found.status in (one.status, Status.OUT_OF_RANGE)
    np.testing.assert_allclose(found.utilities / unit, one.utilities, rtol=1e-9)
    assert not found.ok or np.isfinite(found.point).all()


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
@pytest.mark.parametrize("alpha", ALPHAS)
def test_right_hand_sides_in_any_unit(problem, alpha):
    one = alpha_fair_on_polytope(**problem, alpha=alpha)
    for power in powers(alpha):
        changed = dict(problem)
        for name in ("h", "b"):
            if name in problem:
                changed[name] = np.ldexp(problem[name], power)
        found = alpha_fair_on_polytope(**changed, alpha=alpha)
        size = abs(power) * np.log(2.0) * (0.0 if alpha == np.inf else alpha)
        same(found, one, 2.0**power, size)
        if found.ok and alpha > 0.0:
            proof = polytope_certificate(
                **changed,
                alpha=alpha,
                point=found.point,
                prices=found.prices,
                equality_prices=found.equality_prices,
                utility_prices=found.utility_prices,
            )
            assert proof.feasibility <= 1e-9
            if found.utilities.all():
                assert proof.error.max() <= 1e-3


@pytest.mark.parametrize("alpha", ALPHAS)
def test_utilities_and_rows_in_any_unit(alpha):
    problem = PROBLEMS["machines"]
    one = alpha_fair_on_polytope(**problem, alpha=alpha).require()
    for power in powers(alpha):
        unit, row = np.ldexp(1.0, [power, -power // 3]), np.ldexp(1.0, [-power, power // 2, power])
        changed = problem | {
            "T": np.array(problem["T"]) * unit[:, None],
            "weights": unit,
            "G": np.array(problem["G"]) * row[:, None],
            "h": np.array(problem["h"]) * row,
        }
        found = alpha_fair_on_polytope(**changed, alpha=alpha).require()
        np.testing.assert_allclose(found.utilities / unit, one.utilities, rtol=1e-9)
        np.testing.assert_allclose(found.prices * row, one.prices, rtol=1e-9)
        heavy = problem | {"weights": [2.0**power, 2.0**power]}
        found = alpha_fair_on_polytope(**heavy, alpha=alpha)
        same(found, one, 1.0, abs(power * alpha) * np.log(2.0) if alpha < np.inf else 0.0)


@pytest.mark.parametrize("alpha", [0.3, 1.0, 2.0, 5.0, np.inf])
def test_the_problems_found_in_other_units(alpha):
    for name, x in EXPECTED.items():
        found = alpha_fair_on_polytope(**PROBLEMS[name], alpha=alpha).require()
        np.testing.assert_allclose(found.utilities, x, rtol=1e-6)
    for s in (1e-50, 1e-10, 1e-9, 1e9, 1e20, 1e50):
        two = alpha_fair_on_polytope(np.eye(2), G=[[1.0, 1.0]], h=[s], alpha=alpha).require()
        np.testing.assert_allclose(two.utilities, [0.5 * s, 0.5 * s], rtol=1e-6)


def drawn(seed):
    """A bounded problem of small whole numbers with a zero on the right, and its equalities."""
    rng = np.random.default_rng([77, seed])
    n, k, e = rng.integers(1, 4), rng.integers(2, 6), rng.integers(1, 3)
    rows, A = rng.integers(0, 4, (n, k)), rng.integers(-3, 4, (e, k)).astype(float)
    b = A @ rng.integers(0, 4, k)
    b[0] = 0.0
    return {"T": rows, "G": np.ones((1, k)), "h": [20.0]}, A, b


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0, np.inf])
def test_redundant_rows_change_nothing_and_inconsistent_ones_are_proven_empty(alpha):
    for seed in range(5):
        problem, A, b = drawn(seed)
        one = alpha_fair_on_polytope(**problem, A=A, b=b, alpha=alpha)
        more = np.vstack([A, A[0], 2.0 * A[-1], -A[0], A.sum(axis=0)])
        right = np.concatenate([b, [b[0], 2.0 * b[-1], -b[0], b.sum()]])
        found = alpha_fair_on_polytope(**problem, A=more, b=right, alpha=alpha)
        assert found.status is one.status, (seed, found.sentence)
        if one.ok and alpha > 0.0:
            np.testing.assert_allclose(found.utilities, one.utilities, rtol=1e-5, atol=1e-12)
        elif one.ok:
            assert found.utilities.sum() == pytest.approx(one.utilities.sum(), rel=1e-8)
        right[-2] += 0.5
        wrong = alpha_fair_on_polytope(**problem, A=more, b=right, alpha=alpha)
        assert wrong.status is Status.INFEASIBLE
        lam, nu, pi = np.split(wrong.farkas, [1, 1 + len(right)])
        size = np.abs(wrong.farkas).max()
        assert (lam >= 0.0).all()
        assert (pi >= 0.0).all()
        sums = lam @ problem["G"] + nu @ more - pi @ problem["T"]
        assert (sums >= -1e-9 * size).all()
        assert lam @ problem["h"] + nu @ right < -1e-3 * size


def test_a_vector_of_rounding_is_no_proof():
    A, b = np.array(PROBLEMS["a repeated row"]["A"]), np.array([0.0, 1.0, 0.0])
    none = np.zeros((0, 3))
    system = none, np.zeros(0), A, b, none
    assert not proves_empty(system, np.array([1.0, -9.6e-18, -1.0]))
    assert not proves_empty((*system[:3], b + [0, 0, 5.5e-17], none), np.array([1.0, 0.0, -1.0]))
    assert proves_empty((*system[:3], b + [0, 0, 1e-3], none), np.array([1.0, 0.0, -1.0]))
    assert not proves_empty((*system[:3], b + [0, 0, 1e-3], none), np.array([1.0, 1e-3, -1.0]))
    assert not proves_empty(system, np.array([np.nan, 0.0, 0.0]))


@pytest.mark.parametrize("third", [0.0, 5.5e-17, -1e-15])
def test_right_hand_sides_that_are_zero_but_for_rounding(third):
    problem = PROBLEMS["a repeated row"] | {"b": [0.0, 1.0, third]}
    found = alpha_fair_on_polytope(**problem, alpha=1.0).require()
    np.testing.assert_allclose(found.utilities, [0.5, 0.5], rtol=1e-6)


def test_a_check_of_the_sign_alone_is_caught(monkeypatch):
    def by_sign(system, y):
        return bool(system[3] @ y < 0.0)

    monkeypatch.setattr(equalities, "proves_empty", by_sign)
    monkeypatch.setattr(equalities, "without_rounding", lambda system, y: y)
    problem = PROBLEMS["a repeated row"] | {"alpha": 1.0}
    assert not alpha_fair_on_polytope(**problem).ok


def test_zero_is_said_only_with_a_proof():
    none, one = np.zeros((0, 2)), np.ones((1, 2))
    for h in (1e-9, 1e-30):  # however small: a positive right-hand side proves no zero
        system = one, np.array([h]), none, np.zeros(0), none
        assert not proves_zero(system, np.ones(1), np.ones(2))
        assert proves_zero((one, np.zeros(1), *system[2:]), np.ones(1), np.ones(2))
    for alpha in ALPHAS:
        limits = {"G": [[1.0, 1.0], [1.0, 0.0]], "h": [1e-9, 1e20], "alpha": alpha}
        found = alpha_fair_on_polytope(np.eye(2), **limits)
        assert found.status is not Status.INFEASIBLE
        assert not found.ok or found.utilities.sum() == pytest.approx(1e-9)


@pytest.mark.parametrize("alpha", [0.0, 0.3, np.inf])
def test_where_all_is_zero_there_is_a_point(alpha):
    limits = {"A": [[0.0, -2.0, 2.0]], "b": [0.0], "G": [[1.0, 1.0, 1.0]], "h": [1e-20]}
    found = alpha_fair_on_polytope([[0.0, 0.0, 0.0]], alpha=alpha, **limits).require()
    assert (found.point >= 0.0).all()
    assert found.point[1] == pytest.approx(found.point[2], rel=1e-12)
    assert found.point.sum() <= 1e-20 * (1.0 + 1e-9)


def test_numbers_farther_apart_than_float64_are_out_of_range():
    limits = {"G": [[1.0, 1.0], [1.0, 0.0]], "h": [1e-200, 1e200], "alpha": 1.0}
    found = alpha_fair_on_polytope(np.eye(2), **limits)
    assert found.status is Status.OUT_OF_RANGE
    proof = polytope_certificate(np.eye(2), point=[0.5, 0.5], prices=[1.0, 0.0], **limits)
    assert np.isposinf(proof.error).all()


def test_the_sentence_names_the_only_utility():
    found = alpha_fair_on_polytope([[1.0]], G=[[1.0]], h=[3.0], alpha=0.5, tol=1e-14)
    assert found.status is Status.STEP_LIMIT
    assert "utilities 0)" in found.sentence
