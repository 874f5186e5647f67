"""FedAST: its oracles, the process by hand, conservation of requests, targets, and bad settings."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fairopt import InvalidInput
from fl_runtime.algorithms import fed_ast
from fl_runtime.algorithms.fed_ast import FedAST, FedASTNoBuffer, FedASTState, send
from fl_runtime.algorithms.heterogeneity import gradient_variance, relative_variance
from fl_runtime.algorithms.requests import draw_clients, handed_over, refill
from fl_runtime.assembly import assemble
from fl_runtime.clock import Flights, Timing, withdraw
from fl_runtime.config import Config
from fl_runtime.config_files import check_config
from fl_runtime.delays import Constant, DelayModel, ShiftedExponential, Uniform
from fl_runtime.experiment import run
from fl_runtime.federation import Federation
from fl_runtime.job import Job, Update
from fl_runtime.loop import Judge, one_round
from fl_runtime.moment import Moment
from fl_runtime.preflight import check_all_arms
from fl_runtime.task import LocalTraining, Params
from fl_runtime.waits import NextArrival

WINE = {"name": "wine", "data": "wine", "model": "linear", "target_accuracy": 0.6}
IRIS = {"name": "iris", "data": "iris", "model": "linear", "target_accuracy": 0.6}
DELAY = {"model": "shifted-exponential", "shift": 0.33, "mean": 1.0}

Pick = Callable[[FedASTState, Federation, Sequence[str]], list[tuple[int, str]]]


def scalar(value: float) -> Params:
    return {"w": torch.tensor([value], dtype=torch.float64)}


def federation(names: Sequence[str], clients: int) -> Federation:
    """Tasks of one number that starts at zero, trained by one step of size 1/2."""
    training = LocalTraining(learning_rate=0.5, local_epochs=1, batch_size=1)
    tasks = [
        SimpleNamespace(name=name, initial=scalar(0.0), shards=((0,),) * clients, training=training)
        for name in names
    ]
    everybody = np.ones((clients, len(names)), dtype=bool)
    return Federation(cast(Any, tuple(tasks)), clients, 1.0, everybody)


@dataclass(frozen=True)
class Seen:
    """An answer that has been taken in, and what is under way after the next dispatch."""

    time: float
    job: Job
    delta: float
    staleness: int
    state: FedASTState
    flights: Flights


def process(
    algorithm: FedAST,
    clients: Federation,
    timing: Timing,
    work: Callable[[Job], float],
    *,
    pick: Pick = draw_clients,
    finishing: Mapping[int, str] = {},
) -> Iterator[Seen]:
    """The loop without training: dispatch after every answer; `finishing` closes a task."""
    state, flights, now, sent, closed = algorithm.init(clients, 0), cast(Flights, ()), 0.0, 0, set()
    for wave in itertools.count():
        if wave in finishing:
            closed.add(finishing[wave])
            flights = withdraw(flights, closed, now)
            state = algorithm.forget(state, closed)
        in_flight = Counter(flight.job.task for flight in flights)
        seen = replace(clients.without(closed), in_flight=in_flight)
        state = algorithm.planned(state, seen.open_tasks)
        state, jobs = send(state, seen, pick(state, seen, refill(state.requests, in_flight)), now)
        flights = timing.launch(jobs, flights, seed=0, wave=wave, number=sent, now=now)
        sent += len(jobs)
        if wave:
            yield replace(event, state=state, flights=flights)  # noqa: F821
        arrivals = NextArrival().take(flights, wave, now)
        (flight,), flights, now = arrivals.answered, arrivals.left, arrivals.time
        job, delta = flight.job, work(flight.job)
        age = state.version(job.task) - job.version
        update = Update(job.task, job.client, job.version, scalar(delta), 1)
        state = algorithm.absorb(state, [update])
        event = Seen(now, job, delta, age, state, flights)  # noqa: F841


def test_the_trace_by_hand() -> None:
    """Two tasks, three clients, scripted picks; each row is one arrival and the next request."""
    script = iter([1, 2, 3, 3, 1, 3, 2, 1, 3, 1])
    optima = {"A": (0.0, 4.0, 8.0), "B": (2.0, -2.0, 6.0)}

    def scripted(
        state: FedASTState, clients: Federation, tasks: Sequence[str]
    ) -> list[tuple[int, str]]:
        return [(next(script) - 1, task) for task in tasks]

    def work(job: Job) -> float:
        return (optima[job.task][job.client] - job.payload["w"].item()) / 2.0

    algorithm = FedAST(concurrency=(2, 1), ratio=1.0, server_learning_rate=1.0)
    timing = Timing(Constant(), np.array([1.0, 2.0, 0.5]), {"A": 1.0, "B": 3.0})
    events = process(algorithm, federation("AB", 3), timing, work, pick=scripted)
    found = []
    for event in itertools.islice(events, 7):
        new = max(event.flights, key=lambda flight: flight.number)
        model = event.state.models[event.job.task]["w"].item()
        came = (event.time, event.job.task, event.job.client + 1, event.job.version)
        after = (event.state.version(event.job.task), model)
        sent = (new.job.task, new.job.version, new.job.client + 1, new.begin, new.finish)
        found.append((*came, event.delta, event.staleness, *after, sent))
    assert found == [
        (1.0, "A", 1, 0, 0.0, 0, 0, 0.0, ("A", 0, 3, 1.5, 2.0)),
        (1.5, "B", 3, 0, 3.0, 0, 1, 3.0, ("B", 1, 1, 1.5, 4.5)),
        (2.0, "A", 2, 0, 2.0, 0, 1, 1.0, ("A", 1, 3, 2.0, 2.5)),
        (2.0, "A", 3, 0, 4.0, 1, 1, 1.0, ("A", 1, 2, 2.0, 4.0)),
        (2.5, "A", 3, 1, 3.5, 0, 2, 4.75, ("A", 2, 1, 4.5, 5.5)),
        (4.0, "A", 2, 1, 1.5, 1, 2, 4.75, ("A", 2, 3, 4.0, 4.5)),
        (4.5, "B", 1, 1, -0.5, 0, 2, 2.5, ("B", 2, 1, 5.5, 8.5)),
    ]


def test_buffer_sizes() -> None:
    """They never let the ratio be exceeded; rounding instead of rounding up would."""
    active = (1, 31, 32, 33, 64, 65, 96, 192, 300)
    assert [FedAST().capacity(n) for n in active] == [1, 1, 1, 2, 2, 3, 3, 6, 10]
    assert [FedASTNoBuffer().capacity(n) for n in active] == [1] * 9
    assert all(n / FedAST(ratio=37.0).capacity(n) <= 37.0 for n in range(1, 500))
    assert any(n / max(1, round(n / 37.0)) > 37.0 for n in range(1, 500))


POINTS = [{"w": torch.tensor(point)} for point in [(1.0, 0.0), (3.0, 0.0), (2.0, 3.0)]]


def test_both_estimators_on_hand_numbers() -> None:
    assert gradient_variance(POINTS, 0.1, 5) == pytest.approx(8 / 0.75, rel=1e-14)
    assert gradient_variance(POINTS, 0.1, 5, unbiased=True) == pytest.approx(16.0, rel=1e-14)
    assert relative_variance(POINTS, 0.1, 0.1, 5) == pytest.approx(0.16 / 15, rel=1e-14)


def test_the_estimator_finds_the_variance_of_quadratics() -> None:
    """One full step on (x - c)' A (x - c) / 2 is the gradient A (x - c): variance tr(A Cov A)."""
    rng = np.random.default_rng(0)
    curvature = np.diag([1.0, 2.0, 0.5])
    gradients = -rng.normal(size=(4000, 3)) @ curvature
    updates = [{"w": torch.from_numpy(-0.3 * gradient)} for gradient in gradients]
    exact = np.square(np.diag(curvature)).sum()
    assert gradient_variance(updates, 0.3, 1) == pytest.approx(exact, rel=0.1)  # 4 standard errors


