"""`fl_runtime.run` and `resume` leave the files that the command line leaves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import fl_runtime
from fl_runtime.__main__ import app
from fl_runtime.configuration.toml_files import dump_toml
from tests.fl_runtime import small
from tests.fl_runtime.kills import stopped

SETTINGS = small.config(run={"num_server_rounds": 2})


def files(folder: Path) -> dict[str, bytes]:
    """All files of a run by their name; for some the content is no promise."""
    found = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    other = ("timing", "plots", "checkpoint")
    return {name: b"" if name.startswith(other) else it for name, it in found.items()}


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command line leaves."""
    folder = tmp_path_factory.mktemp("command")
    (folder / "small.toml").write_text(dump_toml(SETTINGS))
    words = ["run", str(folder / "small.toml"), "--out", str(folder / "run"), "--json"]
    result = CliRunner().invoke(app, words)
    assert json.loads(result.stdout) == json.loads((folder / "run" / "summary.json").read_text())
    return folder / "run"


def test_a_call_leaves_the_files_of_the_command(by_hand: Path, tmp_path: Path) -> None:
    history = fl_runtime.run(SETTINGS, out=tmp_path / "run")
    assert files(tmp_path / "run") == files(by_hand)
    assert {"summary.json", "plots/accuracy.png"} <= files(by_hand).keys()
    assert fl_runtime.run(SETTINGS).rows == history.rows
    assert fl_runtime.run(SETTINGS, out=tmp_path / "run", fresh=True).rows == history.rows


@pytest.mark.parametrize("after", [1, 5, 12])
def test_a_killed_run_ends_with_the_same_files(by_hand: Path, tmp_path: Path, after: int) -> None:
    assert stopped(SETTINGS, tmp_path / "run", after)
    assert "summary.json" not in files(tmp_path / "run")
    for _ in range(2):
        history = fl_runtime.resume(tmp_path / "run")
        assert files(tmp_path / "run") == files(by_hand)
    assert history.rows == fl_runtime.run(SETTINGS).rows
