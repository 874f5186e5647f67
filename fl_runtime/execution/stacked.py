"""All clients of a task at once: one vectorised step instead of one small step per client.

`StackedExecutor` gives what `SequentialExecutor` gives, up to float32 rounding, and faster where
models are small and clients many. Models whose state is more than parameters (batch norm), that
draw random numbers (dropout), or that `torch.func` cannot follow are trained one by one by the
sequential executor, with one line in the log; so are jobs that train several tasks jointly.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from fl_runtime.data.inputs import arguments
from fl_runtime.execution.executor import answer
from fl_runtime.execution.padding import Padded, Plan
from fl_runtime.execution.sequential import SequentialExecutor
from fl_runtime.training.examples import FLOAT_BYTES, Examples
from fl_runtime.training.job import Job, Update
from fl_runtime.training.job_options import JobOptions
from fl_runtime.training.local_training import Trained, at_least_float32
from fl_runtime.training.losses import counted, loss_parts
from fl_runtime.training.optimizers import StackedOptimizer, numbers_kept, precision_context
from fl_runtime.training.stacks import Rows, Stack
from fl_runtime.training.task import LocalTraining, Params, Task, float_state, numbers_saved

MEMORY_BUDGET = 256 * 2**20
"""Bytes that one chunk of clients may take for parameters, gradients, optimiser and data."""

CACHE_BUDGET = 5 * 2**20
"""Bytes of one entry of a chunk, so that what a step makes stays in the cache, and its blocks are
not mapped afresh at every step (as glibc does above 32 MiB)."""

LARGEST_PADDING = 1.25
"""Work with padding over work without, from which on chunks are sorted by length."""

COPIES = 6
"""Of the parameters while a step runs: start, now, gradient, difference and two temporaries."""

PASSES = 2
"""Copies of the activations: what the forward pass saves, and their gradients."""

_log = logging.getLogger(__name__)

Gradient = Callable[
    [Stack, Stack, Any, Tensor, Tensor, Tensor], tuple[Stack, tuple[Tensor, Tensor]]
]


class StackedExecutor:
    """Groups jobs by task and trains each group as one stack, in chunks that fit in memory."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._tasks = {task.name: task for task in tasks}
        self._sequential = SequentialExecutor(tasks)
        self._sizes = {task.name: _announced_chunk(task) for task in tasks}
        self._whole = {task.name: _rectangles(task) for task in tasks if self._sizes[task.name]}
        self._queue: list[Job] = []
        self._told = False

    def submit(self, jobs: Iterable[Job]) -> None:
        """Queue jobs."""
        self._queue.extend(jobs)

    def poll(self) -> list[Update]:
        """Run everything that is queued; updates come in the order of submission."""
        jobs, self._queue = self._queue, []
        groups: dict[tuple[object, ...], list[int]] = {}
        for index, job in enumerate(jobs):
            groups.setdefault(self._kind(job), []).append(index)
        done: dict[int, Update] = {}
        for (task, *_), mine in groups.items():
            updates = self._group(task, [jobs[index] for index in mine])
            done.update(zip(mine, updates, strict=True))
        return [done[index] for index in range(len(jobs))]

    def _kind(self, job: Job) -> tuple[object, ...]:
        """Jobs of one kind can be stacked; the first entry is None for those that cannot."""
        options = JobOptions.of(job.config)
        if options.joint or self._sizes[job.task] == 0:
            return (None,)
        pulled = options.proximal, tuple(options.anchor)
        rate = self._tasks[job.task].training.at(job.version).learning_rate
        return job.task, rate, *pulled, options.measure_start, options.measure_end

    def _group(self, name: object, jobs: list[Job]) -> list[Update]:
        """All jobs of one kind."""
        if name is None:
            self._tell(jobs)
            self._sequential.submit(jobs)
            return self._sequential.poll()
        task, size = self._tasks[str(name)], self._sizes[str(name)]
        done: dict[int, Update] = {}
        for chunk in chunks(self._lengths(task, jobs), size):
            updates = train_stack(task, [jobs[index] for index in chunk], self._whole[task.name])
            done.update(zip(chunk, updates, strict=True))
        return [done[index] for index in range(len(jobs))]

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


def train_stack(task: Task, jobs: Sequence[Job], whole: Padded | None = None) -> list[Update]:
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
    gradient: Gradient = vmap(grad_and_value(_masked_loss(task, settings), has_aux=True))
    plan = Plan.shuffled(counts, settings, [job.seed for job in jobs])
    total = torch.zeros(len(jobs), device=data.targets.device)
    seen = torch.zeros_like(total, dtype=torch.float64)
    full_steps = plan.full_steps
    for number, (features, targets, weights, mask) in enumerate(data.steps(plan)):
        with sdpa_kernel(SDPBackend.MATH):  # the attention kernel that can be vectorised
            slopes, (loss, count) = gradient(now, still, features, targets, weights, mask)
        with torch.no_grad():
            _pull(slopes, now, anchor, common.proximal)
            moving = None if number < full_steps else mask.any(dim=1)
            optimizer.step(now, slopes, moving)
            total += loss * count
            seen += count
    metrics = {"train_loss": _means(total, seen)}
    if common.measure_start:
        metrics["start_loss"] = _losses(task, start, still, data)
    if common.measure_end:
        metrics["end_loss"] = _losses(task, now, still, data)
    delta = {key: value - start[key] for key, value in now.items()}
    delta |= {key: torch.zeros_like(value) for key, value in still.items()}
    kept = optimizer.kept if settings.persist_optimizer else lambda _: {}
    rows = Rows({key: delta[key] for key in jobs[0].payload}).split()
    steps = [settings.local_epochs * -(-count // settings.batch_size) for count in counts]
    trained = _counted(task, jobs, all_options, counts)
    return [
        _one_update(job, k, row, metrics, kept(k), trained[k], steps[k], settings)
        for k, (job, row) in enumerate(zip(jobs, rows, strict=True))
    ]


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
    fits = FLOAT_BYTES * longest * example * len(task.shards) <= MEMORY_BUDGET
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
    """How many clients of a task fit into `MEMORY_BUDGET` and `CACHE_BUDGET`, at least one."""
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
    fit = MEMORY_BUDGET // (FLOAT_BYTES * numbers), CACHE_BUDGET // (FLOAT_BYTES * largest)
    return max(1, min(fit))


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


def _losses(task: Task, params: Stack, still: Stack, data: Padded) -> list[float]:
    """Mean loss of every client's model on its examples, in batches, unweighted."""
    task.model.eval()
    plain = replace(task.training, precision="float32")
    loss = vmap(_masked_loss(task, plain))
    plan = Plan.in_order(data.sizes(), plain.batch_size)
    total = torch.zeros(len(data.rows), device=data.targets.device)
    seen = torch.zeros_like(total, dtype=torch.float64)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        for features, targets, _, mask in data.steps(plan):
            value, count = loss(params, still, features, targets, mask, mask)
            total += value * count
            seen += count
    return _means(total, seen)


def _means(total: Tensor, seen: Tensor) -> list[float]:
    """Sums as means; zero of nothing."""
    pairs = zip(total.tolist(), seen.tolist(), strict=True)
    return [value / max(count, 1.0) for value, count in pairs]


def _announced_chunk(task: Task) -> int:
    """Clients per chunk, 0 with a line in the log where a task cannot be stacked."""
    if stackable(task):
        return clients_per_chunk(task)
    _log.warning("task %s cannot be stacked; its clients are trained one by one", task.name)
    return 0
