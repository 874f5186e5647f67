"""Presolve, Newton system and polish of flows over several paths, each against its definition."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from fairopt import Status, alpha_fair_allocation, alpha_fair_path_allocation
from fairopt.allocation.multipath import direct, solve
from fairopt.allocation.multipath.interior import first_point, follow_path, reach_path, state_of
from fairopt.allocation.multipath.link_space import SplitForm, newton_system
from fairopt.allocation.multipath.polish import polish
from fairopt.allocation.multipath.presolve import presolve
from fairopt.kernels.network import grouped, path_system
from tests.fairopt.allocation.test_multipath import tied
from tests.fairopt.allocation.test_network import split_problem

SEEDS = st.integers(0, 2**20)


def form_of(seed, alpha=1.0, limited=True):
    """A small problem without empty rows or columns, some of its flows with limits."""
    rng = np.random.default_rng(seed)
    m, n = int(rng.integers(1, 8)), int(rng.integers(1, 8))
    owner = np.repeat(np.arange(n), rng.integers(1, 4, n))
    R = (rng.random((m, len(owner))) < 0.5) * rng.uniform(0.5, 2.0, (m, len(owner)))
    R[rng.integers(m, size=len(owner)), np.arange(len(owner))] = 1.0
    rows = sparse.csr_array(R[R.any(axis=1)].T)
    upper = np.where(rng.random(n) < 0.4, rng.uniform(0.05, 0.5, n), np.inf)
    upper = upper if limited else np.full(n, np.inf)
    return SplitForm(rows, owner, rng.normal(size=n), alpha, upper), rng


@given(SEEDS)
@settings(max_examples=40, deadline=None)
def test_newton_changes_solve_the_three_equations(seed):
    form, rng = form_of(seed)
    D, H = rng.uniform(0.1, 2.0, len(form.owner)), rng.uniform(0.1, 2.0, form.flows)
    barrier = rng.uniform(0.1, 2.0, form.links)
    a, e, r = (rng.normal(size=k) for k in (form.flows, len(form.owner), form.links))
    d = newton_system(form, D, H, barrier).solve(a, e, r)
    A = form.rows.T
    np.testing.assert_allclose(d.x, form.total(d.z), atol=1e-12)
    np.testing.assert_allclose(d.z, D * (d.pi[form.owner] + e - A.T @ d.prices), atol=1e-10)
    np.testing.assert_allclose(H * d.x + d.pi, a, atol=1e-10)
    np.testing.assert_allclose(A @ d.z - barrier * d.prices, r, atol=1e-10)


def test_a_flow_that_its_limit_holds_is_not_moved_by_rounding():
    """Paths that move freely by 1e9 times as much as the flow: their sum would be rounding."""
    form, rng = form_of(3, limited=False)
    D, H = rng.uniform(1e8, 1e9, len(form.owner)), np.full(form.flows, 1e10)
    a, e = rng.normal(size=form.flows), rng.normal(size=len(form.owner))
    d = newton_system(form, D, H, np.ones(form.links)).solve(a, e, np.zeros(form.links))
    np.testing.assert_allclose(H * d.x, a - d.pi, rtol=1e-9)
    np.testing.assert_allclose(form.total(d.z), d.x, atol=1e-15 * np.abs(d.z).max())
    np.testing.assert_allclose(d.load, form.rows.T @ d.z, rtol=1e-9, atol=1e-12)


def test_paths_that_hardly_move_and_those_that_move_freely_have_one_matrix():
    """Rank-ones are added without subtraction: sixteen decades of D and H leave it definite."""
    form, rng = form_of(3, limited=False)
    for _ in range(20):
        D = 10.0 ** rng.uniform(-8.0, 8.0, len(form.owner))
        H = 10.0 ** rng.uniform(-8.0, 8.0, form.flows)
        assert newton_system(form, D, H, np.full(form.links, 1e-12)) is not None


@given(SEEDS, st.sampled_from([0.3, 1.0, 2.0, 4.0]))
@settings(max_examples=40, deadline=None)
def test_the_path_ends_where_polishing_is_exact(seed, alpha):
    """Flows with limits of their own included: all conditions of optimality, to the last digits."""
    form, _ = form_of(seed, alpha)
    with np.errstate(all="ignore"):
        start = first_point(form)
        assert min(float(part.min(initial=1.0)) for part in start) > 0.0
        assert float(np.abs(state_of(form, start).primal).max()) < 1e-12
        point, _, reached = reach_path(form)
        assert reached
        point, _ = follow_path(form, point, 1e-11)
        found = polish(form, point, 60)
    assert found.residual <= 1e-12
    x = form.total(found.z)
    assert (x <= form.upper * (1.0 + 1e-12)).all()
    assert (form.rows.T @ found.z <= 1.0 + 1e-12).all()


def reduced(R, owner, capacity, alpha=1.0):
    """The presolved problem, with rates as they are stated."""
    A = sparse.csr_array(np.asarray(R, dtype=float))
    A.data = A.data / np.repeat(capacity, np.diff(A.indptr))
    return presolve(A, np.asarray(owner), np.zeros(owner[-1] + 1), alpha)


def test_presolve_keeps_the_tightest_of_links_in_series():
    found = reduced([[1, 1, 1], [1, 1, 1], [0, 1, 1], [2, 2, 2]], [0, 1, 1], [1.0, 0.9, 0.5, 3.0])
    np.testing.assert_array_equal(found.links, [1])
    np.testing.assert_array_equal(found.limit, [np.inf, 0.5])
    np.testing.assert_array_equal(found.limit_link, [-1, 2])


def test_presolve_drops_a_link_that_cannot_fill_and_settles_a_flow_alone():
    R, capacity = [[1, 0, 0], [0, 1, 0], [1, 1, 1], [0, 0, 1]], [1.0, 1.0, 9.0, 2.0]
    found = reduced(R, [0, 1, 2], capacity)
    assert found.form is None
    np.testing.assert_array_equal(found.settled, [0, 1, 2])
    rates = alpha_fair_path_allocation(R, [0, 1, 2], capacity, 1.0).require().rates
    np.testing.assert_array_equal(rates, [1.0, 1.0, 2.0])


def test_presolve_keeps_a_link_with_one_user_and_one_of_equal_paths():
    found = reduced([[1, 0, 0], [0, 1, 1], [1, 1, 1]], [0, 0, 0], [0.3, 0.4, 0.5])
    np.testing.assert_array_equal(found.paths, [0, 1])
    assert found.limit[0] == 0.5
    split = alpha_fair_path_allocation(
        [[1, 0, 0], [0, 1, 1], [1, 1, 1]], [0, 0, 0], [0.3, 0.4, 0.5], 1
    )
    assert split.require().rates[0] == pytest.approx(0.5, rel=1e-14)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
def test_what_the_direct_solver_misses_is_solved_otherwise(alpha, monkeypatch):
    """Its answer is judged, not trusted: spoilt, it is noticed, and the others agree with it."""
    right = direct.solve_directly

    def spoilt(*args):
        found = right(*args)
        return found._replace(z=0.9 * found.z, residual=0.0)

    for R, owner, c, w in map(split_problem, range(6)):
        known = alpha_fair_path_allocation(R, owner, c, alpha, priority=w).require()
        with monkeypatch.context() as patch:
            patch.setattr(solve, "solve_directly", spoilt)
            found = alpha_fair_path_allocation(R, owner, c, alpha, priority=w).require()
        np.testing.assert_allclose(found.rates, known.rates, rtol=1e-6)


def test_statuses_are_those_of_single_paths():
    seen = set()
    for seed in range(60):
        R, _, capacity = tied(seed)
        rng = np.random.default_rng(seed)
        capacity[rng.integers(len(capacity))] = rng.choice([0.0, 1.0, np.inf])
        for alpha in (0.5, 1.0, 2.0):
            one = alpha_fair_allocation(R, capacity, alpha)
            several = alpha_fair_path_allocation(R, np.arange(R.shape[1]), capacity, alpha)
            assert several.status is one.status, seed
            np.testing.assert_allclose(several.rates, one.rates, rtol=1e-7, atol=1e-12)
            seen.add(one.status)
    assert seen >= {Status.OPTIMAL, Status.INFEASIBLE, Status.UNBOUNDED}


@given(SEEDS)
@settings(max_examples=40, deadline=None)
def test_compiled_facts_of_links_are_their_definitions(seed):
    """Largest values of groups, links that others cover, links of all paths of a flow."""
    form, rng = form_of(seed)
    A, m = form.rows.toarray().T, form.links
    group, value = rng.integers(0, 5, 30), rng.normal(size=30)
    least = rng.normal(size=5)
    expected = [max(least[g], value[group == g].max(initial=-np.inf)) for g in range(5)]
    np.testing.assert_array_equal(grouped.largest(group, value, least), expected)
    users = (A > 0.0).sum(axis=1)
    covered = path_system.covered_links(form.start, form.link, form.rows.data, users.astype(float))
    for l in range(m):
        above = [k for k in range(m) if k != l and (A[l] <= A[k]).all()]
        assert covered[l] == any(k < l or not (A[k] <= A[l]).all() for k in above)
    begin, union, local = form.union
    assert len(union) == begin[-1]
    for i in range(form.flows):
        mine = union[begin[i] : begin[i + 1]]
        np.testing.assert_array_equal(mine, np.flatnonzero(A[:, form.owner == i].any(axis=1)))
        entries = slice(form.start[form.bounds[i]], form.start[form.bounds[i + 1]])
        np.testing.assert_array_equal(mine[local[entries]], form.link[entries])


@pytest.mark.parametrize("upper", [None, [np.inf, 2.0]])
@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.2, 0.3, 0.5])
def test_rates_that_rise_by_decades_along_the_path_are_found(alpha, upper):
    """Far from the end flow 1 has next to nothing, at it the whole of its link."""
    routing, owner = [[1.0, 1.0, 1.0], [0.0, 1.0, 1.0]], [0, 0, 1]
    for room in (10.0, 1e3, 1e6):
        found = alpha_fair_path_allocation(routing, owner, [room, 1.0], alpha, upper=upper)
        assert found.status is Status.OPTIMAL
        np.testing.assert_allclose(found.rates, [room - 1.0, 1.0], rtol=1e-6)
