"""All clients of a task at once: one vectorised step instead of one small step per client.

`StackedExecutor` gives what `SequentialExecutor` gives, up to float32 rounding, and faster where
models are small and clients many. Models whose state is more than parameters (batch norm), that
draw random numbers (dropout), or that `torch.func` cannot follow are trained one by one by the
sequential executor, with one line in the log; so are jobs that train several tasks jointly.

`DenseExecutor` trains fully connected models by the kernel of `dense`, and others as above, also
with one line in the log.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from fl_runtime.data.inputs import arguments
from fl_runtime.execution.dense import DenseChain, fusible
from fl_runtime.execution.executor import Group, answer, joint_groups, placed
from fl_runtime.execution.padding import Padded, Plan
from fl_runtime.execution.sequential import SequentialExecutor
from fl_runtime.training.examples import FLOAT_BYTES, Examples
from fl_runtime.training.job import Job, Update
from fl_runtime.training.job_options import JobOptions
from fl_runtime.training.local_training import Trained, at_least_float32
from fl_runtime.training.losses import counted, loss_parts
from fl_runtime.training.optimizers import StackedOptimizer, numbers_kept, precision_context
from fl_runtime.training.stacks import Row, Rows, Stack
from fl_runtime.training.task import LocalTraining, Params, Task, float_state, numbers_saved

MEMORY_BUDGET = 256 * 2**20
"""Bytes that one chunk of clients may take for parameters, gradients, optimiser and data."""

CACHE_BUDGET = 5 * 2**20
"""Bytes of one entry of a chunk, so that what a step makes stays in the cache, and its blocks are
not mapped afresh at every step (as glibc does above 32 MiB)."""

FREE_SHARE = 0.5
"""Of a GPU's free memory, for one chunk; what steps make besides, and evaluation, have the rest."""

LARGEST_PADDING = 1.25
"""Work with padding over work without, from which on chunks are sorted by length."""

COPIES = 6
"""Of the parameters while a step runs: start, now, gradient, difference and two temporaries."""

PASSES = 2
"""Copies of the activations: what the forward pass saves, and their gradients."""

_log = logging.getLogger(__name__)

Seen = tuple[Tensor, Tensor]
"""(clients,) mean losses of a batch, and how much was counted."""

Gradient = Callable[[Stack, Stack, Any, Tensor, Tensor, Tensor], tuple[Stack, Seen]]


class Kernel(Protocol):
    """Losses and gradients of a stack of models.

    Both take the entries that are trained, those that are not, and of a batch the features, targets
    and weights, and the mask of the examples that there are.
    """

    def losses(
        self,
        params: Stack,
        still: Stack,
        features: Any,
        targets: Tensor,
        weights: Tensor,
        mask: Tensor,
    ) -> Seen:
        """Weighted mean of the loss over what is counted, for every client; and that count."""
        ...

    def slopes(
        self,
        params: Stack,
        still: Stack,
        features: Any,
        targets: Tensor,
        weights: Tensor,
        mask: Tensor,
    ) -> tuple[Stack, Seen]:
        """Gradients of these losses, and the losses."""
        ...


class Vectorised:
    """The kernel of every model that `torch.func` can follow."""

    def __init__(self, task: Task) -> None:
        self._task = task
        plain = replace(task.training, precision="float32")
        self.losses = vmap(_masked_loss(task, plain))
        self.slopes: Gradient = vmap(
            grad_and_value(_masked_loss(task, task.training), has_aux=True)
        )

    def __reduce__(self) -> tuple[type[Vectorised], tuple[Task]]:
        return Vectorised, (self._task,)


@dataclass(frozen=True)
class Way:
    """How clients of a task are trained together.

    Attributes:
        kernel: What their steps are made with.
        size: Most clients of a chunk.
        whole: All shards of the task as rectangles, where they fit in memory.
    """

    kernel: Kernel
    size: int
    whole: Padded | None


