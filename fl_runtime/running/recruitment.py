"""Recruitment: costs are drawn and a rule recruits, once or again every so many rounds.

Costs of later recruitments drift away from the first ones. A recruitment is a pure function of the
configuration, the seed and its number, so a resumed run finds it again.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from fairopt.choices import choose
from fairopt.errors import InvalidInput, Unshown
from fairopt.user_objects import said
from fl_runtime.configuration.schema import RecruitmentSection
from fl_runtime.extensions import Kind, resolve, taken_apart
from fl_runtime.history import EVERYONE
from fl_runtime.random_streams import stream, stream_seed
from fl_runtime.validation_errors import record_from_table, unknown_key
from mechanisms import Mechanism, Outcome
from mechanisms.auctions.registry import OPTIONS, RULES, RuleOptions, named_rule
from mechanisms.reading.bids import read_bids
from mechanisms.studies.cost_distributions import (
    DISTRIBUTIONS,
    Abstaining,
    CostDistribution,
    scenario,
)
from mechanisms.studies.cost_drift import CostProcess, GeometricWalk, MeanReverting

Costs = NDArray[np.float64]

RULE_NOTES: Mapping[str, str] = {
    "max-min-fair": "truthful; evens out the number of recruits per task",
    "capacity-max-min": "truthful for clients that do few tasks (capacity); evens out recruits",
    "leave-one-out-level": "truthful; simpler than max-min-fair, never recruits more",
    "level-max-min": "one level for all tasks; not truthful for clients with several tasks",
    "budget-fair": "truthful; the same budget for every task",
    "greedy-max-min": "the full-information optimum, pays the bids; not truthful",
    "cheapest-first": "cheapest pairs first, pays the bids; not truthful",
    "random-recruitment": "client-task pairs in random order, pays the bids; not truthful",
    "posted-price": "truthful; fixed prices (prices)",
    "sampled-posted-price": "truthful; prices learned from a random half",
    "online-posted-price": "truthful; clients come one by one, prices learned from earlier ones",
    "participation-fee": "truthful; prices in a public direction less a fee (fee, direction)",
}
"""A line about each rule of `mechanisms`. Clients bid their true costs, which is their best
response under the truthful rules and the most favourable assumption for the others."""

RULE = Kind("recruitment rule", "recruitment.rule", RULES, arguments=("bids", "budget"))
"""Who is recruited at what pay; a user's own is a function without random numbers."""

COST_LAW = Kind("cost law", "recruitment.costs.distribution", DISTRIBUTIONS, CostDistribution)
"""What clients' costs are drawn from."""

DRIFTS: Mapping[str, str] = {
    "none": "costs stay as they are",
    "geometric-walk": "each cost walks by itself and keeps its mean (sigma)",
    "mean-reverting": "each cost stays near its first value (pull, sigma)",
}
"""How costs move between recruitments, by name, each with a line about it."""


@dataclass(frozen=True)
class Recruitment:
    """Which clients agreed to train which tasks, and what that cost.

    Attributes:
        rule: Name of the rule.
        budget: What it could spend; None without an auction that needs one.
        eligible: (num_clients, num_tasks) bool.
        take_up: (num_tasks,) recruited clients per task.
        spend: Total payments.
        cost: Total true cost of the recruited pairs.
    """

    rule: str
    budget: float | None
    eligible: NDArray[np.bool_]
    take_up: NDArray[np.int64]
    spend: float
    cost: float


def recruit(
    section: RecruitmentSection,
    holds: NDArray[np.bool_],
    seed: int,
    number: int = 0,
    tasks: Sequence[str] = (),
) -> Recruitment:
    """Draw costs and run the rule of a configuration.

    Args:
        section: Rule, budget, costs and their drift.
        holds: (num_clients, num_tasks) bool, False where a client lacks the task and so cannot bid.
        seed: Seed of the run.
        number: Recruitments before this one.
        tasks: Names of the tasks, which a file of costs has as headings; "0", "1", ... by default.

    Raises:
        InvalidInput: Unknown rule, distribution or drift, a missing or non-positive budget, or
            costs that are NaN, negative or of the wrong shape.

    Example:
        >>> section = RecruitmentSection(rule="budget-fair", budget=4.0)
        >>> recruit(section, np.ones((10, 2), dtype=bool), seed=0).spend <= 4.0
        True
    """
    if section.rule == EVERYONE:
        return _everyone(section, holds, number)
    name, fields = taken_apart(section.rule, RULE.key)
    if ":" not in name:
        choose(RULE.key, name, {EVERYONE: "", **RULE_NOTES})
    if section.budget is None:
        raise InvalidInput("recruitment.budget", Unshown.MISSING, f"rule {name} needs one")
    budget = _budget_of(section, number)
    rng = stream(seed, "costs")
    costs = draw_costs(section, len(holds), holds.shape[1], rng, number, tasks)
    costs = np.where(holds, costs, np.inf)
    if ":" in name:
        outcome = _of_own_rule(name, resolve(RULE, section.rule), costs, budget)
    else:
        outcome = _of_named_rule(_rule(section, (name, fields), seed, number), costs, budget)
    return Recruitment(
        rule=name,
        budget=budget,
        eligible=outcome.winners,
        take_up=outcome.take_up,
        spend=float(outcome.spend),
        cost=float(costs[outcome.winners].sum()),
    )


