"""Real processes on loopback: whole federations, and everything that can happen to them.

They start and end a few dozen processes and take minutes; without flwr they are skipped.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.torch import load_file

from fl_runtime import runs
from fl_runtime.configuration.toml_files import read_config
from tests.fl_runtime.flower.loopback import CONFIG, FLOWER, NODES, Loopback, rows, started, until
from tests.fl_runtime.flower.wrong_node import LINES

pytest.importorskip("flwr")
pytestmark = pytest.mark.slow

AGREE = 1e-6
"""Between a federation and an embedded run: sums of float32 in another order, after some rounds."""

ARMS = """
[[arm]]
name = "fair"
[[arm]]
name = "ast"
"run.algorithm" = "fed-ast"
"""

LONG = 40
"""Rounds that take longer than it takes to kill something."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Loopback, Path]]:
    """A federation with TLS and keys, whose nodes have the configuration with both arms."""
    folder = tmp_path_factory.mktemp("federation")
    config = folder / "experiment.toml"
    config.write_text(CONFIG.format(rounds=3) + ARMS)
    with started(folder, config) as here:
        yield here, config


@pytest.fixture(scope="module")
def done(whole: tuple[Loopback, Path]) -> Path:
    """A run of both arms."""
    here, config = whole
    out = here.folder / "out"
    assert here.run(config, out).wait(300.0) == 0, here.log("run-out")
    return out


def test_synchronous_rounds_are_those_of_an_embedded_run(done: Path, tmp_path: Path) -> None:
    config = read_config(done / "config.toml")
    runs.run(config, out=tmp_path / "embedded")
    for file in sorted((done / "models").rglob("*.safetensors")):
        relative = file.relative_to(done)
        if "fair" not in str(relative):
            continue
        theirs, mine = load_file(file), load_file(tmp_path / "embedded" / relative)
        for key, value in theirs.items():
            assert float((value - mine[key]).abs().max()) <= AGREE, (relative, key)
    seen, wanted = rows(done), rows(tmp_path / "embedded")
    for row, other in zip(seen[:3], wanted[:3], strict=True):
        for column in ("train_loss", "wine/val_loss", "iris/eval_loss"):
            assert row[column] == pytest.approx(other[column], abs=AGREE)
        assert row["num-nodes"] == 3
        assert row["bytes-sent"] > 0


def test_fed_ast_goes_by_the_wall(done: Path) -> None:
    seen = [row for row in rows(done) if row["arm"] == "ast"]
    times = [row["virtual_time"] for row in seen]
    assert len(seen) == 3
    assert times == sorted(times)
    assert times[0] > 0.0
    (account,) = (row for row in rows(done, "account") if row["arm"] == "ast")
    assert account["answered"] >= 3
    assert account["dropped"] == account["rejected"] == 0


def test_an_unknown_key_another_authority_and_no_tls_are_named(
    whole: tuple[Loopback, Path], tmp_path: Path
) -> None:
    here, config = whole
    words = [*FLOWER, "node", str(config), "--superlink", here.address, "--clients", "0"]
    cases = {
        "register": [*words, "--name", "stranger", *here.secured],
        "one of them": [*words, "--name", "stranger"],
        "--keys": [*words, "--name", "stranger", "--insecure", "--superlink", "10.0.0.1:9"],
        "vouches for": [*words, "--name", "site-0", "--keys", str(tmp_path / "other")],
    }
    hosts = ("--host", "127.0.0.1", "--node", "site-0")
    subprocess.run([*FLOWER, "keys", str(tmp_path / "other"), *hosts], check=True, timeout=60)
    for part, command in cases.items():
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 2
        (line,) = done.stderr.splitlines()
        assert part in line


