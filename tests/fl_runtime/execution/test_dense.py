"""The kernel of fully connected models, and the rule that chooses an executor by shape."""

import logging
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

from fairopt.errors import InvalidInput
from fl_runtime.configuration.toml_files import check_config, digest, dump_toml, read_config
from fl_runtime.execution.dense import DenseChain, dense_layers, is_dense
from fl_runtime.execution.registry import LARGEST_STACKED, STACK_FROM, by_shape
from fl_runtime.execution.sequential import SequentialExecutor
from fl_runtime.execution.stacked import DenseExecutor, StackedExecutor
from fl_runtime.running.build import assemble, executors_of
from fl_runtime.running.experiment import resolved, run
from fl_runtime.training.job import Job, Update
from fl_runtime.training.losses import LOSSES, Loss
from fl_runtime.training.models import build_model
from fl_runtime.training.task import Examples, LocalTraining, Task, float_state

ONE_ROUND = 1e-6  # deltas of about 0.1 after a few steps; float32 sums in another order
FEATURES = 5
PLAIN = LocalTraining(0.05, 1, 8)

HOWS = {
    "sgd": {},
    "decay": {"weight_decay": 0.05},
    "momentum": {"momentum": 0.9},
    "momentum and decay": {"momentum": 0.5, "weight_decay": 0.05},
    "nesterov": {"momentum": 0.9, "nesterov": True},
    "adamw": {"optimizer": "adamw", "weight_decay": 0.1},
    "clipped": {"clip_gradient": 0.1},
}
TARGETS: dict[str, Any] = {
    "cross-entropy": lambda rng, n: rng.integers(0, 3, n),
    "mse": lambda rng, n: rng.normal(size=(n, 3)).astype(np.float32),
    "huber": lambda rng, n: 3.0 * rng.normal(size=(n, 3)).astype(np.float32),
}


def task_of(
    sizes: list[int], hidden: list[int], how: LocalTraining, loss: str = "cross-entropy"
) -> Task:
    """Normal inputs of five features on clients with that many examples."""
    rng = np.random.default_rng(sizes)
    shards = tuple(
        Examples(
            torch.from_numpy(rng.normal(size=(n, FEATURES)).astype(np.float32)),
            torch.from_numpy(TARGETS[loss](rng, n)),
        )
        for n in sizes
    )
    model = build_model("mlp", (FEATURES,), 3, hidden, seed=0)
    state = {key: value.clone() for key, value in float_state(model).items()}
    return Task("t", model, state, shards, shards[0], shards[0], how, loss=LOSSES[loss]())


def jobs_of(task: Task, **options: object) -> list[Job]:
    count = len(task.shards)
    return [Job("t", k, 0, 0.0, task.initial, seed=k, config=options) for k in range(count)]


def polled(executor: Any, jobs: list[Job]) -> list[Update]:
    executor.submit(jobs)
    return executor.poll()  # type: ignore[no-any-return]


def assert_agree(one: list[Update], two: list[Update], slack: float) -> None:
    for first, second in zip(one, two, strict=True):
        assert first.num_examples == second.num_examples
        assert first.num_steps == second.num_steps
        assert first.metrics == pytest.approx(second.metrics, abs=10 * slack, rel=1e-5)
        for key, value in first.delta.items():
            torch.testing.assert_close(second.delta[key], value, rtol=0, atol=slack)


@settings(max_examples=25)
@given(
    sizes=st.lists(st.integers(1, 64), min_size=1, max_size=6),
    hidden=st.lists(st.integers(1, 9), max_size=3),
    how=st.sampled_from(sorted(HOWS)),
    loss=st.sampled_from(sorted(TARGETS)),
    batch=st.sampled_from([1, 7, 100]),
    epochs=st.integers(1, 2),
    proximal=st.sampled_from([0.0, 0.3]),
    weighted=st.booleans(),
)
@example([1], [], "sgd", "cross-entropy", 1, 2, 0.0, False)
@example([3, 64, 9], [4, 4], "momentum and decay", "mse", 7, 2, 0.0, False)
@example([3, 64, 9], [4], "decay", "cross-entropy", 7, 2, 0.0, True)
def test_it_agrees_with_sequential_training(
    sizes: list[int],
    hidden: list[int],
    how: str,
    loss: str,
    batch: int,
    epochs: int,
    proximal: float,
    weighted: bool,
) -> None:
    rate = 0.001 if how == "adamw" else 0.02
    task = task_of(sizes, hidden, LocalTraining(rate, epochs, batch, **HOWS[how]), loss)
    assert DenseChain.of(task) is not None
    jobs = jobs_of(task, proximal=proximal, measure_start=True, measure_end=True)
    if weighted:
        jobs = [
            replace(job, config=job.config | {"weights": torch.linspace(0.0, 2.0, sizes[k])})
            for k, job in enumerate(jobs)
        ]
    # AdamW moves an entry by about a step even where its gradient is mere rounding.
    slack = 0.05 * rate if how == "adamw" else ONE_ROUND
    assert_agree(
        polled(SequentialExecutor([task]), jobs), polled(DenseExecutor([task]), jobs), slack
    )


