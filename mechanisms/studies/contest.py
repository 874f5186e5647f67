"""Who competes in a study: the rules for clients that do every task, and for those that do few."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from fairopt.errors import InvalidInput
from mechanisms.auctions.greedy_max_min import greedy_max_min
from mechanisms.auctions.level_max_min import level_max_min
from mechanisms.auctions.max_min_fair import max_min_fair
from mechanisms.auctions.registry import RuleOptions, named_rule
from mechanisms.audits.capacity import beyond
from mechanisms.audits.own_rule import blamed
from mechanisms.audits.run_rule import check_repeats, run_mechanism
from mechanisms.audits.time_limit import SECONDS, limited
from mechanisms.outcome import Mechanism, Outcome, counting_recruits

UNKNOWN = "?"
"""Marks rules of the user: whether they are truthful, an audit tells."""
FEE = 0.25
"""Participation fee, as a share of the sum of the prices: a guess, not tuned to a law."""

Floats = NDArray[np.float64]
Floor = Callable[[int, int], int]
"""From k* and S to the recruits that every task gets at least."""


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


@dataclass(frozen=True)
class Contest:
    """Rules that are compared on the same auctions.

    Args:
        rules: Names, in the order of the tables; a star marks those that are not truthful, a
            question mark those of the user, of which nothing is known. The first one is what the
            others are compared with.
        floors: Guaranteed minimum of recruits per task, of the rules that have one.
        capacity: Most tasks of a client; None for clients that do every task.
        own: Rules of the user by the names that stand in `rules`.
    """

    rules: tuple[str, ...]
    floors: Mapping[str, Floor]
    capacity: int | None = None
    own: Mapping[str, Mechanism] = field(default_factory=dict)

    def optimum(self, draw: Draw) -> int:
        """k*: the largest minimum of recruits per task with known costs."""
        return greedy_max_min(draw.bids, draw.budget, capacity=self.capacity).min_take_up

    def run(self, name: str, draw: Draw) -> Outcome:
        """One rule on one auction.

        Raises:
            InvalidInput: A rule of the user failed, or gave a client too many tasks.
        """
        if name in self.own:
            return self._run_own(name, draw)
        if self.capacity is not None and name in _FOR_FEW_TASKS:
            return _FOR_FEW_TASKS[name](draw, self.capacity)
        options = _options(name, draw, self.capacity)
        return named_rule(name.removesuffix("*"), options)(draw.bids, draw.budget)

    def check_own(self, draw: Draw) -> None:
        """Refuse rules of the user that are no functions of bids and budget.

        Raises:
            InvalidInput: A rule draws anew or remembers, or it fails.
        """
        for name, rule in self.own.items():
            with blamed(_called(name)):
                check_repeats(rule, draw.bids, draw.budget)

    def _run_own(self, name: str, draw: Draw) -> Outcome:
        """A rule of the user; within its capacity, or the optimum would be none."""
        with blamed(_called(name)):
            outcome = run_mechanism(self.own[name], draw.bids, draw.budget)
        most = [self.capacity or draw.bids.shape[1]] * len(draw.bids)
        if beyond(outcome, most).any():
            within = f"a rule that gives no client more than {self.capacity}, the capacity"
            raise InvalidInput("rule", _called(name), within)
        return outcome


def contest(capacity: int | None, own: Mapping[str, Mechanism] = MappingProxyType({})) -> Contest:
    """The rules for clients that do every task, or at most so many, and those of the user.

    Example:
        >>> contest(None).rules[0], contest(1).rules[0]
        ('max-min-fair', 'capacity-max-min')
    """
    marked = {f"{name}{UNKNOWN}": limited(rule, SECONDS) for name, rule in own.items()}
    if capacity is None:
        return Contest((*RULES, *marked), FLOORS, own=marked)
    slack = 1 if capacity == 1 else 0
    floors: dict[str, Floor] = {
        "capacity-max-min": lambda best, tasks: (best - 3 * tasks + slack) // 2,
        "greedy-max-min*": lambda best, tasks: best,
    }
    rules = (*RULES_FOR_FEW_TASKS, *marked)
    return Contest(rules, MappingProxyType(floors), capacity, marked)


def _called(name: str) -> str:
    """What the user calls a rule."""
    return name.removesuffix(UNKNOWN)


def _options(name: str, draw: Draw, capacity: int | None) -> RuleOptions:
    """What a rule takes beside bids and budget; public prices are those of the pilot."""
    if name == "posted-price":
        return RuleOptions(prices=public_prices(draw), capacity=capacity)
    if name == "participation-fee":
        direction = public_prices(draw)
        return RuleOptions(direction=direction, fee=FEE * direction.sum())
    return RuleOptions(seed=draw.seed, capacity=capacity)


def public_prices(draw: Draw) -> Floats:
    """(S,) price of each task by which the pilot would have spent the budget, or its mean cost."""
    outcome = level_max_min(draw.pilot, draw.budget)
    paid = outcome.payments.max(axis=0)
    known = np.where(np.isfinite(draw.pilot), draw.pilot, 0.0)
    mean = known.sum(axis=0) / np.maximum(np.isfinite(draw.pilot).sum(axis=0), 1)
    return np.asarray(np.where(paid > 0, paid, np.maximum(mean, 1e-9)))


def masked(draw: Draw, capacity: int) -> Outcome:
    """The default auction among clients that may bid on a few tasks, assigned by lot and evenly."""
    rng = np.random.default_rng(draw.seed)
    clients, tasks = draw.bids.shape
    order = rng.permutation(clients)
    places = (np.arange(clients)[:, np.newaxis] * capacity + np.arange(capacity)) % tasks
    allowed = np.zeros(draw.bids.shape, dtype=np.bool_)
    allowed[order[:, np.newaxis], places] = True
    return max_min_fair(np.where(allowed, draw.bids, np.inf), draw.budget)


def first_tasks(draw: Draw, capacity: int) -> Outcome:
    """The default auction, of which each client keeps its first tasks: not truthful."""
    outcome = max_min_fair(draw.bids, draw.budget)
    kept = outcome.winners & (outcome.winners.cumsum(axis=1) <= capacity)
    return counting_recruits(kept, np.where(kept, outcome.payments, 0.0))


_FOR_FEW_TASKS: Mapping[str, Callable[[Draw, int], Outcome]] = MappingProxyType(
    {"masked-max-min-fair": masked, "first-tasks*": first_tasks}
)
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


RULES_FOR_FEW_TASKS = (
    "capacity-max-min",
    "masked-max-min-fair",
    "posted-price",
    "first-tasks*",
    "greedy-max-min*",
)
"""The same for clients that do few tasks; "masked" are clients that may bid on few."""
FLOORS: Mapping[str, Floor] = MappingProxyType(
    {
        "max-min-fair": lambda best, tasks: (best if tasks <= 2 else best - 1) // 2,
        "leave-one-out-level": lambda best, tasks: (best - 1) // 2,
        "budget-fair": lambda best, tasks: (best + 1) // (tasks + 1),
        "level-max-min*": lambda best, tasks: best // 2,
        "greedy-max-min*": lambda best, tasks: best,
    }
)
"""Guaranteed minimum of recruits per task, from the full-information optimum k* and S."""
