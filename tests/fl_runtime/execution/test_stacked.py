"""The stacked executor, and the kernel of dense models, give what the sequential one gives."""

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fl_runtime.data.partitions import IID
from fl_runtime.data.registry import load_dataset
from fl_runtime.execution import stacked
from fl_runtime.execution.executor import joint_groups
from fl_runtime.execution.sequential import SequentialExecutor
from fl_runtime.execution.stacked import (
    DenseExecutor,
    StackedExecutor,
    clients_per_chunk,
    stackable,
)
from fl_runtime.running.experiment import run
from fl_runtime.training.job import Job, Update
from fl_runtime.training.models import build_model
from fl_runtime.training.task import Examples, LocalTraining, Task, float_state
from fl_runtime.training.task_from_data import make_task
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


FAST = pytest.mark.parametrize("fast", [StackedExecutor, DenseExecutor])


def both(
    task: Task, jobs: list[Job], fast: type[StackedExecutor] = StackedExecutor
) -> tuple[list[Update], list[Update]]:
    found = []
    for executor in (SequentialExecutor([task]), fast([task])):
        executor.submit(jobs)
        found.append(executor.poll())
    return found[0], found[1]


def assert_same(first: list[Update], second: list[Update], atol: float = ONE_ROUND) -> None:
    assert len(first) == len(second)
    for one, two in zip(first, second, strict=True):
        assert (one.task, one.client, one.version) == (two.task, two.client, two.version)
        assert one.num_examples == two.num_examples
        assert one.metrics["train_loss"] == pytest.approx(two.metrics["train_loss"], abs=1e-5)
        for key in one.delta:
            torch.testing.assert_close(two.delta[key], one.delta[key], rtol=0, atol=atol)


@FAST
@pytest.mark.parametrize(
    ("model", "hidden"),
    [("linear", []), ("mlp", [12]), ("cnn", [8]), ("transformer", []), ("patches", [6, 5])],
)
def test_ragged_clients_agree_with_sequential_training(
    model: str, hidden: list[int], fast: type[StackedExecutor]
) -> None:
    task = ragged_task(model, hidden, LocalTraining(0.05, 2, 8))
    assert stackable(task)
    assert_same(*both(task, jobs_of(task, [3, 0, 6, 6, 1]), fast))


@FAST
@pytest.mark.parametrize("batch_size", [1, 5, 1000])
def test_momentum_decay_and_other_payloads(batch_size: int, fast: type[StackedExecutor]) -> None:
    settings = LocalTraining(0.02, 3, batch_size, momentum=0.9, weight_decay=0.01)
    task = ragged_task("mlp", [6], settings)
    assert_same(*both(task, jobs_of(task, list(range(7)), spread=0.1), fast))


@pytest.mark.parametrize(
    "settings",
    [
        LocalTraining(0.02, 2, 5, momentum=0.9, nesterov=True, weight_decay=0.01),
        LocalTraining(0.001, 2, 5, optimizer="adamw", weight_decay=0.1),
    ],
    ids=["nesterov", "adamw"],
)
@pytest.mark.parametrize("proximal", [0.0, 0.5])
@FAST
def test_every_optimizer_agrees_with_sequential_training(
    settings: LocalTraining, proximal: float, fast: type[StackedExecutor]
) -> None:
    task = ragged_task("mlp", [6], settings)
    options = {"proximal": proximal, "measure_start": True, "measure_end": True}
    jobs = [replace(job, config=options) for job in jobs_of(task, list(range(7)), spread=0.1)]
    first, second = both(task, jobs, fast)
    # AdamW moves an entry by about a step even where its gradient is mere rounding.
    step = 0.01 * settings.learning_rate if settings.optimizer == "adamw" else 0.0
    assert_same(first, second, atol=max(ONE_ROUND, step))
    for one, two in zip(first, second, strict=True):
        assert two.metrics["start_loss"] == pytest.approx(one.metrics["start_loss"], abs=1e-5)
        slack = max(1e-5, 10.0 * step)  # the loss of parameters that may differ by a step's share
        assert two.metrics["end_loss"] == pytest.approx(one.metrics["end_loss"], abs=slack)
        assert two.metrics["end_loss"] != two.metrics["start_loss"]


