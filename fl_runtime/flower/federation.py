"""A run whose clients are at nodes: what `running.build.assemble` makes, with nodes behind it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from flwr.serverapp import Grid

from fairopt.errors import InvalidInput
from fl_runtime.configuration.schema import Config
from fl_runtime.configuration.toml_files import digest
from fl_runtime.execution.pool import WorkerPool
from fl_runtime.flower.executor import FlowerExecutor
from fl_runtime.flower.handshake import counts_of, settings_of, versions_here
from fl_runtime.flower.members import Members
from fl_runtime.flower.messages import LARGEST
from fl_runtime.flower.wall_clock import Deadline, WallClock
from fl_runtime.running.build import Parts, assemble
from fl_runtime.training.remote_shards import without_examples

GATHERING = 300.0
"""Seconds in which every client has to be at a node: SuperNodes start within a few, cold ones that
load much data within a minute."""


@dataclass(frozen=True)
class Limits:
    """What a federation waits for and takes.

    Attributes:
        gather: Seconds in which every client has to be at a node, and for which nobody may be.
        deadline: Makes the deadlines of messages.
        largest: Bytes of a message, either way.
    """

    gather: float = GATHERING
    deadline: Callable[[], Deadline] = Deadline
    largest: int = LARGEST


class Federated:
    """Makes the parts of an arm and seed, an `Assembler`; its nodes are asked once for each."""

    def __init__(self, grid: Grid, arms: dict[str, str], limits: Limits) -> None:
        """Nobody has been asked.

        Args:
            grid: The connection to the SuperLink.
            arms: Names of arms, by the digests of their configurations.
            limits: What is waited for.
        """
        self._grid, self._arms, self._limits = grid, arms, limits
        self._known: dict[tuple[str, int], Members] = {}

    def __call__(self, config: Config, seed: int, pool: WorkerPool | None = None) -> Parts:
        """The parts, once every client is at a node; there jobs are trained, not by a pool here.

        Raises:
            InvalidInput: The configuration simulates what a federation has by itself, or clients
                are at no node.
        """
        check_real(config)
        parts = assemble(config, seed)
        members = self._members(config, seed)
        tasks = (*parts.federation.tasks, *parts.federation.companions)
        counts = counts_of(
            list(members.welcome.values()), [t.name for t in tasks], config.clients.num_clients
        )
        known = [without_examples(task, counts[task.name]) for task in tasks]
        first = len(parts.federation.tasks)
        federation = replace(
            parts.federation,
            tasks=tuple(known[:first]),
            companions=tuple(known[first:]),
            equal_speeds=False,
            equal_tasks=False,
        )
        executor = FlowerExecutor(self._grid, members, largest=self._limits.largest)
        return replace(
            parts,
            federation=federation,
            executor=executor,
            availability=members,
            wall=WallClock(executor, self._limits.deadline()),
        )

    def _members(self, config: Config, seed: int) -> Members:
        """The nodes, which have introduced themselves for this arm and seed."""
        run = self._arms[digest(config)], seed
        if run not in self._known:
            self._known[run] = Members(
                self._grid,
                config.clients.num_clients,
                versions_here(),
                settings_of(config),
                run,
                self._limits.gather,
            )
        self._known[run].gather(self._limits.gather)
        return self._known[run]


def check_real(config: Config) -> None:
    """Refuse losses that are simulated: a federation has its own.

    Delays, speeds and what follows from them are left alone; they have no meaning here, and the
    same file stays the file of the simulation.

    Raises:
        InvalidInput: Clients are simulated to drop out, to fail, or to be away.
    """
    clients = config.clients
    for name, value in (("dropout", clients.dropout), ("failures", clients.failures)):
        if value:
            raise InvalidInput(f"clients.{name}", value, "0 in a federation, which has its own")
    if clients.availability != {"model": "always"}:
        requirement = "always in a federation, whose nodes come and go"
        raise InvalidInput("clients.availability", clients.availability, requirement)
