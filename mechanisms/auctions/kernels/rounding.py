"""Float kernel that rounds prices down to multiples of a unit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mechanisms.auctions.kernels.jit import compiled

Floats = NDArray[np.float64]


@compiled("void(float64[::1], float64, float64, float64[::1])")
def round_down(prices: Floats, units: float, parts: float, rounded: Floats) -> None:
    """Largest float at most each price that is the float nearest to a multiple of units / parts.

    All integers here are floats, so a quotient is the float nearest to its multiple. The guess is
    off by one at most: it errs by 3/4 of a unit, at up to 2^51 of them.
    """
    for i in range(prices.size):
        price = prices[i]
        count = np.floor(price * parts / units)
        if (count + 1.0) * units / parts <= price:
            count += 1.0
        elif count * units / parts > price:
            count -= 1.0
        rounded[i] = count * units / parts
