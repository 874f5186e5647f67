"""Shares rounded to whole numbers by largest remainders."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from fairopt.apportionment.shares import Ratio, lifted, root_bounds

FIRST_BITS = 64  # of the roots; doubled until every decision is certain


def largest_remainder(values: Sequence[int], degree: int, units: int, least: int) -> list[int]:
    """Units in proportion to the roots of the values, rounded, at least `least` for everybody.

    Shares are rounded down and the missing units go to the largest remainders, ties to the lower
    index. Irrational roots are known between bounds, which are narrowed until nothing depends on
    what is inside. That ends: roots with irrational ratios are linearly independent over the
    fractions (Besicovitch 1940), so a share of theirs is neither whole nor the floor, and two
    remainders are equal only where the values are.

    Example:
        >>> largest_remainder([3, 5], 1, 12, 0)  # of 4.5 and 7.5
        [5, 7]
    """
    bits = FIRST_BITS
    while True:
        shares = lifted(root_bounds(values, degree, bits), units, least)
        found = None if shares is None else _rounded(shares, values, units)
        if found is not None:
            return found
        bits *= 2


def _rounded(
    shares: Sequence[tuple[Ratio, Ratio]], values: Sequence[int], units: int
) -> list[int] | None:
    """Rounded shares, or None if their bounds are too wide."""
    whole = [low // size for (low, size), _ in shares]
    if any(high // size > n for n, (_, (high, size)) in zip(whole, shares, strict=True)):
        return None
    rest = [tuple(Fraction(part % size, size) for part, size in share) for share in shares]
    order = sorted(range(len(shares)), key=lambda k: (-rest[k][0], k))
    missing = units - sum(whole)
    if not missing:
        return whole
    last = order[missing - 1]
    apart = [k for k in order if values[k] != values[last]]
    chosen = set(order[:missing])
    if any(
        rest[k][0] < rest[last][1] if k in chosen else rest[k][1] > rest[last][0] for k in apart
    ):
        return None
    return [n + (k in chosen) for k, n in enumerate(whole)]
