"""How rules compare on average: recruits, money and overpayment over many drawn auctions."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairopt.errors import InvalidInput
from mechanisms.bids import checked_count
from mechanisms.integers import checked_capacity
from mechanisms.outcome import Mechanism, Outcome
from mechanisms.parallel import Work, for_each
from mechanisms.studies.contest import Contest, Draw, contest
from mechanisms.studies.cost_distributions import (
    Abstaining,
    Correlated,
    CostDistribution,
    LogNormal,
    Specialists,
    TwoPoint,
    Uniform,
)
from mechanisms.studies.statistics import Measure, as_rows, measure, over, paired

BUDGETS = (0.1, 0.25, 0.5)
"""Budgets of a study, as shares of the sum of all costs in an auction."""


def cost_laws(num_tasks: int) -> Mapping[str, CostDistribution]:
    """The laws of a study by name.

    Example:
        >>> list(cost_laws(3))[:3]
        ['uniform', 'task-scales', 'lognormal']
    """
    scales = tuple(2.0**task for task in range(num_tasks))
    return MappingProxyType(
        {
            "uniform": Uniform(),
            "task-scales": Uniform(task_scale=scales),
            "lognormal": LogNormal(),
            "correlated": Correlated(),
            "specialists": Specialists(),
            "two-point": TwoPoint(0.1, 1.0),
            "abstentions": Abstaining(Uniform(), 0.3),
        }
    )


ROUNDING = 1e-9
"""Relative to the budget: a spend above it by less is the rounding of floats."""
LARGE_MARKET = 1 - 1 / math.e
"""Share of k* that no lottery over posted prices, with the budget as its expected payment, beats on
every law of costs in the limit of infinitely many clients with one task each."""


@dataclass(frozen=True)
class Cell:
    """One rule, law and budget.

    Args:
        rule: Name; a star marks what is not truthful, a question mark a rule of the user.
        law: Name.
        budget: As a share of the sum of all costs.
        ratio: Minimum of recruits per task / k*, over auctions with k* > 0.
        lead: Its difference to the ratio of the first rule, auction by auction.
        minimum: Minimum of recruits per task.
        gap: Largest less smallest number of recruits of a task.
        spent: Spend / budget.
        overpaid: Payments / costs of the recruits, less 1, over auctions with recruits.
        floor: Guaranteed minimum / k*, mean over the same auctions as `ratio`; None without one.
        worst: Smallest ratio seen.
        broken: Auctions below the floor: 0 unless something is wrong.
        overspent: Auctions in which more than the budget was spent: then no other figure compares.
        draws: Auctions.
    """

    rule: str
    law: str
    budget: float
    ratio: Measure
    lead: Measure
    minimum: Measure
    gap: Measure
    spent: Measure
    overpaid: Measure
    floor: float | None
    worst: float
    broken: int
    overspent: int = 0
    draws: int = 0


class Comparison(tuple[Cell, ...]):
    """The cells of a study: a tuple that can be printed and made a data frame.

    Example:
        >>> found = compare_rules(num_clients=6, num_tasks=2, draws=2, budgets=[0.5])
        >>> print(str(found).splitlines()[0])
        minimum recruits per task / k*, means over 7 laws and budgets
        >>> len(found.as_rows()) == len(found)  # pandas.DataFrame(found.as_rows())
        True
    """

    __slots__ = ()

    def as_rows(self) -> list[dict[str, Any]]:
        """A row per cell, as `pandas.DataFrame` takes them: see `statistics.as_rows`."""
        return as_rows(self)

    def __str__(self) -> str:
        places = len({(cell.law, cell.budget) for cell in self})
        lines = [f"minimum recruits per task / k*, means over {places} laws and budgets"]
        for name in dict.fromkeys(cell.rule for cell in self):
            mean = over([cell.ratio.mean for cell in self if cell.rule == name]).mean
            lines.append(f"{name}: {mean:.4g}")
        return "\n".join(lines)


def compare_rules(
    *,
    num_clients: int = 30,
    num_tasks: int = 3,
    draws: int = 40,
    budgets: Sequence[float] = BUDGETS,
    capacity: int | None = None,
    own: Mapping[str, Mechanism] = MappingProxyType({}),
    seed: int = 0,
    jobs: int | None = None,
    progress: bool = False,
    backend: str | None = None,
    journal: str | Path | None = None,
) -> Comparison:
    """Run every rule on the same drawn auctions with truthful bids, and summarise.

    Args:
        num_clients: N.
        num_tasks: S.
        draws: Auctions for each law and budget; all rules see the same ones.
        budgets: Shares of the sum of all finite costs of an auction, > 0.
        capacity: Most tasks of a client, 1..S; then the rules for such clients are compared, and
            k* is the optimum among them. None: clients do every task.
        own: Rules of your own by name, which are compared with the others; a question mark is put
            behind their names, since nobody has shown that they are truthful (`mechanisms.audit`).
        seed: Of the draws.
        jobs: Processes, as in `mechanisms.audit`.
        progress: Show a bar on the error stream.
        backend: Whose processes, as in `mechanisms.audit`.
        journal: File that keeps what is found, likewise.

    Returns:
        A tuple with a `Cell` for each rule, law and budget, whose `as_rows()` makes a data frame.

    Raises:
        InvalidInput: A count below 1, a seed below 0 or a budget that is not > 0; or a rule of
            your own fails, is no function of bids and budget, or gives a client too many tasks.

    Example:
        >>> cells = compare_rules(num_clients=6, num_tasks=2, draws=2, budgets=[0.5])
        >>> len(cells) == 7 * 10, {cell.broken for cell in cells}
        (True, {0})
    """
    for name, value in (("num_clients", num_clients), ("num_tasks", num_tasks), ("draws", draws)):
        checked_count(name, value, 1)
    checked_count("seed", seed, 0)
    if not len(budgets) or not all(0 < share < math.inf for share in budgets):
        raise InvalidInput("budgets", budgets, "shares > 0")
    if capacity is not None:
        checked_capacity(capacity, (num_clients, num_tasks))
    places = [(law, float(share)) for law in cost_laws(num_tasks) for share in budgets]
    run = functools.partial(_cells_of, (num_clients, num_tasks), draws, seed, capacity, dict(own))
    title = "Comparing rules"
    found = for_each(run, places, Work(jobs, progress, backend, journal), title=title)
    return Comparison(cell for cells in found for cell in cells)


def _cells_of(
    shape: tuple[int, int],
    draws: int,
    seed: int,
    capacity: int | None,
    own: Mapping[str, Mechanism],
    place: tuple[str, float],
) -> list[Cell]:
    """All rules at one law and budget."""
    law, share = place
    law_index = list(cost_laws(shape[1])).index(law)
    rng = np.random.default_rng([seed, law_index])
    distribution = cost_laws(shape[1])[law]
    auctions = [_draw(rng, distribution, shape, share) for _ in range(draws)]
    rules = contest(capacity, own)
    rules.check_own(auctions[0])
    best = np.array([rules.optimum(each) for each in auctions])
    outcomes = {name: [rules.run(name, each) for each in auctions] for name in rules.rules}
    reference = np.array([outcome.min_take_up for outcome in outcomes[rules.rules[0]]])
    return [
        _summary(name, rules, law, share, best, reference, auctions, outcomes[name])
        for name in rules.rules
    ]


def _draw(
    rng: np.random.Generator, law: CostDistribution, shape: tuple[int, int], share: float
) -> Draw:
    """One auction; its pilot gets the same budget."""
    bids, pilot = (law.draw(rng, *shape) for _ in range(2))
    total = float(bids[np.isfinite(bids)].sum()) or 1.0
    return Draw(bids, pilot, share * total, int(rng.integers(2**31)))


def _summary(
    name: str,
    rules: Contest,
    law: str,
    share: float,
    best: NDArray[Any],
    reference: NDArray[Any],
    auctions: Sequence[Draw],
    outcomes: Sequence[Outcome],
) -> Cell:
    """Statistics of one rule."""
    tasks = auctions[0].bids.shape[1]
    minimum = np.array([outcome.min_take_up for outcome in outcomes])
    gap = np.array([np.ptp(outcome.take_up) for outcome in outcomes])
    spent = np.array([o.spend / a.budget for o, a in zip(outcomes, auctions, strict=True)])
    costs = np.array([a.bids[o.winners].sum() for o, a in zip(outcomes, auctions, strict=True)])
    paid = np.array([outcome.spend for outcome in outcomes])
    some, hired = best > 0, costs > 0
    ratio = minimum[some] / best[some]
    floor = None
    guaranteed = np.zeros(len(best))
    if name in rules.floors:
        guaranteed = np.array([max(rules.floors[name](int(k), tasks), 0) for k in best])
        floor = float((guaranteed[some] / best[some]).mean()) if some.any() else math.nan
    return Cell(
        name,
        law,
        share,
        measure(ratio),
        paired(ratio, reference[some] / best[some]),
        measure(minimum),
        measure(gap),
        measure(spent),
        measure(paid[hired] / costs[hired] - 1),
        floor,
        float(ratio.min()) if some.any() else math.nan,
        int((minimum < guaranteed).sum()),
        int((spent > 1 + ROUNDING).sum()),
        len(auctions),
    )
