"""Trained models as modules again: of a run's folder, or of a run in memory.

A module is made by the factory that the configuration names, and takes the saved numbers; data are
not needed for it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from fairopt.choices import choose
from fairopt.errors import InvalidInput
from fl_runtime.configuration.input_hashes import check_source
from fl_runtime.configuration.schema import Config
from fl_runtime.configuration.toml_files import arm_configs, digest
from fl_runtime.data.inputs import each, together
from fl_runtime.data.sources import HELD_OUT
from fl_runtime.extensions import taken_apart
from fl_runtime.history import History
from fl_runtime.random_streams import torch_seed
from fl_runtime.running.build import algorithm_of, held_out_of
from fl_runtime.running.model_files import (
    ModelHeader,
    SavedModel,
    Which,
    file_name,
    model_place,
    read_model,
)
from fl_runtime.running.run_folder import RunFolder
from fl_runtime.training.examples import Examples
from fl_runtime.training.models import build_model
from fl_runtime.training.task import LocalTraining, Params, Task, float_state, load_params

Choice = TypeVar("Choice", str, int)
Shape = tuple[int, ...] | None


@dataclass(frozen=True)
class Models:
    """The trained models of a run.

    Attributes:
        config: The configuration of the run.
        read: The saved model of a place within the folder of a run (`model_files.model_place`).
    """

    config: Config
    read: Callable[[Path], SavedModel]

    @classmethod
    def of_folder(cls, path: Path) -> Models:
        """The models that a run has left in its folder."""
        return cls(RunFolder(path).config(), lambda place: read_model(path / place))

    @classmethod
    def in_memory(cls, config: Config, kept: Mapping[Path, SavedModel]) -> Models:
        """The models of a run without a folder, by their place if they were in one."""

        def read(place: Path) -> SavedModel:
            if place not in kept:
                raise InvalidInput("model", str(place), "one that the run has kept")
            return kept[place]

        return cls(config, read)

    def load(
        self,
        task: str,
        arm: str | None = None,
        seed: int | None = None,
        which: Which = "best",
        client: int | None = None,
        edited: bool = False,
    ) -> nn.Module:
        """One model, in evaluation mode; for arguments and errors see `load_model`."""
        saved = self._saved(task, arm, seed, which)
        whose = _client_of(saved.header, client)
        if not edited:
            _check_sources(self.config, saved.header)
        module = _module(arm_configs(self.config)[saved.header.arm], saved, whose)
        return _filled(module, saved.states[whose])

    def units(
        self, task: str, arm: str | None = None, seed: int | None = None
    ) -> tuple[Tensor, Tensor] | None:
        """Mean and spread that a task's inputs were put in, see `input_units`."""
        which: Which = "best" if self.config.run.keep_models == "last+best" else "last"
        saved = self._saved(task, arm, seed, which)
        units = saved.header.units
        if units is None:
            return _pixels(self.config, task, saved.header)
        mean, spread = (each(partial(torch.tensor, dtype=torch.float64), one) for one in units)
        return mean, spread

    def held_out(
        self,
        task: str,
        *,
        arm: str | None = None,
        seed: int | None = None,
        part: str = "test",
    ) -> tuple[Any, Tensor]:
        """Inputs and targets of a held-out set, see `held_out`; of a run in memory as well."""
        arm, seed = self._chosen(task, arm, seed)
        choose("part", part, dict.fromkeys(HELD_OUT))
        found = held_out_of(arm_configs(self.config)[arm], task, seed)[part]
        return found.features, found.targets

    def _chosen(self, task: str, arm: str | None, seed: int | None) -> tuple[str, int]:
        """Arm and seed, which may be left out where there is one."""
        config = self.config
        choose("task", task, {one.name: one for one in config.task})
        arms = tuple(arm_configs(config))
        if arm is None and seed is None and len(arms) > 1 and len(config.run.seeds) > 1:
            choices = f"{', '.join(arms)}; {', '.join(map(str, config.run.seeds))}"
            requirement = f"given, since there are several of both: one of each of {choices}"
            raise InvalidInput("arm and seed", None, requirement)
        return _only("arm", arm, arms), _only("seed", seed, config.run.seeds)

    def _saved(self, task: str, arm: str | None, seed: int | None, which: Which) -> SavedModel:
        """A saved model, which is what its place says."""
        config = self.config
        arm, seed = self._chosen(task, arm, seed)
        _check_kept(config, which)
        saved = self.read(model_place(arm, seed, task, which))
        _check_header(saved.header, (task, arm, seed, which, digest(config)))
        return saved


