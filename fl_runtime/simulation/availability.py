"""When a client can be given a job: always, on and off at random, or as a file says.

A client that is off gets no new job; a job that it has it brings to its end. A trace is a pure
function of the seed, the client and the time, so nothing about it needs to be saved.
"""

from __future__ import annotations

import csv
import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from fairopt.errors import InvalidInput
from fl_runtime.extensions import Kind, resolve
from fl_runtime.random_streams import stream
from fl_runtime.validation_errors import check_positive, record_from_table

Mask = NDArray[np.bool_]

SHORTEST_TURN = 1e-6
"""Of a time on or off, in units of its mean, so that time always moves on."""


class Availability(Protocol):
    """Which clients can be given a job."""

    def present(self, seed: int, num_clients: int, now: float) -> Mask:
        """(num_clients,) bool, True for the clients that can be given a job at that time."""
        ...


@dataclass(frozen=True)
class Always:
    """Every client can be given a job at any time."""

    def present(self, seed: int, num_clients: int, now: float) -> Mask:
        """All of them."""
        return np.ones(num_clients, dtype=np.bool_)


@dataclass(frozen=True)
class OnOff:
    """Each client by itself is on and off in turns of exponential length (a Markov process).

    Attributes:
        on: Mean length of a time on.
        off: Mean length of a time off.

    The process starts in equilibrium: a client is on at any time with chance on / (on + off).
    """

    on: float
    off: float

    def __post_init__(self) -> None:
        check_positive("on", self.on)
        check_positive("off", self.off)

    def present(self, seed: int, num_clients: int, now: float) -> Mask:
        """Those that are on, drawn from the beginning at every call; `Turns` remembers."""
        return Turns(self).present(seed, num_clients, now)


class Turns:
    """The times on and off of every client of an `OnOff` population.

    What has been drawn is kept, so that repeated calls are cheap; results do not depend on it.
    """

    def __init__(self, law: OnOff) -> None:
        self._law = law
        self._walks: dict[tuple[int, int], _Walk] = {}

    def present(self, seed: int, num_clients: int, now: float) -> Mask:
        """Those that are on."""
        return np.array([self._walk(seed, client).is_on(now) for client in range(num_clients)])

    def _walk(self, seed: int, client: int) -> _Walk:
        """The turns of one client."""
        if (seed, client) not in self._walks:
            rng = stream(seed, "availability", client)
            self._walks[seed, client] = _Walk(rng, self._law)
        return self._walks[seed, client]


class _Walk:
    """The turns of one client: times at which it changes, extended when needed."""

    def __init__(self, rng: Generator, law: OnOff) -> None:
        self._rng = rng
        self._starts_on = rng.random() < law.on / (law.on + law.off)
        self._means = (law.on, law.off) if self._starts_on else (law.off, law.on)
        self._changes: list[float] = [0.0]

    def is_on(self, now: float) -> bool:
        """Whether the client is on at that time; earlier calls do not matter."""
        while self._changes[-1] <= now:
            turn = self._means[(len(self._changes) - 1) % 2]
            length = max(self._rng.exponential(turn), SHORTEST_TURN * turn)
            self._changes.append(
                max(self._changes[-1] + length, math.nextafter(self._changes[-1], math.inf))
            )
        return (bisect_right(self._changes, now) % 2 == 1) == self._starts_on


@dataclass(frozen=True)
class Trace:
    """Times on, from a file.

    Attributes:
        windows: For each client the (from, until) times at which it is on.
        period: Length after which the trace begins again, in which all windows end; None plays it
            once.
    """

    windows: Mapping[int, tuple[tuple[float, float], ...]]
    period: float | None = None

    def present(self, seed: int, num_clients: int, now: float) -> Mask:
        """Those inside one of their windows; a client without any is never on."""
        at = now if self.period is None else now % self.period
        return np.array(
            [
                any(begin <= at < end for begin, end in self.windows.get(c, ()))
                for c in range(num_clients)
            ]
        )


AVAILABILITIES: Mapping[str, type[Always | OnOff]] = {"always": Always, "on-off": OnOff}
"""Availability models by their names in a configuration, beside trace files."""

AVAILABILITY = Kind("availability", "clients.availability.model", AVAILABILITIES, Availability)
"""When clients can be given jobs."""


def availability(table: Mapping[str, Any], num_clients: int) -> Availability:
    """The availability that a table of a configuration describes.

    Args:
        table: ``model`` with its parameters, or ``file`` (a CSV of client, from, until without a
            header) with an optional ``period``.
        num_clients: Number of clients.

    Raises:
        InvalidInput: Unknown model, wrong parameter, or a file that is no trace of these clients.

    Example:
        >>> bool(availability({"model": "always"}, 3).present(0, 3, 1.5).all())
        True
    """
    if "file" in table:
        settings = record_from_table("clients.availability", _TraceFile, table)
        return _read_trace(Path(settings.file), settings.period, num_clients)
    fields = {key: value for key, value in table.items() if key != "model"}
    model, where = str(table.get("model")), "clients.availability"
    found: Availability = resolve(AVAILABILITY, model, table=where, fields=fields)
    return Turns(found) if isinstance(found, OnOff) else found


@dataclass(frozen=True)
class _TraceFile:
    """The table of a trace file."""

    file: str
    period: float | None = None

    def __post_init__(self) -> None:
        if self.period is not None:
            check_positive("period", self.period)


def _read_trace(path: Path, period: float | None, num_clients: int) -> Trace:
    """Windows of a CSV file."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as lines:
            rows = [(int(c), float(a), float(b)) for c, a, b in csv.reader(lines)]
    except (OSError, ValueError, csv.Error) as error:
        reason = f"a CSV file of client, from, until ({error})"
        raise InvalidInput("clients.availability.file", str(path), reason) from error
    windows: dict[int, tuple[tuple[float, float], ...]] = {}
    for line, (client, begin, end) in enumerate(rows, start=1):
        if not (0 <= client < num_clients and 0.0 <= begin < end):
            reason = f"client in 0 .. {num_clients - 1} and 0 <= from < until"
            raise InvalidInput(f"{path} line {line}", (client, begin, end), reason)
        if period is not None and end > period:
            reason = f"until <= period = {period:g}; {_in_period(client, begin, end, period)}"
            raise InvalidInput(f"{path} line {line}", (client, begin, end), reason)
        windows[client] = (*windows.get(client, ()), (begin, end))
    return Trace(windows, period)


def _in_period(client: int, begin: float, end: float, period: float) -> str:
    """What to write instead of a window that goes on beyond the period.

    Example:
        >>> _in_period(0, 22.0, 26.0, 24.0)
        'over its end it is two lines: 0,22,24 and 0,0,2'
    """
    if begin < period and end <= begin + period:
        return f"over its end it is two lines: {client},{begin:g},{period:g} and " + (
            f"{client},0,{end - period:g}"
        )
    return "times are counted from the beginning of each period"
