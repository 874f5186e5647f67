"""From checked words to working parts: the federation, algorithm and costs of one arm and seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from fairopt.choices import choose
from fairopt.errors import InvalidInput
from fl_runtime.algorithms import ALGORITHMS, Synchronous
from fl_runtime.clock import DELAY_MODELS, DelayModel
from fl_runtime.complaints import kebab, record_from_table
from fl_runtime.config import ClientsSection, Config, TaskSection
from fl_runtime.data import load_dataset
from fl_runtime.executor import Executor, check_device
from fl_runtime.executors import EXECUTORS, resolve_executor
from fl_runtime.federation import Federation, active_count
from fl_runtime.models import build_model
from fl_runtime.partitions import IID, PARTITIONS, Dirichlet, MissingClasses, Partition
from fl_runtime.recruitment import Recruitment, recruit
from fl_runtime.streams import torch_seed
from fl_runtime.task import LocalTraining, Task, make_task


@dataclass(frozen=True)
class Parts:
    """All that one arm with one seed needs to run.

    Attributes:
        algorithm: Its pure functions.
        federation: Tasks, clients, eligibility.
        recruitment: How eligibility came about.
        delay: Law of job durations.
        dropout: Chance that a job is never answered.
        executor: Runs local training.
    """

    algorithm: Synchronous
    federation: Federation
    recruitment: Recruitment
    delay: DelayModel
    dropout: float
    executor: Executor


def assemble(config: Config, seed: int) -> Parts:
    """Build everything for one arm and one seed.

    Raises:
        InvalidInput: A name is unknown or parts do not fit together.
    """
    device = check_device(config.run.device)
    executor = EXECUTORS[executor_of(config)]
    algorithm = record_from_table(
        "algorithm", choose("run.algorithm", config.run.algorithm, ALGORITHMS), config.algorithm
    )
    recruitment = recruit(config.recruitment, config.clients.num_clients, len(config.task), seed)
    tasks = tuple(_task(section, config.clients, seed, device) for section in config.task)
    return Parts(
        algorithm=algorithm,
        federation=Federation(
            tasks, config.clients.num_clients, config.clients.fraction_train, recruitment.eligible
        ),
        recruitment=recruitment,
        delay=_delay(config.clients),
        dropout=config.clients.dropout,
        executor=executor(tasks),
    )


def executor_of(config: Config) -> str:
    """The name of the executor that a configuration ends up with."""
    clients = config.clients
    return resolve_executor(
        config.run.executor,
        device=config.run.device,
        active_clients=active_count(clients.num_clients, clients.fraction_train),
    )


def _task(section: TaskSection, clients: ClientsSection, seed: int, device: torch.device) -> Task:
    """One task of the configuration."""
    dataset = load_dataset(section.data)
    model = build_model(
        section.model,
        dataset.features.shape[1:],
        dataset.num_classes,
        section.hidden,
        seed=torch_seed(seed, "initial model", section.name),
    )
    return make_task(
        section.name,
        dataset,
        model,
        _training(section, clients),
        _partition(clients),
        num_clients=clients.num_clients,
        seed=seed,
        validation_fraction=section.validation_fraction,
        test_fraction=section.test_fraction,
        device=device,
    )


def _training(section: TaskSection, clients: ClientsSection) -> LocalTraining:
    """How clients train this task."""
    try:
        return LocalTraining(
            learning_rate=section.learning_rate,
            local_epochs=clients.local_epochs,
            batch_size=clients.batch_size,
            momentum=section.momentum,
            weight_decay=section.weight_decay,
            optimizer=section.optimizer,
            nesterov=section.nesterov,
            persist_optimizer=section.persist_optimizer,
            precision=section.precision,
        )
    except InvalidInput as error:
        name = f"task.{section.name}.{kebab(error.argument)}"
        raise InvalidInput(name, error.value, error.requirement) from None


def _partition(clients: ClientsSection) -> Partition:
    """The partition a configuration names, with its own parameter."""
    makers: Mapping[str, Callable[[], Partition]] = {
        "iid": IID,
        "dirichlet": lambda: Dirichlet(clients.concentration),
        "missing-classes": lambda: MissingClasses(clients.class_ratio),
    }
    assert makers.keys() == PARTITIONS.keys()
    return choose("clients.partition", clients.partition, makers)()


def _delay(clients: ClientsSection) -> DelayModel:
    """The delay model a configuration names."""
    fields = {key: value for key, value in clients.delay.items() if key != "model"}
    kind: Callable[..., DelayModel] = choose(
        "clients.delay.model", str(clients.delay.get("model")), DELAY_MODELS
    )
    return record_from_table("clients.delay", kind, fields)
