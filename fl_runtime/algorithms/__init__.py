"""Algorithms by name: frozen records of hyper-parameters with pure functions of a state."""

from collections.abc import Mapping

from fl_runtime.algorithms.allocation import (
    FedFairMMFL,
    OneTaskPerClient,
    RandomAllocation,
    RoundRobin,
)
from fl_runtime.algorithms.base import Algorithm, ServerState, weighted_mean_step

ALGORITHMS: Mapping[str, type[OneTaskPerClient]] = {
    "fed-fair-mmfl": FedFairMMFL,
    "random": RandomAllocation,
    "round-robin": RoundRobin,
}
"""Names in a configuration; the fields of each record are its hyper-parameters."""

__all__ = [
    "ALGORITHMS",
    "Algorithm",
    "FedFairMMFL",
    "OneTaskPerClient",
    "RandomAllocation",
    "RoundRobin",
    "ServerState",
    "weighted_mean_step",
]
