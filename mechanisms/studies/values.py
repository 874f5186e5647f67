"""How much of the best value rules buy: clients of unlike worth, coverage, and online arrival."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairopt.errors import InvalidInput
from mechanisms.auctions.budget_fair import budget_fair
from mechanisms.auctions.clock_auction import clock_auction
from mechanisms.auctions.coverage_share import coverage_share
from mechanisms.auctions.greedy_max_min import greedy_max_min
from mechanisms.auctions.max_min_fair import max_min_fair
from mechanisms.auctions.online_posted_price import online_posted_price
from mechanisms.auctions.posted_price import sampled_posted_price
from mechanisms.auctions.quality_level import quality_level
from mechanisms.auctions.quality_pruning import quality_pruning
from mechanisms.auctions.quality_share import quality_share
from mechanisms.bids import checked_count
from mechanisms.outcome import Outcome
from mechanisms.studies.comparison import BUDGETS, cost_laws
from mechanisms.studies.statistics import Measure, measure

Floats = NDArray[np.float64]
REGIONS = 10
"""Regions of a study of coverage."""
CHANCE = 0.3
"""That a client covers a region."""
HALVINGS = 60
"""Of an interval of levels: to the last bits of a float."""
LARGEST_SEARCH = 16
"""Clients of which all sets can be tried."""


@dataclass(frozen=True)
class Share:
    """What one rule reaches at one cost law, one law of worth and one budget.

    Args:
        rule: Name.
        goal: "total" is the value of all tasks over their optima with money B / S each, clients in
            parts allowed; "least" the smallest value of a task over the largest that all tasks
            could have, likewise; "coverage" over the best set of clients; "recruits" is the
            smallest number of recruits over the full-information optimum k*.
        costs: Name of the cost law.
        worth: Name of the law of worth.
        budget: As a share of the sum of all costs.
        ratio: Over auctions whose optimum is above 0.
        worst: Smallest ratio seen.
    """

    rule: str
    goal: str
    costs: str
    worth: str
    budget: float
    ratio: Measure
    worst: float


def _equal(rng: np.random.Generator, clients: int) -> Floats:
    """All clients are worth the same."""
    return np.ones(clients)


def _lognormal(rng: np.random.Generator, clients: int) -> Floats:
    """The exponential of a normal number for each client."""
    return rng.lognormal(0.0, 1.0, clients)


def _one_large(rng: np.random.Generator, clients: int) -> Floats:
    """One client is worth about half as much as all others together."""
    worth = np.ones(clients)
    worth[rng.integers(clients)] = clients / 2
    return worth


WORTH: Mapping[str, Callable[[np.random.Generator, int], Floats]] = MappingProxyType(
    {"equal": _equal, "lognormal": _lognormal, "one large": _one_large}
)
"""Laws of what clients are worth, (N,) for all tasks alike and independent of costs: equal;
exp(Z); and one client that is worth half as much as all the others."""

ValueRule = Callable[[Floats, float, Floats], Outcome]
VALUE_RULES: Mapping[str, ValueRule] = MappingProxyType(
    {
        "quality_share": quality_share,
        "quality_pruning": quality_pruning,
        "quality_level": quality_level,
        "clock_auction": lambda bids, budget, values: clock_auction(
            bids, budget, np.eye(len(bids), dtype=bool), values
        ),
        "budget_fair": lambda bids, budget, values: budget_fair(bids, budget),
        "max_min_fair": lambda bids, budget, values: max_min_fair(bids, budget),
    }
)
"""A clock on disjoint regions adds up values; the last two rules do not look at them."""


def compare_values(
    *,
    num_clients: int = 30,
    num_tasks: int = 3,
    draws: int = 20,
    budgets: Sequence[float] = BUDGETS,
    seed: int = 0,
) -> tuple[Share, ...]:
    """Value that truthful rules buy, on the same drawn auctions.

    Args:
        num_clients: N.
        num_tasks: S.
        draws: Auctions for each cost law, law of worth and budget.
        budgets: Shares of the sum of all finite costs of an auction, > 0.
        seed: Of the draws.

    Raises:
        InvalidInput: A count below 1, a seed below 0 or a budget that is not > 0.

    Example:
        >>> shares = compare_values(num_clients=6, num_tasks=2, draws=2, budgets=[0.5])
        >>> len(shares) == 7 * 3 * 6 * 2, max(share.ratio.mean for share in shares) <= 1
        (True, True)
    """
    found = []
    for place in _places(num_clients, num_tasks, draws, budgets, seed, tuple(WORTH)):
        worths = [WORTH[place.worth](place.rng, num_clients) for _ in range(draws)]
        auctions = [
            (*auction, values) for auction, values in zip(place.auctions, worths, strict=True)
        ]
        best = [best_values(*auction) for auction in auctions]
        levels = [best_level(*auction) for auction in auctions]
        for name, rule in VALUE_RULES.items():
            got = [_values_of(rule(*auction), auction[2]) for auction in auctions]
            total = _ratios([each.sum() for each in got], [each.sum() for each in best])
            least = _ratios([each.min() for each in got], levels)
            found += [place.share(name, "total", total), place.share(name, "least", least)]
    return tuple(found)


def compare_coverage(
    *,
    num_clients: int = 12,
    draws: int = 20,
    budgets: Sequence[float] = BUDGETS,
    seed: int = 0,
) -> tuple[Share, ...]:
    """Coverage of one task over the best set of clients, every set tried.

    Args:
        num_clients: N, at most 16.
        draws: Auctions for each cost law, law of regions' weights and budget.
        budgets: Shares of the sum of all finite costs of an auction, > 0.
        seed: Of the draws.

    Raises:
        InvalidInput: A count below 1, too many clients, a seed below 0, a budget that is not > 0.

    Example:
        >>> shares = compare_coverage(num_clients=6, draws=2, budgets=[0.5])
        >>> len(shares) == 7 * 2 * 2, max(share.ratio.mean for share in shares) < 1 + 1e-9
        (True, True)
    """
    if checked_count("num_clients", num_clients, 1) > LARGEST_SEARCH:
        raise InvalidInput("num_clients", num_clients, f"at most {LARGEST_SEARCH}")
    found = []
    for place in _places(num_clients, 1, draws, budgets, seed, ("equal", "lognormal")):
        rng = place.rng
        maps = [rng.random((num_clients, REGIONS)) < CHANCE for _ in range(draws)]
        weights = [WORTH[place.worth](rng, REGIONS) for _ in range(draws)]
        auctions = list(zip(place.auctions, maps, weights, strict=True))
        best = [best_cover(b[:, 0], money, table, each) for (b, money), table, each in auctions]
        for name, rule in (("coverage_share", coverage_share), ("clock_auction", clock_auction)):
            outcomes = [rule(b, money, table, each) for (b, money), table, each in auctions]
            got = [
                weight[cover[outcome.winners[:, 0]].any(axis=0)].sum()
                for outcome, cover, weight in zip(outcomes, maps, weights, strict=True)
            ]
            found.append(place.share(name, "coverage", _ratios(got, best)))
    return tuple(found)


def compare_arrival(
    *,
    num_clients: int = 30,
    num_tasks: int = 3,
    draws: int = 20,
    budgets: Sequence[float] = BUDGETS,
    seed: int = 0,
) -> tuple[Share, ...]:
    """Recruits where clients come one by one, beside rules that wait for all bids.

    Args:
        num_clients: N.
        num_tasks: S.
        draws: Auctions for each cost law and budget, each with an order of its own.
        budgets: Shares of the sum of all finite costs of an auction, > 0.
        seed: Of the draws.

    Raises:
        InvalidInput: A count below 1, a seed below 0 or a budget that is not > 0.

    Example:
        >>> len(compare_arrival(num_clients=6, num_tasks=2, draws=2, budgets=[0.5])) == 7 * 5
        True
    """
    found = []
    for place in _places(num_clients, num_tasks, draws, budgets, seed, ("equal",)):
        best = [greedy_max_min(*auction).min_take_up for auction in place.auctions]
        seeds = place.rng.integers(2**31, size=draws)
        for name, rule in ARRIVAL_RULES.items():
            outcomes = [
                rule(*auction, np.random.default_rng(each))
                for auction, each in zip(place.auctions, seeds, strict=True)
            ]
            got = [outcome.min_take_up for outcome in outcomes]
            found.append(place.share(name, "recruits", _ratios(got, best)))
    return tuple(found)


def _online(share: float) -> Callable[..., Outcome]:
    """Online prices with a sample of that share."""
    return lambda bids, budget, rng: online_posted_price(bids, budget, rng, sample=share)


ARRIVAL_RULES: Mapping[str, Callable[..., Outcome]] = MappingProxyType(
    {
        "online_posted_price": online_posted_price,
        "online_posted_price, sample 1/4": _online(0.25),
        "online_posted_price, sample 1/2": _online(0.5),
        "sampled_posted_price": sampled_posted_price,
        "max_min_fair": lambda bids, budget, rng: max_min_fair(bids, budget),
    }
)


def best_values(bids: Floats, budget: float, values: Floats) -> Floats:
    """(S,) most value for B / S at true costs, clients that cost at most B / S in parts.

    Example:
        >>> best_values(np.array([[1.0], [4.0], [9.0]]), 5.0, np.array([2.0, 2.0, 9.0]))
        array([4.])
    """
    money = budget / bids.shape[1]
    found = []
    for column in bids.T:
        able = np.flatnonzero(column <= money)
        order = able[np.argsort(column[able] / values[able], kind="stable")]
        spent = np.concatenate([[0.0], column[order].cumsum()])
        bought = np.concatenate([[0.0], values[order].cumsum()])
        found.append(_at(money, spent, bought))
    return np.array(found)


def best_level(bids: Floats, budget: float, values: Floats) -> float:
    """Largest value that the budget buys for every task at true costs, clients in parts.

    Example:
        >>> bids = np.array([[1.0, 2.0], [1.0, 2.0]])
        >>> round(best_level(bids, 4.5, np.array([1.0, 1.0])), 6)
        1.5
    """
    curves = []
    for column in bids.T:
        able = np.flatnonzero(np.isfinite(column))
        order = able[np.argsort(column[able] / values[able], kind="stable")]
        pair = (values[order].cumsum(), column[order].cumsum())
        curves.append((np.append(0.0, pair[0]), np.append(0.0, pair[1])))
    low, high = 0.0, min(float(bought[-1]) for bought, _ in curves)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        fits = sum(_at(middle, *curve) for curve in curves) <= budget
        low, high = (middle, high) if fits else (low, middle)
    return low


def best_cover(bids: Floats, budget: float, covers: NDArray[np.bool_], weights: Floats) -> float:
    """Largest weight that clients with costs of at most the budget cover: all sets are tried.

    Example:
        >>> best_cover(np.array([1.0, 2.0]), 2.5, np.eye(2, dtype=bool), np.array([1.0, 3.0]))
        3.0
    """
    cost, map_ = np.zeros(1), np.zeros((1, len(weights)), dtype=bool)
    for bid, row in zip(bids, covers, strict=True):
        if bid <= budget:
            cost, map_ = np.concatenate([cost, cost + bid]), np.concatenate([map_, map_ | row])
            cost, map_ = cost[kept := cost <= budget], map_[kept]
    return float((map_ @ weights).max())


@dataclass(frozen=True)
class _Place:
    """The auctions of one cost law, law of worth and budget.

    Attributes:
        costs: Name of the cost law.
        worth: Name of the law of worth.
        budget: As a share of all costs.
        auctions: (bids, budget) of each.
        rng: For what is drawn beside costs.
    """

    costs: str
    worth: str
    budget: float
    auctions: list[tuple[Floats, float]]
    rng: np.random.Generator

    def share(self, rule: str, goal: str, ratios: Sequence[Any]) -> Share:
        """Statistics of one rule here."""
        worst = float(min(ratios)) if ratios else float("nan")
        return Share(rule, goal, self.costs, self.worth, self.budget, measure(ratios), worst)


def _places(
    clients: int, tasks: int, draws: int, budgets: Sequence[float], seed: int, worths: Sequence[str]
) -> Iterator[_Place]:
    """Every law and budget; the costs of a law are the same at every budget and law of worth."""
    for name, value in (("num_clients", clients), ("num_tasks", tasks), ("draws", draws)):
        checked_count(name, value, 1)
    checked_count("seed", seed, 0)
    if not len(budgets) or not all(0 < share < float("inf") for share in budgets):
        raise InvalidInput("budgets", budgets, "shares > 0")
    for law, (costs, distribution) in enumerate(cost_laws(tasks).items()):
        for worth in worths:
            for share in budgets:
                rng = np.random.default_rng([seed, law])
                drawn = [distribution.draw(rng, clients, tasks) for _ in range(draws)]
                auctions = [(bids, _money(bids, share)) for bids in drawn]
                yield _Place(costs, worth, float(share), auctions, rng)


def _money(bids: Floats, share: float) -> float:
    """A share of all costs, or 1 where nobody costs anything."""
    return share * float(bids[np.isfinite(bids)].sum()) or 1.0


def _at(x: float, xs: Floats, ys: Floats) -> float:
    """A curve at a point, the end beyond it."""
    return float(np.interp(np.array([x]), xs, ys)[0])


def _ratios(got: Sequence[Any], best: Sequence[Any]) -> list[float]:
    """Where there is anything to get."""
    return [float(mine / most) for mine, most in zip(got, best, strict=True) if most > 0]


def _values_of(outcome: Outcome, values: Floats) -> Floats:
    """(S,) value of the recruits of each task."""
    return np.asarray(values @ outcome.winners)
