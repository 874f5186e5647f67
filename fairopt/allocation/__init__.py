"""Alpha-fair allocation of links, budgets or machines, one room per part.

`api` states the public functions and `result` what they return; `problem` is what the caller
stated, `residual` judges any point of it, `presolve` takes away units and what is superfluous,
`solve` chooses a method and gives the status, `methods` has one file per method, `multipath` the
same for flows that may split over several paths, `sensitivity` derivatives of an answer.
"""

from fairopt.allocation.api import allocation_residual, alpha_fair_allocation
from fairopt.allocation.multipath.api import alpha_fair_path_allocation, path_allocation_residual
from fairopt.allocation.multipath.result import PathAllocation
from fairopt.allocation.result import Allocation
from fairopt.allocation.sensitivity import Sensitivity, allocation_sensitivity

__all__ = [
    "alpha_fair_allocation",
    "allocation_residual",
    "Allocation",
    "alpha_fair_path_allocation",
    "path_allocation_residual",
    "PathAllocation",
    "allocation_sensitivity",
    "Sensitivity",
]
