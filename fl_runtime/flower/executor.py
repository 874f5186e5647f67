"""The executor whose clients are elsewhere: one message to every node, with all of its jobs.

It keeps the contract of all executors (`submit`, `poll`), and is the carrier of the clock of the
wall (`wall_clock.Carrier`), which wants to know what became of every single job. Nothing here waits
for a node that does not answer: that is the clock's business.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from flwr.app import Message, MessageType
from flwr.serverapp import Grid

from fairopt.errors import InvalidInput
from fl_runtime.flower.members import Members, words_of
from fl_runtime.flower.messages import LARGEST, packed_jobs, unpacked_updates
from fl_runtime.flower.records import content_of, packed_of, why_refused
from fl_runtime.flower.wall_clock import LISTENING, Heard
from fl_runtime.simulation.clock import PendingJob
from fl_runtime.training.job import Job, Update

SPARE = 2.0
"""A message lives this many times its deadline, so that a late answer is at least seen."""


@dataclass(frozen=True)
class Sent:
    """A message on its way.

    Attributes:
        node: To whom.
        jobs: Its jobs by number.
        until: When its answer is no longer looked for.
    """

    node: int
    jobs: Mapping[int, Job]
    until: float


class FlowerExecutor:
    """Takes jobs to nodes."""

    def __init__(self, grid: Grid, members: Members, *, largest: int = LARGEST) -> None:
        """Nothing is under way.

        Args:
            grid: The connection to the SuperLink.
            members: Knows whose clients are where.
            largest: Bytes that a message may have, either way.
        """
        self._grid, self._members, self._largest = grid, members, largest
        self._sent: dict[str, Sent] = {}
        self._heard: list[Heard] = []
        self._bytes = {"bytes-sent": 0, "bytes-received": 0}
        self._next = 0

    def send(self, entries: Sequence[PendingJob], seconds: float) -> None:
        """One message to every node that has one of these clients."""
        self._push({entry.number: entry.job for entry in entries}, seconds)

    def listen(self) -> list[Heard]:
        """What became of jobs since the last call."""
        self._members.look()
        now = time.monotonic()
        self._sent = {key: sent for key, sent in self._sent.items() if sent.until > now}
        if self._sent:
            for reply in self._grid.pull_messages(list(self._sent)):
                sent = self._sent.pop(reply.metadata.reply_to_message_id, None)
                if sent is not None:
                    self._heard += self._taken(sent, reply)
        heard, self._heard = self._heard, []
        return heard

    def give_up(self, entries: Sequence[PendingJob]) -> None:
        """Their nodes get no work until something is heard from them."""
        nodes = {self._members.node_of(entry.job.client) for entry in entries}
        silent = {node for node in nodes if node is not None}
        self._members.silent |= silent
        self._members.ask(silent)

    def figures(self) -> Mapping[str, float]:
        """Bytes since the last call, and nodes that are there."""
        found = {**self._bytes, "num-nodes": len(self._members.online - self._members.silent)}
        self._bytes = dict.fromkeys(self._bytes, 0)
        return found

    def submit(self, jobs: Iterable[Job]) -> None:
        """Take jobs."""
        numbered = dict(enumerate(jobs, start=self._next))
        self._next += len(numbered)
        self._push(numbered, float("inf"))

    def poll(self) -> list[Update]:
        """The next answers, once there are some; an empty list means nothing is under way."""
        while True:
            updates = [each.update for each in self.listen() if each.update is not None]
            if updates or not self._sent:
                return updates
            time.sleep(LISTENING)

    def _push(self, numbered: Mapping[int, Job], seconds: float) -> None:
        """Send jobs to their nodes, or say why they are not sent."""
        by_node: dict[int | None, dict[int, Job]] = {}
        for number, job in numbered.items():
            by_node.setdefault(self._members.node_of(job.client), {})[number] = job
        for node, jobs in by_node.items():
            if node is None:
                self._lose(jobs, "its client is at no node")
                continue
            message = packed_jobs(list(jobs.items()), self._members.run)
            if message.size > self._largest:
                size = f"{message.size} bytes (at most {self._largest})"
                self._lose(jobs, f"the message to {self._members.name(node)} has {size}")
                continue
            self._bytes["bytes-sent"] += message.size
            self._post(node, jobs, Message(content_of(message), node, MessageType.TRAIN), seconds)

    def _post(self, node: int, jobs: Mapping[int, Job], message: Message, seconds: float) -> None:
        """Hand a message to Flower."""
        if seconds < float("inf"):
            message.metadata.ttl = SPARE * seconds
        keys = list(self._grid.push_messages([message]))
        if not keys or not keys[0]:
            self._lose(jobs, f"Flower did not take the message to {self._members.name(node)}")
            return
        self._sent[keys[0]] = Sent(node, jobs, time.monotonic() + SPARE * seconds)

    def _taken(self, sent: Sent, reply: Message) -> list[Heard]:
        """What a reply says about every job of its message."""
        name = self._members.name(sent.node)
        if reply.has_error():
            return self._all(sent, f"{name}: {words_of(reply.error)}")
        self._members.silent.discard(sent.node)
        reason = why_refused(reply.content)
        if reason is not None:
            return self._all(sent, f"{name}: {reason}")
        try:
            message = packed_of(reply.content)
            self._bytes["bytes-received"] += message.size
            if message.size > self._largest:
                requirement = f"at most {self._largest}"
                raise InvalidInput("reply", f"{message.size} bytes", requirement)
            found = unpacked_updates(message.tree, sent.jobs)
        except InvalidInput as error:
            return self._all(sent, f"{name}: {error}", refused=True)
        return [
            Heard(number, each)
            if isinstance(each, Update)
            else Heard(number, reason=f"{name}: {each}", refused=True)
            for number, each in found.items()
        ]

    def _all(self, sent: Sent, reason: str, *, refused: bool = False) -> list[Heard]:
        """The same of all jobs of a message."""
        return [Heard(number, reason=reason, refused=refused) for number in sent.jobs]

    def _lose(self, jobs: Mapping[int, Job], reason: str) -> None:
        """Jobs that are not sent."""
        self._heard += [Heard(number, reason=reason) for number in jobs]
