"""Exact, fast solvers for sharing fairly, whose answers judge themselves.

Send clients to the tasks that need them (the loss of the second task is twice the first):

    >>> import fairopt
    >>> fairopt.client_task_probabilities([0.5, 1.0], alpha=3.0)
    array([0.2, 0.8])

Importing this package loads NumPy only; compiled kernels are loaded by the first call that needs
one, PyTorch by `fairopt.torch`, and cvxpy by `fairopt.reference`.
"""

from fairopt.client_allocation import client_task_probabilities
from fairopt.errors import InvalidInput, NotSolved

__all__ = ["InvalidInput", "NotSolved", "client_task_probabilities"]
