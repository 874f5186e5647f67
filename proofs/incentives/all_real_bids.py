"""Laws of the auctions for all real bids of small auctions, proved by running the rules.

Truthfulness is proved on every path of the code itself (`mechanisms.prove`), so there is nothing
but the code to be right or wrong. Budgets of more clients need an encoding of the offers for the
SMT solver; the rule runs there too, on its own paths and on auctions where the encoding must say
what it pays.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from mechanisms import (
    Mechanism,
    Outcome,
    budget_fair,
    leave_one_out_level,
    level_max_min,
    max_min_fair,
    prove,
)
from mechanisms.auctions.exact.offers import Offer, accepted_price
from mechanisms.auctions.exact.ranking import exact_outcome, of_others, ranked
from mechanisms.auctions.leave_one_out_level import exact_level_offer
from mechanisms.auctions.max_min_fair import exact_offer
from mechanisms.audits.smt.encodings import BUDGET, Offers, capped_offers, plain_offers
from mechanisms.audits.smt.prove import encoded_spend, prove_within_budget
from mechanisms.audits.symbolic.paths import Limits
from mechanisms.audits.symbolic.programs import Shape
from mechanisms.audits.symbolic.prove import Check, find_violation
from mechanisms.bids import read_auction
from proofs.claim import BOUND, OWN, Claim
from proofs.incentives import laws, wrong_rules
from proofs.incentives.instances import Bids, random_auctions

SHAPES = ((2, 1), (3, 1), (2, 2))
CELLS = (3, 2)
"""Shape whose (client, task) cells a thorough check proves one at a time."""
SINGLE_SHAPES = ((3, 2),)
DEEP_SINGLE_SHAPES = (*SINGLE_SHAPES, (4, 2))
BUDGET_SHAPES = ((2, 2), (3, 1), (3, 2))
DEEP_BUDGET_SHAPES = (*BUDGET_SHAPES, (4, 1), (3, 3), (4, 2))
RUN_SHAPES = ((2, 2), (3, 1))
"""Shapes whose budgets are proved by running the rule."""
COMPARED = 40
"""Auctions on which the encoding must pay in all what the rule pays."""
PATHS, SECONDS = 10**6, 3600.0
"""No limit in practice: a claim that does not end is a defect that the caller sees."""


@dataclass(frozen=True)
class Rule:
    """A rule and, where it makes one, the offer inside it.

    Args:
        rule: The mechanism.
        offer: From the others' bids to level and price, as `recruit_by_offers` takes it.
    """

    rule: Mechanism
    offer: Offer | None = None


def truthful(subject: Rule, deep: bool) -> str | None:
    """No client gains by a misreport of all its costs."""
    for shape in SHAPES:
        found = prove(subject.rule, shape, checks=("truthful",), max_paths=PATHS, seconds=SECONDS)
        if found.proved is not True:
            return found.sentence
    if not deep or subject.offer is None:
        return None
    for client, task in itertools.product(*map(range, CELLS)):
        rule = partial(one_cell, subject.offer, client, task)
        found_here = _violation(rule, [Shape(*CELLS)], "truthful")
        if found_here is not None:
            return f"{_words(CELLS)}, client {client}, task {task}: {found_here}"
    return None


def one_cell(offer: Offer, client: int, task: int, bids: Bids, budget: Any) -> Outcome:
    """A leave-one-out rule that recruits one client for one task, or nobody.

    Cells do not see each other, and a utility is the sum over them; the code that decides one is
    that of the rule.
    """
    auction = read_auction(bids, budget)
    rankings = [ranked(column) for column in auction.bids.T]
    others = of_others(rankings, client, auction.bids[client])
    price = accepted_price(others, client, task, auction, offer)
    prices = {} if price is None else {(client, task): price}
    return exact_outcome(prices, auction.bids.shape)


def truthful_with_one_task(rule: Mechanism, deep: bool) -> str | None:
    """No client gains by a misreport of its only task's cost, whoever has which task."""
    for clients, tasks in DEEP_SINGLE_SHAPES if deep else SINGLE_SHAPES:
        for chosen in itertools.product(range(tasks), repeat=clients):
            cells = itertools.product(range(clients), range(tasks))
            missing = frozenset((i, s) for i, s in cells if chosen[i] != s)
            found = _violation(rule, [Shape(clients, tasks, missing)], "truthful")
            if found is not None:
                return f"{_words((clients, tasks))}: {found}"
    return None


