"""Inputs that a configuration only names: made independent of the folder, and fingerprinted.

Files and functions can change while a run goes on or is stopped, and a function may give other data
at every call; so can the source of a user's own algorithm, model or partition. Their fingerprints
are written into the run's configuration and compared when it is taken up (those of data at every
load), so that going on with others is refused instead of mixed in.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fairopt.errors import InvalidInput, Unshown
from fl_runtime.configuration.schema import Config, TaskSection
from fl_runtime.configuration.toml_files import arm_configs
from fl_runtime.data.dataset import Data, Dataset
from fl_runtime.data.inputs import parts_of
from fl_runtime.data.packages import MissingData
from fl_runtime.data.registry import FILE_KINDS, load_dataset
from fl_runtime.data.sources import Source
from fl_runtime.extensions import Entry, taken_apart
from fl_runtime.history import ROWS_FILE
from fl_runtime.user_objects import fingerprint

TASK_CHOICES = ("model", "optimizer", "schedule", "loss", "metrics", "trainer")
"""Keys of a task that may name an object of the user's; data are compared by what they hold."""

SEEDED = " (a function that draws must seed its generator)"
"""What to do about a function that gives other data at every call."""


def with_inputs(config: Config) -> Config:
    """The configuration with absolute paths and the fingerprints of everything they lead to."""
    absolute = config.model_copy(
        update={
            "task": tuple(_absolute_task(task) for task in config.task),
            "recruitment": config.recruitment.model_copy(
                update={"costs": _absolute_file(config.recruitment.costs)}
            ),
            "clients": config.clients.model_copy(
                update={"availability": _absolute_file(config.clients.availability)}
            ),
        }
    )
    return absolute.model_copy(update={"inputs": fingerprints(absolute)})


def check_inputs(config: Config) -> None:
    """Compare today's inputs with the recorded ones.

    Raises:
        InvalidInput: A file or function gives other data than when the run began, or the source
            behind an object that the configuration names has changed.
    """
    now, objects = fingerprints(config), references(config)
    for name, recorded in config.inputs.items():
        if now.get(name) != recorded:
            if name in objects:
                raise _edited(name, "undo the edit, or begin a new run")
            seeded = SEEDED if _is_function(name) else ""
            raise InvalidInput(name, Unshown.CHANGED, f"the data that the run began with{seeded}")


def check_source(config: Config, key: str, entry: Entry, remedy: str) -> None:
    """Compare the source behind one object with the recorded one.

    Args:
        config: The configuration of a run.
        key: Where the object is named.
        entry: Its name there; one of ours, or one without a record, passes.
        remedy: What the user can do.

    Raises:
        InvalidInput: The source has changed.
    """
    name, _ = taken_apart(entry, key)
    if ":" in name and name in config.inputs and fingerprint(key, name) != config.inputs[name]:
        raise _edited(name, remedy)


def _edited(name: str, remedy: str) -> InvalidInput:
    """What is said of an object whose source has changed; its module has been imported."""
    file = Path(str(sys.modules[name.partition(":")[0]].__file__)).name
    where = f"{file} or a module that it uses is another one now: {remedy}"
    return InvalidInput(name, Unshown.CHANGED, f"the source that the run began with ({where})")


def _is_function(name: str) -> bool:
    """Whether a data source is a function, not a file."""
    return ":" in name and name.partition(":")[0] not in FILE_KINDS and "/" not in name


def fingerprints(config: Config) -> dict[str, str]:
    """A hash per data source, cost, trace or model file, and object, by its name at its key."""
    sources = {label(task.data): task for task in config.task if ":" in label(task.data)}
    arms = arm_configs(config).values()
    costs = [arm.recruitment.costs for arm in arms if arm.recruitment.rule != "everyone"]
    traces = [arm.clients.availability for arm in arms]
    found = {
        source: _of_dataset(_loaded(sources[source].data, sources[source].name), source)
        for source in sorted(sources)
    }
    for key, tables in (("recruitment.costs.file", costs), ("clients.availability.file", traces)):
        files = sorted({str(table["file"]) for table in tables if "file" in table})
        found |= {file: _of_file(key, Path(file)) for file in files}
    models = {task.initial: f"task.{task.name}.initial" for task in config.task if task.initial}
    found |= {file: _of_file(key, Path(file)) for file, key in models.items()}
    others = {
        task.reference: f"task.{task.name}.reference"
        for task in config.task
        if isinstance(task.reference, str)
    }
    found |= {
        name: _of_file(key, Path(name.partition("#")[0], ROWS_FILE)) for name, key in others.items()
    }
    return found | {name: fingerprint(key, name) for name, key in references(config).items()}


def references(config: Config) -> dict[str, str]:
    """Every ``package.module:object`` of a configuration but for data, with the key it is at."""
    chosen: list[tuple[str, object]] = [
        (f"task.{task.name}.{key}", entry)
        for task in config.task
        for key in TASK_CHOICES
        for value in [getattr(task, key)]
        for entry in (value if isinstance(value, list | tuple) else [value])
    ]
    for arm in arm_configs(config).values():
        chosen += [
            ("run.algorithm", arm.run.algorithm),
            ("server.optimizer", arm.server and arm.server.optimizer),
            ("server.aggregation", arm.server and arm.server.aggregation),
            ("clients.partition", arm.clients.partition),
            ("clients.sampling", arm.clients.sampling),
            ("clients.delay.model", arm.clients.delay.get("model")),
            ("clients.availability.model", arm.clients.availability.get("model")),
            ("recruitment.rule", arm.recruitment.rule),
            ("recruitment.costs.distribution", arm.recruitment.costs.get("distribution")),
        ]
    named = {taken_apart(entry, key)[0]: key for key, entry in chosen if entry is not None}
    return {name: key for name, key in sorted(named.items()) if ":" in name}


