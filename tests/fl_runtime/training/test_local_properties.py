"""What local training reports, keeps and is pulled to, whatever the settings."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fl_runtime.algorithms.update_variance import local_steps
from fl_runtime.data.dataset import Dataset
from fl_runtime.data.partitions import IID
from fl_runtime.execution.sequential import SequentialExecutor
from fl_runtime.training.job import Job
from fl_runtime.training.job_options import JobOptions
from fl_runtime.training.joint_training import train_jointly
from fl_runtime.training.local_training import (
    Client,
    index_batches,
    mean_loss,
    train_locally,
)
from fl_runtime.training.models import build_model
from fl_runtime.training.optimizers import make_optimizer, optimizer_state
from fl_runtime.training.task import (
    Evaluation,
    Examples,
    LocalTraining,
    Task,
    float_state,
    load_params,
)
from fl_runtime.training.task_from_data import make_task

RNG = np.random.default_rng(5)
STILL = 1e-12
"""A step size that changes no loss that float32 can tell."""


def examples(count: int) -> Examples:
    features = RNG.normal(size=(count, 3)).astype(np.float32)
    return Examples(torch.from_numpy(features), torch.from_numpy(RNG.integers(4, size=count)))


def linear(seed: int = 1) -> tuple[nn.Module, dict[str, torch.Tensor]]:
    model = build_model("linear", (3,), 4, [], seed=seed)
    return model, {key: value.clone() for key, value in float_state(model).items()}


def task_of(
    name: str, shards: tuple[Examples, ...], how: LocalTraining, model: nn.Module | None = None
) -> Task:
    module = linear()[0] if model is None else model
    initial = {key: value.clone() for key, value in float_state(module).items()}
    fixed = {k: v.clone() for k, v in module.state_dict().items() if k not in initial}
    return Task(name, module, initial, shards, examples(4), examples(4), how, fixed)


def job(task: Task, client: int = 0, **config: Any) -> Job:
    return Job(task.name, client, 0, 0.0, task.initial, seed=7, config=config)


@given(count=st.integers(1, 12), batch=st.integers(1, 13), epochs=st.integers(1, 3))
def test_steps_are_the_batches_there_are(count: int, batch: int, epochs: int) -> None:
    how = LocalTraining(0.1, epochs, batch)
    batches = index_batches(count, how, 0)
    assert local_steps(how, count) == len(batches) == epochs * math.ceil(count / batch)
    assert sorted(torch.cat(batches).tolist()) == sorted(list(range(count)) * epochs)


@settings(max_examples=40)
@given(count=st.integers(1, 12), batch=st.integers(1, 13), epochs=st.integers(1, 2))
def test_the_training_loss_is_a_mean_over_examples(count: int, batch: int, epochs: int) -> None:
    """Where steps are too small to matter it is the loss before, however batches are cut."""
    model, start = linear()
    shard, how = examples(count), LocalTraining(STILL, epochs, batch)
    found = train_locally(model, start, Client(shard, 0, JobOptions(measure_start=True)), how)
    assert found.metrics["train_loss"] == pytest.approx(found.metrics["start_loss"], rel=1e-5)


@settings(max_examples=30)
@given(counts=st.tuples(st.integers(1, 9), st.integers(1, 9)), batch=st.integers(1, 10))
def test_joint_training_uses_every_example_of_every_task(
    counts: tuple[int, int], batch: int
) -> None:
    how = LocalTraining(STILL, 1, batch)
    hidden = [build_model("mlp", (3,), 4, [5], seed=3) for _ in counts]
    tasks = [
        task_of(name, (examples(count),), how, model)
        for name, count, model in zip("ab", counts, hidden, strict=True)
    ]
    shared = ("1.weight", "1.bias")
    joint = {"method": "mean", "length": "own"}
    jobs = [job(task, joint=joint, shared=shared) for task in tasks]
    jobs = [replace(each, payload={**each.payload}) for each in jobs]
    found = train_jointly(tasks, jobs)
    steps = max(math.ceil(count / batch) for count in counts)
    counted = [sum(v for k, v in one.metrics.items() if k.endswith("_steps")) for one in found]
    assert counted == [steps, 0]
    for one, task in zip(found, tasks, strict=True):
        load_params(task.model, task.initial)
        wanted = float(mean_loss(task.model, task.shards[0]))
        assert one.metrics["train_loss"] == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("together", [False, True])
@given(pull=st.floats(0.1, 3.0), where=st.floats(-2.0, 2.0))
@settings(max_examples=20)
def test_one_step_is_pulled_to_the_anchor(together: bool, pull: float, where: float) -> None:
    """By the step size times the pull times the distance of the payload."""
    how = LocalTraining(0.1, 1, 20)
    task = task_of("a", (examples(6),), how, build_model("mlp", (3,), 4, [5], seed=3))
    anchor = {key: torch.full_like(value, where) for key, value in task.initial.items()}
    joint = {"joint": {"method": "mean", "length": "own"}, "shared": ("1.weight", "1.bias")}
    options: dict[str, Any] = joint if together else {}
    executor = SequentialExecutor([task])
    executor.submit([job(task, **options)])
    (free,) = executor.poll()
    executor.submit([job(task, **options, proximal=pull, anchor=anchor)])
    (held,) = executor.poll()
    for key, start in task.initial.items():
        wanted = free.delta[key] - 0.1 * pull * (start - anchor[key])
        torch.testing.assert_close(held.delta[key], wanted, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("persist", [False, True])
def test_what_else_a_client_keeps_comes_back(persist: bool) -> None:
    how = LocalTraining(0.1, 1, 4, momentum=0.9, persist_optimizer=persist)
    task = task_of("a", (examples(6),), how, build_model("mlp", (3,), 4, [5], seed=3))
    own = {"notes": torch.arange(3.0)}
    joint = {"joint": {"method": "mean", "length": "own"}, "shared": ("1.weight", "1.bias")}
    executor = SequentialExecutor([task])
    for options in ({}, joint):
        executor.submit([replace(job(task, **options), client_state=own)])
        (found,) = executor.poll()
        assert torch.equal(found.client_state["notes"], own["notes"])
        assert len(found.client_state) == (5 if persist else 1)


class Dropping(nn.Module):
    """A model that draws random numbers while it trains, and counts its passes."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 16), nn.Linear(16, 4)
        self.norm = nn.BatchNorm1d(16, momentum=None)  # a mean over all passes so far

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        hidden: torch.Tensor = torch.dropout(self.norm(self.first(x)), 0.5, self.training)
        return self.second(hidden)  # type: ignore[no-any-return]


