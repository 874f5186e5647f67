"""Which flow and which link every entry of a routing matrix belongs to."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from fairopt.checks import Array, Ints


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