def within_budget(encoded: tuple[Mechanism, Offers], deep: bool) -> str | None:
    """No auction overspends: on the paths of the rule, then by the encoding of its offers."""
    rule, offers = encoded
    for clients, tasks in RUN_SHAPES:
        found = _violation(rule, [Shape(clients, tasks)], "budget")
        if found is not None:
            return f"{_words((clients, tasks))}: {found}"
    different = misencoded(rule, offers)
    if different is not None:
        return different
    for shape in DEEP_BUDGET_SHAPES if deep else BUDGET_SHAPES:
        proof = prove_within_budget(*encoded, shape)
        if proof.violation is not None:
            return f"{_words(shape)}: {proof.violation.sentence}"
    return None


def misencoded(rule: Mechanism, offers: Offers) -> str | None:
    """An auction on which the encoded offers pay something else than the rule, or None."""
    auctions = (bids / budget for bids, budget in random_auctions(10**6, 3) if _is_encodable(bids))
    for bids in itertools.islice(auctions, COMPARED):
        paid, encoded = rule(bids, BUDGET).spend, encoded_spend(offers, bids)
        if paid != encoded:
            return f"bids {laws.shown(bids)}, budget 1: {paid} is paid, {encoded} in the encoding"
    return None


def _is_encodable(bids: Bids) -> bool:
    """Whether everybody bids on everything, in a shape of the proofs."""
    return bids.shape in DEEP_BUDGET_SHAPES and not any(bid == math.inf for bid in bids.flat)


def _violation(rule: Mechanism, shapes: Sequence[Shape], check: Check) -> str | None:
    """What breaks a law for some real bids, in words."""
    found = find_violation(rule, shapes, (check,), Limits(PATHS, math.inf))
    return None if found is None else found.sentence


def _words(shape: tuple[int, int]) -> str:
    """A shape in words."""
    return f"{shape[0]} clients, {shape[1]} tasks"


def _scope(*shapes: tuple[int, int]) -> str:
    """Shapes in words."""
    return "all real bids and budgets, (clients, tasks) = " + ", ".join(map(str, shapes))


def honest(name: str, rule: Mechanism, offer: Offer | None = None) -> Claim:
    """Truthful for all real bids; the negative control is the common level with several tasks."""
    cells = f"; every cell of {CELLS}" if offer is not None else ""
    return Claim(
        name=f"{name}-truthful-for-all-real-bids",
        statement="no client gains by any joint misreport, and none is paid below its bid, "
        "whatever the real bids",
        formula=laws.TRUTHFUL,
        source=OWN,
        kind=BOUND,
        how="every path of the code, by SMT",
        scope=_scope(*SHAPES),
        deep_scope=_scope(*SHAPES) + cells,
        check=truthful,
        subject=Rule(rule, offer),
        control=Rule(level_max_min),
    )


def solvent(name: str, rule: Mechanism, offers: Offers) -> Claim:
    """Budget for all real bids; the negative control lacks the tests on the other tasks."""
    return Claim(
        name=f"{name}-within-budget-for-all-real-bids",
        statement="payments sum to at most the budget, whatever the real bids",
        formula=laws.WITHIN_BUDGET,
        source=OWN,
        kind=BOUND,
        how="every path of the code, by SMT; larger shapes by an SMT encoding of the offers, "
        f"compared with the rule on {COMPARED} auctions",
        scope=_scope(*BUDGET_SHAPES),
        deep_scope=_scope(*DEEP_BUDGET_SHAPES),
        check=within_budget,
        subject=(rule, offers),
        control=(wrong_rules.without_other_tests, partial(capped_offers, test_others=False)),
    )


CLAIMS = (
    honest("budget-fair", budget_fair),
    honest("max-min-fair", max_min_fair, exact_offer),
    honest("leave-one-out-level", leave_one_out_level, exact_level_offer),
    Claim(
        name="level-max-min-with-one-task-per-client-truthful-for-all-real-bids",
        statement="no client gains by any misreport of its only task's cost, and none is paid "
        "below its bid, whatever the real bids and whoever has which task",
        formula=laws.TRUTHFUL,
        source=OWN,
        kind=BOUND,
        how="every path of the code, by SMT",
        scope=_scope(*SINGLE_SHAPES),
        deep_scope=_scope(*DEEP_SINGLE_SHAPES),
        check=truthful_with_one_task,
        subject=level_max_min,
        control=wrong_rules.own_sample,
    ),
    solvent("max-min-fair", max_min_fair, capped_offers),
    solvent("leave-one-out-level", leave_one_out_level, plain_offers),
)
