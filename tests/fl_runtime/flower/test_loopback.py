"""Real processes on loopback: whole federations, and everything that can happen to them.

They start and end a few dozen processes and take minutes; without flwr they are skipped.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.torch import load_file

from fl_runtime import runs
from fl_runtime.configuration.toml_files import read_config
from tests.fl_runtime.flower.loopback import CONFIG, FLOWER, Loopback, rows, started

pytest.importorskip("flwr")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:a round of arm:UserWarning")]

AGREE = 1e-6
"""Between a federation and an embedded run: sums of float32 in another order, after some rounds."""

ARMS = """
[[arm]]
name = "fair"
[[arm]]
name = "ast"
"run.algorithm" = "fed-ast"
"""


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
    words += ["--patience", "0"]
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