def test_a_wrong_step_is_noticed() -> None:
    """The negative control of the test above: AdamW that forgets to decay in one of the two."""
    settings = LocalTraining(0.001, 2, 5, optimizer="adamw", weight_decay=0.1)
    task = ragged_task("mlp", [6], settings)
    jobs = jobs_of(task, [0, 3])
    forgetful = replace(task, training=replace(settings, weight_decay=0.0))
    with pytest.raises(AssertionError):
        assert_same(stacked.train_stack(forgetful, jobs), both(task, jobs)[0])


@pytest.mark.parametrize(
    "settings",
    [
        LocalTraining(0.02, 2, 5, momentum=0.9, persist_optimizer=True),
        LocalTraining(0.001, 2, 5, optimizer="adamw", persist_optimizer=True),
    ],
    ids=["momentum", "adamw"],
)
@FAST
def test_kept_state_agrees_with_sequential_training_over_two_jobs(
    settings: LocalTraining, fast: type[StackedExecutor]
) -> None:
    task = ragged_task("mlp", [6], settings)
    jobs = jobs_of(task, [0, 3, 6])
    once, stacked_once = both(task, jobs, fast)
    kept = [u.client_state for u in once]
    for one, two in zip(kept, (u.client_state for u in stacked_once), strict=True):
        assert one.keys() == two.keys()
        for key in one:
            torch.testing.assert_close(two[key], one[key], rtol=1e-4, atol=ONE_ROUND)
    later = [
        replace(job, client_state=state, seed=5 + k)
        for k, (job, state) in enumerate(zip(jobs, [kept[0], {}, kept[2]], strict=True))
    ]
    assert_same(*both(task, later, fast))


@FAST
def test_examples_and_weights_of_jobs_agree_with_sequential_training(
    fast: type[StackedExecutor],
) -> None:
    task = ragged_task("mlp", [6], LocalTraining(0.05, 2, 4))
    all_options = [
        {"examples": torch.tensor([2, 0, 2, 1, 1])},
        {"weights": torch.linspace(0.1, 2.0, 12)},
        {},
    ]
    jobs = [
        replace(job, config=options)
        for job, options in zip(jobs_of(task, [0, 3, 6]), all_options, strict=True)
    ]
    first, second = both(task, jobs, fast)
    assert_same(first, second)
    assert [u.num_examples for u in first] == [5, 12, 21]


@settings(max_examples=25)
@given(
    how=st.sampled_from(
        [
            LocalTraining(0.05, 2, 4),
            LocalTraining(0.05, 1, 3, momentum=0.9, weight_decay=0.01),
            LocalTraining(0.05, 2, 50, momentum=0.9, nesterov=True),
        ]
    ),
    clients=st.lists(st.integers(0, 6), min_size=2, max_size=4),
    proximal=st.sampled_from([0.0, 0.7]),
    anchored=st.booleans(),
    weighted=st.booleans(),
    measured=st.tuples(st.booleans(), st.booleans()),
    seed=st.integers(0, 99),
    fast=st.sampled_from([StackedExecutor, DenseExecutor]),
)
def test_whatever_options_jobs_have_both_executors_agree(
    how: LocalTraining,
    clients: list[int],
    proximal: float,
    anchored: bool,
    weighted: bool,
    measured: tuple[bool, bool],
    seed: int,
    fast: type[StackedExecutor],
) -> None:
    task, draws = ragged_task("mlp", [6], how), torch.Generator().manual_seed(seed)
    jobs = []
    for job in jobs_of(task, clients, spread=0.1):
        options: dict[str, object] = {"proximal": proximal}
        options["measure_start"], options["measure_end"] = measured
        if anchored:  # to models of their own
            options["anchor"] = {
                key: torch.randn(value.shape, generator=draws) for key, value in job.payload.items()
            }
        if weighted:
            count = len(task.shards[job.client])
            options["weights"] = 2.0 * torch.rand(count, generator=draws)
        jobs.append(replace(job, config=options, client_state={"notes": torch.arange(2.0)}))
    first, second = both(task, jobs, fast)
    assert_same(first, second, atol=5e-6)
    for one, two in zip(first, second, strict=True):
        assert one.metrics.keys() == two.metrics.keys()
        assert one.client_state.keys() == two.client_state.keys()
        for name, value in one.metrics.items():
            assert two.metrics[name] == pytest.approx(value, abs=2e-5, rel=1e-5)


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 1), st.sampled_from([None, "mean", "own"])),
        max_size=8,
    )
)
def test_jobs_are_trained_together_iff_client_version_and_table_agree(
    kinds: list[tuple[int, int, str | None]],
) -> None:
    jobs = [
        Job("a", client, version, 0.0, {}, 0, config={"joint": {"length": how}} if how else {})
        for client, version, how in kinds
    ]
    group_of = {index: n for n, group in enumerate(joint_groups(jobs)) for index in group}
    assert sorted(group_of) == list(range(len(jobs)))
    for i, one in enumerate(kinds):
        for j, two in enumerate(kinds):
            together = i == j or (one == two and one[2] is not None)
            assert (group_of[i] == group_of[j]) == together


