"""The parts of one arm with one seed, built from a checked configuration."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fairopt.choices import choose
from fairopt.errors import InvalidInput
from fairopt.user_objects import loaded
from fl_runtime.algorithms import (
    ALGORITHM,
    ALGORITHMS,
    Algorithm,
    ByArrival,
    FedAvg,
    Synchronous,
    SyncST,
)
from fl_runtime.algorithms.hooks import check_hooks
from fl_runtime.algorithms.robust_aggregation import ROBUST_RULE
from fl_runtime.algorithms.server_optimizers import SERVER_OPTIMIZER, Server, check_server
from fl_runtime.configuration.input_hashes import check_recorded, load_recorded
from fl_runtime.configuration.schema import ClientsSection, Config, SpeedsTable, TaskSection
from fl_runtime.data.dataset import Data, Dataset, as_data
from fl_runtime.data.inputs import Shapes, each, shapes_of
from fl_runtime.data.partitions import PARTITION, Partition
from fl_runtime.data.sources import HELD_OUT, held_out_data
from fl_runtime.execution.executor import Executor, GroupedExecutor, check_device
from fl_runtime.execution.pool import WorkerPool, side_by_side
from fl_runtime.execution.registry import by_shape, make_executor
from fl_runtime.extensions import resolve, taken_apart
from fl_runtime.random_streams import stream, torch_seed
from fl_runtime.running.initial_models import take_initial
from fl_runtime.running.recruitment import Recruitment, recruit
from fl_runtime.running.references import reference_of
from fl_runtime.running.stopping import targets_of
from fl_runtime.simulation.availability import Availability, availability
from fl_runtime.simulation.clock import PendingJobs, SpeedChange, Timing
from fl_runtime.simulation.delays import DELAY, DelayModel, Delays, dealt_speeds
from fl_runtime.simulation.sync_policies import Arrivals, SyncPolicy
from fl_runtime.training.client_sampling import CLIENT_SAMPLING, ClientSampling
from fl_runtime.training.examples import Examples
from fl_runtime.training.federation import Federation, active_count
from fl_runtime.training.job import Job
from fl_runtime.training.lazy_shards import SHARD_CACHE
from fl_runtime.training.losses import Loss, loss_of
from fl_runtime.training.models import build_model
from fl_runtime.training.optimizers import OPTIMIZER
from fl_runtime.training.schedules import SCHEDULE, Schedule
from fl_runtime.training.scores import metrics_of
from fl_runtime.training.task import LocalTraining, Task
from fl_runtime.training.task_from_data import make_task, trained_entries, with_shared_inputs
from fl_runtime.training.task_from_source import task_of_source
from fl_runtime.training.trainers import TRAINER, obeyed_by
from fl_runtime.validation_errors import kebab


@dataclass(frozen=True)
class Told:
    """What the factory of a task's model was told of the data.

    Attributes:
        example_shape: Shape of one example, or shapes of its parts by name.
        outputs: Number of classes, or of numbers that the model gives, or their shape.
        inputs: Type of the inputs, of data of another kind than classification; by name likewise.
    """

    example_shape: Shapes
    outputs: int | tuple[int, ...]
    inputs: str | Mapping[str, str] = ""


class Wall(Protocol):
    """Time that passes by itself, while jobs are trained elsewhere."""

    def launch(
        self,
        jobs: Sequence[Job],
        pending: PendingJobs,
        *,
        seed: int,
        dispatch_index: int,
        number: int,
        now: float,
    ) -> PendingJobs:
        """The queue with these jobs in it, see `Timing.launch`."""
        ...

    def wait(
        self, policy: SyncPolicy, pending: PendingJobs, dispatch_index: int, now: float
    ) -> Arrivals:
        """What a policy has waited for, answers included."""
        ...

    def figures(self) -> Mapping[str, float]:
        """Columns of a round's row, since the last row."""
        ...


