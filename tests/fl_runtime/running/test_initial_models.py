"""A model can begin with given numbers, and only with numbers that fit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from fairopt import InvalidInput
from fl_runtime.configuration.schema import Config
from fl_runtime.configuration.toml_files import check_config, digest
from fl_runtime.reporting.comparison import compare_runs
from fl_runtime.running.build import assemble
from fl_runtime.running.experiment import resume, run
from fl_runtime.running.model_files import model_place
from fl_runtime.running.trained_models import load_model
from fl_runtime.runs import run as run_with_report
from tests.fl_runtime.kills import stopped

ALGORITHM = "fed-avg"
PLACE = model_place(ALGORITHM, 0, "wine", "last")


def settings(algorithm: str = ALGORITHM, **task: Any) -> Config:
    """One task, for two rounds."""
    return check_config(
        {
            "run": {"algorithm": algorithm, "num_server_rounds": 2},
            "task": [{"name": "wine", "data": "wine", "model": "mlp", "hidden": [4], **task}],
            "clients": {"num_clients": 4},
        }
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file of a run."""
    folder = tmp_path_factory.mktemp("initial")
    run(settings(), out=folder / "run")
    return folder / "run" / PLACE


def initial_of(config: Config) -> dict[str, Tensor]:
    return dict(assemble(config, 0).federation.tasks[0].initial)


def test_a_run_begins_where_another_ended(trained: Path, tmp_path: Path) -> None:
    config = settings(initial=str(trained))
    begun, ended = initial_of(config), load_file(trained)
    assert begun.keys() == ended.keys()
    assert all(torch.equal(begun[name], ended[name]) for name in ended)
    fresh, warm = run(settings()), run(config, out=tmp_path / "run")
    losses = [h.rounds(ALGORITHM, 0)[0]["wine/eval_loss"] for h in (fresh, warm)]
    assert losses[1] < losses[0]
    assert load_model(tmp_path / "run", "wine")


def test_some_entries_can_be_taken(trained: Path, tmp_path: Path) -> None:
    whole = load_file(trained)
    save_file({"1.bias": whole["1.bias"]}, tmp_path / "part")
    begun = initial_of(settings(initial=str(tmp_path / "part"), initial_partial=True))
    drawn = initial_of(settings())
    assert torch.equal(begun["1.bias"], whole["1.bias"])
    assert all(torch.equal(begun[name], drawn[name]) for name in begun if name != "1.bias")


def test_a_file_that_changes_is_refused(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its place is relative to where the run began."""
    monkeypatch.chdir(tmp_path)
    Path("start").write_bytes(trained.read_bytes())
    assert stopped(settings(initial="start"), tmp_path / "run", 2)
    monkeypatch.chdir("/")
    other = {name: value + 1 for name, value in load_file(tmp_path / "start").items()}
    save_file(other, tmp_path / "start")
    with pytest.raises(InvalidInput, match="start has changed"):
        resume(tmp_path / "run")
    (tmp_path / "start").write_bytes(trained.read_bytes())
    assert resume(tmp_path / "run") == run(settings(initial=str(trained)))


def changed(**entries: Tensor | None) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    """Entries replaced, or left out."""

    def change(whole: dict[str, Tensor]) -> dict[str, Tensor]:
        return {k: v for k, v in {**whole, **entries}.items() if v is not None}

    return change


BAD: list[tuple[Any, dict[str, Any], str]] = [
    (changed(extra=torch.zeros(1)), {}, "entries that the model has .extra is none; it has 1.weig"),
    (changed(**{"3.bias": None}), {}, "all entries of the model .3.bias is missing., or initial-p"),
    (changed(**{"3.bias": torch.zeros(4)}), {}, r"3.bias has shape \(3,\) .it has \(4,\)"),
    (changed(**{"3.bias": torch.zeros(3).double()}), {}, "3.bias is of torch.float32 .it is of"),
    (changed(**{"3.bias": torch.full((3,), torch.nan)}), {}, "finite numbers .entry 3.bias is no"),
    (lambda whole: {}, {"initial_partial": True}, "a file with entries of the model"),
]


@pytest.mark.parametrize(("change", "keys", "reason"), BAD)
def test_entries_that_do_not_fit_are_named(
    trained: Path, tmp_path: Path, change: Any, keys: dict[str, Any], reason: str
) -> None:
    save_file(change(load_file(trained)), tmp_path / "bad")
    config = settings(initial=str(tmp_path / "bad"), **keys)
    with pytest.raises(InvalidInput, match=f"task.wine.initial = .*{reason}"):
        run(config, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_is_no_such_file_is_refused(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("numbers")
    for name, reason in (("text", "a safetensors file"), ("none", "No such file"), ("", "file")):
        with pytest.raises(InvalidInput, match=f"task.wine.initial = .*{reason}"):
            run(settings(initial=str(tmp_path / name)))
    with pytest.raises(InvalidInput, match=r"initial-partial = True, .* false without initial"):
        settings(initial_partial=True)


def test_a_model_that_is_not_trained_takes_no_numbers(trained: Path) -> None:
    tree = settings("fed-ram", initial=str(trained)).model_dump()
    config = check_config({**tree, "algorithm": {"agent": False}})
    with pytest.raises(InvalidInput, match="reports a model of its own"):
        run(config)


def test_other_beginnings_can_be_compared(trained: Path, tmp_path: Path) -> None:
    """What began elsewhere is announced, not refused."""
    run_with_report(settings(), out=tmp_path / "cold")
    run_with_report(settings(initial=str(trained)), out=tmp_path / "warm")
    with pytest.warns(UserWarning, match="differs from the first run"):
        compare_runs([tmp_path / "cold", tmp_path / "warm"])


def test_the_digest_of_a_run_without_is_what_it_was(trained: Path) -> None:
    tree = settings().model_dump()
    assert digest(check_config(tree)) == digest(settings())
    assert digest(settings(initial=str(trained))) != digest(settings())
    assert (
        digest(settings()) == "cb9649b64aa74f67a7d22c6c6352e5f7af368701b74e49ea271d97478119004b"
    )  # as before these keys were known
