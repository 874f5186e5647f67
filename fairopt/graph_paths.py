"""Demands, links and paths of a networkx graph, checked and numbered."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice, pairwise, product
from typing import Any

import numpy as np

from fairopt import checks
from fairopt.arrays import Array
from fairopt.errors import InvalidInput
from fairopt.extras import extra

Demand = tuple[Hashable, Hashable]
Path = tuple[Hashable, ...]
Link = tuple[Hashable, ...]
"""(source, target), in a multigraph (source, target, key)."""
NAMED = 3  # demands an error or a sentence lists


def links_of(graph: Any) -> tuple[Link, ...]:
    """The edges in the order of the graph."""
    if not all(hasattr(graph, name) for name in ("nodes", "edges", "is_multigraph")):
        raise InvalidInput("graph", graph, "a networkx graph")
    return tuple(graph.edges(keys=True) if graph.is_multigraph() else graph.edges)


def checked_demands(graph: Any, demands: Iterable[Demand]) -> tuple[Demand, ...]:
    """Pairs of two different nodes of the graph."""
    if not isinstance(demands, Iterable):
        raise InvalidInput("demands", demands, "(source, target) pairs")
    if isinstance(demands, Mapping):
        requirement = "(source, target) pairs; volumes go into upper=list(demands.values())"
        raise InvalidInput("demands", demands, requirement)
    wanted = tuple(pair.tolist() if isinstance(pair, np.ndarray) else pair for pair in demands)
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


def capacities(graph: Any, links: tuple[Link, ...], name: str) -> Array:
    """The attribute of every edge."""
    gone = next((link for link in links if link not in graph.edges), None)
    if gone is not None:
        raise InvalidInput("graph", f"edge {arrow(gone)}", "there still, as paths go over it")
    values = [graph.edges[link].get(name) for link in links]
    for link, value in zip(links, values, strict=True):
        if isinstance(value, bool | np.bool_):
            raise InvalidInput("capacity", f"{value} of edge {arrow(link)}", "a number >= 0")
        if value is None:
            what = f"with the attribute {name!r} on every edge"
            raise InvalidInput("graph", f"edge {arrow(link)}", what)
    return checks.real_array("capacity", values) if values else np.zeros(0)


@dataclass(frozen=True)
class Way:
    """A path: its nodes, and the numbers of its links."""

    nodes: Path
    links: tuple[int, ...]


def paths_of(
    graph: Any, links: tuple[Link, ...], demands: tuple[Demand, ...], count: int
) -> tuple[tuple[Way, ...], ...]:
    """The shortest paths of every demand."""
    with extra("network"):
        import networkx

    beside = _links_between(graph, links)
    known: dict[Demand, tuple[Way, ...]] = {}
    cut = []
    for pair in demands:
        if pair in known:
            continue
        try:
            ways = chain.from_iterable(_ways(beside, p) for p in _node_paths(graph, pair, count))
            known[pair] = tuple(islice(ways, count))
        except networkx.NetworkXNoPath:
            cut.append(arrow(pair))
    if cut:
        raise InvalidInput("demands", listed(cut), "connected by a path")
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


def _ways(beside: dict[Demand, list[int]], nodes: Path) -> Iterator[Way]:
    """A path for every choice among parallel links, the first links first."""
    for chosen in product(*(beside[hop] for hop in pairwise(nodes))):
        yield Way(nodes, chosen)


def routing(links: int, paths: list[tuple[int, ...]]) -> Any:
    """(links, paths) with a 1 where a path uses a link."""
    from scipy import sparse

    rows = list(chain.from_iterable(paths))
    columns = np.repeat(np.arange(len(paths)), [len(path) for path in paths])
    return sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=(links, len(paths)))


def arrow(link: Link) -> str:
    """A pair, or a link, as it is read."""
    key = "".join(f" (key {key!r})" for key in link[2:])
    return f"{link[0]!r} -> {link[1]!r}{key}"


def listed(names: list[str]) -> str:
    """The first few names."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