@dataclass(frozen=True)
class Parts:
    """All that one arm with one seed needs to run.

    Attributes:
        algorithm: Its pure functions.
        federation: Tasks, clients, eligibility.
        recruitment: How eligibility came about.
        recruit: The recruitment of that number.
        recruit_every: Rounds between recruitments; None for a single one.
        timing: How long jobs take, and how they end.
        availability: When clients can be given jobs.
        executor: Runs local training.
        targets: Test score at which each task is finished; empty if the run does not stop there.
        client_metrics: Whether rows hold the figures of `client_metrics`.
        told: What model factories were told, by task; not known in tests without data.
        evaluate_every: Rounds from one evaluation of the test sets to the next.
        wall: What stands for virtual time and the executor in a real federation.
    """

    algorithm: Algorithm
    federation: Federation
    recruitment: Recruitment
    recruit: Callable[[int], Recruitment]
    recruit_every: int | None
    timing: Timing
    availability: Availability
    executor: Executor
    targets: Mapping[str, float] = field(default_factory=dict)
    client_metrics: bool = False
    told: Mapping[str, Told] = field(default_factory=dict)
    evaluate_every: int = 1
    wall: Wall | None = None

    def recruited(self, number: int) -> Parts:
        """The same parts with the clients of that recruitment."""
        found = self.recruit(number)
        federation = replace(self.federation, eligible=found.eligible)
        return replace(self, recruitment=found, federation=federation)


def assemble(config: Config, seed: int, pool: WorkerPool | None = None) -> Parts:
    """Build everything for one arm and one seed.

    Args:
        config: Of the arm.
        seed: Of the run.
        pool: The workers that train, if there are several; this process if None.

    Raises:
        InvalidInput: A name is unknown, parts do not fit together, an algorithm overrides what
            nobody calls, or data are not those that the run began with.
    """
    device = check_device(config.run.device)
    names = executors_of(config)
    algorithm = algorithm_of(config)
    check_hooks(ALGORITHM.key, config.run.algorithm, type(algorithm))
    clients = config.clients
    num_clients, holds = clients.num_clients, _holds(config)

    check_recorded("clients.availability.file", clients.availability, config.inputs)

    def recruit_(number: int) -> Recruitment:
        check_recorded("recruitment.costs.file", config.recruitment.costs, config.inputs)
        names = [section.name for section in config.task]
        return recruit(config.recruitment, holds, seed, number, names)

    recruitment = recruit_(0)
    made: list[Task] = []
    told = []
    for section in config.task:
        task, known = _task(section, config, seed, device)
        made.append(with_shared_inputs(task, made))
        told.append(known)
    tasks = algorithm.reported(made, seed)
    _check_initial(config, made, tasks)
    companions = algorithm.companions(tasks, seed)
    timing = _timing(config, seed, companions)
    return Parts(
        algorithm=algorithm,
        federation=Federation(
            tasks,
            num_clients,
            clients.fraction_train,
            recruitment.eligible,
            clients.over_selection,
            companions=companions,
            answer_chance=timing.answer_chance,
            equal_speeds=timing.equal_speeds,
            equal_tasks=timing.equal_tasks,
            sampling=_sampling(clients, algorithm),
        ),
        recruitment=recruitment,
        recruit=recruit_,
        recruit_every=config.recruitment.every,
        timing=timing,
        availability=availability(clients.availability, num_clients),
        executor=side_by_side(
            _executor(tasks, companions, names, config.run.clients_per_stack), pool
        ),
        targets=targets_of(config),
        client_metrics=config.run.client_metrics,
        told={task.name: each for task, each in zip(made, told, strict=True)},
        evaluate_every=config.run.evaluate_every,
    )


Assembler = Callable[[Config, int, WorkerPool | None], Parts]
"""What makes the parts of an arm with a seed: `assemble`, or a real federation."""


def _check_initial(config: Config, made: Sequence[Task], reported: Sequence[Task]) -> None:
    """Refuse initial numbers for a model that is not trained."""
    for section, mine, other in zip(config.task, made, reported, strict=True):
        if section.initial is not None and mine.model is not other.model:
            requirement = "left out: this algorithm reports a model of its own"
            raise InvalidInput(f"task.{section.name}.initial", section.initial, requirement)


def algorithm_of(config: Config) -> Algorithm:
    """The algorithm of one arm, with its parameters and the options of ``[server]``.

    Raises:
        InvalidInput: Its name or a parameter is wrong.
    """
    if "server" in config.algorithm:
        raise InvalidInput("algorithm.server", config.algorithm["server"], "a table [server]")
    algorithm: Algorithm = resolve(
        ALGORITHM, config.run.algorithm, table="algorithm", fields=config.algorithm
    )
    return _with_server(algorithm, config)


def _with_server(algorithm: Algorithm, config: Config) -> Algorithm:
    """The algorithm with the options of ``[server]``."""
    section = config.server
    if section is None:
        return algorithm
    optimizer = None if section.optimizer is None else resolve(SERVER_OPTIMIZER, section.optimizer)
    rule = None if section.aggregation is None else resolve(ROBUST_RULE, section.aggregation)
    server = Server(optimizer=optimizer, clip_update=section.clip_update, rule=rule)
    check_server(algorithm, server, Synchronous)
    return replace(algorithm, server=server) if isinstance(algorithm, Synchronous) else algorithm


