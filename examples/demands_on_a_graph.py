"""Fair rates of demands on a networkx graph: which links are scarce, and what they are worth.

Run with: python examples/demands_on_a_graph.py [PICTURE.png] (needs networkx; a picture matplotlib)
"""

from __future__ import annotations

import sys

import networkx

from fairopt.network import NetworkAllocation, allocation_on_graph, draw

CAPACITY = {("a", "b"): 10.0, ("b", "c"): 4.0, ("c", "d"): 10.0, ("a", "d"): 3.0, ("b", "d"): 5.0}
DEMANDS = [("a", "c"), ("a", "d"), ("b", "d"), ("c", "a")]


def graph() -> networkx.Graph:
    """Four places; both directions of a cable share its capacity."""
    found = networkx.Graph()
    for (one, other), capacity in CAPACITY.items():
        found.add_edge(one, other, capacity=capacity)
    return found


def rates(alpha: float, paths: int = 1) -> NetworkAllocation:
    """Rates of the demands; over their shortest path, or split over several."""
    return allocation_on_graph(graph(), DEMANDS, alpha, paths=paths).require()


def main() -> None:
    """Print rates and prices, and draw."""
    for paths in (1, 2):
        found = rates(1.0, paths)
        for demand, rate in zip(DEMANDS, found.rates, strict=True):
            print(f"{paths} path(s): {demand[0]} -> {demand[1]} {rate:.3f}")
        scarce = {
            link: round(float(price), 3)
            for link, price in zip(found.links, found.prices, strict=True)
            if price > 1e-6
        }
        print("prices of scarce links", scarce)
    if len(sys.argv) > 1:
        from matplotlib import pyplot as plt

        figure, axes = plt.subplots()
        draw(rates(1.0), graph(), axes)
        figure.savefig(sys.argv[1])


if __name__ == "__main__":
    main()
