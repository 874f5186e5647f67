"""The laws of schedules, client samplings and recruitment rules; planted faults are caught."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from fairopt.errors import InvalidInput
from fl_runtime import check_rule, check_sampling, check_schedule
from fl_runtime.running.recruitment import RULE_NOTES
from mechanisms import Outcome, budget_fair
from tests.fl_runtime.extension import own_parts
from tests.fl_runtime.extension.test_client_sampling import Growing, Negative

HERE = own_parts.__name__


@pytest.mark.parametrize(
    "entry",
    [
        {"name": "cosine", "rounds": 40, "warmup": 5, "floor": 0.1},
        {"name": "steps", "every": 3},
        "exponential",
        "inverse-root",
    ],
    ids=str,
)
def test_built_in_schedules_keep_all_laws(entry: Any) -> None:
    assert check_schedule(entry) == []


@dataclass
class Odd:
    fault: str
    asked: list[int] = field(default_factory=list)

    def factor(self, version: int) -> Any:
        self.asked.append(version)
        if self.fault == "counts":
            return 1.0 / len(self.asked)
        if self.fault == "dice":
            return 1.0 + random.random()
        if self.fault == "ends":
            return 1.0 - version / 100.0
        return {"text": "1.0", "infinite": np.inf}.get(self.fault, 1.0)


@pytest.mark.parametrize(
    ("fault", "law"),
    [
        ("counts", "a function of the version"),
        ("dice", "a function of the version"),
        ("ends", "finite and positive"),
        ("infinite", "finite and positive"),
        ("text", "finite and positive"),
    ],
)
def test_faults_of_schedules_are_caught(fault: str, law: str) -> None:
    assert law in [each.law for each in check_schedule(Odd(fault))]
    assert check_schedule(Odd("")) == []


@pytest.mark.parametrize(
    "entry", ["uniform", "by-examples", {"name": "by-examples", "power": 2.0}, Growing()], ids=str
)
def test_sound_samplings_keep_all_laws(entry: Any) -> None:
    assert check_sampling(entry) == []


@dataclass
class Weighs:
    fault: str
    asked: int = 0

    def weights(self, examples: Any) -> Any:
        self.asked += 1
        total = examples.sum(axis=1).astype(float)
        if self.fault == "dice":
            return total + np.random.random()  # noqa: NPY002
        if self.fault == "changes":
            examples += 1
        if self.fault == "alternates":  # other weights when chances are asked than when drawn
            return np.arange(total.size) + 1.0 if self.asked % 2 else np.ones(total.size)
        if self.fault == "few":
            return total[:-1]
        return {"none": 0.0 * total, "infinite": total / 0.0}.get(self.fault, total)


@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
@pytest.mark.parametrize(
    ("fault", "law"),
    [
        ("dice", "a function of the examples"),
        ("changes", "a function of the examples"),
        ("alternates", "clients are drawn by their chances"),
        ("few", "a weight for every client"),
        ("none", "a weight for every client"),
    ],
)
def test_faults_of_samplings_are_caught(fault: str, law: str) -> None:
    assert law in [each.law for each in check_sampling(Weighs(fault))]


def test_negative_weights_are_caught() -> None:
    assert "a weight for every client" in [each.law for each in check_sampling(Negative())]


TRUTHFUL = ["max-min-fair", "leave-one-out-level", "budget-fair"]
"""Without parameters and dice; the notes say which others are not truthful."""


@pytest.mark.slow
@pytest.mark.parametrize("name", TRUTHFUL)
def test_truthful_rules_keep_all_laws(name: str) -> None:
    assert "; not truthful" not in RULE_NOTES[name]
    assert check_rule(name) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["level-max-min", "greedy-max-min", "cheapest-first"])
def test_rules_that_are_not_truthful_are_found_out(name: str) -> None:
    assert "not truthful" in RULE_NOTES[name]
    found = {each.law: each.witness for each in check_rule(name)}
    assert "gains" in found["truthful"]


def test_an_own_rule_is_tried_by_its_path() -> None:
    assert check_rule(f"{HERE}:everybody_cheap") == []


def rows(bids: Any, budget: Any) -> Outcome:
    """Sound, but for whoever changes it."""
    return own_parts.everybody_cheap(bids, budget)


def none(bids: Any, budget: Any) -> Any:
    return bids <= budget


def turned(bids: Any, budget: Any) -> Outcome:
    winners = np.zeros(np.shape(bids)[::-1], dtype=bool)
    return Outcome(winners, np.zeros(winners.shape), winners.sum(axis=0))


def recruits_everybody(bids: Any, budget: Any) -> Outcome:
    winners = np.ones(np.shape(bids), dtype=bool)
    return Outcome(winners, np.full(winners.shape, 9.0), winners.sum(axis=0))


def with_dice(bids: Any, budget: Any) -> Outcome:
    return rows(bids, budget * (0.5 + random.random()))


def generous(bids: Any, budget: Any) -> Outcome:
    found = rows(bids, budget)
    return Outcome(found.winners, found.payments * 9, found.take_up)


def stingy(bids: Any, budget: Any) -> Outcome:
    found = rows(bids, budget)
    return Outcome(found.winners, found.payments / 9, found.take_up)


def pays_the_bid(bids: Any, budget: Any) -> Outcome:
    found = budget_fair(np.asarray(bids, dtype=float), float(budget))
    pay = np.where(found.winners, np.asarray(bids, dtype=float), 0.0)
    return Outcome(found.winners, pay, found.take_up)


def fails_for_some(bids: Any, budget: Any) -> Outcome:
    if len(bids) == 4:
        raise ZeroDivisionError("four")
    return rows(bids, budget)


@pytest.mark.parametrize(
    ("rule", "law"),
    [
        (none, "an outcome for these clients and tasks"),
        (turned, "an outcome for these clients and tasks"),
        (recruits_everybody, "an outcome for these clients and tasks"),
        (fails_for_some, "an outcome for these clients and tasks"),
        (with_dice, "the same at every call"),
        (generous, "within budget"),
        (stingy, "individually rational"),
        (pays_the_bid, "truthful"),
    ],
)
def test_faults_of_rules_are_caught(rule: Any, law: str) -> None:
    found = check_rule(rule)
    assert law in [each.law for each in found]
    assert all(each.witness and "\n" not in each.witness for each in found)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(InvalidInput, match="did you mean budget-fair"):
        check_rule("budget-fare")
    with pytest.raises(InvalidInput, match="did you mean cosine"):
        check_schedule("cosin")
    with pytest.raises(InvalidInput, match="did you mean uniform"):
        check_sampling("unifrm")
