"""Local training against a reference in NumPy, and the executor around it."""

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fairopt import InvalidInput
from fl_runtime.configuration.schema import EXECUTOR_NAMES
from fl_runtime.execution.executor import check_device
from fl_runtime.execution.registry import EXECUTORS
from fl_runtime.execution.sequential import SequentialExecutor
from fl_runtime.random_streams import shuffled_orders
from fl_runtime.training import local_training
from fl_runtime.training.job import Job
from fl_runtime.training.job_options import JobOptions
from fl_runtime.training.local_training import Client, train_locally
from fl_runtime.training.models import build_model
from fl_runtime.training.optimizers import make_optimizer
from fl_runtime.training.task import Examples, LocalTraining, Task, float_state

RNG = np.random.default_rng(5)
X = RNG.normal(size=(11, 3)).astype(np.float32)
Y = RNG.integers(4, size=11)
EXAMPLES = Examples(torch.from_numpy(X), torch.from_numpy(Y))


def numpy_sgd(
    weight: np.ndarray, bias: np.ndarray, settings: LocalTraining, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Softmax regression by hand: gradients, momentum and weight decay written out."""
    orders = shuffled_orders([seed], settings.local_epochs, len(Y))[0]
    speed = [np.zeros_like(weight), np.zeros_like(bias)]
    for order in orders:
        for first in range(0, len(Y), settings.batch_size):
            batch = order[first : first + settings.batch_size]
            logits = X[batch] @ weight.T + bias
            share = np.exp(logits - logits.max(axis=1, keepdims=True))
            share /= share.sum(axis=1, keepdims=True)
            error = (share - np.eye(4)[Y[batch]]) / len(batch)
            slopes = [
                error.T @ X[batch] + settings.weight_decay * weight,
                error.sum(axis=0) + settings.weight_decay * bias,
            ]
            speed = [settings.momentum * v + g for v, g in zip(speed, slopes, strict=True)]
            weight = weight - settings.learning_rate * speed[0]
            bias = bias - settings.learning_rate * speed[1]
    return weight, bias


@pytest.mark.parametrize(
    "settings",
    [
        LocalTraining(0.1, 1, 11),
        LocalTraining(0.1, 3, 4),
        LocalTraining(0.1, 3, 4, momentum=0.9, weight_decay=0.01),
    ],
    ids=["full batch", "minibatches", "momentum and decay"],
)
def test_agrees_with_the_reference(settings: LocalTraining) -> None:
    model = build_model("linear", (3,), 4, [], seed=1)
    start = {key: value.clone() for key, value in float_state(model).items()}
    weight, bias = (start[key].double().numpy() for key in ("1.weight", "1.bias"))
    delta = train_locally(model, start, Client(EXAMPLES, 7), settings).delta
    expected = numpy_sgd(weight, bias, settings, seed=7)
    np.testing.assert_allclose(delta["1.weight"], expected[0] - weight, atol=1e-5)
    np.testing.assert_allclose(delta["1.bias"], expected[1] - bias, atol=1e-5)


def one_task() -> Task:
    model = build_model("mlp", (3,), 4, [5], seed=1)
    initial = {key: value.clone() for key, value in float_state(model).items()}
    return Task("t", model, initial, (EXAMPLES,), EXAMPLES, EXAMPLES, LocalTraining(0.1, 2, 4))


def job(task: Task, seed: int = 3) -> Job:
    return Job(task.name, 0, version=6, sent_at=0.0, payload=task.initial, seed=seed)


def test_executor_repeats_and_leaves_global_randomness_alone() -> None:
    task = one_task()
    executor = SequentialExecutor([task])
    before = torch.get_rng_state()
    executor.submit([job(task), job(task), job(task, seed=4)])
    first, second, third = executor.poll()
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(first.delta[key], second.delta[key]) for key in first.delta)
    assert any(not torch.equal(first.delta[key], third.delta[key]) for key in first.delta)
    assert executor.poll() == []
    assert (first.num_examples, first.version) == (11, 6)


def test_an_error_names_task_client_and_round() -> None:
    task = one_task()
    executor = SequentialExecutor([task])
    bad = {**task.initial, "1.weight": torch.zeros(2, 2)}
    executor.submit([Job("t", 0, version=6, sent_at=0.0, payload=bad, seed=0)])
    with pytest.raises(RuntimeError) as caught:
        executor.poll()
    assert caught.value.__notes__ == ["in local training: task t, client 0, round 6"]


def test_evaluation_is_mean_loss_and_share_of_hits() -> None:
    task = one_task()
    zero = {key: torch.zeros_like(value) for key, value in task.initial.items()}
    hits = float((Y == 0).mean())
    seen = task.evaluate(zero, EXAMPLES)
    assert (seen.loss, seen.accuracy) == (pytest.approx(np.log(4)), pytest.approx(hits))


def test_empty_shard_is_refused_by_name() -> None:
    task = one_task()
    none = Examples(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64))
    with pytest.raises(InvalidInput, match="client 1 without examples"):
        Task("t", task.model, task.initial, (EXAMPLES, none), EXAMPLES, EXAMPLES, task.training)


def test_executors_and_devices_by_name() -> None:
    assert set(EXECUTORS) == set(EXECUTOR_NAMES) - {"auto"}
    if not torch.cuda.is_available():
        with pytest.raises(InvalidInput, match="no usable CUDA device"):
            check_device("cuda")


def test_adamw_agrees_with_its_formulas() -> None:
    """Full batches of one linear model: no order, only the update rule."""
    settings = LocalTraining(0.01, 4, 11, weight_decay=0.1, optimizer="adamw")
    model = build_model("linear", (3,), 4, [], seed=1)
    start = {key: value.clone() for key, value in float_state(model).items()}
    got = train_locally(model, start, Client(EXAMPLES, 7), settings)
    weight, bias = (start[key].double().numpy() for key in ("1.weight", "1.bias"))
    entries = [weight, bias]
    first, second = [np.zeros_like(w) for w in entries], [np.zeros_like(w) for w in entries]
    for t in range(1, 5):
        logits = X @ entries[0].T + entries[1]
        share = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        error = (share - np.eye(4)[Y]) / len(Y)
        for i, g in enumerate((error.T @ X, error.sum(axis=0))):
            first[i] = 0.9 * first[i] + 0.1 * g
            second[i] = 0.999 * second[i] + 0.001 * g**2
            ratio = (first[i] / (1 - 0.9**t)) / (np.sqrt(second[i] / (1 - 0.999**t)) + 1e-8)
            entries[i] = entries[i] * (1 - 0.01 * 0.1) - 0.01 * ratio
    np.testing.assert_allclose(got.delta["1.weight"], entries[0] - weight, atol=1e-6)
    np.testing.assert_allclose(got.delta["1.bias"], entries[1] - bias, atol=1e-6)


@pytest.mark.parametrize(
    "settings",
    [
        LocalTraining(0.05, 2, 11, momentum=0.9, persist_optimizer=True),
        LocalTraining(0.05, 2, 11, momentum=0.9, nesterov=True, persist_optimizer=True),
        LocalTraining(0.01, 2, 11, optimizer="adamw", persist_optimizer=True),
    ],
    ids=["momentum", "nesterov", "adamw"],
)
def test_two_jobs_with_kept_state_are_one_job_of_twice_the_length(settings: LocalTraining) -> None:
    model = build_model("linear", (3,), 4, [], seed=1)
    start = {key: value.clone() for key, value in float_state(model).items()}
    long = train_locally(model, start, Client(EXAMPLES, 0), replace(settings, local_epochs=4))
    one = train_locally(model, start, Client(EXAMPLES, 0), settings)
    middle = {key: start[key] + one.delta[key] for key in start}
    again = Client(EXAMPLES, 1, kept=one.client_state)
    before = {key: value.clone() for key, value in one.client_state.items()}
    two = train_locally(model, middle, again, settings)
    assert before
    assert all(torch.equal(one.client_state[key], value) for key, value in before.items())
    for key in start:
        torch.testing.assert_close(one.delta[key] + two.delta[key], long.delta[key])
    fresh = train_locally(model, middle, Client(EXAMPLES, 1), settings)
    assert any(not torch.allclose(fresh.delta[key], two.delta[key]) for key in start)


def test_examples_and_weights_of_a_job() -> None:
    """An example twice weighs as much as one of weight two, next to ones of weight one."""
    model = build_model("linear", (3,), 4, [], seed=1)
    start = {key: value.clone() for key, value in float_state(model).items()}
    settings = LocalTraining(0.3, 1, 11)
    twice = JobOptions.of({"examples": torch.tensor([4, 4, 2])})
    heavy = JobOptions.of(
        {"examples": torch.tensor([4, 2]), "weights": torch.tensor([4 / 3, 2 / 3])}
    )
    one = train_locally(model, start, Client(EXAMPLES, 0, twice), settings)
    two = train_locally(model, start, Client(EXAMPLES, 0, heavy), settings)
    assert (one.num_examples, two.num_examples) == (3, 2)
    for key in start:
        torch.testing.assert_close(one.delta[key], two.delta[key])


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"mu": 0.1}, "one of anchor, echo"),
        ({"examples": torch.tensor([11])}, "positions in 0 .. 10"),
        ({"examples": torch.tensor([], dtype=torch.int64)}, "at least one position"),
        ({"weights": torch.ones(3)}, "11 finite numbers"),
        ({"weights": -torch.ones(11)}, "11 finite numbers"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, object], reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        JobOptions.of(options).selected(EXAMPLES)


def test_the_proximal_term_is_the_gradient_of_its_penalty() -> None:
    """One full-batch step from the payload has no pull; the second has mu times the first step."""
    model = build_model("linear", (3,), 4, [], seed=1)
    start = {key: value.clone() for key, value in float_state(model).items()}
    settings = LocalTraining(0.1, 2, 11)
    free = train_locally(model, start, Client(EXAMPLES, 0), settings)
    first = train_locally(model, start, Client(EXAMPLES, 0), replace(settings, local_epochs=1))
    held = train_locally(model, start, Client(EXAMPLES, 0, JobOptions(proximal=2.0)), settings)
    for key in start:
        expected = free.delta[key] - 0.1 * 2.0 * first.delta[key]
        torch.testing.assert_close(held.delta[key], expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"momentum": 0.9, "optimizer": "adamw"},
        {"nesterov": True},
        {"persist_optimizer": True},
    ],
)
def test_settings_that_contradict_each_other_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        LocalTraining(0.1, 1, 8, **wrong)


@pytest.mark.parametrize(
    ("shard", "reason"),
    [
        (Examples(torch.zeros(2, 4), torch.zeros(2, dtype=torch.int64)), r"of shape \(2, 3\)"),
        (Examples(torch.zeros(3, 3), torch.zeros(2, dtype=torch.int64)), r"of shape \(2, 3\)"),
        (Examples(torch.zeros(2, 3).double(), torch.zeros(2, dtype=torch.int64)), "float32"),
        (Examples(torch.zeros(2, 3), torch.zeros(2)), "int64"),
        (Examples(torch.zeros(2, 3), torch.tensor([0, 4])), r"4, but it must be in 0 .. 3"),
        (Examples(torch.zeros(2, 3), torch.tensor([-1, 0])), r"-1, but it must be in 0 .. 3"),
    ],
)
def test_a_shard_that_is_of_another_task_is_refused_by_name(shard: Examples, reason: str) -> None:
    task = one_task()
    with pytest.raises(InvalidInput, match=f"task t, client 1 .*{reason}"):
        Task("t", task.model, task.initial, (EXAMPLES, shard), EXAMPLES, EXAMPLES, task.training)


def test_a_model_with_nothing_to_train_is_refused() -> None:
    task = one_task()
    frozen = copy.deepcopy(task.model)
    frozen.requires_grad_(False)
    with pytest.raises(InvalidInput, match="something to train"):
        replace(task, model=frozen)


def test_bfloat16_is_close_to_float32_and_not_equal() -> None:
    task = one_task()
    half = replace(task, training=replace(task.training, precision="bfloat16"))
    executors = SequentialExecutor([task]), SequentialExecutor([half])
    for executor in executors:
        executor.submit([job(task)])
    full, mixed = (executor.poll()[0] for executor in executors)
    for key, value in full.delta.items():
        assert mixed.delta[key].dtype == torch.float32
        scale = float(value.abs().max())
        torch.testing.assert_close(mixed.delta[key], value, rtol=0, atol=0.05 * scale)
    assert any(not torch.equal(full.delta[key], mixed.delta[key]) for key in full.delta)


def by_optimizer(named: Any, client: Client, start: Any, settings: LocalTraining) -> Any:
    """What trained clients before there were steps without an optimiser."""
    pulled_to = client.options.anchor or start, client.options.proximal
    optimizer = make_optimizer(named, settings, client.kept)
    return local_training._ByOptimizer(optimizer, named, settings, *pulled_to)


class Aliased(nn.Module):
    """Two entries with one gradient, one of another shape, and one that is never used."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Parameter(torch.zeros(3))
        self.two = nn.Parameter(torch.full((3,), 0.5))
        self.bias = nn.Parameter(torch.zeros(()))
        self.unused = nn.Parameter(torch.ones(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ torch.diag(self.one + self.two) + self.bias


@pytest.mark.parametrize("proximal", [0.0, 0.3])
@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize(
    "how",
    [
        {},
        {"weight_decay": 0.1},
        {"momentum": 0.9, "persist_optimizer": True},
        {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1, "persist_optimizer": True},
        {"optimizer": "adamw", "weight_decay": 0.1, "persist_optimizer": True},
        {"clip_gradient": 0.1, "momentum": 0.5, "persist_optimizer": True},
        {"precision": "bfloat16"},
    ],
)
def test_steps_without_an_optimizer_have_its_bytes(
    how: dict[str, Any], kept: bool, proximal: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = [Aliased(), build_model("mlp", (3,), 3, [5], seed=1)]
    examples = Examples(torch.randn(11, 3), torch.arange(11) % 3)
    for model in models:
        settings = LocalTraining(0.05, 2, 4, **how)
        start = {key: value.clone() for key, value in float_state(model).items()}
        client = Client(examples, 3, JobOptions(proximal=proximal))
        if kept:
            state = train_locally(model, start, client, settings).client_state
            client = replace(client, kept=state)
        found = []
        for descent in (None, by_optimizer):
            with monkeypatch.context() as patch:
                if descent is not None:
                    patch.setattr(local_training, "_descent", descent)
                found.append(train_locally(model, start, client, settings))
        lean, full = found
        assert lean.metrics == full.metrics
        for one, two in ((lean.delta, full.delta), (lean.client_state, full.client_state)):
            assert one.keys() == two.keys()
            assert all(torch.equal(one[key], two[key]) for key in one)
