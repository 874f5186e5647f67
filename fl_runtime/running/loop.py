"""The only loop of training: dispatch, wait, train, absorb, measure.

One step serves algorithms in rounds and asynchronous ones alike. Jobs are given their end when they
are sent (`clock.Timing`), the algorithm says what it waits for (`waits.Wait`), and a round is as
many steps as it takes until the algorithm has aggregated.

A job's result depends on nothing but its payload and seed, so it may be computed at any time after
dispatch. When an answer is due that has not been computed, all jobs in flight whose answers will
count are computed with it in one stack; their results wait until they are due.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fl_runtime.algorithms.base import ServerState
from fl_runtime.execution.executor import Executor
from fl_runtime.running.build import Parts
from fl_runtime.running.history_rows import (
    FAILED,
    NOT_FINITE,
    RUINS_MODEL,
    Incident,
    Tally,
    round_row,
)
from fl_runtime.running.run_state import Moment
from fl_runtime.simulation.clock import Flight, withdraw
from fl_runtime.simulation.sync_policies import Arrivals
from fl_runtime.training.federation import Federation
from fl_runtime.training.job import Update
from fl_runtime.training.task import Evaluation, Examples, Params, Task


class Judge:
    """Measures models on held-out data, each model once: most rounds leave some tasks alone."""

    def __init__(self, tasks: Sequence[Task], companions: Sequence[Task] = ()) -> None:
        self._tasks = tasks
        self._companions = companions
        self._seen: dict[tuple[str, str, str], tuple[Params, Evaluation]] = {}

    def validation(self, state: ServerState) -> dict[str, Evaluation]:
        """On the data that decisions are made by."""
        return {t.name: self._of(t, "v", state, t.validation) for t in self._tasks}

    def test(self, state: ServerState) -> dict[str, Evaluation]:
        """On the data that is only reported."""
        return {t.name: self._of(t, "t", state, t.test) for t in self._tasks}

    def ruined(self, state: ServerState) -> set[str]:
        """Names of tasks and companions of which a model has no finite validation loss."""
        everything = (*self._tasks, *self._companions)
        seen = {t.name: self._of(t, "v", state, t.validation) for t in everything}
        return {name for name, one in seen.items() if not math.isfinite(one.loss)}

    def _of(self, task: Task, kind: str, state: ServerState, examples: Examples) -> Evaluation:
        """The mean over the models that the task is judged by."""
        seen = [
            self._of_one(task, (task.name, kind, holder), params, examples)
            for holder, params in state.judged(task.name).items()
        ]
        return seen[0] if len(seen) == 1 else Evaluation.mean(seen)

    def _of_one(
        self, task: Task, key: tuple[str, str, str], params: Params, examples: Examples
    ) -> Evaluation:
        """The evaluation of one model, from memory if it is of the very same parameters."""
        known = self._seen.get(key)
        if known is None or known[0] is not params:
            known = (params, task.evaluate(params, examples))
            self._seen[key] = known
        return known[1]


def one_round(parts: Parts, moment: Moment, judge: Judge) -> tuple[Moment, Tally, dict[str, Any]]:
    """Steps until the algorithm has aggregated, or waited in vain.

    The server has waited in vain when nothing is in flight, when as many jobs as there are clients
    have come to nothing in a row, or when an aggregation would have ruined a model: then it counts
    a round that changes no model.

    Returns:
        The moment after the round, what happened in it, and the figures of its row.
    """
    before, tally, wasted = moment.state.server_round, Tally(), 0
    while moment.state.server_round == before:
        moment, seen = step(parts, moment, judge)
        tally += seen
        wasted = 0 if seen.updates else wasted + seen.wasted
        if moment.state.server_round == before and wasted >= parts.federation.num_clients:
            moment = replace(moment, state=parts.algorithm.absorb(moment.state, []))
    validation = judge.validation(moment.state)
    moment = replace(moment, state=moment.state.observe(validation))
    test = judge.test(moment.state)
    row = round_row(parts, moment, tally, validation, test)
    return _finished(parts, moment, test), tally, row


def _finished(parts: Parts, moment: Moment, test: Mapping[str, Evaluation]) -> Moment:
    """The moment with tasks that have reached their target closed.

    Nobody is asked for a finished task again, its jobs are withdrawn and its buffer is emptied.
    """
    reached = {task for task, target in parts.targets.items() if test[task].accuracy >= target}
    fresh = reached.difference(moment.finished)
    if not fresh:
        return moment
    return replace(
        moment,
        state=parts.algorithm.forget(moment.state, fresh),
        flights=withdraw(moment.flights, fresh, moment.now),
        finished=tuple(task for task in parts.targets if task in fresh.union(moment.finished)),
    )


def step(parts: Parts, moment: Moment, judge: Judge) -> tuple[Moment, Tally]:
    """Send jobs unless others end at this very moment, wait, and take in what comes."""
    if not (moment.flights and moment.flights[0].finish <= moment.now):
        moment = _send(parts, moment)
    wave = moment.waves - 1
    otherwise = parts.timing.later(moment.now, moment.state.seed, wave)
    wait = parts.algorithm.wait(parts.federation)
    arrivals = _computed(parts.executor, wait.take(moment.flights, wave, otherwise))
    tally = Tally(
        dropped=sum(flight.fate == "drops out" for flight in arrivals.lost),
        discarded=arrivals.discarded,
        incidents=tuple(
            Incident.of(FAILED, f, arrivals.time) for f in arrivals.lost if f.fate == "fails"
        ),
    )
    moment = replace(moment, now=arrivals.time, flights=arrivals.left)
    updates = [
        replace(flight.update, payload=flight.job.payload)
        for flight in arrivals.answered
        if flight.update is not None
    ]
    state, taken = take_in(parts, moment.state, updates, arrivals, judge)
    return replace(moment, state=state), tally + taken


def take_in(
    parts: Parts, state: ServerState, updates: Sequence[Update], arrivals: Arrivals, judge: Judge
) -> tuple[ServerState, Tally]:
    """Absorb what is sound, so that no model is ever poisoned.

    Left out are updates that the algorithm finds too old, updates that are not finite, and all
    updates of a task whose model would have no finite validation loss afterwards (a step that
    overflows); what the algorithm has kept for such a task is forgotten with them.
    """
    algorithm, over = parts.algorithm, arrivals.over
    accepted = [update for update in updates if algorithm.accepts(state, update)]
    rejected = [(NOT_FINITE, update) for update in accepted if not update.is_finite]
    sound = [update for update in accepted if update.is_finite]
    for _ in range(len(parts.federation.tasks) + 1):  # leaving out one task may break another
        after = algorithm.absorb(state, sound) if sound or over else state
        broken = judge.ruined(after)
        if not broken:
            break
        rejected += [(RUINS_MODEL, update) for update in sound if update.task in broken]
        sound = [update for update in sound if update.task not in broken]
        state, over = algorithm.forget(state, broken), True
    return after, Tally(
        updates=tuple(sound),
        ages=tuple(state.version(update.task) - update.version for update in sound),
        stale=len(updates) - len(accepted),
        incidents=tuple(Incident.of(why, update, arrivals.time) for why, update in rejected),
    )


def _send(parts: Parts, moment: Moment) -> Moment:
    """Ask the algorithm for jobs, and give each its end."""
    state, now, wave = moment.state, moment.now, moment.waves
    state, jobs = parts.algorithm.dispatch(state, _seen(parts, moment), now)
    flights = parts.timing.launch(
        jobs, moment.flights, seed=state.seed, wave=wave, number=moment.sent, now=now
    )
    return replace(
        moment, state=state, flights=flights, waves=wave + 1, sent=moment.sent + len(jobs)
    )


def _seen(parts: Parts, moment: Moment) -> Federation:
    """The federation as the algorithm sees it at that moment."""
    count = parts.federation.num_clients
    busy = np.zeros(count, dtype=np.bool_)
    busy[[flight.job.client for flight in moment.flights]] = True
    return replace(
        parts.federation.without(moment.finished),
        present=parts.availability.present(moment.state.seed, count, moment.now),
        busy=busy,
        in_flight=Counter(flight.job.task for flight in moment.flights),
    )


def _computed(executor: Executor, arrivals: Arrivals) -> Arrivals:
    """The arrivals with the answers that are due, computed together with those worth it.

    A job that the executor brings no answer to has failed.
    """
    if all(flight.update is not None for flight in arrivals.answered):
        return arrivals
    work = [f for f in (*arrivals.answered, *arrivals.ahead) if f.update is None]
    done = {flight.number: flight for flight in _train(executor, work)}
    answered = [done.get(flight.number, flight) for flight in arrivals.answered]
    return replace(
        arrivals,
        answered=tuple(flight for flight in answered if flight.fate == "answers"),
        lost=(*arrivals.lost, *(flight for flight in answered if flight.fate != "answers")),
        left=tuple(done.get(flight.number, flight) for flight in arrivals.left),
    )


def _train(executor: Executor, work: Sequence[Flight]) -> list[Flight]:
    """Those jobs with their updates, or marked as failed."""
    executor.submit(flight.job for flight in work)
    answers: dict[tuple[str, int, int], deque[Update]] = {}
    while updates := executor.poll():
        for update in updates:
            key = update.task, update.client, update.version
            answers.setdefault(key, deque()).append(update)
    done = []
    for flight in work:
        key = flight.job.task, flight.job.client, flight.job.version
        mine = answers.get(key)
        done.append(
            replace(flight, update=mine.popleft()) if mine else replace(flight, fate="fails")
        )
    return done
