"""FedAST: several models at once, each with its own number of requests in flight and its buffer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fairopt import InvalidInput, request_allocation
from fl_runtime.algorithms.aggregation import add, weighted_sum
from fl_runtime.algorithms.asynchronous import BufferedUpdate, ByArrival, refuse_over_selection
from fl_runtime.algorithms.fed_ast_requests import (
    FedASTState,
    by_task,
    draw_clients,
    first_requests,
    handed_over,
    refill,
    send,
)
from fl_runtime.algorithms.update_variance import Estimator, Watch
from fl_runtime.training.federation import Federation
from fl_runtime.training.job import Job, Update
from fl_runtime.training.stacks import alone
from fl_runtime.validation_errors import check_positive
from fl_runtime.whole_numbers import whole_up

LARGEST_RATIO = 37.0
"""Of requests to buffered updates; the mean staleness is about the ratio."""

Objective = Literal["equal-error", "sum-of-variances", "sum-of-deviations"]


@dataclass(frozen=True)
class FedAST(ByArrival):
    r"""Buffered training of several models with a number of requests in flight for each.

    Problem: R requests (task, client, version) are under way, R_m of them for task m. A client is
    drawn from all, all equally likely whatever their speed and whether they have jobs, and trains
    its requests in turn. When b_m updates of task m have arrived,

    .. math:: x_m \leftarrow x_m + \eta_s \frac{1}{|B_m|} \sum_{\Delta \in B_m} \Delta, \qquad
              b_m = \lceil A_m / \rho \rceil,

    whatever their age. At every arrival requests go to the tasks with the largest deficits.

    Symbols: :math:`\eta_s` = `server_learning_rate`, :math:`\rho` = `ratio`, A_m requests of the
    task under way. A finished task's requests go to the others in proportion to theirs.

    So an answer moves its model by about :math:`\eta_s / \lceil A_m / \rho \rceil` of its update,
    less as a task gets more requests; without a buffer it would be :math:`\eta_s` throughout. A
    comparison of buffers that is no comparison of steps has `server_step` = `per-request` on both
    sides: the step of an answer is fixed when it arrives, by the requests alone.

    Attributes:
        concurrency: R, shared equally, or R_m for every task; None for one request per client.
        ratio: Requests per place in a buffer.
        server_learning_rate: Step of the server.
        server_step: What it is the step of: the `mean` of a buffer, as published, or `per-request`:
            an answer moves the model by :math:`\eta_s / \lceil A_m / \rho \rceil` of its update,
            however many are in the buffer.
        allocation: `static`, or `dynamic`: R_m follows the estimated heterogeneity of the tasks.
        objective: What the dynamic allocation equalises or minimises, see
            `fairopt.request_allocation`.
        estimator: `update_variance.gradient_variance` or `relative_variance`.
        window: Updates behind an estimate.
        period: Updates of all tasks between reallocations; None for 3 R / 4 per unfinished task.

    Guarantee: with R_m constant and delays of finite mean the mean staleness of task m tends to
    (R_m - 1) / b_m; its maximum has no bound unless `max_staleness` is given.

    Source: FedAST (arXiv 2406.00302). Ours: one rule for buffer sizes, refilling of every deficit,
    exact totals, the integer optimum of the objective (the released code rounds shares in quanta),
    and a floor of min(ratio, R / tasks) requests per task in a reallocation.

    Example:
        >>> [FedAST().places(active) for active in (1, 31, 32, 33, 96, 300)]
        [1, 1, 1, 2, 3, 10]
    """

    concurrency: int | tuple[int, ...] | None = None
    ratio: float = 32.0
    server_learning_rate: float = 0.1
    server_step: Literal["mean", "per-request"] = "mean"
    allocation: Literal["static", "dynamic"] = "static"
    objective: Objective = "equal-error"
    estimator: Estimator = "gradient-variance"
    window: int = 8
    period: int | None = None

    def _check(self) -> None:
        """Refuse what is no buffer, no step, or no estimate."""
        if not 0.0 < self.ratio <= LARGEST_RATIO:
            raise InvalidInput("ratio", self.ratio, f"in (0, {LARGEST_RATIO:g}]")
        check_positive("server_learning_rate", self.server_learning_rate)
        if self.window < 2:
            raise InvalidInput("window", self.window, "at least 2: one update has no spread")
        if self.period is not None and self.period < 1:
            raise InvalidInput("period", self.period, "an integer >= 1")

    def init(self, federation: Federation, seed: int) -> FedASTState:
        """Initial models, and the number of requests of each task."""
        refuse_over_selection(federation)
        names = [task.name for task in federation.tasks]
        requests = first_requests(self.concurrency, federation.num_clients, len(names))
        return replace(
            FedASTState.initial(federation, seed),
            requests=dict(zip(names, requests, strict=True)),
            active=dict.fromkeys(names, 0),
            watches={task.name: Watch.of(task) for task in federation.tasks},
        )

    def places(self, active: int) -> int:
        """One for every `ratio` requests under way, which sets the step of an answer."""
        return max(1, whole_up(active / self.ratio))

    def capacity(self, active: int) -> int:
        """Buffer size of a task with so many requests under way: its places."""
        return self.places(active)

    def dispatch(
        self, state: FedASTState, federation: Federation, now: float
    ) -> tuple[FedASTState, list[Job]]:
        """Give every task what it lacks, of clients drawn with replacement."""
        state = self.planned(state, federation.open_tasks)
        tasks = refill(state.requests, federation.in_flight)
        return send(state, federation, draw_clients(state, federation, tasks), now)

    def _expected_jobs(self, state: FedASTState, federation: Federation) -> NDArray[np.float64]:
        """What every task lacks, shared equally by the clients that can train it now."""
        state = self.planned(state, federation.open_tasks)
        lacking = Counter(refill(state.requests, federation.in_flight))
        able = federation.eligible & federation.reachable[:, None]
        wanted = np.array([lacking[task.name] for task in federation.tasks])
        return np.asarray(able * (wanted / np.maximum(able.sum(axis=0), 1)))

    def planned(self, state: FedASTState, unfinished: Sequence[str]) -> FedASTState:
        """With the requests that the unfinished tasks should have from now on."""
        if not unfinished:
            return state
        state = replace(state, requests=handed_over(state.requests, unfinished))
        total = sum(state.requests.values())
        period = self.period or max(1, 3 * total // 4) * len(unfinished)
        known = all(state.watches[task].count for task in unfinished)
        if self.allocation == "static" or state.received < period or not known:
            return state
        shares = request_allocation(
            [state.watches[task].mean() for task in unfinished],
            total,
            objective=self.objective.replace("-", "_"),
            minimum=max(1, min(int(self.ratio), total // len(unfinished))),
        )
        return replace(
            state,
            requests=dict.fromkeys(state.requests, 0) | by_task(unfinished, shares.tolist()),
            received=0,
            watches={task: watch.cleared() for task, watch in state.watches.items()},
        )

    def receive(self, state: FedASTState, update: Update) -> FedASTState:
        """Estimate from it, buffer it, and when the buffer is full, aggregate."""
        task, delta = update.task, alone(update.delta)
        update = replace(update, delta=delta)
        if self.allocation == "dynamic":
            state = self._observed(state, update)
        places = self.places(state.active[task]) if self.server_step == "per-request" else 1
        latest = BufferedUpdate(1.0 / places, update.num_examples, delta)
        kept = (*state.buffers[task], latest)
        if len(kept) < self.capacity(state.active[task]):
            return state.keeping(task, kept)
        rate = self.server_learning_rate / (len(kept) if self.server_step == "mean" else 1)
        step = weighted_sum([each.delta for each in kept], [rate * each.weight for each in kept])
        return state.aggregated(task, add(state.models[task], step))

    def _observed(self, state: FedASTState, update: Update) -> FedASTState:
        """With one more update counted, and its estimate."""
        watch = state.watches[update.task].seen(
            update.delta, self.window, self.estimator, self.server_learning_rate
        )
        watches = {**state.watches, update.task: watch}
        return replace(state, received=state.received + 1, watches=watches)


@dataclass(frozen=True)
class FedASTNoBuffer(FedAST):
    """FedAST that aggregates at every answer: b = 1 whatever the requests.

    With `server_step` = `per-request` an answer has the step that it has in FedAST with the same
    requests.

    Example:
        >>> FedASTNoBuffer().capacity(300), FedASTNoBuffer().places(300)
        (1, 10)
    """

    def capacity(self, active: int) -> int:
        """One."""
        return 1
