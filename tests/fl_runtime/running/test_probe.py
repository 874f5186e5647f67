"""Times by executor: who is timed, and by whom not; the times themselves are the machine's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fairopt import InvalidInput
from fl_runtime.__main__ import app
from fl_runtime.configuration.toml_files import check_config
from fl_runtime.running import probe as probing
from fl_runtime.running.probe import probe

TOML = """
[run]
algorithm = "fed-avg"
num-server-rounds = 1
executor = "stacked"
[[task]]
name = "plain"
data = "iris"
model = "mlp"
hidden = [3]
[[task]]
name = "picture"
data = "digits"
model = "cnn"
[clients]
num-clients = 6
fraction-train = 0.5
batch-size = 100
"""


@pytest.fixture(autouse=True)
def once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "REPEATS", 1)


def test_every_executor_that_fits_a_task_is_timed(tmp_path: Path) -> None:
    path = tmp_path / "two.toml"
    path.write_text(TOML, encoding="utf-8")
    said = CliRunner().invoke(app, ["probe", str(path), "--json"])
    assert said.exit_code == 0
    found = json.loads(said.stdout)["tasks"]
    assert [seen["auto"] for seen in found.values()] == ["dense", "sequential"]
    assert [seen["clients"] for seen in found.values()] == [3, 3]
    assert all(ms > 0.0 for ms in found["plain"]["ms"].values())
    assert found["picture"]["ms"]["dense"] is None
    assert found["picture"]["ms"]["stacked"] > 0.0
    table = CliRunner().invoke(app, ["probe", str(path)]).stdout
    assert "auto takes" in table
    assert "picture" in table
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_built_is_refused_in_one_line() -> None:
    task = {"name": "a", "data": "iris", "model": "cnn"}
    tree = {"run": {"algorithm": "fed-avg", "num_server_rounds": 1}, "task": [task]}
    with pytest.raises(InvalidInput, match="model") as caught:
        probe(check_config(tree | {"clients": {"num_clients": 3}}))
    assert "\n" not in str(caught.value)
