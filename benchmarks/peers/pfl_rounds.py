"""Seconds per round of pfl's simulation; run as a process of its own, prints JSON.

    python -m benchmarks.peers.pfl_rounds "digits mlp 64-32-10" CLIENTS ROUNDS

Federated averaging with the simulated backend of pfl 0.6, one process, no evaluation. The first
round is left out.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from types import MethodType
from typing import Any

import torch
from pfl.aggregate.simulate import SimulatedBackend
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.data.dataset import Dataset
from pfl.data.federated_dataset import FederatedDataset
from pfl.hyperparam.base import NNTrainHyperParams
from pfl.metrics import Metrics
from pfl.model.pytorch import PyTorchModel
from torch import Tensor, nn

from benchmarks.peers.workload import LEARNING_RATE, WORKLOADS, Workload, build, shard


def module(workload: Workload) -> nn.Module:
    """The common model with the two methods that pfl asks for."""
    model = build(workload)

    def loss(self: nn.Module, features: Tensor, labels: Tensor, eval: bool = False) -> Tensor:
        self.train(not eval)
        return nn.functional.cross_entropy(self(features), labels)

    model.loss = MethodType(loss, model)  # type: ignore[assignment]
    model.metrics = MethodType(lambda self, *data, **options: {}, model)  # type: ignore[assignment]
    return model


class Clock(TrainingProcessCallback):  # type: ignore[misc]
    """Notes when each round ends."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def after_central_iteration(
        self, aggregate_metrics: Any, model: Any, *, central_iteration: int
    ) -> tuple[bool, Any]:
        """Never stops."""
        self.times.append(time.perf_counter())
        return False, Metrics()


def main(name: str, clients: int, rounds: int) -> list[float]:
    """Time whole rounds."""
    torch.set_num_threads(1)
    logging.disable(logging.INFO)
    workload = WORKLOADS[name]
    users = iter(range(10**9))
    data = FederatedDataset(
        lambda user: Dataset(shard(workload, user)), lambda: next(users) % workload.population
    )
    network = module(workload)
    model = PyTorchModel(network, torch.optim.SGD, torch.optim.SGD(network.parameters(), lr=1.0))
    clock = Clock()
    FederatedAveraging().run(
        NNAlgorithmParams(
            central_num_iterations=rounds + 1,
            evaluation_frequency=10**9,
            train_cohort_size=clients,
            val_cohort_size=0,
        ),
        SimulatedBackend(data, data),
        model,
        NNTrainHyperParams(
            local_batch_size=workload.batch,
            local_num_epochs=1,
            local_learning_rate=LEARNING_RATE,
        ),
        callbacks=[clock],
    )
    return [later - earlier for earlier, later in zip(clock.times, clock.times[1:], strict=False)]


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
