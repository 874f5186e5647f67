"""Who takes part: tasks, clients, which tasks each agreed to, and who is idle right now."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from fairopt.errors import InvalidInput
from fl_runtime.training.client_sampling import ClientSampling, draw_with, inclusion_chances
from fl_runtime.training.task import Task
from fl_runtime.whole_numbers import whole_down, whole_up


@dataclass(frozen=True)
class Federation:
    """Everything an algorithm may know about its clients.

    Attributes:
        tasks: The tasks, in the order of all per-task arrays.
        num_clients: Number of clients, recruited or not.
        fraction_train: Share of the clients that are active in a round.
        eligible: (num_clients, num_tasks) bool, True where a client agreed to train a task.
        over_selection: In rounds, this many times the clients needed are selected, and the first
            answers count.
        present: (num_clients,) bool, True for clients that are available now; None for all.
        busy: (num_clients,) bool, True for clients with a job; None for no client.
        in_flight: Jobs under way by task.
        companions: Tasks of the algorithm's own, trained like the others and never reported; none,
            or one beside every task, in their order.
        answer_chance: Chance that a job is answered, of all jobs alike.
        equal_speeds: Whether the delays of all clients have one law.
        equal_tasks: Whether the delays of all tasks have one law.
        sampling: By what weights active clients are drawn; None for equal ones.
    """

    tasks: tuple[Task, ...]
    num_clients: int
    fraction_train: float
    eligible: NDArray[np.bool_]
    over_selection: float = 1.0
    present: NDArray[np.bool_] | None = None
    busy: NDArray[np.bool_] | None = None
    in_flight: Mapping[str, int] = field(default_factory=dict)
    companions: tuple[Task, ...] = ()
    answer_chance: float = 1.0
    equal_speeds: bool = True
    equal_tasks: bool = True
    sampling: ClientSampling | None = None

    def __post_init__(self) -> None:
        names = [task.name for task in (*self.tasks, *self.companions)]
        if len(set(names)) < len(names):
            raise InvalidInput("task", names, "tasks with different names")
        expected = (self.num_clients, len(self.tasks))
        if self.eligible.shape != expected:
            raise InvalidInput("eligible", self.eligible.shape, f"of shape {expected}")
        for task in self.tasks:
            if len(task.shards) != self.num_clients:
                raise InvalidInput(
                    f"task {task.name}", len(task.shards), f"{self.num_clients} client shards"
                )

    @property
    def num_active(self) -> int:
        """Clients whose answers count in a round, at least one."""
        return active_count(self.num_clients, self.fraction_train)

    @property
    def reachable(self) -> NDArray[np.bool_]:
        """(num_clients,) bool, True for clients that are available now, with a job or without."""
        everybody = np.ones(self.num_clients, dtype=np.bool_)
        return everybody if self.present is None else self.present

    @property
    def idle(self) -> NDArray[np.int64]:
        """Clients that are available now and have no job."""
        reachable = self.reachable
        return np.flatnonzero(reachable if self.busy is None else reachable & ~self.busy)

    @property
    def open_tasks(self) -> list[str]:
        """Names of the tasks that some client may train."""
        return [self.tasks[index].name for index in np.flatnonzero(self.eligible.any(axis=0))]

    def models_of(self, tasks: Collection[str]) -> set[str]:
        """Names of those tasks and of the companions beside them: what their jobs are called."""
        beside = zip(self.tasks, self.companions, strict=False)
        return {*tasks, *(companion.name for task, companion in beside if task.name in tasks)}

    def without(self, finished: Collection[str]) -> Federation:
        """The same, with those tasks closed to all clients."""
        if not finished:
            return self
        still = np.array([task.name not in finished for task in self.tasks])
        return replace(self, eligible=self.eligible & still)

    @property
    def num_selected(self) -> int:
        """Clients that are asked in a round: those needed, or more, but no more than are idle."""
        return min(whole_up(self.over_selection * self.num_active), self.idle.size)

    @property
    def selection_chance(self) -> NDArray[np.float64]:
        """(num_clients,) chance that a client is asked in a round, zero unless it is idle."""
        chance = np.zeros(self.num_clients)
        if self.sampling is not None:
            chance[self.idle] = inclusion_chances(
                self._weights(self.sampling)[self.idle], self.num_selected
            )
            return chance
        chance[self.idle] = self.num_selected / max(self.idle.size, 1)
        return chance

    def check_sampling(self) -> None:
        """Refuse a law of sampling that gives no weights."""
        if self.sampling is not None:
            self._weights(self.sampling)

    def _weights(self, sampling: ClientSampling) -> NDArray[np.float64]:
        """What a law of sampling gives, if it is one."""
        sizes = np.array([task.sizes for task in self.tasks]).T
        found = np.asarray(sampling.weights(np.where(self.eligible, sizes, 0)), np.float64)
        if found.shape != (self.num_clients,) or not (
            np.isfinite(found).all() and (found >= 0).all()
        ):
            requirement = f"a law that gives {self.num_clients} finite weights >= 0"
            raise InvalidInput("clients.sampling", type(sampling).__name__, requirement)
        return found

    def draw_active(self, rng: Generator) -> NDArray[np.int64]:
        """The active clients of a round, in order: idle ones, equally likely or by `sampling`."""
        if self.sampling is not None:
            chances = self.selection_chance
            return draw_with(chances, rng) if chances.any() else np.zeros(0, dtype=np.int64)
        return np.sort(rng.choice(self.idle, self.num_selected, replace=False))


def active_count(num_clients: int, fraction_train: float) -> int:
    """Clients drawn per round: the share rounded down, at least one.

    Example:
        >>> active_count(100, 0.29)
        29
    """
    return max(1, whole_down(fraction_train * num_clients))
