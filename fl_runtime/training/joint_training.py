r"""One client trains several tasks at once on a shared trunk: each step is a compromise.

Problem: trunk :math:`\theta`, heads :math:`\phi_s`, one minibatch per task and step. The
gradient of the trunk is the direction that a method (FairGrad, say) chooses from
:math:`\nabla_\theta \ell_s(\theta, \phi_s)`; every head follows its own loss.

Jobs of one client with a `joint` option are trained together, one update each: the difference of
the trunk is the same in all of them, that of the head is the task's own. So an executor's caller
sees one update per job, as always; so is it with the optimiser's state, of which a job brings and
an update takes along that of the trunk and of its own head. A task with fewer batches than another
is absent from the last steps.

What a method remembers (`method_memory`) goes through all steps of a job, and FAMO is told the
losses of a step's batches once more after it. With `loss-alpha` losses are alpha-fair ones
(`fair_losses`); methods that weigh losses are given those as they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from fairopt.errors import InvalidInput, Unshown
from fairopt.torch import alpha_fair_losses, backward
from fl_runtime.random_streams import torch_seed
from fl_runtime.training.directions import Direction, outcome
from fl_runtime.training.examples import Examples
from fl_runtime.training.job import Job
from fl_runtime.training.job_options import JobOptions
from fl_runtime.training.local_training import Trained, batch_loss, index_batches, pull
from fl_runtime.training.method_memory import MethodMemory, reported
from fl_runtime.training.optimizers import make_optimizer, optimizer_state, renamed
from fl_runtime.training.task import LocalTraining, Params, Task


def train_jointly(tasks: Sequence[Task], jobs: Sequence[Job]) -> list[Trained]:
    """Train all tasks of one client together.

    Args:
        tasks: The task of every job; their local settings agree.
        jobs: Jobs of one client with one `joint` table; their payloads, and the optimiser's state
            that they bring, agree in the shared entries.

    Returns:
        Per job what changed. Of a client's jobs, the first one's metrics count the steps by
        `outcome`, so that sums over updates are right.

    Raises:
        InvalidInput: A job also has an option that only single tasks have.
    """
    all_options, settings = _checked_options(jobs), tasks[0].training.at(jobs[0].version)
    common = all_options[0]
    examples = [
        options.selected(task.shards[job.client])
        for options, task, job in zip(all_options, tasks, jobs, strict=True)
    ]
    model = _Shared.of(tasks, jobs, common.shared)
    anchors = model.named_alike(
        [options.anchor or job.payload for options, job in zip(all_options, jobs, strict=True)]
    )
    kept = {
        name: value
        for k, job in enumerate(jobs)
        for name, value in renamed(job.client_state, model.names(k)).items()
    }

    def loss_of(k: int, batch: Tensor) -> tuple[Tensor, Tensor]:
        outputs = partial(model.outputs, k)
        return batch_loss(outputs, examples[k], batch, settings, tasks[k].loss)

    memory: MethodMemory = common.joint.get("memory", {})
    optimizer, taken = make_optimizer(model.named, settings, kept), Counter[int]()
    totals, seen, counts = [0.0] * len(jobs), [0.0] * len(jobs), Counter[str]()
    for number, batches in enumerate(_batches(jobs, examples, settings)):
        parts = {k: loss_of(k, batch) for k, batch in batches.items()}
        losses = {k: loss for k, (loss, _) in parts.items()}
        seed, names = torch_seed(jobs[0].seed, "joint", number), [jobs[k].task for k in losses]
        table = {**common.joint, "memory": memory}
        now = {k: float(loss.detach()) for k, loss in losses.items()}
        method = Direction.of(table, names, seed, list(now.values()))
        optimizer.zero_grad()
        solution = backward(_seen(losses, common.joint), list(model.trunk.values()), method)
        pull(model.named, anchors, common.proximal)
        optimizer.step()
        if method.update is not None:
            with torch.no_grad():
                later = {jobs[k].task: float(loss_of(k, batches[k])[0]) for k in losses}
            method.update(later)
        memory = method.remembered(names, memory)
        taken.update(losses.keys())
        counts[f"{outcome(solution.status)}_steps"] += 1
        for k, (_, count) in parts.items():
            totals[k] += now[k] * float(count)
            seen[k] += float(count)
    losses_seen = [total / max(count, 1.0) for total, count in zip(totals, seen, strict=True)]
    state = optimizer_state(optimizer, model.named, settings) if settings.persist_optimizer else {}
    return [
        Trained(
            num_steps=taken[k],
            delta=model.delta(k, job),
            metrics={
                "train_loss": losses_seen[k],
                **(counts if k == 0 else {}),
                **reported(memory, job.task),
            },
            client_state={**job.client_state, **renamed(state, model.own_names(k))},
            num_examples=tasks[k].training.weight_of(examples[k]),
        )
        for k, job in enumerate(jobs)
    ]


def _seen(losses: Mapping[int, Tensor], table: Mapping[str, Any]) -> list[Tensor]:
    """The losses of a step as the table wants them (`fair_losses`)."""
    values, alpha = list(losses.values()), table.get("loss-alpha", 0.0)
    return alpha_fair_losses(values, alpha, floor=table["loss-floor"]) if alpha else values


@dataclass(frozen=True)
class _Shared:
    """Leaves of the trunk and of every head, on structures that only lend their `forward`."""

    tasks: Sequence[Task]
    trunk: Mapping[str, Tensor]
    heads: Sequence[Mapping[str, Tensor]]

    @classmethod
    def of(cls, tasks: Sequence[Task], jobs: Sequence[Job], shared: Sequence[str]) -> _Shared:
        """From the payloads; the trunk is the first one's. What a model froze stays frozen."""
        trains = [_trainable(task) for task in tasks]
        trunk = {key: _leaf(jobs[0].payload[key], key in trains[0]) for key in shared}
        heads = [
            {k: _leaf(v, k in mine) for k, v in job.payload.items() if k not in trunk}
            for job, mine in zip(jobs, trains, strict=True)
        ]
        for task in tasks:
            task.model.train()
        return cls(tasks, trunk, heads)

    @property
    def named(self) -> dict[str, Tensor]:
        """Every leaf that is trained, under a name of its own."""
        whole = self.named_alike([{**self.trunk, **head} for head in self.heads])
        return {name: leaf for name, leaf in whole.items() if leaf.requires_grad}

    def named_alike(self, models: Sequence[Params]) -> dict[str, Tensor]:
        """Entries of one model per task under the names of the leaves; the trunk's of the first."""
        trunk = {key: value for key, value in models[0].items() if key in self.trunk}
        return trunk | {
            name: model[key]
            for k, model in enumerate(models)
            for key, name in self.names(k).items()
            if key not in self.trunk and key in model
        }

    def names(self, k: int) -> dict[str, str]:
        """Names of the leaves by those of the entries of model k."""
        mine = {key: f"{self.tasks[k].name}|{key}" for key in self.heads[k]}
        return {**{key: key for key in self.trunk}, **mine}

    def own_names(self, k: int) -> dict[str, str]:
        """Names of the entries of model k by those of the leaves."""
        return {name: key for key, name in self.names(k).items()}

    def outputs(self, k: int, *features: Tensor, **named: Tensor) -> Tensor:
        """Task k on a batch."""
        params = self.tasks[k].complete({**self.trunk, **self.heads[k]})
        return functional_call(self.tasks[k].model, dict(params), features, named)  # type: ignore[no-any-return]

    def delta(self, k: int, job: Job) -> dict[str, Tensor]:
        """What changed in the model of task k."""
        now = {**self.trunk, **self.heads[k]}
        return {key: now[key].detach() - value for key, value in job.payload.items()}


