"""Graphs in, rates and link prices out; flows over several paths; sensitivity."""

import networkx as nx
import numpy as np
import pytest
from scipy import sparse

from benchmarks.problems import networks
from fairopt import (
    Allocation,
    InvalidInput,
    NotSolved,
    Status,
    allocation_sensitivity,
    alpha_fair_allocation,
    alpha_fair_path_allocation,
    network,
    path_allocation_residual,
    reference,
)

SPLIT = 1e-5  # flow rates over several paths: the root of a duality gap


def graph(name="karate"):
    made = nx.Graph(networks.GRAPHS[name]())
    rng = np.random.default_rng(0)
    for _, _, data in made.edges(data=True):
        data["capacity"] = float(rng.uniform(1.0, 10.0))
    return made


def pairs(made, count):
    rng = np.random.default_rng(0)
    nodes = list(made.nodes)
    return [tuple(nodes[k] for k in rng.choice(len(nodes), 2, replace=False)) for _ in range(count)]


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, 5.0, np.inf])
def test_loads_respect_capacities(alpha):
    made = graph()
    found = network.allocation_on_graph(made, pairs(made, 60), alpha).require()
    assert (found.loads <= found.capacity * (1.0 + 1e-9)).all()
    assert len(found.prices) == made.number_of_edges()
    for path, (source, target) in zip(found.paths, found.demands, strict=True):
        assert (path[0][0], path[0][-1]) == (source, target)


def test_both_directions_share_an_edge_and_arcs_do_not():
    edge = nx.Graph([("a", "b", {"capacity": 1.0})])
    both = [("a", "b"), ("b", "a")]
    np.testing.assert_allclose(network.allocation_on_graph(edge, both, 1.0).rates, [0.5, 0.5])
    arcs = edge.to_directed()
    np.testing.assert_allclose(network.allocation_on_graph(arcs, both, 1.0).rates, [1.0, 1.0])


def test_refusals_name_what_is_wrong():
    made = graph()
    made.add_edge("far", "away", capacity=1.0)
    with pytest.raises(InvalidInput, match="'far'"):
        network.allocation_on_graph(made, [(0, 1), (0, "far")], 1.0)
    with pytest.raises(InvalidInput, match="nowhere"):
        network.allocation_on_graph(made, [(0, "nowhere")], 1.0)
    for wrong in ([], [(0, 0)], [(0, 1, 2)], ["ab"], [3]):
        with pytest.raises(InvalidInput) as caught:
            network.allocation_on_graph(made, wrong, 1.0)
        assert caught.value.argument == "demands"
    made.add_edge(0, "bare")
    with pytest.raises(InvalidInput, match="bare"):
        network.allocation_on_graph(made, [(0, 1)], 1.0)
    made.remove_node("bare")
    several = nx.MultiGraph(made)
    several.add_edge(0, 1, key="bare one")
    with pytest.raises(InvalidInput, match="key 'bare one'"):
        network.allocation_on_graph(several, [(0, 1)], 1.0)
    with pytest.raises(InvalidInput):
        network.allocation_on_graph([[1.0]], [(0, 1)], 1.0)


@pytest.mark.parametrize("paths", [1, 2])
def test_infeasible_demands_are_named(paths):
    line = nx.path_graph(["a", "b", "c"])
    nx.set_edge_attributes(line, {("a", "b"): 0.0, ("b", "c"): 1.0}, "capacity")
    found = network.allocation_on_graph(line, [("a", "c"), ("b", "c")], 2.0, paths=paths)
    with pytest.raises(NotSolved, match="'a' -> 'c'"):
        found.require()
    zero = network.allocation_on_graph(line, [("a", "c"), ("b", "c")], 0.5, paths=paths)
    np.testing.assert_allclose(zero.require().rates, [0.0, 1.0], atol=1e-6)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, 2.0, np.inf])
