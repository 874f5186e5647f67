"""A whole run of the twin: rounds or arrivals, rows, and the end."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np

from fl_runtime.running.recruitment import recruit
from tests.fl_runtime.twin import algorithms, costs, data
from tests.fl_runtime.twin.nets import Model
from tests.fl_runtime.twin.world import Sent, World

Row = dict[str, Any]


def holds(config: Any) -> Any:
    """(N, S) who has data of which task."""
    sets, names = config.clients.task_sets, [task.name for task in config.task]
    N = config.clients.num_clients
    if not sets:
        return np.ones((N, len(names)), dtype=bool)
    return np.array([[name in sets[k % len(sets)] for name in names] for k in range(N)])


class Run:
    """One arm with one seed."""

    def __init__(
        self, config: Any, seed: int, initial: dict[str, Model], twins: Any = algorithms.TWINS
    ) -> None:
        sections = [(task, task.name) for task in config.task]
        problems = [data.problem(t, config.clients, seed, initial[n]) for t, n in sections]
        beside = [
            data.Problem(name, p.settings, p.shards, p.validation, p.test, initial[name])
            for p in problems
            for name in initial
            if name in (f"{p.name}.proxy", f"{p.name}.global")
        ]
        self.config, self.seed = config, seed
        self.world = World(config, seed, problems, beside)
        self.account: Counter[str] = Counter()
        self.rows: list[Row] = []
        self.best: float | None = None
        self.waited = 0
        self.recruit(0)
        self.algorithm = twins[config.run.algorithm](self.world)

    def recruit(self, number: int) -> None:
        """Who agreed to what."""
        found = recruit(self.config.recruitment, holds(self.config), self.seed, number)
        self.world.eligible = found.eligible
        self.recruited = found

    def run(self) -> list[Row]:
        """All rows."""
        w, every = self.world, self.config.recruitment.every
        while not self.over():
            if every and w.round and w.round % every == 0:
                self.recruit(w.round // every)
            self.one_row()
        if self.out_of_patience:
            self.rows.append({"event": "stop", "best": self.best})
        elif self.config.run.stop_at_targets:
            reached = [t.name for s, t in enumerate(self.config.task) if s in w.finished]
            self.rows.append(
                {
                    "event": "stop",
                    "reached": reached,
                    "virtual_time": w.now,
                    "server_round": w.round,
                }
            )
        self.rows.append({"event": "account", **self.balance()})
        return self.rows

    def balance(self) -> dict[str, int]:
        """What became of all jobs."""
        kinds = ["asked", "answered", "stale", "discarded"]
        kinds += ["dropped", "failed", "rejected", "withdrawn"]
        found = {kind: self.account[kind] for kind in kinds}
        return {**found, "in_flight": sum(not job.late for job in self.world.flying)}

    def over(self) -> bool:
        """By rounds, by time once all events of that moment are done, or by targets."""
        w, run = self.world, self.config.run
        rounds, limit = run.num_server_rounds or math.inf, run.time_limit or math.inf
        pending = any(job.end <= w.now for job in w.flying)
        if self.out_of_patience or (run.stop_at_targets and len(w.finished) == w.S):
            return True
        return w.round >= rounds or (w.now >= limit and not pending)

    @property
    def out_of_patience(self) -> bool:
        """Whether a figure has not improved for too long."""
        rule = self.config.run.early_stop
        return rule is not None and self.waited >= rule.patience

    def wait_for_improvement(self, row: Row) -> None:
        """The best value of a figure, and rounds since then."""
        rule = self.config.run.early_stop
        if rule is None:
            return
        value = row[rule.metric]
        gain = None if self.best is None else (value - self.best) * (-1) ** (rule.mode == "min")
        better = gain is None or gain > rule.min_delta
        self.best, self.waited = (value, 0) if better else (self.best, self.waited + 1)

    def one_row(self) -> None:
        """From one row to the next."""
        w = self.world
        self.counts: Counter[str] = Counter()
        self.counted: list[Sent] = []
        self.ages: list[int] = []
        before = w.round
        if isinstance(self.algorithm, algorithms.Arrivals):
            self.arrivals()
        else:
            self.barrier()
        row = self.row(before)
        self.rows.append(row)
        self.wait_for_improvement(row)
        self.close_finished(row)

    def sent(self) -> list[Sent]:
        """Send jobs."""
        jobs = self.algorithm.send()
        self.world.launch(jobs)
        self.account["asked"] += len(jobs)
        return jobs

    def lost(self, jobs: list[Sent], before: int) -> None:
        """Count jobs that came to nothing."""
        for job in jobs:
            kind = "num-failed" if job.fate == "fails" else "num-dropped"
            self.counts[kind] += 1
            self.account[kind.removeprefix("num-")] += 1
            if job.fate == "fails":
                names = {"task": job.name, "client": job.client, "version": job.version}
                self.rows.append({"event": "incident", "server_round": before, **names})

    def barrier(self) -> None:
        """A round: what counts are the answers of its own jobs, all or the first."""
        w = self.world
        jobs = self.sent()
        per, first = self.algorithm.wait()
        groups: dict[int, list[Sent]] = {}
        for job in jobs:
            groups.setdefault(job.task if per == "task" else 0, []).append(job)
        ends, counted = [], []
        for group in groups.values():
            last: dict[int, Sent] = {}
            for job in group:
                if job.fate == "answers" and (
                    job.client not in last or job.end >= last[job.client].end
                ):
                    last[job.client] = job
            quick = sorted(last, key=lambda k: (last[k].end, last[k].tie))
            if first is not None and len(quick) >= first:
                quick = quick[:first]
                ends += [last[k].end for k in quick]
            else:
                ends += [job.end for job in group]
            counted += [j for j in group if j.fate == "answers" and j.client in quick]
        idle = w.now + w.clock.idle_time(w.dispatches - 1, w.now)
        w.now = max(ends, default=idle)
        answering = sum(job.fate == "answers" for job in jobs)
        self.counts["num-discarded"] += answering - len(counted)
        self.account["discarded"] += answering - len(counted)
        self.lost([j for j in w.flying if j.fate != "answers" and j.end <= w.now], w.round)
        w.flying = [job for job in w.flying if job.end > w.now]
        for job in w.flying:
            job.late = job.fate == "answers"
        counted.sort(key=lambda job: job.number)
        self.algorithm.compute(counted)
        self.answers(counted)
        self.algorithm.take(counted)
        w.round += 1

    def answers(self, jobs: list[Sent]) -> None:
        """Count answers that are taken."""
        self.counted += jobs
        self.ages += [self.algorithm.version(job.name) - job.version for job in jobs]
        self.account["answered"] += len(jobs)

    def arrivals(self) -> None:
        """One end of a job after the other until a model is replaced, or none is in vain."""
        w, before, in_vain = self.world, self.world.round, 0
        at_limit = w.now >= (self.config.run.time_limit or math.inf)
        while w.round == before:
            self.sent()
            if not w.flying:
                w.now += w.clock.idle_time(w.dispatches - 1, w.now)
                w.round += 1
                return
            job = min(w.flying, key=lambda job: job.order)
            w.flying.remove(job)
            w.now = job.end
            if job.fate != "answers":
                self.lost([job], before)
                in_vain += 1
            elif not self.algorithm.accepts(job):
                self.counts["num-stale"] += 1
                self.account["stale"] += 1
                in_vain += 1
            else:
                in_vain = 0
                self.algorithm.compute([job])
                self.answers([job])
                self.algorithm.keep([job])
                w.round += self.algorithm.receive(job)
            nothing_due = at_limit and all(job.end > w.now for job in w.flying)
            if w.round == before and (in_vain >= w.N or nothing_due):
                w.round += 1

    def row(self, before: int) -> Row:
        """The figures of a round."""
        w, counted = self.world, self.counted
        row: Row = {"event": "round", "server_round": w.round, "virtual_time": w.now}
        row |= {k: self.counts[k] for k in ("num-dropped", "num-failed", "num-stale")}
        row |= {"num-discarded": self.counts["num-discarded"], "num-rejected": 0}
        for name in w.names:
            mine = [job for job in counted if job.name == name]
            row |= {f"{name}/{key}": value for key, value in _trained(mine).items()}
        row |= _trained(counted)
        row["staleness_mean"] = float(np.mean(self.ages or [0]))
        row["staleness_max"] = max(self.ages or [0])
        row |= w.judge(self.algorithm.judged())
        if self.config.run.client_metrics:
            row |= costs.columns(w, self.algorithm, counted, before)
        return row | w.figures

    def close_finished(self, row: Row) -> None:
        """Tasks that have reached their targets."""
        w = self.world
        if not self.config.run.stop_at_targets:
            return
        fresh = {
            s
            for s, task in enumerate(self.config.task)
            if s not in w.finished and row[f"{task.name}/eval_acc"] >= task.target_accuracy
        }
        if fresh:
            w.finished |= fresh
            self.algorithm.forget(fresh)
            self.account["withdrawn"] += w.withdraw(fresh)


def _trained(jobs: list[Sent]) -> Row:
    """Jobs, examples and mean training loss."""
    n = sum(job.answer.examples for job in jobs)
    loss = sum(job.answer.loss * job.answer.examples for job in jobs)
    return {
        "num-clients": len({job.client for job in jobs}),
        "num-updates": len(jobs),
        "num-examples": n,
        "train_loss": loss / n if n else None,
    }