def _budget_of(section: RecruitmentSection, number: int) -> Any:
    """The budget of that recruitment; the last one of a list goes on."""
    if isinstance(section.budget, tuple):
        if not all(0.0 < each < math.inf for each in section.budget):
            raise InvalidInput("recruitment.budget", list(section.budget), "finite numbers > 0")
        return section.budget[min(number, len(section.budget) - 1)]
    return section.budget


def _of_own_rule(name: str, rule: Mechanism, costs: Costs, budget: Any) -> Outcome:
    """What a user's own rule decides, if it is a decision about these clients and tasks."""
    try:
        outcome = rule(costs, budget)
    except Exception as error:  # whatever the user's rule does
        requirement = f"a rule that can be called with bids {costs.shape} and a budget"
        raise InvalidInput(RULE.key, name, f"{requirement} ({said(error)})") from error
    if not isinstance(outcome, Outcome) or outcome.winners.shape != costs.shape:
        requirement = f"a rule that gives an Outcome with winners {costs.shape}"
        raise InvalidInput(RULE.key, name, requirement)
    if not np.isfinite(costs[outcome.winners]).all():
        raise InvalidInput(RULE.key, name, "a rule that recruits nobody who does not bid")
    return outcome


def _of_named_rule(rule: Mechanism, costs: Costs, budget: Any) -> Outcome:
    """What a rule of `mechanisms` decides; what it refuses is named as in the configuration."""
    try:
        return rule(costs, budget)
    except InvalidInput as error:
        name = f"recruitment.{error.argument}"
        raise InvalidInput(name, error.value, error.requirement) from None


def _rule(
    section: RecruitmentSection, entry: tuple[str, Mapping[str, Any]], seed: int, number: int
) -> Mechanism:
    """The configured rule with its options; random rules draw afresh every time."""
    name, fields = entry
    beside = {key: getattr(section, key) for key in OPTIONS}
    for key in fields:
        if key not in beside:
            raise unknown_key([RULE.key, key], fields[key], beside)
    given = {key: _numbers(value) for key, value in {**beside, **fields}.items()}
    drawn = stream_seed(seed, "recruitment", *((number,) if number else ()))
    options = RuleOptions(**given, seed=drawn)
    try:
        return named_rule(name, options)
    except InvalidInput as error:
        name = f"recruitment.{error.argument}"
        raise InvalidInput(name, error.value, error.requirement) from None


def _numbers(values: float | Sequence[float] | None) -> Any:
    """A list of the file as an array."""
    return np.array(values) if isinstance(values, list | tuple) else values


def draw_costs(
    section: RecruitmentSection,
    num_clients: int,
    num_tasks: int,
    rng: Generator,
    number: int = 0,
    tasks: Sequence[str] = (),
) -> Costs:
    """Private costs at that recruitment, from a distribution or a file of bids.

    The first ones do not depend on the drift, and later ones not on how many follow.
    """
    names = tuple(tasks) or tuple(map(str, range(num_tasks)))
    process = _drift(section.drift, _first_costs(section.costs, num_clients, names))
    try:
        path = process.draw(rng, number + 1, num_clients, num_tasks)
    except InvalidInput as error:
        name = f"recruitment.costs.{error.argument.replace('_', '-')}"
        raise InvalidInput(name, error.value, error.requirement) from None
    return np.asarray(path[number])


@dataclass(frozen=True, eq=False)
class _Table:
    """Costs that are given instead of drawn."""

    costs: Costs

    def draw(self, rng: Generator, num_clients: int, num_tasks: int) -> Costs:
        """The table."""
        return self.costs


