"""Rules by name, for command lines and configuration files; a user's own by module and function."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any

import numpy as np

from fairopt.choices import suggestion
from fairopt.errors import InvalidInput
from fairopt.user_objects import load_object
from mechanisms.auctions.baselines import cheapest_first, random_recruitment
from mechanisms.auctions.budget_fair import budget_fair
from mechanisms.auctions.capacity_max_min import capacity_max_min
from mechanisms.auctions.greedy_max_min import greedy_max_min
from mechanisms.auctions.leave_one_out_level import leave_one_out_level
from mechanisms.auctions.level_max_min import level_max_min
from mechanisms.auctions.max_min_fair import max_min_fair
from mechanisms.auctions.online_posted_price import online_posted_price
from mechanisms.auctions.participation_fee import participation_fee
from mechanisms.auctions.posted_price import posted_price, sampled_posted_price
from mechanisms.outcome import Mechanism, Outcome


@dataclass(frozen=True)
class RuleOptions:
    """Parameters that some rules take beside bids and budget.

    Args:
        reserve: Price of an outside seller, one or one per task.
        prices: Posted prices, one per task.
        direction: Relative prices of the participation fee; all equal by default.
        fee: Participation fee, in units of the direction.
        seed: Of the random rules, which are then the same function of the bids on every call.
        unit: What payments are multiples of.
        capacity: Most tasks of a client, or one number for each.
        weights: Places of each task per level.
    """

    reserve: Any = None
    prices: Any = None
    direction: Any = None
    fee: Any = None
    seed: int = 0
    unit: Any = None
    capacity: Any = None
    weights: Any = None


OPTIONS = tuple(field.name for field in fields(RuleOptions) if field.name != "seed")
"""What a rule may take or refuse; the seed is nobody's business but that of random rules."""


def is_own(name: str) -> bool:
    """Whether a name is that of a user's own rule, ``package.module:function``."""
    return ":" in name


def options_of(name: str) -> tuple[str, ...]:
    """Names of the options that a rule takes; of a user's own those that are its arguments.

    Raises:
        InvalidInput: An unknown name, or a module or function that cannot be found.

    Example:
        >>> options_of("max-min-fair")
        ('reserve', 'unit')
    """
    return _found(name)[1]


def named_rule(name: str, options: RuleOptions | None = None) -> Mechanism:
    """The mechanism `(bids, budget) -> Outcome` of that name.

    Args:
        name: One of `RULES`, with hyphens or underscores, or ``package.module:function`` for a
            rule of one's own, which gets the options that are given as keyword arguments.
        options: Parameters beside bids and budget.

    Raises:
        InvalidInput: An unknown name, an option that the rule does not take, or one that it needs.
            For a rule of one's own: a module or function that cannot be found.

    Example:
        >>> named_rule("max-min-fair")([[1.0], [3.0]], 4.0).spend
        3.0
        >>> named_rule("budget-fair", RuleOptions(reserve=1))
        Traceback (most recent call last):
        ...
        fairopt.errors.InvalidInput: reserve = 1, but it must be left out for budget-fair;
        max-min-fair, leave-one-out-level, level-max-min take it
    """
    build, takes, needs = _found(name)
    given = options or RuleOptions()
    for field in OPTIONS:
        value = getattr(given, field)
        if value is not None and field not in takes:
            takers = [rule for rule, (_, taken, _) in RULES.items() if field in taken]
            raise InvalidInput(field, value, f"left out for {name}; {', '.join(takers)} take it")
        if value is None and field in needs:
            raise InvalidInput(field, value, f"given for {name}")
    return build(given)


def _found(name: str) -> Builder:
    """How a rule is built, what it takes and what it needs."""
    if is_own(name):
        return _own(name)
    name = name.replace("_", "-")  # as the function is called in Python
    if name not in RULES:
        known = f"one of {', '.join(RULES)}{suggestion(name, RULES)}"
        raise InvalidInput("rule", name, f"{known}; or package.module:function for your own")
    return RULES[name]


def _own(name: str) -> Builder:
    """A user's own rule: options are its keyword arguments."""
    function: Any = load_object("rule", name)
    try:
        known = tuple(inspect.signature(function).parameters)
    except ValueError:  # compiled functions may have none
        known = ()
    takes = tuple(option for option in OPTIONS if option in known)
    return _optional(function, *takes), takes, ()


def _plain(rule: Mechanism) -> Callable[[RuleOptions], Mechanism]:
    """A rule without parameters."""
    return lambda options: rule


def _optional(rule: Callable[..., Outcome], *keywords: str) -> Callable[[RuleOptions], Mechanism]:
    """A rule with optional parameters; without them it is the rule itself."""

    def build(options: RuleOptions) -> Mechanism:
        values = {keyword: getattr(options, keyword) for keyword in keywords}
        given = {keyword: value for keyword, value in values.items() if value is not None}
        return functools.partial(rule, **given) if given else rule

    return build


def _seeded(rule: Callable[..., Outcome], *keywords: str) -> Callable[[RuleOptions], Mechanism]:
    """A random rule whose generator starts anew on every call."""

    def build(options: RuleOptions) -> Mechanism:
        run: Callable[..., Outcome] = _optional(rule, *keywords)(options)
        return lambda bids, budget: run(bids, budget, np.random.default_rng(options.seed))

    return build


def _posted(options: RuleOptions) -> Mechanism:
    """Posted prices."""
    return lambda bids, budget: posted_price(
        bids, options.prices, budget, unit=options.unit, capacity=options.capacity
    )


def _fee(options: RuleOptions) -> Mechanism:
    """Participation fee, by default at equal prices."""

    def rule(bids: Any, budget: Any) -> Outcome:
        direction = options.direction
        equal = np.ones(np.shape(bids)[-1]) if direction is None else direction
        return participation_fee(bids, budget, equal, options.fee, capacity=options.capacity)

    return rule


Builder = tuple[Callable[[RuleOptions], Mechanism], tuple[str, ...], tuple[str, ...]]
RULES: MappingProxyType[str, Builder] = MappingProxyType(
    {
        "max-min-fair": (_optional(max_min_fair, "reserve", "unit"), ("reserve", "unit"), ()),
        "leave-one-out-level": (
            _optional(leave_one_out_level, "reserve", "unit"),
            ("reserve", "unit"),
            (),
        ),
        "capacity-max-min": (
            _optional(capacity_max_min, "capacity", "weights"),
            ("capacity", "weights"),
            (),
        ),
        "level-max-min": (_optional(level_max_min, "reserve"), ("reserve",), ()),
        "budget-fair": (_optional(budget_fair, "unit"), ("unit",), ()),
        "greedy-max-min": (_optional(greedy_max_min, "capacity"), ("capacity",), ()),
        "cheapest-first": (_plain(cheapest_first), (), ()),
        "random-recruitment": (_seeded(random_recruitment), (), ()),
        "posted-price": (_posted, ("prices", "unit", "capacity"), ("prices",)),
        "sampled-posted-price": (_seeded(sampled_posted_price, "unit"), ("unit",), ()),
        "online-posted-price": (_seeded(online_posted_price), (), ()),
        "participation-fee": (_fee, ("direction", "fee", "capacity"), ("fee",)),
    }
)
"""Name -> (builder, options it takes, options it needs)."""