def load_model(
    run: str | Path,
    task: str,
    arm: str | None = None,
    seed: int | None = None,
    which: Which = "best",
    client: int | None = None,
    edited: bool = False,
) -> nn.Module:
    """A model that a run has trained, on the CPU and in evaluation mode.

    Args:
        run: Folder of the run.
        task: Name of the task.
        arm: Name of the arm; may be left out where there is one.
        seed: Seed of the run; may be left out where there is one.
        which: `best` by the validation score, or `last`: the model after the last round, which
            the tables of a run report.
        client: Whose model, for algorithms with a model per client; left out for all others.
        edited: Load also where the source of your own model or algorithm has changed since the
            run began; the model may then compute something else than the one that was trained.

    Returns:
        A fresh module made by the factory of the run's configuration (a factory of your own must be
        importable), with the saved numbers. Inputs are to be prepared as the run's data were, see
        `input_units`.

    Raises:
        InvalidInput: The folder is not a run, the run has not kept such a model (yet), the source
            of your own model or algorithm was edited, or the file is damaged, of another
            configuration, or does not fit the module.

    Example:
        >>> import tempfile
        >>> from fl_runtime import check_config, run
        >>> config = check_config({
        ...     "run": {"algorithm": "fed-avg", "num_server_rounds": 2},
        ...     "task": [{"name": "wine", "data": "wine", "model": "linear"}],
        ...     "clients": {"num_clients": 4},
        ... })
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     history = run(config, out=f"{folder}/mine")
        ...     model = load_model(f"{folder}/mine", "wine")
        >>> model(torch.zeros(1, 13)).shape
        torch.Size([1, 3])
    """
    return Models.of_folder(Path(run)).load(task, arm, seed, which, client, edited)


def loading_call(run: str | Path) -> str:
    """The call that loads the first of the models that a run has kept; empty where it kept none.

    It is that of the last round where it is kept, since the tables report the last round.

    Args:
        run: Folder of the run.
    """
    config = RunFolder(Path(run)).config()
    if config.run.keep_models == "none":
        return ""
    which: Which = "last" if "last" in config.run.keep_models else "best"
    arm, seed, task = next(iter(arm_configs(config))), config.run.seeds[0], config.task[0].name
    place = Path(run) / model_place(arm, seed, task, which)
    if not place.is_file():
        return ""
    clients = read_model(place).header.clients
    shown = [json.dumps(name, ensure_ascii=False) for name in (str(run), task, arm)]
    call = f"fl_runtime.load_model({shown[0]}, {shown[1]}, arm={shown[2]}, seed={seed}"
    last = ', which="last"' if which == "last" else ""
    return f"{call}{last}{f', client={clients[0]}' if clients else ''})"


def input_units(
    run: str | Path, task: str, arm: str | None = None, seed: int | None = None
) -> tuple[Tensor, Tensor] | None:
    """In which units a model wants its inputs: (x - mean) / spread, to the bit in float64.

    Args:
        run: Folder of the run.
        task: Name of the task.
        arm: Name of the arm; may be left out where there is one.
        seed: Seed of the run, whose split decides; may be left out where there is one.

    Returns:
        Mean and spread of every feature of the training examples, each float64 of the shape of one
        example, for data that ask to be standardised (`Dataset.standardise`); 0 and 255 for the
        pixels of `idx:` files; None for others.

    Raises:
        InvalidInput: As `load_model`.
    """
    return Models.of_folder(Path(run)).units(task, arm, seed)


def held_out(
    run: str | Path,
    task: str,
    *,
    arm: str | None = None,
    seed: int | None = None,
    part: str = "test",
) -> tuple[Any, Tensor]:
    """Examples that a run has not trained on, as its models were evaluated on them.

    They are split by the seed and put in the units of the training examples (`input_units`), so
    that a model of `load_model` takes them as they are. The data are loaded again.

    Args:
        run: Folder of the run.
        task: Name of the task.
        arm: Name of the arm; may be left out where there is one.
        seed: Seed of the run, whose split decides; may be left out where there is one.
        part: `test`, which is reported (`TASK/eval_METRIC`), or `validation`, by which the best
            model is chosen (`TASK/val_METRIC`).

    Returns:
        Inputs (n, ...), or a dictionary of those where a model takes several by name, and targets
        (n, ...), on the CPU. Missing targets are NaN, or -100 in integers.

    Raises:
        InvalidInput: The folder is not a run, a name is wrong, or the data cannot be loaded or are
            not those that the run began with.

    Example:
        >>> import tempfile
        >>> from fl_runtime import check_config, run
        >>> config = check_config({
        ...     "run": {"algorithm": "fed-avg", "num_server_rounds": 2},
        ...     "task": [{"name": "wine", "data": "wine", "model": "linear"}],
        ...     "clients": {"num_clients": 4},
        ... })
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     history = run(config, out=f"{folder}/mine")
        ...     inputs, targets = held_out(f"{folder}/mine", "wine")
        >>> inputs.shape, targets.shape
        (torch.Size([36, 13]), torch.Size([36]))
    """
    return Models.of_folder(Path(run)).held_out(task, arm=arm, seed=seed, part=part)


@dataclass(frozen=True, eq=False)
class Result(History):
    """The history of a run, and the models that it has trained.

    It is a `History` like any other, equal to one with the same rows.

    Attributes:
        models: The models and what they are evaluated on, see `Models.load` and `Models.held_out`.
    """

    models: Models = field(repr=False, kw_only=True)

    def __eq__(self, other: object) -> bool:
        return self.rows == other.rows if isinstance(other, History) else NotImplemented

    __hash__ = None  # type: ignore[assignment]


