"""Runs that are killed after a chosen event, and the check that they resume."""

from __future__ import annotations

from pathlib import Path

from fl_runtime.configuration.schema import Config
from fl_runtime.running.experiment import resume, run
from fl_runtime.running.one_run import Event
from fl_runtime.running.writer import HISTORY


class Killed(BaseException):
    """Stands for a kill: nothing in the code catches it."""


def stopped(settings: Config, out: Path, after: int) -> bool:
    """Run into a folder until that many events have happened; whether it was still going on."""
    events = 0

    def kill(event: Event) -> None:
        nonlocal events
        events += 1
        if events == after:
            raise Killed

    try:
        run(settings, out=out, on_event=kill)
    except Killed:
        return True
    return False


def assert_resumes(settings: Config, folder: Path, *, after: int) -> None:
    """A run that is killed after so many events ends with the bytes of an undisturbed one."""
    run(settings, out=folder / "whole")
    assert stopped(settings, folder / "stopped", after)
    resume(folder / "stopped")
    whole, again = ((folder / name / HISTORY).read_bytes() for name in ("whole", "stopped"))
    assert again == whole
