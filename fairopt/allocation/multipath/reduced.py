"""The open paths over the links that limit them, in units of what each flow could have."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from fairopt.allocation.multipath.problem import PathProblem
from fairopt.allocation.routes import Routes
from fairopt.arrays import Array, BoolArray, Ints

WIDEST = 600.0  # e-folds between two paths of a flow: float64 ends at 709


@dataclass(frozen=True, eq=False)
class Shape:
    """Which paths, links and flows are left; no number enters it.

    Attributes:
        paths, links, flows: Indices in the stated problem.
        owner: (paths,) renumbered flows.
        entries: The entries that are left, in the order of `Routes.by_flow`.
        path, link: (entries,) where they stand now.
        start: (paths + 1,) the first entry of each path.
    """

    paths: Ints
    links: Ints
    flows: Ints
    owner: Ints
    entries: Ints
    path: Ints
    link: Any
    start: Any


@dataclass(frozen=True, eq=False)
class Reduced:
    """Open paths over used links, in units of the largest rate of their flow on one path.

    Attributes:
        shape: Which they are.
        rows: (paths, links) A' in compressed rows, with capacities 1.
        log_unit: (flows,).
    """

    shape: Shape
    rows: Any
    log_unit: Array

    @cached_property
    def A(self) -> Any:
        """(links, paths) in compressed rows."""
        return self.rows.T.tocsr()

    @property
    def owner(self) -> Ints:
        """(paths,) renumbered flows."""
        return self.shape.owner

    @property
    def paths(self) -> Ints:
        """Paths of the stated problem."""
        return self.shape.paths

    @property
    def links(self) -> Ints:
        """Links of the stated problem."""
        return self.shape.links

    @property
    def flows(self) -> Ints:
        """Flows of the stated problem."""
        return self.shape.flows


def reduce(problem: PathProblem) -> Reduced:
    """Leave out closed paths, unused links and links without a limit.

    And paths that carry at most e^-WIDEST of what another path of their flow can.
    """
    from scipy import sparse

    by_path = problem.by_path
    narrow = problem.log_alone < problem.log_most[problem.owner] - WIDEST
    choice = problem.owner, ~(by_path.forced | narrow), np.isfinite(by_path.capacity)
    shape = by_path.routes.made(_shape, *choice)
    first = np.searchsorted(shape.owner, np.arange(len(shape.flows)))
    unit = np.maximum.reduceat(problem.log_alone[shape.paths], first)
    entry = np.exp(unit[shape.owner][shape.path] - by_path.log_limit[shape.entries])
    size = len(shape.paths), len(shape.links)
    return Reduced(shape, sparse.csr_array((entry, shape.link, shape.start), shape=size), unit)


def _shape(routes: Routes, owner: Ints, chosen: BoolArray, limited: BoolArray) -> Shape:
    """The chosen paths over the limited links."""
    paths = np.flatnonzero(chosen)
    flows, renumbered = _renumbered(owner[paths], int(owner[-1]) + 1)
    entries = np.flatnonzero(limited[routes.link] & chosen[routes.flow])
    links, link = _renumbered(routes.link[entries], len(limited))
    path = (np.cumsum(chosen) - 1)[routes.flow[entries]]
    start = np.searchsorted(path, np.arange(len(paths) + 1)).astype(np.int32)
    return Shape(paths, links, flows, renumbered, entries, path, link.astype(np.int32), start)


def _renumbered(numbers: Ints, most: int) -> tuple[Ints, Ints]:
    """The different numbers below `most` in increasing order, and the place of each."""
    seen = np.zeros(most, dtype=bool)
    seen[numbers] = True
    return np.flatnonzero(seen), np.asarray((np.cumsum(seen) - 1)[numbers])
