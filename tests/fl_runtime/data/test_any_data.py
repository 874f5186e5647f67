"""Inputs of several parts and targets of any kind: from files and functions, checked, to models."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fairopt import InvalidInput
from fl_runtime import load_model, run
from fl_runtime.configuration.schema import Config
from fl_runtime.configuration.toml_files import check_config
from fl_runtime.data.dataset import Data
from fl_runtime.data.registry import load_dataset
from fl_runtime.running.build import assemble
from fl_runtime.running.experiment import resolved, resume
from fl_runtime.running.trained_models import input_units
from fl_runtime.training.models import build_model
from tests.fl_runtime import eight_tasks
from tests.fl_runtime.kills import stopped

SIZE = 60
RNG = np.random.default_rng(0)
IDS, MASK = RNG.integers(5, size=(SIZE, 4)), RNG.random((SIZE, 4)) < 0.7
AGE = RNG.normal(3.0, 2.0, SIZE)
TARGETS = np.where(MASK, IDS, 0).sum(1) + AGE
CLIENT, SPLIT = np.arange(SIZE) % 6, np.array((["train"] * 8 + ["test"] * 2) * 6)
PARTS = {"mask": MASK, "ids": IDS, "age": AGE}
HERE = __name__


def records() -> Data:
    return Data(dict(PARTS), TARGETS, 1, standardise=True, client=CLIENT, split=SPLIT)


def reordered() -> Data:
    return Data(dict(sorted(PARTS.items())), TARGETS, 1, standardise=True)


def without_clients() -> Data:
    return Data(dict(PARTS), TARGETS, 1, standardise=True)


class Summing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 1)
        self.head = nn.Linear(2, 1)

    def forward(self, ids: Tensor, mask: Tensor, age: Tensor) -> Tensor:
        words = (self.embed(ids)[..., 0] * mask).sum(1)
        return self.head(torch.stack([words, age], dim=1))


def summing(example_shape: dict[str, tuple[int, ...]], outputs: object, hidden: object) -> Summing:
    assert example_shape == {"age": (), "ids": (4,), "mask": (4,)}
    return Summing()


def settings(data: str = f"{HERE}:records", model: str = f"{HERE}:summing", **more: Any) -> Config:
    task = {"name": "t", "data": data, "model": model, "loss": "mse", "metrics": ["mae"]}
    clients = {"num_clients": 3, **more.pop("clients", {})}
    run_ = {"algorithm": "fed-avg", "num_server_rounds": 3}
    return check_config({"run": run_, "task": [{**task, **more}], "clients": clients})


def test_a_model_of_several_parts_runs_resumes_and_loads(tmp_path: Path) -> None:
    config = settings()
    whole = run(config, out=tmp_path / "whole")
    assert stopped(config, tmp_path / "run", 2)
    assert resume(tmp_path / "run").rows == whole.rows
    task = assemble(resolved(config), 0).federation.tasks[0]
    model = load_model(tmp_path / "whole", "t", which="last")
    some = task.test
    found = model(**some.features).detach()[:, 0]
    seen = float((found - some.targets).abs().double().mean())
    assert seen == pytest.approx(whole.rounds("fed-avg", 0)[-1]["t/eval_mae"], rel=1e-6)
    units = input_units(tmp_path / "whole", "t")
    assert units is not None
    mean, spread = units
    assert mean.keys() == spread.keys() == {"age"}  # type: ignore[attr-defined]
    raw = np.isin(AGE, (some.features["age"].double() * spread["age"] + mean["age"]).numpy())  # type: ignore[call-overload]
    assert raw.sum() <= len(some)
    trained = torch.cat([shard.features["age"] for shard in task.shards])
    assert float(trained.mean()) == pytest.approx(0.0, abs=1e-6)
    assert float(trained.std(correction=0)) == pytest.approx(1.0)
    assert trained.dtype == torch.float32
    assert some.features["mask"].unique().tolist() == [0, 1]


def test_parts_are_in_the_order_of_their_names() -> None:
    """So is what the families by name make of them, and the recorded hash."""
    inputs = [
        resolved(settings(f"{HERE}:{name}")).inputs for name in ("reordered", "without_clients")
    ]
    hashes = [found[next(key for key in found if "summing" not in key)] for found in inputs]
    assert hashes[0] == hashes[1]
    assert list(load_dataset(f"{HERE}:records").inputs) == ["age", "ids", "mask"]
    example = {"b": torch.ones(1, 2, dtype=torch.int64), "a": torch.zeros(1)}
    model = build_model("mlp", {"b": (2,), "a": ()}, 1, [3], seed=0, example=example)
    first = next(model.parameters())
    assert first.shape == (3, 3)
    with torch.no_grad():
        first.copy_(torch.tensor([[1.0, 0.0, 0.0]] * 3))
    one = model(**{"b": torch.zeros(1, 2), "a": torch.ones(1)})
    assert torch.equal(one, model(**{"a": torch.ones(1), "b": torch.ones(1, 2)}))
    assert not torch.equal(one, model(**{"a": torch.zeros(1), "b": torch.zeros(1, 2)}))
    with pytest.raises(InvalidInput, match=r"model = 'cnn', .*linear or mlp, or your own"):
        build_model("cnn", {"b": (2,), "a": ()}, 1, [3], seed=0, example=example)


def test_families_by_name_take_them_side_by_side() -> None:
    rows = run(settings(model="linear", learning_rate=1e-3)).rounds("fed-avg", 0)
    assert rows[-1]["t/train_loss"] < rows[0]["t/train_loss"]


def test_natural_clients_and_official_parts_of_any_data() -> None:
    config = settings(split="official", clients={"partition": "natural", "num_clients": 6})
    task = assemble(config, 0).federation.tasks[0]
    tested = sorted(np.flatnonzero(SPLIT == "test"))
    assert len(task.test) == len(tested)
    assert task.sizes == tuple(map(len, task.shards))
    assert sum(task.sizes) + len(task.validation) == (SPLIT == "train").sum()
    everybody = {
        name: np.concatenate([s.features[name].numpy() for s in task.shards])
        for name in ("ids", "mask")
    }
    order = np.repeat(np.arange(6), task.sizes)
    for client in range(6):
        mine = {tuple(row) for row in IDS[(client == CLIENT) & (SPLIT == "train")]}
        assert {tuple(row) for row in everybody["ids"][order == client]} <= mine


def test_data_pickle() -> None:
    """They travel to other processes."""
    data = records().checked("here")
    again = pickle.loads(pickle.dumps(data))
    assert all(np.array_equal(data.inputs[name], again.inputs[name]) for name in data.inputs)


@pytest.mark.parametrize("as_folder", [False, True])
def test_archives_hold_any_data(as_folder: bool, tmp_path: Path) -> None:
    arrays = {f"features/{name}": part for name, part in PARTS.items()}
    arrays |= {"targets": TARGETS, "client": CLIENT, "split": SPLIT, "strata": CLIENT % 2}
    path = write(tmp_path, arrays, as_folder=as_folder)
    data = load_dataset(f"npz:{path}")
    assert isinstance(data, Data)
    assert data.outputs == 1
    for name, part in PARTS.items():
        assert np.array_equal(data.inputs[name], part.astype(data.inputs[name].dtype))
    assert [data.client.tolist(), data.split.tolist(), data.strata.tolist()] == [  # type: ignore[union-attr]
        CLIENT.tolist(),
        SPLIT.tolist(),
        (CLIENT % 2).tolist(),
    ]


def write(folder: Path, arrays: dict[str, np.ndarray], *, as_folder: bool = False) -> Path:
    """An archive of those arrays, unpacked if it is to be a folder."""
    np.savez(folder / "a.npz", **arrays)  # type: ignore[arg-type]
    if not as_folder:
        return folder / "a.npz"
    import zipfile

    zipfile.ZipFile(folder / "a.npz").extractall(folder / "a")
    return folder / "a"


def test_archives_of_classes_may_say_who_made_them(tmp_path: Path) -> None:
    arrays = {"features": IDS, "labels": CLIENT % 2, "client": CLIENT, "split": SPLIT}
    data = load_dataset(f"npz:{write(tmp_path, arrays)}")
    assert data.client is not None
    assert data.split is not None
    config = settings(
        f"npz:{tmp_path / 'a.npz'}",
        "linear",
        split="official",
        loss="cross-entropy",
        metrics=["acc"],
        clients={"partition": "natural"},
    )
    assert run(config).rounds("fed-avg", 0)


@pytest.mark.parametrize(
    ("targets", "told", "outputs"),
    [
        (IDS[:, 0], None, 5),
        (np.ones((SIZE, 2, 3)), None, (2, 3)),
        (np.ones((SIZE, 2)), None, 2),
        (IDS, np.array(7), 7),
        (IDS, np.array([4, 7]), (4, 7)),
    ],
)
def test_outputs_are_suggested_by_the_targets(
    targets: np.ndarray, told: np.ndarray | None, outputs: object, tmp_path: Path
) -> None:
    arrays = {"features": IDS, "targets": targets} | ({} if told is None else {"outputs": told})
    found = load_dataset(f"npz:{write(tmp_path, arrays)}")
    assert isinstance(found, Data)
    assert found.outputs == outputs


def no_names() -> Data:
    return Data({}, TARGETS, 1)


def bad_name() -> Data:
    return Data({"my ids": IDS}, TARGETS, 1)


def short_part() -> Data:
    return Data({"ids": IDS, "mask": MASK[1:]}, TARGETS, 1)


def infinite_part() -> Data:
    return Data({"ids": IDS, "age": np.where(AGE > 3.0, np.inf, AGE)}, TARGETS, 1)


def text_part() -> Data:
    return Data({"ids": np.array(["a"] * SIZE)}, TARGETS, 1)


def bad_split() -> Data:
    return Data(IDS, TARGETS, 1, split=np.array(["dev"] * SIZE))


def channels_last() -> Data:
    return Data(np.resize(AGE, (SIZE, 8, 8, 3)), TARGETS, 1)


def dense_last() -> Data:
    return Data(np.resize(AGE, (SIZE, 3, 6, 6)), np.resize(IDS % 2, (SIZE, 6, 6)), 2)


def convolution(example_shape: object, outputs: object, hidden: object) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 2, 3, padding=1), nn.Flatten(), nn.Linear(128, 1))


class Last(nn.Module):
    """Logits with the classes last."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x).movedim(1, -1)


