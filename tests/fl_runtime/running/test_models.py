"""Trained models come out of a run, and are the ones that the history tells of."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from safetensors import safe_open
from torch import nn

import fl_runtime
from fairopt import InvalidInput
from fl_runtime.configuration.schema import Config
from fl_runtime.configuration.toml_files import arm_configs, check_config, digest
from fl_runtime.data.registry import load_dataset
from fl_runtime.history import History
from fl_runtime.running.build import assemble
from fl_runtime.running.checkpoint import load_checkpoint, save_checkpoint
from fl_runtime.running.experiment import resolved, resume, run
from fl_runtime.running.kept_models import is_better
from fl_runtime.running.model_files import (
    SavedModel,
    Which,
    file_name,
    is_model_file,
    model_place,
    read_model,
    write_model,
)
from fl_runtime.running.trained_models import load_model
from fl_runtime.running.writer import CHECKPOINT, HISTORY
from fl_runtime.training.task import Examples, float_state
from tests.fl_runtime import small
from tests.fl_runtime.kills import stopped

SETTINGS = small.config(run={"num_server_rounds": 4})
KINDS: tuple[Which, ...] = ("last", "best")


def of(algorithm: str, **parameters: Any) -> Config:
    """One arm and seed of an algorithm, on two tasks of one shape."""
    tasks = [
        {"name": name, "data": name, "model": "mlp", "hidden": [4, 4], "learning_rate": 0.1}
        for name in ("digits-joint-parity", "digits-joint-high")
    ]
    return check_config(
        {
            "run": {"algorithm": algorithm, "num_server_rounds": 4},
            "task": tasks,
            "clients": {"num_clients": 5, "delay": {"model": "exponential"}},
            "algorithm": parameters,
        }
    )


def figures(model: nn.Module, examples: Examples) -> tuple[float, float]:
    """Accuracy and loss as anybody would compute them."""
    with torch.no_grad():
        logits = model(examples.features)
    hits = (logits.argmax(dim=1) == examples.labels).sum()
    return float(hits) / len(examples), float(nn.functional.cross_entropy(logits, examples.labels))


def best_rows(history: History, arm: str, seed: int, task: str) -> dict[Which, dict[str, Any]]:
    """The rows of the rounds whose models are kept, found without looking at models."""
    rows = history.rounds(arm, seed)
    scores = [row[f"{task}/val_acc"] for row in rows]
    return {"last": rows[-1], "best": rows[scores.index(max(scores))]}


def model_files(folder: Path) -> dict[str, bytes]:
    """The model files of a run by their name."""
    found = {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*.safetensors")}
    return {str(name): content for name, content in found.items() if is_model_file(name)}


@pytest.mark.slow
def test_a_model_has_its_reported_figures_in_another_process(tmp_path: Path) -> None:
    history = run(SETTINGS, out=tmp_path / "run")
    program = """
