"""What every server by arrival keeps to, one update or one dispatch at a time."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fl_runtime.algorithms import FedAsync, FedBuff
from fl_runtime.algorithms.asynchronous import AsynchronousState, issue
from fl_runtime.algorithms.fed_ast import FedAST
from fl_runtime.algorithms.update_variance import Watch
from fl_runtime.training.job import Update
from tests.fl_runtime.arrivals import federation, vector

SERVERS = [FedAsync, lambda **how: FedBuff(buffer_size=3, **how), FedAST]
R = 12


def state_of(server: Any, versions: int = 0) -> AsynchronousState:
    state = server.init(federation("AB", 4), 0)
    return replace(state, versions={"A": versions, "B": versions})


def update(client: int, task: str = "A", version: int = 0, **kept: Any) -> Update:
    return Update(task, client, version, vector(1.0), 1, payload=vector(0.0), **kept)


@pytest.mark.parametrize("make", SERVERS)
@given(age=st.integers(0, 5), bound=st.none() | st.integers(0, 5))
def test_an_answer_is_accepted_iff_it_is_not_older_than_the_bound(
    make: Any, age: int, bound: int | None
) -> None:
    server = make(max_staleness=bound)
    accepted = server.accepts(state_of(server, 7), update(0, version=7 - age))
    assert accepted == (bound is None or age <= bound)


@pytest.mark.parametrize("make", SERVERS)
@given(answers=st.lists(st.tuples(st.integers(0, 3), st.sampled_from("AB")), max_size=12))
@settings(max_examples=30)
def test_clients_keep_what_their_last_answer_left_them(
    make: Any, answers: list[tuple[int, str]]
) -> None:
    server = make()
    state, last = state_of(server), dict[tuple[str, int], float]()
    for number, (client, task) in enumerate(answers):
        kept = {"client_state": {"seen": torch.tensor(float(number))}}
        state = server.aggregate(state, [update(client, task, **kept)])
        last[task, client] = float(number)
    for task in "AB":
        for client in range(4):
            found = {k: v.item() for k, v in state.client_state(task, client).items()}
            wanted = last.get((task, client))
            assert found == ({} if wanted is None else {"seen": wanted})


@given(pairs=st.lists(st.tuples(st.integers(0, 3), st.sampled_from("AB")), max_size=12))
def test_no_two_jobs_of_a_client_for_a_task_have_one_seed(pairs: list[tuple[int, str]]) -> None:
    state, seeds = state_of(FedBuff()), list[int]()
    for _ in range(2):
        state, jobs = issue(state, pairs, 0.0)
        seeds += [job.seed for job in jobs]
    assert len(set(seeds)) == len(seeds) == 2 * len(pairs)


@st.composite
def situations(draw: st.DrawFn) -> Any:
    """A FedAST server with jobs under way, and who is there for which task."""
    server = FedAST(concurrency=R, ratio=2.0)
    flags = st.lists(st.booleans(), min_size=4, max_size=4)
    eligible = np.array([draw(flags), draw(flags)]).T
    under_way = {task: draw(st.integers(0, 6)) for task in "AB"}
    clients = replace(
        federation("AB", 4),
        eligible=eligible,
        present=np.array(draw(flags)),
        in_flight={task: count for task, count in under_way.items() if count},
    )
    state = replace(state_of(server), dispatches=draw(st.integers(0, 9)))
    return server, clients, state


@given(situations())
def test_a_dispatch_fills_up_whom_clients_that_are_there_can_train(drawn: Any) -> None:
    server, clients, state = drawn
    after, jobs = server.dispatch(state, clients, 0.0)
    sent, tasks = Counter(job.task for job in jobs), list("AB")
    able = clients.eligible & clients.reachable[:, None]
    assert all(able[job.client, tasks.index(job.task)] for job in jobs)
    for index, task in enumerate(tasks):
        under_way = clients.in_flight.get(task, 0)
        wanted = after.requests[task]
        missing = max(wanted - under_way, 0) if able[:, index].any() else 0
        surplus = sum(max(clients.in_flight.get(t, 0) - after.requests[t], 0) for t in tasks)
        assert missing - surplus <= sent[task] <= missing
        assert after.active[task] == under_way + sent[task]


@pytest.mark.parametrize("make", SERVERS)
def test_every_dispatch_draws_anew(make: Any) -> None:
    """Of 60 dispatches of one job none favours a client: each has its share within 4 sigmas."""
    server = make()
    state, found = state_of(server), Counter[int]()
    for _ in range(60):
        clients = replace(federation("AB", 4), in_flight={"A": 2, "B": 1})
        state, jobs = server.dispatch(state, clients, 0.0)
        found.update(job.client for job in jobs)
    jobs_sent = found.total()
    spread = np.sqrt(jobs_sent * 0.25 * 0.75)
    assert jobs_sent >= 60
    assert all(abs(found[client] - jobs_sent / 4) < 4.0 * spread for client in range(4))


@given(
    received=st.integers(0, 40),
    period=st.none() | st.integers(1, 40),
    counts=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    means=st.tuples(st.floats(0.1, 10.0), st.floats(0.1, 10.0)),
)
@example(received=R, period=None, counts=(1, 1), means=(1.0, 2.0))  # a period of one task
def test_a_reallocation_ends_a_period_and_begins_the_next(
    received: int, period: int | None, counts: tuple[int, int], means: tuple[float, float]
) -> None:
    server = FedAST(concurrency=R, ratio=2.0, allocation="dynamic", period=period)
    window = (vector(1.0), vector(2.0))
    watches = {
        task: Watch(0.5, 1, window, total=mean * count, count=count)
        for task, mean, count in zip("AB", means, counts, strict=True)
    }
    state = replace(state_of(server), received=received, watches=watches)
    after = server.planned(state, ["A", "B"])
    over = received >= (period or 2 * (3 * R // 4)) and min(counts) > 0
    assert sum(after.requests.values()) == R
    assert after.received == (0 if over else received)
    for task in "AB":
        watch = after.watches[task]
        assert watch.window == window
        assert (watch.total, watch.count) == (
            (0.0, 0) if over else (watches[task].total, watches[task].count)
        )
    if over:  # errors fall with more requests: the task with the larger variance has not fewer
        assert (after.requests["A"] - after.requests["B"]) * (means[0] - means[1]) >= 0.0
