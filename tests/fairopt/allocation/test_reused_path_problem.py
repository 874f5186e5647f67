"""Flows over several paths in a problem that keeps them: the answers of problems stated afresh."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairopt import (
    InvalidInput,
    PathAllocationProblem,
    Status,
    alpha_fair_path_allocation,
    path_allocation_residual,
)
from fairopt.allocation.multipath import direct, polish, solve
from fairopt.network import NetworkProblem, allocation_on_graph
from tests.fairopt.allocation.test_multipath import tied
from tests.fairopt.allocation.test_path_limits import limited
from tests.fairopt.allocation.test_reused_problem import change, same_bytes

SEEDS = st.integers(0, 10**6)
TOL = 1e-6


def stated(seed):
    """A small problem, half of them with whole capacities and links that repeat others."""
    rng = np.random.default_rng(seed)
    if seed % 2:
        return *limited(seed), float(rng.choice([0.3, 1.0, 2.0, 4.0]))
    R, owner, c = tied(seed)
    ones = np.ones(owner[-1] + 1)
    return R, owner, c, ones, np.inf * ones, ones, float(rng.choice([0.0, 0.5, 1.0, 2.0, np.inf]))


def agree(found, fresh, seed):
    """The same status, and rates within what is certified of both; nothing is at alpha = 0."""
    assert found.status is fresh.status, seed
    if found.ok:
        known = np.isfinite(found.error + fresh.error)
        most = found.error + fresh.error + 1e-9
        off = np.abs(found.rates - fresh.rates) / np.maximum(fresh.rates, 1e-300)
        assert (off <= most)[known & (fresh.rates > 0.0)].all(), seed


def series(seed, steps=4):
    """Random changes, each solved from the last answer, from nothing, and stated afresh."""
    rng = np.random.default_rng([1, seed])
    R, owner, c, p, u, w, alpha = stated(seed)
    problem = PathAllocationProblem(R, owner, c, alpha, priority=p, upper=u, weights=w)
    last = problem.solve()
    for step in range(steps):
        c, p, u = change(rng, c, p, u)
        if rng.random() < 0.2:
            w = w * rng.uniform(0.8, 1.25, len(w))
        given = {"capacity": c, "priority": p, "upper": u, "weights": w}
        fresh = alpha_fair_path_allocation(R, owner, alpha=alpha, **given)
        if step == 0:
            same_bytes(problem.solve(**given), fresh)
        last = problem.solve(**given, start=last)
        agree(last, fresh, seed)
        if last.ok:
            point = last.path_rates, last.prices, last.upper_prices
            residual = path_allocation_residual(
                R, owner, c, alpha, *point, priority=p, upper=u, weights=w
            )
            assert residual <= 2.0 * TOL, seed


@settings(max_examples=25)
@given(seed=SEEDS)
def test_a_series_of_changes_is_solved_like_problems_stated_afresh(seed):
    series(seed)


@settings(max_examples=5)
@given(seed=SEEDS, alpha=st.sampled_from([0.5, 1.0, 2.0]))
def test_a_start_from_anything_is_no_worse_than_none(seed, alpha):
    """The answer of another alpha, of other capacities, or none at all: judged like any other."""
    R, owner, c, p, u, w, _ = stated(seed | 1)
    rng = np.random.default_rng(seed)
    problem = PathAllocationProblem(R, owner, c, alpha, priority=p, upper=u, weights=w)
    fresh = problem.solve()
    other = problem.solve(alpha=3.0, capacity=c * rng.uniform(0.1, 10.0, len(c)))
    agree(problem.solve(start=other), fresh, seed)
    for name in ("path_rates", "prices", "upper_prices"):
        for value in (0.0, np.nan, np.inf, -1.0):
            nonsense = np.full_like(getattr(other, name), value)
            agree(problem.solve(start=solve.replace(other, **{name: nonsense})), fresh, seed)


def test_a_link_that_had_no_effect_comes_to_matter():
    """What was left out the last time is not taken for granted."""
    R, owner = [[1, 0, 1], [0, 1, 1], [1, 1, 0], [1, 1, 1]], [0, 1, 2]
    problem = PathAllocationProblem(R, owner, [1.0, 1.0, 9.0, 9.0], 1.0)
    last = problem.solve().require()
    for c in ([1.0, 1.0, 0.2, 9.0], [1.0, 1.0, 9.0, 0.3], [1.0, 1.0, 9.0, 9.0]):
        found = problem.solve(capacity=c, start=last).require()
        expected = alpha_fair_path_allocation(R, owner, c, 1.0).rates
        np.testing.assert_allclose(found.rates, expected, rtol=1e-9)
        last = found


@pytest.mark.parametrize("kind", ["capacity", "priority", "upper"])
def test_small_changes_take_a_few_steps(kind, monkeypatch):
    """What a start is for: otherwise nothing but time would show that it is not used."""
    cold = []
    right = direct.reach_path
    monkeypatch.setattr(direct, "reach_path", lambda form: cold.append(form) or right(form))
    for seed in range(8):
        R, owner, c, p, u, w = limited(seed)
        numbers = {"capacity": c, "priority": p, "upper": u}
        problem = PathAllocationProblem(R, owner, c, 1.0, priority=p, upper=u, weights=w)
        last = problem.solve().require()
        cold.clear()
        factor = np.random.default_rng(seed).uniform(0.99, 1.01, len(numbers[kind]))
        found = problem.solve(**{kind: factor * numbers[kind]}, start=last).require()
        assert found.iterations <= 8
        assert not cold


def test_where_full_steps_fail_a_shorter_path_is_followed(monkeypatch):
    """The second way from a start, which small problems do not need."""
    steps = []
    right = direct.log_phase
    monkeypatch.setattr(polish, "MOST_FULL_STEPS", -1)
    monkeypatch.setattr(direct, "log_phase", lambda *args: steps.append(args[2]) or right(*args))
    for seed in range(10):
        R, owner, c, p, u, w = limited(seed)
        problem = PathAllocationProblem(R, owner, c, 2.0, priority=p, upper=u, weights=w)
        last = problem.solve().require()
        steps.clear()
        found = problem.solve(capacity=1.01 * c, start=last).require()
        agree(found, problem.solve(capacity=1.01 * c), seed)
        assert steps in ([direct.NEAR_GAP], [])


def test_flows_without_an_optimum_are_left_out_of_a_start_too():
    R, owner = [[1, 0, 1], [0, 1, 0]], [0, 0, 1]
    problem = PathAllocationProblem(R, owner, [1.0, 1.0], 1.0)
    last = problem.solve().require()
    closed = problem.solve(capacity=[0.0, 1.0], start=last)
    assert closed.status is Status.INFEASIBLE
    np.testing.assert_allclose(closed.rates, [1.0, 0.0])
    opened = problem.solve(capacity=[np.inf, 1.0], start=closed)
    assert opened.status is Status.UNBOUNDED
    np.testing.assert_allclose(problem.solve(start=opened).require().rates, last.rates)


def test_what_happens_to_the_arrays_later_has_no_effect():
    R, owner, c, p, u, w = (np.array(a) for a in limited(3))
    expected = alpha_fair_path_allocation(R, owner, c, 2.0, priority=p, upper=u, weights=w)
    given = R.copy(), owner.copy(), c.copy(), p.copy(), u.copy(), w.copy()
    problem = PathAllocationProblem(
        *given[:3], 2.0, priority=given[3], upper=given[4], weights=given[5]
    )
    for array in given:
        array[...] = 7
    same_bytes(problem.solve(), expected)
    for array in (problem.capacity, problem.priority, problem.upper, problem.weights):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1.0
    assert problem.alpha == 2.0
    assert repr(problem).startswith(f"PathAllocationProblem({len(c)} links, {len(owner)} paths")


def test_a_pickled_problem_and_one_shared_by_threads():
    R, owner, c, p, u, w = limited(5)
    problem = PathAllocationProblem(R, owner, c, 1.0, priority=p, upper=u, weights=w)
    expected = problem.solve()
    same_bytes(pickle.loads(pickle.dumps(problem)).solve(), expected)
    factors = [1.0 + 0.01 * k for k in range(8)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda f: problem.solve(capacity=f * c, start=expected), factors))
    for factor, one in zip(factors, found, strict=True):
        np.testing.assert_allclose(one.rates, problem.solve(capacity=factor * c).rates, rtol=1e-9)


def test_other_answers_are_refused_as_a_start():
    problem = PathAllocationProblem([[1, 1]], [0, 0], [1.0], 1.0)
    other = alpha_fair_path_allocation([[1, 1], [1, 0]], [0, 0], [1.0, 2.0], 1.0)
    for start in (other, [1.0], "last"):
        with pytest.raises(InvalidInput, match=r"start = .*a PathAllocation of 2 paths, 1 links"):
            problem.solve(start=start)


@pytest.mark.parametrize(("paths", "weighted"), [(1, False), (1, True), (3, False), (3, True)])
def test_paths_of_a_graph_are_kept(paths, weighted, monkeypatch):
    graph = nx.karate_club_graph()
    rng = np.random.default_rng(0)
    for edge in graph.edges:
        graph.edges[edge]["capacity"] = rng.uniform(1.0, 3.0)
    demands = [tuple(map(int, rng.choice(34, 2, replace=False))) for _ in range(20)]
    weights = rng.uniform(0.5, 2.0, 20) if weighted else None
    problem = NetworkProblem(graph, demands, 2.0, paths=paths)
    last = problem.solve(weights=weights).require()
    graph.edges[problem.links[3]]["capacity"] *= 0.5
    options = {"upper": np.full(20, 1.5), "weights": weights}
    fresh = allocation_on_graph(graph, demands, 2.0, paths=paths, **options).require()
    monkeypatch.setattr(nx, "shortest_path", None)
    monkeypatch.setattr(nx, "shortest_simple_paths", None)
    again = problem.solve(capacity="capacity", start=last, **options).require()
    np.testing.assert_allclose(again.rates, fresh.rates, rtol=1e-7)
    assert (again.loads <= again.capacity * (1.0 + 1e-9)).all()  # splits need not be unique
    np.testing.assert_array_equal(again.capacity, fresh.capacity)
    assert (again.links, again.paths, again.routes) == (fresh.links, fresh.paths, fresh.routes)
    same = problem.solve(capacity=fresh.capacity, start=again, alpha=1.0, **options).require()
    assert same.demands == problem.demands


def test_a_step_limit_names_the_flows_that_are_not_certified(monkeypatch):
    found = solve.solve_directly

    def halved(*arguments):
        right = found(*arguments)
        return right._replace(z=0.5 * right.z, error=np.full_like(right.error, np.inf))

    monkeypatch.setattr(solve, "solve_directly", halved)
    monkeypatch.setattr(solve, "_in_decimals", lambda *arguments: None)
    stopped = alpha_fair_path_allocation([[1, 1, 1]], [0, 0, 1], [1.0], 1.0)
    assert stopped.status is Status.STEP_LIMIT
    assert "rates of flows 0, 1 are not certified" in stopped.sentence


def test_a_start_of_no_numbers_and_a_graph_that_has_changed_are_refused_by_name():
    problem = PathAllocationProblem([[1, 1]], [0, 1], [1.0], 1.0)
    last = problem.solve()
    for wrong in (np.array(["a"]), np.array([1j]), np.array([None])):
        with pytest.raises(InvalidInput, match="start"):
            problem.solve(start=replace(last, prices=wrong))
    ring = nx.cycle_graph(4)
    nx.set_edge_attributes(ring, 1.0, "capacity")
    kept = NetworkProblem(ring, [(0, 2)], 1.0, paths=2)
    ring.edges[0, 1]["capacity"] = True
    with pytest.raises(InvalidInput, match="edge 0 -> 1"):
        kept.solve(capacity="capacity")
    ring.remove_edge(2, 3)
    with pytest.raises(InvalidInput, match="there still"):
        kept.solve(capacity="capacity")
    for wrong in (None, 5):
        with pytest.raises(InvalidInput, match="demands"):
            NetworkProblem(ring, wrong, 1.0)
