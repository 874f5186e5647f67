"""Fair rates of demands on a graph: from networkx in, rates and link prices out.

Needs the extra `network`; networkx is imported by the first call.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fairopt import checks
from fairopt.allocation.multipath.result import PathAllocation
from fairopt.allocation.multipath.reused_problem import PathAllocationProblem
from fairopt.allocation.result import Allocation
from fairopt.allocation.reused_problem import AllocationProblem
from fairopt.arrays import Array, Ints
from fairopt.errors import InvalidInput, NotSolved
from fairopt.extras import extra
from fairopt.graph_paths import (
    Demand,
    Link,
    Path,
    arrow,
    capacities,
    checked_demands,
    links_of,
    listed,
    paths_of,
    routing,
)

PRINTED = 20  # demands that are printed
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
    def path_rates(self) -> tuple[tuple[float, ...], ...]:
        """For every demand the rates of its paths, in the order of `paths` and `routes`."""
        found = self.allocation
        each = found.path_rates if isinstance(found, PathAllocation) else found.rates
        flat = iter(each.tolist())
        return tuple(tuple(islice(flat, len(some))) for some in self.paths)

    @property
    def upper_prices(self) -> Array:
        """Prices of the volumes."""
        return self.allocation.upper_prices

    @property
    def error(self) -> Array | None:
        """(demands,) certified relative errors of the rates, as in `PathAllocation`.

        None where every demand has one path: `fairopt.allocation_residual` judges these.
        """
        return getattr(self.allocation, "error", None)

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
        names = [arrow(self.demands[i]) for i in np.flatnonzero(who)]
        return f"{self.allocation.sentence}: {listed(names)}"

    def __str__(self) -> str:
        rows = [f"NetworkAllocation: {self.sentence}"]
        rates = zip(self.demands, self.rates.tolist(), strict=True)
        rows += [f"  {arrow(pair)}: {rate:.6g}" for pair, rate in islice(rates, PRINTED)]
        more = len(self.demands) - PRINTED
        return "\n".join([*rows, *([f"  and {more} more demands"] if more > 0 else [])])

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
        `NetworkAllocation`; `NetworkProblem` keeps the paths for other numbers.

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
        >>> print(found)
        NetworkAllocation: solved: the residual is at or below the tolerance
          'a' -> 'c': 0.333333
          'a' -> 'b': 0.666667
          'b' -> 'c': 0.666667
    """
    problem = NetworkProblem(
        graph,
        demands,
        alpha,
        capacity=capacity,
        paths=paths,
        priority=priority,
        upper=upper,
        weights=weights,
    )
    return problem.solve()


