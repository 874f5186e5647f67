"""The routing of a problem, and what follows from it alone: kept for all problems that share it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fairopt.arrays import Array, Ints

Made = TypeVar("Made")


class Entries:
    """What problems with a routing matrix by flow have in common, `by_flow` (flows, links)."""

    if TYPE_CHECKING:

        @property
        def by_flow(self) -> Any:
            """The transposed routing in compressed rows."""

    @cached_property
    def link(self) -> Ints:
        """Link of every entry, in the order of `by_flow`."""
        return np.asarray(self.by_flow.indices)

    @cached_property
    def log_entry(self) -> Array:
        """Logarithm of every entry, in the order of `by_flow`."""
        return np.asarray(np.log(self.by_flow.data))

    @cached_property
    def flow(self) -> Ints:
        """Flow of every entry, in the order of `by_flow`."""
        rows = self.by_flow
        return np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))


class Routes(Entries):
    """R by link and by flow, and the last of what was `made` from it.

    Attributes:
        matrix: (links, flows) `scipy.sparse.csr_array`, entries > 0, none twice.
    """

    def __init__(self, matrix: Any) -> None:
        self.matrix = matrix
        self._last: dict[Any, tuple[tuple[bytes, ...], Any]] = {}

    def __getstate__(self) -> Any:
        return self.matrix

    def __setstate__(self, matrix: Any) -> None:
        self.__init__(matrix)  # type: ignore[misc]

    @cached_property
    def by_flow(self) -> Any:
        """The transposed routing, (flows, links) in compressed rows."""
        return self.matrix.T.tocsr()

    def made(self, make: Callable[..., Made], *choice: NDArray[Any]) -> Made:
        """What `make` gives for these routes and a choice of flows and links.

        The last of each kind is kept, as neighbouring problems mostly choose the same.
        """
        asked = tuple(array.tobytes() for array in choice)
        known = self._last.get(make)
        if known is None or known[0] != asked:
            known = self._last[make] = asked, make(self, *choice)
        found: Made = known[1]
        return found


def restricted(routes: Routes, flows: Ints) -> Routes:
    """The routes of some of the flows, over the same links."""
    return Routes(routes.by_flow[flows].T.tocsr())
