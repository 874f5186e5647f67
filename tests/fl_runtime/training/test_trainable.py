"""Part of a model is trained: only that is sent, averaged and kept; and what an update weighs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from fairopt import InvalidInput
from fl_runtime import load_model, run
from fl_runtime.configuration.schema import Config
from fl_runtime.configuration.toml_files import check_config
from fl_runtime.execution.sequential import SequentialExecutor
from fl_runtime.execution.stacked import StackedExecutor, stackable
from fl_runtime.running.build import assemble
from fl_runtime.training.job import Job
from fl_runtime.training.local_training import Client, train_locally
from fl_runtime.training.task import LocalTraining
from tests.fl_runtime.eight_tasks import small_task
from tests.fl_runtime.representatives import REPRESENTATIVES

HEAD = r"^3\."


def settings(algorithm: str = "fed-avg", trainable: str | None = HEAD, **run_: Any) -> Config:
    task = {"name": "wine", "data": "wine", "model": "mlp", "hidden": [5]}
    task |= {} if trainable is None else {"trainable": trainable}
    return check_config(
        {
            "run": {"algorithm": algorithm, "num_server_rounds": 3, **run_},
            "task": [task],
            "clients": {"num_clients": 4},
        }
    )


def test_only_the_named_entries_travel_and_change(tmp_path: Any) -> None:
    part = run(settings(client_metrics=True), out=tmp_path / "part").rounds("fed-avg", 0)
    whole = run(settings(trainable=None, client_metrics=True)).rounds("fed-avg", 0)
    task = assemble(settings(), 0).federation.tasks[0]
    sizes = {key: value.numel() for key, value in task.model.state_dict().items()}
    head = sizes["3.weight"] + sizes["3.bias"]
    assert list(task.initial) == ["3.weight", "3.bias"]
    assert part[0]["traffic"] * sum(sizes.values()) == whole[0]["traffic"] * head
    assert part[-1]["wine/train_loss"] < part[0]["wine/train_loss"]
    model = load_model(tmp_path / "part", "wine").state_dict()
    for key, value in task.complete(task.initial).items():
        assert torch.equal(model[key], value) != (key in task.initial)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_both_executors_train_the_same_part(optimizer: str) -> None:
    """And it is what training a model with the rest frozen gives."""
    training = LocalTraining(0.05, 2, 4, optimizer=optimizer)
    task = small_task("regression with holes", training, trainable="^3")
    assert stackable(task)
    jobs = [Job(task.name, k, 0, 0.0, task.initial, seed=k) for k in range(5)]
    found = []
    for executor in (SequentialExecutor([task]), StackedExecutor([task])):
        for value in task.model.parameters():
            value.data.add_(9.0)  # what is frozen comes from the task, not from whoever was last
        executor.submit(jobs)
        found.append(executor.poll())
    whole = small_task("regression with holes", training)
    for key, value in whole.model.named_parameters():
        value.requires_grad_(key.startswith("3"))
    for k, (one, two) in enumerate(zip(*found, strict=True)):
        client = Client(task.shards[k], k)
        slow = train_locally(whole.model, whole.initial, client, training, whole.loss)
        assert one.delta.keys() == two.delta.keys() == task.initial.keys()
        for key, value in one.delta.items():
            assert torch.equal(value, slow.delta[key])
            torch.testing.assert_close(two.delta[key], value, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", REPRESENTATIVES)
def test_any_algorithm_may_train_a_part(name: str) -> None:
    """All but those that need layers to share, which the part does not have."""
    shared = {
        "fair-grad",
        "fed-per",
        "fed-hca2",
        "linear-scalarisation",
        "mgda",
        "pcgrad",
        "cagrad",
        "nash",
        "upgrad",
    }
    config = settings(name)
    if name == "fed-ram":
        config = config.model_copy(update={"algorithm": {"reference_rounds": 1, "proxy_rounds": 1}})
    delay = {"model": "exponential"}
    config = config.model_copy(
        update={"clients": config.clients.model_copy(update={"delay": delay})}
    )
    if name in shared:
        with pytest.raises(InvalidInput, match=r"to be shared|layers|trunk|model"):
            run(config)
    else:
        assert run(config).rounds(name, 0)


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("(", "a regular expression"),
        ("lora", r"found in an entry of the model: 1\.weight, 1\.bias"),
    ],
)
def test_a_pattern_without_entries_is_refused(pattern: str, reason: str) -> None:
    with pytest.raises(InvalidInput, match=rf"task.wine.trainable = .*{reason}"):
        run(settings(trainable=pattern))


def test_updates_weigh_by_their_targets_where_that_is_asked() -> None:
    """Text: a client with long texts weighs more than one with as many short ones."""
    task = small_task("text", LocalTraining(0.1, 1, 4, weight_by="counts"))
    counts = [int((shard.targets != -100).sum()) for shard in task.shards]
    plain = replace(task, training=replace(task.training, weight_by="examples"))
    for each, wanted in ((task, counts), (plain, [len(s) for s in task.shards])):
        for executor in (SequentialExecutor([each]), StackedExecutor([each])):
            executor.submit([Job("text", k, 0, 0.0, task.initial, seed=k) for k in range(5)])
            assert [update.num_examples for update in executor.poll()] == wanted
    assert counts != sorted(counts) or np.unique(counts).size > 1


def test_it_is_a_key_of_the_task() -> None:
    config = check_config(
        {
            "run": {"algorithm": "fed-avg", "num_server_rounds": 1},
            "task": [
                {
                    "name": "t",
                    "data": "tests.fl_runtime.eight_tasks:text",
                    "model": "tests.fl_runtime.eight_tasks:reader",
                    "metrics": ["token-acc"],
                    "loss": "token-cross-entropy",
                    "weight-by": "counts",
                }
            ],
            "clients": {"num_clients": 5},
        }
    )
    task = assemble(config, 0).federation.tasks[0]
    row = run(config).rounds("fed-avg", 0)[0]
    assert row["num-examples"] == sum(shard.num_targets for shard in task.shards)
