"""Checks of one client, in an audit: small records that travel to other processes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mechanisms.auctions.exact.ranking import Ranking
from mechanisms.audits import properties
from mechanisms.audits.best_response import BestResponse, best_response_of
from mechanisms.audits.random_reports import random_reports
from mechanisms.audits.run_rule import run_mechanism, unrepeatable
from mechanisms.audits.thresholds import polished, threshold_reports
from mechanisms.audits.violation import Violation, client_utility
from mechanisms.bids import Auction
from mechanisms.outcome import Mechanism, Outcome

Row = tuple[Any, ...]

SEARCHES = (
    properties.misreports,
    properties.monotonicity,
    properties.critical_payments,
    properties.menu_dependence,
)
"""Laws that tracing a single bid decides."""


@dataclass(frozen=True, eq=False)
class Truthful:
    """What one client gets when everybody bids its costs.

    Args:
        client: Its index.
        won: (S,) tasks.
        paid: (S,) exact pay.
        utility: Exact utility.
    """

    client: int
    won: Row
    paid: Row
    utility: Any


@dataclass(frozen=True, eq=False)
class Misreport:
    """A joint report that beats the truth.

    Args:
        report: (S,) bids.
        gain: Exact, over the truthful utility.
    """

    report: Row
    gain: Any


@dataclass(frozen=True, eq=False)
class BestReport:
    """Finds the joint report that gains a client most over the truth, by the rule's structure.

    Args:
        mechanism: A rule whose best response is known.
        auction: The exact auction.
        rankings: Ranked bidders of every task.
    """

    mechanism: Mechanism
    auction: Auction
    rankings: list[Ranking]

    def __call__(self, truthful: Truthful) -> tuple[Misreport | None, bool]:
        """(a report that gains or None, whether the outcome is the client's choice of a menu)."""
        best = self._respond(self.auction, self.rankings, truthful.client)
        by_menu = best.menu is not None and best.explains(truthful.won, truthful.paid)
        gain = best.utility - truthful.utility
        return (Misreport(best.report, gain) if gain > 0 else None), by_menu

    @property
    def _respond(self) -> BestResponse:
        """The rule's best response."""
        respond = best_response_of(self.mechanism)
        assert respond is not None
        return respond


@dataclass(frozen=True, eq=False)
class TraceBids:
    """Traces every single bid of a client through a mechanism.

    Args:
        mechanism: A mechanism that adds, scales and compares.
        bids: (N, S) true costs.
        budget: Money available.
    """

    mechanism: Mechanism
    bids: NDArray[Any]
    budget: Any

    def __call__(self, client: int) -> list[Violation]:
        """The worst violation of each law."""
        profile = properties.Profile(self.mechanism, self.bids, self.budget, client)
        traces = profile.traces()
        found = (
            max(search(profile, traces), key=lambda each: each.gain, default=None)
            for search in SEARCHES
        )
        return [_confirmed(each, self.mechanism) for each in found if each is not None]


@dataclass(frozen=True, eq=False)
class SearchReports:
    """Tries reports of a client in the mechanism's own arithmetic.

    Up to half of them are at thresholds of its own bids, the rest is drawn.

    Args:
        mechanism: Any mechanism.
        bids: (N, S) true costs.
        budget: Money available.
        samples: Reports per client.
        joint: Vary several bids together.
        threshold: Gains up to it are rounding.
        honest: What the mechanism decides on the bids.
        seeds: (N, 2) of every client's own generator, so that the order of work is no matter.
    """

    mechanism: Mechanism
    bids: NDArray[Any]
    budget: Any
    samples: int
    joint: bool
    threshold: Fraction
    honest: Outcome
    seeds: NDArray[np.int64]

    def __call__(self, client: int) -> Violation | None:
        """The best report found, without the bids, which the caller knows."""
        rng = np.random.default_rng(self.seeds[client])
        prices = sorted({price for price in self.honest.payments.flat if price != 0})
        at_thresholds, runs = threshold_reports(
            lambda row: self._wins(client, row),
            self.bids,
            self.budget,
            client,
            self.joint,
            self.samples // 2,
        )
        count = self.samples - runs
        drawn = random_reports(self.bids, client, count, self.joint, rng, prices)
        best = properties.find_profitable_report(
            self.mechanism,
            self.bids,
            self.budget,
            client=client,
            reports=[*at_thresholds, *drawn],
            honest=self.honest,
        )
        if best is None or best.gain <= self.threshold:
            return None
        return replace(_confirmed(best, self.mechanism), bids=None, budget=None)

    def _wins(self, client: int, row: Row) -> tuple[bool, ...]:
        """Tasks that the client wins with a report."""
        profile = self.bids.copy()
        profile[client] = row
        outcome = run_mechanism(self.mechanism, profile, self.budget)
        return tuple(bool(won) for won in outcome.winners[client])


@dataclass(frozen=True, eq=False)
class Polish:
    """Moves the bids of a profitable report, and of the truth, to the edges of what they win.

    Args:
        mechanism: Any mechanism.
        bids: (N, S) true costs.
        budget: Money available.
        honest: What the mechanism decides on the bids.
    """

    mechanism: Mechanism
    bids: NDArray[Any]
    budget: Any
    honest: Outcome

    def __call__(self, found: Violation, runs: int) -> tuple[Violation, int]:
        """The violation with the best report on the way, and the runs that this took."""
        client, truth = found.client, found.truth
        assert client is not None
        assert truth is not None
        assert found.report is not None
        before = client_utility(self.honest, client, truth)

        def gains(row: Row) -> tuple[tuple[bool, ...], Any]:
            profile = self.bids.copy()
            profile[client] = row
            outcome = run_mechanism(self.mechanism, profile, self.budget)
            wins = tuple(bool(won) for won in outcome.winners[client])
            return wins, client_utility(outcome, client, truth) - before

        report, gain, spent = found.report, found.gain, 0
        for start in (found.report, truth):
            row, gained, more = polished(gains, self.bids, self.budget, start, runs - spent)
            spent += more
            if gained > gain:
                report, gain = row, gained
        if report == found.report:
            return found, spent
        better = properties.misreport(self.bids, self.budget, client, report, gain)
        return _confirmed(better, self.mechanism), spent


def _confirmed(found: Violation, mechanism: Mechanism) -> Violation:
    """A violation that shows again when it is run again; a mechanism with a memory is refused."""
    if found.replay(mechanism) != found.gain:
        raise unrepeatable()
    return found
