"""What every method for single paths returns."""

from __future__ import annotations

from dataclasses import dataclass

from fairopt.arrays import Array


@dataclass(frozen=True, eq=False)
class MethodResult:
    """Rates and log prices of the scaled problem."""

    rates: Array
    log_prices: Array
    log_bound_prices: Array
    iterations: int
