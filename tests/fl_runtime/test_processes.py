"""Pieces of work in processes that may die: every one is answered, once."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fl_runtime.processes.each_done import WorkerDied, each_done
from fl_runtime.processes.pools import Workers, connected
from mechanisms.backends import Backend

BACKENDS = ["fork", "loky"]


def deadly(folder: Path, deaths: int) -> Callable[[int], int]:
    """Squares; the process that is given 2 dies that many times."""

    def work(item: int) -> int:
        time.sleep(0.0 if item == 2 else 0.2)  # so that somebody is at work when it dies
        place = folder / str(item)
        place.write_text(place.read_text() + "x" if place.exists() else "x")
        if item == 2 and len(place.read_text()) <= deaths:
            os.kill(os.getpid(), signal.SIGKILL)
        return item**2

    return work


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_death_costs_no_answer(tmp_path: Path, backend: str) -> None:
    pool = Workers(2, Backend(backend)).pool(deadly(tmp_path, 1))
    dead: list[int] = []
    found = list(each_done(pool, range(5), 2, died=lambda item, how: dead.append(item)))
    assert sorted(found) == [(item, item**2) for item in range(5)]
    assert 2 in dead
    assert dead == [2] or backend == "loky"  # where a death ends all processes


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_second_death_is_an_error_after_all_others(tmp_path: Path, backend: str) -> None:
    pool = Workers(2, Backend(backend)).pool(deadly(tmp_path, 2))
    found: dict[int, int] = {}
    with pytest.raises(WorkerDied) as error:
        found.update(each_done(pool, range(5), 2))
    assert error.value.item == 2
    assert found == {item: item**2 for item in (0, 1, 3, 4)}
    assert (tmp_path / "2").read_text() == "xx"


def test_never_more_at_a_time_than_jobs(tmp_path: Path) -> None:
    most = 0

    def look(running: object) -> None:
        nonlocal most
        most = max(most, len(list(running)))  # type: ignore[call-overload]

    pool = Workers(3, Backend("fork")).pool(lambda item: item)
    assert len(list(each_done(pool, range(7), 3, look=look))) == 7
    assert most == 3


def test_what_is_running_ends_with_its_reader() -> None:
    def wait(item: int) -> None:
        signal.pause()

    pool = Workers(2, Backend("fork")).pool(lambda item: None if item == 0 else wait(item))
    for _ in each_done(pool, range(2), 2):
        break
    del _
    pool.close()
    assert pool.finished(0.0) == []


def test_as_many_as_there_are_cores() -> None:
    with connected((None, Backend("fork"))) as workers:
        assert workers.jobs >= 1
