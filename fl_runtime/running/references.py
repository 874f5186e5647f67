"""The score that a task is compared with: a number, or that of another run's model.

``reference = "runs/single#mlp"`` is the score that the arm `mlp` of that finished run has for the
task of the same name: the mean over its seeds and last rounds, on the test set, as its tables show
it. A run's own copy of the configuration holds the number beside the name, and the hash of the
other history, so it can be read, compared and resumed as it began.
"""

from __future__ import annotations

import math
from pathlib import Path

from fairopt.choices import choose
from fairopt.errors import InvalidInput
from fl_runtime.configuration.schema import Config, TaskSection
from fl_runtime.history import History
from fl_runtime.metrics.run_figures import figures
from fl_runtime.running.run_folder import RunFolder


def with_references(config: Config) -> Config:
    """The configuration with the scores that references to runs stand for.

    Raises:
        InvalidInput: See `reference_of`.
    """
    tasks = tuple(
        task.model_copy(update={"reference_score": reference_of(task)})
        if isinstance(task.reference, str)
        else task
        for task in config.task
    )
    return config.model_copy(update={"task": tasks})


def reference_of(task: TaskSection) -> float | None:
    """The score that a task's reference stands for; None without one.

    Raises:
        InvalidInput: There is no such folder, arm or task, the run is not finished, or it scored
            the task by another metric.
    """
    if not isinstance(task.reference, str) or task.reference_score is not None:
        return task.standard
    key, (folder, _, arm) = f"task.{task.name}.reference", task.reference.partition("#")
    config, history = _finished(key, task.reference, Path(folder))
    arms = dict.fromkeys(history.arms)
    if not arm and len(arms) > 1:
        requirement = f"with one of its arms: {', '.join(f'{folder}#{name}' for name in arms)}"
        raise InvalidInput(key, task.reference, requirement)
    chosen = arm or next(iter(arms))
    choose(f"{key} arm", chosen, arms)
    choose(f"{key} task", task.name, dict.fromkeys(history.tasks))
    scored = history.scores[task.name]
    if scored.metric != task.metric_names[0]:
        requirement = f"a run that scores the task by {task.metric_names[0]}, not {scored.metric}"
        raise InvalidInput(key, task.reference, requirement)
    column, last = scored.column(task.name), config.run.report_rounds
    found = figures(history, chosen, column, last=last)
    mean = sum(found.values()) / len(found)
    if not math.isfinite(mean):
        raise InvalidInput(key, task.reference, f"a run with a finite score (it has {mean})")
    return mean


def _finished(key: str, shown: str, folder: Path) -> tuple[Config, History]:
    """Configuration and history of a finished run."""
    if not folder.is_dir():
        raise InvalidInput(key, shown, f"the folder of a run ({folder} is none)")
    run = RunFolder(folder)
    try:
        config = run.config()
        history, done = run.history(config), run.is_finished(config)
    except InvalidInput as error:
        raise InvalidInput(key, shown, f"the folder of a run ({error})") from error
    if not done:
        requirement = f"a finished run (python -m fl_runtime resume {folder})"
        raise InvalidInput(key, shown, requirement)
    return config, history
