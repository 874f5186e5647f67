"""The laws of schedules and of client sampling, tried on small cases."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from fl_runtime.algorithms import FedAvg
from fl_runtime.conformance.broken import Broken, other_dice, tried
from fl_runtime.conformance.given import made_of
from fl_runtime.conformance.stage import NUM_CLIENTS, stage
from fl_runtime.training.client_sampling import CLIENT_SAMPLING, ClientSampling
from fl_runtime.training.schedules import SCHEDULE, Schedule

VERSIONS = 300
"""Of a model, as many as most runs have rounds."""

DRAWS = 3000
STANDARD_ERRORS = 5.0

TABLES = (
    np.array([[8, 2], [3, 3], [0, 5], [1, 0], [40, 7], [2, 2]]),
    np.array([[5, 5]] * 4),
    np.array([[9], [1], [4]]),
)
"""Examples by client and task; clients without a task have zeros."""


def check_schedule(schedule: str | Mapping[str, Any] | Schedule) -> list[Broken]:
    """The laws that a schedule breaks.

    Laws: finite positive numbers, for every version; a function of the version alone, in whatever
    order it is asked.

    Example:
        >>> check_schedule({"name": "cosine", "rounds": 100})
        []
    """
    made: Schedule = made_of(SCHEDULE, schedule)

    def positive() -> Iterator[str]:
        for version in range(VERSIONS):
            factor = made.factor(version)
            if not isinstance(factor, float | int) or isinstance(factor, bool):
                yield f"version {version}: {type(factor).__name__}"
            elif not 0.0 < factor < math.inf:
                yield f"version {version}: {factor}"

    def pure() -> Iterator[str]:
        found = []
        for dice, versions in ((1, range(VERSIONS)), (2, range(VERSIONS)[::-1])):
            with other_dice(dice):
                found.append({version: made.factor(version) for version in versions})
        for version in range(VERSIONS):
            if found[0][version] != found[1][version]:
                first, second = (one[version] for one in found)
                yield f"version {version}: {first:g}, and {second:g} at another call"

    return tried({"finite and positive": positive, "a function of the version": pure})


def check_sampling(sampling: str | Mapping[str, Any] | ClientSampling) -> list[Broken]:
    """The laws that a client sampling breaks.

    Laws: a finite weight >= 0 for every client, and a positive one for somebody; a function of the
    examples alone, which it leaves alone; clients are drawn as often as the chances say that
    importance weights divide by.

    Example:
        >>> check_sampling({"name": "by-examples", "power": 0.5})
        []
    """
    made: ClientSampling = made_of(CLIENT_SAMPLING, sampling)

    def weights() -> Iterator[str]:
        for table in TABLES:
            found = np.asarray(made.weights(table.copy()))
            if found.shape != (len(table),):
                yield f"shape {found.shape} for {len(table)} clients"
            elif not (np.isfinite(found).all() and (found >= 0.0).all()):
                yield f"a weight of {found[~(np.isfinite(found) & (found >= 0.0))][0]}"
            elif not found.any():
                yield "no client has a positive weight"

    def pure() -> Iterator[str]:
        for table in TABLES:
            given, found = table.copy(), []
            for dice in (1, 2):
                with other_dice(dice):
                    found.append(np.asarray(made.weights(given)).copy())
            if not np.array_equal(found[0], found[1]):
                yield f"other weights of {len(table)} clients at another call"
            if not np.array_equal(given, table):
                yield "the examples are changed"

    def chances() -> Iterator[str]:
        plain = stage(FedAvg(), None).federation
        federation = replace(plain, fraction_train=0.5, sampling=made)
        rng, times = np.random.default_rng(1), np.zeros(NUM_CLIENTS)
        for _ in range(DRAWS):
            times[federation.draw_active(rng)] += 1.0
        expected = federation.selection_chance
        off = np.abs(times / DRAWS - expected)
        allowed = STANDARD_ERRORS * np.sqrt(expected * (1.0 - expected) / DRAWS) + 1.0 / DRAWS
        for client in np.flatnonzero(off > allowed).tolist():
            seen, said = times[client] / DRAWS, expected[client]
            yield f"client {client} is drawn with frequency {seen:.3f}, not {said:.3f}"

    return tried(
        {
            "a weight for every client": weights,
            "a function of the examples": pure,
            "clients are drawn by their chances": chances,
        }
    )
