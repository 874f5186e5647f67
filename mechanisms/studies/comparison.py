"""How rules compare on average: recruits, money and overpayment over many drawn auctions."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairopt.errors import InvalidInput
from mechanisms.auctions.greedy_max_min import greedy_max_min
from mechanisms.auctions.level_max_min import level_max_min
from mechanisms.auctions.max_min_fair import max_min_fair
from mechanisms.auctions.registry import RuleOptions, named_rule
from mechanisms.bids import checked_count
from mechanisms.outcome import Outcome
from mechanisms.parallel import for_each
from mechanisms.studies.cost_distributions import (
    Abstaining,
    Correlated,
    CostDistribution,
    LogNormal,
    Specialists,
    TwoPoint,
    Uniform,
)
from mechanisms.studies.statistics import Measure, measure, paired

BUDGETS = (0.1, 0.25, 0.5)
"""Budgets of a study, as shares of the sum of all costs in an auction."""
FEE = 0.25
"""Participation fee, as a share of the sum of the prices: a guess, not tuned to a law."""

Floats = NDArray[np.float64]


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


@dataclass(frozen=True)
class Draw:
    """One auction of a study.

    Args:
        bids: (N, S) true costs, bid truthfully.
        pilot: (N, S) another draw of the same law: what a rule with public prices may know.
        budget: Money available.
        seed: Of random rules.
    """

    bids: Floats
    pilot: Floats
    budget: float
    seed: int


RULES = (
    "max-min-fair",
    "leave-one-out-level",
    "budget-fair",
    "participation-fee",
    "posted-price",
    "sampled-posted-price",
    "level-max-min*",
    "greedy-max-min*",
    "cheapest-first*",
    "random-recruitment*",
)
"""Rules of a study, in the order of its tables; a star marks those that are not truthful."""


def run_rule(name: str, draw: Draw) -> Outcome:
    """One rule on one auction."""
    rule = named_rule(name.removesuffix("*"), _options(name, draw))
    return rule(draw.bids, draw.budget)


def _options(name: str, draw: Draw) -> RuleOptions:
    """What a rule takes beside bids and budget; public prices are those of the pilot."""
    if name == "posted-price":
        return RuleOptions(prices=_public(draw))
    if name == "participation-fee":
        direction = _public(draw)
        return RuleOptions(direction=direction, fee=FEE * direction.sum())
    return RuleOptions(seed=draw.seed)


def _public(draw: Draw) -> Floats:
    """(S,) price of each task by which the pilot would have spent the budget, or its mean cost."""
    outcome = level_max_min(draw.pilot, draw.budget)
    paid = outcome.payments.max(axis=0)
    known = np.where(np.isfinite(draw.pilot), draw.pilot, 0.0)
    mean = known.sum(axis=0) / np.maximum(np.isfinite(draw.pilot).sum(axis=0), 1)
    return np.asarray(np.where(paid > 0, paid, np.maximum(mean, 1e-9)))


FLOORS: Mapping[str, Callable[[int, int], int]] = MappingProxyType(
    {
        "max-min-fair": lambda best, tasks: (best if tasks <= 2 else best - 1) // 2,
        "leave-one-out-level": lambda best, tasks: (best - 1) // 2,
        "budget-fair": lambda best, tasks: (best + 1) // (tasks + 1),
        "level-max-min*": lambda best, tasks: best // 2,
        "greedy-max-min*": lambda best, tasks: best,
    }
)
"""Guaranteed minimum of recruits per task, from the full-information optimum k* and S."""
LARGE_MARKET = 1 - 1 / math.e
"""Share of k* that no lottery over posted prices, with the budget as its expected payment, beats on
every law of costs in the limit of infinitely many clients with one task each."""


@dataclass(frozen=True)
class Cell:
    """One rule, law and budget.

    Args:
        rule: Name.
        law: Name.
        budget: As a share of the sum of all costs.
        ratio: Minimum of recruits per task / k*, over auctions with k* > 0.
        lead: Its difference to the ratio of `max_min_fair`, auction by auction.
        minimum: Minimum of recruits per task.
        gap: Largest less smallest number of recruits of a task.
        spent: Spend / budget.
        overpaid: Payments / costs of the recruits, less 1, over auctions with recruits.
        floor: Guaranteed minimum / k*, mean over the same auctions as `ratio`; None without one.
        worst: Smallest ratio seen.
        broken: Auctions below the floor: 0 unless something is wrong.
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


def compare_rules(
    *,
    num_clients: int = 30,
    num_tasks: int = 3,
    draws: int = 40,
    budgets: Sequence[float] = BUDGETS,
    seed: int = 0,
    jobs: int | None = None,
    progress: bool = False,
) -> tuple[Cell, ...]:
    """Run every rule on the same drawn auctions with truthful bids, and summarise.

    Args:
        num_clients: N.
        num_tasks: S.
        draws: Auctions for each law and budget; all rules see the same ones.
        budgets: Shares of the sum of all finite costs of an auction, > 0.
        seed: Of the draws.
        jobs: Processes, as in `mechanisms.audit`.
        progress: Show a bar on the error stream.

    Raises:
        InvalidInput: A count below 1, a seed below 0 or a budget that is not > 0.

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
    places = [(law, float(share)) for law in cost_laws(num_tasks) for share in budgets]
    run = functools.partial(_cells_of, (num_clients, num_tasks), draws, seed)
    title = "Comparing rules"
    found = for_each(run, places, jobs=jobs, progress=progress, title=title)
    return tuple(cell for cells in found for cell in cells)


def _cells_of(
    shape: tuple[int, int], draws: int, seed: int, place: tuple[str, float]
) -> list[Cell]:
    """All rules at one law and budget."""
    law, share = place
    law_index = list(cost_laws(shape[1])).index(law)
    rng = np.random.default_rng([seed, law_index])
    distribution = cost_laws(shape[1])[law]
    auctions = [_draw(rng, distribution, shape, share) for _ in range(draws)]
    best, reference = (
        np.array([rule(each.bids, each.budget).min_take_up for each in auctions])
        for rule in (greedy_max_min, max_min_fair)
    )
    return [
        _summary(name, law, share, best, reference, auctions, [run_rule(name, a) for a in auctions])
        for name in RULES
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
    if name in FLOORS:
        guaranteed = np.array([max(FLOORS[name](int(k), tasks), 0) for k in best])
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
    )
