"""Several processes at one run: the bytes of a run in one process, whatever happens to them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

import fl_runtime
from fairopt.errors import FairoptError, InvalidInput
from fl_runtime.configuration.schema import Config
from fl_runtime.running import side_by_side
from fl_runtime.running.one_run import Event
from fl_runtime.running.pieces import FOLDER, Piece
from fl_runtime.running.progress import Extent, progress_bar
from fl_runtime.running.run_folder import RunFolder
from fl_runtime.running.writer import HISTORY
from tests.fl_runtime import small
from tests.fl_runtime.kills import Killed

SETTINGS = small.config()
PIECES = 4
RUNS = [(arm, seed) for seed in (0, 1) for arm in ("random", "fair")]


def files(folder: Path) -> dict[str, bytes]:
    """All files of a run; for some the content is no promise."""
    found = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    other = ("timing", "plots", "checkpoint")
    return {name: b"" if name.startswith(other) else it for name, it in found.items()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in one process."""
    folder = tmp_path_factory.mktemp("one process") / "run"
    fl_runtime.run(SETTINGS, out=folder)
    return folder


def stopped(out: Path, after: int, jobs: int | None, settings: Config = SETTINGS) -> None:
    """Run until that many events have happened, then die."""
    seen: list[Event] = []

    def kill(event: Event) -> None:
        seen.append(event)
        if len(seen) == after:
            raise Killed

    with pytest.raises(Killed):
        fl_runtime.run(settings, out=out, on_event=kill, jobs=jobs)


@pytest.mark.parametrize("jobs", [2, 3])
def test_the_files_are_those_of_one_process(whole: Path, tmp_path: Path, jobs: int) -> None:
    seen: list[Event] = []
    history = fl_runtime.run(SETTINGS, out=tmp_path / "run", jobs=jobs, on_event=seen.append)
    assert files(tmp_path / "run") == files(whole)
    for arm, seed in RUNS:
        mine = [event.row for event in seen if (event.arm, event.seed) == (arm, seed)]
        assert mine == [row for row in history.rows if (row["arm"], row["seed"]) == (arm, seed)]
    assert len(seen) == len(history.rows)


def test_in_memory_models_come_back_as_well(whole: Path) -> None:
    found = fl_runtime.run(SETTINGS, jobs=2)
    assert found.rows == fl_runtime.resume(whole).rows
    model = found.models.load("wine", "fair", 1).state_dict()
    for name, value in fl_runtime.load_model(whole, "wine", "fair", 1).state_dict().items():
        assert (model[name] == value).all()


@pytest.mark.parametrize(
    ("began", "after", "goes_on"), [(2, 9, None), (2, 9, 3), (None, 3, 2), (None, 8, 2)]
)
def test_whoever_goes_on_ends_with_the_same_files(
    whole: Path, tmp_path: Path, began: int | None, after: int, goes_on: int | None
) -> None:
    stopped(tmp_path / "run", after, began)
    seen: list[Event] = []
    history = fl_runtime.resume(tmp_path / "run", jobs=goes_on, on_event=seen.append)
    assert files(tmp_path / "run") == files(whole)
    assert len(seen) <= len(history.rows)


def test_rounds_that_pieces_have_done_are_counted(tmp_path: Path) -> None:
    stopped(tmp_path / "run", 9, 2)
    folder = RunFolder(tmp_path / "run")
    config = folder.config()
    assert 0 < folder.rounds_done(config, folder.progress(config)) < PIECES * 3
    assert folder.history(config).rows == folder.history(config).rows  # can be read meanwhile


@pytest.mark.parametrize("jobs", [None, 2])
def test_a_run_with_pieces_can_be_extended(tmp_path: Path, jobs: int | None) -> None:
    longer = small.config(run={"num_server_rounds": 5})
    fl_runtime.run(longer, out=tmp_path / "whole")
    stopped(tmp_path / "run", 9, 2)
    fl_runtime.resume(tmp_path / "run", rounds=5, jobs=jobs)
    whole, found = ((tmp_path / name / HISTORY).read_bytes() for name in ("whole", "run"))
    assert found == whole