import json, sys, fl_runtime
from fl_runtime.configuration.toml_files import arm_configs
from fl_runtime.running.build import assemble
from tests.fl_runtime.running.test_models import KINDS, figures
config = fl_runtime.read_config(sys.argv[1] + "/config.toml")
print(json.dumps([
    [arm, seed, task.name, which, *figures(
        fl_runtime.load_model(sys.argv[1], task.name, arm, seed, which), task.test
    )]
    for arm, settings in arm_configs(config).items()
    for seed in config.run.seeds
    for task in assemble(settings, seed).federation.tasks
    for which in KINDS
]))
"""
    words = [sys.executable, "-c", program, str(tmp_path / "run")]
    found = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
    assert len(found) == 16
    for arm, seed, task, which, accuracy, loss in found:
        row = best_rows(history, arm, seed, task)[which]
        assert (accuracy, loss) == (row[f"{task}/eval_acc"], row[f"{task}/eval_loss"])


@pytest.mark.parametrize("name", ["wine", "digits"])
def test_examples_as_they_come_are_put_in_units(name: str, tmp_path: Path) -> None:
    """Of data that ask for it: what a model was tested on is found from its file and the data."""
    tree = small.tree(run={"seeds": [3], "num_server_rounds": 1})
    tree["task"] = [{"name": "x", "data": name, "model": "linear"}]
    config = check_config({**tree, "recruitment": {}, "arm": []})
    history = run(config, out=tmp_path / "run")
    features = load_dataset(name).features
    units = fl_runtime.input_units(tmp_path / "run", "x")
    memory = history.models.units("x")
    assert (units is None) == (memory is None) == (name == "digits")
    if units is not None and memory is not None:
        assert all(torch.equal(one, other) for one, other in zip(units, memory, strict=True))
        features = ((features - units[0].numpy()) / units[1].numpy()).astype("float32")
    test = assemble(config, 3).federation.tasks[0].test
    ready = torch.from_numpy(features)
    assert all(bool((ready == example).flatten(1).all(dim=1).any()) for example in test.features)


def test_the_best_model_is_not_always_the_last() -> None:
    """Otherwise the test above would show less than it says."""
    history = run(SETTINGS)
    kept = [
        best_rows(history, arm, seed, task)
        for arm in history.arms
        for seed in history.seeds(arm)
        for task in history.tasks
    ]
    assert any(each["best"]["server_round"] < each["last"]["server_round"] for each in kept)


PERSONAL: dict[str, dict[str, Any]] = {
    "ditto": {"share_trunk": True},
    "fed-per": {},
    "fed-hca2": {"shared_layers": ["1"]},
}
COMMON: dict[str, dict[str, Any]] = {
    "fair-grad": {},
    "fed-buff": {"concurrency": 3, "buffer_size": 2},
    "fed-ram": {"reference_rounds": 1, "proxy_rounds": 1, "share_trunk": True},
    "fed-ram, proxies": {"reference_rounds": 1, "agent": False, "proxy_hidden": [3]},
}


@pytest.mark.parametrize("name", [*PERSONAL, *COMMON])
def test_models_of_every_kind_of_algorithm_are_those_that_are_reported(
    name: str, tmp_path: Path
) -> None:
    config = of(name.partition(",")[0], **{**PERSONAL, **COMMON}[name])
    history = run(config, out=tmp_path / "run")
    (arm,) = history.arms
    for task in assemble(config, 0).federation.tasks:
        for which, row in best_rows(history, arm, 0, task.name).items():
            header = read_model(tmp_path / "run" / model_place(arm, 0, task.name, which)).header
            assert header.round == row["server_round"]
            assert header.score == row[f"{task.name}/val_acc"]
            assert len(header.clients) == (5 if name in PERSONAL else 0)
            seen = [
                task.evaluate(
                    float_state(load_model(tmp_path / "run", task.name, which=which, client=who)),
                    task.test,
                )
                for who in header.clients or (None,)
            ]
            assert sum(s.accuracy for s in seen) / len(seen) == row[f"{task.name}/eval_acc"]
            assert sum(s.loss for s in seen) / len(seen) == row[f"{task.name}/eval_loss"]


def counting(shape: tuple[int, ...], num_classes: int, hidden: object) -> nn.Module:
    """A model with buffers, some of them integers."""
    return nn.Sequential(nn.Linear(*shape, 4), nn.BatchNorm1d(4), nn.Linear(4, num_classes))


def test_buffers_are_part_of_a_model(tmp_path: Path) -> None:
    tree = small.tree(run={"num_server_rounds": 2, "seeds": [0]})
    tree["task"][0] |= {"model": f"{__name__}:counting", "hidden": []}
    del tree["arm"]
    config = check_config(tree)
    history = run(config, out=tmp_path / "run")
    model = load_model(tmp_path / "run", "wine", which="last")
    assert "1.num_batches_tracked" in model.state_dict()
    task = assemble(config, 0).federation.tasks[0]
    row = history.rounds("fed-fair-mmfl", 0)[-1]
    assert figures(model, task.test) == (row["wine/eval_acc"], row["wine/eval_loss"])


@pytest.mark.parametrize("after", [1, 4, 9, 14, 19, 24])
def test_a_killed_run_leaves_the_same_models(tmp_path: Path, after: int) -> None:
    """The best model so far is in the checkpoint."""
    settings = small.config(run={"num_server_rounds": 5, "seeds": [1], "checkpoint_every": 2})
    run(settings, out=tmp_path / "whole")
    assert stopped(settings, tmp_path / "stopped", after) == (after < 15)
    resume(tmp_path / "stopped")
    assert model_files(tmp_path / "stopped") == model_files(tmp_path / "whole")
    assert len(model_files(tmp_path / "whole")) == 8


def test_a_run_in_memory_has_the_same_models(tmp_path: Path) -> None:
    filed, memory = fl_runtime.run(SETTINGS, out=tmp_path / "run"), fl_runtime.run(SETTINGS)
    assert memory == filed == fl_runtime.resume(tmp_path / "run") == History(memory.rows)
    for which in KINDS:
        place = ("iris", "random", 1, which)
        one, other = (result.models.load(*place).state_dict() for result in (filed, memory))
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(("keep", "files"), [("last", 8), ("none", 0)])
def test_a_run_keeps_the_models_that_are_wanted(tmp_path: Path, keep: str, files: int) -> None:
    settings = small.config(run={"num_server_rounds": 2, "keep_models": keep})
    history = run(settings, out=tmp_path / "run")
    assert history == run(small.config(run={"num_server_rounds": 2}))
    assert len(model_files(tmp_path / "run")) == files
    with pytest.raises(InvalidInput, match=f"which = 'best', .* with keep-models = {keep} keeps"):
        load_model(tmp_path / "run", "wine", "fair", 0)
    with pytest.raises(InvalidInput, match="which = 'best'"):
        history.models.load("wine", "fair", 0)


def test_what_is_kept_is_no_part_of_the_digest() -> None:
    """It decides nothing in a history, and earlier runs did not know it."""
    kinds = [small.config(run={"keep_models": keep}) for keep in ("last+best", "last", "none")]
    assert len({digest(config) for config in kinds}) == 1


REFUSED: list[tuple[Mapping[str, Any], str]] = [
    ({"task": "whine"}, "task = 'whine', .*did you mean wine"),
    ({"arm": "unfair"}, "arm = 'unfair', but it must be one of random, fair"),
    ({"arm": None}, "arm = None, .* several: one of random, fair"),
    ({"seed": 7}, "seed = 7, but it must be one of 0, 1"),
    ({"seed": None}, "seed = None, .* several: one of 0, 1"),
    ({"arm": None, "seed": None}, "arm and seed .*both: one of each of random, fair; 0, 1"),
    ({"which": "worst"}, "which = 'worst', but it must be best or last"),
    ({"client": 3}, "client = 3, but it must be left out"),
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "run"
    run(SETTINGS, out=folder)
    return folder


@pytest.mark.parametrize(("arguments", "reason"), REFUSED)
def test_what_is_not_there_is_named(whole: Path, arguments: Mapping[str, Any], reason: str) -> None:
    good = {"task": "wine", "arm": "fair", "seed": 0}
    load_model(whole, **good)
    with pytest.raises(InvalidInput, match=reason):
        load_model(whole, **{**good, **arguments})


def test_a_client_has_to_be_named_where_each_has_a_model(tmp_path: Path) -> None:
    run(of("local"), out=tmp_path / "run")
    for client in (None, 5, -1):
        with pytest.raises(InvalidInput, match=r"client = .* \(5: 0 .. 4\)"):
            load_model(tmp_path / "run", "digits-joint-high", client=client)


def test_last_figures_are_found_again_from_model_and_held_out_sets(tmp_path: Path) -> None:
    """Losses and accuracies to the bit; `mae` within 1e-6, since its sum is taken otherwise."""
    inputs = np.random.default_rng(0).normal(3.0, 5.0, (60, 3))
    np.savez(tmp_path / "a.npz", features=inputs, targets=inputs.sum(axis=1))
    regression = {"loss": "mse", "metrics": ["mae"], "learning_rate": 1e-3}
    tree = {
        "run": {"algorithm": "fed-avg", "num_server_rounds": 2, "seeds": [3, 4]},
        "task": [
            {"name": "wine", "data": "wine", "model": "linear"},
            {"name": "sum", "data": f"npz:{tmp_path / 'a.npz'}", "model": "linear", **regression},
        ],
        "clients": {"num_clients": 4},
    }
    folder = tmp_path / "run"
    history = run(check_config(tree), out=folder)
    row = history.rounds("fed-avg", 4)[-1]
    for part, column in (("test", "eval"), ("validation", "val")):
        examples = Examples(*fl_runtime.held_out(folder, "wine", seed=4, part=part))
        model = load_model(folder, "wine", seed=4, which="last")
        found = (row[f"wine/{column}_acc"], row[f"wine/{column}_loss"])
        assert figures(model, examples) == found
        features, targets = history.models.held_out("sum", seed=4, part=part)
        with torch.no_grad():
            answers = load_model(folder, "sum", seed=4, which="last")(features)[:, 0]
        assert float(nn.functional.mse_loss(answers, targets)) == row[f"sum/{column}_loss"]
        error = float((answers - targets).abs().double().mean())
        assert error == pytest.approx(row[f"sum/{column}_mae"], rel=1e-6)
    np.savez(tmp_path / "a.npz", features=inputs, targets=inputs.sum(axis=1) + 1.0)
    with pytest.raises(InvalidInput, match=r"a\.npz has changed, but .* the run began with"):
        fl_runtime.held_out(folder, "sum", seed=4)
    (tmp_path / "a.npz").unlink()
    with pytest.raises(InvalidInput, match=r"task\.sum\.data = .*a\.npz"):
        fl_runtime.held_out(folder, "sum", seed=4)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        *((one, reason) for one, reason in REFUSED if one.keys() <= {"task", "arm", "seed"}),
        ({"part": "tests"}, r"part = 'tests', .*validation, test \(did you mean test\?\)"),
        ({"run": "nothing"}, "DIR = 'nothing', .*the folder of a run"),
    ],
)
def test_a_held_out_set_that_is_not_there_is_named(
    whole: Path, arguments: dict[str, Any], reason: str
) -> None:
    good = {"run": whole, "task": "wine", "arm": "fair", "seed": 0}
    with pytest.raises(InvalidInput, match=reason):
        fl_runtime.held_out(**{**good, **arguments})


def test_no_run_and_no_model_yet_are_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"DIR = .*the folder of a run"):
        load_model(tmp_path, "wine")
    assert stopped(SETTINGS, tmp_path / "run", 3)
    with pytest.raises(InvalidInput, match="a whole model file of a run"):
        load_model(tmp_path / "run", "wine", "fair", 0)


def copy_of(whole: Path, folder: Path) -> tuple[Path, Path]:
    """A model file alone in a run's folder, and the folder."""
    place = folder / model_place("fair", 0, "wine", "best")
    place.parent.mkdir(parents=True)
    (folder / "config.toml").write_bytes((whole / "config.toml").read_bytes())
    place.write_bytes((whole / model_place("fair", 0, "wine", "best")).read_bytes())
    return folder, place


