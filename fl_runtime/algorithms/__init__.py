"""Algorithms by name: frozen records of hyper-parameters with pure functions of a state."""

from collections.abc import Mapping
from typing import Any

from fl_runtime.algorithms.allocation import (
    FedFairMMFL,
    OneTaskPerClient,
    RandomAllocation,
    RoundRobin,
)
from fl_runtime.algorithms.asynchronous import Asynchronous
from fl_runtime.algorithms.base import Algorithm, InRounds, ServerState, weighted_mean_step
from fl_runtime.algorithms.buffered import FedAsync, FedBuff

ALGORITHMS: Mapping[str, type[Any]] = {
    "fed-fair-mmfl": FedFairMMFL,
    "random": RandomAllocation,
    "round-robin": RoundRobin,
    "fed-buff": FedBuff,
    "fed-async": FedAsync,
}
"""Names in a configuration; the fields of each record are its hyper-parameters."""

__all__ = [
    "ALGORITHMS",
    "Algorithm",
    "Asynchronous",
    "FedAsync",
    "FedBuff",
    "FedFairMMFL",
    "InRounds",
    "OneTaskPerClient",
    "RandomAllocation",
    "RoundRobin",
    "ServerState",
    "weighted_mean_step",
]
