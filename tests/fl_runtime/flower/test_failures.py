"""Real processes on loopback that are killed, or that say what is wrong.

Every test has a federation of its own; without flwr they are skipped.
"""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.fl_runtime.flower.loopback import CONFIG, NODES, Loopback, rows, started, until
from tests.fl_runtime.flower.wrong_node import LINES

pytest.importorskip("flwr")
pytestmark = pytest.mark.slow

LONG = 80
"""Rounds that take longer than it takes to kill something."""


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
        here.node("site-1", NODES["site-1"], config)  # once its loss has been noticed
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
        here.node("site-2", NODES["site-2"], config, "--largest", "500")
        out = tmp_path / "out"
        assert here.run(config, out).wait(200.0) == 0
    reasons = [row["reason"] for row in rows(out, "incident")]
    assert any("site-2" in reason and "at most 500 bytes" in reason for reason in reasons)
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
