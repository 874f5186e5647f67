"""What is proved of CLW, the rule for clients that do at most one task, and what only on paper."""

from __future__ import annotations

from typing import Any

import numpy as np

from mechanisms import Outcome, max_min_fair
from proofs.claim import BOUND, COUNTEREXAMPLE, IDENTITY, Claim
from proofs.incentives import laws
from proofs.rocq.clearing_levels import Market, clearing_levels, recruit
from proofs.rocq.outcomes import Outcomes, Rows, share_outcome
from proofs.rocq.theorems import claim

EVERY = 4
"""Every fourth recorded auction is compared: the definition takes 10 ms an auction."""


def first_task_won(bids: Any, budget: Any) -> Outcome:
    """The default auction, of which a client keeps the first task that it wins."""
    found = max_min_fair(bids, budget)
    first = found.winners & (found.winners.cumsum(axis=1) == 1)
    return Outcome(first, np.where(first, found.payments, 0), found.level)


def at_the_bid(bids: Any, budget: Any) -> Outcome:
    """The recruits of CLW at their own bids."""
    found = clearing_levels(bids, budget)
    return Outcome(found.winners, np.where(found.winners, bids, 0), found.level)


def without_slack(bids: Any, budget: Any) -> Outcome:
    """CLW with nothing put aside for unequal counts: within budget nearly always."""
    return recruit(lambda *known: Market(*known, slack=False), bids, budget)


def without_tie_breaks(bids: Any, budget: Any) -> Outcome:
    """CLW in which the cheapest of equal costs goes by the order of tasks alone."""
    return recruit(Untied, bids, budget)


class Untied(Market):
    """Costs of quotas without the number that breaks ties."""

    def __init__(self, rows: Any, num_tasks: int, top: int) -> None:
        super().__init__([[(s, (bid[0], 0)) for s, bid in row] for row in rows], num_tasks, top)

    def served(self, own: Any, k: int, cap: Any) -> tuple[int, Any] | None:
        """The task that a client takes and its price, or None."""
        return super().served([(s, (bid[0], 0)) for s, bid in own], k, cap)


def _clearing(outcomes: Outcomes) -> Rows:
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
        clearing_levels,
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
        first_task_won,
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
        r"C(q) = \min \{ \sum_i c_{i \sigma(i)} : |\sigma^{-1}(s)| = q_s \}",
        (
            "least_cost_is_least",
            "least_cost_is_reached",
            "least_cost_by_table",
            "clw_cost_with_outsiders",
        ),
        without_tie_breaks,
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
        without_tie_breaks,
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
        without_slack,
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
        without_slack,
        COUNTEREXAMPLE,
    ),
)
