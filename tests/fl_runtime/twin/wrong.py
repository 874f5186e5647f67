"""Twins with one mistake each: a comparison that lets them pass is no comparison.

Each names the configuration that must tell it from the runtime.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np

from tests.fl_runtime.twin import arrivals, clock, hca, local, personal, ram, rounds, trunks, world
from tests.fl_runtime.twin.draws import Tree

TOY = "tests.fl_runtime.twin.toy:"
EXPONENTIAL = {"model": "exponential"}


def tree(algorithm: str, /, **changes: Any) -> Tree:
    """Two small tasks and six clients; `changes` of sections, and `settings` of all tasks."""
    settings = changes.pop("settings", {})
    model = {"model": "mlp", "hidden": [3, 4], "learning_rate": 0.1, **settings}
    found: Tree = {
        "run": {"algorithm": algorithm, "seeds": [3], "num_server_rounds": 4},
        "task": [
            {"name": "a", "data": f"{TOY}three", **model},
            {"name": "b", "data": f"{TOY}four", **model},
        ],
        "clients": {"num_clients": 6, "batch_size": 5, "partition": "dirichlet"},
        "algorithm": {},
        "recruitment": {},
    }
    return {
        key: {**value, **changes.get(key, {})} if key != "task" else value
        for key, value in found.items()
    }


@dataclass(frozen=True)
class Mistake:
    """What is wrong, where it is put, and the configuration that shows it."""

    what: str
    place: Any
    name: str
    replacement: Any
    tree: Tree

    @contextmanager
    def made(self) -> Iterator[None]:
        """With the mistake in the twin."""
        with mock.patch.object(self.place, self.name, self.replacement):
            yield


def _without(name: str, value: Any) -> Callable[..., Any]:
    """Local steps with another value of one setting."""
    right = local.Optimiser.__init__

    def made(self: Any, settings: Any, memory: Any) -> None:
        right(self, settings.model_copy(update={name: value}), memory)

    return made


def _plain_mean(self: Any, jobs: list[Any]) -> list[float]:
    """Equal shares whatever the data."""
    return [1.0 / len(jobs)] * len(jobs)


def _older(self: Any, job: Any) -> int:
    """One version too many."""
    return int(self.versions[job.task] - job.version + 1)


def _in_order(self: Any) -> tuple[float, float, int]:
    """Jobs that end together come as they were sent."""
    return self.end, 0.0, self.number


def _own_start(self: Any, job: Any) -> None:
    """No pull."""


def _from_the_initial_model(self: Any, task: int, client: int) -> Any:
    """A client's trunk is forgotten where it is recruited for a further task."""
    model = self.own.get((task, client))
    return (
        self.world.models[self.world.names[task]]
        if model is None
        else {**model, **self.trunks.get(client, {})}
    )


def _by_task(self: Any, job: Any) -> Any:
    """The optimiser's state of the trunk is that of the task's own last job."""
    return self.world.remembered((job.name, job.client), job.work)


def _keep_by_task(self: Any, jobs: list[Any]) -> None:
    """Likewise."""
    for job in jobs:
        self.world.memories[job.name, job.client] = job.answer.memory


def _always(self: Any) -> dict[int, list[Any]]:
    """Whoever has trained anything stands for every task."""
    w = self.world
    everybody = {k for _, k in self.own}
    return {s: [self.payload(s, k) for k in sorted(everybody)] for s in range(w.S)}


def _floor(self: Any, task: int) -> int:
    """Buffers rounded down."""
    return max(1, int(self.under_way[task] / self.world.options.get("ratio", 32.0)))


def _everybody_there(self: Any, task: int, who: Any) -> Any:
    """Shares of data over all clients, asked or not."""
    sizes = np.array([self.world.problems[task].size(k) for k in range(self.world.N)])
    return sizes / sizes.sum()


def _uniform_attention(Z: Any) -> Any:
    """Every decoder gets the mean."""
    return np.full_like(Z, 1.0 / len(Z))


def _no_reference(self: Any, task: int, client: int) -> Any:
    """The untrained model."""
    return self.world.beside[task].initial


HELD = {"task_sets": [["a", "b"], ["a"], ["b"]]}
AGAIN = {
    "rule": "random-recruitment",
    "budget": 3.0,
    "every": 1,
    "drift": {"model": "geometric-walk", "sigma": 0.6},
}
SHARED = {"share_trunk": True}
LOST = {"dropout": 0.4}
PERSIST = {"momentum": 0.8, "persist_optimizer": True}