def test_a_fresh_run_replaces_one_with_pieces(whole: Path, tmp_path: Path) -> None:
    stopped(tmp_path / "run", 9, 2)
    assert (tmp_path / "run" / FOLDER).is_dir()
    fl_runtime.run(SETTINGS, out=tmp_path / "run", fresh=True, jobs=2)
    assert files(tmp_path / "run") == files(whole)


def test_a_second_process_is_refused_meanwhile(whole: Path, tmp_path: Path) -> None:
    def others(event: Event) -> None:
        for begin in (fl_runtime.resume, lambda out: fl_runtime.run(SETTINGS, out=out, fresh=True)):
            with pytest.raises(InvalidInput, match="no other process is writing"):
                begin(tmp_path / "run")

    fl_runtime.run(SETTINGS, out=tmp_path / "run", jobs=2, on_event=others)
    assert files(tmp_path / "run") == files(whole)


def test_a_piece_waits_for_the_end_of_an_orphan(whole: Path, tmp_path: Path) -> None:
    """A worker that has lost its parent may still hold its piece for a moment."""
    stopped(tmp_path / "run", 2, 2)
    config = RunFolder(tmp_path / "run").config()
    piece = RunFolder(tmp_path / "run").pieces(config)[0]

    def hold(piece: Piece) -> None:
        with piece.taken_up():
            time.sleep(0.5)

    orphan = multiprocessing.get_context("fork").Process(target=hold, args=(piece,))
    orphan.start()
    time.sleep(0.1)
    fl_runtime.resume(tmp_path / "run", jobs=2)
    orphan.join()
    assert files(tmp_path / "run") == files(whole)


def at_one_piece(monkeypatch: pytest.MonkeyPatch, do: Callable[[], object]) -> None:
    """Something happens in the worker of arm "fair" with seed 0, before its run."""
    real = side_by_side.one_run

    def then(config: Config, seed: int, recorder: Any, *rest: Any) -> None:
        if (recorder.arm, seed) == ("fair", 0):
            do()
        real(config, seed, recorder, *rest)

    monkeypatch.setattr(side_by_side, "one_run", then)


def test_a_worker_that_is_killed_once_is_started_again(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die_once() -> None:
        if not (tmp_path / "died").exists():
            (tmp_path / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)

    at_one_piece(monkeypatch, die_once)
    with pytest.warns(UserWarning, match=r'arm "fair", seed 0: its process ended \(SIGKILL\)'):
        fl_runtime.run(SETTINGS, out=tmp_path / "run", jobs=2)
    assert files(tmp_path / "run") == files(whole)


def test_a_piece_that_kills_its_worker_twice_is_named(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        at_one_piece(patch, lambda: os.kill(os.getpid(), signal.SIGKILL))
        wrong = r'^arm "fair", seed 0: its process has ended twice \(SIGKILL\)$'
        with pytest.warns(UserWarning, match="once more"), pytest.raises(FairoptError, match=wrong):
            fl_runtime.run(SETTINGS, out=tmp_path / "run", jobs=2)
    kept = [path.name for path in (tmp_path / "run" / "models").glob("*/*")]
    assert sorted(kept) == ["0", "1", "1"]  # all others have come to their end
    fl_runtime.resume(tmp_path / "run")
    assert files(tmp_path / "run") == files(whole)


class Odd(Exception):
    """An error that cannot be made from its message."""

    def __init__(self, *, why: str) -> None:
        super().__init__(why)


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (InvalidInput("model", 1, "another"), InvalidInput, 'arm "fair", seed 0, model = 1, but'),
        (OSError(28, "No space left", "x"), OSError, 'arm "fair", seed 0: No space left'),
        (ZeroDivisionError("by zero"), ZeroDivisionError, "by zero"),
        (Odd(why="odd"), RuntimeError, 'arm "fair", seed 0: Odd: odd'),
    ],
)
def test_errors_of_a_worker_come_back_with_their_place(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    kind: type[Exception],
    text: str,
) -> None:
    def fail() -> None:
        raise error

    at_one_piece(monkeypatch, fail)
    with pytest.raises(kind, match=text) as found:
        fl_runtime.run(small.config(run={"seeds": [0]}), out=tmp_path / "run", jobs=2)
    assert not multiprocessing.active_children()  # also while the error is being looked at
    if kind is ZeroDivisionError:
        assert 'in arm "fair", seed 0' in found.value.__notes__