def test_more_paths_never_lower_the_least_rate_or_total(alpha):
    made = graph("grid")
    demands = pairs(made, 20)
    one = network.allocation_on_graph(made, demands, alpha).require()
    three = network.allocation_on_graph(made, demands, alpha, paths=3).require()
    if alpha == 0.0:
        assert three.rates.sum() >= one.rates.sum() - 1e-9
    if alpha == np.inf:
        assert three.rates.min() >= one.rates.min() * (1.0 - 1e-6)
    assert (three.loads <= three.capacity * (1.0 + 1e-6)).all()


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 4.0])
def test_single_paths_agree_with_the_other_solver(alpha):
    R, c, w = networks.problem("grid", 30)
    one = alpha_fair_allocation(R, c, alpha, priority=w).require()
    split = alpha_fair_path_allocation(R, np.arange(30), c, alpha, priority=w).require()
    np.testing.assert_allclose(split.rates, one.rates, rtol=SPLIT)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
def test_split_flows_agree_with_cvxpy(alpha):
    import cvxpy

    rng = np.random.default_rng(0)
    R = (rng.random((6, 12)) < 0.4).astype(float)
    R[rng.integers(6, size=12), np.arange(12)] = 1.0
    owner, c = np.repeat(np.arange(4), 3), rng.uniform(1.0, 3.0, 6)
    G = (owner == np.arange(4)[:, None]).astype(float)

    def limits(x):
        z = cvxpy.Variable(12, nonneg=True)
        return [G @ z >= x, R @ z <= c]

    ours = alpha_fair_path_allocation(R, owner, c, alpha).require()
    np.testing.assert_allclose(reference.allocation_on_set(limits, 4, alpha), ours.rates, rtol=2e-3)
    residual = path_allocation_residual(R, owner, c, alpha, ours.path_rates, ours.prices)
    assert residual == ours.residual
    wrong = path_allocation_residual(R, owner, c, alpha, 0.99 * ours.path_rates, ours.prices)
    assert wrong > 1e-3
    moved = np.roll(ours.path_rates, 1)
    assert path_allocation_residual(R, owner, c, alpha, moved, ours.prices) > 1e-3


def test_max_min_over_paths_on_a_known_case():
    """Flow 0 may use both links, flow 1 only the first: all three units shared evenly."""
    found = alpha_fair_path_allocation([[1, 0, 1], [0, 1, 0]], [0, 0, 1], [1.0, 2.0], np.inf)
    np.testing.assert_allclose(found.require().rates, [2.0, 1.0], rtol=1e-6)
    shared = alpha_fair_path_allocation([[1, 0, 1], [0, 1, 0]], [0, 0, 1], [2.0, 1.0], np.inf)
    np.testing.assert_allclose(shared.require().rates, [1.5, 1.5], rtol=1e-6)


@pytest.mark.parametrize("owner", [[0, 2, 2], [1, 1, 2], [0, 1], [0.5, 1, 1], [1, 0, 0], []])
def test_owners_are_checked(owner):
    with pytest.raises(InvalidInput):
        alpha_fair_path_allocation(np.ones((1, 3)), owner, [1.0], 1.0)


@pytest.mark.parametrize("name", ["karate", "grid", "line"])
@pytest.mark.parametrize("alpha", [0.5, 1.0, 3.0])
def test_sensitivity_is_the_finite_difference(name, alpha):
    R, c, w = networks.problem(name, 60)
    found = alpha_fair_allocation(R, c, alpha, priority=w)
    rng = np.random.default_rng(0)
    dc, dp = rng.normal(size=len(c)) * c, rng.normal(size=60) * w
    slope = allocation_sensitivity(R, c, alpha, found, priority=w)
    h = 1e-6
    for change in ({"capacity": dc}, {"priority": dp}, {"capacity": dc, "priority": dp}):
        up, down = (
            alpha_fair_allocation(
                R,
                c + s * h * change.get("capacity", 0.0),
                alpha,
                priority=w + s * h * change.get("priority", 0.0),
            ).require()
            for s in (1.0, -1.0)
        )
        rates, prices = slope.change(**change)
        rate, price = np.abs(found.rates).max(), np.abs(found.prices).max()
        np.testing.assert_allclose((up.rates - down.rates) / (2 * h), rates, atol=1e-5 * rate)
        np.testing.assert_allclose((up.prices - down.prices) / (2 * h), prices, atol=1e-5 * price)


