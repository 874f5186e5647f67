"""Messages: what is packed comes out again, and what is no answer is refused by name."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from fairopt import InvalidInput
from fl_runtime.flower.handshake import Introduction, counts_of, settings_of, why_refused
from fl_runtime.flower.messages import (
    Packed,
    packed_jobs,
    packed_updates,
    unpacked_jobs,
    unpacked_updates,
)
from fl_runtime.flower.site import Site, numbers_of
from fl_runtime.training.job import Job, Update
from fl_runtime.training.remote_shards import without_examples
from fl_runtime.training.stacks import Rows
from tests.fl_runtime.small import config

START = {"w": torch.arange(6.0).reshape(2, 3), "b": torch.zeros(2)}
OPTIONS = {"proximal": 0.5, "examples": torch.tensor([1, 2]), "shared": ("w",), "echo": {"x": 2.0}}
JOB = Job("a", 3, 7, 1.5, START, seed=2**62, client_state={"m": torch.ones(2)}, config=OPTIONS)
FIGURES = {"train_loss": 0.1, "learning_rate": 0.5, "x": 2.0}
UPDATE = Update("a", 3, 7, {k: v + 1 for k, v in START.items()}, 9, metrics=FIGURES)


def moved(message: Packed) -> Packed:
    """What the network does: bytes that are equal."""
    tensors = {key: torch.from_numpy(t.numpy().copy()) for key, t in message.tensors.items()}
    return Packed(str(message.text), tensors)


def test_jobs_come_out_as_they_went_in() -> None:
    others = [replace(JOB, client=k, client_state={}) for k in range(5)]
    message = packed_jobs([(4, JOB), *enumerate(others, 10)], ("arm", 0))
    assert message.size < 5 * sum(v.nbytes for v in START.values()) + len(message.text)
    found = unpacked_jobs(moved(message).tree)
    assert [number for number, _ in found] == [4, 10, 11, 12, 13, 14]
    _, job = found[0]
    assert (job.task, job.client, job.version, job.seed) == ("a", 3, 7, 2**62)
    assert all(torch.equal(job.payload[key], value) for key, value in START.items())
    assert job.config["shared"] == ("w",)
    assert torch.equal(job.config["examples"], torch.tensor([1, 2]))
    assert torch.equal(job.client_state["m"], torch.ones(2))


def test_updates_come_out_as_they_went_in_also_as_rows_of_a_stack() -> None:
    stack = {key: torch.stack([value + 1, value + 2]) for key, value in START.items()}
    for delta in (UPDATE.delta, Rows(stack).split()[0]):
        message = packed_updates([(4, replace(UPDATE, delta=delta))])
        found = unpacked_updates(moved(message).tree, {4: JOB})[4]
        assert isinstance(found, Update)
        assert all(torch.equal(found.delta[key], value + 1) for key, value in START.items())
        assert (found.num_examples, found.metrics) == (9, FIGURES)


WRONG: dict[str, Callable[[dict[str, Any]], Any]] = {
    "reply client": lambda u: u | {"client": 4},
    "reply task": lambda u: u | {"task": "b"},
    "reply version": lambda u: u | {"version": 8},
    "reply delta w": lambda u: u | {"delta": {**START, "w": torch.zeros(3, 2)}},
    "reply delta b": lambda u: u | {"delta": {**START, "b": torch.zeros(2).double()}},
    "reply delta": lambda u: u | {"delta": {"w": START["w"]}},
    "reply num_examples": lambda u: u | {"num_examples": -1},
    "reply num_steps": lambda u: u | {"num_steps": 1.5},
    "reply metrics train_loss": lambda u: u | {"metrics": FIGURES | {"train_loss": math.nan}},
    "reply metrics learning_rate": lambda u: u | {"metrics": {"train_loss": 0.1, "x": 2.0}},
    "reply metrics x": lambda u: u | {"metrics": FIGURES | {"x": 9.0}},
    "reply client_state m": lambda u: u | {"client_state": {"m": 3}},
    "reply": lambda u: {k: v for k, v in u.items() if k != "metrics"},
}


@pytest.mark.parametrize("about", WRONG)
def test_what_is_no_answer_is_refused_by_name(about: str) -> None:
    tree = packed_updates([(4, UPDATE)]).tree
    (update,) = tree["updates"]
    found = unpacked_updates({"updates": [WRONG[about](update)]}, {4: JOB})[4]
    assert isinstance(found, InvalidInput)
    assert found.argument == about


@pytest.mark.parametrize("tree", [{}, {"updates": 3}, {"updates": [{"number": 5}]}])
def test_a_reply_that_is_none_is_refused_as_a_whole(tree: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="reply"):
        unpacked_updates(tree, {4: JOB})


def test_an_answer_that_is_missing_is_said_to_be() -> None:
    found = unpacked_updates({"updates": []}, {4: JOB})
    assert "an update of every job" in str(found[4])


@pytest.mark.parametrize(
    "text", ["", "[]", '{"format": 99}', '{"format": 1, "x": {"$tensor": "/x"}}']
)
def test_texts_that_are_no_messages(text: str) -> None:
    with pytest.raises(InvalidInput, match="message"):
        _ = Packed(text, {}).tree


def test_nodes_are_refused_by_name() -> None:
    small = config()
    settings, versions = settings_of(small), {"fairopt": "1", "flwr": "2"}
    node = Introduction((0, 1), {"wine": (3, 4), "iris": (5, 6)}, versions, settings)
    again = Introduction.from_tree(Packed.of(node.tree()).tree)
    assert why_refused(again, versions, settings) == ""
    assert "flwr missing" in why_refused(
        replace(node, versions={"fairopt": "1"}), versions, settings
    )
    other = replace(node, settings=settings | {"run.seeds": "[5]", "new": "1"})
    assert why_refused(other, versions, settings) == (
        "another configuration: new is 1 (at the server absent), "
        "run.seeds is [5] (at the server [0, 1])"
    )
    bare = replace(node, examples={"wine": (3, 0)})
    assert "client 1 has no examples of task wine" in why_refused(bare, versions, settings)
    assert "no client" in why_refused(replace(node, clients=()), versions, settings)
    for tree in ({}, {"clients": "x"}, None):
        with pytest.raises(InvalidInput, match="introduction"):
            Introduction.from_tree(tree)


def test_every_client_is_at_exactly_one_node() -> None:
    node = Introduction((0, 1), {"a": (3, 4)}, {}, {})
    for nodes, where in (([node], "no node"), ([node, replace(node, clients=(1, 2))], "several")):
        with pytest.raises(InvalidInput, match=where):
            counts_of(nodes, ["a"], 3)


def test_machines_choose_devices_and_nothing_else() -> None:
    base = config().model_copy(update={"inputs": {"x": "1"}})
    mine = settings_of(base)
    gpu = base.model_copy(update={"run": base.run.model_copy(update={"device": "cuda"})})
    assert settings_of(gpu) == mine
    assert settings_of(base.model_copy(update={"inputs": {"x": "2"}})) == mine
    more = base.model_copy(update={"run": base.run.model_copy(update={"num_server_rounds": 9})})
    assert settings_of(more) != mine


def test_a_site_trains_its_own_clients_and_no_others() -> None:
    small = config()
    site = Site(small, 0, [1, 2], name="here")
    assert site.introduction().clients == (1, 2)
    task = site.tasks[0]
    assert site.introduction().examples[task.name] == task.sizes[1:3]
    job = Job(task.name, 1, 0, 0.0, task.initial, seed=5)
    message = packed_jobs([(7, job), (3, replace(job, client=2))], ("arm", 0))
    found = unpacked_updates(
        moved(site.train(moved(message).tree)).tree, {7: job, 3: replace(job, client=2)}
    )
    site.parts.executor.submit([job])
    (alone,) = site.parts.executor.poll()
    update = found[7]
    assert isinstance(update, Update)
    assert all(torch.allclose(update.delta[k], v, atol=1e-6) for k, v in alone.delta.items())
    foreign = packed_jobs([(7, replace(job, client=0))], ("arm", 0))
    with pytest.raises(InvalidInput, match="job client"):
        site.train(foreign.tree)
    with pytest.raises(InvalidInput, match="clients"):
        Site(small, 0, [99])


def test_requests_of_one_client_and_version_keep_their_numbers() -> None:
    site = Site(config(), 0, [1])
    task = site.tasks[0]
    moved_on = {key: value + 1.0 for key, value in task.initial.items()}
    first = Job(task.name, 1, 0, 0.0, task.initial, seed=5)
    jobs = {7: first, 3: replace(first, payload=moved_on)}
    both = unpacked_updates(site.train(packed_jobs(list(jobs.items()), ("arm", 0)).tree).tree, jobs)
    for number, job in jobs.items():
        (alone,) = unpacked_updates(
            site.train(packed_jobs([(number, job)], ("arm", 0)).tree).tree, {number: job}
        ).values()
        mine = both[number]
        assert isinstance(mine, Update)
        assert isinstance(alone, Update)
        assert all(torch.allclose(mine.delta[k], v, atol=1e-6) for k, v in alone.delta.items())


def test_a_server_knows_counts_and_no_examples() -> None:
    task = without_examples(Site(config(), 0, [0]).tasks[0], range(1, 9))
    assert task.is_remote
    assert task.sizes == tuple(range(1, 9))
    with pytest.raises(InvalidInput, match="client 3"):
        _ = task.shards[3]
    with pytest.raises(InvalidInput, match="without examples"):
        without_examples(task, [1, 0])


@pytest.mark.parametrize("text", ["", "a", "1-", "1,,2"])
def test_numbers_that_are_none(text: str) -> None:
    with pytest.raises(InvalidInput, match="clients"):
        numbers_of(text)
