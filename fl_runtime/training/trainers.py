"""Local training of the user's own: a function that takes the place of `train_locally`.

A trainer is called with the model (its weights are scratch space), the parameters that the server
sent, the client (its examples, seed, options of the job, what it kept) and the settings of local
training, and gives what changed. It is deterministic in (start, client): PyTorch's generator is
seeded by the client's seed before it is called, other generators are its own business. Clients are
trained one after the other, by the sequential executor, whatever the other tasks are trained by.

It has the loss from wherever it likes; the task's own one is what held-out sets are evaluated by.
Losses before and after training that an algorithm asks for are measured here, of that one. Options
of a job that change training itself (a proximal term, weights of examples) are its own to obey, and
it says that it does: names of `OPTIONS` in an attribute `options` of the function. Others are
refused before the run.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from torch import Tensor, nn

from fairopt.choices import suggestion
from fairopt.errors import InvalidInput, Unshown
from fl_runtime.extensions import Kind
from fl_runtime.training.job import Job
from fl_runtime.training.local_training import Client, Trained, mean_loss
from fl_runtime.training.task import LocalTraining, Params, Task, load_params

OPTIONS = ("proximal", "anchor", "examples", "weights")
"""Options of a job that a trainer has to obey itself, if it says so."""

MEASURED = ("measure_start", "measure_end", "echo")
"""Options that are obeyed around it."""


class Trainer(Protocol):
    """What trains a client."""

    def __call__(
        self, model: nn.Module, start: Params, client: Client, settings: LocalTraining
    ) -> Trained:
        """What changed."""
        ...


TRAINER = Kind(
    "trainer",
    "task.trainer",
    {},
    arguments=("model", "start", "client", "settings"),
    words="a function (model, start, client, settings) -> Trained",
)
"""Who can train the clients of a task."""


def train_by(
    trainer: Trainer, task: Task, start: Params, client: Client, settings: LocalTraining
) -> Trained:
    """One client on one task, by a trainer of the user's own.

    Raises:
        InvalidInput: The job asks for what it does not do, or what it gives is no `Trained` for
            what it was sent.
    """
    _check_obeyed(task, (name for name in OPTIONS if _is_set(getattr(client.options, name))))
    metrics: dict[str, Any] = {}
    examples = client.options.selected(client.examples)
    if client.options.measure_start:
        load_params(task.model, start)
        metrics["start_loss"] = mean_loss(task.model, examples, task.loss)
    load_params(task.model, start)
    task.model.train()
    trained = trainer(task.model, start, client, settings)
    _check_trained(task.name, trained, start)
    sent = {key: start[key] for key in trained.delta}
    if client.options.measure_end:
        after = {key: value + trained.delta[key] for key, value in sent.items()}
        load_params(task.model, {**start, **after})
        metrics["end_loss"] = mean_loss(task.model, examples, task.loss)
    return replace(trained, metrics={**trained.metrics, **metrics})


def check_options(task: Task, jobs: Sequence[Job], later: Iterable[str] = ()) -> None:
    """Refuse jobs that ask a trainer for what it does not do.

    Args:
        task: With a trainer.
        jobs: Of the first dispatch.
        later: Options that other dispatches ask for.

    Raises:
        InvalidInput: With the option.
    """
    for job in jobs:
        if job.task == task.name:
            _check_obeyed(task, job.config)
    _check_obeyed(task, later)


def _check_obeyed(task: Task, options: Iterable[str]) -> None:
    """Refuse options that a trainer does not obey."""
    obeyed = {*MEASURED, *obeyed_by(task.trainer)}
    for option in options:
        if option not in obeyed:
            raise InvalidInput(
                f"task.{task.name}.trainer",
                called(task.trainer),
                f"one that obeys {option}, which this algorithm asks for: "
                f"{option!r} in an attribute options of the function",
            )


def _is_set(value: Any) -> bool:
    """Whether a job has an option."""
    return value is not None and (isinstance(value, Tensor) or bool(value))


def obeyed_by(trainer: Any) -> tuple[str, ...]:
    """Options that a trainer says it obeys.

    Raises:
        InvalidInput: It names something that is no option of local training.
    """
    inner = trainer.func if isinstance(trainer, functools.partial) else trainer
    found = tuple(getattr(inner, "options", ()))
    for option in found:
        if option not in OPTIONS:
            requirement = f"some of {', '.join(OPTIONS)}{suggestion(str(option), OPTIONS)}"
            raise InvalidInput(f"options of {called(trainer)}", option, requirement)
    return found


def called(trainer: Any) -> str:
    """The name of a trainer."""
    inner = trainer.func if isinstance(trainer, functools.partial) else trainer
    return str(getattr(inner, "__qualname__", type(inner).__qualname__))


def _check_trained(name: str, trained: object, start: Params) -> None:
    """What comes back fits what was sent."""
    key = f"task.{name}.trainer"
    if not isinstance(trained, Trained):
        raise InvalidInput(key, type(trained).__name__, "a function that gives a Trained")
    sent = {k: tuple(v.shape) for k, v in start.items() if v.is_floating_point()}
    back = {k: tuple(v.shape) for k, v in trained.delta.items()}
    if back != sent:
        odd = sorted(back.keys() ^ sent.keys()) or sorted(k for k in sent if sent[k] != back[k])
        requirement = "one whose delta has all entries that were sent, in their shapes"
        raise InvalidInput(key, odd[0], requirement)
    if not isinstance(trained.metrics, Mapping) or "train_loss" not in trained.metrics:
        raise InvalidInput(key, Unshown.ITSELF, "one whose metrics have a train_loss")
    if trained.num_examples < 0 or trained.num_steps < 1:
        counts = f"{trained.num_examples} examples, {trained.num_steps} steps"
        raise InvalidInput(key, counts, "one that counts its examples and at least one step")
