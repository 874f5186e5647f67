"""Mechanisms that may never return: every run gets a time limit, after which it is stopped."""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from fairopt.errors import InvalidInput
from mechanisms.audits.best_response import best_response_of
from mechanisms.outcome import Mechanism, Outcome

SECONDS = 60.0
"""For one run of a mechanism, unless told otherwise."""
AGAIN = 0.1
"""Seconds after which a mechanism that goes on is stopped once more: it may catch everything."""


class OutOfTime(BaseException):
    """The clock's; no `Exception`, so that mechanisms that catch these do not swallow it."""


@dataclass(frozen=True)
class Limited:
    """A mechanism that is stopped where one run takes too long.

    What runs Python code can be stopped: a call into compiled code ends first. Only the main thread
    of a process can be told by its clock; in another one the mechanism is waited for.

    Args:
        mechanism: The mechanism.
        seconds: For one run, above 0.

    Raises:
        InvalidInput: It did not return in time.

    Example:
        >>> def waiting(bids, budget):
        ...     while True:
        ...         pass
        >>> Limited(waiting, 0.01)([[1.0]], 2.0)
        Traceback (most recent call last):
        ...
        fairopt.errors.InvalidInput: time_limit = 0.01, but it must be longer than ... was stopped
    """

    mechanism: Mechanism
    seconds: float

    def __repr__(self) -> str:
        """The mechanism's: it is what errors are about."""
        return repr(self.mechanism)

    def __call__(self, bids: NDArray[Any], budget: Any) -> Outcome:
        """The mechanism's outcome."""
        try:
            with stopped_after(self.seconds):
                return self.mechanism(bids, budget)
        except OutOfTime:
            requirement = f"longer than a run of {_name(self.mechanism)} takes: it was stopped"
            raise InvalidInput("time_limit", self.seconds, requirement) from None


@contextmanager
def stopped_after(seconds: float) -> Iterator[None]:
    """Raise `OutOfTime` in what runs here for longer; an alarm that was set before is kept.

    Only the main thread, on systems that have an alarm clock, is stopped.

    Raises:
        OutOfTime: It is time, at once where no time is left.

    Example:
        >>> with stopped_after(5.0):
        ...     sum(range(10))
        45
    """
    if seconds <= 0.0:
        raise OutOfTime
    main = threading.current_thread() is threading.main_thread()
    if seconds == math.inf or not main or not hasattr(signal, "setitimer"):
        yield
        return
    handler = signal.signal(signal.SIGALRM, _stop)
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN)
    try:
        try:
            yield
        finally:  # twice, since the clock may ring just before it is stopped
            signal.setitimer(signal.ITIMER_REAL, 0.0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, left, interval)
        signal.signal(signal.SIGALRM, handler)


def limited(mechanism: Mechanism, seconds: Any) -> Mechanism:
    """The mechanism with a time limit; as it is for None, for rules of this package, and limited.

    Raises:
        InvalidInput: The limit is no number of seconds above 0.
    """
    if seconds is None:
        return mechanism
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0:
        raise InvalidInput("time_limit", seconds, "seconds above 0, or None")
    if isinstance(mechanism, Limited) or seconds == math.inf:
        return mechanism
    known = best_response_of(mechanism) is not None
    return mechanism if known else Limited(mechanism, float(seconds))


def _stop(number: int, frame: Any) -> None:
    """The clock rings."""
    raise OutOfTime


def _name(mechanism: Mechanism) -> str:
    """What the mechanism is called, if it has a name."""
    return getattr(mechanism, "__name__", type(mechanism).__name__)
