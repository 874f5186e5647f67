"""The executor and its nodes on a grid that is no network: every reply that a node can send."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch

from fl_runtime.flower.handshake import settings_of, versions_here
from fl_runtime.flower.messages import Packed
from fl_runtime.flower.site import Site
from fl_runtime.training.job import Job, Update
from tests.fl_runtime.small import config

pytest.importorskip("flwr")

from flwr.app import Error, Message, MessageType, RecordDict
from flwr.common.constant import ErrorCode
from flwr.supercore.task_identity import TaskIdentity

from fairopt import InvalidInput
from fl_runtime.flower.executor import FlowerExecutor
from fl_runtime.flower.members import Members
from fl_runtime.flower.records import content_of, packed_of, refusal_of
from fl_runtime.simulation.clock import PendingJob

Reply = Callable[[Message], Message]


class Grid:
    """Answers every message by a function of its node's number; None is no answer."""

    def __init__(self, nodes: dict[int, Callable[[Message], RecordDict | Error | None]]) -> None:
        self.nodes, self.replies, self.numbers = nodes, dict[str, Message](), itertools.count()
        self.messages: list[Message] = []

    def get_node_ids(self) -> Iterable[int]:
        return list(self.nodes)

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        keys = []
        for message in messages:
            self.messages.append(message)
            keys.append(str(next(self.numbers)))
            message.metadata.__dict__["_message_id"] = keys[-1]
            content = self.nodes[message.metadata.dst_node_id](message)
            if content is not None:
                self.replies[keys[-1]] = Message(content, reply_to=message)
        return keys

    def pull_messages(self, keys: Iterable[str]) -> list[Message]:
        return [self.replies.pop(key) for key in keys if key in self.replies]


@pytest.fixture(autouse=True)
def _process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages want to know whose they are."""
    for name in ("_task_id", "_run_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)


SITES = {
    1: Site(config(), 0, range(4), name="one"),
    2: Site(config(), 0, range(4, 8), name="two"),
}


def honest(node: int) -> Callable[[Message], RecordDict]:
    """A node that does as it should."""

    def answer(message: Message) -> RecordDict:
        site, tree = SITES[node], packed_of(message.content).tree
        if message.metadata.message_type == MessageType.QUERY:
            return content_of(Packed.of(site.introduction().tree()))
        return content_of(site.train(tree))

    return answer


def federation(**changed: Any) -> tuple[Grid, Members]:
    grid = Grid({1: honest(1), 2: honest(2), **{int(k[1:]): v for k, v in changed.items()}})
    members = Members(grid, 8, versions_here(), settings_of(config()), ("arm", 0))  # type: ignore[arg-type]
    return grid, members


def jobs() -> list[Job]:
    """One of every client, in two tasks."""
    return [
        Job(task.name, client, 0, 0.0, task.initial, seed=client)
        for client in range(8)
        for task in SITES[1].tasks
    ]


def pending() -> list[PendingJob]:
    return [PendingJob(9.0, number, 0, "answers", job) for number, job in enumerate(jobs())]


def test_it_is_an_executor_like_any_other() -> None:
    grid, members = federation()
    members.gather(5.0)
    executor = FlowerExecutor(grid, members)  # type: ignore[arg-type]
    before = len(grid.messages)
    executor.submit(jobs())
    found: list[Update] = []
    while updates := executor.poll():
        found += updates
    assert len(grid.messages) - before == 2  # one per node, with all of its jobs
    assert len(found) == 16
    local = SITES[1].parts.executor
    local.submit(jobs())
    wanted = {(u.task, u.client): u for u in local.poll()}
    for update in found:
        mine = wanted[update.task, update.client].delta
        assert all(torch.allclose(update.delta[k], v, atol=1e-6) for k, v in mine.items())
    assert executor.figures()["bytes-sent"] > 0
    assert executor.figures()["bytes-sent"] == 0


def heard(executor: FlowerExecutor) -> dict[int, Any]:
    executor.send(pending(), 60.0)
    return {each.number: each for each in executor.listen()}


def trains(reply: RecordDict | Error | None) -> Callable[[Message], RecordDict | Error | None]:
    """A node that introduces itself well and then says this."""

    def answer(message: Message) -> RecordDict | Error | None:
        query = message.metadata.message_type == MessageType.QUERY
        return honest(2)(message) if query else reply

    return answer


BAD: dict[str, tuple[RecordDict | Error, bool]] = {
    "two: the node is lost (code 5)": (Error(ErrorCode.NODE_UNAVAILABLE), False),
    "two: its ClientApp failed (code 2: why)": (Error(2, "why"), False),
    "two: out of memory": (refusal_of("out of\n memory"), False),
    "two: message =": (RecordDict(), True),
    "two: reply = 'no updates'": (content_of(Packed.of({})), True),
}


@pytest.mark.parametrize("reason", BAD)
def test_every_reply_that_is_none_is_named(reason: str) -> None:
    reply, refused = BAD[reason]
    grid, members = federation(n2=trains(reply))
    members.gather(5.0)
    found = heard(FlowerExecutor(grid, members))  # type: ignore[arg-type]
    assert all(found[number].update is not None for number in range(8))
    for number in range(8, 16):
        assert found[number].reason.startswith(reason)
        assert found[number].refused is refused


def test_messages_that_are_too_large_are_not_sent() -> None:
    grid, members = federation()
    members.gather(5.0)
    before = len(grid.messages)
    found = heard(FlowerExecutor(grid, members, largest=10))  # type: ignore[arg-type]
    assert len(grid.messages) == before
    assert all("bytes (at most 10)" in each.reason for each in found.values())


def test_a_silent_node_gets_no_work_until_it_is_heard() -> None:
    grid, members = federation(n2=trains(None))
    members.gather(5.0)
    executor = FlowerExecutor(grid, members)  # type: ignore[arg-type]
    assert len(heard(executor)) == 8
    members.silent.add(2)
    assert members.present(0, 8, 0.0).tolist() == [True] * 4 + [False] * 4
    executor.give_up(pending()[8:])  # asks it to introduce itself again, which it can
    members.look()
    assert members.present(0, 8, 0.0).all()


def test_who_is_refused_is_named_and_a_run_does_not_begin() -> None:
    _, members = federation(n2=lambda _: refusal_of("no such file"), n3=honest(1))
    with pytest.raises(InvalidInput) as caught:
        members.gather(0.5)
    text = str(caught.value)
    assert "node 2 refused: no such file" in text
    assert "node 3 refused: client 0 is at one" in text
    assert "clients without a node: 4, 5, 6, 7" in text
    assert members.present(0, 8, 0.0).tolist() == [True] * 4 + [False] * 4


def test_where_nobody_is_there_no_rounds_pass() -> None:
    _, members = federation()
    members.gather(5.0)
    members.patience = 0.0
    members.silent |= {1, 2}
    with pytest.raises(InvalidInput, match="resume when there are"):
        members.present(0, 8, 0.0)


def test_clients_come_back_under_another_number_once_their_node_is_lost() -> None:
    grid, members = federation(n3=honest(2))
    members.gather(5.0)
    assert members.refused == {3: "client 4 is at two"}
    members.silent.add(2)
    grid.nodes[2] = lambda _: None
    members.look(often=True)
    assert members.node_of(4) == 3
    assert members.refused == {}
