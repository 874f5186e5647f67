"""Command lines of Flower's programs: nothing without TLS leaves a machine, nothing calls home."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fairopt import InvalidInput
from fl_runtime.flower import programs
from fl_runtime.flower.__main__ import app
from fl_runtime.flower.programs import Secured, environment, write_app, write_connection


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    for name in ("ca.pem", "site-0.key"):
        (tmp_path / name).touch()
    return tmp_path


def test_connections_are_secured_or_stay_on_the_machine(keys: Path) -> None:
    assert Secured.of(None, True, "localhost:8000").client() == ["--insecure"]
    assert "--enable-supernode-auth" in Secured.of(keys, False, "10.0.0.1:8000").server()
    bad = [(None, True, "10.0.0.1:8000"), (None, True, "0.0.0.0"), (None, False, "127.0.0.1")]
    bad += [(keys, True, "127.0.0.1"), (keys / "none", False, "127.0.0.1")]
    for case in bad:
        with pytest.raises(InvalidInput):
            Secured.of(*case)


def test_a_node_has_the_key_of_its_name(keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "check_installed", lambda: None)
    secured = Secured.of(keys, False, "h:1")
    command = programs.node_command("h:1", {"name": "site-0", "largest": 9}, 8100, secured)
    assert str(keys / "site-0.key") in command
    assert 'name="site-0" largest=9' in command
    with pytest.raises(InvalidInput, match=r"other\.key is missing"):
        programs.node_command("h:1", {"name": "other"}, 8100, secured)


def test_nothing_calls_home(tmp_path: Path) -> None:
    found = environment(tmp_path)
    assert found["FLWR_TELEMETRY_ENABLED"] == "0"
    assert found["FLWR_DISABLE_UPDATE_CHECK"] == "1"
    assert found["FLWR_HOME"] == str(tmp_path)


def test_the_app_names_every_key_of_a_run(tmp_path: Path, keys: Path) -> None:
    about = tomllib.loads((write_app(tmp_path / "app") / "pyproject.toml").read_text())
    flower = about["tool"]["flwr"]["app"]
    for reference in flower["components"].values():
        module, name = reference.split(":")
        file = tmp_path / "app" / Path(*module.split(".")).with_suffix(".py")
        assert f"{name} = " in file.read_text()
        ast.parse(file.read_text())
    assert flower["config"].keys() == {"config", "out", "gather", "deadline", "largest"}
    write_connection(tmp_path / "home", "h:1", Secured.of(keys, False, "h:1"))
    told = tomllib.loads((tmp_path / "home" / "config.toml").read_text())["superlink"]
    assert told["federation"] == {"address": "h:1", "root-certificates": str(keys / "ca.pem")}


WRONG = {
    "link --host 0.0.0.0 --insecure": "loopback",
    "node x.toml --superlink 1.2.3.4:9 --clients 0 --name a --insecure": "loopback",
    "node x.toml --superlink 127.0.0.1:9 --clients zero --name a --insecure": "clients",
    "run missing.toml --superlink 127.0.0.1:9 --out o --insecure": "CONFIG",
    "register a --superlink 127.0.0.1:9 --keys nowhere": "ca.pem",
}


@pytest.mark.parametrize("line", WRONG)
def test_what_is_wrong_is_one_line(line: str) -> None:
    found = CliRunner().invoke(app, line.split())
    assert found.exit_code == 2
    (said,) = found.stderr.splitlines()
    assert WRONG[line] in said