class NetworkProblem:
    """Demands on a graph whose paths are found once, for capacities and volumes that change.

    Args:
        graph: As in `allocation_on_graph`, like the following. It is read again only where `solve`
            is given the name of an edge attribute.
        demands: (source, target) pairs.
        alpha: Utility power in [0, inf].
        capacity: Edge attribute, a number >= 0.
        paths: Paths per demand, >= 1.
        priority: (demands,) > 0, default ones.
        upper: (demands,) volumes, inf for none.
        weights: (demands,) > 0, default ones.

    Raises:
        InvalidInput: as `allocation_on_graph`.

    Example:
        >>> import networkx
        >>> from fairopt.network import NetworkProblem
        >>> ring = networkx.cycle_graph(4)
        >>> networkx.set_edge_attributes(ring, 1.0, "capacity")
        >>> problem = NetworkProblem(ring, [(0, 2), (0, 1)], alpha=1.0, paths=2)
        >>> last = problem.solve().require()
        >>> last.rates.round(6)
        array([1., 1.])
        >>> ring.edges[0, 1]["capacity"] = 1.5
        >>> problem.solve(capacity="capacity", start=last).require().rates.round(6)
        array([1.25, 1.25])
    """

    def __init__(
        self,
        graph: Any,
        demands: Iterable[Demand],
        alpha: float,
        *,
        capacity: str = "capacity",
        paths: int = 1,
        priority: ArrayLike | None = None,
        upper: ArrayLike | None = None,
        weights: ArrayLike | None = None,
    ) -> None:
        self._graph = graph
        self._links = links_of(graph)
        self._demands = checked_demands(graph, demands)
        room = capacities(graph, self._links, capacity)
        ways = paths_of(graph, self._links, self._demands, checks.count("paths", paths, 1))
        R = routing(len(self._links), [way.links for each in ways for way in each])
        owner = np.repeat(np.arange(len(ways)), [len(each) for each in ways])
        self._routing, self._owner = R, owner
        self._paths = tuple(tuple(way.nodes for way in each) for each in ways)
        self._routes = tuple(
            tuple(tuple(self._links[k] for k in way.links) for way in each) for each in ways
        )
        numbers = {"priority": priority, "upper": upper}
        single = paths == 1 and weights is None
        self._single = AllocationProblem(R, room, alpha, **numbers) if single else None
        if self._single is None:
            self._split = PathAllocationProblem(R, owner, room, alpha, **numbers, weights=weights)

    @cached_property
    def _split(self) -> PathAllocationProblem:
        """The problem over several paths, which one with single paths needs for weights."""
        one = self._single
        assert one is not None
        numbers = one.capacity, one.alpha
        return PathAllocationProblem(
            self._routing, self._owner, *numbers, priority=one.priority, upper=one.upper
        )

    @property
    def demands(self) -> tuple[Demand, ...]:
        """(source, target) pairs."""
        return self._demands

    @property
    def links(self) -> tuple[Link, ...]:
        """Edges of the graph, in the order of capacities."""
        return self._links

    @property
    def paths(self) -> tuple[tuple[Path, ...], ...]:
        """For every demand its paths as nodes, shortest first."""
        return self._paths

    @property
    def capacity(self) -> Array:
        """(links,) of the problem."""
        return (self._single or self._split).capacity

    def solve(
        self,
        *,
        capacity: ArrayLike | str | None = None,
        alpha: float | None = None,
        priority: ArrayLike | None = None,
        upper: ArrayLike | None = None,
        weights: ArrayLike | None = None,
        start: NetworkAllocation | None = None,
    ) -> NetworkAllocation:
        """The allocation with these numbers in place of those of the problem, which stays as it is.

        Args:
            capacity: (links,) in the order of `links`, or the edge attribute to read them from now.
            alpha: Utility power.
            priority: (demands,).
            upper: (demands,); an array of inf for none.
            weights: (demands,).
            start: The last answer; saves time only.

        Raises:
            InvalidInput: as `allocation_on_graph`.
        """
        if isinstance(capacity, str):
            capacity = capacities(self._graph, self._links, capacity)
        if not (start is None or isinstance(start, NetworkAllocation)):
            raise InvalidInput("start", start, "a NetworkAllocation")
        last = None if start is None else start.allocation
        given: dict[str, Any] = {"capacity": capacity, "priority": priority, "upper": upper}
        found: Allocation
        if self._single is not None and weights is None:
            found = self._single.solve(**given, alpha=alpha, start=last)
            return self._named(found, found.rates, self._single.capacity, capacity)
        near = last if isinstance(last, PathAllocation) else None
        split = self._split.solve(**given, alpha=alpha, weights=weights, start=near)
        return self._named(split, split.path_rates, self._split.capacity, capacity)

    def _named(
        self, found: Allocation, carried: Array, known: Array, given: ArrayLike | None
    ) -> NetworkAllocation:
        """The answer with the names of the graph; `carried` are the rates of paths."""
        return NetworkAllocation(
            allocation=found,
            demands=self._demands,
            links=self._links,
            paths=self._paths,
            loads=np.asarray(self._routing @ carried),
            capacity=known if given is None else np.array(given, dtype=np.float64),
            routes=self._routes,
        )


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
