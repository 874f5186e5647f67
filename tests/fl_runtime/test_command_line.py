"""The command line: what it prints, what it refuses, and SIGKILL at random moments."""

from __future__ import annotations

import json
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import SafetensorError
from typer.testing import CliRunner

import fl_runtime
from fl_runtime.__main__ import app, free_folder
from fl_runtime.running import checkpoint
from fl_runtime.running.run_folder import RunFolder
from fl_runtime.running.writer import CHECKPOINT, HISTORY, Writer
from tests.fl_runtime.small import TOML
from tests.forked import start


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(TOML)
    return path


def call(*words: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def test_run_prints_tables_and_leaves_all_files(toml: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    code, text, _ = call("run", toml, "--out", out, "--set", "num-server-rounds=2")
    assert code == 0
    assert "Test accuracy across tasks" in text
    call_of_model = f'fl_runtime.load_model("{out}", "wine", arm="fair", seed=0, which="last")'
    assert text.endswith(f"such as the first: {call_of_model}\n")
    assert sum(p.numel() for p in eval(call_of_model, {"fl_runtime": fl_runtime}).parameters())
    found = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    models = {file for file in found if file.startswith("models/")}
    moments = {f"checkpoint/00{index}.safetensors" for index in range(4)}
    assert moments < found
    assert found - models - moments == {
        "config.toml",
        "history.jsonl",
        "timing.jsonl",
        "summary.json",
        "checkpoint/state.safetensors",
        "plots/accuracy.png",
    }
    assert {"models/fair/1/wine.best.safetensors", "models/random/0/iris.safetensors"} <= models
    assert len(models) == 16
    summary = json.loads((out / "summary.json").read_text())
    code, text, _ = call("resume", out, "--json")
    assert (code, json.loads(text)) == (0, summary)
    code, text, _ = call("compare", out, "--json")
    assert (code, json.loads(text)["arms"]) == (0, summary["arms"])
    assert call("plot", out)[:2] == (0, f"{out}/plots/accuracy.png\n")


def test_a_finished_run_can_be_extended(toml: Path, tmp_path: Path) -> None:
    out, rounds = tmp_path / "run", ("--set", "num-server-rounds=2")
    assert call("run", toml, "--out", out, *rounds)[0] == 0
    code, text, _ = call("resume", out, "--rounds", 3, "--json")
    assert (code, json.loads(text)["arms"]["fair"]["rounds"]) == (0, [3, 3])
    code, text, error = call("resume", out, "--rounds", 2)
    assert (code, text) == (2, "")
    assert error.startswith(
        "error: rounds = 2, but it must be at least 3: the run is one of 3 rounds"
    )


def test_results_of_configurations_run_them_first(toml: Path, tmp_path: Path) -> None:
    words = ("results", toml, "--runs", tmp_path / "runs", "--out", tmp_path / "page.md")
    code, _, err = call(*words, "--jobs", "2")
    assert (code, err.count("error")) == (0, 0)
    page = (tmp_path / "page.md").read_bytes()
    history = (tmp_path / "runs" / "small" / HISTORY).stat().st_ino
    assert call(*words)[0] == 0  # it has been run
    assert (tmp_path / "page.md").read_bytes() == page
    assert (tmp_path / "runs" / "small" / HISTORY).stat().st_ino == history


def test_results_take_title_and_claims_of_now_and_refuse_another_run(
    toml: Path, tmp_path: Path
) -> None:
    page = tmp_path / "page.md"
    words = ("results", toml, "--runs", tmp_path / "runs", "--out", page)
    text = toml.read_text()
    assert call(*words)[0] == 0
    claim = '[[claim]]\nstatement = "Said late."\nsource = "ours"\narm = "fair"\nmargin = -1.0\n'
    toml.write_text(text.replace("[run]", '[run]\ntitle = "Named late"') + claim)
    assert call(*words)[0] == 0
    assert "## Named late" in page.read_text()
    assert "Said late." in page.read_text()
    toml.write_text(text.replace("seeds = [0, 1]", "seeds = [0, 2]"))
    code, _, err = call(*words)
    assert code == 2
    assert "it has changed" in err


def test_results_leave_out_what_needs_data_that_are_not_installed(
    toml: Path, tmp_path: Path
) -> None:
    garments = tmp_path / "garments.toml"
    data = f"""{{ name = "fl_runtime.data.fashion:garments", folder = "{tmp_path}/absent" }}"""
    garments.write_text(toml.read_text().replace('data = "iris"', f"data = {data}"))
    page = tmp_path / "page.md"
    code, _, err = call("results", garments, toml, "--runs", tmp_path / "runs", "--out", page)
    assert code == 0
    assert "left out: it needs Fashion-MNIST" in err
    assert "Not run: `garments.toml`" in page.read_text()
    assert "apt install dataset-fashion-mnist" in page.read_text()
    assert "`small.toml`" in page.read_text()


def test_compare_pairs_two_runs(toml: Path, tmp_path: Path) -> None:
    for name, alpha in (("a", 1), ("b", 5)):
        rounds = "num-server-rounds=1"
        call("run", toml, "--out", tmp_path / name, "--set", rounds, "--set", f"alpha={alpha}")
    code, text, _ = call("compare", tmp_path / "a", tmp_path / "b", "--json")
    assert code == 0
    arms = [f"{tmp_path / name}:{arm}" for name in "ab" for arm in ("fair", "random")]
    assert list(json.loads(text)["arms"]) == arms


def test_the_arm_that_nobody_has_written_is_announced(toml: Path, tmp_path: Path) -> None:
    words = ("run", toml, "--out", tmp_path / "a", "--fresh", "--set", "num-server-rounds=1")
    assert "note:" not in call(*words)[2]
    toml.write_text(toml.read_text().replace('"fair"', '"fair"\n"algorithm.alpha" = 2.0'))
    code, _, err = call(*words)
    assert code == 0
    assert err.count('note: the first arm, "fed-fair-mmfl", is the file as it stands') == 1


def test_compare_leaves_out_what_is_not_finished(
    toml: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("run", toml, "--set", "num-server-rounds=3", "--out")
    assert call(*words, tmp_path / "whole")[0] == 0
    for name, events in (("late", rows_in(tmp_path / "whole") - 2), ("early", 2)):
        with monkeypatch.context() as patch:
            stopping_after(patch, events, lambda: signal.raise_signal(signal.SIGTERM))
            assert call(*words, tmp_path / name)[0] == 128 + signal.SIGTERM
    code, text, err = call("compare", tmp_path / "late", "--json")
    assert code == 0
    assert "1 of 4 runs are left out" in err
    assert json.loads(text)["arms"]["random"]["seeds"] == [0]
    code, _, err = call("compare", tmp_path / "early")
    assert (code, err.count("\n")) == (2, 1)
    assert "resume it first" in err


def test_compare_refuses_other_data_and_announces_other_clients(toml: Path, tmp_path: Path) -> None:
    for name, override in (("a", "seeds=[0]"), ("b", "num-clients=6"), ("c", "task.0.data=iris")):
        words = ("--set", "num-server-rounds=1", "--set", override)
        assert call("run", toml, "--out", tmp_path / name, *words)[0] == 0
    code, _, err = call("compare", tmp_path / "a", tmp_path / "b")
    assert code == 0
    assert "pairs share seeds, but not everything else" in err
    code, _, err = call("compare", tmp_path / "a", tmp_path / "c")
    assert code == 2
    assert "data of the first" in err


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run, to be copied."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "small.toml").write_text(TOML)
    one = ("--set", "num-server-rounds=1", "--set", "seeds=[0]")
    assert call("run", folder / "small.toml", "--out", folder / "run", *one)[0] == 0
    return folder / "run"


@pytest.mark.parametrize(
    "damage",
    ["no config", "no history", "history folder", "odd row", "empty", "edited", "no checkpoint"],
)
def test_damaged_folders_are_one_line(finished: Path, tmp_path: Path, damage: str) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    history = out / HISTORY
    match damage:
        case "no config":
            (out / "config.toml").unlink()
        case "no history":
            history.unlink()
        case "history folder":
            history.unlink()
            history.mkdir()
        case "odd row":
            history.write_text('{"event":"round","arm":[1],"seed":0}\n')
        case "empty":
            history.write_text("")
        case "edited":
            history.write_text(history.read_text().replace('"min_take_up":', '"min_take_up":1'))
        case "no checkpoint":
            (out / CHECKPOINT).unlink()
    for command in ("resume", "plot", "compare", "results"):
        code, printed, err = call(command, out)
        assert (code, printed, err.count("\n")) == (2, "", 1), (command, err)


def test_a_folder_without_a_run_is_named_as_dir(tmp_path: Path) -> None:
    for command in ("compare", "plot", "resume"):
        code, printed, err = call(command, tmp_path / "nothing")
        assert (code, printed, err.count("\n")) == (2, "", 1), (command, err)
        assert re.search(r"DIR = .*, but it must be the folder of a run", err), (command, err)


def test_json_is_strict_and_alone_on_standard_output(toml: Path, tmp_path: Path) -> None:
    words = (
        "--set",
        "num-server-rounds=1",
        "--set",
        "seeds=[0]",
        "--set",
        f"task.0.data={__name__}:loud",
    )
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "fl_runtime",
            "run",
            toml,
            "--out",
            tmp_path / "r",
            *words,
            "--json",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "NaN" not in done.stdout
    assert json.loads(done.stdout)["arms"]
    assert "loading" in done.stderr


def loud() -> tuple[np.ndarray, np.ndarray]:
    print("loading")  # noqa: T201
    return np.random.default_rng(0).normal(size=(90, 3)), np.arange(90) % 3


RESUME = "resume with: python -m fl_runtime resume "


def stopping_after(
    monkeypatch: pytest.MonkeyPatch, events: int, what: Callable[[], object]
) -> None:
    """Something happens after so many events of the next run."""
    row = Writer.row

    def write(self: Writer, figures: Mapping[str, Any]) -> None:
        nonlocal events
        row(self, figures)
        events -= 1
        if events == 0:
            what()

    monkeypatch.setattr(Writer, "row", write)


def last_line(text: str) -> str:
    """What stands below the progress bar."""
    return text.splitlines()[-1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("folder", ["run", "a run"])
def test_a_run_that_is_interrupted_says_how_to_go_on(
    toml: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, folder: str
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        stopping_after(patch, 5, lambda: signal.raise_signal(number))
        code, out, err = call("run", toml, "--out", tmp_path / folder)
    assert (code, out) == (128 + number, "")
    assert last_line(err) == f"stopped; {RESUME}{shlex.quote(str(tmp_path / folder))}"
    assert signal.getsignal(signal.SIGTERM) is before
    assert call("run", toml, "--out", tmp_path / "whole")[0] == 0
    words = shlex.split(last_line(err).removeprefix(f"stopped; {RESUME}"))
    with monkeypatch.context() as patch:
        stopping_after(patch, 2, lambda: signal.raise_signal(number))
        assert last_line(call("resume", *words)[2]) == last_line(err)
    assert call("resume", *words)[0] == 0
    whole, again = ((tmp_path / name / HISTORY).read_bytes() for name in ("whole", folder))
    assert whole == again


@pytest.mark.slow
def test_sigterm_ends_a_process_with_its_status(toml: Path, tmp_path: Path) -> None:
    process = start("fl_runtime", "run", toml, "--out", tmp_path / "run", out=tmp_path)
    while process.is_alive() and rows_in(tmp_path / "run") < 2:
        time.sleep(0.0005)
    process.terminate()
    assert end(process) == 128 + signal.SIGTERM
    assert (tmp_path / "err").read_text().endswith(f"{RESUME}{tmp_path / 'run'}\n")


def test_an_interrupt_before_anything_is_written_is_a_word(
    toml: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RunFolder, "begin", lambda *_, **__: signal.raise_signal(signal.SIGTERM))
    code, _, err = call("run", toml, "--out", tmp_path / "run")
    assert (code, err) == (128 + signal.SIGTERM, "stopped\n")


@pytest.mark.parametrize("limit", [10, 3000], ids=["at its first file", "later"])
def test_a_full_disk_is_one_line(toml: Path, tmp_path: Path, limit: int) -> None:
    """A limit of the size of files stands for it: both are errors of writing."""
    code = (
        "import resource, runpy, sys\n"
        "sys.argv[1:] = sys.argv[2:]\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
        "runpy.run_module('fl_runtime', run_name='__main__', alter_sys=True)\n"
    )
    words = ["x", "run", str(toml), "--out", str(tmp_path / "run")]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert last_line(done.stderr).startswith("error: ")
    assert "File too large" in last_line(done.stderr)
    began = (tmp_path / "run").exists()
    assert began == (RESUME in done.stderr) == (limit > 10)
    if began:
        assert not list(tmp_path.rglob("*.partial"))
        assert call("resume", tmp_path / "run")[0] == 0
    else:
        assert list(tmp_path.iterdir()) == [toml]


def test_a_checkpoint_that_cannot_be_written_keeps_the_last(
    toml: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(tensors: object, path: Path, metadata: object) -> None:
        path.write_bytes(b"half")
        raise SafetensorError("Error while serializing: I/O error: No space left on device")

    with monkeypatch.context() as patch:
        stopping_after(patch, 5, lambda: patch.setattr(checkpoint, "save_file", full))
        code, out, err = call("run", toml, "--out", tmp_path / "run")
    assert (code, out) == (2, "")
    assert "No space left on device" in last_line(err)
    assert last_line(err).endswith(f"; {RESUME}{tmp_path / 'run'}")
    assert not list(tmp_path.rglob("*.partial"))
    assert call("resume", tmp_path / "run")[0] == 0


def test_a_module_that_is_not_found_is_said_to_be_looked_for(
    toml: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "my_own_data.py").write_text(
        "import numpy as np\ndef two():\n    return np.arange(90.)[:, None], np.arange(90) % 2\n"
    )
    monkeypatch.syspath_prepend(str(folder))
    words = ("--set", "num-server-rounds=1", "--set", "task.0.data=my_own_data:two")
    assert call("run", toml, "--out", tmp_path / "run", *words)[0] == 0
    monkeypatch.delitem(sys.modules, "my_own_data")
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != str(folder)])
    monkeypatch.chdir("/")
    code, out, err = call("resume", tmp_path / "run")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "No module named 'my_own_data'; it is looked for in the current folder / and" in err
    assert RESUME not in err


def test_list_names_everything() -> None:
    code, text, _ = call("list")
    assert code == 0
    for word in (
        "fed-fair-mmfl",
        "digits-noisy",
        "max-min-fair",
        "dirichlet",
        "shifted-exp",
        "[low, high]",
    ):
        assert word in text
    code, text, _ = call("list", "--json")
    assert set(json.loads(text)) >= {"algorithms", "data", "models", "recruitment rules"}


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["run", "absent.toml"], "a readable file"),
        (["run", "TOML", "--set", "algorithm.alpa=3"], "did you mean alpha?"),
        (["run", "TOML", "--set", "run.algorithm=fedavg"], "did you mean fed-avg?"),
        (["run", "TOML", "--set", "budget=0"], "a finite number > 0"),
        (["run", "TOML", "--set", "costs={ distribution = 'uniform', low = -1 }"], "low"),
        (["run", "TOML", "--set", "num-clients=5000"], "some client shard is empty"),
        (["run", "TOML", "--out", "."], "a new or empty folder"),
        (["run", "TOML", "--out", "small.toml/x"], "a folder that can be made"),
        (["run", "TOML", "--jobs", "0"], "an integer from 1 to"),
        (["run", "TOML", "--jobs", "1.5"], "jobs = '1.5', but it must be an integer"),
        (["run", "TOML", "--jobs", "2", "--backend", "spark"], "fork, loky, dask://HOST:PORT or"),
        (["run", "TOML", "--backend", "dask://nowhere"], "dask://HOST:PORT or ray://HOST:PORT"),
        (["run", "TOML", "--set", "threads=2", "--backend", "fork"], "loky where run.threads is"),
        (["resume", "absent"], "the folder of a run"),
        (["compare", "absent"], "the folder of a run"),
        (["plot", "absent"], "the folder of a run"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    toml: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], reason: str
) -> None:
    monkeypatch.chdir(toml.parent)
    code, out, err = call(*(str(toml) if word == "TOML" else word for word in words))
    assert code == 2
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert reason in err
    assert [path.name for path in toml.parent.iterdir()] == [toml.name]


def test_default_folders_do_not_collide(tmp_path: Path) -> None:
    assert free_folder(tmp_path, "demo") == tmp_path / "demo"
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo-2").mkdir()
    assert free_folder(tmp_path, "demo") == tmp_path / "demo-3"


def rows_in(folder: Path) -> int:
    history = folder / HISTORY
    return history.read_bytes().count(b"\n") if history.exists() else 0


def kill_after_rows(process: BaseProcess, folder: Path, rows: int) -> bool:
    """SIGKILL a little after the history has that many rows; whether it came before the end."""
    deadline = time.monotonic() + 120
    while process.is_alive() and rows_in(folder) < rows and time.monotonic() < deadline:
        time.sleep(0.0005)
    time.sleep(random.Random(rows).uniform(0.0, 0.02))
    process.kill()
    return end(process) == -signal.SIGKILL


def end(process: BaseProcess) -> int | None:
    """Exit status of a process that is left alone."""
    process.join()
    return process.exitcode


def test_several_processes_are_interrupted_together(
    toml: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main, run = os.getpid(), tmp_path / "run"

    def interrupt() -> None:
        with suppress(FileExistsError):  # once, whoever is first
            (tmp_path / "interrupted").touch(exist_ok=False)
            os.kill(main, signal.SIGINT)
        signal.pause()

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background
    with monkeypatch.context() as patch, ExitStack() as after:
        after.callback(signal.signal, signal.SIGINT, before)
        stopping_after(patch, 3, interrupt)
        code, out, err = call("run", toml, "--out", run, "--jobs", "2")
    assert (code, out) == (128 + signal.SIGINT, "")
    assert last_line(err) == f"stopped; {RESUME}{run}"
    assert call("resume", run, "--jobs", "2")[0] == 0
    assert call("run", toml, "--out", tmp_path / "whole")[0] == 0
    assert (run / HISTORY).read_bytes() == (tmp_path / "whole" / HISTORY).read_bytes()


@pytest.mark.slow
def test_no_worker_outlives_a_kill_of_the_first_process(toml: Path, tmp_path: Path) -> None:
    """At once there is neither a lock nor a process in the way of whoever goes on."""
    assert end(start("fl_runtime", "run", toml, "--out", tmp_path / "whole")) == 0
    run, jobs = tmp_path / "run", ("--jobs", 2)
    process = start("fl_runtime", "run", toml, "--out", run, *jobs)
    while process.is_alive() and not any(map(rows_in, run.glob("pieces/*"))):
        time.sleep(0.0005)
    process.kill()
    assert end(process) == -signal.SIGKILL
    assert end(start("fl_runtime", "resume", run, *jobs)) == 0
    assert (run / HISTORY).read_bytes() == (tmp_path / "whole" / HISTORY).read_bytes()
    assert not (run / "pieces").exists()


@pytest.mark.slow
@pytest.mark.parametrize("arms", ["in rounds", "asynchronous"])
def test_sigkill_and_resume_give_the_same_bytes(toml: Path, tmp_path: Path, arms: str) -> None:
    if arms == "asynchronous":
        toml.write_text(in_flight(TOML))
    assert end(start("fl_runtime", "run", toml, "--out", tmp_path / "whole")) == 0
    killed = tmp_path / "killed"
    kills = [kill_after_rows(start("fl_runtime", "run", toml, "--out", killed), killed, rows=2)]
    for rows in (6, 9, 13, 17):
        kills.append(kill_after_rows(start("fl_runtime", "resume", killed), killed, rows))
    assert any(kills)
    assert end(start("fl_runtime", "resume", killed)) == 0
    models = [p.relative_to(killed) for p in (killed / "models").rglob("*.safetensors")]
    assert len(models) == 16
    for file in (HISTORY, *models):
        assert (killed / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


def in_flight(text: str) -> str:
    """The same configuration with asynchronous arms."""
    for old, new in (
        ('"fed-fair-mmfl"', '"fed-buff"'),
        ('"run.algorithm" = "random"', '"run.algorithm" = "fed-async"'),
        ("dropout = 0.2", "dropout = 0.1\nfailures = 0.1"),
        ("[recruitment]", "[algorithm]\nbuffer-size = 3\n[recruitment]"),
    ):
        assert old in text
        text = text.replace(old, new)
    return text
