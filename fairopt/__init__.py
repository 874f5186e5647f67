"""Exact, fast solvers for sharing fairly; every answer has a status and a recomputed residual.

Three task gradients, two of which agree; which direction serves all of them fairly?

    >>> import numpy as np
    >>> import fairopt
    >>> gradients = np.array([[1.0, 0.2, 0.0], [0.9, 0.1, 0.1], [-0.5, 1.0, 0.0]])
    >>> solution = fairopt.fairgrad(gradients @ gradients.T, alpha=2.0).require()
    >>> direction = solution.weights @ gradients
    >>> (gradients @ direction > 0).all()  # progress on every task
    np.True_
    >>> solution.residual < 1e-10  # recomputed from the problem, not taken from the solver
    True

Opposite gradients have no such direction, and the status tells:

    >>> fairopt.fairgrad([[1.0, -1.0], [-1.0, 1.0]], alpha=2.0).status.name
    'PARETO_STATIONARY'

Send clients to the tasks that need them (the loss of the second task is twice the first):

    >>> fairopt.client_task_probabilities([0.5, 1.0], alpha=3.0)
    array([0.2, 0.8])

Share two links between three flows, fairly, with prices:

    >>> found = fairopt.alpha_fair_allocation([[1, 1, 0], [1, 0, 1]], [1.0, 1.0], alpha=1.0)
    >>> found.require().rates.round(3), found.prices.round(3)
    (array([0.333, 0.667, 0.667]), array([1.5, 1.5]))

Importing this package loads NumPy only; compiled kernels are loaded by the first call that needs
one, PyTorch by `fairopt.torch`, and cvxpy by `fairopt.reference`.
"""

import importlib
from typing import TYPE_CHECKING, Any

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
from fairopt.alpha_choice import suggest_alpha
from fairopt.client_allocation import client_task_probabilities
from fairopt.conflict_averse import conflict_averse, conflict_averse_residual
from fairopt.conflict_averse_gradients import conflict_averse_from_gradients
from fairopt.cross_attention import cross_attention_weights
from fairopt.dual_cone import dual_cone_projection, dual_cone_residual, upgrad
from fairopt.dual_cone_gradients import dual_cone_from_gradients, upgrad_from_gradients
from fairopt.errors import InvalidInput, NotSolved
from fairopt.extras import MissingExtra
from fairopt.fairgrad import fairgrad, fairgrad_residual
from fairopt.learning_progress import learning_progress
from fairopt.min_norm import min_norm, min_norm_residual
from fairopt.min_norm_gradients import min_norm_from_gradients
from fairopt.multiplicative_weights import multiplicative_weights, suggest_rate
from fairopt.pareto import (
    ParetoCertificate,
    Verdict,
    pareto_certificate,
    pareto_certificate_from_gradients,
)
from fairopt.request_allocation import reference_request_allocation, request_allocation
from fairopt.solution import Solution, Status
from fairopt.utility import AlphaFair

__all__ = [
    "fairgrad",
    "fairgrad_residual",
    "min_norm",
    "min_norm_residual",
    "min_norm_from_gradients",
    "conflict_averse",
    "conflict_averse_residual",
    "conflict_averse_from_gradients",
    "dual_cone_projection",
    "dual_cone_residual",
    "upgrad",
    "dual_cone_from_gradients",
    "upgrad_from_gradients",
    "pareto_certificate",
    "pareto_certificate_from_gradients",
    "ParetoCertificate",
    "Verdict",
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
    "Solution",
    "Status",
    "AlphaFair",
    "client_task_probabilities",
    "suggest_alpha",
    "learning_progress",
    "request_allocation",
    "reference_request_allocation",
    "multiplicative_weights",
    "suggest_rate",
    "cross_attention_weights",
    "InvalidInput",
    "NotSolved",
    "MissingExtra",
]

__version__ = "0.1.0"

if not TYPE_CHECKING:  # which knows the packages as they are

    def __getattr__(name: str) -> Any:
        """The parts that need more than NumPy, loaded when they are named."""
        if name in ("network", "reference", "rivals", "torch"):
            return importlib.import_module(f"fairopt.{name}")
        raise AttributeError(f"module 'fairopt' has no attribute {name!r}")
