"""Local training against a twin written out in NumPy, and the executor around it."""

import numpy as np
import pytest
import torch
from numpy.random import default_rng

from fairopt import InvalidInput
from fl_runtime.executor import Job, SequentialExecutor, check_device
from fl_runtime.executors import EXECUTORS, STACK_FROM, resolve_executor
from fl_runtime.local_training import train_locally
from fl_runtime.models import build_model
from fl_runtime.task import Evaluation, Examples, LocalTraining, Task, float_state

RNG = default_rng(5)
X = RNG.normal(size=(11, 3)).astype(np.float32)
Y = RNG.integers(4, size=11)
EXAMPLES = Examples(torch.from_numpy(X), torch.from_numpy(Y))


def numpy_sgd(
    weight: np.ndarray, bias: np.ndarray, settings: LocalTraining, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Softmax regression by hand: gradients, momentum and weight decay written out."""
    rng = default_rng(seed)
    speed = [np.zeros_like(weight), np.zeros_like(bias)]
    for _ in range(settings.local_epochs):
        order = rng.permutation(len(Y))
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
def test_agrees_with_the_twin(settings: LocalTraining) -> None:
    model = build_model("linear", (3,), 4, [], seed=1)
    start = {key: value.clone() for key, value in float_state(model).items()}
    weight, bias = (start[key].double().numpy() for key in ("1.weight", "1.bias"))
    delta, _ = train_locally(model, start, EXAMPLES, settings, default_rng(7))
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
    assert seen == Evaluation(pytest.approx(np.log(4)), pytest.approx(hits))


def test_empty_shard_is_refused_by_name() -> None:
    task = one_task()
    none = Examples(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64))
    with pytest.raises(InvalidInput, match="client 1 without examples"):
        Task("t", task.model, task.initial, (EXAMPLES, none), EXAMPLES, EXAMPLES, task.training)


def test_executors_and_devices_by_name() -> None:
    assert resolve_executor("auto", active_clients=STACK_FROM) == "stacked"
    assert resolve_executor("auto", active_clients=STACK_FROM - 1) == "sequential"
    assert set(EXECUTORS) == {"sequential", "stacked"}
    with pytest.raises(InvalidInput, match="one of sequential"):
        resolve_executor("flower")
    if not torch.cuda.is_available():
        with pytest.raises(InvalidInput, match="no usable CUDA device"):
            check_device("cuda")
