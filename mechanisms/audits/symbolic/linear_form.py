"""Linear forms of unknown bids, which know their value at one point and note what they decide.

A rule that only adds, scales and compares runs on them as on fractions. Every comparison is
answered by the value at the point, and the first time that an answer does not follow from earlier
ones it is noted as a decision of the `Path`.
"""

from __future__ import annotations

import math
import numbers
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from mechanisms.audits.time_limit import OutOfTime

NEGATIVE, ZERO, POSITIVE = 1, 2, 4
ANY = NEGATIVE | ZERO | POSITIVE
"""Sets of signs, as bits."""

Point = Mapping[str, Fraction]
"""A value for every unknown."""
Key = tuple[tuple[tuple[str, Fraction], ...], Fraction]
"""A form up to a positive factor: its terms by name, and its constant."""


class NotLinear(TypeError):
    """A rule did something with a bid that no linear form can follow."""


@dataclass(frozen=True)
class Decision:
    """A comparison whose answer did not follow from earlier ones.

    Args:
        key: The form that was compared with zero.
        taken: Signs that it has from here on.
        other: Signs that it would have had on the other side.
    """

    key: Key
    taken: int
    other: int


@dataclass
class Path:
    """One run: the point that answers comparisons, and the decisions so far.

    Args:
        point: A value for every unknown.
        signs: What is known of forms beforehand, such as that bids are not negative.
        deadline: Of `time.monotonic`, after which comparisons raise `OutOfTime`.
    """

    point: Point
    signs: Mapping[Key, int]
    deadline: float = math.inf
    decisions: list[Decision] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._known = dict(self.signs)

    def unknown(self, name: str) -> LinearForm:
        """One unknown as a number."""
        return LinearForm({name: Fraction(1)}, Fraction(0), self.point[name], self)

    def answers(self, form: LinearForm, mask: int) -> bool:
        """Whether the sign of a form is in a set of signs."""
        if time.monotonic() > self.deadline:
            raise OutOfTime
        sign = NEGATIVE if form.value < 0 else POSITIVE if form.value > 0 else ZERO
        if not form.terms:
            return bool(sign & mask)
        key, turned = _normal(form)
        if turned:
            sign, mask = _opposite(sign), _opposite(mask)
        known = self._known.get(key, ANY)
        answer = bool(sign & mask)
        if known & mask and known & ~mask:
            taken = known & mask if answer else known & ~mask
            self.decisions.append(Decision(key, taken, known & ~taken))
            self._known[key] = taken
        return answer


class LinearForm:
    """A sum of unknowns with rational factors, and a constant.

    Args:
        terms: Factor of each unknown; none is 0.
        constant: The constant.
        value: What it is at the point of the path.
        path: The run that it belongs to.

    Example:
        >>> path = Path({"x": Fraction(2)}, {})
        >>> x = path.unknown("x")
        >>> 3 * x - 1 > 4, [decision.taken == POSITIVE for decision in path.decisions]
        (True, [True])
    """

    __slots__ = ("constant", "path", "terms", "value")

    def __init__(
        self, terms: dict[str, Fraction], constant: Fraction, value: Fraction, path: Path
    ) -> None:
        self.terms, self.constant, self.value, self.path = terms, constant, value, path

    @property
    def real(self) -> LinearForm:
        """Itself: a bid is a real number."""
        return self

    @property
    def imag(self) -> int:
        """0: a bid is a real number."""
        return 0

    def __add__(self, other: Any) -> Any:
        if isinstance(other, LinearForm):
            terms = dict(self.terms)
            for name, factor in other.terms.items():
                terms[name] = terms.get(name, Fraction(0)) + factor
            terms = {name: factor for name, factor in terms.items() if factor}
            constant = self.constant + other.constant
            return LinearForm(terms, constant, self.value + other.value, self.path)
        if _infinite(other):
            return other
        number = _constant(other)
        return LinearForm(self.terms, self.constant + number, self.value + number, self.path)

    __radd__ = __add__

    def __neg__(self) -> Any:
        return self * -1

    def __pos__(self) -> LinearForm:
        return self

    def __sub__(self, other: Any) -> Any:
        return self + (-other)

    def __rsub__(self, other: Any) -> Any:
        return (-self) + other

    def __mul__(self, factor: Any) -> Any:
        number = _constant(factor)
        if number == 0:
            return Fraction(0)
        terms = {name: part * number for name, part in self.terms.items()}
        return LinearForm(terms, self.constant * number, self.value * number, self.path)

    __rmul__ = __mul__

    def __truediv__(self, divisor: Any) -> Any:
        return self * (1 / _constant(divisor))

    def __rtruediv__(self, other: Any) -> Any:
        raise NotLinear("a division by a bid")

    def _compared(self, other: Any, mask: int) -> bool:
        """Whether self - other has a sign in the mask."""
        if not isinstance(other, LinearForm) and _infinite(other):
            return bool((NEGATIVE if other > 0 else POSITIVE) & mask)
        gap = self + (-other)
        if not isinstance(gap, LinearForm):
            gap = LinearForm({}, gap, gap, self.path)
        return self.path.answers(gap, mask)

    def __lt__(self, other: Any) -> bool:
        return self._compared(other, NEGATIVE)

    def __le__(self, other: Any) -> bool:
        return self._compared(other, NEGATIVE | ZERO)

    def __gt__(self, other: Any) -> bool:
        return self._compared(other, POSITIVE)

    def __ge__(self, other: Any) -> bool:
        return self._compared(other, POSITIVE | ZERO)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, numbers.Real | LinearForm):
            return NotImplemented
        return self._compared(other, ZERO)

    __hash__ = None  # type: ignore[assignment]  # a look-up by hash would compare without a word

    def __bool__(self) -> bool:
        return self != 0

    def __float__(self) -> float:
        raise NotLinear("a conversion of a bid to a float")

    def __deepcopy__(self, memo: dict[int, Any]) -> LinearForm:
        return self

    def __repr__(self) -> str:
        parts = [f"{factor} {name}" for name, factor in self.terms.items()]
        return " + ".join([*parts, str(self.constant)])


numbers.Real.register(LinearForm)


def value_of(number: Any) -> Any:
    """A number at the point of its path; plain numbers stay."""
    return number.value if isinstance(number, LinearForm) else number


def sign_of_unknown(name: str) -> Key:
    """The form that is one unknown, as paths name it."""
    return ((name, Fraction(1)),), Fraction(0)


def _normal(form: LinearForm) -> tuple[Key, bool]:
    """A form scaled so that its first factor by name is 1, and whether that turned its sign."""
    first = min(form.terms)
    scale = form.terms[first]
    terms = tuple(sorted((name, factor / scale) for name, factor in form.terms.items()))
    return (terms, form.constant / scale), scale < 0


def _opposite(signs: int) -> int:
    """The signs of the negated form."""
    return (signs & ZERO) | (POSITIVE if signs & NEGATIVE else 0) | (signs >> 2)


def _infinite(number: Any) -> bool:
    """Whether a constant is infinite (a float, since fractions are finite)."""
    return isinstance(number, float) and math.isinf(number)


def _constant(number: Any) -> Fraction:
    """A finite constant without rounding."""
    if isinstance(number, LinearForm):
        if not number.terms:
            return number.constant
        raise NotLinear("a product of two bids")
    if isinstance(number, numbers.Integral):
        return Fraction(int(number))  # of NumPy's too, which would overflow within a fraction
    if isinstance(number, numbers.Rational):
        return Fraction(number)
    if isinstance(number, float) and math.isfinite(number):
        return Fraction(number)
    raise NotLinear(f"{number!r} met a bid")
