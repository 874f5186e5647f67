"""Fair rates of demands on a graph: from networkx in, rates and link prices out.

Needs the extra `network`; networkx is imported by the first call.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice, pairwise, product
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fairopt import checks
from fairopt.allocation.api import alpha_fair_allocation
from fairopt.allocation.multipath.api import alpha_fair_path_allocation
from fairopt.allocation.result import Allocation
from fairopt.arrays import Array, Ints
from fairopt.errors import InvalidInput, NotSolved
from fairopt.extras import extra

Demand = tuple[Hashable, Hashable]
Path = tuple[Hashable, ...]
Link = tuple[Hashable, ...]
"""(source, target), in a multigraph (source, target, key)."""
NAMED = 3  # demands an error or a sentence lists
BEND = 0.15  # of its length: how far each parallel edge is drawn beside the last


@dataclass(frozen=True, eq=False)
class NetworkAllocation:
    """An allocation with the names of the graph.

    Attributes:
        allocation: Rates in the order of `demands`, prices in the order of `links`.
        demands: (source, target) pairs.
        links: Edges of the graph; an edge of an undirected graph is one link for both directions.
            Parallel edges of a multigraph are links of their own, (source, target, key).
        paths: For every demand its paths as nodes, shortest first.
        loads: (links,) what each link carries.
        capacity: (links,).
        routes: The same paths as links.
    """

    allocation: Allocation
    demands: tuple[Demand, ...]
    links: tuple[Link, ...]
    paths: tuple[tuple[Path, ...], ...]
    loads: Array
    capacity: Array
    routes: tuple[tuple[tuple[Link, ...], ...], ...]

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
        return f"{self.allocation.sentence}: {_listed(names)}"

    def require(self) -> NetworkAllocation:
        """This allocation if it is an answer.

        Raises:
            NotSolved: with the sentence, which names demands without an answer.
        """
        if self.ok:
            return self
        left = f" (residual {self.residual:.2g})" if math.isfinite(self.residual) else ""
        raise NotSolved(f"{self.sentence}{left}")


def allocation_on_graph(
    graph: Any,
    demands: Iterable[Demand],
    alpha: float,
    *,
    capacity: str = "capacity",
    paths: int = 1,
    priority: ArrayLike | None = None,
    upper: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> NetworkAllocation:
    """Alpha-fair rates of demands between nodes of a graph.

    Every demand uses its path with the fewest hops (the first that networkx finds), or splits over
    its `paths` shortest simple ones. Between two nodes with parallel edges every edge makes a path
    of its own, the first edge first.

    Args:
        graph: networkx `Graph` (both directions of an edge share its capacity), `DiGraph`,
            `MultiGraph` or `MultiDiGraph`.
        demands: (source, target) pairs; a pair may occur more than once.
        alpha: Utility power in [0, inf], as in `fairopt.alpha_fair_allocation`.
        capacity: Edge attribute, a number >= 0.
        paths: Paths per demand, >= 1.
        priority: (demands,) > 0, default ones.
        upper: (demands,) volumes: the largest rates >= 0; inf for none.
        weights: (demands,) > 0, default ones: demands are compared by rate / weight, as in
            `fairopt.alpha_fair_path_allocation`.

    Returns:
        `NetworkAllocation`.

    Raises:
        InvalidInput: for demands that are not connected or not in the graph (named), and edges
            without the attribute (named).

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
        raise InvalidInput("graph", graph, "a networkx graph")
    wanted = _demands(graph, demands)
    links: tuple[Link, ...] = tuple(
        graph.edges(keys=True) if graph.is_multigraph() else graph.edges
    )
    limits = _capacities(graph, links, capacity)
    found_paths = _paths(graph, links, wanted, checks.count("paths", paths, 1))
    R = _routing(len(links), [way.links for each in found_paths for way in each])
    found: Allocation
    if paths == 1 and weights is None:
        found = alpha_fair_allocation(R, limits, alpha, priority=priority, upper=upper)
        carried = found.rates
    else:
        owner = np.repeat(np.arange(len(wanted)), [len(each) for each in found_paths])
        split = alpha_fair_path_allocation(
            R, owner, limits, alpha, priority=priority, upper=upper, weights=weights
        )
        found, carried = split, split.path_rates
    return NetworkAllocation(
        allocation=found,
        demands=wanted,
        links=links,
        paths=tuple(tuple(way.nodes for way in each) for each in found_paths),
        loads=np.asarray(R @ carried),
        capacity=limits,
        routes=tuple(
            tuple(tuple(links[k] for k in way.links) for way in each) for each in found_paths
        ),
    )


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


def _capacities(graph: Any, links: tuple[Link, ...], name: str) -> Array:
    """The attribute of every edge."""
    values = [graph.edges[link].get(name) for link in links]
    for link, value in zip(links, values, strict=True):
        if value is None:
            what = f"with the attribute {name!r} on every edge"
            raise InvalidInput("graph", f"edge {_arrow(link)}", what)
    return checks.real_array("capacity", values) if values else np.zeros(0)


@dataclass(frozen=True)
class _Way:
    """A path: its nodes, and the numbers of its links."""

    nodes: Path
    links: tuple[int, ...]


