"""What is proved of CLW, the rule for clients that do at most one task, and what only on paper."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mechanisms import Outcome, capacity_max_min
from mechanisms.auctions.exact import clearing_levels
from mechanisms.auctions.exact.perturbed import Perturbed
from mechanisms.auctions.exact.ranking import exact_outcome
from proofs.claim import BOUND, COUNTEREXAMPLE, IDENTITY, Claim
from proofs.incentives import laws
from proofs.incentives.capacities import first_task, recruits_without_slack
from proofs.rocq.outcomes import Outcomes, Rows, share_outcome
from proofs.rocq.theorems import claim

EVERY = 1
"""Every recorded auction is compared."""


def at_the_bid(bids: Any, budget: Any) -> Outcome:
    """The recruits of CLW at their own bids."""
    found = capacity_max_min(bids, budget)
    return Outcome(found.winners, np.where(found.winners, bids, 0), found.level)


def with_ties_turned(bids: Any, budget: Any) -> Outcome:
    """CLW in which of equal costs the earlier cell is the dearer one."""
    last = bids.size - 1
    costs = [
        [None if bid == math.inf else Perturbed(bid, 1 << (last - cell)) for cell, bid in row]
        for row in np.array(list(enumerate(bids.flat)), dtype=object).reshape(*bids.shape, 2)
    ]
    market = clearing_levels.Market([1] * bids.shape[1], [1] * len(bids), budget)
    return exact_outcome(clearing_levels.single_task_prices(market, costs), bids.shape)


def _clearing(outcomes: Outcomes) -> Rows:
    """Outcomes of the rule with a capacity of one."""
    return outcomes.clearing_levels


def about_clearing(
    name: str, statement: str, formula: str, theorems: tuple[str, ...], control: Any, kind: str
) -> Claim:
    """A row of theorems about CLW."""
    return claim(
        name,
        statement,
        formula,
        theorems,
        capacity_max_min,
        control,
        run=share_outcome,
        expected=_clearing,
        kind=kind,
        every=EVERY,
    )


CLAIMS = (
    about_clearing(
        "clearing-levels-truthful",
        "clients that do at most one task: whatever functions of the others' bids give a client's "
        "level and cap, none gains by misreporting all its costs at once, in CLW or in any rule "
        "that serves the best item of a menu that the client's bids do not enter",
        laws.TRUTHFUL,
        (
            "clw_truthful",
            "clw_menu_reads_others_only",
            "clw_serves_the_best_item",
            "any_clearing_level_truthful",
            "unit_demand_menu_truthful",
        ),
        first_task,
        BOUND,
    ),
    about_clearing(
        "clearing-levels-individually-rational",
        "a recruit of CLW is paid at least its bid, and the truth earns at least 0",
        laws.RATIONAL,
        ("clw_individually_rational", "clw_participation"),
        at_the_bid,
        BOUND,
    ),
    about_clearing(
        "least-cost-of-quotas",
        "the least cost of giving every task its quota of clients, who do at most one task each, "
        "is what the table of CLW holds, and is reached; with outsiders at a price it is the "
        "least of lines, as CLW computes it",
        r"C(q) = \min \{ \sum_i c_{i \sigma(i)} : \lvert \sigma^{-1}(s) \rvert = q_s \}",
        (
            "least_cost_is_least",
            "least_cost_is_reached",
            "least_cost_by_table",
            "clw_cost_with_outsiders",
        ),
        with_ties_turned,
        IDENTITY,
    ),
    about_clearing(
        "clients-are-substitutes",
        "marginal costs of quotas grow with the quotas and do not rise when clients are added, "
        "and those of the others at one level are at most those of all at the next; with one "
        "place more everybody who works goes on working",
        r"C(q + e_s) + C(q + e_t) \le C(q + e_s + e_t) + C(q),\quad "
        r"C_{-i}(q + e_t) - C_{-i}(q) \le C(q + 1 + e_t) - C(q + 1)",
        (
            "least_cost_substitutes",
            "least_cost_more_clients",
            "least_cost_one_level",
            "least_cost_one_level_below",
            "least_cost_recruits_stay",
        ),
        with_ties_turned,
        BOUND,
    ),
    about_clearing(
        "spend-bound-covers-unequal-counts",
        "the spend bound of CLW is within the budget at its cap, and at least what counts within S "
        "of the level cost at its prices; a level whose double and S - 1 more the budget pays for "
        "is within the bound. That the recruits of CLW have such counts and prices, hence the "
        "budget, is proved on paper",
        r"\sum_s A_s p_s + (x_s - A_s) m_s \le g_k(p, m),\quad "
        r"C(2k + S - 1) \le B \Rightarrow g_k \le B",
        ("clw_cap_within_budget", "clw_spend_bound_covers", "clw_affordable_level_fits"),
        recruits_without_slack,
        BOUND,
    ),
    about_clearing(
        "relatives-of-clearing-levels-fail",
        "for clients that do at most one task neither the default auction of which a client keeps "
        "the first task that it wins nor one level for all is truthful; CLW without slack for "
        "unequal counts pays 7 of a budget of 6",
        r"\neg\, \forall b:\ \sum_{i,s} p_{is}(b) \le B",
        (
            "first_task_of_default_not_truthful",
            "one_clearing_level_not_truthful",
            "clw_without_slack_overspends",
        ),
        recruits_without_slack,
        COUNTEREXAMPLE,
    ),
)
