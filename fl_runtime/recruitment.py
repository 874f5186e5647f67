"""Before training: costs are drawn, a rule recruits, and the result says who may train what."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from fairopt.choices import choose
from fairopt.errors import InvalidInput
from fl_runtime.config import RecruitmentSection
from fl_runtime.streams import stream, stream_seed
from mechanisms import Mechanism
from mechanisms.named_rules import RuleOptions, named_rule
from mechanisms.scenarios import scenario

Costs = NDArray[np.float64]

RULE_NOTES: Mapping[str, str] = {
    "max-min-fair": "truthful; evens out the number of recruits per task",
    "leave-one-out-level": "truthful; simpler than max-min-fair, never recruits more",
    "level-max-min": "one level for all tasks; not truthful for clients with several tasks",
    "budget-fair": "truthful; the same budget for every task",
    "greedy-max-min": "the full-information optimum, paid what they ask",
    "cheapest-first": "cheapest pairs first, paid what they ask",
    "random-recruitment": "client-task pairs in random order, paid what they ask",
    "posted-price": "truthful; fixed prices (prices)",
    "sampled-posted-price": "truthful; prices learned from a random half",
    "participation-fee": "truthful; prices in a public direction less a fee (fee, direction)",
}
"""A line for people about each rule of `mechanisms`. Clients bid their true costs, which is their
best reply under the truthful rules and gives the others their most favourable reading."""

EVERYONE = "everyone"
"""The rule without an auction: all clients train all tasks and nobody is paid."""


@dataclass(frozen=True)
class Recruitment:
    """Who agreed to what.

    Attributes:
        rule: Name of the rule.
        eligible: (num_clients, num_tasks) bool.
        take_up: (num_tasks,) recruited clients per task.
        spend: Total payments.
        cost: Total true cost of the recruited pairs.
    """

    rule: str
    eligible: NDArray[np.bool_]
    take_up: NDArray[np.int64]
    spend: float
    cost: float


def recruit(
    section: RecruitmentSection, num_clients: int, num_tasks: int, seed: int
) -> Recruitment:
    """Draw costs and run the rule of a configuration.

    Raises:
        InvalidInput: Unknown rule or distribution, a missing or non-positive budget, or costs that
            are NaN, negative or of the wrong shape.

    Example:
        >>> section = RecruitmentSection(rule="budget-fair", budget=4.0)
        >>> recruit(section, 10, 2, seed=0).spend <= 4.0
        True
    """
    if section.rule == EVERYONE:
        return _everyone(num_clients, num_tasks)
    choose("recruitment.rule", section.rule, {EVERYONE: "", **RULE_NOTES})
    if section.budget is None:
        raise InvalidInput("recruitment.budget", "nothing", f"given for rule {section.rule}")
    costs = draw_costs(section.costs, num_clients, num_tasks, stream(seed, "costs"))
    outcome = _rule(section, seed)(costs, section.budget)
    return Recruitment(
        rule=section.rule,
        eligible=outcome.winners,
        take_up=outcome.take_up,
        spend=float(outcome.spend),
        cost=float(costs[outcome.winners].sum()),
    )


def _rule(section: RecruitmentSection, seed: int) -> Mechanism:
    """The configured rule with its options."""
    options = RuleOptions(
        reserve=_numbers(section.reserve),
        prices=_numbers(section.prices),
        direction=_numbers(section.direction),
        fee=section.fee,
        seed=stream_seed(seed, "recruitment"),
    )
    try:
        return named_rule(section.rule, options)
    except InvalidInput as error:
        name = f"recruitment.{error.argument}"
        raise InvalidInput(name, error.value, error.requirement) from None


def _numbers(values: float | tuple[float, ...] | None) -> Any:
    """A list of the file as an array."""
    return np.array(values) if isinstance(values, tuple) else values


def draw_costs(table: Mapping[str, Any], num_clients: int, num_tasks: int, rng: Generator) -> Costs:
    """Private costs from a distribution's table, or from a CSV file of clients x tasks."""
    if "file" in table:
        if len(table) > 1:
            requirement = "alone, or a distribution with its parameters"
            raise InvalidInput("recruitment.costs.file", str(table["file"]), requirement)
        return _costs_of_file(Path(str(table["file"])), num_clients, num_tasks)
    try:
        law = {"distribution": "uniform", **_for_tasks(table, num_tasks)}
        return scenario(law).draw(rng, num_clients, num_tasks)
    except InvalidInput as error:
        name = f"recruitment.costs.{error.argument.replace('_', '-')}"
        raise InvalidInput(name, error.value, error.requirement) from None


def _for_tasks(table: Mapping[str, Any], num_tasks: int) -> dict[str, Any]:
    """The table with a scale per task; scales of tasks that are not there are left out, aloud."""
    scale = table.get("task_scale", ())
    if not isinstance(scale, list | tuple) or len(scale) <= num_tasks:
        return dict(table)
    warnings.warn(
        f"recruitment.costs.task-scale has {len(scale)} entries for {num_tasks} tasks: "
        f"the last {len(scale) - num_tasks} have no effect",
        stacklevel=2,
    )
    return {**table, "task_scale": scale[:num_tasks]}


def _everyone(num_clients: int, num_tasks: int) -> Recruitment:
    """All clients, no payments."""
    return Recruitment(
        rule=EVERYONE,
        eligible=np.ones((num_clients, num_tasks), dtype=np.bool_),
        take_up=np.full(num_tasks, num_clients),
        spend=0.0,
        cost=0.0,
    )


def _costs_of_file(path: Path, num_clients: int, num_tasks: int) -> Costs:
    """Numbers of a CSV file without header; an empty cell means no bid."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as lines:
            rows = [[float(cell or "inf") for cell in row] for row in csv.reader(lines)]
        costs = np.array(rows, dtype=np.float64)
    except (OSError, ValueError, csv.Error) as error:
        raise InvalidInput("costs.file", str(path), f"a CSV file of numbers ({error})") from error
    if costs.shape != (num_clients, num_tasks):
        raise InvalidInput("costs.file", costs.shape, f"clients x tasks {num_clients, num_tasks}")
    return costs
