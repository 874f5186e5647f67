"""``[server]``: steps of the mean of updates, and updates of bounded length."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from fairopt.errors import InvalidInput
from fl_runtime.algorithms import FedAvg, ServerState
from fl_runtime.algorithms.server_optimizers import (
    SERVER_OPTIMIZERS,
    FedAdagrad,
    FedAdam,
    FedAvgM,
    FedYogi,
    Server,
    ServerOptimizer,
)
from fl_runtime.configuration.toml_files import check_config, digest, dump_toml
from fl_runtime.running.build import assemble
from fl_runtime.running.experiment import run
from fl_runtime.running.preflight import check_all_arms
from fl_runtime.training.job import Update
from tests.fl_runtime.extension import own_algorithms
from tests.fl_runtime.extension.own_algorithms import FedAdam as OwnAdam
from tests.fl_runtime.kills import assert_resumes
from tests.fl_runtime.small import config

DELTAS = (2.0, -1.0, 0.25)
REFUSING = ("fair-grad", "local", "fed-per", "ditto", "fed-ram", "fed-hca2", "fed-buff", "fed-ast")


def tree(**changes: Any) -> dict[str, Any]:
    whole = {
        "run": {"algorithm": "fed-avg", "num_server_rounds": 2},
        "task": [
            {"name": data, "data": data, "model": "mlp", "hidden": [3, 3]}
            for data in ("digits-joint", "digits-joint-parity")
        ],
        "clients": {"num_clients": 5},
    }
    return {**whole, **changes}


def moments(kind: str, values: tuple[float, ...]) -> float:
    """Where a weight is after these means, from the formulas of the source."""
    w, m, v = 0.0, 0.0, 0.01**2
    for delta in values:
        m = 0.5 * m + 0.5 * delta
        if kind == "adagrad":
            v = v + delta**2
        elif kind == "adam":
            v = 0.9 * v + 0.1 * delta**2
        else:
            v = v - 0.1 * delta**2 * (1.0 if v > delta**2 else -1.0)
        w += 0.1 * m / (v**0.5 + 0.01)
    return w


def after(optimizer: ServerOptimizer, values: tuple[float, ...] = DELTAS) -> float:
    """The same by the optimiser, from round to round of FedAvg."""
    algorithm = FedAvg(server=Server(optimizer=optimizer))
    state = ServerState(0, 0, {"a": {"w": torch.zeros(1, dtype=torch.float64)}}, {}, {})
    for value in values:
        update = Update("a", 0, 0, {"w": torch.tensor([value], dtype=torch.float64)}, 1)
        state = algorithm.aggregate(state, [update])
    return float(state.models["a"]["w"])


def test_adaptive_steps_are_those_of_the_source() -> None:
    common = {"rate": 0.1, "beta1": 0.5, "tau": 0.01}
    assert after(FedAdagrad(**common)) == pytest.approx(moments("adagrad", DELTAS))
    assert after(FedAdam(**common, beta2=0.9)) == pytest.approx(moments("adam", DELTAS))
    assert after(FedYogi(**common, beta2=0.9)) == pytest.approx(moments("yogi", DELTAS))


def test_momentum_by_hand() -> None:
    """Velocities 2, 1 - 1 = 0, 0 + 0.25; half of each."""
    assert after(FedAvgM(rate=0.5, momentum=0.5)) == pytest.approx(0.5 * (2.0 + 0.0 + 0.25))


def test_the_built_in_adam_is_that_of_five_lines() -> None:
    own = OwnAdam(rate=0.1, beta=(0.5, 0.9), tau=0.01)
    state = ServerState(0, 0, {"a": {"w": torch.zeros(1)}}, {}, {})
    for value in DELTAS:
        state = own.aggregate(state, [Update("a", 0, 0, {"w": torch.tensor([value])}, 1)])
    built_in = after(FedAdam(rate=0.1, beta1=0.5, beta2=0.9, tau=0.01))
    assert float(state.models["a"]["w"]) == pytest.approx(built_in, rel=1e-5)


@pytest.mark.parametrize(
    "server", [{"optimizer": "sgd"}, {"clip_update": 1e9}, {"optimizer": "sgd", "clip_update": 1e9}]
)
def test_what_does_nothing_keeps_every_byte(server: dict[str, Any]) -> None:
    plain, same = (run(check_config(t)).rows for t in (tree(), tree(server=server)))
    assert plain == same


def test_configurations_without_it_are_as_before() -> None:
    settings = config()
    assert "[server]" not in dump_toml(settings)
    assert digest(settings) == "33b97ce06e628262f91c8460a4e28fd9fe19000bf1a64f188b721713b1548799"
    assert digest(check_config(tree(server={"clip_update": 1.0}))) != digest(check_config(tree()))


def test_a_long_update_is_shortened_to_the_bound() -> None:
    server = Server(clip_update=1.0)
    delta = {"a": torch.tensor([3.0]), "b": torch.tensor([4.0])}
    assert server.shrink(delta) == pytest.approx(0.2, rel=1e-6)
    assert server.shrink({"a": torch.tensor([0.5])}) == 1.0
    state = ServerState(0, 0, {"t": {k: torch.zeros(1) for k in delta}}, {}, {})
    moved = FedAvg(server=server).aggregate(state, [Update("t", 0, 0, delta, 1)])
    assert float(moved.models["t"]["b"]) == pytest.approx(0.8, rel=1e-6)


@pytest.mark.parametrize("name", SERVER_OPTIMIZERS)
def test_every_optimiser_resumes_to_equal_bytes(name: str, tmp_path: Path) -> None:
    assert_resumes(check_config(tree(server={"optimizer": name})), tmp_path, after=2)


@pytest.mark.parametrize("algorithm", REFUSING)
@pytest.mark.parametrize("server", [{"optimizer": "adam"}, {"clip_update": 1.0}])
def test_algorithms_with_their_own_sums_refuse_it(algorithm: str, server: dict[str, Any]) -> None:
    own = {"shared_layers": ["1"]} if algorithm == "fed-hca2" else {}
    whole = tree(server=server, run={"algorithm": algorithm, "num_server_rounds": 1}, algorithm=own)
    with pytest.raises(InvalidInput, match=r"server\.(optimizer|clip-update).*left out"):
        check_all_arms(check_config(whole))


@pytest.mark.parametrize("algorithm", ["q-ffl", "fed-prox", "sync-st", "fed-fair-mmfl", "random"])
def test_algorithms_in_rounds_take_it(algorithm: str) -> None:
    server = {"optimizer": {"name": "yogi", "rate": 0.01}, "clip_update": 1.0}
    whole = tree(server=server, run={"algorithm": algorithm, "num_server_rounds": 1})
    parts = assemble(check_config(whole), 0)
    found: Any = parts.algorithm
    assert found.server == Server(optimizer=FedYogi(rate=0.01), clip_update=1.0)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"server": {"optimizer": "adm"}}, "server.optimizer.*did you mean adam"),
        ({"server": {"optimizer": {"name": "adam", "beta3": 0.1}}}, "did you mean beta"),
        ({"server": {"optimizer": {"name": "adam", "beta2": 1.0}}}, r"in \[0, 1\)"),
        ({"server": {"optimizer": {"name": "sgd", "rate": 0.0}}}, "finite and > 0"),
        ({"server": {"clip_update": 0.0}}, "server.clip-update"),
        ({"server": {"optimiser": "adam"}}, "did you mean optimizer"),
        ({"algorithm": {"server": 3}}, r"algorithm\.server = 3.*a table \[server\]"),
        (
            {
                "server": {"optimizer": "adam"},
                "run": {"algorithm": f"{own_algorithms.__name__}:FedAdam", "num_server_rounds": 1},
            },
            "steps of its own",
        ),
    ],
)
def test_bad_options_are_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        check_all_arms(check_config(tree(**changes)))


def test_arms_may_differ_in_it() -> None:
    arms = [{"name": "mean"}, {"name": "adam", "server.optimizer": {"name": "adam", "rate": 0.01}}]
    rows = run(check_config(tree(arm=arms)))
    assert rows.arms == ["mean", "adam"]
    first, second = (rows.series(arm, "train_loss") for arm in rows.arms)
    assert first.tolist() != second.tolist()