def last(example_shape: object, outputs: object, hidden: object) -> nn.Module:
    return Last()


def one_word(example_shape: object, outputs: object, hidden: object) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 1))


REFUSED = [
    ("no_names", {}, "inputs = {}, .*keywords"),
    ("bad_name", {}, "inputs = 'my ids', .*keywords"),
    ("short_part", {}, r"inputs mask = \(59, 4\), .*one entry per example, 60"),
    ("infinite_part", {}, "inputs age.* = .*, but it must be finite as float32; "),
    ("text_part", {}, "inputs ids = .*numbers"),
    ("bad_split", {}, r"split\[0\] = 'dev', .*one of train, validation, test"),
    (
        "records",
        {"model": f"{HERE}:one_word"},
        "takes examples of age float32 .*unexpected keyword",
    ),
    (
        "channels_last",
        {"model": f"{HERE}:convolution"},
        r"examples of shape \(8, 8, 3\) look like \(height, width, channels\).*\(0, 3, 1, 2\)",
    ),
    ("channels_last", {"model": "cnn"}, r"to be transposed \(0, 3, 1, 2\)"),
    (
        "dense_last",
        {"model": f"{HERE}:last", "loss": "cross-entropy", "metrics": ["pixel-acc"]},
        r"t, client 0 targets = .*classes in axis 1.*are last.*token-cross-entropy",
    ),
]