def _checked_options(jobs: Sequence[Job]) -> list[JobOptions]:
    """The options of every job; `joint`, `shared` and `proximal` of the first hold for all."""
    all_options = [JobOptions.of(job.config) for job in jobs]
    if any(options.measure_start or options.measure_end for options in all_options):
        requirement = "without measure_start and measure_end in joint training"
        raise InvalidInput("job config", jobs[0].config, requirement)
    return all_options


def check_joint(tasks: Sequence[Task]) -> None:
    """Refuse tasks that cannot be trained jointly.

    Raises:
        InvalidInput: Their local settings differ, since one optimiser serves them all, or one is
            trained by the user's own function.
    """
    for task in tasks:
        if task.trainer is not None:
            requirement = "left out where a client trains its tasks jointly"
            raise InvalidInput(f"task.{task.name}.trainer", Unshown.ITSELF, requirement)
    for task in tasks[1:]:
        for setting in fields(LocalTraining):
            mine, first = (getattr(each.training, setting.name) for each in (task, tasks[0]))
            if mine != first:
                name = f"task.{task.name}.{setting.name.replace('_', '-')}"
                requirement = f"{first} like that of task {tasks[0].name}, to be trained jointly"
                raise InvalidInput(name, mine, requirement)


def _trainable(task: Task) -> set[str]:
    """Names of the parameters that the model did not freeze."""
    return {name for name, value in task.model.named_parameters() if value.requires_grad}


def _leaf(value: Tensor, trained: bool) -> Tensor:
    """A copy, which gathers gradients if it is trained."""
    return value.detach().clone().requires_grad_(trained)


def _batches(
    jobs: Sequence[Job], shards: Sequence[Examples], settings: LocalTraining
) -> Iterator[dict[int, Tensor]]:
    """Per step the batch of every task that still has one."""
    plans = [
        index_batches(len(shard), settings, job.seed)
        for job, shard in zip(jobs, shards, strict=True)
    ]
    for row in zip_longest(*plans):
        yield {k: batch for k, batch in enumerate(row) if batch is not None}
