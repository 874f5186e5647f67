"""Numbers that travel, by hand: an encoder of 48, a decoder of 32, heads of 36 and 27."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from fl_runtime.algorithms import ALGORITHMS
from fl_runtime.algorithms.base import Algorithm
from fl_runtime.algorithms.exchange import Exchange, traffic
from fl_runtime.data.dataset import Dataset
from fl_runtime.data.partitions import IID
from fl_runtime.training.federation import Federation
from fl_runtime.training.job import Update
from fl_runtime.training.models import build_model
from fl_runtime.training.task import LocalTraining, Task
from fl_runtime.training.task_from_data import make_task
from tests.fl_runtime.rounds import trained

ENCODER, DECODER, HEADS = 48, 32, 36 + 27 + 36
BOTH_CLIENTS, THREE_PAIRS = 2, 3
WHOLE = THREE_PAIRS * (ENCODER + DECODER) + HEADS
ONE_TRUNK = BOTH_CLIENTS * (ENCODER + DECODER) + HEADS
PROXIES = 2 * (15 * 4 + 4 + 4 * 4 + 4) + (15 * 4 + 4 + 4 * 3 + 3)


def task_of(name: str, classes: int) -> Task:
    """Two clients' examples with 15 features, for a model of three layers."""
    rng = np.random.default_rng(classes)
    labels = np.arange(20 * classes) % classes
    features = rng.normal(size=(labels.size, 15)).astype(np.float32)
    data = Dataset(features, labels.astype(np.int64), classes)
    model = build_model("mlp", (15,), classes, [3, 8], seed=classes)
    training = LocalTraining(0.1, 2, 50)
    return make_task(name, data, model, training, IID(), num_clients=2, seed=0)


def federation(algorithm: Algorithm) -> Federation:
    """The first client holds both tasks, the second one of them."""
    tasks = task_of("four", 4), task_of("three", 3)
    held = np.array([[True, True], [True, False]])
    return Federation(tasks, 2, 1.0, held, companions=algorithm.companions(tasks, 0))


def sent(name: str, rounds: int = 1, **settings: Any) -> list[int]:
    """The traffic of every round."""
    algorithm = ALGORITHMS[name](**settings)
    fed = federation(algorithm)
    state: Any = algorithm.init(fed, 0)
    found = []
    for _ in range(rounds):
        state, jobs = algorithm.dispatch(state, fed, 0.0)
        updates = trained((*fed.tasks, *fed.companions), jobs)
        state = algorithm.aggregate(state, updates)
        found.append(traffic(updates, partial(algorithm.exchange, state)))
    return found


@pytest.mark.parametrize(
    ("name", "settings", "numbers"),
    [
        ("fed-avg", {}, 2 * WHOLE),
        ("local", {}, 0),
        ("local", {"share_trunk": True}, 0),
        ("fed-per", {"shared_layers": ("1",)}, 2 * THREE_PAIRS * ENCODER),
        ("fed-per", {}, 2 * THREE_PAIRS * (ENCODER + DECODER)),
        ("fed-per", {"shared_layers": ("1",), "share_trunk": True}, 2 * BOTH_CLIENTS * ENCODER),
        ("fed-hca2", {"shared_layers": ("1",)}, 2 * (BOTH_CLIENTS * ENCODER + 3 * DECODER)),
        ("fed-hca2", {"shared_layers": ("1",), "encoder": "own"}, 2 * THREE_PAIRS * DECODER),
        ("fed-hca2", {"shared_layers": ("1",), "decoder": "own"}, 2 * BOTH_CLIENTS * ENCODER),
        ("ditto", {}, 2 * WHOLE),
        ("ditto", {"share_trunk": True}, 2 * ONE_TRUNK),
        ("fair-grad", {"where": "client"}, 2 * ONE_TRUNK),
        ("fair-grad", {"where": "server"}, ONE_TRUNK + WHOLE),
    ],
)
def test_a_round_sends_what_is_exchanged(name: str, settings: dict[str, Any], numbers: int) -> None:
    assert sent(name, **settings) == [numbers]


def test_the_example_of_the_field() -> None:
    """288 and 384 numbers, where whole models are 678."""
    layers = {"shared_layers": ("1",)}
    assert sent("fed-avg") == [678]
    assert sent("fed-per", **layers) == [288]
    assert sent("fed-hca2", **layers) == [384]


@pytest.mark.parametrize("share_trunk", [False, True])
def test_references_of_fed_ram_stay_with_their_clients(share_trunk: bool) -> None:
    stages = sent("fed-ram", 3, reference_rounds=1, proxy_rounds=1, share_trunk=share_trunk)
    if share_trunk:  # one copy of the trunk less on the way to the client with both tasks
        assert stages == [0, 2 * PROXIES - (15 * 4 + 4), ONE_TRUNK + WHOLE]
    else:
        assert stages == [0, 2 * PROXIES, 2 * WHOLE]


@pytest.mark.parametrize("name", ["fed-ast", "fed-async", "fed-buff"])
def test_asynchronous_answers_of_one_client_each_count(name: str) -> None:
    algorithm = ALGORITHMS[name]()
    fed = federation(algorithm)
    state = algorithm.init(fed, 0)
    delta = {key: torch.zeros_like(value) for key, value in state.models["four"].items()}
    one = Update("four", 0, 0, delta, 9)
    exchange = partial(algorithm.exchange, state)
    assert traffic([one, replace(one, version=1)], exchange) == 2 * 2 * (ENCODER + DECODER + 36)


def test_once_is_once_per_client_and_direction() -> None:
    delta = {"trunk": torch.zeros(5), "head": torch.zeros(2)}
    updates = [Update(task, client, 0, delta, 9) for client in (0, 1) for task in ("a", "b", "c")]
    down = Exchange(("trunk", "head"), once_down=("trunk",))
    both = Exchange(("trunk", "head"), once_down=("trunk",), once_up=("trunk",))
    assert traffic(updates, lambda task: down) == 2 * (5 + 3 * 2) + 2 * 3 * (5 + 2)
    assert traffic(updates, lambda task: both) == 2 * 2 * (5 + 3 * 2)
    assert traffic([], lambda task: both) == 0