def executors_of(config: Config) -> dict[str, str]:
    """The executor of every task: of that name in the configuration, or by its shape.

    Raises:
        InvalidInput: ``run.executor`` names no task, a task of it cannot be built, or one with a
            trainer of its own is not to be trained one by one.
    """
    wanted, tasks = config.run.executor, {task.name: task for task in config.task}
    named = dict(wanted) if isinstance(wanted, Mapping) else dict.fromkeys(tasks, wanted)
    for name in named:
        choose("run.executor", name, tasks)
    several = clients_per_task(config)
    whole = {name: _wanted(task, str(named.get(name, "auto"))) for name, task in tasks.items()}
    return {
        name: _by_shape(tasks[name], config, several) if way == "auto" else way
        for name, way in whole.items()
    }


def _wanted(section: TaskSection, way: str) -> str:
    """The executor of a task as it is asked for; a trainer of its own has one only."""
    if section.trainer is None:
        return way
    if way not in ("auto", "sequential"):
        requirement = f"sequential or auto for task {section.name}, which has its own trainer"
        raise InvalidInput("run.executor", way, requirement)
    return "sequential"


def with_executors(config: Config) -> Config:
    """The configuration that names the executors it ends up with: one, or one of each task."""
    names = executors_of(config)
    same = len(set(names.values())) == 1
    found = next(iter(names.values())) if same else names
    return config.model_copy(update={"run": config.run.model_copy(update={"executor": found})})


def _by_shape(section: TaskSection, config: Config, several: float) -> str:
    """The executor that `auto` stands for in a task."""
    dataset, _, model = _model(section, config, config.run.seeds[0])
    trained_entries(section.name, model, section.trainable)  # freezes the others
    return by_shape(
        model,
        each(_as_model_takes_it, _seen(dataset, section).inputs),
        _loss(section),
        _training(section, config.clients),
        device=config.run.device,
        clients_per_task=several,
    )


def _as_model_takes_it(inputs: NDArray[Any]) -> Tensor:
    """An example as a tensor, floats in the precision of models."""
    example = torch.from_numpy(inputs[:1])
    return example.to(torch.get_default_dtype()) if example.is_floating_point() else example


def clients_per_task(config: Config) -> float:
    """Clients that train a task at a time, on average."""
    clients, kind = config.clients, _algorithm_class(config.run.algorithm)
    active = active_count(clients.num_clients, clients.fraction_train)
    if issubclass(kind, ByArrival):
        wanted = config.algorithm.get("concurrency")
        counts = wanted if isinstance(wanted, list | tuple) else [wanted]
        active = sum(n for n in counts if isinstance(n, int)) or clients.num_clients
    every_task = issubclass(kind, FedAvg) and config.algorithm.get("tasks_per_client") != "one"
    return active * float(_holds(config).mean() if every_task else 1 / len(config.task))


def _executor(
    tasks: Sequence[Task],
    companions: Sequence[Task],
    names: Mapping[str, str],
    clients_per_stack: int | None,
) -> GroupedExecutor:
    """What trains all tasks; a companion, of which there is one per task, as its task."""
    ways = list(names.values())
    if clients_per_stack is not None and set(ways) == {"sequential"}:
        requirement = "left out: no task is trained as a stack"
        raise InvalidInput("run.clients-per-stack", clients_per_stack, requirement)
    found = {
        task.name: way
        for some in (tasks, companions)
        for task, way in zip(some, ways, strict=False)
    }
    return make_executor((*tasks, *companions), found, clients_per_stack=clients_per_stack)


def _algorithm_class(name: str) -> type:
    """The class of an algorithm; that of anything where there is none of that name."""
    found = loaded("run.algorithm", name) if ":" in name else ALGORITHMS.get(name)
    return found if isinstance(found, type) else object


def _holds(config: Config) -> NDArray[np.bool_]:
    """(num_clients, num_tasks) bool, True where a client holds a task."""
    names, clients = [task.name for task in config.task], config.clients
    if not clients.task_sets:
        return np.ones((clients.num_clients, len(names)), dtype=np.bool_)
    repeats, rest = divmod(clients.num_clients, len(clients.task_sets))
    if rest or not repeats:
        requirement = f"a number of lists that divides num-clients = {clients.num_clients}"
        raise InvalidInput("clients.task-sets", len(clients.task_sets), requirement)
    for client, held in enumerate(clients.task_sets):
        if not held:
            raise InvalidInput(
                "clients.task-sets", f"client {client} without a task", "one or more"
            )
        for name in held:
            choose("clients.task-sets", name, dict.fromkeys(names))
        if len(set(held)) < len(held):
            raise InvalidInput("clients.task-sets", list(held), "tasks that differ")
    rows = [[name in held for name in names] for held in clients.task_sets]
    return np.tile(np.array(rows, dtype=np.bool_), (repeats, 1))