def _check_sources(config: Config, header: ModelHeader) -> None:
    """Refuse a model whose module the user has edited since the run began."""
    section = next(one for one in config.task if one.name == header.task)
    algorithm = arm_configs(config)[header.arm].run.algorithm
    remedy = "undo the edit, or load with edited=True"
    for key, entry in ((f"task.{header.task}.model", section.model), ("run.algorithm", algorithm)):
        check_source(config, key, entry, remedy)


def _pixels(config: Config, task: str, header: ModelHeader) -> tuple[Tensor, Tensor] | None:
    """Units of pixels that `idx:` files hold as bytes; None for other data."""
    section = next(one for one in config.task if one.name == task)
    if not taken_apart(section.data, "data")[0].startswith("idx:"):
        return None
    zero = torch.zeros(header.example_shape, dtype=torch.float64)  # type: ignore[arg-type]
    return zero, zero + 255


def _only(argument: str, wanted: Choice | None, there: tuple[Choice, ...]) -> Choice:
    """The choice that is wanted, or the only one."""
    if wanted is None and len(there) == 1:
        return there[0]
    if wanted is None or wanted not in there:
        several = "given, since there are several: " if wanted is None else ""
        raise InvalidInput(argument, wanted, f"{several}one of {', '.join(map(str, there))}")
    return wanted


def _check_kept(config: Config, which: str) -> None:
    """Refuse a model that a run does not keep."""
    if which not in ("best", "last"):
        raise InvalidInput("which", which, "best or last")
    kept = config.run.keep_models
    if which not in kept:
        raise InvalidInput("which", which, f"one that a run with keep-models = {kept} keeps")


def _check_header(header: ModelHeader, wanted: tuple[object, ...]) -> None:
    """A file must hold what its place says.

    Raises:
        InvalidInput: It is of another task, arm, seed, kind or configuration.
    """
    found = (header.task, header.arm, header.seed, header.which, header.digest)
    for name, mine, other in zip(
        ("task", "arm", "seed", "kind", "configuration"), wanted, found, strict=True
    ):
        if mine != other:
            shown = file_name(str(other))
            raise InvalidInput("model", shown, f"of the {name} {mine}, as its place says")


def _client_of(header: ModelHeader, client: int | None) -> str:
    """Under which client the model is."""
    if not header.clients and client is None:
        return ""
    if not header.clients:
        raise InvalidInput("client", client, "left out: there is one model for all clients")
    if client not in header.clients:
        first, last = header.clients[0], header.clients[-1]
        requirement = f"a client with a model of its own ({len(header.clients)}: {first} .. {last})"
        raise InvalidInput("client", client, requirement)
    return str(client)


def _module(config: Config, saved: SavedModel, client: str) -> nn.Module:
    """A fresh module of the kind that the arm reports for a task.

    It is that of the configuration, or where this does not fit one of the algorithm's own.
    """
    header = saved.header
    task, seed = header.task, header.seed
    section = next(one for one in config.task if one.name == task)
    model = build_model(
        section.model,
        header.example_shape,
        header.outputs,
        section.hidden,
        seed=torch_seed(seed, "initial model", task),
        example=_example(header),
    )
    if _misfit(model, saved.states[client]) is None:
        return model
    return algorithm_of(config).reported([_blank_task(task, model, header)], seed)[0].model


def _example(header: ModelHeader) -> Any:
    """A blank example of data of another kind than classification."""
    if not header.inputs:
        return None
    return together(_blank, [header.example_shape, header.inputs])


def _blank(told: list[Any]) -> Tensor:
    """One blank example of a shape and a type."""
    shape, kind = told
    return torch.zeros(1, *shape, dtype=getattr(torch, kind))


def _blank_task(name: str, model: nn.Module, header: ModelHeader) -> Task:
    """A task with one blank example, for an algorithm to say which model it reports."""
    features = each(lambda shape: torch.zeros(1, *shape), header.example_shape)
    features = features if _example(header) is None else _example(header)
    blank = Examples(features, torch.zeros(1, dtype=torch.int64))
    training = LocalTraining(learning_rate=1.0, local_epochs=1, batch_size=1)
    return Task(name, model, float_state(model), (blank,), blank, blank, training)


def _filled(module: nn.Module, state: Params) -> nn.Module:
    """The module with a saved state.

    Raises:
        InvalidInput: Names or shapes differ.
    """
    found = _misfit(module, state)
    if found is not None:
        name, mine, other = found
        requirement = f"of shape {mine}, as the model of the configuration has it"
        raise InvalidInput(f"model entry {name}", other, requirement)
    load_params(module, state)
    return module.eval()


def _misfit(module: nn.Module, state: Params) -> tuple[str, Shape, Shape] | None:
    """The first entry whose shape differs between a module and a state, with both shapes."""
    own = {k: v for k, v in module.state_dict().items() if isinstance(v, Tensor)}
    for name in sorted(own.keys() | state.keys()):
        mine, other = (tuple(each[name].shape) if name in each else None for each in (own, state))
        if mine != other:
            return name, mine, other
    return None