def label(entry: Entry) -> str:
    """An entry as one text.

    Example:
        >>> label("mine:faces"), label({"name": "mine:faces", "size": 8})
        ('mine:faces', 'mine:faces(size=8)')
    """
    name, fields = taken_apart(entry, "data")
    inside = ", ".join(f"{key}={fields[key]!r}" for key in sorted(fields))
    return f"{name}({inside})" if fields else name


def load_recorded(entry: Entry, inputs: Mapping[str, str], task: str) -> Dataset | Data | Source:
    """A data set, which is the recorded one where there is a record of it.

    Args:
        entry: Its name in a configuration.
        inputs: What `fingerprints` gave when the run began.
        task: Name of the task that it is for.

    Raises:
        InvalidInput: It cannot be loaded, or is another one than when the run began.
    """
    dataset, source = _loaded(entry, task), label(entry)
    if source in inputs and _of_dataset(dataset, source) != inputs[source]:
        seeded = SEEDED if _is_function(source) else ""
        requirement = f"the data that the run began with, the same at every load{seeded}"
        raise InvalidInput(source, Unshown.CHANGED, requirement)
    return dataset


def _loaded(entry: Entry, task: str) -> Dataset | Data | Source:
    """A data set; what is wrong with its name is said of the task's key."""
    try:
        return load_dataset(entry)
    except InvalidInput as error:
        if error.argument != "data" or isinstance(error, MissingData):
            raise
        raise InvalidInput(f"task.{task}.data", error.value, error.requirement) from error


def check_recorded(key: str, table: Mapping[str, Any], inputs: Mapping[str, str]) -> None:
    """Compare the file that a table names, if any, with the recorded one.

    Raises:
        InvalidInput: It cannot be read, or is another one than when the run began.
    """
    file = str(table.get("file"))
    if file in inputs and _of_file(key, Path(file)) != inputs[file]:
        raise InvalidInput(file, Unshown.CHANGED, "the data that the run began with")


def _of_dataset(dataset: Dataset | Data | Source, source: str) -> str:
    """Hash of everything in a data set; what is as by default adds nothing, as in early records."""
    if isinstance(dataset, Data):
        return _of_data(dataset)
    if not isinstance(dataset, Dataset):
        sizes = np.asarray(dataset.sizes, dtype=np.int64).tobytes()
        said = f"{dataset.fingerprint} {dataset.outputs!r} ".encode()
        return hashlib.sha256(said + sizes).hexdigest()
    digest = hashlib.sha256(repr(dataset.features.shape).encode())
    digest.update(dataset.features.tobytes())
    digest.update(dataset.labels.tobytes())
    if dataset.strata is not None:
        digest.update(dataset.strata.tobytes() + dataset.family.encode())
    elif dataset.family:
        digest.update(f"family {dataset.family}".encode())
    if dataset.standardise:
        digest.update(b"standardise")
    if dataset.client is not None:
        digest.update(b"client" + dataset.client.tobytes())
    if dataset.split is not None and not source.startswith("idx:"):  # there files are the parts
        digest.update(b"split" + "".join(mark[0] for mark in dataset.split.tolist()).encode())
    return digest.hexdigest()


def _of_data(data: Data) -> str:
    """Hash of everything in data of any kind."""
    what = (data.outputs, data.standardise, data.family, data.strata is None)
    digest = hashlib.sha256(repr(what).encode())
    for name, array in (*parts_of(data.inputs).items(), ("", data.targets), ("", data.cut_by)):
        digest.update(f"{name}{(array.shape, array.dtype.str)!r}".encode())
        digest.update(array.tobytes())
    if data.client is not None:
        digest.update(b"client" + data.client.tobytes())
    if data.split is not None:
        digest.update(b"split" + "".join(mark[0] for mark in data.split.tolist()).encode())
    return digest.hexdigest()


def _of_file(key: str, path: Path) -> str:
    """Hash of a file's bytes."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        kinds = {"initial": "safetensors file", "reference": "folder of a finished run"}
        kind = kinds.get(key.rpartition(".")[2], "CSV file of numbers")
        requirement = f"a {kind} ({error.strerror})"
        raise InvalidInput(key, str(path), requirement) from error


def _absolute_task(task: TaskSection) -> TaskSection:
    """The task with absolute paths, if it reads files."""
    if task.initial is not None:
        task = task.model_copy(update={"initial": str(Path(task.initial).resolve())})
    if isinstance(task.reference, str):
        folder, *arm = task.reference.split("#", 1)
        whole = "#".join([str(Path(folder).resolve()), *arm])
        task = task.model_copy(update={"reference": whole})
    name, _ = taken_apart(task.data, "data")
    kind, _, file = name.partition(":")
    if file and kind in FILE_KINDS:
        return task.model_copy(update={"data": f"{kind}:{Path(file).resolve()}"})
    return task


def _absolute_file(table: dict[str, Any]) -> dict[str, Any]:
    """The table with an absolute path, if it reads a file."""
    return {**table, "file": str(Path(str(table["file"])).resolve())} if "file" in table else table