def _task(
    section: TaskSection, config: Config, seed: int, device: torch.device
) -> tuple[Task, Told]:
    """One task of the configuration, and what the factory of its model was told."""
    clients, key = config.clients, f"task.{section.name}"
    dataset, told, model = _model(section, config, seed)
    lazy = not isinstance(dataset, Dataset | Data)
    take_initial(model, section, config.inputs)
    common: dict[str, Any] = {
        "num_clients": clients.num_clients,
        "seed": seed,
        "device": device,
        "loss": _loss(section),
        "metrics": metrics_of(f"{key}.metrics", section.measured),
        "scale": section.range,
        "reference": reference_of(section),
        "trainable": section.trainable,
    }
    parts = section.name, dataset, model, _training(section, clients), _partition(clients)
    if lazy:
        if section.split is not None:
            requirement = "absent for data that are loaded by client, which are split already"
            raise InvalidInput(f"{key}.split", section.split, requirement)
        limit = config.run.shard_cache
        limit = SHARD_CACHE if limit is None else limit
        loaded_task = task_of_source(*parts, **common, cache=limit)
        return _with_trainer(loaded_task, section), told
    task = make_task(
        *parts,
        **common,
        validation_fraction=section.validation_fraction,
        test_fraction=section.test_fraction,
        split=section.split or "pooled",
    )
    return _with_trainer(task, section), told


def held_out_of(config: Config, name: str, seed: int) -> Mapping[str, Examples]:
    """The held-out sets of a task, as its models are evaluated on them, on the CPU.

    Args:
        config: Of the arm.
        name: Of the task.
        seed: Of the run.

    Raises:
        InvalidInput: The data cannot be loaded, or are not those that the run began with.
    """
    section = next(one for one in config.task if one.name == name)
    plain = section.model_copy(update={"initial": None, "trainer": None})
    task, _ = _task(plain, config, seed, torch.device("cpu"))
    return {"validation": task.validation, "test": task.test}


def _with_trainer(task: Task, section: TaskSection) -> Task:
    """The task with the user's own local training, if there is one."""
    if section.trainer is None:
        return task
    trainer = resolve(TRAINER, section.trainer, key=f"task.{section.name}.trainer")
    obeyed_by(trainer)
    return replace(task, trainer=trainer)


def _model(section: TaskSection, config: Config, seed: int) -> tuple[Any, Told, nn.Module]:
    """The data of a task or their source, what the factory of its model is told, and the model."""
    with about_task(section.name):
        dataset = load_recorded(section.data, config.inputs, section.name)
        data = _seen(dataset, section)
        plain = isinstance(dataset, Dataset)
        kind = "" if plain else each(lambda part: str(part.dtype), data.inputs)
        told = Told(shapes_of(data.inputs), data.outputs, kind)
        model = build_model(
            section.model,
            told.example_shape,
            told.outputs,
            section.hidden,
            seed=torch_seed(seed, "initial model", section.name),
            example=None if plain else each(lambda part: torch.from_numpy(part[:1]), data.inputs),
        )
    return dataset, told, model


@contextmanager
def about_task(name: str) -> Iterator[None]:
    """Refusals inside say which task they are about.

    Example:
        >>> with about_task("a"):
        ...     raise InvalidInput("model", "cnn", "one for tables")
        Traceback (most recent call last):
        ...
        fairopt.errors.InvalidInput: task.a.model = 'cnn', but it must be one for tables
    """
    try:
        yield
    except InvalidInput as error:
        if f"task.{name}" in error.argument or f"task {name}" in error.argument:
            raise
        plain = error.argument.isidentifier()
        about = f"task.{name}.{error.argument}" if plain else f"task.{name}, {error.argument}"
        raise InvalidInput(about, error.value, error.requirement) from error


def _seen(dataset: Any, section: TaskSection) -> Data:
    """Data of a task by which its model is made: all of them, or a held-out part of a source."""
    if isinstance(dataset, Dataset | Data):
        return as_data(dataset)
    return held_out_data(dataset, HELD_OUT[0], f"task.{section.name}")


