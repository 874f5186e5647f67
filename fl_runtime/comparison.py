"""Several runs side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fairopt.errors import InvalidInput
from fl_runtime.history import merge
from fl_runtime.report import read_run
from fl_runtime.summary import summarise


def compare_runs(folders: Sequence[Path]) -> dict[str, Any]:
    """One summary over the arms of several runs, paired by seed with the first arm.

    Raises:
        InvalidInput: A folder is not a run, has no finished round, or has other tasks.
    """
    runs = [(str(folder), *read_run(folder)) for folder in folders]
    tasks = [task.name for task in runs[0][1].task]
    for label, config, history in runs:
        if [task.name for task in config.task] != tasks:
            raise InvalidInput("DIR", label, f"a run with the tasks {', '.join(tasks)}")
        if any(
            not history.rounds(arm, seed) for arm in history.arms for seed in history.seeds(arm)
        ):
            raise InvalidInput("DIR", label, "a run with at least one round of every arm and seed")
    targets = {task.name: task.target_accuracy for task in runs[0][1].task}
    merged = merge((label, history) for label, _, history in runs)
    return summarise(merged, targets=targets, last=runs[0][1].run.report_rounds)
