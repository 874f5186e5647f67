r"""A linear programme finds what float64 prices cannot show: improvable low-price flows.

Where alpha is large some flows pay 1e-30 of what others pay, and a chain of exchanges between
high-price flows may decide what low-price ones get, though no single comparison of two prices shows
it. So flows are taken by price, highest first. At every step down in price a linear programme finds
what flows below it could gain if all flows above it keep their rates but not their paths. At an
optimum that is nothing, as the rates of the flows above it are optimal and unique.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from fairopt.allocation.methods.linear_programme import programme
from fairopt.allocation.multipath.log_form import PathForm
from fairopt.arrays import Array, BoolArray, Ints

SEEN = np.log(1e6)  # range of prices within which the residual shows every gain
STEP = np.log(10.0)  # gap between two prices at which a programme is solved
FARTHEST = np.log(1e3)  # from one programme to the next where there is no gap
ALIKE = 1e-3  # between logarithms of prices on the same side of a step
FAINT = 1e-9  # of the largest value (rate times price) of a low-price flow: neglected
KEPT = 1e-9  # relative: by how much rates of high-price flows may fall
GAIN = 1e-4  # of the largest value of a low-price flow: a smaller gain does not count


def improvable_flows(form: PathForm, z: Array) -> Ints:
    """The flows that could gain, at the first price step where some could; none at an optimum."""
    log_price = form.log_price(z)
    for top in _steps_down(log_price):
        more = _improvable(form, z, log_price, top)
        if more.any():
            return np.flatnonzero(more)
    return np.zeros(0, dtype=np.int64)


def _steps_down(log_price: Array) -> list[float]:
    """The highest price below each step, among those too low for the residual to show gains."""
    falling = np.sort(log_price)[::-1]
    steps, last = [], falling[0] - SEEN + FARTHEST
    for before, price in pairwise(falling.tolist()):
        if price < falling[0] - SEEN and (before - price > STEP or price < last - FARTHEST):
            steps.append(price)
            last = price
    return steps


def _improvable(form: PathForm, z: Array, log_price: Array, top: float) -> BoolArray:
    """Flows whose log price is at most `top` and that gain, if together they gain."""
    from scipy import sparse

    x, is_above = form.total(z), log_price > top + ALIKE
    above, log_value = np.flatnonzero(is_above), np.where(is_above, -np.inf, log_price + np.log(x))
    value = np.exp(log_value - log_value.max())
    value[value < FAINT] = 0.0
    paths = len(z)
    of_flow = sparse.csr_array(
        (1.0 / x[form.owner], (form.owner, np.arange(paths))), shape=(form.flows, paths)
    )
    rows = sparse.vstack([form.A, -of_flow[above]], format="csr")
    limit = np.concatenate([np.maximum(form.A @ z, 1.0), np.full(len(above), KEPT - 1.0)])
    found = programme(-(of_flow.T @ value), rows, limit, np.zeros(paths))
    if found.x is None:  # nothing is known of them
        return np.asarray(value > 0.0, dtype=bool)
    ratio = of_flow @ found.x
    if float(value @ (ratio - 1.0)) <= GAIN:
        return np.zeros(form.flows, dtype=bool)
    return np.asarray((value > 0.0) & (ratio > 1.0), dtype=bool)
