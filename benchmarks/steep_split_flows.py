"""Flows over several paths at large alpha: how many are solved, and how many of those are right.

84 small networks (random 4-regular, karate club, Les Miserables, grids, trees with more edges,
stars of rings, small random and degenerate ones; half with all links equal), 1 to 30 flows over 1
to 4 paths, and graphs in GML files with random demands. At alpha = 20 some flows pay 1e-20 of what
others pay, at 100 1e-100: rates are compared with solutions in mpmath with as many digits as that
takes, of which all conditions of optimality are checked.

Printed for every alpha: how many are OPTIMAL, of those how many have a reference and all rates
right to 1e-6 and to 1e-3, how many have all rates within their certified errors, how many are
certified to 1e-3, and processor times.

Run with: python -m benchmarks.steep_split_flows [FOLDER_OR_FILES] [--alphas 3,5,10,20,50,100]
          [--networks 84] [--demands 60] [--paths 3] [--no-reference]
"""

from __future__ import annotations

import argparse
from itertools import islice, pairwise
from pathlib import Path

import networkx
import numpy as np
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from benchmarks.problems.high_precision import exact_path_rates
from benchmarks.split_flows import graph_of, problem, timed
from fairopt import Status, alpha_fair_path_allocation
from tests.fairopt.allocation.test_multipath import tied

SPARE = 60  # digits beyond those that prices differ by
UNDER = 1e-30  # relative: the reference is that exact


def _tree(seed):
    graph = networkx.balanced_tree(2, 4)
    rng = np.random.default_rng(seed)
    graph.add_edges_from(tuple(map(int, rng.choice(31, 2, replace=False))) for _ in range(12))
    return graph


def _rings(seed):
    del seed
    graph = networkx.star_graph(4)
    for leaf in range(1, 5):
        ring = [leaf, *range(10 * leaf, 10 * leaf + 4)]
        graph.add_edges_from([*pairwise(ring), (ring[-1], ring[0])])
    return graph


GRAPHS = (
    lambda seed: networkx.random_regular_graph(4, 20, seed=seed),
    lambda seed: networkx.karate_club_graph(),
    lambda seed: networkx.les_miserables_graph(),
    lambda seed: networkx.grid_2d_graph(5, 5),
    _tree,
    _rings,
)


def small_network(seed):
    """Routing, owners and capacities; every second one of the graphs has equal links."""
    kind, rng = seed % (len(GRAPHS) + 1), np.random.default_rng([13, seed])
    if kind == len(GRAPHS):
        return tied(seed)
    graph = networkx.convert_node_labels_to_integers(GRAPHS[kind](seed))
    graph = networkx.Graph(graph.edges)
    graph.remove_edges_from(list(networkx.selfloop_edges(graph)))
    flows, paths = int(rng.integers(1, 31)), int(rng.integers(1, 5))
    link = {}
    for k, (a, b) in enumerate(graph.edges):
        link[a, b] = link[b, a] = k
    equal = (seed // (len(GRAPHS) + 1)) % 2 == 0
    size = graph.number_of_edges()
    capacity = np.ones(size) if equal else rng.uniform(1.0, 10.0, size)
    columns, owner = [], []
    for flow in range(flows):
        ends = (int(k) for k in rng.choice(list(graph), 2, replace=False))
        for path in islice(networkx.shortest_simple_paths(graph, *ends), paths):
            column = np.zeros(size)
            column[[link[hop] for hop in pairwise(path)]] = 1.0
            columns.append(column)
            owner.append(flow)
    return np.stack(columns, axis=1), np.array(owner), capacity


def reference(R, owner, capacity, alpha, found):
    """Rates in many digits from the sides of an answer, or None."""
    price = alpha * np.log10(np.maximum(found.rates, 1e-300))
    digits = SPARE + 2 * int(np.ptp(price))
    dense = R.toarray() if hasattr(R, "toarray") else R
    parts = (found.path_rates, found.prices)
    return exact_path_rates(dense, owner, capacity, alpha, *parts, digits=digits)


def measured(R, owner, capacity, alpha, with_reference):
    """Seconds, whether OPTIMAL, whether there is a reference, largest error, whether inside."""
    seconds, found = timed(lambda: alpha_fair_path_allocation(R, owner, capacity, alpha))
    solved = found.status is Status.OPTIMAL
    exact = reference(R, owner, capacity, alpha, found) if with_reference else None
    if exact is None:
        return seconds, solved, False, np.nan, True, float(found.error.max())
    off = np.array([float(abs(x / e - 1)) for x, e in zip(found.rates, exact, strict=True)])
    inside = bool((off <= found.error + UNDER).all())
    return seconds, solved, True, float(off.max()), inside, float(found.error.max())


def row(alpha, results):
    """One line of the table."""
    seconds, solved, known, off, inside, error = (
        np.array(part) for part in zip(*results, strict=True)
    )
    compared = solved & known
    counts = (
        solved.sum(),
        compared.sum(),
        (off[compared] <= 1e-6).sum(),
        (off[compared] <= 1e-3).sum(),
        inside[known].sum(),
        known.sum(),
        (error <= 1e-3).sum(),
    )
    times = (1e3 * np.median(seconds), 1e3 * seconds.mean(), 1e3 * seconds.max())
    return [f"{alpha:g}", str(len(results)), *map(str, counts), *(f"{ms:.0f}" for ms in times)]


def main():
    """One table for the small networks, one for the graphs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--alphas", default="3,5,10,20,50,100")
    parser.add_argument("--networks", type=int, default=84)
    parser.add_argument("--demands", type=int, default=60)
    parser.add_argument("--paths", type=int, default=3)
    parser.add_argument("--no-reference", action="store_true", help="times and statuses only")
    arguments = parser.parse_args()
    files = [g for f in arguments.files for g in (sorted(f.glob("*.gml")) if f.is_dir() else [f])]
    small = [small_network(seed) for seed in range(arguments.networks)]
    large = [problem(graph_of(file), arguments.demands, arguments.paths) for file in files]
    names = (
        "alpha",
        "of",
        "OPTIMAL",
        "compared",
        "to 1e-6",
        "to 1e-3",
        "inside",
        "of",
        "certified",
    )
    with threadpool_limits(1):
        for title, problems in (("small networks", small), ("graphs", large)):
            table = Table(*names, "certified", "ms median", "mean", "largest", title=title)
            for alpha in map(float, arguments.alphas.split(",")):
                judge = not arguments.no_reference
                results = [measured(*each, alpha, judge) for each in problems]
                if results:
                    table.add_row(*row(alpha, results))
            Console(width=120).print(table)


if __name__ == "__main__":
    main()
