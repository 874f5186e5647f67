"""Experiments by name, and configurations to start from."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

import fl_runtime
from fairopt.errors import InvalidInput
from fl_runtime.__main__ import app
from fl_runtime.configuration.toml_files import arm_configs, read_config
from fl_runtime.shipped_experiments import experiments, file_of, titles

ROOT = Path(__file__).parents[2]


def test_those_of_the_repository_are_shipped() -> None:
    assert {path.stem for path in (ROOT / "experiments").glob("*.toml")} == set(experiments())
    assert all(titles().values())


def test_a_name_does_for_a_file_if_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_config("demo") == read_config(ROOT / "experiments" / "demo.toml")
    with pytest.raises(InvalidInput, match=r"did you mean demo\?"):
        read_config("dmo")
    Path("demo").write_text("none")
    assert file_of(Path("demo")) == Path("demo")
    with pytest.raises(InvalidInput, match="a TOML file"):
        read_config("demo")


def test_init_writes_a_configuration_that_is_right_and_overwrites_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["init"])
    assert (done.exit_code, done.stdout) == (
        0,
        "experiment.toml is written; run it with: python -m fl_runtime run experiment.toml\n",
    )
    assert list(arm_configs(read_config("experiment.toml"))) == ["fair", "random"]
    again = CliRunner().invoke(app, ["init"])
    assert (again.exit_code, "does not exist yet" in again.stderr) == (2, True)
    assert CliRunner().invoke(app, ["init", "mine.toml", "--from", "take-up"]).exit_code == 0
    assert Path("mine.toml").read_bytes() == experiments()["take-up"].read_bytes()
    wrong = CliRunner().invoke(app, ["init", "other.toml", "--from", "takeup"])
    assert (wrong.exit_code, Path("other.toml").exists()) == (2, False)
    assert "did you mean take-up?" in wrong.stderr


def test_public_names_are_loaded_by_their_first_use() -> None:
    assert set(fl_runtime._HOMES) == set(fl_runtime.__all__) <= set(dir(fl_runtime))
    assert all(callable(getattr(fl_runtime, name)) for name in fl_runtime.__all__)
    with pytest.raises(AttributeError, match="no attribute 'runn'"):
        fl_runtime.runn  # noqa: B018
