"""Parallel edges are links of their own: the same as a simple graph with a node on every edge."""

from itertools import pairwise

import networkx as nx
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fairopt import network

SEEDS = st.integers(0, 2**20)
EVERY_PATH = 1000
SPLIT = 1e-5  # flow rates over several paths: the root of a duality gap


def multigraph(seed, *, directed):
    """A connected graph of a few nodes, some pairs of them with two or three edges."""
    rng = np.random.default_rng(seed)
    nodes = int(rng.integers(2, 5))
    made = nx.MultiDiGraph() if directed else nx.MultiGraph()
    ends = [(k, k + 1) for k in range(nodes - 1)]
    ends += [tuple(map(int, rng.choice(nodes, 2, replace=False))) for _ in range(nodes - 1)]
    pairs = [pair for pair in ends for _ in range(int(rng.integers(1, 4)))]
    if directed:
        pairs += [pair[::-1] for pair in pairs]
    for pair in pairs:
        made.add_edge(*pair, capacity=float(rng.uniform(1.0, 10.0)))
    made.graph["added"] = pairs
    flows = int(rng.integers(1, 5))
    return made, [tuple(map(int, rng.choice(nodes, 2, replace=False))) for _ in range(flows)]


def subdivided(graph):
    """The simple graph in which every edge goes through a node of its own, its two halves alike."""
    simple = nx.DiGraph() if graph.is_directed() else nx.Graph()
    for source, target, key, capacity in graph.edges(keys=True, data="capacity"):
        middle = ("on", source, target, key)
        simple.add_edge(source, middle, capacity=capacity)
        simple.add_edge(middle, target, capacity=capacity)
    return simple


@pytest.mark.parametrize("directed", [False, True])
@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, np.inf])
@settings(max_examples=15, deadline=None)
@given(seed=SEEDS)
def test_over_every_path_rates_are_those_of_the_subdivided_graph(directed, alpha, seed):
    made, demands = multigraph(seed, directed=directed)
    found = network.allocation_on_graph(made, demands, alpha, paths=EVERY_PATH).require()
    simple = network.allocation_on_graph(subdivided(made), demands, alpha, paths=EVERY_PATH)
    np.testing.assert_allclose(found.rates, simple.require().rates, rtol=SPLIT)
    assert [len(each) for each in found.paths] == [len(each) for each in simple.paths]


@pytest.mark.parametrize("directed", [False, True])
@settings(max_examples=25, deadline=None)
@given(seed=SEEDS)
@example(seed=3)
def test_over_one_path_it_is_the_graph_of_the_first_edges(directed, seed):
    made, demands = multigraph(seed, directed=directed)
    first = nx.DiGraph() if directed else nx.Graph()
    for pair in made.graph["added"]:  # networkx takes the first of equal paths in this order
        first.add_edge(*pair, capacity=made.edges[*pair, 0]["capacity"])
    found = network.allocation_on_graph(made, demands, 1.0).require()
    plain = network.allocation_on_graph(first, demands, 1.0).require()
    assert found.paths == plain.paths
    np.testing.assert_allclose(found.rates, plain.rates, rtol=1e-12)


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.booleans(), st.integers(1, 5))
def test_routes_are_the_paths_as_links_that_carry_their_key(seed, directed, paths):
    made, demands = multigraph(seed, directed=directed)
    found = network.allocation_on_graph(made, demands, 1.0, paths=paths).require()
    assert found.links == tuple(made.edges(keys=True))
    np.testing.assert_array_equal(found.capacity, [made.edges[k]["capacity"] for k in found.links])
    assert (found.loads <= found.capacity * (1.0 + 1e-6)).all()
    for nodes, routes, demand in zip(found.paths, found.routes, found.demands, strict=True):
        assert 1 <= len(nodes) == len(routes) == len(set(routes)) <= paths
        assert [len(path) for path in nodes] == sorted(len(path) for path in nodes)
        for path, route in zip(nodes, routes, strict=True):
            assert (path[0], path[-1]) == demand
            ends = list(pairwise(path))
            either = [(link[:2], link[1::-1]) if not directed else (link[:2],) for link in route]
            assert all(end in both for end, both in zip(ends, either, strict=True))


def test_two_lines_between_two_towns():
    towns = nx.MultiGraph()
    towns.add_edge("a", "b", key="cable", capacity=1.0)
    towns.add_edge("a", "b", key="radio", capacity=0.5)
    towns.add_edge("b", "c", capacity=2.0)
    demands = [("a", "c"), ("a", "b")]
    one = network.allocation_on_graph(towns, demands, 1.0).require()
    np.testing.assert_allclose(one.rates, [0.5, 0.5])
    assert one.routes[0] == ((("a", "b", "cable"), ("b", "c", 0)),)
    two = network.allocation_on_graph(towns, demands, 1.0, paths=2).require()
    np.testing.assert_allclose(two.rates, [0.75, 0.75], rtol=SPLIT)
    assert two.links == (("a", "b", "cable"), ("a", "b", "radio"), ("b", "c", 0))
    np.testing.assert_allclose(two.loads, [1.0, 0.5, 0.75], rtol=SPLIT)


def test_a_collapsed_multigraph_is_something_else():
    """A negative control: one edge for all parallel ones has the capacity of one of them only."""
    made, demands = multigraph(0, directed=False)
    assert made.number_of_edges() > nx.Graph(made).number_of_edges()
    found = network.allocation_on_graph(made, demands, 1.0, paths=EVERY_PATH).require()
    collapsed = network.allocation_on_graph(nx.Graph(made), demands, 1.0, paths=EVERY_PATH)
    assert np.abs(found.rates / collapsed.rates - 1.0).max() > 0.1


@pytest.mark.parametrize("kind", [nx.MultiGraph, nx.MultiDiGraph])
def test_parallel_edges_are_drawn(tmp_path, kind):
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib.figure import Figure

    made = kind()
    for key, capacity in (("one", 1.0), ("two", 2.0), ("free", np.inf)):
        made.add_edge("a", "b", key=key, capacity=capacity)
    made.add_edge("b", "c", capacity=0.0)
    found = network.allocation_on_graph(made, [("a", "b"), ("a", "c")], 0.5)
    figure = Figure()
    network.draw(found, made, figure.add_subplot())
    figure.savefig(tmp_path / "network.png")
    arrows = [each for each in figure.axes[0].patches if hasattr(each, "get_connectionstyle")]
    assert len(arrows) >= 2  # the second and third edge beside the first
    assert (tmp_path / "network.png").stat().st_size > 5_000
