"""Running somebody's mechanism, of which nothing is known but that it is a callable.

It gets its own copy of the bids, so that it can do with them what it likes, and what it returns is
checked before anybody counts with it: a payment that is no number would pass every comparison.
"""

from __future__ import annotations

import math
import numbers
from contextlib import suppress
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairopt.errors import InvalidInput, Unshown
from mechanisms.audits.infinitesimal import Infinitesimal
from mechanisms.outcome import Mechanism, Outcome, without_decimals

SHOWN_CELLS = 12
"""Bids up to which an error note prints the whole table."""


def checked_mechanism(mechanism: Any, argument: str = "mechanism") -> Mechanism:
    """A mechanism, if it can be called.

    Raises:
        InvalidInput: It is something else, such as a name.

    Example:
        >>> checked_mechanism("max-min-fair")
        Traceback (most recent call last):
        ...
        fairopt.errors.InvalidInput: mechanism = 'max-min-fair', but it must be a callable (bids,
        budget) -> Outcome, such as mechanisms.max_min_fair or named_rule("max-min-fair")
    """
    if not callable(mechanism):
        requirement = (
            "a callable (bids, budget) -> Outcome, such as mechanisms.max_min_fair or "
            'named_rule("max-min-fair")'
        )
        raise InvalidInput(argument, mechanism, requirement)
    return mechanism  # type: ignore[no-any-return]


def run_mechanism(mechanism: Mechanism, bids: NDArray[Any], budget: Any) -> Outcome:
    """Run a mechanism on a copy of some checked bids, and check its outcome.

    Payments that are decimals come back as fractions, with which audits count.

    Raises:
        InvalidInput: What comes back is no sound outcome (see `checked_outcome`).
        Exception: Whatever the mechanism raises, with a note that names the bids.

    Example:
        >>> run_mechanism(lambda bids, budget: None, np.array([[1.0]]), 2.0)
        Traceback (most recent call last):
        ...
        fairopt.errors.InvalidInput: outcome = None, but it must be a mechanisms.Outcome
    """
    try:
        outcome = mechanism(bids.copy(), budget)
    except Exception as error:
        rows = ", ".join(f"[{', '.join(map(_text, row))}]" for row in bids.tolist())
        table = f"[{rows}]" if bids.size <= SHOWN_CELLS else f"of shape {bids.shape}"
        error.add_note(f"while the mechanism under test ran on bids {table}, budget {budget}")
        raise
    return _counted_in_fractions(checked_outcome(outcome, bids.shape))


def _text(bid: Any) -> str:
    """A bid in a note; one that stands for all just above a number is traced."""
    return f"just above {bid.value}" if isinstance(bid, Infinitesimal) else str(bid)


def _counted_in_fractions(outcome: Outcome) -> Outcome:
    """The outcome without numbers that do not mix with fractions of Python's integers.

    These are decimals, and fractions of NumPy's integers, which overflow and cannot be hashed.
    """
    if not (outcome.exact and any(map(_is_foreign, outcome.payments.flat))):
        return outcome
    payments = np.empty(outcome.payments.shape, dtype=object)
    payments.ravel()[:] = [_in_python(amount) for amount in outcome.payments.flat]
    return Outcome(outcome.winners, payments, outcome.level)


def _is_foreign(amount: Any) -> bool:
    """Whether an amount is a decimal or made of NumPy's integers."""
    if isinstance(amount, Fraction):
        return type(amount.numerator) is not int or type(amount.denominator) is not int
    return isinstance(amount, Decimal | np.integer)


def _in_python(amount: Any) -> Any:
    """The same amount of Python's integers."""
    if isinstance(amount, Fraction | np.integer):
        return Fraction(int(amount.numerator), int(amount.denominator))
    return without_decimals(amount)


def checked_outcome(outcome: Any, shape: tuple[int, ...]) -> Outcome:
    """The outcome, if it belongs to a table of bids and every amount in it means something.

    Raises:
        InvalidInput: It is no `Outcome`, has another shape, or a payment is not a finite number,
            or goes to somebody who is not recruited.
    """
    if not isinstance(outcome, Outcome):
        raise InvalidInput("outcome", outcome, "a mechanisms.Outcome")
    if outcome.winners.shape != shape:
        raise InvalidInput("outcome", outcome.winners.shape, f"one of tables of shape {shape}")
    _check_cells(outcome, ~_finite(outcome.payments), "a finite amount of money")
    paid = np.zeros(shape, dtype=np.bool_)
    losers = ~outcome.winners
    paid[losers] = outcome.payments[losers] != 0
    _check_cells(outcome, paid, "0 for a client that is not recruited")
    return outcome


def check_repeats(mechanism: Mechanism, bids: NDArray[Any], budget: Any) -> None:
    """Refuse a mechanism that decides differently when it is run again, at once or after others.

    In between it is run on the same bids with twice the budget, and on halved bids, since what a
    mechanism remembers may show only after another auction.

    Raises:
        InvalidInput: It draws random numbers anew, or remembers earlier calls.
    """
    first, second = (run_mechanism(mechanism, bids, budget) for _ in range(2))
    for others, money in ((bids, budget * 2), (bids / 2, budget)):
        with suppress(Exception):  # it need not be defined there
            mechanism(others.copy(), money)
    if not first == second == run_mechanism(mechanism, bids, budget):
        raise unrepeatable()


def unrepeatable() -> InvalidInput:
    """The error about a mechanism that is no function of the bids."""
    requirement = (
        "a function of bids and budget alone; fix the seed of a random rule, which is then audited "
        "for this seed"
    )
    return InvalidInput("outcome", Unshown.ITSELF, requirement)


def _finite(payments: NDArray[Any]) -> NDArray[np.bool_]:
    """Which payments are finite real numbers."""
    if payments.dtype.kind in "fiu":
        return np.asarray(np.isfinite(payments))
    if payments.dtype != object:
        return np.zeros(payments.shape, dtype=np.bool_)
    cells = [_is_amount(value) for value in payments.flat]
    return np.array(cells, dtype=np.bool_).reshape(payments.shape)


def _is_amount(value: Any) -> bool:
    """Whether an object is a finite real number; fractions and their like always are."""
    if isinstance(value, float | np.floating):
        return math.isfinite(value)
    if isinstance(value, Decimal):
        return value.is_finite()
    return isinstance(value, numbers.Real) and not isinstance(value, bool | np.bool_)


def _check_cells(outcome: Outcome, wrong: NDArray[np.bool_], requirement: str) -> None:
    """Refuse the first payment that is marked wrong."""
    if wrong.any():
        client, task = (int(place) for place in np.argwhere(wrong)[0])
        where = f"outcome.payments[client {client}, task {task}]"
        raise InvalidInput(where, outcome.payments[client, task], requirement)