def test_any_flipped_bit_is_refused(whole: Path, tmp_path: Path) -> None:
    folder, place = copy_of(whole, tmp_path)
    content = place.read_bytes()
    for position in [*range(0, len(content), 29), len(content) - 1]:
        for bit in (0, 5):
            damaged = bytearray(content)
            damaged[position] ^= 1 << bit
            place.write_bytes(damaged)
            with pytest.raises(InvalidInput, match="model"):
                load_model(folder, "wine", "fair", 0)
    place.write_bytes(content[:-1])
    with pytest.raises(InvalidInput, match="a whole model file"):
        load_model(folder, "wine", "fair", 0)


def test_a_model_of_another_place_is_refused(whole: Path, tmp_path: Path) -> None:
    folder, place = copy_of(whole, tmp_path)
    others = {
        "task": ("fair", 0, "iris", "best"),
        "arm": ("random", 0, "wine", "best"),
        "seed": ("fair", 1, "wine", "best"),
        "kind": ("fair", 0, "wine", "last"),
    }
    for what, (arm, seed, task, which) in others.items():
        place.write_bytes((whole / model_place(arm, seed, task, which)).read_bytes())  # type: ignore[arg-type]
        with pytest.raises(InvalidInput, match=f"of the {what} .*, as its place says"):
            load_model(folder, "wine", "fair", 0)


