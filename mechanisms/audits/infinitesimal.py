r"""Numbers just above a point, by which a mechanism shows where its decisions change.

A number p + q t has a value p and an infinitesimal part: t stands for all small t > 0. It adds,
scales and compares; comparisons go by value and then by slope. Run a mechanism that only adds,
scales and compares on a profile in which one bid is h + t: it takes the decisions of all bids just
above h at once. Every comparison also tells the shared `Horizon` how far t can grow before its
answer changes, so the nearest of these roots ends the interval of bids that are treated alike.
"""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

REQUIREMENT = "a mechanism that only adds, scales and compares bids"


class NotAffine(TypeError):
    """The mechanism did something with a bid that a linear function cannot follow."""


@dataclass
class Horizon:
    """Largest t up to which every comparison seen so far keeps its answer."""

    limit: Any = field(default=math.inf)

    def sees(self, value: Any, slope: Any) -> None:
        """Note the root of value + slope t, if it lies ahead."""
        if value * slope < 0:
            self.limit = min(self.limit, -value / slope)


@dataclass(frozen=True, eq=False)
class Infinitesimal:
    """The number value + slope t for all small t > 0.

    Args:
        value: p, the value at t = 0.
        slope: q.
        horizon: Where comparisons report their roots; shared by all such numbers of one run.

    Example:
        >>> horizon = Horizon()
        >>> bid = Infinitesimal(Fraction(1), Fraction(1), horizon)
        >>> bid > 1, bid < 3, 2 * bid <= 5, horizon.limit
        (True, True, True, Fraction(3, 2))
    """

    value: Any
    slope: Any
    horizon: Horizon

    def at(self, t: Any) -> Any:
        """The number at a given t."""
        return self.value + self.slope * t

    @property
    def real(self) -> Infinitesimal:
        """Itself: an infinitesimal is a real number."""
        return self

    @property
    def imag(self) -> int:
        """0: an infinitesimal is a real number."""
        return 0

    def _plus(self, value: Any, slope: Any) -> Infinitesimal:
        """The sum with another value and slope."""
        return Infinitesimal(self.value + value, self.slope + slope, self.horizon)

    def __add__(self, other: Any) -> Any:
        if isinstance(other, Infinitesimal):
            return self._plus(other.value, other.slope)
        if _infinite(other):
            return other
        return self._plus(_constant(other), 0)

    __radd__ = __add__

    def __neg__(self) -> Infinitesimal:
        return Infinitesimal(-self.value, -self.slope, self.horizon)

    def __pos__(self) -> Infinitesimal:
        return self

    def __sub__(self, other: Any) -> Any:
        return self + (-other)

    def __rsub__(self, other: Any) -> Any:
        return (-self) + other

    def __mul__(self, factor: Any) -> Infinitesimal:
        number = _constant(factor)
        return Infinitesimal(self.value * number, self.slope * number, self.horizon)

    __rmul__ = __mul__

    def __truediv__(self, divisor: Any) -> Infinitesimal:
        number = _constant(divisor)
        return Infinitesimal(self.value / number, self.slope / number, self.horizon)

    def __rtruediv__(self, other: Any) -> Any:
        raise NotAffine(f"division by a bid: not {REQUIREMENT}")

    def _sign_against(self, other: Any) -> int:
        """Sign of self - other just above t = 0."""
        if not isinstance(other, Infinitesimal) and _infinite(other):
            return -1 if other > 0 else 1
        gap = self - other
        self.horizon.sees(gap.value, gap.slope)
        lead = gap.value if gap.value != 0 else gap.slope
        return int(lead > 0) - int(lead < 0)

    def __lt__(self, other: Any) -> bool:
        return self._sign_against(other) < 0

    def __le__(self, other: Any) -> bool:
        return self._sign_against(other) <= 0

    def __gt__(self, other: Any) -> bool:
        return self._sign_against(other) > 0

    def __ge__(self, other: Any) -> bool:
        return self._sign_against(other) >= 0

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, numbers.Real | Infinitesimal):
            return NotImplemented
        return self._sign_against(other) == 0

    __hash__ = None  # type: ignore[assignment]  # a look-up by hash would compare without a word

    def __bool__(self) -> bool:
        return self != 0

    def __float__(self) -> float:
        raise NotAffine(f"conversion of a bid to a float: not {REQUIREMENT}")

    def __deepcopy__(self, memo: dict[int, Any]) -> Infinitesimal:
        return self


numbers.Real.register(Infinitesimal)


def at(number: Any, t: Any) -> Any:
    """Any number at a given t: an infinitesimal moves, a constant stays."""
    return number.at(t) if isinstance(number, Infinitesimal) else number


def _infinite(number: Any) -> bool:
    """Whether a constant is infinite (a float, since fractions are finite)."""
    return isinstance(number, float) and math.isinf(number)


def _constant(number: Any) -> Fraction:
    """A finite constant without rounding."""
    if isinstance(number, Infinitesimal):
        raise NotAffine(f"product of two bids: not {REQUIREMENT}")
    if isinstance(number, numbers.Rational):
        return Fraction(number)
    if isinstance(number, float) and math.isfinite(number):
        return Fraction(number)
    raise NotAffine(f"{number!r} met a bid: not {REQUIREMENT}")
