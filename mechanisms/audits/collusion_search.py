"""How much collusion and false names could gain in one auction: a search, and so a lower bound."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mechanisms.audits.collusion import (
    JointViolation,
    Row,
    find_profitable_collusion,
    find_profitable_false_name,
    splits,
)
from mechanisms.audits.random_reports import random_reports
from mechanisms.audits.run_rule import check_repeats, checked_mechanism
from mechanisms.audits.violation import rounding_error
from mechanisms.bids import checked_bids, checked_budget, checked_count, checked_generator
from mechanisms.outcome import Mechanism
from mechanisms.parallel import Work, checked_jobs, for_each

SAMPLES = 2_000
"""Coalitions of each kind that a search tries, unless told otherwise."""
TRIES = 20
"""Joint reports tried for one random pair, or one random client, before the next."""


@dataclass(frozen=True)
class Limits:
    """What a search found beyond truthfulness.

    Args:
        collusion: The most profitable joint misreport of two clients, or None where none was found.
        false_name: The most profitable use of two names by one client, or None.
        scope: What was tried, in words.
    """

    collusion: JointViolation | None
    false_name: JointViolation | None
    scope: str


def find_limits(
    mechanism: Mechanism,
    bids: ArrayLike,
    budget: Any,
    *,
    samples: int = SAMPLES,
    rng: np.random.Generator | None = None,
    jobs: int | None = None,
    progress: bool = False,
    backend: str | None = None,
    journal: str | Path | None = None,
) -> Limits:
    """Search for two clients that gain together, and for one that gains under two names.

    Truthful rules are neither collusion-proof nor false-name-proof, so finding something is
    expected: the gains say how much a coalition is worth on these bids.

    Args:
        mechanism: Any callable `(bids, budget) -> Outcome`.
        bids: (N, S) true costs.
        budget: Money available.
        samples: Joint reports of each kind to try, in all.
        rng: Source of the search; a fixed seed by default.
        jobs: Processes, as in `mechanisms.audit`.
        progress: Show a bar on the error stream.
        backend: Whose processes, as in `mechanisms.audit`.
        journal: File that keeps what is found, likewise.

    Raises:
        InvalidInput: Bad input, or a mechanism that decides differently when run again.

    Example:
        >>> from mechanisms import max_min_fair
        >>> found = find_limits(max_min_fair, [[0.0, 1.0], [1.0, 0.0], [2.0, 2.0]], 6.0)
        >>> found.collusion.replay(max_min_fair) > 0, found.false_name.replay(max_min_fair) > 0
        (True, True)
    """
    checked_mechanism(mechanism)
    checked_count("samples", samples, 1)
    table = checked_bids(bids)
    checked_budget(budget, exact=table.dtype == object)
    generator = np.random.default_rng(0) if rng is None else checked_generator(rng)
    check_repeats(mechanism, table, budget)
    seeds = [tuple(map(int, row)) for row in generator.integers(2**63, size=(samples, 2))[::TRIES]]
    search = _Search(mechanism, table, budget)
    title = "Searching coalitions"
    work = Work(checked_jobs(jobs), progress, backend, journal)
    answers = for_each(search, seeds, work, title=title)
    pairs, names = zip(*answers, strict=True)
    tried = f"{len(seeds) * TRIES:,} sampled"
    scope = f"{tried} joint misreports of two clients and {tried} uses of two names, lower bounds"
    return Limits(_largest(pairs, table, budget), _largest(names, table, budget), scope)


@dataclass(frozen=True, eq=False)
class _Search:
    """Tries one random pair and one random client."""

    mechanism: Mechanism
    bids: NDArray[Any]
    budget: Any

    def __call__(
        self, seed: tuple[int, ...]
    ) -> tuple[JointViolation | None, JointViolation | None]:
        """What pays for them."""
        rng = np.random.default_rng(seed)
        auction = (self.mechanism, self.bids, self.budget)
        pair = rng.permutation(len(self.bids))[:2].tolist()
        sampled = [self._reports(client, rng) for client in pair]
        collusion = None
        if len(pair) == 2:
            reports = list(zip(*sampled, strict=True))
            collusion = find_profitable_collusion(*auction, clients=tuple(pair), reports=reports)
        rows = [*splits(tuple(self.bids[pair[0]])), *self._doubles(pair[0], sampled[0])]
        shown = [rows[i] for i in rng.permutation(len(rows))[:TRIES]]
        name = find_profitable_false_name(*auction, client=pair[0], identities=shown)
        return self._small(collusion), self._small(name)

    def _reports(self, client: int, rng: np.random.Generator) -> list[Row]:
        """Random reports of a client, some of them the truth, so that one may misreport alone."""
        truth = tuple(self.bids[client])
        reports = random_reports(self.bids, client, TRIES, True, rng)
        return [row if rng.random() < 0.7 else truth for row in reports] or [truth] * TRIES

    def _doubles(self, client: int, reports: list[Row]) -> list[Any]:
        """The client, truthful, beside a second name that bids at random."""
        truth = tuple(self.bids[client])
        return [(truth, report) for report in reports]

    def _small(self, found: JointViolation | None) -> JointViolation | None:
        """A finding above rounding, without the bids, which the caller knows."""
        if found is None:
            return None
        enough = found.gain > rounding_error(self.bids, self.budget)
        return replace(found, bids=np.empty((0, 0)), budget=None) if enough else None


def _largest(
    found: tuple[JointViolation | None, ...], bids: NDArray[Any], budget: Any
) -> JointViolation | None:
    """The most profitable one, with its auction."""
    best = max((each for each in found if each), key=lambda each: each.gain, default=None)
    return None if best is None else replace(best, bids=bids, budget=budget)
