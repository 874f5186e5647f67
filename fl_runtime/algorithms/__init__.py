"""Algorithms by name: frozen records of hyper-parameters with pure functions of a state.

One file per published system:

* `fed_fair_mmfl`: FedFairMMFL (arXiv 2404.13841), alpha-fair allocation of clients to tasks
* `fair_grad`: FairGrad (2402.15638), and Nash-MTL as its alpha = 1, on a shared trunk
* `fed_ast`: FedAST (2406.00302); its requests in `fed_ast_requests`, its estimate of heterogeneity
  in `update_variance`, its synchronous arm in `sync_st`
* `fed_hca2`: FedHCA2 (2311.13250); with `fed_hca2_aggregation`, `fed_hca2_weights`
* `fed_ram`: FedRAM (NeurIPS 2025); with `fed_ram_settings`, `fed_ram_state`, `fed_ram_jobs`, and
  its formulas in `reweighting`
* `fed_avg`: FedAvg (1602.05629); `fed_prox`: FedProx (1812.06127); `q_ffl`: q-FFL (1905.10497)
* `fed_buff`: FedBuff (2106.06639); `fed_async`: FedAsync (1903.03934)
* `fed_per`: FedPer (1912.00818); `ditto`: Ditto (2012.04221)

Baselines: `one_task_per_client` (random and round-robin allocation), `personal` (local training),
`trunk_directions` (the mean, MGDA, PCGrad, CAGrad, UPGrad, GradVac, Aligned-MTL and IMTL-G on a
shared trunk), `loss_weights` (weights from losses there: RLW, DWA, uncertainty, IMTL-L, FAMO).

What they share: `base` (the protocol and the server's state), `synchronous` and `asynchronous`
(rounds, arrivals), `aggregation` (coefficients of updates), `robust_aggregation` (what stands for
their mean where some are faulty), `server_optimizers` (steps of the mean), `inclusion` (the chance
that an answer counts), `shared_trunk` and `one_trunk` (models with parts in common), `personal`
(clients with models of their own), `hooks` (which overrides are called).
"""

from collections.abc import Mapping
from typing import Any

from fl_runtime.algorithms.asynchronous import ByArrival
from fl_runtime.algorithms.base import Algorithm, ServerState
from fl_runtime.algorithms.ditto import Ditto
from fl_runtime.algorithms.fair_grad import FairGradTraining, Nash
from fl_runtime.algorithms.fed_ast import FedAST, FedASTNoBuffer
from fl_runtime.algorithms.fed_async import FedAsync
from fl_runtime.algorithms.fed_avg import FedAvg
from fl_runtime.algorithms.fed_buff import FedBuff
from fl_runtime.algorithms.fed_fair_mmfl import FedFairMMFL
from fl_runtime.algorithms.fed_hca2 import FedHCA2
from fl_runtime.algorithms.fed_per import FedPer
from fl_runtime.algorithms.fed_prox import FedProx
from fl_runtime.algorithms.fed_ram import FedRAM
from fl_runtime.algorithms.loss_weights import (
    DynamicWeightAverage,
    FAMOTraining,
    IMTLLTraining,
    RandomLossWeighting,
    ScaleInvariant,
    UncertaintyWeighting,
)
from fl_runtime.algorithms.one_task_per_client import RandomAllocation, RoundRobin
from fl_runtime.algorithms.personal import Local
from fl_runtime.algorithms.q_ffl import QFFL, QFFLReleased
from fl_runtime.algorithms.shared_trunk import SharedTrunk
from fl_runtime.algorithms.sync_st import SyncST
from fl_runtime.algorithms.synchronous import Synchronous
from fl_runtime.algorithms.trunk_directions import (
    MGDA,
    AlignedMTLTraining,
    CAGrad,
    GradVacTraining,
    IMTLGTraining,
    LinearScalarisation,
    PCGradTraining,
    UPGradTraining,
)
from fl_runtime.extensions import Kind

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
    "gradvac": GradVacTraining,
    "aligned-mtl": AlignedMTLTraining,
    "imtl-g": IMTLGTraining,
    "scale-invariant": ScaleInvariant,
    "rlw": RandomLossWeighting,
    "dwa": DynamicWeightAverage,
    "uw": UncertaintyWeighting,
    "imtl-l": IMTLLTraining,
    "famo": FAMOTraining,
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

ALGORITHM = Kind("algorithm", "run.algorithm", ALGORITHMS, Algorithm)
"""What can train the tasks."""

__all__ = [
    "ALGORITHM",
    "ALGORITHMS",
    "Algorithm",
    "AlignedMTLTraining",
    "ByArrival",
    "CAGrad",
    "Ditto",
    "DynamicWeightAverage",
    "FAMOTraining",
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
    "GradVacTraining",
    "IMTLGTraining",
    "IMTLLTraining",
    "LinearScalarisation",
    "Local",
    "MGDA",
    "Nash",
    "PCGradTraining",
    "QFFL",
    "QFFLReleased",
    "RandomAllocation",
    "RandomLossWeighting",
    "RoundRobin",
    "ScaleInvariant",
    "ServerState",
    "SharedTrunk",
    "SyncST",
    "Synchronous",
    "UPGradTraining",
    "UncertaintyWeighting",
]
