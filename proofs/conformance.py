"""Laws for somebody else's code: one line in anybody's test suite.

Example:
    >>> from mechanisms import greedy_max_min, max_min_fair
    >>> check_auction(max_min_fair).passed
    True
    >>> [result.law for result in check_auction(greedy_max_min).results if not result.passed]
    ['truthful']
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairopt.errors import FairoptError, InvalidInput
from mechanisms import Mechanism
from mechanisms.properties import find_irrational_payment, find_overspend, find_profitable_report
from mechanisms.running import run_mechanism

AUCTIONS = 40
"""Random auctions per law."""
MISREPORTS = 25
"""Joint misreports per client."""
ROUNDING = Fraction(1, 10**9)
"""Relative to the budget: smaller gains and excesses are the rounding of a float mechanism."""

Floats = NDArray[np.float64]


class DoesNotConform(FairoptError, AssertionError):
    """A law that the code under test was required to obey is broken."""


@dataclass(frozen=True)
class LawResult:
    """What one law showed.

    Args:
        law: Its name.
        passed: Nothing was found against it.
        witness: What was found, in words.
    """

    law: str
    passed: bool
    witness: str | None


@dataclass(frozen=True)
class ConformanceReport:
    """Results of all laws that were asked for."""

    results: tuple[LawResult, ...]

    @property
    def passed(self) -> bool:
        """Whether every law passed."""
        return all(result.passed for result in self.results)

    def require(self) -> ConformanceReport:
        """The report itself if every law passed.

        Raises:
            DoesNotConform: With the witness of each broken law.
        """
        broken = [f"{r.law}: {r.witness}" for r in self.results if not r.passed]
        if broken:
            raise DoesNotConform("; ".join(broken))
        return self


def check_auction(
    mechanism: Mechanism, *, claims: Sequence[str] | None = None, seed: int = 0
) -> ConformanceReport:
    """Search for violations of the laws of an honest auction by any mechanism.

    Auctions are small (up to 6 clients and 3 tasks), with integer asks and frequent ties, passed
    as float64. Passing is evidence, not proof; `mechanisms.audit` is complete in more cases.

    Args:
        mechanism: `(bids, budget) -> Outcome`.
        claims: Names of `AUCTION_LAWS`; all of them by default.
        seed: Of the auctions and of the misreports.

    Raises:
        InvalidInput: An unknown law, or what the mechanism returns is no outcome for these bids.
    """
    chosen = tuple(AUCTION_LAWS) if claims is None else tuple(claims)
    for law in chosen:
        if law not in AUCTION_LAWS:
            raise InvalidInput("claims", law, f"among {', '.join(AUCTION_LAWS)}")
    return ConformanceReport(tuple(_try_law(law, mechanism, seed) for law in chosen))


def _try_law(law: str, mechanism: Mechanism, seed: int) -> LawResult:
    """First witness against one law."""
    rng = np.random.default_rng(seed)
    for bids, budget in _auctions(rng):
        witness = AUCTION_LAWS[law](mechanism, bids, budget, rng)
        if witness is not None:
            return LawResult(law, False, f"bids {bids.tolist()}, budget {budget}: {witness}")
    return LawResult(law, True, None)


def _auctions(rng: np.random.Generator) -> Iterator[tuple[Floats, float]]:
    """Random small auctions."""
    for _ in range(AUCTIONS):
        shape = (int(rng.integers(1, 7)), int(rng.integers(1, 4)))
        bids = rng.integers(0, 9, size=shape).astype(np.float64)
        bids[rng.random(shape) < rng.choice([0.0, 0.2])] = np.inf
        yield bids, float(rng.integers(1, 6 * shape[1] * shape[0] + 1))


def _overspend(mechanism: Mechanism, bids: Floats, budget: float, rng: Any) -> str | None:
    """Payments above the budget."""
    found = find_overspend(run_mechanism(mechanism, bids, budget), budget)
    return found.sentence if found and found.gain > ROUNDING * Fraction(budget) else None


def _underpay(mechanism: Mechanism, bids: Floats, budget: float, rng: Any) -> str | None:
    """A recruit paid below its ask."""
    found = find_irrational_payment(run_mechanism(mechanism, bids, budget), bids)
    return found.sentence if found and found.gain > ROUNDING * Fraction(budget) else None


def _uninvited(mechanism: Mechanism, bids: Floats, budget: float, rng: Any) -> str | None:
    """A recruit that did not bid."""
    outcome = run_mechanism(mechanism, bids, budget)
    cells = np.argwhere(outcome.winners & np.isinf(bids))
    return f"client {cells[0][0]} does not bid for task {cells[0][1]}" if len(cells) else None


def _lie(mechanism: Mechanism, bids: Floats, budget: float, rng: np.random.Generator) -> str | None:
    """A profitable joint misreport of the tasks that a client bids on."""
    for client, truth in enumerate(bids):
        lies = rng.integers(0, 19, size=(MISREPORTS, truth.size)) / 2
        kept = rng.random(lies.shape) < 0.5
        reports = np.where(kept | np.isinf(truth), truth, lies)
        rows = [tuple(float(x) for x in row) for row in reports]
        found = find_profitable_report(mechanism, bids, budget, client=client, reports=rows)
        if found and found.gain > ROUNDING * Fraction(budget):
            return found.sentence
    return None


def _forgetful(mechanism: Mechanism, bids: Floats, budget: float, rng: Any) -> str | None:
    """Another outcome when the same auction is held again."""
    first, second = (run_mechanism(mechanism, bids, budget) for _ in range(2))
    return None if first == second else "held twice, it recruits or pays differently"


AUCTION_LAWS: MappingProxyType[str, Callable[..., str | None]] = MappingProxyType(
    {
        "same bids, same outcome": _forgetful,
        "within budget": _overspend,
        "individually rational": _underpay,
        "recruits only bidders": _uninvited,
        "truthful": _lie,
    }
)
"""Laws that `check_auction` knows."""
