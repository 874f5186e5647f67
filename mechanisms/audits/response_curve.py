"""What one bid brings its client: the whole line of possible bids, cut where decisions change."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from numpy.typing import NDArray

from fairopt.errors import InvalidInput
from mechanisms.audits.infinitesimal import Horizon, Infinitesimal, at
from mechanisms.audits.run_rule import run_mechanism
from mechanisms.bids import exact_number
from mechanisms.outcome import Mechanism

NEAR = Fraction(1, 1024)
"""Part of a gain that may be missed where only a limit that no bid attains has all of it."""
INNER = 8
"""Others' bids inside an interval at which it is run again, about."""
PIECES = 100_000
"""Intervals after which tracing gives up; the rules of this package have a few per client."""


@dataclass(frozen=True)
class Piece:
    """Bids that the mechanism treats alike: one point, or an open interval.

    Args:
        low: Left end of the bids.
        high: Right end; equal to `low` for a point, `inf` for the last interval.
        won: (S,) tasks that the client wins.
        paid: (S,) its pay, a function of t = bid - low on an interval.
    """

    low: Any
    high: Any
    won: tuple[bool, ...]
    paid: tuple[Any, ...]

    @property
    def is_point(self) -> bool:
        """Whether this is a single bid."""
        return bool(self.low == self.high)

    def inside(self) -> Any:
        """A bid of this piece."""
        if self.is_point:
            return self.low
        return self.low + 1 if self.high == math.inf else (self.low + self.high) / 2

    def utility(self, costs: tuple[Any, ...], bid: Any) -> Any:
        """Utility of a client with these costs at a bid of this piece (ends: the limit there)."""
        total = Fraction(0)
        for won, pay, cost in zip(self.won, self.paid, costs, strict=True):
            if won:
                if cost == math.inf:
                    return -math.inf
                total += at(pay, bid - self.low) - cost
        return total

    def best_bid(self, costs: tuple[Any, ...], floor: Any) -> Any:
        """A bid of this piece that gains almost the most over `floor`, or None where none gains.

        Utility is linear on the piece, so its supremum is at an end: walk towards the better end
        from the middle until nearly all of the gain there is made.
        """
        middle = self.inside()
        if self.is_point:
            return middle if self.utility(costs, middle) > floor else None
        far = self.high if self.high != math.inf else self._far(costs, floor)
        most, end = max((self.utility(costs, end), end) for end in (self.low, far))
        if most <= floor:
            return None
        return self._approach(end, middle, costs, most - (most - floor) * NEAR)

    def _far(self, costs: tuple[Any, ...], floor: Any) -> Any:
        """A bid of an unbounded piece, far enough to beat the floor if utility grows with it."""
        here, step = self.inside(), self.utility(costs, self.low + 2)
        slope = step - self.utility(costs, here)
        return here + 1 + (floor - step) / slope + 1 if 0 < slope < math.inf else self.low

    def _approach(self, end: Any, start: Any, costs: tuple[Any, ...], goal: Any) -> Any:
        """Halve the way to an end whose limit beats the goal; ends because utility is linear."""
        bid = start
        while self.utility(costs, bid) < goal:
            bid = (bid + end) / 2
        return bid


def trace(
    mechanism: Mechanism, bids: NDArray[Any], budget: Any, client: int, task: int
) -> Iterator[Piece]:
    """All bids of one (client, task) from 0 to infinity, piece by piece, and not bidding.

    Method: tracing. The unchanged mechanism runs on a point, then infinitesimally above it; the
    comparisons it makes say where the next point is. Exact and complete for one bid. Every interval
    is run again with plain numbers inside it, since a mechanism may take a bid that is no plain
    number for something else (no bid at all, say).

    Args:
        mechanism: A rule that only adds, scales and compares, on exact numbers.
        bids: (N, S) exact bids.
        budget: Exact budget.
        client: Whose bid varies.
        task: Of which task.

    Raises:
        InvalidInput: The mechanism does something else with a bid, such as rounding it, or decides
            otherwise on plain numbers.
    """
    low: Any = Fraction(0)
    for _ in range(PIECES):
        yield _piece(mechanism, bids, budget, client, task, low, low, low)
        horizon = Horizon()
        above_low = Infinitesimal(low, Fraction(1), horizon)
        above = _piece(mechanism, bids, budget, client, task, above_low, low, math.inf)
        high = low + horizon.limit if horizon.limit < math.inf else math.inf
        piece = Piece(low, high, above.won, above.paid)
        _check_replayed(mechanism, bids, budget, client, task, piece)
        yield piece
        if high == math.inf:
            yield _piece(mechanism, bids, budget, client, task, math.inf, math.inf, math.inf)
            return
        low = high
    raise InvalidInput("mechanism", mechanism, f"one with at most {PIECES} pieces per bid")


def _check_replayed(
    mechanism: Mechanism, bids: NDArray[Any], budget: Any, client: int, task: int, piece: Piece
) -> None:
    """Refuse a mechanism that treats plain numbers of an interval otherwise than traced ones."""
    for bid in _inner_bids(bids, client, task, piece):
        plain = _piece(mechanism, bids, budget, client, task, bid, bid, bid)
        traced = tuple(at(pay, bid - piece.low) for pay in piece.paid)
        if plain.won != piece.won or plain.paid != traced:
            requirement = (
                "one that decides on plain numbers as on those that trace it "
                f'(client {client}, task {task}, bid {bid}); or use method="search"'
            )
            raise InvalidInput("mechanism", mechanism, requirement)


def _inner_bids(bids: NDArray[Any], client: int, task: int, piece: Piece) -> list[Any]:
    """Bids inside an interval: two of its own, the truth, and others' bids for the task.

    Rules change their decisions at bids of others, so few of those lie inside; a rule that took a
    traced bid for none has one interval with all of them.
    """
    middle = piece.inside()
    own = [middle, (middle + piece.low) / 2]
    others = sorted({bid for bid in bids[:, task] if piece.low < bid < piece.high})
    return [*own, *others[:: max(1, len(others) // INNER)]]


def _piece(
    mechanism: Mechanism,
    bids: NDArray[Any],
    budget: Any,
    client: int,
    task: int,
    bid: Any,
    low: Any,
    high: Any,
) -> Piece:
    """Run the mechanism with one bid replaced."""
    profile = bids.copy()
    profile[client, task] = bid
    try:
        outcome = run_mechanism(mechanism, profile, budget)
    except TypeError as error:
        requirement = 'one that only adds, scales and compares; or use method="search"'
        raise InvalidInput("mechanism", mechanism, requirement) from error
    won = tuple(bool(x) for x in outcome.winners[client])
    return Piece(low, high, won, tuple(_pay(x) for x in outcome.payments[client]))


def _pay(value: Any) -> Any:
    """A payment as an infinitesimal or an exact number."""
    return value if isinstance(value, Infinitesimal) else exact_number(value)


def row_with(row: tuple[Any, ...], task: int, bid: Any) -> tuple[Any, ...]:
    """A client's bids with one of them replaced."""
    return (*row[:task], bid, *row[task + 1 :])
