"""Data that are loaded client by client: the same runs as from arrays, in little memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fairopt import InvalidInput
from fl_runtime.configuration.schema import Config
from fl_runtime.configuration.toml_files import check_config, digest
from fl_runtime.data.dataset import Data
from fl_runtime.running.build import assemble
from fl_runtime.running.experiment import resume, run
from fl_runtime.running.trained_models import held_out
from fl_runtime.training.examples import Examples
from fl_runtime.training.lazy_shards import LazyShards, bytes_of
from tests.fl_runtime.kills import stopped

HERE = __name__
RNG = np.random.default_rng(0)
SIZES = np.array([9, 3, 12, 5, 7, 4, 8, 6, 10, 11])
CLIENT = RNG.permutation(np.repeat(np.arange(SIZES.size), SIZES))
HELD = 40
VERSION = {"now": "v1"}
IDS, AGE = RNG.integers(5, size=(CLIENT.size + HELD, 3)), RNG.normal(size=CLIENT.size + HELD)
TARGETS = IDS.sum(1) + AGE
WHERE = {"validation": slice(CLIENT.size, CLIENT.size + 20), "test": slice(CLIENT.size + 20, None)}


class Records:
    """One client's rows at a time."""

    outputs = 1

    def __init__(self, **changed: Any) -> None:
        self.sizes, self.fingerprint = SIZES, VERSION["now"]
        self.wrong: Any = None
        vars(self).update(changed)

    def load(self, client: int) -> Any:
        return self.wrong if self.wrong is not None else rows(np.flatnonzero(client == CLIENT))

    def held_out(self, part: str) -> Any:
        return rows(WHERE[part])


def rows(index: Any) -> Any:
    return {"ids": IDS[index], "age": AGE[index]}, TARGETS[index]


def lazy(**changed: Any) -> Records:
    return Records(**changed)


def arrays() -> Data:
    """The same in memory, marked."""
    marks = np.array(["train"] * CLIENT.size + ["validation"] * 20 + ["test"] * 20)
    who = np.concatenate([CLIENT, np.full(HELD, 99)])
    return Data({"ids": IDS, "age": AGE}, TARGETS, 1, client=who, split=marks)


def short() -> Records:
    return Records(wrong=rows(slice(0, 2)))


def long() -> Records:
    return Records(wrong=rows(slice(0, 200)))


def failing() -> Records:
    source = Records()
    source.load = lambda client: 1 / 0  # type: ignore[method-assign]
    return source


def unlike() -> Records:
    return Records(sizes=np.full(10, 2), wrong=({"ids": IDS[:2]}, TARGETS[:2]))


def no_sizes() -> Records:
    return Records(sizes=[1.5, 2.0])


def no_fingerprint() -> Records:
    return Records(fingerprint="")


def no_pair() -> Records:
    return Records(wrong=[1, 2, 3])


def settings(data: str = "lazy", split: str | None = None, **run_: Any) -> Config:
    task = {
        "name": "t",
        "data": f"{HERE}:{data}",
        "model": "mlp",
        "hidden": [4],
        "loss": "mse",
        "metrics": ["mae"],
        "learning_rate": 0.01,
    }
    return check_config(
        {
            "run": {
                "algorithm": "fed-avg",
                "num_server_rounds": 3,
                "executor": "sequential",
                **run_,
            },
            "task": [task if split is None else {**task, "split": split}],
            "clients": {
                "num_clients": 6,
                "partition": "natural",
                "min_examples": 5,
                "batch_size": 4,
            },
        }
    )


@pytest.mark.parametrize("cache", [0, 700, None])
def test_a_run_is_that_of_the_same_data_in_memory(cache: int | None, tmp_path: Path) -> None:
    plain = run(settings("arrays", split="official"))
    config = settings(shard_cache=cache)
    assert run(config).rows == plain.rows
    assert digest(config) == digest(settings())
    if cache == 700:
        assert stopped(config, tmp_path / "run", 2)
        assert resume(tmp_path / "run").rows == plain.rows


def test_their_held_out_parts_are_given_by_name(tmp_path: Path) -> None:
    models = run(settings(), out=tmp_path / "run").models
    for part in WHERE:
        inputs, targets = held_out(tmp_path / "run", "t", part=part)
        wanted, numbers = rows(WHERE[part])
        assert inputs.keys() == wanted.keys()
        for name, values in wanted.items():
            assert torch.equal(inputs[name], torch.from_numpy(values).to(inputs[name].dtype))
        assert torch.equal(targets, torch.from_numpy(numbers).float())
        assert torch.equal(models.held_out("t", part=part)[1], targets)


def test_stacks_of_them_agree() -> None:
    one, two = (
        run(settings(executor=name)).rounds("fed-avg", 0) for name in ("sequential", "stacked")
    )
    assert one[-1]["t/eval_mae"] == pytest.approx(two[-1]["t/eval_mae"], rel=1e-5)


