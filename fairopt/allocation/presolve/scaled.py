"""The problem in the form that methods take: capacities 1, rates between 0 and 1.

`fairopt.allocation.presolve.scaling` explains how it comes about.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from fairopt.allocation.routes import Entries
from fairopt.arrays import Array, BoolArray


@dataclass(frozen=True, eq=False)
class Scaled(Entries):
    """Maximise sum v_i u_alpha(y_i) subject to A y <= 1, 0 <= y <= 1, for flows that share a link.

    Attributes:
        by_flow: (flows, links) the transpose of A in compressed rows, none of them empty.
        log_weight: log v_i.
        log_unit: log of the rate that y = 1 means.
        bounded: Where y <= 1 is a bound of the problem and not a consequence of A y <= 1.
        alpha: Utility power.
    """

    by_flow: Any
    log_weight: Array
    log_unit: Array
    bounded: BoolArray
    alpha: float

    @cached_property
    def rows(self) -> tuple[Array, Array, Array]:
        """Offsets, links and entries of A by flow, as kernels take them."""
        A = self.by_flow
        return A.indptr.view(np.uint32), A.indices.view(np.uint32), A.data

    @cached_property
    def kernel_arguments(self) -> tuple[Any, ...]:
        """Rows, alpha, log weights, weights, bounds; contiguous, as the kernels do not check it."""
        with np.errstate(over="ignore", under="ignore"):
            weights = np.ascontiguousarray(self.log_weight), np.exp(self.log_weight)
        return *self.rows, self.alpha, *weights, np.ascontiguousarray(self.bounded)

    @property
    def links(self) -> int:
        """Number of shared links."""
        return int(self.by_flow.shape[1])

    @property
    def flows(self) -> int:
        """Number of flows on them."""
        return int(self.by_flow.shape[0])

    @cached_property
    def by_link(self) -> Any:
        """A in compressed rows, none of them empty."""
        return self.by_flow.T.tocsr()

    @cached_property
    def squared(self) -> Any:
        """A with squared entries."""
        square = self.by_flow.copy()
        square.data = square.data**2
        return square.T
