r"""What prices in float64 cannot show: cheap flows that could have more at no cost to dear ones.

Where alpha is large some flows pay 1e-30 of what others pay, and a chain of exchanges between dear
flows may decide what cheap ones get, though no single comparison of two of its prices shows it. So
flows are taken by value (rate times price), dear ones first. At every step down in value a linear
programme asks what the cheaper flows could gain if all dearer ones keep their rates but not their
paths. At an optimum that is nothing, as the rates of dear flows are optimal and unique.
"""

from __future__ import annotations

import numpy as np

from fairopt.allocating.linear_programme import programme
from fairopt.allocating.path_form import PathForm
from fairopt.checks import Array, BoolArray, Ints

SEEN = np.log(1e6)  # range of values inside which prices show everything
STEP = np.log(10.0)  # between two values that are told apart
FAINT = 1e-9  # of the dearest cheap flow: values that count for nothing in its programme
KEPT = 1e-9  # relative: by how much dear rates may give way
GAIN = 1e-4  # of the value of the dearest cheap flow: a gain that is one


def gaining(form: PathForm, z: Array) -> Ints:
    """The flows that could gain, of the first value at which some could; none at an optimum."""
    x = form.total(z)
    log_value = form.log_weight + (1.0 - form.alpha) * np.log(x)
    for top in _steps_down(log_value):
        more = _gain(form, z, x, log_value, float(top))
        if more.any():
            return np.flatnonzero(more)
    return np.zeros(0, dtype=np.int64)


def _steps_down(log_value: Array) -> Array:
    """The largest values below a gap, where prices no longer show them."""
    falling = np.sort(log_value)[::-1]
    gap = -np.diff(falling) > STEP
    return np.asarray(falling[1:][gap & (falling[1:] < falling[0] - SEEN)])


def _gain(form: PathForm, z: Array, x: Array, log_value: Array, top: float) -> BoolArray:
    """Flows not dearer than `top` that gain if together they gain."""
    from scipy import sparse

    dear = np.flatnonzero(log_value > top + 0.5 * STEP)
    value = np.exp(np.minimum(log_value - top, 0.5 * STEP))
    value[dear] = 0.0
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
