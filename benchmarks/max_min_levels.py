"""Max-min fair flows over several paths beside level programmes of HiGHS and a waterfiller.

Random demands over their shortest simple paths, volumes that hold about a quarter. The peers:

- "levels": the whole linear programme of every level in one model of HiGHS that goes on from its
  last basis; all flows below their volumes' level stop at once, as here;
- "waterfiller": progressive filling of paths by weights that follow what each path got, 20 rounds,
  as schedulers of wide area networks do it; no optimum, and no more than feasible.

"unfair" is the largest factor by which a rate of the waterfiller misses the exact one, up or down.

Simple paths in order of length take minutes to find for 10,000 demands; `--perturbed` takes
shortest paths under random lengths of links instead, of which two or three differ.

Run with: python -m benchmarks.max_min_levels FILES [--demands 200,1000] [--paths 4] [--no-peers]
          [--perturbed]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import highspy
import numpy as np
from rich.console import Console
from rich.table import Table
from scipy import sparse
from scipy.sparse import csgraph
from threadpoolctl import threadpool_limits

from benchmarks.split_flows import graph_of, problem, timed
from fairopt import alpha_fair_allocation, alpha_fair_path_allocation

WATER_ROUNDS = 20
STOPS = 1e-9  # of the sum of multipliers


def perturbed_problem(graph, demands, paths):
    """Routing, owners and capacities; the paths are shortest under different lengths of links."""
    rng = np.random.default_rng(0)
    ends, nodes = np.array(graph.edges), len(graph)
    number = np.full((nodes, nodes), -1)
    number[ends[:, 0], ends[:, 1]] = number[ends[:, 1], ends[:, 0]] = np.arange(len(ends))
    capacity = rng.uniform(1.0, 10.0, len(ends))
    source = rng.integers(0, nodes, demands)
    target = (source + rng.integers(1, nodes, demands)) % nodes
    found = []
    for k in range(paths):
        length = rng.uniform(1.0, 1.0 + k, len(ends))
        found.append(shortest(nodes, ends, number, length, source, target))
    mix = rng.random(len(ends))
    keys = np.stack([part @ mix for part in found])
    new = [(np.abs(keys[k] - keys[:k]) > 1e-9).all(axis=0) for k in range(paths)]
    owner, k = np.nonzero(np.array(new).T)
    R = sparse.vstack(found, format="csr")[k * demands + owner]
    return R.T.tocsr(), owner, capacity


def shortest(nodes, ends, number, length, source, target):
    """(demands, links) the links of a shortest path of each demand."""
    both = np.concatenate([ends, ends[:, ::-1]])
    graph = sparse.csr_array((np.tile(length, 2), both.T), shape=(nodes, nodes))
    before = csgraph.dijkstra(graph, return_predecessors=True)[1]
    here, demand, rows, columns = target.copy(), np.arange(len(source)), [], []
    while len(demand):
        last = before[source[demand], here[demand]]
        rows.append(demand)
        columns.append(number[here[demand], last])
        here[demand] = last
        demand = demand[last != source[demand]]
    rows, columns = np.concatenate(rows), np.concatenate(columns)
    shape = (len(source), len(ends))
    return sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=shape)


def by_levels(R, owner, capacity, upper):
    """Rates by one model of all paths, freezing flows level by level."""
    paths, links, flows = len(owner), len(capacity), int(owner[-1]) + 1
    gather = sparse.csr_array((np.ones(paths), (owner, np.arange(paths))))
    rows = sparse.vstack([sparse.diags_array(1.0 / capacity) @ R, gather], format="csr")
    level = np.concatenate([np.zeros(links), -np.ones(flows)])
    matrix = sparse.hstack([rows, level[:, None]], format="csc")
    model = highspy.HighsLp()
    model.num_col_, model.num_row_ = paths + 1, links + flows
    model.col_cost_ = np.append(np.zeros(paths), -1.0)
    model.col_lower_, model.col_upper_ = np.zeros(paths + 1), np.full(paths + 1, np.inf)
    model.row_lower_ = np.concatenate([np.full(links, -np.inf), np.zeros(flows)])
    model.row_upper_ = np.concatenate([np.ones(links), np.full(flows, np.inf)])
    model.a_matrix_.start_, model.a_matrix_.index_ = matrix.indptr, matrix.indices
    model.a_matrix_.value_ = matrix.data
    highs = highspy.Highs()
    for name, value in (("output_flag", False), ("presolve", "off"), ("simplex_strategy", 4)):
        highs.setOptionValue(name, value)
    highs.passModel(model)
    rates = np.full(flows, np.nan)
    while np.isnan(rates).any():
        highs.run()
        solution = highs.getSolution()
        top, price = solution.col_value[-1], np.abs(np.array(solution.row_dual)[links:])
        open_ = np.isnan(rates)
        stop = open_ & (upper <= top)
        value = np.minimum(upper, top)
        if not stop.any():
            stop = open_ & (price > STOPS * price[open_].sum())
        if not stop.any():
            return None
        for flow in np.flatnonzero(stop):
            rates[flow] = value[flow]
            highs.changeCoeff(links + int(flow), paths, 0.0)
            highs.changeRowBounds(links + int(flow), float(value[flow]) * (1 - 1e-10), np.inf)
    return rates


def by_waterfilling(R, owner, capacity, upper):
    """Rates by filling paths in proportion to weights, which then follow what the paths got."""
    flows = int(owner[-1]) + 1
    weight = 1.0 / np.bincount(owner)[owner]
    total = np.zeros(flows)
    volumes = sparse.csr_array((np.ones(len(owner)), (owner, np.arange(len(owner)))))
    rows = sparse.vstack([R, volumes], format="csr")
    room = np.concatenate([capacity, upper])
    for _ in range(WATER_ROUNDS):
        scaled = rows @ sparse.diags_array(weight)
        z = alpha_fair_allocation(scaled, room, np.inf).rates * weight
        total = np.bincount(owner, z, flows)
        weight = 0.5 * weight + 0.5 * np.maximum(z / total[owner], 1e-6)
    return total


def figures(R, owner, capacity, upper, peers):
    """Cells of one row."""
    seconds, found = timed(
        lambda: alpha_fair_path_allocation(R, owner, capacity, np.inf, upper=upper)
    )
    cells = [found.status.name, str(found.iterations), f"{seconds:.2f}", f"{found.error.max():.0e}"]
    if not peers:
        return cells
    levels, rates = timed(lambda: by_levels(R, owner, capacity, upper))
    apart = "none" if rates is None else f"{np.abs(rates / found.rates - 1.0).max():.0e}"
    water, rough = timed(lambda: by_waterfilling(R, owner, capacity, upper))
    unfair = np.exp(np.abs(np.log(rough / found.rates)).max())
    return [*cells, f"{levels:.2f}", apart, f"{water:.2f}", f"{unfair:.2f}"]


def main():
    """One table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--demands", default="200,1000")
    parser.add_argument("--paths", type=int, default=4)
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--perturbed", action="store_true", help="shortest under random lengths")
    arguments = parser.parse_args()
    heads = ["graph", "demands", "volumes", "status", "levels", "s", "certified"]
    draw = perturbed_problem if arguments.perturbed else problem
    peers = [] if arguments.no_peers else ["HiGHS s", "apart", "waterfiller s", "unfair"]
    table = Table(*heads, *peers)
    with threadpool_limits(1):
        for file in arguments.files:
            graph = graph_of(file)
            for demands in map(int, arguments.demands.split(",")):
                R, owner, capacity = draw(graph, demands, arguments.paths)
                free = alpha_fair_path_allocation(R, owner, capacity, 1.0).rates
                volumes = free * np.random.default_rng(1).uniform(0.5, 2.5, len(free))
                for name, upper in (("some", volumes), ("none", np.full(len(free), np.inf))):
                    cells = figures(R, owner, capacity, upper, peers)
                    table.add_row(file.stem, str(demands), name, *cells)
    Console(width=max(Console().width, 140)).print(table)


if __name__ == "__main__":
    main()
