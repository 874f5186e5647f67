"""Mechanisms that raise instead of deciding: an error that means that nobody is recruited."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairopt.errors import InvalidInput
from mechanisms.audits.infinitesimal import NotAffine
from mechanisms.outcome import Mechanism, Outcome

Refusals = tuple[type[Exception], ...]


@dataclass(frozen=True)
class Refusing:
    """A mechanism whose errors of some kinds are outcomes: nobody is recruited, nothing is paid.

    Args:
        mechanism: The mechanism.
        refusals: Kinds of errors by which it refuses an auction.

    Example:
        >>> def capped(bids, budget):
        ...     if (bids > 5).any():
        ...         raise ValueError("bids go up to 5")
        ...     return Outcome(bids <= 1, np.where(bids <= 1, 1, 0), (bids <= 1).sum(axis=0))
        >>> Refusing(capped, (ValueError,))(np.array([[1, 7]]), 10).take_up
        array([0, 0])
    """

    mechanism: Mechanism
    refusals: Refusals

    def __call__(self, bids: NDArray[Any], budget: Any) -> Outcome:
        """The mechanism's outcome, or none."""
        shape = bids.shape
        try:
            return self.mechanism(bids, budget)
        except NotAffine:  # an audit that traces a bid, not an auction that is refused
            raise
        except self.refusals:
            nobody = np.zeros(shape, dtype=np.bool_)
            return Outcome(nobody, np.zeros(shape), nobody.sum(axis=0))


def checked_refusals(refusals: Any) -> Refusals:
    """Kinds of errors as a tuple.

    Raises:
        InvalidInput: Something else.
    """
    kinds = refusals if isinstance(refusals, tuple) else (refusals,)
    if not all(isinstance(kind, type) and issubclass(kind, Exception) for kind in kinds):
        raise InvalidInput("refusals", refusals, "an Exception class, or a tuple of some")
    return kinds