def test_sensitivity_of_many_cases_and_refusals():
    R, c = sparse.csr_array(np.ones((1, 2))), [1.0]
    found = alpha_fair_allocation(R, c, 1.0, upper=[0.2, np.inf])
    slope = allocation_sensitivity(R, c, 1.0, found)
    np.testing.assert_allclose(slope.change(np.ones((1, 3)))[0], [[0.0] * 3, [1.0] * 3], atol=1e-12)
    for wrong in ({}, {"capacity": [1.0, 2.0]}, {"priority": [1.0]}):
        with pytest.raises(InvalidInput):
            slope.change(**wrong)
    for alpha in (0.0, np.inf):
        with pytest.raises(InvalidInput):
            allocation_sensitivity(R, c, alpha, found)


def test_draw(tmp_path):
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib.figure import Figure

    made = graph("grid")
    figure = Figure()
    found = network.allocation_on_graph(made, pairs(made, 30), 1.0)
    network.draw(found, made, figure.add_subplot())
    figure.savefig(tmp_path / "network.png")
    assert (tmp_path / "network.png").stat().st_size > 10_000


@pytest.mark.parametrize("alpha", [1.0, 20.0, 100.0])
def test_a_range_is_blamed_only_for_what_is_outside_it(alpha):
    """Rates of ordinary size have prices of ordinary size, solved or not."""
    rng = np.random.default_rng(int(alpha))
    routing = (rng.random((6, 16)) < 0.4).astype(float)
    routing[0, routing.sum(axis=0) == 0.0] = 1.0
    owner = np.repeat(np.arange(8), 2)
    found = alpha_fair_path_allocation(routing, owner, np.ones(6), alpha)
    assert found.status in (Status.OPTIMAL, Status.STEP_LIMIT)


def test_prices_beyond_every_float_are_out_of_range():
    found = alpha_fair_path_allocation([[1.0, 1.0]], [0, 0], [1e-5], 100.0)
    assert found.status is Status.OUT_OF_RANGE


@pytest.mark.parametrize("alpha", [20.0, 100.0])
@pytest.mark.parametrize("name", ["star", "tree"])
def test_split_flows_at_large_alpha(name, alpha):
    """Where every flow has one path the two solvers agree up to alpha = 100."""
    R, c, w = networks.problem(name, 30)
    one = alpha_fair_allocation(R, c, alpha, priority=w).require()
    split = alpha_fair_path_allocation(R, np.arange(30), c, alpha, priority=w).require()
    np.testing.assert_allclose(split.rates, one.rates, rtol=SPLIT)


def split_problem(seed):
    """A small random problem with one to four paths per flow."""
    rng = np.random.default_rng(seed)
    m, n = int(rng.integers(1, 10)), int(rng.integers(1, 10))
    owner = np.repeat(np.arange(n), rng.integers(1, 5, n))
    R = (rng.random((m, len(owner))) < rng.uniform(0.1, 0.6)) * 1.0
    R[rng.integers(m, size=len(owner)), np.arange(len(owner))] = 1.0
    if rng.random() < 0.3:
        R, owner = np.repeat(R, 2, axis=1), np.repeat(owner, 2)
    return R, owner, rng.uniform(1.0, 10.0, m), rng.uniform(0.5, 2.0, n)


def test_split_flows_are_solved_at_large_alpha():
    for R, owner, c, w in map(split_problem, range(20)):
        assert alpha_fair_path_allocation(R, owner, c, 20.0, priority=w).ok


@pytest.mark.parametrize("name", ["karate", "grid", "line"])
def test_levels_of_single_paths_are_progressive_filling(name):
    R, c, _ = networks.problem(name, 60)
    one = alpha_fair_allocation(R, c, np.inf).require().rates
    split = alpha_fair_path_allocation(R, np.arange(60), c, np.inf).require().rates
    np.testing.assert_allclose(split, one, rtol=1e-9)


