"""Several runs side by side."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fairopt.errors import InvalidInput
from fl_runtime.configuration.schema import Config
from fl_runtime.configuration.toml_files import arm_configs
from fl_runtime.history import History, merge, merged_names
from fl_runtime.reporting.report import read_run
from fl_runtime.reporting.summary import summarise
from fl_runtime.running.stopping import is_over


def compare_runs(folders: Sequence[Path]) -> dict[str, Any]:
    """One summary over the arms of several runs, paired by seed.

    Arms are compared with those that their run names, which are arms of that run; arms whose run
    names none are compared with the first arm of all. Only finished runs count: what is not
    finished is left out with a warning.

    Raises:
        InvalidInput: A folder is not a run, occurs twice or has nothing finished, or tasks differ
            between runs.
    """
    _refuse_twice(folders)
    runs = [(str(folder), *read_run(folder)) for folder in folders]
    first = runs[0][1]
    for label, config, _ in runs[1:]:
        _check_comparable(label, config, first)
    finished = [(label, finished_part(label, config, history)) for label, config, history in runs]
    return summarise(
        merge(finished),
        targets={task.name: task.goal for task in first.task},
        versus=_versus([(label, config) for label, config, _ in runs], finished),
        last=first.run.report_rounds,
        references={task.name: task.standard for task in first.task},
    )


def _refuse_twice(folders: Sequence[Path]) -> None:
    """Raise where one run is given twice: its seeds would count twice."""
    seen: set[Path] = set()
    for folder in folders:
        if folder.resolve() in seen:
            raise InvalidInput("DIR", str(folder), "a run that is not given twice")
        seen.add(folder.resolve())


def _versus(
    runs: Sequence[tuple[str, Config]], finished: Sequence[tuple[str, History]]
) -> dict[str, list[str]]:
    """The finished arms that each arm is to be compared with, for arms that name some.

    Names are those of the merged history; an arm is only ever compared with arms of its own run.
    """
    names = merged_names((label, history.arms) for label, history in finished)
    return {
        names[label, arm.name]: [
            names[label, other] for other in arm.versus if (label, other) in names
        ]
        for label, config in runs
        for arm in config.arm
        if arm.versus and (label, arm.name) in names
    }


def _check_comparable(label: str, config: Config, first: Config) -> None:
    """The same tasks with the same data, or no comparison; other clients are announced."""
    tasks, expected = ([(task.name, task.data) for task in c.task] for c in (config, first))
    if tasks != expected or _data_hashes(config) != _data_hashes(first):
        names = ", ".join(f"{name} ({data})" for name, data in expected)
        raise InvalidInput("DIR", label, f"a run with the tasks and data of the first: {names}")
    if _scored(config) != _scored(first):
        raise InvalidInput("DIR", label, "a run whose tasks are scored like those of the first")
    if config.clients != first.clients or config.task != first.task:
        warnings.warn(
            f"{label} differs from the first run in [clients] or [[task]] settings: "
            "pairs share seeds, but not everything else",
            stacklevel=3,
        )
    if config.run.report_rounds != first.run.report_rounds:
        warnings.warn(
            f"{label}: report-rounds of the first run ({first.run.report_rounds}) are used",
            stacklevel=3,
        )


def _scored(config: Config) -> list[tuple[object, ...]]:
    """What tasks are judged by."""
    return [(task.metric_names[0], task.range, task.standard) for task in config.task]


def _data_hashes(config: Config) -> dict[str, str]:
    """Fingerprints of all inputs but the models that tasks begin with or are compared with."""
    models = {name for task in config.task for name in (task.initial, task.reference)}
    return {name: found for name, found in config.inputs.items() if name not in models}


def finished_part(label: str, config: Config, history: History) -> History:
    """The part of a history whose runs came to their end.

    They have an account, or (those of earlier versions) said why they stopped, or their last round
    is that of the configuration.

    Args:
        label: How messages name the run.
        config: Its configuration.
        history: All of its rows.

    Raises:
        InvalidInput: Nothing is finished.
    """

    def done(arm: str, seed: int) -> bool:
        rounds = history.rounds(arm, seed)
        return bool(rounds) and (
            history.account(arm, seed) is not None
            or history.stopped(arm, seed)
            or is_over(config, rounds[-1]["server_round"], rounds[-1]["virtual_time"])
        )

    whole = history.keep(done)
    if not whole.arms:
        raise InvalidInput("DIR", label, "a run with something finished; resume it first")
    expected = len(arm_configs(config)) * len(config.run.seeds)
    found = sum(len(whole.seeds(arm)) for arm in whole.arms)
    if found < expected:
        warnings.warn(
            f"{label} is not finished: {expected - found} of {expected} runs are left out",
            stacklevel=3,
        )
    return whole