@pytest.mark.parametrize(("data", "more", "reason"), REFUSED)
def test_what_does_not_fit_is_named_before_anything_is_written(
    data: str, more: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInput, match=reason) as caught:
        run(settings(f"{HERE}:{data}", **more), out=tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_an_archive_with_both_kinds_of_features_is_refused(tmp_path: Path) -> None:
    arrays = {"features": IDS, "features/ids": IDS, "targets": TARGETS}
    with pytest.raises(InvalidInput, match="features = 'both one array and several'"):
        load_dataset(f"npz:{write(tmp_path, arrays)}")


def test_shards_of_other_parts_are_refused() -> None:
    from dataclasses import replace

    from fl_runtime.training.examples import Examples
    from fl_runtime.training.task import LocalTraining

    task = eight_tasks.small_task("masked text", LocalTraining(0.1, 1, 4))
    shard = task.shards[0]
    other = Examples({"ids": shard.features["ids"]}, shard.targets)
    with pytest.raises(InvalidInput, match=r"client 0 features = \['ids'\], .*\['ids', 'mask'\]"):
        replace(task, shards=(other,))
    short = Examples({**shard.features, "mask": shard.features["mask"][:, 1:]}, shard.targets)
    with pytest.raises(InvalidInput, match="client 0 features mask = "):
        replace(task, shards=(short,))


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": IDS, "y": TARGETS}, "no features among x, y"),
        ({"features": IDS, "y": TARGETS}, "neither labels nor targets among features, y"),
    ],
)
def test_an_archive_without_what_is_needed_says_what_it_has(
    arrays: dict[str, Any], words: str, tmp_path: Path
) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(InvalidInput, match=words):
        load_dataset(f"npz:{tmp_path / 'a.npz'}")