def test_sensitivity_is_the_difference_quotient_or_says_why_not():
    step = 1e-6
    refused = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        m, n = int(rng.integers(2, 8)), int(rng.integers(2, 12))
        R = (rng.random((m, n)) < 0.5) * rng.uniform(0.5, 2.0, (m, n))
        R[rng.integers(m, size=n), np.arange(n)] = 1.0
        c = rng.uniform(1.0, 3.0, m)
        if seed % 3 == 0:
            R, c = np.vstack([R, R.sum(axis=0)]), np.append(c, c.sum() * rng.choice([0.5, 1.0]))
        w, alpha = rng.uniform(0.5, 2.0, n), float(rng.choice([0.5, 1.0, 2.0, 5.0]))
        u = np.where(rng.random(n) < 0.3, rng.uniform(0.05, 0.3, n), np.inf)
        found = alpha_fair_allocation(R, c, alpha, priority=w, upper=u)
        slope = allocation_sensitivity(R, c, alpha, found, priority=w, upper=u)
        refused += not slope.ok
        if not slope.ok:
            continue
        dc, dp = rng.normal(size=len(c)), rng.normal(size=n)
        rates, prices = slope.require().change(dc, dp)
        up, down = (
            alpha_fair_allocation(R, c + h * dc, alpha, priority=w + h * dp, upper=u, tol=1e-12)
            for h in (step, -step)
        )
        for known, ends in ((rates, (up.rates, down.rates)), (prices, (up.prices, down.prices))):
            quotient = (ends[0] - ends[1]) / (2.0 * step)
            np.testing.assert_allclose(quotient, known, atol=1e-6 * max(1.0, np.abs(known).max()))
    assert 0 < refused < 20


def test_kinks_and_prices_that_are_not_unique_are_named():
    same = [[1.0, 1.0], [2.0, 2.0]]
    found = alpha_fair_allocation(same, [1.0, 2.0], 1.0)
    slope = allocation_sensitivity(same, [1.0, 2.0], 1.0, found)
    assert not slope.ok
    assert "full at price zero" in slope.sentence
    with pytest.raises(NotSolved, match="not differentiable"):
        slope.require()
    bound = alpha_fair_allocation([[1.0, 1.0]], [1.0], 1.0, upper=[0.5, np.inf])
    edge = allocation_sensitivity([[1.0, 1.0]], [1.0], 1.0, bound, upper=[0.5, np.inf])
    assert "flows 0 at a bound" in edge.sentence
    R, c = np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 1.0, 1.0]]), np.array([1.0, 1.0, 2.0])
    by_hand = Allocation(
        np.array([0.5, 0.5, 1.0]), np.array([1.0, 0.5, 1.0]), np.zeros(3), Status.OPTIMAL, 0.0, 0
    )
    w = np.array([1.0, 1.0, 1.5])
    many = allocation_sensitivity(R, c, 1.0, by_hand, priority=w)
    assert "prices of links 0, 1, 2 not unique" in many.sentence
    rates, prices = many.change(capacity=np.array([[1.0, 1.0], [0.0, 0.0], [1.0, 0.0]]))
    assert np.isnan(prices).all()
    np.testing.assert_allclose(rates[:, 0], [0.5, 0.5, 0.0], atol=1e-12)
    assert np.isnan(rates[:, 1]).all()


def test_volumes_by_pair_are_refused_and_pairs_may_be_arrays() -> None:
    line = nx.path_graph(3)
    nx.set_edge_attributes(line, 1.0, "capacity")
    with pytest.raises(InvalidInput, match=r"volumes go into upper=list\(demands.values\(\)\)"):
        network.allocation_on_graph(line, {(0, 2): 0.5}, 1.0)
    by_array = network.allocation_on_graph(line, np.array([[0, 2], [0, 1]]), 1.0)
    assert by_array.demands == ((0, 2), (0, 1))


def test_an_answer_has_what_its_paths_carry_and_prints_on_one_screen() -> None:
    ring = nx.cycle_graph(4)
    nx.set_edge_attributes(ring, 1.0, "capacity")
    demands = [(0, 2), (0, 1)] * 15
    several = network.allocation_on_graph(ring, demands, 1.0, paths=2).require()
    assert [len(some) for some in several.path_rates] == [len(some) for some in several.paths]
    totals = [sum(some) for some in several.path_rates]
    np.testing.assert_allclose(totals, several.rates, rtol=1e-12)
    assert several.error is not None
    assert several.error.max() < 1e-6
    single = network.allocation_on_graph(ring, demands, 1.0).require()
    assert single.error is None
    np.testing.assert_array_equal(np.concatenate(single.path_rates), single.rates)
    printed = str(several).splitlines()
    assert printed[0] == f"NetworkAllocation: {several.sentence}"
    assert printed[-1] == "  and 10 more demands"
