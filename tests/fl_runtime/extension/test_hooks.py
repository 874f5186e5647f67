"""Coefficients, server steps and their memory, as a user's own algorithm overrides them."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fl_runtime.algorithms import FedAvg, QFFLReleased, RandomAllocation, ServerState
from fl_runtime.configuration.toml_files import check_config
from fl_runtime.history import History
from fl_runtime.running.build import assemble
from fl_runtime.running.experiment import run
from fl_runtime.training.job import Update
from tests import forked
from tests.fl_runtime.extension import own_algorithms
from tests.fl_runtime.extension.own_algorithms import FedAdam, FedNova

ROOT = Path(__file__).parents[3]
HERE = own_algorithms.__name__
TOML = """
[run]
algorithm = { name = "mine:FedAdam", rate = 0.01 }
num-server-rounds = 40
[[task]]
name = "wine"
data = "wine"
model = "linear"
[clients]
num-clients = 6
fraction-train = 0.5
"""


def trained(algorithm: str, **clients: Any) -> History:
    tree = {
        "run": {"algorithm": algorithm, "num_server_rounds": 3},
        "task": [{"name": "wine", "data": "wine", "model": "linear"}],
        "clients": {"num_clients": 6, "batch_size": 8, **clients},
    }
    return run(check_config(tree))


def bare(history: History) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k != "arm"} for row in history.rows]


def update(task: str, value: float, *, steps: int = 1, examples: int = 1) -> Update:
    return Update(task, 0, 0, {"w": torch.tensor([value])}, examples, metrics={}, num_steps=steps)


STATE = ServerState(0, 0, {"a": {"w": torch.zeros(1)}, "b": {"w": torch.zeros(1)}}, {}, {})


def test_with_equal_shards_fed_nova_is_fed_avg() -> None:
    nova, plain = trained(f"{HERE}:FedNova", num_clients=4), trained("fed-avg", num_clients=4)
    mine, theirs = (history.series(history.arms[0], "train_loss") for history in (nova, plain))
    assert mine == pytest.approx(theirs, rel=1e-6)


def test_fed_nova_undoes_the_number_of_steps() -> None:
    """By hand: p = 1/2, 1/2, tau = 2, 4, so the effective number is 3 and c = 3/4, 3/8."""
    found = FedNova().coefficients([update("a", 1.0, steps=2), update("a", 1.0, steps=4)])
    assert found == pytest.approx([0.75, 0.375])


@pytest.mark.parametrize(
    ("executor", "algorithm"),
    [("sequential", {}), ("stacked", {}), ("sequential", {"where": "client"})],
    ids=["one by one", "stacked", "jointly"],
)
def test_updates_count_their_steps(executor: str, algorithm: dict[str, Any]) -> None:
    name = "fair-grad" if algorithm else "fed-avg"
    tree = {
        "run": {"algorithm": name, "num_server_rounds": 1, "executor": executor},
        "task": [{"name": "wine", "data": "wine", "model": "mlp", "hidden": [3]}],
        "clients": {"num_clients": 5, "batch_size": 8, "local_epochs": 3},
        "algorithm": algorithm,
    }
    parts = assemble(check_config(tree), 0)
    state = parts.algorithm.init(parts.federation, 0)
    _, jobs = parts.algorithm.dispatch(state, parts.federation, 0.0)
    parts.executor.submit(jobs)
    sizes = [len(shard) for shard in parts.federation.tasks[0].shards]
    assert [u.num_steps for u in parts.executor.poll()] == [3 * -(-n // 8) for n in sizes]


def test_fed_adam_by_hand() -> None:
    """Two steps of one number against the formulas, in float64."""
    algorithm, state = FedAdam(rate=0.1, beta=(0.5, 0.9), tau=0.01), STATE
    w, m, v = 0.0, 0.0, 0.01**2
    for value in (2.0, -1.0):
        state = algorithm.aggregate(state, [update("a", value)])
        m, v = 0.5 * m + 0.5 * value, 0.9 * v + 0.1 * value**2
        w += 0.1 * m / (v**0.5 + 0.01)
        assert float(state.models["a"]["w"]) == pytest.approx(w, rel=1e-6)
    assert list(state.memory) == ["a"]
    assert float(state.models["b"]["w"]) == 0.0


def test_a_round_without_updates_leaves_memory_and_models() -> None:
    algorithm = FedAdam()
    once = algorithm.aggregate(STATE, [update("a", 1.0)])
    after = algorithm.aggregate(once, [])
    assert (after.memory, after.models) == (once.memory, once.models)
    assert after.server_round == once.server_round + 1


def test_without_memory_states_are_as_before() -> None:
    after = FedAvg().aggregate(STATE, [update("a", 1.0)])
    assert after.memory == {}


def test_an_algorithms_own_echo_is_added_to_that_of_importance() -> None:
    class Echoing(RandomAllocation):
        def job_options(self, *_: Any) -> dict[str, Any]:
            return {"echo": {"mine": 7.0}}

    tree = {
        "run": {"algorithm": "random", "num_server_rounds": 1},
        "task": [{"name": "wine", "data": "wine", "model": "linear"}],
        "clients": {"num_clients": 5},
    }
    parts = assemble(check_config(tree), 0)
    algorithm = Echoing(aggregation="importance")
    state = algorithm.init(parts.federation, 0)
    _, jobs = algorithm.dispatch(state, parts.federation, 0.0)
    assert all(job.config["echo"].keys() == {"mine", "importance"} for job in jobs)
    plain = replace(algorithm, aggregation="plain")
    _, jobs = plain.dispatch(state, parts.federation, 0.0)
    assert all(job.config["echo"] == {"mine": 7.0} for job in jobs)
    assert QFFLReleased().job_options(parts.federation, 0, 0, 1.0)["echo"].keys() == {
        "released_weight",
        "relative_size",
    }


@pytest.mark.slow
def test_fed_adam_resumes_to_equal_bytes_after_a_kill(tmp_path: Path) -> None:
    """SIGKILL in one process, resume in another: the moments are in the checkpoint."""
    (tmp_path / "mine.py").write_text(Path(own_algorithms.__file__).read_text(), encoding="utf-8")
    (tmp_path / "adam.toml").write_text(TOML, encoding="utf-8")
    whole = forked.command("fl_runtime", "run", "adam.toml", "--out", "whole", cwd=tmp_path)
    assert whole.returncode == 0
    process = forked.start("fl_runtime", "run", "adam.toml", "--out", "cut", cwd=tmp_path)
    history = tmp_path / "cut" / "history.jsonl"
    while not (history.exists() and history.read_bytes().count(b"\n") > 5):
        assert process.is_alive()
        time.sleep(0.005)
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    assert history.read_bytes().count(b"\n") < 42  # cut before its end
    assert forked.command("fl_runtime", "resume", "cut", cwd=tmp_path).returncode == 0
    assert history.read_bytes() == (tmp_path / "whole" / "history.jsonl").read_bytes()


def test_the_page_shows_these_algorithms() -> None:
    page = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    lines = Path(own_algorithms.__file__).read_text(encoding="utf-8").splitlines()
    body = [line for line in lines if line.startswith("        ")]
    assert len(body) == 8
    assert [line for line in body if line not in page] == []
