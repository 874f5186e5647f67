"""Threads that train side by side, each with models of its own, to the same bytes however many.

A client's training depends on nothing but its job: examples are shuffled by the job's seed, models
are overwritten before they are used, results keep their places. So it does not matter which thread
does it, as long as no two of them write into one module, and nothing draws from the generators that
all threads share. PyTorch leaves Python's lock while it computes; so threads gain where a step is
arithmetic (convolutions, large batches), on processors that have nothing else to do.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import TypeVar

import numpy as np
import torch

from fairopt.errors import InvalidInput
from fl_runtime.data.inputs import called
from fl_runtime.training.losses import loss_parts
from fl_runtime.training.task import Task

Item = TypeVar("Item")
Made = TypeVar("Made")

TRIED = 2
"""Examples that a model is tried on; batch norm needs two."""


class Crew:
    """Workers, by number.

    Attributes:
        tasks: For each worker the tasks by name, with models that no other worker has.
    """

    def __init__(self, tasks: Sequence[Task], workers: int = 1) -> None:
        """Make the copies.

        Raises:
            InvalidInput: There are several workers, and a model draws random numbers, cannot be
                copied, or is trained by the user's own code.
        """
        for task in tasks if workers > 1 else ():
            if task.trainer is not None:
                requirement = (
                    f"1: task {task.name} has a trainer of its own, which may draw numbers"
                )
                raise InvalidInput("run.workers", workers, requirement)
            if draws_numbers(task):
                requirement = f"1: the model of task {task.name} draws random numbers"
                raise InvalidInput("run.workers", workers, requirement)
        self.tasks: list[Mapping[str, Task]] = [{task.name: task for task in tasks}]
        for _ in range(1, workers):
            self.tasks.append({task.name: _copied(task, workers) for task in tasks})

    def map(self, work: Callable[[int, Item], Made], items: Sequence[Item]) -> list[Made]:
        """What the work makes of every item, in their order.

        Args:
            work: Takes the number of a worker, which nobody else has meanwhile, and an item.
            items: What is to be done.

        Example:
            >>> Crew([], 3).map(lambda number, item: item**2, [3, 1, 2])
            [9, 1, 4]
        """
        if len(self.tasks) == 1 or len(items) < 2:
            return [work(0, item) for item in items]
        free: SimpleQueue[int] = SimpleQueue()
        for number in range(len(self.tasks)):
            free.put(number)

        def done(item: Item) -> Made:
            number = free.get()
            try:
                return work(number, item)
            finally:
                free.put(number)

        threads = torch.get_num_threads()
        with ThreadPoolExecutor(
            len(self.tasks), initializer=torch.set_num_threads, initargs=(threads,)
        ) as pool:
            return list(pool.map(done, items))


def draws_numbers(task: Task) -> bool:
    """Whether training a model draws from a generator that all threads share: tried once."""
    some = task.validation.at(slice(TRIED))
    with torch.random.fork_rng():
        before = _shared_states()
        task.model.train()
        try:
            loss_parts(task.loss, called(task.model, some.features), some.targets)
        except Exception:  # noqa: BLE001 (preflight says what is wrong with a model)
            return False
        return before != _shared_states()


def _shared_states() -> list[object]:
    """The states of the generators that a module may use without being given one."""
    found: list[object] = [torch.get_rng_state().numpy().tobytes(), random.getstate()]
    found += [repr(np.random.get_state(legacy=True))]  # noqa: NPY002
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        found += [state.numpy().tobytes() for state in torch.cuda.get_rng_state_all()]
    return found


def _copied(task: Task, workers: int) -> Task:
    """The task with a model of its own; all else is common, and is not checked again."""
    twin = copy.copy(task)
    try:
        object.__setattr__(twin, "model", copy.deepcopy(task.model))
    except Exception as error:  # whatever the user's model does when it is copied
        requirement = f"1: the model of task {task.name} cannot be copied ({error})"
        raise InvalidInput("run.workers", workers, " ".join(requirement.split())) from error
    return twin
