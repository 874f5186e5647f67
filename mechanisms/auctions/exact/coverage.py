"""Regions that clients cover: classes, languages, sites; each counts once, whoever brings it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Coverage:
    """The value of sets of clients: the weight of what at least one of them covers.

    Monotone and submodular: a client adds no more to a larger set than to a smaller one.

    Args:
        regions: Of each client.
        weights: Of each region, whole numbers > 0.

    Example:
        >>> value = coverage(np.array([[True, True, False], [False, True, True]]), [1, 2, 4])
        >>> value.of([0]), value.of([0, 1]), value.gain(1, value.covered([0]))
        (3, 7, 4)
    """

    regions: tuple[frozenset[int], ...]
    weights: tuple[int, ...]

    def covered(self, clients: Iterable[int]) -> frozenset[int]:
        """Regions that a set of clients covers."""
        return frozenset[int]().union(*(self.regions[client] for client in clients))

    def of(self, clients: Iterable[int]) -> int:
        """Value of a set of clients."""
        return sum(self.weights[region] for region in self.covered(clients))

    def gain(self, client: int, covered: frozenset[int]) -> int:
        """Value that a client adds to what is covered."""
        return sum(self.weights[region] for region in self.regions[client] - covered)


def coverage(covers: NDArray[np.bool_], weights: Sequence[int]) -> Coverage:
    """The value behind one task's (N, R) table."""
    regions = tuple(frozenset(int(r) for r in np.flatnonzero(row)) for row in covers)
    return Coverage(regions, tuple(weights))
