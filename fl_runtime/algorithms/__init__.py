"""Algorithms by name: frozen records of hyper-parameters with pure functions of a state."""

from collections.abc import Mapping
from typing import Any

from fl_runtime.algorithms.asynchronous import Asynchronous, ByArrival
from fl_runtime.algorithms.base import Algorithm, InRounds, ServerState, weighted_mean_step
from fl_runtime.algorithms.ditto import Ditto
from fl_runtime.algorithms.fair_grad import FairGradTraining, Nash
from fl_runtime.algorithms.fed_ast import FedAST, FedASTNoBuffer
from fl_runtime.algorithms.fed_async import FedAsync
from fl_runtime.algorithms.fed_avg import FedAvg, FedProx
from fl_runtime.algorithms.fed_buff import FedBuff
from fl_runtime.algorithms.fed_fair_mmfl import FedFairMMFL
from fl_runtime.algorithms.fed_hca2 import FedHCA2
from fl_runtime.algorithms.fed_ram import FedRAM
from fl_runtime.algorithms.one_task_per_client import OneTaskPerClient, RandomAllocation, RoundRobin
from fl_runtime.algorithms.personal import FedPer, Local
from fl_runtime.algorithms.q_ffl import QFFL, QFFLReleased
from fl_runtime.algorithms.shared_trunk import SharedTrunk
from fl_runtime.algorithms.sync_st import SyncST
from fl_runtime.algorithms.synchronous import Synchronous
from fl_runtime.algorithms.trunk_directions import (
    MGDA,
    CAGrad,
    LinearScalarisation,
    PCGradTraining,
    UPGradTraining,
)

ALGORITHMS: Mapping[str, type[Any]] = {
    "fed-fair-mmfl": FedFairMMFL,
    "random": RandomAllocation,
    "round-robin": RoundRobin,
    "fed-avg": FedAvg,
    "fed-prox": FedProx,
    "q-ffl": QFFL,
    "q-ffl-released": QFFLReleased,
    "fair-grad": FairGradTraining,
    "nash": Nash,
    "linear-scalarisation": LinearScalarisation,
    "mgda": MGDA,
    "pcgrad": PCGradTraining,
    "cagrad": CAGrad,
    "upgrad": UPGradTraining,
    "fed-ram": FedRAM,
    "fed-buff": FedBuff,
    "fed-async": FedAsync,
    "fed-ast": FedAST,
    "fed-ast-no-buffer": FedASTNoBuffer,
    "sync-st": SyncST,
    "fed-hca2": FedHCA2,
    "local": Local,
    "fed-per": FedPer,
    "ditto": Ditto,
}
"""Names in a configuration; the fields of each record are its hyper-parameters."""

__all__ = [
    "ALGORITHMS",
    "Algorithm",
    "Asynchronous",
    "ByArrival",
    "CAGrad",
    "Ditto",
    "FairGradTraining",
    "FedAST",
    "FedASTNoBuffer",
    "FedAsync",
    "FedAvg",
    "FedBuff",
    "FedFairMMFL",
    "FedHCA2",
    "FedPer",
    "FedProx",
    "FedRAM",
    "InRounds",
    "LinearScalarisation",
    "Local",
    "MGDA",
    "Nash",
    "OneTaskPerClient",
    "PCGradTraining",
    "QFFL",
    "QFFLReleased",
    "RandomAllocation",
    "RoundRobin",
    "ServerState",
    "SharedTrunk",
    "SyncST",
    "Synchronous",
    "UPGradTraining",
    "weighted_mean_step",
]