def _paths(
    graph: Any, links: tuple[Link, ...], demands: tuple[Demand, ...], count: int
) -> tuple[tuple[_Way, ...], ...]:
    """The shortest paths of every demand."""
    with extra("network"):
        import networkx

    beside = _links_between(graph, links)
    known: dict[Demand, tuple[_Way, ...]] = {}
    cut = []
    for pair in demands:
        if pair in known:
            continue
        try:
            ways = chain.from_iterable(_ways(beside, p) for p in _node_paths(graph, pair, count))
            known[pair] = tuple(islice(ways, count))
        except networkx.NetworkXNoPath:
            cut.append(_arrow(pair))
    if cut:
        raise InvalidInput("demands", _listed(cut), "connected by a path")
    return tuple(known[pair] for pair in demands)


def _node_paths(graph: Any, pair: Demand, count: int) -> Iterator[Path]:
    """Paths as nodes, shortest first; one where one is enough."""
    with extra("network"):
        import networkx

    if count == 1:
        yield tuple(networkx.shortest_path(graph, *pair))
        return
    if graph.is_multigraph():
        graph = networkx.DiGraph(graph) if graph.is_directed() else networkx.Graph(graph)
    yield from map(tuple, networkx.shortest_simple_paths(graph, *pair))


def _links_between(graph: Any, links: tuple[Link, ...]) -> dict[Demand, list[int]]:
    """The numbers of the links from a node to the next, in the order of the graph."""
    beside: dict[Demand, list[int]] = {}
    for k, (source, target, *_) in enumerate(links):
        beside.setdefault((source, target), []).append(k)
        if not graph.is_directed() and source != target:
            beside.setdefault((target, source), []).append(k)
    return beside


def _ways(beside: dict[Demand, list[int]], nodes: Path) -> Iterator[_Way]:
    """A path for every choice among parallel links, the first links first."""
    for chosen in product(*(beside[hop] for hop in pairwise(nodes))):
        yield _Way(nodes, chosen)


def _routing(links: int, paths: list[tuple[int, ...]]) -> Any:
    """(links, paths) with a 1 where a path uses a link."""
    from scipy import sparse

    rows = list(chain.from_iterable(paths))
    columns = np.repeat(np.arange(len(paths)), [len(path) for path in paths])
    return sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=(links, len(paths)))


def _arrow(link: Link) -> str:
    """A pair, or a link, as it is read."""
    key = "".join(f" (key {key!r})" for key in link[2:])
    return f"{link[0]!r} -> {link[1]!r}{key}"


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
    with extra("network"):
        import networkx

    where = networkx.spring_layout(graph, seed=0) if position is None else position
    ends = networkx.DiGraph(graph) if graph.is_directed() else networkx.Graph(graph)
    networkx.draw_networkx_nodes(graph, where, ax=axes, node_color="#dddddd", edgecolors="#555555")
    networkx.draw_networkx_labels(graph, where, ax=axes, font_size=8)
    limits = np.isfinite(found.capacity) & (found.capacity > 0.0)
    full = np.divide(found.loads, found.capacity, out=np.zeros_like(found.loads), where=limits)
    widest = float(found.capacity[limits].max(initial=0.0)) or 1.0
    width = 1.0 + 5.0 * np.minimum(found.capacity / widest, 1.0)
    rank = _ranks(found.links)
    for level in range(int(rank.max(initial=-1)) + 1):
        shown = np.flatnonzero(rank == level)
        networkx.draw_networkx_edges(
            ends,
            where,
            ax=axes,
            edgelist=[found.links[k][:2] for k in shown],
            width=list(width[shown]),
            edge_color=list(full[shown]),
            edge_cmap=_colours(),
            edge_vmin=0.0,
            edge_vmax=1.0,
            **_bent(level, graph.is_directed()),
        )
    labels = _labels(found)
    networkx.draw_networkx_edge_labels(ends, where, edge_labels=labels, ax=axes, font_size=8)
    axes.set_title(
        f"{found.status.name}: width is capacity, dark links are full, labels are prices"
    )
    axes.set_axis_off()


def _ranks(links: tuple[Link, ...]) -> Ints:
    """The place of every link among those beside it."""
    seen: dict[Link, int] = {}
    rank = []
    for link in links:
        rank.append(seen.get(link[:2], 0))
        seen[link[:2]] = rank[-1] + 1
    return np.array(rank, dtype=np.int64)


def _bent(level: int, directed: bool) -> dict[str, Any]:
    """How the edges beside a first one are drawn."""
    if not level:
        return {}
    style = {} if directed else {"arrowstyle": "-"}
    return {"arrows": True, "connectionstyle": f"arc3,rad={BEND * level}", **style}


def _labels(found: NetworkAllocation) -> dict[Link, str]:
    """The prices between two nodes, those that can be seen beside the largest."""
    top = float(found.prices[np.isfinite(found.prices)].max(initial=0.0))
    labels: dict[Link, str] = {}
    for link, price in zip(found.links, found.prices, strict=True):
        if price > 1e-3 * top:
            before = f"{labels[link[:2]]}, " if link[:2] in labels else ""
            labels[link[:2]] = f"{before}{price:.2g}"
    return labels


def _colours() -> Any:
    """Light to dark."""
    with extra("network"):
        import matplotlib

    return matplotlib.colormaps["YlOrRd"]