def test_requests_follow_the_estimates() -> None:
    """Task B's clients disagree, task A's do not: A keeps its floor and B gets the rest."""
    algorithm = FedAST(concurrency=12, ratio=2.0, allocation="dynamic", window=3, period=20)
    disagreement = {"A": 0.01, "B": 1.0}

    def work(job: Job) -> float:
        return disagreement[job.task] * (-1.0) ** job.client

    timing = Timing(ShiftedExponential(0.3, 1.0), np.ones(6))
    events = process(algorithm, federation("AB", 6), timing, work)
    *_, last = itertools.islice(events, 60)
    assert last.state.requests == {"A": 2, "B": 10}
    assert Counter(flight.job.task for flight in last.flights) == {"A": 2, "B": 10}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("law", "requests", "ratio"),
    [(Constant(), 20, 4.0), (Uniform(0.5, 1.5), 20, 4.0), (ShiftedExponential(0.3, 1.0), 96, 32.0)],
)
def test_mean_staleness(law: DelayModel, requests: int, ratio: float) -> None:
    """(R - 1) / b within 0.5 %, over 20,000 updates after 2,000."""
    algorithm = FedAST(concurrency=requests, ratio=ratio)
    slowness = np.repeat([1.3, 1.0, 0.7], [12, 25, 13])
    events = process(algorithm, federation("A", 50), Timing(law, slowness), lambda job: 0.0)
    ages = [event.staleness for event in itertools.islice(events, 2_000, 22_000)]
    buffer = algorithm.capacity(requests)
    assert np.mean(ages) == pytest.approx((requests - 1) / buffer, rel=0.005)
    assert np.mean(ages) != pytest.approx(requests / buffer, rel=0.005)