MISTAKES = (
    Mistake(
        "momentum dropped",
        local.Optimiser,
        "__init__",
        _without("momentum", 0.0),
        tree("fed-avg", settings={"momentum": 0.5}),
    ),
    Mistake(
        "weight decay dropped",
        local.Optimiser,
        "__init__",
        _without("weight_decay", 0.0),
        tree("random", settings={"optimizer": "adamw", "weight_decay": 0.05}),
    ),
    Mistake(
        "mean instead of data-weighted",
        rounds.Rounds,
        "coefficients_by_data",
        _plain_mean,
        tree("fed-avg", clients={"num_clients": 7}),
    ),
    Mistake(
        "no proximal term",
        rounds.FedProx,
        "prepare",
        _own_start,
        tree("fed-prox", algorithm={"mu": 0.5}),
    ),
    Mistake("plain mean instead of q-FFL", rounds.QFFL, "coefficients", _plain_mean, tree("q-ffl")),
    Mistake(
        "staleness one too large",
        arrivals.Arrivals,
        "age",
        _older,
        tree("fed-buff", algorithm={"buffer_size": 2}, clients={"delay": EXPONENTIAL}),
    ),
    Mistake(
        "the same in FedAsync",
        arrivals.Arrivals,
        "age",
        _older,
        tree("fed-async", clients={"delay": EXPONENTIAL}),
    ),
    Mistake(
        "buffers rounded down",
        arrivals.FedAST,
        "capacity",
        _floor,
        tree(
            "fed-ast",
            algorithm={"ratio": 2.0, "concurrency": [3, 3]},
            clients={"delay": EXPONENTIAL},
        ),
    ),
    Mistake(
        "ties in the order of sending",
        world.Sent,
        "order",
        property(_in_order),
        tree("fed-buff", algorithm={"buffer_size": 2}),
    ),
    Mistake(
        "shares of data over the absent",
        rounds.Rounds,
        "shares",
        _everybody_there,
        tree(
            "random",
            algorithm={"aggregation": "importance"},
            clients={"availability": {"model": "on-off", "on": 1.0, "off": 1.0}},
        ),
    ),
    Mistake(
        "all answers count by the same chance",
        rounds,
        "first_chance",
        lambda *numbers: 1.0,
        tree(
            "random",
            algorithm={"aggregation": "importance"},
            clients={"fraction_train": 0.5, "over_selection": 1.5},
        ),
    ),
    Mistake(
        "all clients are equally fast",
        clock,
        "speeds",
        lambda clients, seed: np.ones(clients.num_clients),
        tree("fed-avg", clients={"speeds": {"shares": [0.5, 0.5], "factors": [2.0, 1.0]}}),
    ),
    Mistake(
        "speeds stay as they were",
        clock.Clock,
        "speed",
        lambda self, begin: self.speeds[0.0],
        tree(
            "fed-buff",
            clients={"speed_changes": [{"at": 1.5, "shares": [0.5, 0.5], "factors": [1.0, 4.0]}]},
        ),
    ),
    Mistake(
        "everybody is there",
        clock.Clock,
        "present",
        lambda self, now: np.ones(self.clients.num_clients, dtype=bool),
        tree("fed-avg", clients={"availability": {"model": "on-off", "on": 1.0, "off": 1.0}}),
    ),
    Mistake(
        "a client's trunk falls back to the initial one",
        personal.Local,
        "payload",
        _from_the_initial_model,
        tree("local", algorithm=SHARED, recruitment=AGAIN),
    ),
    Mistake(
        "a task is judged by clients that do not hold it",
        personal.Local,
        "judged",
        _always,
        tree("local", recruitment=AGAIN),
    ),
    Mistake(
        "momentum of a trunk by task",
        personal.Local,
        "recalled",
        _by_task,
        tree("local", algorithm=SHARED, clients=LOST, settings=PERSIST),
    ),
    Mistake(
        "no mean over clients alike",
        hca.FedHCA2,
        "own_updates",
        lambda self, jobs: {(j.task, j.client): dict(j.answer.delta) for j in jobs},
        tree("fed-hca2", algorithm={"shared_layers": ["1"]}),
    ),
    Mistake(
        "uniform attention",
        hca,
        "_softmax",
        _uniform_attention,
        tree("fed-hca2", algorithm={"shared_layers": ["1"], "attention": "scale-free"}),
    ),
    Mistake(
        "untrained references",
        ram.FedRAM,
        "own_reference",
        _no_reference,
        tree("fed-ram", algorithm={"reference_rounds": 1, "proxy_rounds": 2}),
    ),
    Mistake(
        "trunks along the mean",
        trunks.directions,
        "weights",
        lambda method, X, *_: (np.full(len(X), 1.0 / len(X)), "decided"),
        tree("fair-grad"),
    ),
)
"""A handful, spread over the algorithms."""
