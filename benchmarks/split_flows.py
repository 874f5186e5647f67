"""Alpha-fair flows over several paths beside cvxpy with Clarabel, on graphs in GML files.

Random demands over their shortest simple paths, capacities in [1, 10]. Both run in one process, one
thread, interleaved, a call timed end to end in processor time; the least of the rounds counts.
"certified" is the largest certified error of a rate, "apart" the largest relative difference
between the rates of the two.

Run with: python -m benchmarks.split_flows FOLDER_OR_FILES [--demands 60] [--paths 3]
          [--alphas 0.5,1,2] [--rounds 3] [--volumes]
"""

from __future__ import annotations

import argparse
import time
import warnings
from itertools import islice, pairwise
from pathlib import Path

import networkx
import numpy as np
from rich.console import Console
from rich.table import Table
from scipy import sparse
from threadpoolctl import threadpool_limits

from fairopt import alpha_fair_path_allocation


def graph_of(file):
    """The largest component, with simple edges."""
    text = file.read_text().replace("graph [", "graph [\n  multigraph 1", 1)
    graph = networkx.Graph(networkx.parse_gml(text.splitlines(), label="id"))
    graph.remove_edges_from(list(networkx.selfloop_edges(graph)))
    largest = max(networkx.connected_components(graph), key=len)
    return networkx.convert_node_labels_to_integers(graph.subgraph(largest))


def problem(graph, demands, paths):
    """Routing, owners and capacities."""
    rng = np.random.default_rng(0)
    link = {}
    for k, (a, b) in enumerate(graph.edges):
        link[a, b] = link[b, a] = k
    capacity = rng.uniform(1.0, 10.0, graph.number_of_edges())
    known, rows, columns, owner = {}, [], [], []
    for i in range(demands):
        ends = tuple(map(int, rng.choice(len(graph), 2, replace=False)))
        if ends not in known:
            known[ends] = list(islice(networkx.shortest_simple_paths(graph, *ends), paths))
        for path in known[ends]:
            hops = [link[hop] for hop in pairwise(path)]
            rows += hops
            columns += [len(owner)] * len(hops)
            owner.append(i)
    shape = (len(capacity), len(owner))
    return sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape), np.array(owner), capacity


def by_clarabel(R, owner, capacity, alpha, upper):
    """Rates by cvxpy with its narrowest atoms; whatever Clarabel ends with is taken."""
    import cvxpy

    gather = sparse.csr_array((np.ones(len(owner)), (owner, np.arange(len(owner)))))
    z = cvxpy.Variable(len(owner), nonneg=True)
    x = gather @ z
    utility = {
        0.5: lambda: 2.0 * cvxpy.sum(cvxpy.sqrt(x)),
        1.0: lambda: cvxpy.sum(cvxpy.log(x)),
        2.0: lambda: -cvxpy.sum(cvxpy.inv_pos(x)),
    }.get(alpha, lambda: cvxpy.sum(cvxpy.power(x, 1.0 - alpha)) / (1.0 - alpha))
    volumes = [] if upper is None else [x <= upper]
    cvxpy.Problem(cvxpy.Maximize(utility()), [R @ z <= capacity, *volumes]).solve(solver="CLARABEL")
    return x.value


def timed(call):
    """Processor seconds and the result."""
    start = time.process_time()
    found = call()
    return time.process_time() - start, found


def row(name, R, owner, capacity, alpha, upper, rounds):
    """Times of both, their ratio, and what is known of the rates."""
    ours, theirs = [], []
    for _ in range(rounds):
        seconds, found = timed(
            lambda: alpha_fair_path_allocation(R, owner, capacity, alpha, upper=upper)
        )
        ours.append(seconds)
        seconds, rates = timed(lambda: by_clarabel(R, owner, capacity, alpha, upper))
        theirs.append(seconds)
    apart = float(np.abs(rates / found.rates - 1.0).max())
    ratio = min(theirs) / min(ours)
    figures = [min(ours) * 1e3, min(theirs) * 1e3, ratio, found.error.max(), apart]
    return ratio, [name, f"{alpha:g}", found.status.name, *(f"{value:.3g}" for value in figures)]


def main():
    """One table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--demands", type=int, default=60)
    parser.add_argument("--paths", type=int, default=3)
    parser.add_argument("--alphas", default="0.5,1,2")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--volumes", action="store_true", help="limits that hold about a quarter")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # solvers warn about what the difference shows
    table = Table("graph", "alpha", "status", "ms", "Clarabel ms", "ratio", "certified", "apart")
    files = [g for f in arguments.files for g in (sorted(f.glob("*.gml")) if f.is_dir() else [f])]
    ratios = {}
    with threadpool_limits(1):
        for file in files:
            R, owner, capacity = problem(graph_of(file), arguments.demands, arguments.paths)
            upper = None
            if arguments.volumes:
                free = alpha_fair_path_allocation(R, owner, capacity, 1.0).rates
                upper = free * np.random.default_rng(1).uniform(0.5, 2.5, len(free))
            for alpha in map(float, arguments.alphas.split(",")):
                args = (R, owner, capacity, alpha, upper, arguments.rounds)
                ratio, cells = row(file.stem, *args)
                ratios.setdefault(alpha, []).append(ratio)
                table.add_row(*cells)
    console = Console(width=max(Console().width, 120))
    console.print(table)
    for alpha, each in ratios.items():
        console.print(f"alpha {alpha:g}: least ratio {min(each):.2f}, median {np.median(each):.2f}")


if __name__ == "__main__":
    main()