class StackedExecutor:
    """Groups jobs by task and trains each group as one stack, in chunks that fit in memory."""

    default = "stacked"

    def __init__(
        self,
        tasks: Sequence[Task],
        ways: Mapping[str, str] | None = None,
        *,
        clients_per_stack: int | None = None,
    ) -> None:
        """Prepare the shards of all tasks.

        Args:
            tasks: What jobs may be about.
            ways: `sequential`, `stacked` or `dense` by task; that of the class for others.
            clients_per_stack: Most clients of a stack; as many as fit in memory and cache if None.
        """
        self._sequential, named = SequentialExecutor(tasks), ways or {}
        self._ways = {
            task.name: _announced_way(task, named.get(task.name, self.default), clients_per_stack)
            for task in tasks
        }
        self._queue: list[Job] = []
        self._told = False

    @property
    def tasks(self) -> Mapping[str, Task]:
        """What jobs may be about, by name."""
        return self._sequential.tasks

    def submit(self, jobs: Iterable[Job]) -> None:
        """Queue jobs."""
        self._queue.extend(jobs)

    def poll(self) -> list[Update]:
        """Run everything that is queued; updates come in the order of submission."""
        jobs, self._queue = self._queue, []
        groups = self.groups(jobs)
        alone = [index for group in groups if group.kind is None for index in group.index]
        self._sequential.submit(jobs[index] for index in alone)
        done = dict(zip(alone, self._sequential.poll(), strict=True))
        for group, place in zip(groups, rooms(jobs, groups), strict=True):
            if place is not None:
                updates = self.train([jobs[index] for index in group.index], place)
                done.update(zip(group.index, updates, strict=True))
        return [done[index] for index in range(len(jobs))]

    def groups(self, jobs: Sequence[Job]) -> list[Group]:
        """Stacks of jobs of one kind; joint jobs, and those that cannot be stacked, one by one."""
        kinds: dict[tuple[object, ...], list[int]] = {}
        for index, job in enumerate(jobs):
            kinds.setdefault(self._kind(job), []).append(index)
        found = []
        for kind, mine in kinds.items():
            some = [jobs[index] for index in mine]
            way = None if kind[0] is None else self._ways[str(kind[0])]
            if way is None:
                self._tell(some)
                parts = [Group([mine[k] for k in part]) for part in joint_groups(some)]
            else:
                cut = chunks(self._lengths(self.tasks[str(kind[0])], some), way.size)
                parts = [Group([mine[k] for k in part], kind) for part in cut]
            found += parts
        return found

    def train(self, jobs: Sequence[Job], place: Sequence[Row] | None = None) -> list[Update]:
        """One of the groups."""
        way = None if self._kind(jobs[0])[0] is None else self._ways[jobs[0].task]
        if way is None:
            return self._sequential.train(jobs)
        with placed(jobs), attention_as_products():
            return train_stack(self.tasks[jobs[0].task], jobs, way.whole, way.kernel, place)

    def _kind(self, job: Job) -> tuple[object, ...]:
        """Jobs of one kind can be stacked; the first entry is None for those that cannot."""
        options = JobOptions.of(job.config)
        if options.joint or self._ways[job.task] is None:
            return (None,)
        pulled = options.proximal, tuple(options.anchor)
        rate = self.tasks[job.task].training.at(job.version).learning_rate
        return job.task, rate, *pulled, options.measure_start, options.measure_end

    def _lengths(self, task: Task, jobs: Sequence[Job]) -> list[int]:
        """Examples that each job trains on."""
        picked = [JobOptions.of(job.config).examples for job in jobs]
        return [
            task.sizes[job.client] if some is None else len(some)
            for job, some in zip(jobs, picked, strict=True)
        ]

    def _tell(self, jobs: Sequence[Job]) -> None:
        """Say once that joint jobs are not stacked."""
        if not self._told and any(job.config.get("joint") for job in jobs):
            _log.warning("clients that train tasks jointly are trained one by one")
            self._told = True


class DenseExecutor(StackedExecutor):
    """Fully connected models by products of stacks of matrices; others as stacks."""

    default = "dense"


def rooms(jobs: Sequence[Job], groups: Sequence[Group]) -> list[Sequence[Row] | None]:
    """Where each stack's differences go: all groups of one kind into one stack, in their order.

    Groups that are no stack have no such place.
    """
    found: list[Sequence[Row] | None] = []
    for kind, same in itertools.groupby(groups, key=lambda group: group.kind):
        some = list(same)
        if kind is None:
            found += [None] * len(some)
            continue
        rows = _room([jobs[index] for group in some for index in group.index]).split()
        ends = list(itertools.accumulate(len(group.index) for group in some))
        found += [rows[e - len(g.index) : e] for g, e in zip(some, ends, strict=True)]
    return found