def test_warnings_of_workers_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    poor = small.config(run={"seeds": [0]}, recruitment={"budget": 1e-6})
    with pytest.warns(UserWarning, match='arm "fair", seed 0: nobody is recruited') as seen:
        fl_runtime.run(poor, jobs=2)
    assert len(seen) == 1


@pytest.mark.parametrize("jobs", [0, -1, True, 1.5, "2", 10**9])
def test_a_number_of_jobs_is_one(tmp_path: Path, jobs: Any) -> None:
    with pytest.raises(InvalidInput, match=r"jobs = .* an integer from 1 to"):
        fl_runtime.run(SETTINGS, out=tmp_path / "run", jobs=jobs)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("changes", [{"threads": 2}, {"device": "cuda"}, {"workers": 2}])
def test_no_fork_where_it_could_not_train(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="backend = 'fork', but it must be loky where"):
        fl_runtime.run(small.config(run=changes), out=tmp_path / "run", jobs=2, backend="fork")
    assert not list(tmp_path.iterdir())
    chosen = side_by_side.checked_workers(small.config(run=changes), 2)
    assert chosen is not None
    assert chosen[1].kind == "loky"


def test_a_cluster_that_is_not_there_costs_nothing(
    whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An earlier run stays where it is, also where it was to be replaced."""
    monkeypatch.setattr("mechanisms.backends.extra", lambda *names: nullcontext())
    before = files(whole)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    for kind in ("dask", "ray"):
        with pytest.raises(InvalidInput, match="a cluster that answers"):
            fl_runtime.run(SETTINGS, out=whole, fresh=True, backend=f"{kind}://{address}")
    assert files(whole) == before


@pytest.mark.slow
def test_fresh_processes_leave_the_same_files(whole: Path, tmp_path: Path) -> None:
    """They load everything again, which takes longer than this run."""
    fl_runtime.run(SETTINGS, out=tmp_path / "run", jobs=1, backend="loky")
    assert files(tmp_path / "run") == files(whole)


def test_every_run_that_goes_on_has_a_bar(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(Extent(2, 3), side_by_side=True, label="rate 0.1") as watch:
        for arm in ("random", "fair"):
            watch(Event("recruitment", arm, 0, {}))
            watch(Event("round", arm, 0, {"server_round": 1, "min_task_acc": 0.25}))
        watch(Event("account", "random", 0, {}))
    shown = capsys.readouterr().err
    assert "all" in shown
    assert "4/6" in shown  # of one a round is done, the other has ended before its last one
    assert "rate 0.1, seed 0, fair  worst task 0.25" in shown
    assert "random" not in shown.splitlines()[-1]


def test_a_run_by_virtual_time_has_a_bar_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(Extent(2, None, 10.0), {("fair", 0): 10.0}) as watch:
        for time in (2.5, 12.0):
            watch(Event("round", "fair", 1, {"server_round": 387, "virtual_time": time}))
    shown = capsys.readouterr().err
    assert "20/20 virtual time" in shown
    assert "387" not in shown
    assert Extent.of(small.config(run={"num_server_rounds": 5})) == Extent(4, 5)
    assert Extent.of(small.config(run={"num_server_rounds": None, "time_limit": 2.0})).each == 2.0
