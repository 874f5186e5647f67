"""Fair rates of demands on a graph: from networkx in, rates and link prices out.

Needs the extra `network`; networkx is imported by the first call.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fairopt import checks
from fairopt.allocation.api import alpha_fair_allocation
from fairopt.allocation.multipath.api import alpha_fair_path_allocation
from fairopt.allocation.result import Allocation
from fairopt.arrays import Array
from fairopt.errors import InvalidInput, NotSolved

Demand = tuple[Hashable, Hashable]
Path = tuple[Hashable, ...]
NAMED = 3  # demands an error or a sentence lists


@dataclass(frozen=True, eq=False)
class NetworkAllocation:
    """An allocation with the names of the graph.

    Attributes:
        allocation: Rates in the order of `demands`, prices in the order of `links`.
        demands: (source, target) pairs.
        links: Edges of the graph; an edge of an undirected graph is one link for both directions.
        paths: For every demand its paths, shortest first.
        loads: (links,) what each link carries.
        capacity: (links,).
    """

    allocation: Allocation
    demands: tuple[Demand, ...]
    links: tuple[Demand, ...]
    paths: tuple[tuple[Path, ...], ...]
    loads: Array
    capacity: Array

    @property
    def rates(self) -> Array:
        """Rates of the demands."""
        return self.allocation.rates

    @property
    def prices(self) -> Array:
        """Prices of the links."""
        return self.allocation.prices

    @property
    def status(self) -> Any:
        """How the solve ended."""
        return self.allocation.status

    @property
    def residual(self) -> float:
        """`allocation_residual` or `path_allocation_residual` of the answer."""
        return self.allocation.residual

    @property
    def iterations(self) -> int:
        """Steps of all methods together."""
        return self.allocation.iterations

    @property
    def ok(self) -> bool:
        """Whether this is an answer."""
        return self.allocation.ok

    @property
    def sentence(self) -> str:
        """The status in plain words, with the demands that are the reason."""
        who = self.allocation.certificate
        if who is None:
            return self.allocation.sentence
        names = [_arrow(self.demands[i]) for i in np.flatnonzero(who)]
        return f"{self.allocation.status.sentence}: {_listed(names)}"

    def require(self) -> NetworkAllocation:
        """This allocation if it is an answer.

        Raises:
            NotSolved: with the sentence, which names demands without an answer.
        """
        if self.ok:
            return self
        raise NotSolved(f"{self.sentence} (residual {self.residual:.2g})")


def allocation_on_graph(
    graph: Any,
    demands: Iterable[Demand],
    alpha: float,
    *,
    capacity: str = "capacity",
    paths: int = 1,
    priority: ArrayLike | None = None,
) -> NetworkAllocation:
    """Alpha-fair rates of demands between nodes of a graph.

    Every demand uses its path with the fewest hops (the first that networkx finds), or splits over
    its `paths` shortest simple ones.

    Args:
        graph: networkx `Graph` (both directions of an edge share its capacity) or `DiGraph`.
        demands: (source, target) pairs; a pair may occur more than once.
        alpha: Utility power in [0, inf], as in `fairopt.alpha_fair_allocation`.
        capacity: Edge attribute, a number >= 0.
        paths: Paths per demand, >= 1.
        priority: (demands,) > 0, default ones.

    Returns:
        `NetworkAllocation`.

    Raises:
        InvalidInput: for demands that are not connected or not in the graph (named), edges without
            the attribute (named), multigraphs.

    Example:
        >>> import networkx
        >>> from fairopt.network import allocation_on_graph
        >>> line = networkx.path_graph(["a", "b", "c"])
        >>> networkx.set_edge_attributes(line, 1.0, "capacity")
        >>> found = allocation_on_graph(line, [("a", "c"), ("a", "b"), ("b", "c")], alpha=1.0)
        >>> found.require().rates.round(6), found.prices.round(6)
        (array([0.333333, 0.666667, 0.666667]), array([1.5, 1.5]))
    """
    if not all(hasattr(graph, name) for name in ("nodes", "edges", "is_multigraph")):
        raise InvalidInput("graph", graph, "a networkx Graph or DiGraph")
    if graph.is_multigraph():
        raise InvalidInput("graph", graph, "a Graph or DiGraph, without parallel edges")
    wanted = _demands(graph, demands)
    links = tuple(graph.edges)
    limits = _capacities(graph, capacity)
    routes = _routes(graph, wanted, checks.count("paths", paths, 1))
    R = _routing(graph, links, [path for each in routes for path in each])
    if paths == 1:
        found = alpha_fair_allocation(R, limits, alpha, priority=priority)
        carried = found.rates
    else:
        owner = np.repeat(np.arange(len(wanted)), [len(each) for each in routes])
        split = alpha_fair_path_allocation(R, owner, limits, alpha, priority=priority)
        found, carried = split, split.path_rates
    return NetworkAllocation(found, wanted, links, routes, np.asarray(R @ carried), limits)


def _demands(graph: Any, demands: Iterable[Demand]) -> tuple[Demand, ...]:
    """Pairs of two different nodes of the graph."""
    wanted = tuple(demands)
    if not wanted:
        raise InvalidInput("demands", demands, "at least one (source, target) pair")
    for pair in wanted:
        if not isinstance(pair, Sequence) or isinstance(pair, str) or len(pair) != 2:
            raise InvalidInput("demands", pair, "(source, target) pairs")
        missing = [node for node in pair if node not in graph]
        if missing:
            raise InvalidInput(
                "demands", pair, f"between nodes of the graph ({missing[0]!r} is not)"
            )
        if pair[0] == pair[1]:
            raise InvalidInput("demands", pair, "between two different nodes")
    return tuple((pair[0], pair[1]) for pair in wanted)


def _capacities(graph: Any, name: str) -> Array:
    """The attribute of every edge."""
    values = []
    for source, target, value in graph.edges(data=name):
        if value is None:
            edge = _arrow((source, target))
            raise InvalidInput(
                "graph", f"edge {edge}", f"with the attribute {name!r} on every edge"
            )
        values.append(value)
    return checks.real_array("capacity", values) if values else np.zeros(0)


def _routes(graph: Any, demands: tuple[Demand, ...], count: int) -> tuple[tuple[Path, ...], ...]:
    """The shortest paths of every demand."""
    import networkx

    known: dict[Demand, tuple[Path, ...]] = {}
    cut = []
    for pair in demands:
        if pair in known:
            continue
        try:
            if count == 1:
                known[pair] = (tuple(networkx.shortest_path(graph, *pair)),)
            else:
                found = networkx.shortest_simple_paths(graph, *pair)
                known[pair] = tuple(tuple(path) for path in islice(found, count))
        except networkx.NetworkXNoPath:
            cut.append(_arrow(pair))
    if cut:
        raise InvalidInput("demands", _listed(cut), "connected by a path")
    return tuple(known[pair] for pair in demands)


def _routing(graph: Any, links: tuple[Demand, ...], paths: list[Path]) -> Any:
    """(links, paths) with a 1 where a path uses a link."""
    from scipy import sparse

    number = {link: k for k, link in enumerate(links)}
    if not graph.is_directed():
        number |= {(target, source): k for (source, target), k in number.items()}
    rows = [number[hop] for path in paths for hop in pairwise(path)]
    columns = np.repeat(np.arange(len(paths)), [len(path) - 1 for path in paths])
    shape = (len(links), len(paths))
    return sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=shape)


def _arrow(pair: Demand) -> str:
    """A pair as it is read."""
    return f"{pair[0]!r} -> {pair[1]!r}"


def _listed(names: list[str]) -> str:
    """The first few names."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def draw(found: NetworkAllocation, graph: Any, axes: Any, *, position: Any = None) -> None:
    """Draw the graph on matplotlib axes: width is capacity, colour load, labels are prices.

    Args:
        found: What `allocation_on_graph` returned.
        graph: The graph it was asked about.
        axes: A matplotlib `Axes`.
        position: Node positions as networkx takes them; a spring layout with a fixed seed if None.
    """
    import networkx

    where = networkx.spring_layout(graph, seed=0) if position is None else position
    full = np.divide(
        found.loads, found.capacity, out=np.zeros_like(found.loads), where=found.capacity > 0.0
    )
    width = 1.0 + 5.0 * found.capacity / max(float(found.capacity.max(initial=0.0)), 1e-300)
    networkx.draw_networkx_nodes(graph, where, ax=axes, node_color="#dddddd", edgecolors="#555555")
    networkx.draw_networkx_labels(graph, where, ax=axes, font_size=8)
    networkx.draw_networkx_edges(
        graph,
        where,
        ax=axes,
        edgelist=list(found.links),
        width=list(width),
        edge_color=list(full),
        edge_cmap=_colours(),
        edge_vmin=0.0,
        edge_vmax=1.0,
    )
    top = float(found.prices[np.isfinite(found.prices)].max(initial=0.0))
    shown = {
        link: f"{price:.2g}"
        for link, price in zip(found.links, found.prices, strict=True)
        if price > 1e-3 * top
    }
    networkx.draw_networkx_edge_labels(graph, where, edge_labels=shown, ax=axes, font_size=8)
    axes.set_title(
        f"{found.status.name}: width is capacity, dark links are full, labels are prices"
    )
    axes.set_axis_off()


def _colours() -> Any:
    """Light to dark."""
    import matplotlib

    return matplotlib.colormaps["YlOrRd"]