def attention_as_products() -> AbstractContextManager[None]:
    """The kernel of attention that can be vectorised, for the whole process."""
    return sdpa_kernel(SDPBackend.MATH)


def train_stack(
    task: Task,
    jobs: Sequence[Job],
    whole: Padded | None = None,
    kernel: Kernel | None = None,
    place: Sequence[Row] | None = None,
) -> list[Update]:
    r"""Local training of several clients of one task at once.

    Problem: for each job k the same as `local_training.train_locally`, the reference
    implementation: minibatch steps from the job's payload on the client's own examples, in the
    order its seed draws.

    Method: parameters carry a leading client axis; the gradient of the masked mean of the loss is
    vectorised over it. Shards are padded to the longest one and batches to `batch_size`, with a
    mask that keeps padding out of every mean; a client whose batches are used up stands still.

    Args:
        task: A task whose model is `stackable`.
        jobs: At least one job of that task; all with the same step size, `proximal`, measurements,
            and entries in their anchors.
        whole: All shards of the task as rectangles, if they are at hand.
        kernel: What steps are made with; `Vectorised` by default, which for models with attention
            needs `attention_as_products`.
        place: Consecutive rows of a stack that take the differences; one of their own by default.

    Returns:
        One update per job, in order.
    """
    task.model.train()
    settings = task.training.at(jobs[0].version)
    all_options = [JobOptions.of(job.config) for job in jobs]
    data = _data(task, jobs, all_options, whole)
    counts = data.sizes()
    start, still = _payloads(task, jobs)
    now = {key: value.clone(memory_format=torch.contiguous_format) for key, value in start.items()}
    optimizer = StackedOptimizer(settings, now, [job.client_state for job in jobs])
    common = all_options[0]
    anchor = _stacked([options.anchor for options in all_options]) if common.anchor else start
    kernel = Vectorised(task) if kernel is None else kernel
    fused = (
        kernel if isinstance(kernel, DenseChain) and fusible(settings, common.proximal) else None
    )
    plan = Plan.shuffled(counts, settings, [job.seed for job in jobs])
    total = torch.zeros(len(jobs), device=data.targets.device)
    seen = torch.zeros_like(total, dtype=torch.float64)
    full_steps = plan.full_steps
    for number, batch in enumerate(data.steps(plan)):
        moving = None if number < full_steps else batch[-1].any(dim=1)
        if fused is not None and moving is None:
            loss, count = fused.descend(now, optimizer, settings, batch)
        else:
            slopes, (loss, count) = kernel.slopes(now, still, *batch)
            with torch.no_grad():
                _pull(slopes, now, anchor, common.proximal)
                optimizer.step(now, slopes, moving)
        with torch.no_grad():
            total += loss * count
            seen += count
    metrics = {"train_loss": _means(total, seen)}
    if common.measure_start:
        metrics["start_loss"] = _losses(task, kernel, start, still, data)
    if common.measure_end:
        metrics["end_loss"] = _losses(task, kernel, now, still, data)
    rows = _room(jobs).split() if place is None else place
    _write_differences(rows, now, start)
    kept = optimizer.kept if settings.persist_optimizer else lambda _: {}
    steps = [settings.local_epochs * -(-count // settings.batch_size) for count in counts]
    trained = _counted(task, jobs, all_options, counts)
    return [
        _one_update(job, k, row, metrics, kept(k), trained[k], steps[k], settings)
        for k, (job, row) in enumerate(zip(jobs, rows, strict=True))
    ]


def _room(jobs: Sequence[Job]) -> Rows:
    """A stack for the differences of all these jobs, so that no sum over it has to copy it first.

    Entries that are not trained stay zero.
    """
    shapes = jobs[0].payload.items()
    return Rows({key: value.new_zeros(len(jobs), *value.shape) for key, value in shapes})


def _write_differences(rows: Sequence[Row], now: Stack, start: Stack) -> None:
    """Trained models minus those they began with, into consecutive rows."""
    first, whole = rows[0].index, rows[0].rows.stack
    for key, value in now.items():
        torch.sub(value, start[key], out=whole[key][first : first + len(rows)])


def _data(
    task: Task, jobs: Sequence[Job], all_options: Sequence[JobOptions], whole: Padded | None
) -> Padded:
    """The examples of these jobs."""
    if whole is not None and all(o.examples is None and o.weights is None for o in all_options):
        return whole.only([job.client for job in jobs])
    pairs = zip(all_options, jobs, strict=True)
    return Padded.of([options.selected(task.shards[job.client]) for options, job in pairs])


def _counted(
    task: Task, jobs: Sequence[Job], all_options: Sequence[JobOptions], sizes: Sequence[int]
) -> list[int]:
    """Examples of each job that have a target."""
    return [
        size
        if task.training.counts_examples and task.shards[job.client].complete
        else task.training.weight_of(options.selected(task.shards[job.client]))
        for job, options, size in zip(jobs, all_options, sizes, strict=True)
    ]


def _payloads(task: Task, jobs: Sequence[Job]) -> tuple[Stack, Stack]:
    """Stacked payloads: what is trained, and what is frozen."""
    trainable = {key for key, value in task.model.named_parameters() if value.requires_grad}
    stack = _stacked([job.payload for job in jobs])
    return (
        {key: value for key, value in stack.items() if key in trainable},
        {key: value for key, value in stack.items() if key not in trainable},
    )


def _stacked(models: Sequence[Params]) -> Stack:
    """Entries of several models side by side."""
    first = models[0]
    if all(model is first for model in models):
        return {key: value.expand(len(models), *value.shape) for key, value in first.items()}
    return {key: torch.stack([model[key] for model in models]) for key in first}


def _pull(slopes: Stack, now: Stack, anchor: Stack, proximal: float) -> None:
    """The gradient of the proximal term."""
    if proximal:
        for key in now.keys() & anchor.keys():
            slopes[key] = slopes[key] + proximal * (now[key] - anchor[key])


def _one_update(
    job: Job,
    k: int,
    delta: Params,
    metrics: Mapping[str, Sequence[float]],
    kept: Mapping[str, Tensor],
    count: int,
    steps: int,
    settings: LocalTraining,
) -> Update:
    """Client k of the stack."""
    trained = Trained(
        delta=delta,
        metrics={name: values[k] for name, values in metrics.items()},
        client_state={**job.client_state, **kept},
        num_examples=count,
        num_steps=steps,
    )
    return answer(job, trained, settings.learning_rate)


def _rectangles(task: Task) -> Padded | None:
    """All shards of a task side by side, kept from round to round where they fit in memory."""
    if not isinstance(task.shards, tuple):
        return None  # loaded as they are used
    longest = max(task.sizes)
    example = _numbers_per_example(task)
    memory, _ = budgets(task.validation.targets.device)
    fits = FLOAT_BYTES * longest * example * len(task.shards) <= memory
    weighted = any(shard.weights is not None for shard in task.shards)
    return Padded.of(task.shards) if fits and not weighted else None


def _numbers_per_example(task: Task) -> int:
    """Numbers of an example and of its targets, but for a single label."""
    return task.validation.numbers


def chunks(lengths: Sequence[int], size: int) -> list[list[int]]:
    """Positions in chunks of at most that size (but at least two), as even as can be.

    Where clients differ so much that padding would cost more than `LARGEST_PADDING`, chunks are of
    clients of similar length; else positions keep their order.

    Example:
        >>> chunks([5, 5, 4, 5, 5], 3), chunks([9, 1, 9, 1, 2], 2)
        ([[0, 1, 2], [3, 4]], [[1, 3, 4], [0, 2]])
    """
    order = list(range(len(lengths)))
    if _padding(_cut(order, size), lengths) > LARGEST_PADDING:
        order.sort(key=lambda index: lengths[index])
    return _cut(order, size)


def _cut(order: Sequence[int], size: int) -> list[list[int]]:
    """Even pieces of at most that size, but none of one: products of one matrix round otherwise."""
    pieces = max(1, min(-(-len(order) // size), len(order) // 2))
    return [part.tolist() for part in np.array_split(np.array(order), pieces)]


def _padding(parts: Sequence[Sequence[int]], lengths: Sequence[int]) -> float:
    """Examples with padding over examples."""
    padded = sum(len(part) * max(lengths[index] for index in part) for part in parts)
    return padded / sum(lengths)


def clients_per_chunk(task: Task) -> int:
    """How many clients of a task fit into the `budgets` of its device, at least one."""
    parameters = sum(value.numel() for value in task.initial.values())
    longest = max(task.sizes)
    example = _numbers_per_example(task)
    batch = min(task.training.batch_size, longest)
    numbers = (
        (COPIES + numbers_kept(task.training)) * parameters
        + (longest + batch) * example
        + PASSES * batch * numbers_saved(task)
    )
    largest = max(value.numel() for value in task.initial.values())
    memory, cache = budgets(task.validation.targets.device)
    fit = memory // (FLOAT_BYTES * numbers), cache // (FLOAT_BYTES * largest)
    return max(1, min(fit))


def budgets(device: torch.device) -> tuple[int, int]:
    """Bytes of a whole chunk, and of its largest entry.

    On a GPU the first is `FREE_SHARE` of the memory that is free, rounded down to a power of two,
    so that what others leave of it rarely changes a chunk; its caches count for nothing.
    """
    if device.type != "cuda":
        return MEMORY_BUDGET, CACHE_BUDGET
    free = int(torch.cuda.mem_get_info(device)[0] * FREE_SHARE)
    whole = 2 ** max(0, free.bit_length() - 1)
    return whole, whole


def stackable(task: Task) -> bool:
    """Whether a task's model can be trained as a stack: tried on two copies of one example."""
    model = task.model
    entries = {key for key, _ in model.named_parameters()}
    random = any(
        isinstance(part, nn.modules.dropout._DropoutNd) and part.p > 0 for part in model.modules()
    )
    if entries != set(model.state_dict()) or entries != set(float_state(model)) or random:
        return False
    one = _one_example(task)
    probe = Job(task.name, 0, version=0, sent_at=0.0, payload=task.initial, seed=0)
    try:
        settings = replace(task.training, local_epochs=1)
        with attention_as_products():
            train_stack(replace(task, shards=(one,), training=settings), [probe, probe])
    except (RuntimeError, ValueError, TypeError, NotImplementedError):
        return False
    return True


def _one_example(task: Task) -> Examples:
    """An example with a target."""
    shard = task.shards[0]
    first = int(counted(shard.targets).int().argmax())
    return replace(shard.at(slice(first, first + 1)), weights=None)


def _masked_loss(
    task: Task, settings: LocalTraining
) -> Callable[[Stack, Stack, Any, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Weighted mean of the loss over what is counted, zero where nothing is; and that count."""

    def loss(
        params: Stack,
        still: Stack,
        features: Any,
        targets: Tensor,
        weights: Tensor,
        mask: Tensor,
    ) -> tuple[Tensor, Tensor]:
        with precision_context(settings, targets.device):
            entries = {**task.fixed, **params, **still}
            outputs = functional_call(task.model, entries, *arguments(features))
        sums, counts = loss_parts(task.loss, at_least_float32(outputs), targets)
        count = (counts * mask).sum()
        value = (sums * weights).sum() / count.clamp(min=1.0)
        return value, count

    return loss


def _losses(task: Task, kernel: Kernel, params: Stack, still: Stack, data: Padded) -> list[float]:
    """Mean loss of every client's model on its examples, in batches, unweighted."""
    task.model.eval()
    plan = Plan.in_order(data.sizes(), task.training.batch_size)
    total = torch.zeros(len(data.rows), device=data.targets.device)
    seen = torch.zeros_like(total, dtype=torch.float64)
    with torch.no_grad():
        for features, targets, _, mask in data.steps(plan):
            value, count = kernel.losses(params, still, features, targets, mask, mask)
            total += value * count
            seen += count
    return _means(total, seen)


def _means(total: Tensor, seen: Tensor) -> list[float]:
    """Sums as means; zero of nothing."""
    pairs = zip(total.tolist(), seen.tolist(), strict=True)
    return [value / max(count, 1.0) for value, count in pairs]


def _announced_way(task: Task, name: str, most: int | None) -> Way | None:
    """How a task is trained, with a line in the log where it is not as it was asked for.

    Args:
        task: The task.
        name: Of its executor.
        most: Clients of a stack.
    """
    if name == "sequential" or task.trainer is not None:
        return None
    chain = DenseChain.of(task) if name == "dense" else None
    if chain is None and not stackable(task):
        _log.warning("task %s cannot be stacked; its clients are trained one by one", task.name)
        return None
    if chain is None and name == "dense":
        _log.warning(
            "task %s is not fully connected; its clients are trained as a stack", task.name
        )
    size = clients_per_chunk(task)
    kernel = Vectorised(task) if chain is None else chain
    return Way(kernel, size if most is None else min(size, most), _rectangles(task))
