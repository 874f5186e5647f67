r"""Ditto: a global model by federated averaging, and beside it a personal model that stays near it.

In every round an active client solves two problems. From the global model :math:`w` it trains as in
FedAvg; the server averages. Its personal model :math:`v_k` follows

.. math:: v_k \leftarrow v_k - \eta \, (\nabla F_k(v_k) + \lambda (v_k - w)),

with the :math:`w` that was sent. The task is evaluated by the personal models.

**The design.** The global model is a companion of its task, ``TASK.global``: executors train it,
checkpoints hold it among the state's models, and nothing reports it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fairopt import InvalidInput
from fl_runtime.algorithms.base import ServerState
from fl_runtime.algorithms.exchange import NOTHING, Exchange, everything
from fl_runtime.algorithms.personal import Local, PersonalState, State
from fl_runtime.training.federation import Federation
from fl_runtime.training.job import Job, Update
from fl_runtime.training.task import Task

SUFFIX = ".global"
"""Of the name of a global model, and where clients keep what belongs to the trunk of all these."""


@dataclass(frozen=True, kw_only=True)
class Ditto(Local):
    r"""Personal models pulled towards the global one.

    Attributes:
        pull: :math:`\lambda \ge 0`; 0 is local training, and the stronger the pull the nearer the
            personal models are to FedAvg's.

    Source: Li et al. 2021 (arXiv 2012.04221), algorithm 1 with as many personal as global steps.
    """

    pull: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 <= self.pull < np.inf:
            raise InvalidInput("pull", self.pull, "a finite number >= 0")

    def companions(self, tasks: Sequence[Task], seed: int) -> tuple[Task, ...]:
        """The tasks once more, for the global models."""
        for task in tasks:
            if task.name.endswith(SUFFIX):
                raise InvalidInput("task", task.name, f"a name that does not end in {SUFFIX}")
        return tuple(replace(task, name=task.name + SUFFIX) for task in tasks)

    def init(self, federation: Federation, seed: int) -> PersonalState:
        """Personal and global models, all alike."""
        state = super().init(federation, seed)
        globals_ = {name + SUFFIX: params for name, params in state.models.items()}
        return replace(state, models={**state.models, **globals_})

    def dispatch(
        self, state: ServerState, federation: Federation, now: float
    ) -> tuple[ServerState, list[Job]]:
        """Two jobs per pair of an active client and a task."""
        state, personal = super().dispatch(state, federation, now)
        pairs = [(self._personal(state, job), self._global(state, job)) for job in personal]
        return state, [job for pair in pairs for job in pair]

    def exchange(self, state: ServerState, task: str) -> Exchange:
        """The global models; the encoder of all once per client, where there is one."""
        if not task.endswith(SUFFIX):
            return NOTHING
        model = state.models[task]
        return everything(model, self.trunk({task: model}), together=True)

    def kept(self, state: State, updates: Sequence[Update]) -> State:
        """What clients keep of their own models and of the global ones, which are trained apart."""
        trunk, kinds = self.trunk(state.models), _by_kind(updates)
        return state.keep(kinds[0], trunk).keep(kinds[1], trunk, under=SUFFIX)

    def moved(self, state: PersonalState, updates: Sequence[Update]) -> PersonalState:
        """Personal models by their own steps, global models by the mean."""
        own = super().moved(state, _by_kind(updates)[0])
        globals_ = {name: m for name, m in state.models.items() if name.endswith(SUFFIX)}
        return replace(own, models={**state.models, **self.averaged(globals_, updates)})

    def _personal(self, state: ServerState, job: Job) -> Job:
        """The job with the pull."""
        if not self.pull:
            return job
        pull = {"proximal": self.pull, "anchor": state.models[job.task + SUFFIX]}
        return replace(job, config={**job.config, **pull})

    def _global(self, state: ServerState, job: Job) -> Job:
        """The same job on the global model."""
        name = job.task + SUFFIX
        config = job.config
        if "joint" in config:  # trained apart from the personal models of the same client
            config = {**config, "joint": {**config["joint"], "of": "global"}}
        return replace(
            job,
            task=name,
            payload=state.models[name],
            client_state=state.client_state(name, job.client, under=SUFFIX),
            config=config,
        )


def _by_kind(updates: Sequence[Update]) -> tuple[list[Update], list[Update]]:
    """Updates of personal models, and of global ones."""
    ours = [update for update in updates if not update.task.endswith(SUFFIX)]
    return ours, [update for update in updates if update.task.endswith(SUFFIX)]
