"""The stacked executor gives what the sequential one gives."""

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from fl_runtime import stacked
from fl_runtime.data import load_dataset
from fl_runtime.executor import Job, SequentialExecutor, Update
from fl_runtime.experiment import run
from fl_runtime.models import build_model
from fl_runtime.partitions import IID
from fl_runtime.stacked import StackedExecutor, clients_per_chunk, stackable
from fl_runtime.task import Examples, LocalTraining, Task, float_state, make_task
from tests.fl_runtime.small import config

ONE_ROUND = 1e-6  # agreement after one local training; later rounds amplify float order


def ragged_task(model: str, hidden: list[int], settings: LocalTraining) -> Task:
    """Digits on seven clients with 3 to 21 examples each."""
    data = load_dataset("digits")
    module = build_model(model, data.features.shape[1:], 10, hidden, seed=0)
    task = make_task("digits", data, module, settings, IID(), num_clients=40, seed=0)
    shards = tuple(
        Examples(s.features[: 3 + 3 * k], s.labels[: 3 + 3 * k])
        for k, s in enumerate(task.shards[:7])
    )
    return replace(task, shards=shards)


def jobs_of(task: Task, clients: list[int], spread: float = 0.0) -> list[Job]:
    """Jobs that start from different parameters if there is a spread."""
    draws = torch.Generator().manual_seed(0)
    return [
        Job(
            task.name,
            client,
            version=2,
            sent_at=0.0,
            payload={
                key: value + spread * torch.randn(value.shape, generator=draws)
                for key, value in task.initial.items()
            },
            seed=10 + client,
        )
        for client in clients
    ]


def both(task: Task, jobs: list[Job]) -> tuple[list[Update], list[Update]]:
    found = []
    for executor in (SequentialExecutor([task]), StackedExecutor([task])):
        executor.submit(jobs)
        found.append(executor.poll())
    return found[0], found[1]


def assert_same(first: list[Update], second: list[Update]) -> None:
    assert len(first) == len(second)
    for one, two in zip(first, second, strict=True):
        assert (one.task, one.client, one.version) == (two.task, two.client, two.version)
        assert one.num_examples == two.num_examples
        assert one.metrics["train_loss"] == pytest.approx(two.metrics["train_loss"], abs=1e-5)
        for key in one.delta:
            torch.testing.assert_close(two.delta[key], one.delta[key], rtol=0, atol=ONE_ROUND)


@pytest.mark.parametrize(
    ("model", "hidden"), [("linear", []), ("mlp", [12]), ("cnn", [8]), ("transformer", [])]
)
def test_ragged_clients_agree_with_the_twin(model: str, hidden: list[int]) -> None:
    task = ragged_task(model, hidden, LocalTraining(0.05, 2, 8))
    assert stackable(task)
    assert_same(*both(task, jobs_of(task, [3, 0, 6, 6, 1])))


@pytest.mark.parametrize("batch_size", [1, 5, 1000])
def test_momentum_decay_and_other_payloads(batch_size: int) -> None:
    settings = LocalTraining(0.02, 3, batch_size, momentum=0.9, weight_decay=0.01)
    task = ragged_task("mlp", [6], settings)
    assert_same(*both(task, jobs_of(task, list(range(7)), spread=0.1)))


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    task = ragged_task("linear", [], LocalTraining(0.05, 1, 4))
    jobs = jobs_of(task, list(range(7)))
    whole = stacked.train_stack(task, jobs)
    monkeypatch.setattr(stacked, "MEMORY_BUDGET", 1)
    assert clients_per_chunk(task) == 1
    executor = StackedExecutor([task])
    executor.submit(jobs)
    assert_same(whole, executor.poll())


class Normed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Linear(64, 10))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)


class Data(nn.Module):
    """Its path depends on the data, which vmap cannot follow."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        flat = x.flatten(1)
        return self.out(flat if float(flat.sum()) > 0 else -flat)


@pytest.mark.parametrize(
    "model",
    [Normed(), nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 10)), Data()],
    ids=["batch norm", "dropout", "data-dependent"],
)
def test_what_cannot_be_stacked_is_trained_by_the_twin(
    model: nn.Module, caplog: pytest.LogCaptureFixture
) -> None:
    plain = ragged_task("linear", [], LocalTraining(0.05, 1, 30))
    state = {key: value.clone() for key, value in float_state(model).items()}
    task = replace(plain, model=model, initial=state)
    assert not stackable(task)
    with caplog.at_level(logging.WARNING):
        first, second = both(task, jobs_of(task, [0, 2]))
    assert caplog.text.count("one by one") == 1
    for one, two in zip(first, second, strict=True):
        assert all(torch.equal(one.delta[key], two.delta[key]) for key in one.delta)


@pytest.mark.parametrize("algorithm", ["fed-fair-mmfl", "random", "round-robin"])
def test_a_round_of_every_algorithm_agrees(algorithm: str) -> None:
    rows = []
    for executor in ("sequential", "stacked"):
        history = run(
            config(
                run={
                    "algorithm": algorithm,
                    "executor": executor,
                    "num_server_rounds": 1,
                    "seeds": [0],
                },
                algorithm={},
            ).model_copy(update={"algorithm": {}, "arm": ()})
        )
        rows.append(history.rounds(algorithm, 0)[0])
    for key, value in rows[0].items():
        if isinstance(value, float):
            assert rows[1][key] == pytest.approx(value, abs=1e-5), key
    assert np.isfinite(rows[0]["train_loss"])