def test_a_killed_node_is_in_the_history_and_comes_back(tmp_path: Path) -> None:
    config = tmp_path / "experiment.toml"
    config.write_text(CONFIG.format(rounds=LONG))
    with started(tmp_path, config) as here:
        out = tmp_path / "out"
        run = here.run(config, out, "--deadline", "10")
        until(lambda: len(rows(out)) >= 2, "two rounds")
        here.kill("site-1")
        until(lambda: any(row["num-dropped"] for row in rows(out)), "the loss is noticed")
        lost = rows(out, "incident")
        assert {row["client"] for row in lost} <= {2, 3}
        assert all("no answer within 10 s" in row["reason"] for row in lost)
        here.node("site-1", NODES["site-1"], config)
        before = len(rows(out))
        until(lambda: any(row["num-clients"] == 6 for row in rows(out)[before:]), "all are back")
        _kill_server(here)
        assert run.wait(60.0) == 2
        assert "goes on with it" in here.log("run-out")
        _goes_on(here, config, out)


def test_a_killed_superlink_is_resumed(tmp_path: Path) -> None:
    config = tmp_path / "experiment.toml"
    config.write_text(CONFIG.format(rounds=LONG))
    with started(tmp_path, config) as here:
        out = tmp_path / "out"
        here.run(config, out)
        until(lambda: len(rows(out)) >= 2, "two rounds")
        here.kill("link")
        here.kill("run-out", signal.SIGTERM)
        here.link()
        _goes_on(here, config, out)


def _kill_server(here: Loopback) -> None:
    """SIGKILL of the process that has the loop."""
    process = here.server_process()
    assert process is not None
    os.kill(process, signal.SIGKILL)


def _goes_on(here: Loopback, config: Path, out: Path) -> None:
    """The same command takes the run up, and its history has every round once."""
    before = [json.dumps(row) for row in rows(out)]
    until(lambda: here.server_process() is None, "the old server process has ended")
    run = here.run(config, out)
    until(lambda: len(rows(out)) >= len(before) + 2, "two more rounds", 200.0)
    here.kill(f"run-{out.name}", signal.SIGTERM)
    process = here.server_process()
    if process is not None:
        os.kill(process, signal.SIGKILL)
    assert run.poll() is not None
    seen = rows(out)
    assert [row["server_round"] for row in seen] == list(range(1, len(seen) + 1))


def test_wrong_answers_are_refused_named_and_counted(tmp_path: Path) -> None:
    config, wrong = tmp_path / "experiment.toml", tmp_path / "wrong"
    config.write_text(CONFIG.format(rounds=2))
    wrong.mkdir()
    (wrong / "sitecustomize.py").write_text(LINES)
    with started(tmp_path, config, ["site-0"], secure=False) as here:
        here.node("site-1", NODES["site-1"], config, path=wrong)
        here.node("site-2", NODES["site-2"], config, "--largest", "1000")
        out = tmp_path / "out"
        assert here.run(config, out).wait(200.0) == 0
    reasons = [row["reason"] for row in rows(out, "incident")]
    assert any("site-2" in reason and "at most 1000 bytes" in reason for reason in reasons)
    assert any("site-1" in reason and "as it was sent" in reason for reason in reasons) or any(
        reason == "not finite" for reason in reasons
    )
    (account,) = rows(out, "account")
    assert account["rejected"] >= 2
    assert account["dropped"] == 4
    assert account["asked"] == 12


def test_other_versions_configurations_and_missing_data_are_named(tmp_path: Path) -> None:
    config, other, none = (tmp_path / f"{name}.toml" for name in ("experiment", "other", "none"))
    config.write_text(CONFIG.format(rounds=2))
    other.write_text(CONFIG.format(rounds=3))
    none.write_text(CONFIG.format(rounds=2).replace('"wine"\nmodel', '"nowhere.csv"\nmodel'))
    old = tmp_path / "old" / "fairopt-0.0.1.dist-info"
    old.mkdir(parents=True)
    (old / "METADATA").write_text("Metadata-Version: 2.1\nName: fairopt\nVersion: 0.0.1\n")
    with started(tmp_path, config, [], secure=False, cold=True) as here:
        here.node("site-0", NODES["site-0"], config, path=old.parent)
        here.node("site-1", NODES["site-1"], other)
        here.node("site-2", NODES["site-2"], none)
        assert here.run(config, tmp_path / "out", "--gather", "60").wait(200.0) == 2
        said = here.log("run-out") + here.log("link")
    for part in ("fairopt 0.0.1", "run.num_server_rounds is 3", "nowhere.csv"):
        assert part in said
    assert not (tmp_path / "out").exists()