def test_double_precision_and_models_without_biases() -> None:
    task = task_of([4, 9, 2], [6], PLAIN)
    model = nn.Sequential(nn.Linear(FEATURES, 4, bias=False), nn.ReLU(), nn.Linear(4, 3)).double()
    task = replace(
        task,
        model=model,
        initial={key: value.clone() for key, value in float_state(model).items()},
        shards=tuple(Examples(s.features.double(), s.targets) for s in task.shards),
        validation=Examples(task.validation.features.double(), task.validation.targets),
        test=Examples(task.test.features.double(), task.test.targets),
    )
    assert DenseChain.of(task) is not None
    one, two = (polled(kind([task]), jobs_of(task)) for kind in (SequentialExecutor, DenseExecutor))
    assert_agree(one, two, 1e-12)


def test_no_job_depends_on_those_beside_it() -> None:
    """Whatever the chunk, from two clients on, the bytes are the same."""
    task = task_of([8, 8, 8, 8, 8, 8], [7], LocalTraining(0.05, 2, 4, momentum=0.5))
    jobs = jobs_of(task)
    whole = polled(DenseExecutor([task]), jobs)
    pairs = [polled(DenseExecutor([task]), jobs[k : k + 2]) for k in (0, 2, 4)]
    for one, two in zip(whole, [update for pair in pairs for update in pair], strict=True):
        assert all(torch.equal(one.delta[key], two.delta[key]) for key in one.delta)