def test_mixed_precision_agrees_to_its_own_rounding() -> None:
    """Both round to 8 bits, but not the same sums; linear, as rounding opens and closes gates."""
    task = ragged_task("linear", [], LocalTraining(0.05, 1, 8, precision="bfloat16"))
    assert stackable(task)
    for one, two in zip(*both(task, jobs_of(task, [0, 3, 6])), strict=True):
        for key, value in one.delta.items():
            scale = float(value.abs().max())
            torch.testing.assert_close(two.delta[key], value, rtol=0, atol=scale * 2.0**-5)


def frozen_first_layer() -> nn.Module:
    model = build_model("mlp", (1, 8, 8), 10, [6], seed=0)
    next(iter(model.parameters())).requires_grad_(False)
    return model


def test_frozen_parameters_stay_and_can_be_stacked() -> None:
    model = frozen_first_layer()
    plain = ragged_task("linear", [], LocalTraining(0.05, 2, 8, weight_decay=0.1))
    state = {key: value.clone() for key, value in float_state(model).items()}
    task = replace(plain, model=model, initial=state)
    assert stackable(task)
    first, second = both(task, jobs_of(task, [0, 2, 6]))
    assert_same(first, second)
    for update in first + second:
        assert list(update.delta) == list(state)
        assert not update.delta["1.weight"].any()
        assert update.delta["1.bias"].any()


def test_a_thousand_clients_in_a_round(monkeypatch: pytest.MonkeyPatch) -> None:
    data = load_dataset("digits")
    model = build_model("linear", (1, 8, 8), 10, [], seed=0)
    settings = LocalTraining(0.1, 1, 8)
    task = make_task("digits", data, model, settings, IID(), num_clients=1000, seed=0)
    assert clients_per_chunk(task) >= 1000
    monkeypatch.setattr(stacked, "MEMORY_BUDGET", stacked.MEMORY_BUDGET // 30)
    assert 1 < clients_per_chunk(task) < 1000
    executor = StackedExecutor([task])
    executor.submit(jobs_of(task, list(range(1000))))
    updates = executor.poll()
    assert [update.client for update in updates] == list(range(1000))
    assert all(update.is_finite for update in updates)


def test_activations_count_towards_the_chunk() -> None:
    """Hidden layers and convolutions keep what the backward pass needs; wider ones keep more."""
    settings = LocalTraining(0.05, 1, 8)
    narrow, wide = (ragged_task("mlp", [width], settings) for width in (4, 400))
    assert stacked.numbers_saved(wide) >= stacked.numbers_saved(narrow) + 396
    assert clients_per_chunk(wide) < clients_per_chunk(narrow)


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
def test_what_cannot_be_stacked_is_trained_one_by_one(
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