def keeps_its_requests(events: Iterator[Seen], total: int) -> bool:
    """Whether as many requests are wanted and under way as there should be, and time goes on."""
    now = 0.0
    for event in events:
        if sum(event.state.requests.values()) != total or len(event.flights) != total:
            return False
        if event.time < now or any(flight.finish < event.time for flight in event.flights):
            return False
        now = event.time
    return True


@given(
    requests=st.lists(st.integers(1, 6), min_size=3, max_size=3),
    ratio=st.sampled_from([0.5, 1.0, 3.0]),
    allocation=st.sampled_from(["static", "dynamic"]),
    finishing=st.dictionaries(st.integers(0, 25), st.sampled_from("AB"), max_size=2),
    law=st.sampled_from([Constant(), ShiftedExponential(0.3, 1.0)]),
)
@settings(max_examples=40, deadline=None)
def test_requests_are_conserved(
    requests: list[int],
    ratio: float,
    allocation: Any,
    finishing: dict[int, str],
    law: DelayModel,
) -> None:
    algorithm = FedAST(
        concurrency=tuple(requests), ratio=ratio, allocation=allocation, window=2, period=5
    )
    timing = Timing(law, np.array([0.7, 1.0, 1.3]))
    events = process(
        algorithm,
        federation("ABC", 3),
        timing,
        lambda job: job.client - 0.5 * job.version,
        finishing=finishing,
    )
    assert keeps_its_requests(itertools.islice(events, 40), sum(requests))


def test_forgetting_to_refill_would_be_found() -> None:
    """The broken twin of the check above: every third request is skipped."""

    def skipping(
        state: FedASTState, clients: Federation, tasks: Sequence[str]
    ) -> list[tuple[int, str]]:
        drawn = draw_clients(state, clients, tasks)
        return drawn[1:] if state.dispatches % 3 == 2 else drawn

    timing = Timing(Constant(), np.array([0.7, 1.0, 1.3]))
    algorithm = FedAST(concurrency=6, ratio=2.0)
    events = process(algorithm, federation("AB", 3), timing, lambda job: 1.0, pick=skipping)
    assert not keeps_its_requests(itertools.islice(events, 40), 6)


def test_the_first_aggregation_is_a_round_of_federated_averaging() -> None:
    """With R = b, equal delays and distinct clients; later ones carry older models."""
    algorithm = FedAST(concurrency=4, ratio=1.0, server_learning_rate=1.0)
    timing, deltas = Timing(Constant(), np.ones(4)), (1.0, 2.0, 4.0, 9.0)

    def distinct(
        state: FedASTState, clients: Federation, tasks: Sequence[str]
    ) -> list[tuple[int, str]]:
        return [(state.dispatches + place - 1, task) for place, task in enumerate(tasks, 1)]

    def work(job: Job) -> float:
        return deltas[job.client % 4]

    def wrapped(
        state: FedASTState, clients: Federation, tasks: Sequence[str]
    ) -> list[tuple[int, str]]:
        return [(client % 4, task) for client, task in distinct(state, clients, tasks)]

    events = list(
        itertools.islice(process(algorithm, federation("A", 4), timing, work, pick=wrapped), 4)
    )
    assert [event.staleness for event in events] == [0] * 4
    assert events[-1].state.models["A"]["w"].item() == np.mean(deltas)


def test_requests_of_finished_tasks_go_to_the_others() -> None:
    assert handed_over({"a": 10, "b": 30, "c": 20}, ["a", "b"]) == {"a": 15, "b": 45, "c": 0}
    same = {"a": 1, "b": 2}
    assert handed_over(same, ["a", "b"]) is same


def configuration(
    algorithm: str, run_: Mapping[str, Any] = {}, tasks: Sequence[Any] = (WINE, IRIS), **own: Any
) -> Config:
    return check_config(
        {
            "run": {"algorithm": algorithm, "num_server_rounds": 40, **run_},
            "task": list(tasks),
            "clients": {"num_clients": 6, "delay": DELAY, "batch_size": 8},
            "algorithm": own,
        }
    )


