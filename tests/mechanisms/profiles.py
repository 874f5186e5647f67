"""Random auctions for tests: ties, missing bids, more tasks than bidders, awkward floats."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from hypothesis import strategies as st

TIED = [Fraction(n, 2) for n in range(7)]
"""Few different bids, so that ties and exactly exhausted budgets are frequent."""
HALVES = [float(value) for value in TIED]
AWKWARD = [k / 10 for k in range(1, 9)] + [1 / 3, 2 / 3, 0.0, 1e-3, 5e-324, 1e300]
"""Floats whose sums round: 0.1 + 0.2 is above 0.3, and extreme exponents."""


@st.composite
def float_auctions(draw, max_clients=7, max_tasks=4, values=None):
    """(bids, budget) as float64, with missing bids; every third from awkward numbers."""
    clients = draw(st.integers(1, max_clients))
    tasks = draw(st.integers(1, max_tasks))
    pool = draw(st.sampled_from([HALVES, AWKWARD])) if values is None else values
    cell = st.sampled_from([*pool, math.inf] if draw(st.booleans()) else pool)
    bids = draw(st.lists(cell, min_size=clients * tasks, max_size=clients * tasks))
    table = np.array(bids).reshape(clients, tasks)
    return table, draw(budgets(pool, clients * tasks))


@st.composite
def budgets(draw, pool, cells):
    """A positive budget that often equals a sum of bids to the last bit."""
    terms = draw(st.lists(st.sampled_from(pool), min_size=1, max_size=cells + 1))
    scale = draw(st.sampled_from([Fraction(1), Fraction(1), Fraction(2), Fraction(1, 2)]))
    total = sum(map(Fraction, terms), Fraction(0)) * scale
    return float(total) if 0 < total < Fraction(1e308) and float(total) else 1.0


def table(*rows):
    """Bids from rows of numbers or strings of fractions; '-' = no bid."""
    return np.array(
        [[math.inf if cell == "-" else Fraction(cell) for cell in row] for row in rows],
        dtype=object,
    )


def as_floats(bids):
    """The same table as float64."""
    return np.array([[float(cell) for cell in row] for row in bids])


def paid(outcome):
    """Recruits per task as {client: payment}, the notation of the worked examples."""
    return [
        {int(i): outcome.payments[i, s] for i in np.flatnonzero(outcome.winners[:, s])}
        for s in range(outcome.winners.shape[1])
    ]
