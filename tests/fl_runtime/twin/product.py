"""The runtime's side: one configuration run in float64, its rows and its final models."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np
import torch

from fl_runtime.configuration.schema import Config
from fl_runtime.running import experiment, one_run
from tests.fl_runtime.twin.nets import Model


@contextmanager
def double_precision() -> Iterator[None]:
    """PyTorch makes models in float64, and the runtime converts data to that."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def arrays(params: Any) -> Model:
    """A model as float64 arrays."""
    found = {key: value.detach().numpy() for key, value in params.items()}
    assert all(value.dtype == np.float64 for value in found.values())
    return found


class Ran:
    """Rows, and the state after the last round."""

    def __init__(self, config: Config) -> None:
        states = []

        def noted(*args: Any) -> Any:
            found = one_round(*args)
            states.append((args[0], found[0].state))
            return found

        one_round = one_run.one_round
        with double_precision(), mock.patch.object(one_run, "one_round", noted):
            self.rows = experiment.run(config).rows
        self.parts, self.state = states[-1]

    @property
    def initial(self) -> dict[str, Model]:
        """The models that everybody starts from, drawn by PyTorch: an input of the twin."""
        federation = self.parts.federation
        tasks = (*federation.tasks, *federation.companions)
        return {task.name: arrays(task.initial) for task in tasks}

    def evaluated(self, task: int) -> list[Model]:
        """The models that stand for a task."""
        federation = self.parts.federation
        holders = np.flatnonzero(federation.eligible[:, task]).tolist()
        found = self.state.evaluated(federation.tasks[task].name, holders)
        return [arrays(model) for model in found.values()]

    def payload(self, name: str, client: int) -> Model:
        """What a client would be sent next."""
        return arrays(self.state.payload(name, client))
