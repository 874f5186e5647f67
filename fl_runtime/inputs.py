"""Inputs that a configuration only names: made independent of the folder, and fingerprinted.

Files and functions can change while a run is stopped. Their fingerprints are written into the run's
configuration, so that going on with other data is refused instead of mixed in.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from fairopt.errors import InvalidInput
from fl_runtime.config import Config, TaskSection
from fl_runtime.config_files import arm_configs
from fl_runtime.data import load_dataset

_FILE_KINDS = ("idx:", "npz:")


def with_inputs(config: Config) -> Config:
    """The configuration with absolute paths and the fingerprints of everything they lead to."""
    absolute = config.model_copy(
        update={
            "task": tuple(_absolute_task(task) for task in config.task),
            "recruitment": config.recruitment.model_copy(
                update={"costs": _absolute_costs(config.recruitment.costs)}
            ),
        }
    )
    return absolute.model_copy(update={"inputs": fingerprints(absolute)})


def check_inputs(config: Config) -> None:
    """Compare today's inputs with the recorded ones.

    Raises:
        InvalidInput: A file or function gives other data than when the run began.
    """
    now = fingerprints(config)
    for name, recorded in config.inputs.items():
        if now.get(name) != recorded:
            raise InvalidInput(name, "changed", "the data that the run began with")


def fingerprints(config: Config) -> dict[str, str]:
    """A hash per data source or cost file that is not bundled, by its name in the configuration."""
    sources = {task.data for task in config.task if ":" in task.data}
    files = {
        str(arm.recruitment.costs["file"])
        for arm in arm_configs(config).values()
        if "file" in arm.recruitment.costs and arm.recruitment.rule != "everyone"
    }
    found = {source: _of_dataset(source) for source in sorted(sources)}
    return found | {file: _of_file(Path(file)) for file in sorted(files)}


def _of_dataset(source: str) -> str:
    """Hash of features and labels."""
    dataset = load_dataset(source)
    digest = hashlib.sha256(repr(dataset.features.shape).encode())
    digest.update(dataset.features.tobytes())
    digest.update(dataset.labels.tobytes())
    if dataset.strata is not None:
        digest.update(dataset.strata.tobytes() + dataset.family.encode())
    return digest.hexdigest()


def _of_file(path: Path) -> str:
    """Hash of a file's bytes."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        requirement = f"a CSV file of numbers ({error.strerror})"
        raise InvalidInput("recruitment.costs.file", str(path), requirement) from error


def _absolute_task(task: TaskSection) -> TaskSection:
    """The task with an absolute path, if it reads files."""
    for kind in _FILE_KINDS:
        if task.data.startswith(kind):
            path = Path(task.data.removeprefix(kind)).resolve()
            return task.model_copy(update={"data": f"{kind}{path}"})
    return task


def _absolute_costs(costs: dict[str, Any]) -> dict[str, Any]:
    """The table with an absolute path, if it reads a file."""
    return {**costs, "file": str(Path(str(costs["file"])).resolve())} if "file" in costs else costs