def test_a_model_of_another_configuration_is_refused(whole: Path, tmp_path: Path) -> None:
    folder, place = copy_of(whole, tmp_path)
    text = (folder / "config.toml").read_text()
    (folder / "config.toml").write_text(text.replace("num-clients = 8", "num-clients = 9"))
    with pytest.raises(InvalidInput, match="of the configuration"):
        load_model(folder, "wine", "fair", 0)
    (folder / "config.toml").write_text(text.replace("hidden = [\n    4,", "hidden = [\n    5,"))
    config = fl_runtime.read_config(folder / "config.toml")
    saved = read_model(place)
    about = {**vars(saved.header), "digest": digest(config)}
    write_model(folder, SavedModel(type(saved.header)(**about), saved.states))
    with pytest.raises(InvalidInput, match=r"model entry .* of shape \(5"):
        load_model(folder, "wine", "fair", 0)


def test_the_header_is_one_object_that_any_reader_sees(whole: Path) -> None:
    with safe_open(whole / model_place("fair", 1, "wine", "best"), framework="pt") as file:
        about = json.loads(file.metadata()["fl_runtime"])
    known = {key: about[key] for key in ("task", "arm", "seed", "which")}
    assert known == {"task": "wine", "arm": "fair", "seed": 1, "which": "best"}
    assert about["digest"] == digest(resolved(SETTINGS))
    assert {"round", "score", "sha256"} <= about.keys()


