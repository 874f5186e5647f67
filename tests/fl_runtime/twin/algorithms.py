"""The twins of all algorithms, by their names in a configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.fl_runtime.twin.arrivals import Arrivals, FedAST, FedASTNoBuffer, FedAsync, FedBuff
from tests.fl_runtime.twin.hca import FedHCA2
from tests.fl_runtime.twin.personal import Ditto, FedPer, Local
from tests.fl_runtime.twin.ram import FedRAM
from tests.fl_runtime.twin.rounds import (
    QFFL,
    FedAvg,
    FedProx,
    QFFLReleased,
    RoundRobin,
    Rounds,
    SyncST,
)
from tests.fl_runtime.twin.trunks import SharedTrunk

TRUNKS = ("fair-grad", "nash", "linear-scalarisation", "mgda", "pcgrad", "cagrad", "upgrad")

TWINS: Mapping[str, Any] = {
    "fed-fair-mmfl": Rounds,
    "random": Rounds,
    "round-robin": RoundRobin,
    "fed-avg": FedAvg,
    "fed-prox": FedProx,
    "q-ffl": QFFL,
    "q-ffl-released": QFFLReleased,
    **dict.fromkeys(TRUNKS, SharedTrunk),
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

__all__ = ["Arrivals", "TRUNKS", "TWINS"]
