"""Several runs side by side."""

from __future__ import annotations

import json
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fairopt.choices import choose
from fairopt.errors import InvalidInput
from fl_runtime.configuration.schema import Config
from fl_runtime.configuration.toml_files import arm_configs, history_tree
from fl_runtime.history import History, merge, merged_names
from fl_runtime.reporting.report import read_run
from fl_runtime.reporting.summary import summarise
from fl_runtime.running.stopping import is_over
from fl_runtime.validation_errors import kebab


def compare_runs(folders: Sequence[Path], versus: Sequence[str] = ()) -> dict[str, Any]:
    """One summary over the arms of several runs, paired by seed.

    Arms are compared with those that their run names, which are arms of that run, and with the arm
    of the same name of the first run that has one; arms with neither are compared with the first
    arm of all. Only finished runs count: what is not finished is left out with a warning. The
    summary also holds the settings in which runs differ from the first (`differing`).

    Args:
        folders: Of the runs.
        versus: Arms that all others are compared with instead, by their names in the tables, of
            whose folder the last part is enough.

    Raises:
        InvalidInput: A folder is not a run, occurs twice or has nothing finished, tasks differ
            between runs, or there is no such arm.
    """
    _refuse_twice(folders)
    runs = [(str(folder), *read_run(folder)) for folder in folders]
    first = runs[0][1]
    for label, config, _ in runs[1:]:
        _check_comparable(label, config, first)
    finished = [(label, finished_part(label, config, history)) for label, config, history in runs]
    configs = [(label, config) for label, config, _ in runs]
    names = merged_names((label, history.arms) for label, history in finished)
    summary = summarise(
        merge(finished),
        targets={task.name: task.goal for task in first.task},
        versus=_with_all(versus, names) if versus else _versus(configs, names),
        last=first.run.report_rounds,
        references={task.name: task.standard for task in first.task},
    )
    return {**summary, "differing": _differing(configs)} if len(runs) > 1 else summary


Names = Mapping[tuple[str, str], str]
"""Of the merged history, by run and arm."""


def _with_all(versus: Sequence[str], names: Names) -> dict[str, list[str]]:
    """The wanted arms for every arm."""
    last = [(f"{Path(label).name}:{arm}", name) for (label, arm), name in names.items()]
    counts = Counter(short for short, _ in last)
    known = {short: name for short, name in last if counts[short] == 1}
    known |= {f"{label}:{arm}": name for (label, arm), name in names.items()}
    known |= {name: name for name in names.values()}
    wanted = [choose("versus", each, known) for each in versus]
    return dict.fromkeys(names.values(), wanted)


def _refuse_twice(folders: Sequence[Path]) -> None:
    """Raise where one run is given twice: its seeds would count twice."""
    seen: set[Path] = set()
    for folder in folders:
        if folder.resolve() in seen:
            raise InvalidInput("DIR", str(folder), "a run that is not given twice")
        seen.add(folder.resolve())


def _versus(runs: Sequence[tuple[str, Config]], names: Names) -> dict[str, list[str]]:
    """The finished arms that each arm is to be compared with, for arms that have such.

    Those that its own run names for it, then its namesake in the first run that has one.
    """
    told = {(label, arm.name): arm.versus for label, config in runs for arm in config.arm}
    first: dict[str, tuple[str, str]] = {}
    found = {}
    for (label, arm), name in names.items():
        namesake = first.setdefault(arm, (label, arm))
        own = told.get((label, arm), ())
        others = [names[label, other] for other in own if (label, other) in names]
        others += [names[namesake]] if namesake != (label, arm) else []
        if own or others:
            found[name] = others
    return found


def _differing(runs: Sequence[tuple[str, Config]]) -> dict[str, dict[str, list[Any]]]:
    """By run, the settings that decide a history and are not those of the first: both values."""
    first = _settings(runs[0][1])
    return {
        label: {
            key: [first.get(key), mine.get(key)]
            for key in sorted(first.keys() | mine.keys())
            if first.get(key) != mine.get(key)
        }
        for label, config in runs[1:]
        for mine in [_settings(config)]
    }


def _settings(config: Config) -> dict[str, Any]:
    """Dotted keys as files spell them, with tasks and arms by their names, and their values."""
    tree = history_tree(config)
    tree.pop("inputs", None)
    found: dict[str, Any] = {}

    def add(key: str, value: Any) -> None:
        if isinstance(value, Mapping) and value:
            for name, inner in value.items():
                add(f"{key}.{kebab(str(name))}" if key else kebab(str(name)), inner)
        elif value is not None:
            found[key] = value

    for task in tree.pop("task"):
        add(f"task.{task['name']}", {key: each for key, each in task.items() if key != "name"})
    for arm in tree.pop("arm"):
        add(f'arm "{arm["name"]}"', "there")
        for key, value in arm.items():
            if key not in ("name", "versus"):
                add(f'arm "{arm["name"]}", {kebab(key)}', value)
    add("", tree)
    return json.loads(json.dumps(found, default=str))  # type: ignore[no-any-return]


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
