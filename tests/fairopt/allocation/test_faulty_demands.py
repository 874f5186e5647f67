"""Demands and constraints that are faulty are named, and the others are solved."""

import networkx as nx
import numpy as np
import pytest

from fairopt import (
    AllocationProblem,
    InvalidInput,
    Status,
    alpha_fair_allocation,
    alpha_fair_on_polytope,
    alpha_fair_path_allocation,
)
from fairopt.network import allocation_on_graph

ALPHAS = [0.0, 0.5, 1.0, 2.0, np.inf]
TWO_PATHS = np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])  # flow 0 over both links, flow 1 over one


def line():
    graph = nx.path_graph(4)
    nx.set_edge_attributes(graph, 1.0, "capacity")
    return graph


@pytest.mark.parametrize("paths", [1, 2])
def test_a_demand_without_a_path_and_an_edge_without_capacity_are_named(paths):
    graph = line()
    graph.add_edge("x", "y", capacity=1.0)
    with pytest.raises(InvalidInput, match=r"0 -> 'x'.*connected by a path"):
        allocation_on_graph(graph, [(0, 3), (0, "x")], 1.0, paths=paths)
    for edit, what in (({}, "attribute 'capacity'"), ({"capacity": np.nan}, "capacity = nan")):
        bare = line()
        bare.add_edge(3, 4, **edit)
        with pytest.raises(InvalidInput, match=what):
            allocation_on_graph(bare, [(0, 3)], 1.0, paths=paths)


@pytest.mark.parametrize("alpha", [1.0, np.inf])
@pytest.mark.parametrize("paths", [1, 2])
def test_demands_over_an_edge_of_no_capacity_are_named_beside_the_others(alpha, paths):
    graph = line()
    graph.edges[1, 2]["capacity"] = 0.0
    found = allocation_on_graph(graph, [(0, 3), (2, 3), (0, 1)], alpha, paths=paths)
    np.testing.assert_allclose(found.rates, [0.0, 1.0, 1.0], rtol=1e-9)
    if alpha == 1.0:
        assert found.status is Status.INFEASIBLE
        assert "0 -> 3" in found.sentence
        assert "the others are solved" in found.sentence


@pytest.mark.parametrize("wrong", [-1.0, np.nan])
@pytest.mark.parametrize("argument", ["upper", "weights", "priority"])
def test_wrong_volumes_weights_and_priorities_are_named(argument, wrong):
    given = {argument: [1.0, wrong]}
    calls = [
        lambda: allocation_on_graph(line(), [(0, 3), (1, 2)], 1.0, **given),
        lambda: alpha_fair_path_allocation(TWO_PATHS, [0, 0, 1], [1.0, 1.0], 1.0, **given),
    ]
    if argument != "weights":
        problem = AllocationProblem([[1.0, 1.0]], [1.0], 1.0)
        calls += [lambda: problem.solve(**given, start=[1.0])]
    for call in calls:
        with pytest.raises(InvalidInput) as caught:
            call()
        assert caught.value.argument == argument


@pytest.mark.parametrize("alpha", ALPHAS)
def test_a_path_twice_and_a_link_that_no_path_uses_change_nothing(alpha):
    plain = alpha_fair_path_allocation(TWO_PATHS, [0, 0, 1], [1.0, 0.5], alpha)
    more = np.vstack([np.column_stack([TWO_PATHS[:, :1], TWO_PATHS]), np.zeros(4)])
    again = alpha_fair_path_allocation(more, [0, 0, 0, 1], [1.0, 0.5, 3.0], alpha)
    assert again.require().prices[2] == 0.0
    if alpha > 0.0:
        np.testing.assert_allclose(again.rates, plain.require().rates, rtol=1e-7)
    unused = AllocationProblem([[1.0, 1.0], [0.0, 0.0]], [1.0, 3.0], alpha)
    found = unused.solve(start=unused.solve()).require()
    assert found.rates.sum() == pytest.approx(1.0)
    assert found.prices[1] == 0.0


@pytest.mark.parametrize("alpha", ALPHAS)
def test_repeated_equalities_change_nothing_and_contradictory_ones_are_infeasible(alpha):
    T = np.eye(3)
    plain = alpha_fair_on_polytope(T, A=[[1.0, 2.0, 1.0]], b=[2.0], alpha=alpha).require()
    rows = [[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]]
    again = alpha_fair_on_polytope(T, A=rows, b=[2.0, 4.0, 2.0], alpha=alpha).require()
    if alpha > 0.0:
        np.testing.assert_allclose(again.utilities, plain.utilities, rtol=1e-6)
    empty = alpha_fair_on_polytope(T, A=rows, b=[2.0, 4.0, 3.0], alpha=alpha)
    assert empty.status is Status.INFEASIBLE


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, np.inf])
def test_in_a_series_links_close_flows_lose_every_limit_and_all_come_back(alpha):
    """Each time the others have the rates that they would have alone."""
    R, c = np.array([[1.0, 1.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0]]), np.array([2.0, 1.0])
    problem = AllocationProblem(R, c, alpha)
    first = last = problem.solve().require()
    for capacity, others in (([2.0, 0.0], [0, 2]), ([np.inf, 1.0], [1, 3]), (c, range(4))):
        last = problem.solve(capacity=capacity, start=last)
        alone = alpha_fair_allocation(R[:, list(others)], capacity, alpha).require()
        np.testing.assert_allclose(last.rates[list(others)], alone.rates, rtol=1e-7)
        if not last.ok:
            named = np.delete(np.arange(4), list(others))
            assert set(np.flatnonzero(last.certificate)) <= set(named)
            assert "the others are solved" in last.sentence
    np.testing.assert_allclose(last.require().rates, first.rates, rtol=1e-9)