def test_other_data_are_refused_by_their_fingerprint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings()
    assert stopped(config, tmp_path / "run", 2)
    monkeypatch.setitem(VERSION, "now", "v2")
    with pytest.raises(InvalidInput, match=r"lazy has changed, .*the data that the run began with"):
        resume(tmp_path / "run")


def test_the_last_used_shards_stay_within_the_limit() -> None:
    """Against the plainest cache: a list in the order of use."""
    loaded: list[int] = []

    def load(client: int) -> Examples:
        loaded.append(client)
        return Examples(torch.full((1 + client % 3, 4), float(client)), torch.zeros(1 + client % 3))

    limit = 100
    shards = LazyShards(load, [1 + k % 3 for k in range(9)], limit=limit)
    kept: list[int] = []
    for client in np.random.default_rng(1).integers(9, size=300).tolist():
        expected = len(loaded) + (client not in kept)
        found = shards[client]
        assert float(found.features[0, 0]) == client
        assert len(loaded) == expected
        kept = [k for k in kept if k != client]
        while kept and sum(20 * (1 + k % 3) for k in [*kept, client]) > limit:
            kept.pop(0)
        kept.append(client)
    assert bytes_of(found) == 20 * len(found)
    with pytest.raises(IndexError):
        shards[9]


class Large:
    """Forty clients of a megabyte each."""

    sizes, outputs, fingerprint = np.full(40, 128), 1, "large"

    def load(self, client: int) -> Any:
        return np.full((128, 2048), np.float32(client)), np.zeros(128)

    def held_out(self, part: str) -> Any:
        return np.zeros((4, 2048), np.float32), np.zeros(4)


def test_memory_is_that_of_the_cache() -> None:
    config = check_config(
        {
            "run": {
                "algorithm": "fed-avg",
                "num_server_rounds": 1,
                "executor": "sequential",
                "shard_cache": 4 * 2**20,
            },
            "task": [
                {
                    "name": "t",
                    "data": f"{HERE}:Large",
                    "model": "linear",
                    "loss": "mse",
                    "metrics": ["mae"],
                }
            ],
            "clients": {"num_clients": 40, "partition": "natural"},
        }
    )
    shards = assemble(config, 0).federation.tasks[0].shards
    tracemalloc.start()
    for _ in range(2):
        for client in range(40):
            assert float(shards[client].features[0, 0]) == client
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 9 * 2**20  # the cache, one client that is loaded, and its copy as float32
    assert sum(map(bytes_of, shards._kept.values())) <= 4 * 2**20  # type: ignore[attr-defined]


REFUSED = [
    (
        "short",
        {},
        {},
        r"t client \d+ = 2, .*examples, as sizes says",
    ),
    ("long", {}, {}, r"t client \d+ = \d+, .*examples, as sizes says"),
    (
        "failing",
        {},
        {},
        r"t client \d+ must be examples that load .*ZeroDivision.*_sources.py line",
    ),
    ("unlike", {"min_examples": 1}, {}, r"client \d+ features = \['ids'\]"),
    ("no_sizes", {}, {}, "sizes = .*whole numbers"),
    ("no_fingerprint", {}, {}, "fingerprint = ''"),
    ("no_pair", {}, {}, r"t client \d+ = 'list', .*a pair"),
    ("lazy", {"partition": "iid"}, {}, "clients.partition = 'IID', .*natural for data"),
    ("lazy", {"num_clients": 9}, {}, "num-clients = 9, .*at most 8, the clients with 5 or more"),
    ("lazy", {}, {"split": "official"}, "task.t.split = 'official', .*split already"),
]


@pytest.mark.parametrize(("data", "clients", "task", "reason"), REFUSED)
def test_what_a_source_gets_wrong_is_one_line(
    data: str, clients: dict[str, Any], task: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    tree = settings(data).model_dump()
    tree["clients"] |= clients
    tree["task"] = [{**tree["task"][0], **task}]
    with pytest.raises(InvalidInput, match=reason) as caught:
        run(check_config(tree), out=tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_tasks_of_one_family_store_their_inputs_once() -> None:
    names = ("digits-joint", "digits-joint-parity", "digits-joint-high", "digits")
    config = check_config(
        {
            "run": {"algorithm": "fed-avg", "num_server_rounds": 1},
            "task": [{"name": name, "data": name, "model": "linear"} for name in names],
            "clients": {"num_clients": 5},
        }
    )
    first, *others, alone = assemble(config, 0).federation.tasks
    for task in others:
        for mine, theirs in ((task.validation, first.validation), (task.test, first.test)):
            assert mine.features is theirs.features
        for mine, theirs in zip(task.shards, first.shards, strict=True):
            assert mine.features.data_ptr() == theirs.features.data_ptr()
            assert mine.targets.data_ptr() != theirs.targets.data_ptr()
    assert alone.shards[0].features.data_ptr() != first.shards[0].features.data_ptr()
