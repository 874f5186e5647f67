"""Budget-feasible auctions that recruit clients for several tasks, and audits of truthfulness.

Importing the package loads NumPy only; compiled kernels are loaded by the first float auction.
`auctions` holds the rules, `audits` the checks of any rule, `studies` comparisons of rules, and
`report` tables and plots; `reading` has bids from files and data frames, `bids` and `outcome` are
what goes in and comes out.

Example:
    Four clients bid on two tasks; the budget is 24.

    >>> import numpy as np
    >>> from mechanisms import max_min_fair
    >>> bids = np.array([[2.0, 9.0], [3.0, 4.0], [5.0, 1.0], [8.0, 6.0]])
    >>> outcome = max_min_fair(bids, 24.0)
    >>> outcome.take_up, outcome.spend
    (array([2, 2]), 22.0)
    >>> outcome.utilities(bids)
    array([3., 4., 5., 0.])
"""

from mechanisms.auctions.baselines import cheapest_first, random_recruitment
from mechanisms.auctions.budget_fair import budget_fair
from mechanisms.auctions.capacity_max_min import capacity_max_min
from mechanisms.auctions.clock_auction import clock_auction
from mechanisms.auctions.coverage_share import coverage_share
from mechanisms.auctions.greedy_max_min import greedy_max_min
from mechanisms.auctions.leave_one_out_level import leave_one_out_level
from mechanisms.auctions.level_max_min import level_max_min
from mechanisms.auctions.max_min_fair import max_min_fair
from mechanisms.auctions.online_posted_price import online_posted_price
from mechanisms.auctions.participation_fee import participation_fee
from mechanisms.auctions.posted_price import posted_price, sampled_posted_price
from mechanisms.auctions.proportional_share import proportional_share
from mechanisms.auctions.quality_level import quality_level
from mechanisms.auctions.quality_pruning import quality_pruning
from mechanisms.auctions.quality_share import quality_share
from mechanisms.auctions.registry import RuleOptions, named_rule
from mechanisms.audits.audit import audit
from mechanisms.audits.collusion_search import find_limits
from mechanisms.audits.report import AuditReport
from mechanisms.audits.symbolic.prove import ProofReport, ProofStatus, prove
from mechanisms.bids import exactly
from mechanisms.outcome import Mechanism, Outcome
from mechanisms.reading.bids import read_bids
from mechanisms.reading.headings import NamedBids
from mechanisms.studies.cost_distributions import draw_costs, scenario

__all__ = [
    "AuditReport",
    "Mechanism",
    "NamedBids",
    "Outcome",
    "ProofReport",
    "ProofStatus",
    "RuleOptions",
    "audit",
    "budget_fair",
    "capacity_max_min",
    "cheapest_first",
    "clock_auction",
    "coverage_share",
    "draw_costs",
    "exactly",
    "find_limits",
    "greedy_max_min",
    "leave_one_out_level",
    "level_max_min",
    "max_min_fair",
    "named_rule",
    "online_posted_price",
    "participation_fee",
    "posted_price",
    "prove",
    "proportional_share",
    "quality_level",
    "quality_pruning",
    "quality_share",
    "random_recruitment",
    "read_bids",
    "sampled_posted_price",
    "scenario",
]