def _first_costs(
    table: Mapping[str, Any], num_clients: int, tasks: Sequence[str]
) -> CostDistribution:
    """Where the costs of the first recruitment come from."""
    if "file" in table:
        if set(table) - {"file", "name_column"}:
            requirement = "with name-column or alone, or a distribution with its parameters"
            raise InvalidInput("recruitment.costs.file", str(table["file"]), requirement)
        return _Table(_costs_of_file(table, num_clients, tasks))
    law = str(table.get("distribution", ""))
    if ":" in law:
        fields = {k: v for k, v in table.items() if k not in ("distribution", "abstention")}
        own: CostDistribution = resolve(COST_LAW, law, table="recruitment.costs", fields=fields)
        return Abstaining(own, table["abstention"]) if "abstention" in table else own
    try:
        return scenario({"distribution": "uniform", **_for_tasks(table, len(tasks))})
    except InvalidInput as error:
        name = f"recruitment.costs.{error.argument.replace('_', '-')}"
        raise InvalidInput(name, error.value, error.requirement) from None


def _drift(table: Mapping[str, Any], start: CostDistribution) -> CostProcess:
    """How costs move from there on."""
    fields = {key: value for key, value in table.items() if key != "model"}
    model = str(table.get("model", "none"))
    choose("recruitment.drift.model", model, DRIFTS)
    if model == "none":
        if fields:
            raise InvalidInput("recruitment.drift", dict(table), "without parameters for no drift")
        return GeometricWalk(start, sigma=0.0)
    kind: Any = {"geometric-walk": _Walk, "mean-reverting": _Reversion}[model]
    return record_from_table("recruitment.drift", kind, fields).process(start)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class _Walk:
    """Parameters of `GeometricWalk` in a configuration."""

    sigma: float = 0.1

    def process(self, start: CostDistribution) -> CostProcess:
        """The walk from those costs."""
        return GeometricWalk(start, sigma=self.sigma)

    def __post_init__(self) -> None:
        GeometricWalk(sigma=self.sigma)


@dataclass(frozen=True)
class _Reversion:
    """Parameters of `MeanReverting` in a configuration."""

    pull: float = 0.2
    sigma: float = 0.2

    def process(self, start: CostDistribution) -> CostProcess:
        """The process around those costs."""
        return MeanReverting(start, pull=self.pull, sigma=self.sigma)

    def __post_init__(self) -> None:
        MeanReverting(pull=self.pull, sigma=self.sigma)


def _for_tasks(table: Mapping[str, Any], num_tasks: int) -> dict[str, Any]:
    """The table with a scale per task; surplus scales are left out with a warning."""
    scale = table.get("task_scale", ())
    if not isinstance(scale, list | tuple) or len(scale) <= num_tasks:
        return dict(table)
    warnings.warn(
        f"recruitment.costs.task-scale has {len(scale)} entries for {num_tasks} tasks: "
        f"the last {len(scale) - num_tasks} have no effect",
        stacklevel=2,
    )
    return {**table, "task_scale": scale[:num_tasks]}


def _everyone(section: RecruitmentSection, holds: NDArray[np.bool_], number: int) -> Recruitment:
    """All clients for all tasks they hold, no payments."""
    return Recruitment(
        rule=EVERYONE,
        budget=_budget_of(section, number),
        eligible=holds,
        take_up=holds.sum(axis=0),
        spend=0.0,
        cost=0.0,
    )


def _costs_of_file(table: Mapping[str, Any], num_clients: int, tasks: Sequence[str]) -> Costs:
    """Costs in the one written form of bids: a column per task, by its name, and a row per client.

    The i-th row is client i, whatever its name. An empty cell means that the client does not bid.
    """
    file, key = str(table["file"]), "recruitment.costs.file"
    try:
        named = read_bids(file, str(table.get("name_column", "")), exact=False)
    except InvalidInput as error:
        name = error.argument.replace("BIDS", key)
        name = name.replace("name_column", "recruitment.costs.name-column")
        requirement = error.requirement.replace("name_column=", "name-column = ")
        raise InvalidInput(name, error.value, requirement) from error
    if set(named.tasks) != set(tasks):
        columns = ", ".join(named.tasks)
        raise InvalidInput(key, columns, f"a column for each task: {', '.join(tasks)}")
    if len(named.clients) != num_clients:
        raise InvalidInput(key, len(named.clients), f"a row for each of {num_clients} clients")
    return np.ascontiguousarray(named.bids[:, [named.tasks.index(task) for task in tasks]])