def _loss(section: TaskSection) -> Loss:
    """What a task is trained on."""
    return loss_of(f"task.{section.name}.loss", section.loss or "cross-entropy")


def _training(section: TaskSection, clients: ClientsSection) -> LocalTraining:
    """How clients train this task."""
    key = f"task.{section.name}.optimizer"
    resolve(OPTIMIZER, section.optimizer, key=key)
    optimizer, fields = taken_apart(section.optimizer, key)
    schedule = _schedule(section)
    try:
        return LocalTraining(
            learning_rate=section.learning_rate,
            local_epochs=clients.local_epochs,
            batch_size=clients.batch_size,
            momentum=section.momentum,
            weight_decay=section.weight_decay,
            optimizer=optimizer,
            optimizer_fields=fields,
            schedule=schedule,
            clip_gradient=section.clip_gradient,
            weight_by=section.weight_by or "examples",
            nesterov=section.nesterov,
            persist_optimizer=section.persist_optimizer,
            precision=section.precision,
        )
    except InvalidInput as error:
        name = f"task.{section.name}.{kebab(error.argument)}"
        raise InvalidInput(name, error.value, error.requirement) from None


def _schedule(section: TaskSection) -> Schedule | None:
    """How the step size of a task changes, if it does."""
    if section.schedule is None:
        return None
    found: Schedule = resolve(SCHEDULE, section.schedule, key=f"task.{section.name}.schedule")
    return found


def _partition(clients: ClientsSection) -> Partition:
    """The partition a configuration names; some parameters have keys beside it."""
    name, _ = taken_apart(clients.partition, PARTITION.key)
    least = {"min_examples": clients.min_examples or 1}
    beside: dict[str, dict[str, Any]] = {
        "iid": least,
        "dirichlet": {"concentration": clients.concentration, **least},
        "missing-classes": {"class_ratio": clients.class_ratio, **least},
        "natural": least,
    }
    found: Partition = resolve(PARTITION, clients.partition, fields=beside.get(name, {}))
    return found


def _sampling(clients: ClientsSection, algorithm: Algorithm) -> ClientSampling | None:
    """The law by which active clients are drawn; None for equal chances.

    Raises:
        InvalidInput: The algorithm draws clients by itself, or the first answers count: whose they
            are is known for equal chances only.
    """
    if clients.sampling in (None, "uniform"):
        return None
    found: ClientSampling = resolve(CLIENT_SAMPLING, clients.sampling)
    if not isinstance(algorithm, Synchronous) or isinstance(algorithm, SyncST):
        requirement = "uniform for an algorithm that chooses clients by itself"
        raise InvalidInput("clients.sampling", clients.sampling, requirement)
    if clients.over_selection > 1.0:
        requirement = "uniform where the first answers count (over-selection)"
        raise InvalidInput("clients.sampling", clients.sampling, requirement)
    return found


def _timing(config: Config, seed: int, companions: Sequence[Task]) -> Timing:
    """Delays, speed classes and losses of a configuration; a companion goes by its task's time."""
    clients, names = config.clients, [task.name for task in config.task]
    if len(clients.task_delays) not in (0, len(names)):
        requirement = f"empty or {len(names)} numbers, one per task"
        raise InvalidInput("clients.task-delays", list(clients.task_delays), requirement)
    speeds = clients.speeds or SpeedsTable(shares=(1.0,), factors=(1.0,))
    own = dict(zip(names, clients.task_delays or (1.0,) * len(names), strict=True))
    beside = {
        companion.name: own[name] * companion.pace
        for name, companion in zip(names, companions, strict=False)
    }
    return Timing(
        delay=_delay(clients),
        slowness=_dealt(speeds, clients, stream(seed, "speeds")),
        factors=own | beside,
        dropout=clients.dropout,
        failures=clients.failures,
        changes=tuple(
            SpeedChange(change.at, _dealt(change, clients, stream(seed, "speed-changes", number)))
            for number, change in enumerate(clients.speed_changes)
        ),
    )


def _dealt(speeds: SpeedsTable, clients: ClientsSection, rng: np.random.Generator) -> Delays:
    """(num_clients,) factors of classes that are dealt out by a draw."""
    return dealt_speeds(speeds.shares, speeds.factors, clients.num_clients, rng)


def _delay(clients: ClientsSection) -> DelayModel:
    """The delay model a configuration names."""
    fields = {key: value for key, value in clients.delay.items() if key != "model"}
    model = str(clients.delay.get("model"))
    found: DelayModel = resolve(DELAY, model, table="clients.delay", fields=fields)
    return found
