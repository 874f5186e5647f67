"""FedAST: the process by hand, buffers, conservation of requests, and its limit."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_runtime.algorithms import fed_ast
from fl_runtime.algorithms.fed_ast import FedAST, FedASTNoBuffer
from fl_runtime.algorithms.fed_ast_requests import FedASTState, draw_clients, handed_over
from fl_runtime.simulation.clock import Timing
from fl_runtime.simulation.delays import Constant, DelayModel, ShiftedExponential
from fl_runtime.training.federation import Federation
from fl_runtime.training.job import Job
from fl_runtime.training.task import Params
from tests.fl_runtime.arrivals import Seen, arrivals, federation, vector


def test_the_trace_by_hand() -> None:
    """Two tasks, three clients, scripted picks; each row is one arrival and the next request.

    Two answers are due at time 2 and two at 4.5; the draws of this seed let client 2 go first, then
    task B.
    """
    script = iter([1, 2, 3, 3, 1, 3, 2, 1, 3, 1])
    optima = {"A": (0.0, 4.0, 8.0), "B": (2.0, -2.0, 6.0)}

    def scripted(
        state: FedASTState, clients: Federation, tasks: Sequence[str]
    ) -> list[tuple[int, str]]:
        return [(next(script) - 1, task) for task in tasks]

    def train(job: Job) -> Params:
        return vector((optima[job.task][job.client] - job.payload["w"].item()) / 2.0)

    algorithm = FedAST(concurrency=(2, 1), ratio=1.0, server_learning_rate=1.0)
    timing = Timing(Constant(), np.array([1.0, 2.0, 0.5]), {"A": 1.0, "B": 3.0})
    events = arrivals(algorithm, federation("AB", 3), timing, train, pick=scripted, seed=16)
    found = []
    for event in itertools.islice(events, 7):
        new = max(event.pending, key=lambda entry: entry.number)
        model = event.state.models[event.job.task]["w"].item()
        came = (event.time, event.job.task, event.job.client + 1, event.job.version)
        after = (event.state.version(event.job.task), model)
        sent = (new.job.task, new.job.version, new.job.client + 1, new.begin, new.finish)
        found.append((*came, event.delta["w"].item(), event.staleness, *after, sent))
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


def test_requests_follow_the_estimates() -> None:
    """Task B's clients disagree, task A's do not: A keeps its floor and B gets the rest."""
    algorithm = FedAST(concurrency=12, ratio=2.0, allocation="dynamic", window=3, period=20)
    disagreement = {"A": 0.01, "B": 1.0}

    def train(job: Job) -> Params:
        return vector(disagreement[job.task] * (-1.0) ** job.client)

    timing = Timing(ShiftedExponential(0.3, 1.0), np.ones(6))
    events = arrivals(algorithm, federation("AB", 6), timing, train)
    *_, last = itertools.islice(events, 60)
    assert last.state.requests == {"A": 2, "B": 10}
    assert Counter(entry.job.task for entry in last.pending) == {"A": 2, "B": 10}


def keeps_its_requests(events: Iterator[Seen], total: int) -> bool:
    """Whether as many requests are wanted and under way as there should be, and time goes on."""
    now = 0.0
    for event in events:
        if sum(event.state.requests.values()) != total or len(event.pending) != total:
            return False
        if event.time < now or any(entry.finish < event.time for entry in event.pending):
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
@settings(max_examples=40)
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
    events = arrivals(
        algorithm,
        federation("ABC", 3),
        timing,
        lambda job: vector(job.client - 0.5 * job.version),
        finishing=finishing,
    )
    assert keeps_its_requests(itertools.islice(events, 40), sum(requests))


def test_forgetting_to_refill_would_be_found() -> None:
    """The negative control of the check above: every third request is skipped."""

    def skipping(
        state: FedASTState, clients: Federation, tasks: Sequence[str]
    ) -> list[tuple[int, str]]:
        drawn = draw_clients(state, clients, tasks)
        return drawn[1:] if state.dispatches % 3 == 2 else drawn

    timing = Timing(Constant(), np.array([0.7, 1.0, 1.3]))
    algorithm = FedAST(concurrency=6, ratio=2.0)
    events = arrivals(
        algorithm, federation("AB", 3), timing, lambda job: vector(1.0), pick=skipping
    )
    assert not keeps_its_requests(itertools.islice(events, 40), 6)


def test_the_first_aggregation_is_a_round_of_federated_averaging() -> None:
    """With R = b, equal delays and distinct clients; later ones carry older models."""
    algorithm = FedAST(concurrency=4, ratio=1.0, server_learning_rate=1.0)
    timing, deltas = Timing(Constant(), np.ones(4)), (1.0, 2.0, 4.0, 9.0)

    def distinct(
        state: FedASTState, clients: Federation, tasks: Sequence[str]
    ) -> list[tuple[int, str]]:
        return [(state.dispatches + place - 1, task) for place, task in enumerate(tasks, 1)]

    def train(job: Job) -> Params:
        return vector(deltas[job.client % 4])

    def wrapped(
        state: FedASTState, clients: Federation, tasks: Sequence[str]
    ) -> list[tuple[int, str]]:
        return [(client % 4, task) for client, task in distinct(state, clients, tasks)]

    events = list(
        itertools.islice(arrivals(algorithm, federation("A", 4), timing, train, pick=wrapped), 4)
    )
    assert [event.staleness for event in events] == [0] * 4
    assert events[-1].state.models["A"]["w"].item() == np.mean(deltas)


def test_requests_of_finished_tasks_go_to_the_others() -> None:
    assert handed_over({"a": 10, "b": 30, "c": 20}, ["a", "b"]) == {"a": 15, "b": 45, "c": 0}
    tie = handed_over({"a": 3, "b": 5, "c": 4}, ["a", "b"])  # of 4.5 and 7.5, no float in between
    assert tie == {"a": 5, "b": 7, "c": 0}
    same = {"a": 1, "b": 2}
    assert handed_over(same, ["a", "b"]) is same


ROUNDED_SUM = 1e-12
"""Sums of at most 60 terms of size at most 100, in another order."""

ENOUGH = 60


def moved(
    kind: type[FedAST], finishing: dict[int, str], law: DelayModel, **own: Any
) -> dict[str, list[float]]:
    """Where each open task's model has been, with what waits in its buffer added.

    Updates depend on the client alone, and requests on the seed and on what is open, so every kind
    gets the same answers in the same order.
    """
    algorithm = kind(**own)
    places: dict[str, list[float]] = {"A": [], "B": [], "C": []}
    timing = Timing(law, np.array([0.7, 1.0, 1.3]))
    events = arrivals(
        algorithm,
        federation("ABC", 3),
        timing,
        lambda job: vector(2.0**job.client + 1.0),
        finishing=finishing,
    )
    for index, event in enumerate(itertools.islice(events, ENOUGH), 1):
        task, state = event.job.task, event.state
        if finishing.get(index) == task:
            continue  # the dispatch after this answer has emptied its buffer
        per = algorithm.server_learning_rate / (
            algorithm.places(state.active[task]) if algorithm.server_step == "mean" else 1
        )
        waiting = sum(each.weight * each.delta["w"].item() for each in state.buffers[task])
        places[task].append(state.models[task]["w"].item() + per * waiting)
    return places


@given(
    requests=st.lists(st.integers(1, 7), min_size=3, max_size=3),
    ratio=st.sampled_from([0.5, 1.0, 2.0, 3.0]),
    rate=st.sampled_from([0.1, 1.0, 3.0]),
    allocation=st.sampled_from(["static", "dynamic"]),
    finishing=st.dictionaries(st.integers(0, 40), st.sampled_from("AB"), max_size=2),
    law=st.sampled_from([Constant(), ShiftedExponential(0.3, 1.0)]),
)
@settings(max_examples=40)
def test_an_answer_moves_the_model_as_far_with_a_buffer_as_without(
    requests: list[int],
    ratio: float,
    rate: float,
    allocation: Any,
    finishing: dict[int, str],
    law: DelayModel,
) -> None:
    """Whatever finishes, and wherever its requests go: the arms differ in the buffer alone."""
    own: dict[str, Any] = {"concurrency": tuple(requests), "ratio": ratio, "window": 2, "period": 5}
    own |= {"allocation": allocation, "server_learning_rate": rate, "server_step": "per-request"}
    buffered, single = (moved(kind, finishing, law, **own) for kind in (FedAST, FedASTNoBuffer))
    assert buffered.keys() == single.keys()
    for task, path in buffered.items():
        np.testing.assert_allclose(path, single[task], rtol=ROUNDED_SUM)


def test_a_common_step_of_the_server_is_no_common_step_of_an_answer() -> None:
    """As published: equal at first, with 2 places each, and apart once A's requests are B's."""
    own: dict[str, Any] = {"concurrency": (4, 4, 4), "ratio": 2.0, "server_step": "mean"}
    law, end = ShiftedExponential(0.3, 1.0), {20: "A"}
    buffered = moved(FedAST, end, law, server_learning_rate=1.0, **own)["B"]
    single = moved(FedASTNoBuffer, end, law, server_learning_rate=0.5, **own)["B"]
    assert buffered[0] == single[0]
    assert buffered[-1] < 0.8 * single[-1]


@given(st.integers(1, 6), st.sampled_from([1.0, 2.0, 3.0]))
def test_with_requests_that_stay_the_step_per_request_is_the_published_one(
    requests: int, ratio: float
) -> None:
    own: dict[str, Any] = {"concurrency": (requests,) * 3, "ratio": ratio}
    law = ShiftedExponential(0.3, 1.0)
    mean, each = (
        moved(FedAST, {}, law, server_step=step, **own) for step in ("mean", "per-request")
    )
    for task, path in mean.items():
        np.testing.assert_allclose(path, each[task], rtol=ROUNDED_SUM)


def test_the_ratio_has_its_bound() -> None:
    assert fed_ast.LARGEST_RATIO == 37.0
    assert FedAST(ratio=37.0).capacity(111) == 3
