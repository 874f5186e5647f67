"""Hypothesis strategies for the inputs that fairness theorems quantify over."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

HALVES = tuple(Fraction(n, 2) for n in range(7))
"""Few different asks, so that ties and exactly exhausted budgets are frequent."""


@st.composite
def bid_profiles(
    draw: st.DrawFn,
    *,
    max_clients: int = 7,
    max_tasks: int = 4,
    asks: Sequence[Any] = HALVES,
    exact: bool = True,
) -> tuple[NDArray[Any], Any]:
    """(bids, budget) of an auction with frequent ties, missing bids and tight budgets.

    Args:
        draw: Given by Hypothesis.
        max_clients: Largest N; at least 1 client.
        max_tasks: Largest S; at least 1 task.
        asks: Values that asks come from; every other profile has missing bids too.
        exact: Object arrays of fractions; otherwise float64.
    """
    clients, tasks = draw(st.integers(1, max_clients)), draw(st.integers(1, max_tasks))
    cells = st.sampled_from([*asks, math.inf] if draw(st.booleans()) else list(asks))
    flat = draw(st.lists(cells, min_size=clients * tasks, max_size=clients * tasks))
    terms = draw(st.lists(st.sampled_from(list(asks)), min_size=1, max_size=clients * tasks + 1))
    scale: Any = draw(st.sampled_from([1, 1, 2, Fraction(1, 2)]))
    budget = sum(map(Fraction, terms), Fraction(0)) * scale or Fraction(1)
    bids = np.empty((clients, tasks), dtype=object)
    bids.ravel()[:] = flat
    return (bids, budget) if exact else (bids.astype(np.float64), float(budget))
