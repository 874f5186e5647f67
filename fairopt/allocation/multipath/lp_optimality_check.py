r"""What prices in float64 cannot show: cheap flows that could have more at no cost to dear ones.

Where alpha is large some flows pay 1e-30 of what others pay, and a chain of exchanges between dear
flows may decide what cheap ones get, though no single comparison of two of its prices shows it. So
flows are taken by price, dear ones first. At every step down in price a linear programme asks what
the cheaper flows could gain if all dearer ones keep their rates but not their paths. At an optimum
that is nothing, as the rates of dear flows are optimal and unique.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from fairopt.allocation.methods.linear_programme import programme
from fairopt.allocation.multipath.log_form import PathForm
from fairopt.arrays import Array, BoolArray, Ints

SEEN = np.log(1e6)  # range of prices inside which they show everything
STEP = np.log(10.0)  # between two prices: a gap at which a programme is asked
FARTHEST = np.log(1e3)  # from one programme to the next where there is no gap
ALIKE = 1e-3  # between logarithms of prices that are on one side of a step
FAINT = 1e-9  # of the largest value (rate times price) of a cheap flow: what counts for nothing
KEPT = 1e-9  # relative: by how much dear rates may give way
GAIN = 1e-4  # of the largest value of a cheap flow: a gain that is one


def gaining(form: PathForm, z: Array) -> Ints:
    """The flows that could gain, of the first price at which some could; none at an optimum."""
    log_price = form.log_price(z)
    for top in _steps_down(log_price):
        more = _gain(form, z, log_price, top)
        if more.any():
            return np.flatnonzero(more)
    return np.zeros(0, dtype=np.int64)


def _steps_down(log_price: Array) -> list[float]:
    """The largest prices below each step, where comparisons no longer show them."""
    falling = np.sort(log_price)[::-1]
    steps, last = [], falling[0] - SEEN + FARTHEST
    for before, price in pairwise(falling.tolist()):
        if price < falling[0] - SEEN and (before - price > STEP or price < last - FARTHEST):
            steps.append(price)
            last = price
    return steps


def _gain(form: PathForm, z: Array, log_price: Array, top: float) -> BoolArray:
    """Flows not dearer than `top` that gain if together they gain."""
    from scipy import sparse

    x, is_dear = form.total(z), log_price > top + ALIKE
    dear, log_value = np.flatnonzero(is_dear), np.where(is_dear, -np.inf, log_price + np.log(x))
    value = np.exp(log_value - log_value.max())
    value[value < FAINT] = 0.0
    paths = len(z)
    of_flow = sparse.csr_array(
        (1.0 / x[form.owner], (form.owner, np.arange(paths))), shape=(form.flows, paths)
    )
    rows = sparse.vstack([form.A, -of_flow[dear]], format="csr")
    limit = np.concatenate([np.maximum(form.A @ z, 1.0), np.full(len(dear), KEPT - 1.0)])
    found = programme(-(of_flow.T @ value), rows, limit, np.zeros(paths))
    if found.x is None:  # nothing is known of them
        return np.asarray(value > 0.0, dtype=bool)
    ratio = of_flow @ found.x
    if float(value @ (ratio - 1.0)) <= GAIN:
        return np.zeros(form.flows, dtype=bool)
    return np.asarray((value > 0.0) & (ratio > 1.0), dtype=bool)