class Half(nn.Linear):
    """Its kind says nothing of what it does."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) / 2.0


def hooked() -> nn.Module:
    model = nn.Sequential(nn.Linear(FEATURES, 3))
    model[0].register_forward_hook(lambda module, args, out: out / 2.0)
    return model


def frozen() -> nn.Module:
    model = nn.Sequential(nn.Linear(FEATURES, 3), nn.ReLU(), nn.Linear(3, 3))
    model[0].weight.requires_grad_(False)
    return model


def shared() -> nn.Module:
    layer = nn.Linear(FEATURES, FEATURES)
    return nn.Sequential(layer, nn.ReLU(), layer)


OTHERS = {
    "another kind": nn.Sequential(Half(FEATURES, 3)),
    "hooked": hooked(),
    "frozen": frozen(),
    "shared": shared(),
    "another gate": nn.Sequential(nn.Linear(FEATURES, 3), nn.Tanh(), nn.Linear(3, 3)),
    "no gate": nn.Sequential(nn.Linear(FEATURES, 3), nn.Linear(3, 3)),
    "batch norm": nn.Sequential(nn.BatchNorm1d(FEATURES), nn.Linear(FEATURES, 3)),
    "gate at the end": nn.Sequential(nn.Linear(FEATURES, 3), nn.ReLU()),
    "nothing": nn.Sequential(),
}


@pytest.mark.parametrize("what", OTHERS)
def test_models_of_another_shape_are_told_apart(what: str) -> None:
    assert dense_layers(OTHERS[what], torch.zeros(1, FEATURES)) is None


def test_images_need_to_be_flattened() -> None:
    layer = nn.Linear(4, 2)
    assert dense_layers(nn.Sequential(layer), torch.zeros(1, 3, 4)) is None
    assert dense_layers(nn.Sequential(nn.Flatten(0), layer), torch.zeros(1, 4)) is None
    assert dense_layers(nn.Sequential(nn.Flatten(), layer), torch.zeros(1, 2, 2)) is not None
    assert dense_layers(nn.Sequential(layer), torch.zeros(1, 4, dtype=torch.int64)) is None
    gate = nn.ReLU()
    again = nn.Sequential(layer, gate, nn.Linear(2, 2), gate, nn.Linear(2, 2))
    assert dense_layers(again, torch.zeros(1, 4)) is not None


def own_loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return nn.functional.cross_entropy(outputs, targets, reduction="none")


@pytest.mark.parametrize(
    ("loss", "training"),
    [
        (own_loss, PLAIN),
        (LOSSES["cross-entropy"](), replace(PLAIN, precision="bfloat16")),
        (LOSSES["cross-entropy"](), replace(PLAIN, optimizer="torch.optim:Rprop")),
    ],
)
def test_losses_and_training_of_another_kind_are_told_apart(
    loss: Loss, training: LocalTraining
) -> None:
    model, inputs = build_model("mlp", (FEATURES,), 3, [4], seed=0), torch.zeros(1, FEATURES)
    assert is_dense(model, inputs, LOSSES["cross-entropy"](), PLAIN)
    assert not is_dense(model, inputs, loss, training)


def test_what_is_not_dense_is_a_stack_or_one_by_one(caplog: pytest.LogCaptureFixture) -> None:
    plain = task_of([4, 5], [3], PLAIN)
    for model, said in (
        (OTHERS["another gate"], "not fully connected; its clients are trained as a stack"),
        (OTHERS["batch norm"], "cannot be stacked; its clients are trained one by one"),
    ):
        state = {key: value.clone() for key, value in float_state(model).items()}
        fixed = {k: v.clone() for k, v in model.state_dict().items() if k not in state}
        task = replace(plain, model=model, initial=state, fixed=fixed)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            dense, others = (
                polled(kind([task]), jobs_of(task)) for kind in (DenseExecutor, StackedExecutor)
            )
        assert said in caplog.text
        for one, two in zip(dense, others, strict=True):
            assert all(torch.equal(one.delta[key], two.delta[key]) for key in one.delta)


@pytest.mark.parametrize(
    ("model", "shape", "clients", "device", "found"),
    [
        (("mlp", [300]), (FEATURES,), 1, "cpu", "dense"),
        (("mlp", [300]), (FEATURES,), 50, "cuda", "dense"),
        (("cnn", []), (1, 8, 8), 50, "cpu", "sequential"),
        (("cnn", []), (1, 8, 8), 1, "cuda", "stacked"),
        (("transformer", []), (8, 8), STACK_FROM, "cpu", "stacked"),
        (("transformer", []), (8, 8), STACK_FROM - 0.5, "cpu", "sequential"),
    ],
)
def test_auto_goes_by_shape(
    model: tuple[str, list[int]], shape: tuple[int, ...], clients: float, device: str, found: str
) -> None:
    module = build_model(model[0], shape, 3, model[1], seed=0)
    loss = LOSSES["cross-entropy"]()
    how = {"device": device, "clients_per_task": clients}
    assert by_shape(module, torch.zeros(1, *shape), loss, PLAIN, **how) == found  # type: ignore[arg-type]


def test_auto_does_not_stack_large_entries() -> None:
    for width in (LARGEST_STACKED // 4 // 64, LARGEST_STACKED // 4 // 64 + 1):
        model = nn.Sequential(nn.Linear(64, width), nn.Tanh(), nn.Linear(width, 3))
        found = by_shape(
            model, torch.zeros(1, 64), LOSSES["mse"](), PLAIN, clients_per_task=STACK_FROM
        )
        assert (found == "stacked") == (width * 64 * 4 <= LARGEST_STACKED)


def settings_of(executor: object, **extra: object) -> Any:
    tasks = [
        {"name": "a_b", "data": "digits", "model": "mlp", "hidden": [4]},
        {"name": "picture", "data": "digits", "model": "cnn", "hidden": [4]},
    ]
    clients = {"num_clients": 4, "batch_size": 200}
    tree = {"algorithm": "fed-avg", "num_server_rounds": 1, "executor": executor, **extra}
    return check_config({"run": tree, "task": tasks, "clients": clients})


def test_every_task_has_its_executor_and_a_run_records_it(tmp_path: Any) -> None:
    config = resolved(settings_of("auto"))
    assert config.run.executor == {"a_b": "dense", "picture": "sequential"}
    path = tmp_path / "config.toml"
    path.write_text(dump_toml(config), encoding="utf-8")
    assert read_config(path).run.executor == config.run.executor
    assert digest(read_config(path)) == digest(config)
    assert executors_of(settings_of({"picture": "stacked"})) == {
        "a_b": "dense",
        "picture": "stacked",
    }
    alone = resolved(settings_of({"a_b": "stacked", "picture": "stacked"}))
    assert digest(alone) == digest(resolved(settings_of("stacked")))


def test_tasks_with_executors_of_their_own_train_together() -> None:
    """Each as if its executor were that of the whole run."""
    mixed = run(settings_of("auto", seeds=(0,))).rows[1]
    for task, executor in (("a_b", "dense"), ("picture", "sequential")):
        other = run(settings_of(executor)).rows[1]
        for key in mixed:
            if key.startswith(f"{task}/"):
                assert mixed[key] == other[key], key


@pytest.mark.parametrize(
    ("executor", "words"),
    [
        ({}, "a table of them by task"),
        ({"a_b": "fast"}, "a table of them by task"),
        ({"a_b": 1}, "a table of them by task"),
        (3, "a table of them by task"),
        ({"a-b": "dense"}, "did you mean a_b?"),
    ],
)
def test_executors_that_are_none_are_refused(executor: object, words: str) -> None:
    with pytest.raises(InvalidInput, match=r"run\.executor") as caught:
        executors_of(settings_of(executor))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_that_names_an_executor_keeps_it() -> None:
    config = resolved(settings_of("stacked"))
    assert config.run.executor == "stacked"
    assert type(assemble(config, 0).executor) is StackedExecutor
    assert type(assemble(resolved(settings_of("sequential")), 0).executor) is SequentialExecutor