def test_losses_are_measured_as_models_are_evaluated() -> None:
    torch.manual_seed(0)
    task = task_of("a", (examples(9),), LocalTraining(0.1, 2, 3), Dropping())
    executor = SequentialExecutor([task])
    executor.submit([job(task, measure_start=True, measure_end=True)])
    (found,) = executor.poll()
    before = task.evaluate(task.initial, task.shards[0])
    trained = {key: value + found.delta[key] for key, value in task.initial.items()}
    after = task.evaluate(trained, task.shards[0])
    assert found.metrics["start_loss"] == pytest.approx(before.loss, rel=1e-5)
    assert found.metrics["end_loss"] == pytest.approx(after.loss, rel=1e-4)


def test_no_client_sees_who_trained_before() -> None:
    torch.manual_seed(0)
    task = task_of("a", (examples(9), examples(6)), LocalTraining(0.1, 2, 3), Dropping())
    executor = SequentialExecutor([task])
    executor.submit([job(task, 1)])
    (alone,) = executor.poll()
    executor.submit([job(task, 0), job(task, 1)])
    _, later = executor.poll()
    for key in alone.delta:
        assert torch.equal(alone.delta[key], later.delta[key])
    task.evaluate(task.initial, task.shards[0])
    executor.submit([job(task, 1)])
    (last,) = executor.poll()
    assert all(torch.equal(alone.delta[key], last.delta[key]) for key in alone.delta)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_what_is_kept_does_not_change_when_training_goes_on(name: Any) -> None:
    momentum = 0.9 if name == "sgd" else 0.0
    how = LocalTraining(0.1, 1, 4, momentum=momentum, optimizer=name, persist_optimizer=True)
    weight = torch.ones(3, requires_grad=True)

    def step(optimizer: torch.optim.Optimizer, size: float) -> None:
        weight.grad = torch.full_like(weight, size)
        optimizer.step()

    first = make_optimizer({"w": weight}, how, {})
    step(first, 1.0)
    kept = optimizer_state(first, {"w": weight}, how)
    before = {key: value.clone() for key, value in kept.items()}
    step(first, 3.0)
    assert all(torch.equal(kept[key], before[key]) for key in before)
    step(make_optimizer({"w": weight}, how, kept), 5.0)
    assert all(torch.equal(kept[key], before[key]) for key in before)


def test_features_are_scaled_by_what_is_trained_on() -> None:
    """Mean zero and spread one over the shards, whatever the held-out examples are."""
    labels = np.repeat(np.arange(2), 30)
    features = RNG.normal(3.0, 5.0, (60, 3)).astype(np.float32)
    data = Dataset(features, labels.astype(np.int64), 2, standardise=True)
    model = build_model("linear", (3,), 2, [], seed=0)
    task = make_task("a", data, model, LocalTraining(0.1, 1, 4), IID(), num_clients=4, seed=0)
    rows = torch.cat([shard.features for shard in task.shards])
    torch.testing.assert_close(rows.mean(0), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(rows.std(0, correction=0), torch.ones(3), atol=1e-5, rtol=0)


@given(st.lists(st.tuples(st.floats(0.0, 9.0), st.floats(0.0, 1.0)), min_size=1, max_size=5))
def test_the_evaluation_of_several_models_is_their_mean(found: list[tuple[float, float]]) -> None:
    mean = Evaluation.mean([Evaluation.of_accuracy(*one) for one in found])
    wanted = np.mean(np.array(found), axis=0)
    np.testing.assert_allclose([mean.loss, mean.score], wanted, atol=1e-12)


@pytest.mark.parametrize(("method", "alike"), [("mean", True), ("pcgrad", False)])
def test_every_joint_step_projects_in_an_order_of_its_own(method: str, alike: bool) -> None:
    """Two steps so small that gradients stay: those of the mean are equal, those of PCGrad not."""
    shards = [examples(12) for _ in range(6)]
    moved = []
    for epochs in (1, 2):
        how = LocalTraining(1e-3, epochs, 12)
        tasks = [
            task_of(f"t{k}", (shard,), how, build_model("mlp", (3,), 4, [5], seed=3))
            for k, shard in enumerate(shards)
        ]
        joint = {"method": method, "length": "own"}
        jobs = [job(task, joint=joint, shared=("1.weight", "1.bias")) for task in tasks]
        moved.append(train_jointly(tasks, jobs)[0].delta["1.weight"] / epochs)
    off = float((moved[0] - moved[1]).norm() / moved[0].norm())
    assert (off < 0.01) == alike
