"""Several processes at one place: one gets it, the others are refused, nothing is lost or left."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fairopt import InvalidInput
from fl_runtime.configuration.schema import Config
from fl_runtime.history import read_history
from fl_runtime.running import run_folder
from fl_runtime.running.experiment import resume, run
from fl_runtime.running.run_folder import RunFolder
from fl_runtime.running.writer import HISTORY, lock
from tests.fl_runtime.small import config

SETTINGS = config(run={"seeds": [0], "num_server_rounds": 1})
OTHER = config(run={"seeds": [5], "num_server_rounds": 1})


def seeds_in(folder: Path) -> set[int]:
    return {row["seed"] for row in read_history(folder / HISTORY).rows}


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("empty", [False, True])
def test_who_is_overtaken_between_check_and_rename_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh: bool, empty: bool
) -> None:
    out = tmp_path / "run"
    if empty:
        out.mkdir()
    made = run_folder._made

    @contextmanager
    def late(path: Path, settings: Config) -> Iterator[Path]:
        with monkeypatch.context() as other:
            other.setattr(run_folder, "_made", made)
            other.setattr("os.getpid", lambda: 1)
            run(OTHER, out=out, fresh=fresh)
        with made(path, settings) as folder:
            yield folder

    monkeypatch.setattr(run_folder, "_made", late)
    with pytest.raises(InvalidInput, match="no other process begins a run"):
        run(SETTINGS, out=out, fresh=fresh)
    assert seeds_in(out) == {5}
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert resume(out).rows == read_history(out / HISTORY).rows


def test_a_run_is_locked_from_the_moment_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    put = run_folder._put_in_place

    def then_others(made: Path, path: Path, *, replace: bool) -> None:
        put(made, path, replace=replace)
        for begin in (lambda: run(OTHER, out=out, fresh=True), lambda: resume(out)):
            with pytest.raises(InvalidInput, match="no other process is writing"):
                begin()

    monkeypatch.setattr(run_folder, "_put_in_place", then_others)
    run(SETTINGS, out=out)
    assert seeds_in(out) == {0}


def test_an_earlier_run_is_locked_until_it_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    run(SETTINGS, out=out)
    made = run_folder._made

    @contextmanager
    def after_others(path: Path, settings: Config) -> Iterator[Path]:
        with pytest.raises(InvalidInput, match="no other process is writing"):
            resume(out)
        with made(path, settings) as folder:
            yield folder

    monkeypatch.setattr(run_folder, "_made", after_others)
    run(OTHER, out=out, fresh=True)
    assert seeds_in(out) == {5}
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_run_is_locked_before_anything_of_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise another process could go on after the checkpoint that is taken up."""
    run(SETTINGS, out=tmp_path / "run")
    for name in ("config", "progress"):
        read = getattr(RunFolder, name)

        def after_others(self: RunFolder, *args: Config, read: Any = read, name: str = name) -> Any:
            with monkeypatch.context() as other:
                other.setattr(RunFolder, name, read)
                with pytest.raises(InvalidInput, match="no other process is writing"):
                    resume(tmp_path / "run")
            return read(self, *args)

        with monkeypatch.context() as patch:
            patch.setattr(RunFolder, name, after_others)
            resume(tmp_path / "run")


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), KeyboardInterrupt()])
def test_an_earlier_run_is_put_back_where_none_can_replace_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    out, rename = tmp_path / "run", Path.rename
    run(SETTINGS, out=out)

    def failing(self: Path, target: Path) -> Path:
        if target == out and not self.name.endswith(".old"):
            raise error
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", failing)
        with pytest.raises((InvalidInput, KeyboardInterrupt)):
            run(OTHER, out=out, fresh=True)
    assert seeds_in(out) == {0}
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_history_that_was_replaced_since_it_was_opened_is_refused(tmp_path: Path) -> None:
    run(SETTINGS, out=tmp_path / "run")
    with (tmp_path / "run" / HISTORY).open("rb") as opened:
        run(OTHER, out=tmp_path / "run", fresh=True)
        with pytest.raises(InvalidInput, match="no other process is writing"):
            lock(opened, tmp_path / "run")


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("trial", range(10))
def test_of_threads_that_begin_at_one_moment_one_gets_the_place(
    tmp_path: Path, fresh: bool, trial: int
) -> None:
    """It holds the place while the others are refused."""
    settings = [config(run={"seeds": [seed], "num_server_rounds": 1}) for seed in range(6)]
    out, together, over = (
        tmp_path / "run",
        threading.Barrier(6, timeout=60),
        threading.Barrier(6, timeout=60),
    )
    won: list[int] = []

    def begin(seed: int) -> None:
        together.wait()
        try:
            with RunFolder.begin(out, settings[seed], fresh=fresh):
                won.append(seed)
                over.wait()
        except InvalidInput:
            over.wait()

    threads = [threading.Thread(target=begin, args=(seed,)) for seed in range(6)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(won) == 1
    assert RunFolder(out).config().run.seeds == (won[0],)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
