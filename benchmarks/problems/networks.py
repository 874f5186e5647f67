"""Networks with flows: random ones and small real ones, each with capacities and priorities."""

from __future__ import annotations

from itertools import pairwise

import networkx as nx
import numpy as np
from scipy import sparse


def flows_on(graph, flows, rng):
    """Routing (links, flows) of shortest paths between random pairs; links are directed."""
    arcs = {arc: k for k, arc in enumerate(graph.to_directed().edges)}
    nodes = list(graph.nodes)
    paths = dict(nx.all_pairs_shortest_path(graph))
    rows, columns = [], []
    for i in range(flows):
        source, target = rng.choice(len(nodes), 2, replace=False)
        path = paths[nodes[source]][nodes[target]]
        rows += [arcs[hop] for hop in pairwise(path)]
        columns += [i] * (len(path) - 1)
    return sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=(len(arcs), flows))


def line(links, flows, rng):
    """Flows over runs of consecutive links."""
    rows, columns = [], []
    for i in range(flows):
        first = int(rng.integers(links))
        run = range(first, min(links, first + 1 + int(rng.poisson(7))))
        rows += run
        columns += [i] * len(run)
    return sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=(links, flows))


GRAPHS = {
    "regular": lambda: nx.random_regular_graph(4, 20, seed=1),
    "star": lambda: nx.star_graph(12),
    "tree": lambda: nx.balanced_tree(2, 4),
    "karate": nx.karate_club_graph,
    "miserables": nx.les_miserables_graph,
    "grid": lambda: nx.grid_2d_graph(5, 5),
}
NAMES = ("line", *GRAPHS)


def problem(name, flows=150, seed=0):
    """Routing, capacities in [1, 10], priorities in [0.5, 2]."""
    rng = np.random.default_rng(seed)
    R = line(20, flows, rng) if name == "line" else flows_on(GRAPHS[name](), flows, rng)
    return R, rng.uniform(1.0, 10.0, R.shape[0]), rng.uniform(0.5, 2.0, flows)


def anything(rng):
    """A random problem with every special case: bounds, scales, duplicates, no capacity."""
    m, n = (int(k) for k in rng.integers(1, (15, 30)))
    R = (rng.random((m, n)) < rng.uniform(0.05, 0.6)).astype(float)
    R *= rng.choice([1.0, 0.0]) + rng.uniform(0.1, 3.0, (m, n))
    if rng.random() < 0.1:
        R *= 10.0 ** rng.uniform(-6.0, 6.0, (m, n))
    if rng.random() < 0.1:
        R *= 10.0 ** rng.uniform(-250.0, 250.0)
    c = rng.uniform(1.0, 10.0, m)
    c = np.round(c) if rng.random() < 0.3 else c
    if rng.random() < 0.1:
        c[rng.integers(m)] = rng.choice([0.0, np.inf])
    u = np.where(rng.random(n) < 0.5, np.inf, rng.uniform(0.01, 3.0, n))
    u = np.where(R.any(axis=0), u, rng.choice([1.0, np.inf], p=[0.9, 0.1]))
    w = rng.uniform(0.5, 2.0, n) if rng.random() < 0.8 else 10.0 ** rng.uniform(-5.0, 5.0, n)
    if rng.random() < 0.2:
        R, w, u = np.repeat(R, 2, axis=1), np.repeat(w, 2), np.repeat(u, 2)
    alpha = rng.choice(
        [0.0, 0.05, 0.1, 0.3, 0.5, 1.0, 1.5, 2.0, 5.0, 20.0, 50.0, 100.0, 300.0, 1e4, np.inf]
    )
    return R, c, float(alpha), w, u


def degenerate(rng):
    """A random problem with ties: whole numbers, links that repeat, add up or almost add up."""
    m, n = (int(k) for k in rng.integers(1, (12, 25)))
    R = rng.integers(0, 3, (m, n)) * (rng.random((m, n)) < 0.5) * 1.0
    R[rng.integers(m, size=n), np.arange(n)] = 1.0
    c = rng.integers(1, 6, m) * 1.0
    more = {
        "none": (np.zeros((0, n)), []),
        "again": (R, c),
        "twice": (2.0 * R[::-1], 2.0 * c[::-1]),
        "sum": (R.sum(axis=0, keepdims=True), [c.sum()]),
        "almost": (R.sum(axis=0, keepdims=True), [c.sum() * (1.0 + 1e-7)]),
    }
    rows, limits = more[str(rng.choice(list(more)))]
    R, c = np.vstack([R, rows]), np.concatenate([c, limits])
    w = rng.integers(1, 4, n) * 1.0 if rng.random() < 0.5 else np.ones(n)
    units = [10.0 ** rng.choice([-8, 0, 8], p=[0.1, 0.8, 0.1]) for _ in range(3)]
    alpha = rng.choice([0.0, 0.05, 0.2, 0.5, 1.0, 2.0, 5.0, 20.0, 50.0, 100.0, np.inf])
    return units[0] * R, units[1] * c, float(alpha), units[2] * w