ODD = ["../up", "a.best", "a", "a/b", "%2E", "nul\u00e4 \U0001f600", "\U0001f600" * 60, "." * 60]


def test_names_that_are_no_file_names(tmp_path: Path) -> None:
    tasks = [{"name": name, "data": "iris", "model": "linear"} for name in ODD]
    config = check_config(
        {
            "run": {"algorithm": "fed-avg", "num_server_rounds": 1},
            "task": tasks,
            "clients": {"num_clients": 2},
            "arm": [{"name": ".."}, {"name": "x/../y", "algorithm.aggregation": "plain"}],
        }
    )
    for _ in range(2):
        run(config, out=tmp_path / "run", fresh=True)  # replaces what is all its own
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert len(model_files(tmp_path / "run")) == len(ODD) * 2 * 2
    for name in ODD:
        for arm in ("..", "x/../y"):
            load_model(tmp_path / "run", name, arm)
    (tmp_path / "run" / "models" / "mine.safetensors").touch()
    with pytest.raises(InvalidInput, match="nothing but a run in it"):
        run(config, out=tmp_path / "run", fresh=True)


@given(st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=60))
@example("~")
@example("..")
def test_file_names_are_harmless_and_reversible(name: str) -> None:
    found = file_name(name)
    assert len(found.encode()) <= 180
    assert not set(found) & set('./\\:*?"<>|')
    if "~" not in found:
        assert unquote(found) == name


def test_names_that_are_cut_stay_apart() -> None:
    names = ["\U0001f600" * n for n in range(20, 60)]
    assert len({file_name(name) for name in names}) == len(names)


def test_the_first_of_equal_scores_is_the_best() -> None:
    seen = [float("nan"), 0.5, 0.25, 0.5, 0.75, float("nan"), 0.75]
    best, when = None, []
    for turn, score in enumerate(seen):
        if is_better(score, best):
            best = score
            when.append(turn)
    assert when == [1, 4]


def test_a_run_of_an_earlier_version_ends_without_a_best_model(tmp_path: Path) -> None:
    """It kept none of the rounds before, so that of the rest is no best model of the run."""
    settings = small.config(run={"seeds": [0]})
    run(settings, out=tmp_path / "whole")
    assert stopped(settings, tmp_path / "run", 3)
    record = load_checkpoint(tmp_path / "run" / CHECKPOINT)
    del record["state"]["best"]
    save_checkpoint(tmp_path / "run" / CHECKPOINT, record)
    resume(tmp_path / "run")
    whole, again = (tmp_path / name / HISTORY for name in ("whole", "run"))
    assert again.read_bytes() == whole.read_bytes()
    first, *_ = arm_configs(settings)
    assert load_model(tmp_path / "run", "wine", first, which="last")
    with pytest.raises(InvalidInput, match="a whole model file"):
        load_model(tmp_path / "run", "wine", first)
