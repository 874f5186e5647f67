"""Alpha-fair allocation of links, budgets or machines, one folder or file per part.

`api` states the public functions and `result` what they return, `reused_problem` is a problem to
solve again and again; `routes` is what follows from a routing alone, `problem` the checked problem,
`residual` the optimality residual of any point of it, `presolve` scales it and drops redundant
links, `solve` chooses a method and gives the status, `finite_alpha` combines the methods for
finite alpha, `methods` has one file per method (`method_result` is what they return), `multipath`
the same for flows that may split over several paths, `polytope` utilities that are linear in a
point of any polytope, `sensitivity` derivatives of an answer.
"""

from fairopt.allocation.api import allocation_residual, alpha_fair_allocation
from fairopt.allocation.multipath.api import alpha_fair_path_allocation, path_allocation_residual
from fairopt.allocation.multipath.result import PathAllocation
from fairopt.allocation.multipath.reused_problem import PathAllocationProblem
from fairopt.allocation.polytope.api import alpha_fair_on_polytope, polytope_certificate
from fairopt.allocation.polytope.certificate import Certificate
from fairopt.allocation.polytope.result import PolytopeAllocation
from fairopt.allocation.result import Allocation
from fairopt.allocation.reused_problem import AllocationProblem
from fairopt.allocation.sensitivity import Sensitivity, allocation_sensitivity

__all__ = [
    "alpha_fair_allocation",
    "allocation_residual",
    "Allocation",
    "AllocationProblem",
    "alpha_fair_path_allocation",
    "path_allocation_residual",
    "PathAllocation",
    "PathAllocationProblem",
    "alpha_fair_on_polytope",
    "polytope_certificate",
    "PolytopeAllocation",
    "Certificate",
    "allocation_sensitivity",
    "Sensitivity",
]