@pytest.mark.parametrize("algorithm", ["fed-ast", "sync-st", "fed-buff"])
def test_a_run_stops_at_its_targets_and_finished_tasks_stand_still(algorithm: str) -> None:
    history = run(configuration(algorithm, {"stop_at_targets": True, "num_server_rounds": 300}))
    rows, stop = history.rounds(algorithm, 0), history.rows[-1]
    assert stop["event"] == "stop"
    assert (stop["reached"], stop["unreached"]) == (["wine", "iris"], [])
    assert len(rows) < 300
    for task in ("wine", "iris"):
        accuracies = [row[f"{task}/eval_acc"] for row in rows]
        first = next(n for n, accuracy in enumerate(accuracies) if accuracy >= 0.6)
        assert len(set(accuracies[first:])) == 1
        assert not any(row[f"{task}/num-clients"] for row in rows[first + 1 :])


def test_a_target_that_is_never_reached_is_named_at_the_limit() -> None:
    tasks = (WINE, {**IRIS, "target_accuracy": 1.0, "learning_rate": 1e-6})
    history = run(configuration("fed-ast", {"stop_at_targets": True}, tasks))
    assert len(history.rounds("fed-ast", 0)) == 40
    assert history.rows[-1]["unreached"] == ["iris"]


def test_checkpoints_are_taken_with_updates_in_buffers() -> None:
    """What `test_registry` resumes from: the other task's buffer is not empty between rounds."""
    parts = assemble(configuration("fed-ast", ratio=1.0, allocation="dynamic"), 0)
    moment = Moment(parts.algorithm.init(parts.federation, 0))
    judge, kept = Judge(parts.federation.tasks), 0
    for _ in range(3):
        moment, _, _ = one_round(parts, moment, judge)
        state = FedASTState.from_tree(moment.state.tree())
        kept += sum(len(buffer) for buffer in state.buffers.values())
        assert state.requests == {"wine": 3, "iris": 3}
    assert kept > 0


def test_a_bound_of_staleness_drops_older_answers() -> None:
    free, bound = (
        run(configuration("fed-ast-no-buffer", **own)).rounds("fed-ast-no-buffer", 0)
        for own in ({}, {"max_staleness": 1})
    )
    assert max(row["staleness_max"] for row in free) > 1
    assert max(row["staleness_max"] for row in bound) <= 1
    assert sum(row["num-stale"] for row in bound) > 0


@pytest.mark.parametrize(
    ("own", "reason"),
    [
        ({"ratio": 0.0}, "algorithm.ratio = 0.0"),
        ({"ratio": 37.5}, "in (0, 37]"),
        ({"concurrency": 1}, "algorithm.concurrency = 1"),
        ({"concurrency": 0}, "algorithm.concurrency = 0"),
        ({"concurrency": 10**9}, "(one per task) .. 6000"),
        ({"concurrency": [3]}, "one per task"),
        ({"concurrency": [3, 0]}, "one per task"),
        ({"concurrency": "many"}, "algorithm.concurrency"),
        ({"window": 1}, "algorithm.window"),
        ({"period": 0}, "algorithm.period"),
        ({"server_learning_rate": 0.0}, "algorithm.server-learning-rate"),
        ({"objective": "equal"}, "algorithm.objective"),
        ({"max_staleness": -1}, "algorithm.max-staleness"),
    ],
)
def test_settings_that_do_not_fit(own: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_all_arms(configuration("fed-ast", **own))
    assert reason in str(caught.value)


def test_stopping_at_targets_needs_targets() -> None:
    tasks = ({"name": "wine", "data": "wine", "model": "linear"},)
    with pytest.raises(InvalidInput, match="target-accuracy"):
        check_all_arms(configuration("fed-ast", {"stop_at_targets": True}, tasks))


def test_stopping_at_targets_needs_a_model_per_task() -> None:
    tasks = tuple(
        {"name": name, "data": name, "model": "mlp", "hidden": [4], "target_accuracy": 0.5}
        for name in ("digits-joint", "digits-joint-parity")
    )
    with pytest.raises(InvalidInput, match="share a trunk"):
        check_all_arms(configuration("fair-grad", {"stop_at_targets": True}, tasks))


def test_the_ratio_has_its_bound() -> None:
    assert fed_ast.LARGEST_RATIO == 37.0
    assert FedAST(ratio=37.0).capacity(111) == 3
