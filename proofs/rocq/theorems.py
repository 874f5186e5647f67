"""What is proved of the default auction for all sizes, tied to the code by recorded auctions."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from mechanisms import Outcome, budget_fair, leave_one_out_level, max_min_fair
from mechanisms.auctions.exact.offers import Offer
from mechanisms.auctions.exact.ranking import Ranking, kth
from mechanisms.auctions.max_min_fair import exact_offer
from mechanisms.bids import Auction
from proofs.claim import BOUND, IDENTITY, OWN, Check, Claim, NotChecked
from proofs.incentives import laws, wrong_rules
from proofs.rocq.auctions import ExactAuction, draw_auction
from proofs.rocq.compiler import (
    MISSING,
    is_installed,
    lines,
    objection,
    second_checker_objection,
)
from proofs.rocq.kernel import kernel_disagrees
from proofs.rocq.outcomes import (
    Outcomes,
    Rows,
    Rule,
    best_margins,
    capacity_outcome,
    default_outcome,
    of_code,
    offered,
    share_outcome,
)
from proofs.rocq.recorded import COUNT, Recorded, recorded

HOW = "Rocq, machine-checked"
FRESH = 200
"""Auctions of a thorough check that are computed in the kernel."""
DEEP_SCOPE = f"{FRESH} more inside the kernel; coqchk agrees"

Run = Callable[[Any, ExactAuction], Rows]
"""Runs a subject on an auction."""
Expected = Callable[[Outcomes], Rows]
"""Which of the recorded outcomes it must have."""


def scope(every: int = 1) -> str:
    """What a claim covers.

    Example:
        >>> scope(4).split("; ")[-1]
        'tied to the code by 500 recorded auctions'
    """
    return (
        f"all clients, tasks and rational bids; {lines():,} lines; axioms: none; "
        f"tied to the code by {COUNT // every:,} recorded auctions"
    )


@cache
def differs(run: Run, expected: Expected, subject: Any, every: int = 1) -> str | None:
    """The first recorded auction on which a subject does something else than the proved rule.

    Remembered, since several theorems are about one subject. `every` second, third.. is looked at.
    """
    compared = recorded()[::every]
    return next(filter(None, (_differs(run, expected, subject, x) for x in compared)), None)


def _differs(run: Run, expected: Expected, subject: Any, record: Recorded) -> str | None:
    """The same on one auction."""
    seen, proved = run(subject, record.auction), expected(record.outcomes)
    if seen == proved:
        return None
    cells = ((i, s) for i, row in enumerate(proved) for s in range(len(row)))
    i, s = next(cell for cell in cells if seen[cell[0]][cell[1]] != proved[cell[0]][cell[1]])
    there = f"client {i}, task {s}: {_words(seen[i][s])}"
    return f"{record.auction}: {there}; by the proved rule {_words(proved[i][s])}"


def _words(cell: Any) -> str:
    """Pay, or level and price, in words."""
    if isinstance(cell, tuple):
        return f"level {cell[0]} at {cell[1]}"
    return "not recruited" if cell is None else f"paid {cell}"


def proved(run: Run, expected: Expected, theorems: tuple[str, ...], every: int = 1) -> Check:
    """Check that a subject is the rule that theorems are about, and that the kernel accepts them.

    Without a compiler the recorded auctions are all that is checked; they can fail.
    """

    def check(subject: Any, deep: bool) -> str | NotChecked | None:
        found = differs(run, expected, subject, every)
        if found is not None:
            return found
        if not is_installed():
            return NotChecked(MISSING)
        if not deep:
            return objection(theorems)
        return objection(theorems) or second_checker_objection() or fresh_objection()

    return check


@cache
def fresh_objection() -> str | None:
    """What the kernel objects to the code on auctions that nobody recorded."""
    rng = random.Random(7)
    auctions = [draw_auction(rng) for _ in range(FRESH)]
    return kernel_disagrees(auctions, list(map(of_code, auctions)))


def _default(outcomes: Outcomes) -> Rows:
    """Outcomes of `max_min_fair`."""
    return outcomes.max_min_fair


def _share(outcomes: Outcomes) -> Rows:
    """Outcomes of `budget_fair`."""
    return outcomes.budget_fair


def _kept(outcomes: Outcomes) -> Rows:
    """Outcomes with capacities."""
    return outcomes.capacities


def _offers(outcomes: Outcomes) -> Rows:
    """Prices that clients are offered."""
    return outcomes.offers


def without_reserve(rule: Rule, auction: ExactAuction) -> Rows:
    """What a rule pays for one task alone: the column of budget-fair, with its share of the money.

    With one task the default auction is the proportional share, so this must be budget-fair.
    """
    share = auction.budget / auction.tasks
    columns = []
    for task in range(auction.tasks):
        bids = tuple((row[task],) for row in auction.bids)
        columns.append(share_outcome(rule, ExactAuction(bids, share, None, auction.capacities)))
    return tuple(
        tuple(column[client][0] for column in columns) for client in range(len(auction.bids))
    )


def pays_the_bid(bids: Any, budget: Any, reserve: Any = None) -> Outcome:
    """The recruits of the default auction at their own bids: the wrong rule everybody knows."""
    found = max_min_fair(bids, budget, reserve=reserve)
    payments = found.payments.copy()
    payments[found.winners] = bids[found.winners]
    return Outcome(found.winners, payments, found.level)


def one_level_lower(others: list[Ranking], task: int, auction: Auction) -> tuple[int, Any]:
    """The offer of a search that stops too early, at the same price."""
    level, price = exact_offer(others, task, auction)
    return max(level - 1, 0), price


def without_cap(others: list[Ranking], task: int, auction: Auction) -> tuple[int, Any]:
    """The right level at the next bid, whatever the water level."""
    level, _ = exact_offer(others, task, auction)
    return level, kth(others[task], level, auction.outside[task])


def first_tasks(capacity: int, margins: Iterable[Any]) -> list[int]:
    """The first tasks that a client could have, not those of largest margin."""
    return [task for task, margin in enumerate(margins) if margin is not None][:capacity]


def one_too_many(capacity: int, margins: Any) -> list[int]:
    """The best tasks, one more than the capacity."""
    return best_margins(capacity + 1, margins)


def claim(
    name: str,
    statement: str,
    formula: str,
    theorems: tuple[str, ...],
    subject: Any,
    control: Any,
    *,
    run: Run = default_outcome,
    expected: Expected = _default,
    kind: str = BOUND,
    source: str = OWN,
    every: int = 1,
) -> Claim:
    """A row of theorems about one subject."""
    return Claim(
        name=f"{name}-for-all-sizes",
        statement=statement,
        formula=formula,
        source=f"{source}; {', '.join(theorems)} in proofs/rocq/theories/Theorems.v",
        kind=kind,
        how=HOW,
        scope=scope(every),
        deep_scope=f"{scope(every)} and {DEEP_SCOPE}",
        check=proved(run, expected, theorems, every),
        subject=subject,
        control=control,
    )


def about_offers(
    name: str, statement: str, formula: str, theorem: str, control: Offer, kind: str
) -> Claim:
    """A theorem about levels and prices, whether they are accepted or not."""
    return claim(
        name,
        statement,
        formula,
        (theorem,),
        exact_offer,
        control,
        run=offered,
        expected=_offers,
        kind=kind,
    )


def about_capacities(
    name: str, statement: str, formula: str, theorems: tuple[str, ...], control: Any
) -> Claim:
    """A theorem about the default auction with a capacity for every client."""
    return claim(
        name,
        statement,
        formula,
        theorems,
        best_margins,
        control,
        run=capacity_outcome,
        expected=_kept,
    )


CLAIMS = (
    claim(
        "max-min-fair-truthful",
        "no client gains by misreporting all its costs at once, tasks that it cannot do included",
        laws.TRUTHFUL,
        ("max_min_fair_truthful",),
        max_min_fair,
        pays_the_bid,
    ),
    claim(
        "max-min-fair-menu",
        "the price that a client meets does not depend on its own bids",
        r"p_{is}(b_i, b_{-i}) = p_{is}(b_i', b_{-i})",
        ("max_min_fair_price_reads_others_only",),
        max_min_fair,
        wrong_rules.capped_by_winners,
        kind=IDENTITY,
    ),
    claim(
        "max-min-fair-individually-rational",
        "a recruit is paid at least its bid, the truth earns at least 0, and who is not recruited "
        "is not paid",
        laws.RATIONAL,
        (
            "max_min_fair_individually_rational",
            "max_min_fair_participation",
            "max_min_fair_losers_unpaid",
        ),
        max_min_fair,
        wrong_rules.underpaying,
    ),
    claim(
        "max-min-fair-within-budget",
        "payments sum to at most the budget: clients of several tasks, ties, missing bids and a "
        "reserve price included",
        laws.WITHIN_BUDGET,
        ("max_min_fair_within_budget",),
        max_min_fair,
        wrong_rules.without_other_tests,
    ),
    about_offers(
        "max-min-fair-bisection",
        "openness falls with the level, so bisection finds the largest open level",
        r"\mathrm{bisect}(0, N) = \max\{k : k\ \text{open}\}",
        "max_min_fair_bisection",
        one_level_lower,
        IDENTITY,
    ),
    about_offers(
        "max-min-fair-best-price",
        "the price at the largest open level is the largest over all open levels",
        r"k\ \text{open} \Rightarrow p_{is}(k) \le p_{is}(K)",
        "max_min_fair_price_is_the_best",
        without_cap,
        BOUND,
    ),
    claim(
        "max-min-fair-floor",
        "without a reserve price every task recruits at least floor((k - 1) / 2) clients, for "
        "every k whose k cheapest bids of all tasks cost at most the budget together",
        r"\lfloor (k^* - 1) / 2 \rfloor \le \min_s \sum_i x_{is}",
        ("max_min_fair_floor",),
        max_min_fair,
        wrong_rules.one_level_per_client,
    ),
    claim(
        "max-min-fair-with-one-task",
        "with one task the default auction recruits and pays as Singer's proportional share",
        r"S = 1 \Rightarrow (x, p) = (x, p)_{\mathrm{PS}}",
        ("one_task",),
        max_min_fair,
        leave_one_out_level,
        run=without_reserve,
        expected=_share,
        kind=IDENTITY,
        source="Singer, arXiv 1002.2334",
    ),
    claim(
        "budget-fair-laws",
        "budget-fair is truthful against joint misreports, within budget and individually rational",
        laws.TRUTHFUL,
        (
            "budget_fair_truthful",
            "budget_fair_within_budget",
            "budget_fair_individually_rational",
        ),
        budget_fair,
        wrong_rules.next_bid,
        run=share_outcome,
        expected=_share,
        source="Singer, arXiv 1002.2334, applied per task",
    ),
    about_capacities(
        "menu-with-capacity-truthful",
        "a client that faces fixed prices and gets the m tasks of largest positive margin gains by "
        "no misreport",
        r"\sum_{t \in M(r)} (p_t - c_t) \le \sum_{t \in M(c)} (p_t - c_t)",
        ("menu_with_capacity_truthful",),
        first_tasks,
    ),
    about_capacities(
        "max-min-fair-with-capacities",
        "the default auction in which every client keeps at most m_i of the offers that it "
        "accepts, those of largest margin, is truthful and within budget",
        r"u_i(b_i', b_{-i}; c_i) \le u_i(c_i, b_{-i}; c_i),\quad \sum_{i,s} p_{is} \le B",
        (
            "max_min_fair_capacities",
            "max_min_fair_capacities_kept",
            "max_min_fair_capacities_within_budget",
        ),
        one_too_many,
    ),
)
