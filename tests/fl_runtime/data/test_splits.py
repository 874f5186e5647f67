"""Official splits and natural clients: what the data say is what is trained and tested on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fairopt import InvalidInput
from fl_runtime.configuration.schema import Config
from fl_runtime.configuration.toml_files import check_config
from fl_runtime.data.dataset import Dataset
from fl_runtime.data.registry import load_dataset
from fl_runtime.data.splits import PARTS
from fl_runtime.running.build import assemble
from fl_runtime.running.experiment import resolved, resume, run
from fl_runtime.training.task import Examples
from tests.fl_runtime.data.test_data import write_idx
from tests.fl_runtime.kills import stopped

COUNT, CLASSES, WRITERS = 240, 3, 12
RNG = np.random.default_rng(0)
LABELS = np.tile(np.arange(CLASSES), COUNT // CLASSES)
SIZES = 3 * np.arange(1, WRITERS + 1) + np.array([0] * 11 + [6])
WRITER = RNG.permutation(np.repeat(100 + 7 * np.arange(WRITERS), SIZES))
MARKS = np.repeat(PARTS, [160, 40, 40])
PLAIN = Dataset(np.arange(COUNT, dtype=np.float32)[:, None] / COUNT, LABELS, CLASSES)


def marked() -> Dataset:
    return replace(PLAIN, client=WRITER, split=MARKS)


def two_parts() -> Dataset:
    return replace(PLAIN, split=np.where(MARKS == "validation", "train", MARKS))


def unmarked() -> Dataset:
    return PLAIN


def without_a_class() -> Dataset:
    return replace(PLAIN, split=np.where((MARKS == "test") & (LABELS == 2), "train", MARKS))


def bad_marks() -> Dataset:
    return replace(PLAIN, split=np.full(COUNT, "dev"))


def bad_clients() -> Dataset:
    return replace(PLAIN, client=WRITER[1:])


def settings(data: str, clients: dict[str, Any] | None = None, **task: Any) -> Config:
    source = data if ":" in data else f"{__name__}:{data}"
    return check_config(
        {
            "run": {"algorithm": "fed-avg", "num_server_rounds": 2, "client_metrics": True},
            "task": [{"name": "t", "data": source, "model": "linear", **task}],
            "clients": {"num_clients": 5, **(clients or {})},
        }
    )


def rows(examples: Examples) -> list[int]:
    """Which examples of `PLAIN` these are."""
    return np.rint(examples.features.numpy()[:, 0] * COUNT).astype(int).tolist()


def test_marked_parts_are_the_parts() -> None:
    task = assemble(settings("marked", split="official"), 0).federation.tasks[0]
    trained = sorted(row for shard in task.shards for row in rows(shard))
    for part, found in zip(PARTS, (trained, rows(task.validation), rows(task.test)), strict=True):
        assert found == np.flatnonzero(part == MARKS).tolist()


def test_a_validation_part_is_cut_from_the_training_part_where_there_is_none() -> None:
    parts = [
        assemble(settings("two_parts", split="official", validation_fraction=0.25), seed)
        for seed in (0, 0, 1)
    ]
    first, again, other = (each.federation.tasks[0] for each in parts)
    assert rows(first.test) == np.flatnonzero(MARKS == "test").tolist()
    assert rows(first.validation) == rows(again.validation) != rows(other.validation)
    seen = rows(first.validation)
    assert np.bincount(LABELS[seen]).tolist() == [17, 17, 16]
    trained = [row for shard in first.shards for row in rows(shard)]
    assert sorted(trained + seen) == np.flatnonzero(MARKS != "test").tolist()


@pytest.mark.parametrize("source", ["marked", "unmarked"])
def test_every_example_is_in_one_part(source: str) -> None:
    """Pooled: no example is trained on, validated with and tested with, and none is lost."""
    task = assemble(settings(source), 0).federation.tasks[0]
    trained = [row for shard in task.shards for row in rows(shard)]
    assert sorted(trained + rows(task.validation) + rows(task.test)) == list(range(COUNT))
    assert min(map(len, (trained, rows(task.validation), rows(task.test)))) > 0


def test_without_the_key_all_examples_are_pooled() -> None:
    """As before data could be marked."""
    marked_, plain = (
        assemble(settings(name), 0).federation.tasks[0] for name in ("marked", "unmarked")
    )
    assert rows(marked_.test) == rows(plain.test)
    assert [rows(s) for s in marked_.shards] == [rows(s) for s in plain.shards]


def test_clients_are_those_of_the_data() -> None:
    natural = {"partition": "natural", "min_examples": 10, "num_clients": 4}
    task = assemble(settings("marked", natural, split="official"), 0).federation.tasks[0]
    train = np.flatnonzero(MARKS == "train")
    for shard in task.shards:
        (writer,) = set(WRITER[rows(shard)].tolist())
        assert rows(shard) == train[WRITER[train] == writer].tolist()
        assert len(shard) >= 10
    writers = [WRITER[rows(shard)[0]] for shard in task.shards]
    assert writers == sorted(set(writers))
    others = assemble(settings("marked", natural, split="official"), 1).federation.tasks[0]
    assert writers != [WRITER[rows(shard)[0]] for shard in others.shards]


REFUSED: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("unmarked", {}, {"split": "official"}, r"task.t.split = 'official', .*data that have such"),
    ("without_a_class", {}, {"split": "official"}, r"task.t.split = .*test part .*class 2"),
    ("unmarked", {"partition": "natural"}, {}, r"clients.partition = 'natural', .*who made each"),
    ("marked", {"partition": "natural", "num_clients": 13}, {}, "num-clients = 13, .*at most 12"),
    ("bad_marks", {}, {}, r"split\[\d+\] = .*one of train, validation, test"),
    ("bad_clients", {}, {}, "client = .*an integer for every example"),
    ("marked", {}, {"split": "oficial"}, "task.t.split = 'oficial'"),
    ("marked", {"min_examples": 0}, {}, "clients.min-examples = 0"),
]


@pytest.mark.parametrize(("data", "clients", "task", "reason"), REFUSED)
def test_what_the_data_do_not_say_is_refused(
    data: str, clients: dict[str, Any], task: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInput, match=reason):
        run(settings(data, clients, **task), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_unequal_clients_train_and_resume(tmp_path: Path) -> None:
    config = settings("marked", {"partition": "natural", "num_clients": 8}, split="official")
    whole = run(config, out=tmp_path / "whole")
    assert stopped(config, tmp_path / "run", 2)
    assert resume(tmp_path / "run") == whole == run(config)
    task = assemble(config, 0).federation.tasks[0]
    assert len({len(shard) for shard in task.shards}) > 1
    assert whole.rounds("fed-avg", 0)[-1]["num-examples"] == sum(map(len, task.shards))


def test_marks_and_clients_are_hashed_and_old_hashes_stay() -> None:
    hashes = {
        name: resolved(settings(name)).inputs[f"{__name__}:{name}"]
        for name in ("marked", "two_parts", "unmarked")
    }
    assert len(set(hashes.values())) == 3


def test_an_idx_folder_has_the_split_of_its_file_names(tmp_path: Path) -> None:
    images = np.arange(24).reshape(12, 1, 2) * 10
    labels = np.arange(12) % 2
    for name, part in (("train", slice(0, 8)), ("t10k", slice(8, 12))):
        write_idx(tmp_path / f"{name}-images-idx3-ubyte", images[part])
        write_idx(tmp_path / f"{name}-labels-idx1-ubyte", labels[part])
    data = f"idx:{tmp_path}"
    assert load_dataset(data).split.tolist() == ["test"] * 4 + ["train"] * 8  # type: ignore[union-attr]
    config = settings(data, {"num_clients": 2}, split="official", validation_fraction=0.25)
    task = assemble(config, 0).federation.tasks[0]
    pixels = np.rint(task.test.features.numpy() * 255).reshape(4, -1)
    assert pixels.tolist() == images[8:].reshape(4, -1).tolist()
    assert (len(task.validation), sum(map(len, task.shards))) == (2, 6)
    units = run(config).models.units("t")
    assert units is not None
    assert [one.unique().tolist() for one in units] == [[0.0], [255.0]]
    raw = torch.from_numpy(images[8:, None])
    assert torch.equal(task.test.features, ((raw - units[0]) / units[1]).float())
    for name in ("images-idx3", "labels-idx1"):
        (tmp_path / f"t10k-{name}-ubyte").rename(tmp_path / f"extra-{name}-ubyte")
    assert load_dataset(data).split is None
