"""Seconds per round of Flower's simulation; run as a process of its own, prints JSON.

    python -m benchmarks.peers.flower_rounds "digits mlp 64-32-10" CLIENTS ROUNDS

Uses the message interface of flwr 1.41 with its Ray backend: one training message per client and
round, federated averaging, no evaluation. The first round starts Ray and is left out.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time

os.environ.update(
    FLWR_TELEMETRY_ENABLED="0", FLWR_DISABLE_UPDATE_CHECK="1", RAY_USAGE_STATS_ENABLED="0"
)

import itertools

from flwr.app import ArrayRecord, ConfigRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation

from benchmarks.peers import flower_client
from benchmarks.peers.workload import WORKLOADS, build


def main(name: str, clients: int, rounds: int) -> list[float]:
    """Time whole rounds."""
    times: list[float] = []

    class Timed(FedAvg):
        """Notes when each round's answers have been aggregated."""

        def aggregate_train(self, server_round, replies):  # type: ignore[no-untyped-def]
            found = super().aggregate_train(server_round, replies)
            times.append(time.perf_counter())
            return found

    server = ServerApp()

    @server.main()
    def go(grid: Grid, context: Context) -> None:
        strategy = Timed(fraction_evaluate=0.0, min_evaluate_nodes=0)
        arrays = ArrayRecord(build(WORKLOADS[name]).state_dict())
        strategy.start(
            grid, arrays, num_rounds=rounds + 1, train_config=ConfigRecord({"workload": name})
        )

    logging.disable(logging.INFO)
    one = {"num_cpus": 1, "num_gpus": 0.0}
    run_simulation(
        server, flower_client.app, num_supernodes=clients, backend_config={"client_resources": one}
    )
    return [later - earlier for earlier, later in itertools.pairwise(times)]


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
