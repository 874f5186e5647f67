"""The alpha-fair utility, and an index of how even a division is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from fairopt import checks
from fairopt.arrays import Array
from fairopt.errors import InvalidInput


@dataclass(frozen=True)
class AlphaFair:
    r"""Utility u(x) = x^(1 - alpha) / (1 - alpha) of a rate x >= 0, log x at alpha = 1.

    alpha = 0 counts totals, 1 is proportional fairness, 2 minimum potential delay; alpha -> inf
    approaches max-min fairness, which is no sum of utilities and is therefore not a value here.

    Args:
        alpha: Utility power, finite and >= 0.

    Raises:
        InvalidInput: for any other alpha, negative rates, prices <= 0.

    Source: Mo and Walrand's alpha-fair family, as used by FairGrad (arXiv 2402.15638).

    Example:
        >>> utility = AlphaFair(2.0)
        >>> float(utility.value(4.0)), float(utility.marginal(4.0))
        (-0.25, 0.0625)
        >>> float(utility.inverse_marginal(0.0625))
        4.0
    """

    alpha: float

    def __post_init__(self) -> None:
        if np.ndim(checks.radius("alpha", self.alpha)):
            raise InvalidInput("alpha", self.alpha, "one number")

    def value(self, x: ArrayLike) -> Array:
        """u(x); -inf at zero where alpha >= 1."""
        rate = self._rates(x)
        with np.errstate(divide="ignore"):
            if self.alpha == 1.0:
                return np.asarray(np.log(rate))
            return np.asarray(rate ** (1.0 - self.alpha) / (1.0 - self.alpha))

    def marginal(self, x: ArrayLike) -> Array:
        """u'(x) = x^-alpha; inf at zero where alpha > 0."""
        with np.errstate(divide="ignore"):
            return np.asarray(self._rates(x) ** -self.alpha)

    def inverse_marginal(self, price: ArrayLike) -> Array:
        """The rate at which u' is the given price > 0: price^(-1 / alpha). Needs alpha > 0."""
        if self.alpha == 0.0:
            raise InvalidInput("alpha", self.alpha, "> 0, as u' is constant at alpha = 0")
        y = checks.real_array("price", price)
        checks.all_where("price", np.atleast_1d(y), np.atleast_1d(y > 0.0), "> 0")
        with np.errstate(over="ignore"):
            return np.asarray(y ** (-1.0 / self.alpha))

    @staticmethod
    def _rates(x: ArrayLike) -> Array:
        """Rates >= 0."""
        rate = checks.real_array("x", x)
        checks.all_where("x", np.atleast_1d(rate), np.atleast_1d(rate >= 0.0), ">= 0")
        return rate


def jain_index(amounts: ArrayLike) -> float:
    """(sum x)^2 / (n sum x^2): 1 where all have the same (or nothing), 1/n where one has all.

    Source: Jain, Chiu and Hawe's fairness index, as used for shares of a network.

    Example:
        >>> jain_index([2, 2, 2]), jain_index([3, 0, 0])
        (1.0, 0.3333333333333333)
    """
    x = checks.real_array("amounts", amounts)
    return float(x.sum() ** 2 / (x.size * (x**2).sum())) if x.any() else 1.0
