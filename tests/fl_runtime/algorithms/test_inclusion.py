"""By what chance an answer counts: counted in the runtime's own loop, where nothing is trained."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from rich.progress import track

from fairopt import InvalidInput
from fl_runtime.algorithms import ALGORITHMS, ByArrival, Ditto
from fl_runtime.algorithms.aggregation import IMPORTANCE
from fl_runtime.algorithms.base import ServerState
from fl_runtime.algorithms.inclusion import counted_chance
from fl_runtime.configuration.schema import RecruitmentSection, SpeedsTable
from fl_runtime.configuration.toml_files import check_config
from fl_runtime.conformance.stage import Noted
from fl_runtime.running.build import Parts, assemble
from fl_runtime.running.loop import one_round
from fl_runtime.running.preflight import check_all_arms
from fl_runtime.running.run_state import RunState
from fl_runtime.training.federation import Federation
from fl_runtime.training.job import Job
from fl_runtime.training.task import Params
from tests.fl_runtime.driven import Instant, Told
from tests.fl_runtime.representatives import REPRESENTATIVES
from tests.fl_runtime.small import config

LIMIT = 5.0
"""Standard errors that a frequency may be off."""


def unchanged(job: Job) -> Params:
    """No training."""
    return {key: 0.0 * value for key, value in job.payload.items()}


def untrained(parts: Parts) -> tuple[Parts, Noted, RunState, Told]:
    """The parts without training, and their beginning."""
    watched = Noted(parts.algorithm)
    names = tuple(task.name for task in parts.federation.tasks)
    state = parts.algorithm.init(parts.federation, 0)
    parts = replace(parts, algorithm=cast(Any, watched), executor=Instant(unchanged))
    accuracy = {name: 1.0 - 0.5 / (1 + k) for k, name in enumerate(names)}
    return parts, watched, RunState(state), Told(names, lambda state, task: accuracy[task])


@dataclass(frozen=True)
class Counted:
    """Answers that counted and that were expected, and weights, over many rounds.

    `sums` and `askable` are (rounds, tasks): the sums of the importance weights, and whether
    anybody could be asked.
    """

    answers: NDArray[np.float64]
    expected: NDArray[np.float64]
    variance: NDArray[np.float64]
    sums: NDArray[np.float64]
    askable: NDArray[np.bool_]

    @property
    def worst(self) -> float:
        """Largest difference over clients and tasks, in standard errors."""
        return float((np.abs(self.answers - self.expected) / np.sqrt(self.variance + 1.0)).max())


def counted(parts: Parts, rounds: int) -> Counted:
    """Run so many rounds and count."""
    parts, watched, current, evaluator = untrained(parts)
    names = [task.name for task in parts.federation.tasks]
    answers = np.zeros(parts.federation.eligible.shape)
    sums = np.zeros((rounds, len(names)))
    for index in range(rounds):
        current, stats, _ = one_round(parts, current, evaluator)
        for update in stats.updates:
            task = names.index(update.task)
            answers[update.client, task] += 1.0
            sums[index, task] += update.metrics.get(IMPORTANCE, 0.0)
    expected = np.array(watched.expected)
    variance = (expected * (1.0 - expected)).sum(axis=0)
    return Counted(answers, expected.sum(axis=0), variance, sums, expected.any(axis=1))


DELAYS: Mapping[str, dict[str, Any]] = {
    "constant": {"model": "constant"},
    "exponential": {"model": "exponential"},
    "pareto": {"model": "pareto"},
}
AWAY = {"model": "on-off", "on": 2.0, "off": 1.0}
WAYS: Mapping[str, dict[str, Any]] = {
    "all answers": {},
    "the first of more": {"over_selection": 1.5},
    "losses": {"dropout": 0.2, "failures": 0.1},
    "the first of more, with losses": {"over_selection": 1.7, "dropout": 0.3},
    "clients away": {"availability": AWAY},
    "clients away, the first of more": {"availability": AWAY, "over_selection": 1.6},
}
SETS: tuple[dict[str, Any], ...] = ({}, {"first": 2}, {"first": 1}, {"split": [5.0, 2.0]})
RULES = ("everyone", "max-min-fair")
ROUNDS = 400


def parts_of(
    algorithm: str, clients: dict[str, Any], own: dict[str, Any], rule: str = "everyone"
) -> Parts:
    """Ten clients that hold unlike numbers of examples, four of them active."""
    whole = config(
        run={"algorithm": algorithm, "seeds": [0]},
        clients={"num_clients": 10, "fraction_train": 0.4, **clients},
    )
    section = RecruitmentSection(rule=rule, budget=None if rule == "everyone" else 4.0)
    changes = {"algorithm": own, "arm": (), "recruitment": section}
    return assemble(whole.model_copy(update=changes), 0)


def cases() -> list[tuple[str, dict[str, Any], dict[str, Any], str]]:
    """Combinations for which the chance is known: algorithm, clients, settings, rule."""
    importance = {"aggregation": "importance"}
    found: list[tuple[str, dict[str, Any], dict[str, Any], str]] = []
    for delay, way, rule in itertools.product(DELAYS.values(), WAYS.values(), RULES):
        clients = {"delay": delay, **way}
        one = {"tasks_per_client": "one"} if "over_selection" in way else {}
        found += [(name, clients, importance, rule) for name in ("fed-fair-mmfl", "random")]
        found += [("fed-avg", clients, {**importance, **one}, rule)]
        if "over_selection" not in way:
            found += [("sync-st", clients, {**importance, **own}, rule) for own in SETS]
    return found


SOME = tuple(np.random.default_rng(1).permutation(len(cases()))[:12].tolist())


@pytest.mark.slow
@pytest.mark.parametrize("index", SOME)
def test_importance_weights_sum_to_one_on_average(index: int) -> None:
    """In a round in which nobody can be asked for a task the sum is zero."""
    parts = parts_of(*cases()[index])
    seen = counted(parts, ROUNDS)
    assert seen.worst < LIMIT
    wanted = seen.askable.mean(axis=0)
    error = (seen.sums - seen.askable).std(axis=0) / ROUNDS**0.5
    assert (np.abs(seen.sums.mean(axis=0) - wanted) <= LIMIT * error + 1e-9).all()


OWN: Mapping[str, dict[str, Any]] = {
    "fed-ram": {"reference_rounds": 50, "proxy_rounds": 50},
    "fed-hca2": {"shared_layers": ["1"]},
}


IMPORTANT = ("fed-fair-mmfl", "random", "fed-avg", "fed-prox", "sync-st")
"""Algorithms that take importance weights; there are others that share their code."""


def drawn_case(seed: int, name: str) -> Parts:
    """A random configuration of an algorithm: two tasks of one shape, ten clients."""
    rng = np.random.default_rng(seed)
    way = dict(WAYS[str(rng.choice(list(WAYS)))])
    own = dict(OWN.get(name, {}))
    in_rounds = not issubclass(ALGORITHMS[name], ByArrival)
    if name == "sync-st" or not in_rounds:
        way.pop("over_selection", None)
    if name == "sync-st":
        own |= SETS[int(rng.integers(len(SETS)))]
    if name in IMPORTANT and rng.random() < 0.7:
        own["aggregation"] = "importance"
    if name in ("fed-avg", "fed-prox") and "over_selection" in way:
        own["tasks_per_client"] = "one"
    delay = DELAYS[str(rng.choice(list(DELAYS)))] if in_rounds else DELAYS["exponential"]
    recruited = {"rule": "max-min-fair", "budget": 4.0} if rng.random() < 0.5 else {}
    clients = {"num_clients": 10, "fraction_train": float(rng.choice([0.2, 0.4, 0.7, 1.0]))}
    return assemble(
        check_config(
            {
                "run": {"algorithm": name, "num_server_rounds": 1},
                "task": [
                    {"name": data, "data": data, "model": "mlp", "hidden": [2, 2]}
                    for data in ("digits-joint", "digits-joint-parity")
                ],
                "clients": {**clients, "delay": delay, **way},
                "algorithm": own,
                "recruitment": recruited,
            }
        ),
        int(rng.integers(5)),
    )


def agrees(parts: Parts, rounds: int) -> bool | None:
    """Whether jobs, answers and weights come as often as expected; None if that is not known."""
    if (
        parts.algorithm.inclusion(parts.algorithm.init(parts.federation, 0), parts.federation)
        is None
    ):
        return None
    names = [task.name for task in parts.federation.tasks]
    parts, watched, current, evaluator = untrained(parts)
    per_job = 2.0 if isinstance(watched.algorithm, Ditto) else 1.0
    seen, sums = np.zeros(parts.federation.eligible.shape), np.zeros((rounds, len(names)))
    for index in range(rounds):
        current, stats, _ = one_round(parts, current, evaluator)
        for update in stats.updates:
            task = names.index(update.task.partition(".")[0])  # companions stand for their tasks
            seen[update.client, task] += 1.0 / per_job
            sums[index, task] += update.metrics.get(IMPORTANCE, 0.0)
    if any(each is None for each in watched.expected):
        return None
    expected = np.array(watched.expected)
    total = expected.sum(axis=0)
    if isinstance(watched.algorithm, ByArrival):  # some are still in flight
        seen[:] = 0.0
        for *_, jobs in watched.dispatches:
            for job in jobs:
                seen[job.client, names.index(job.task)] += parts.federation.answer_chance
    fine = (np.abs(seen - total) / np.sqrt(total + 1.0)).max() < LIMIT
    if sums.any():
        askable = expected.any(axis=1)
        error = (sums - askable).std(axis=0) / rounds**0.5
        fine &= bool((np.abs((sums - askable).mean(axis=0)) <= LIMIT * error + 1.0 / rounds).all())
    return bool(fine and seen.sum() > 0.0)


@pytest.mark.parametrize("name", REPRESENTATIVES)
def test_every_algorithm_says_what_it_expects_of_a_dispatch(name: str) -> None:
    """Jobs of two random configurations each; `many` draws as many as one likes."""
    assert all(agrees(drawn_case(seed, name), 60) is not False for seed in range(2))


def many(count: int) -> dict[str, tuple[int, int, int]]:
    """Per algorithm: random configurations that agree, do not, and have no known chance."""
    found = {name: [0, 0, 0] for name in ALGORITHMS}
    for seed in track(range(count)):
        name = list(ALGORITHMS)[seed % len(ALGORITHMS)]
        verdict = agrees(drawn_case(seed, name), 60)
        found[name][2 if verdict is None else 0 if verdict else 1] += 1
    return {name: (a, b, c) for name, (a, b, c) in found.items()}


def test_a_wrong_chance_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The former rule, the share of active clients, where fewer are there than are wanted."""
    clients = {"availability": AWAY, "fraction_train": 1.0}
    parts = parts_of("random", clients, {"aggregation": "importance"})
    share = parts.federation.num_active / parts.federation.num_clients

    def former(self: Any, state: ServerState, federation: Federation) -> NDArray[np.float64]:
        return np.asarray(self.probabilities(state, federation) * share)

    monkeypatch.setattr(type(parts.algorithm), "inclusion", former)
    seen = counted(parts, ROUNDS)
    assert seen.worst > LIMIT


@given(
    st.integers(1, 4),
    st.integers(1, 5),
    st.integers(0, 3),
    st.integers(0, 3),
    st.sampled_from([Fraction(1), Fraction(1, 2), Fraction(9, 10)]),
)
def test_the_chance_to_be_among_the_first_against_enumeration(
    first: int, asked: int, able: int, unable: int, answers: Fraction
) -> None:
    """Every set of clients that is asked, every set of answers; ranks are all equally likely."""
    population, able = 1 + able + unable, 1 + able
    asked = min(asked, population)
    others = range(1, population)
    total, sets = Fraction(0), 0
    for chosen in itertools.combinations(others, asked - 1):
        sets += 1
        could = [client for client in chosen if client < able]
        for some in itertools.product([False, True], repeat=len(could)):
            chance = math.prod((answers if yes else 1 - answers for yes in some), start=Fraction(1))
            total += chance * min(Fraction(1), Fraction(first, 1 + sum(some)))
    found = counted_chance(first, asked, able, population, float(answers))
    assert found == pytest.approx(float(total / sets), rel=1e-12)


@pytest.mark.parametrize(
    ("algorithm", "clients", "own", "why"),
    [
        ("fed-avg", {"over_selection": 1.5}, {}, "several jobs"),
        (
            "random",
            {"over_selection": 1.5, "speeds": SpeedsTable(shares=(0.5, 0.5), factors=(1.0, 2.0))},
            {},
            "fast clients",
        ),
        ("random", {"over_selection": 1.5, "task_delays": (1.0, 2.0)}, {}, "quick tasks"),
        (
            "sync-st",
            {"speeds": SpeedsTable(shares=(0.5, 0.5), factors=(1.0, 2.0))},
            {"first": 2},
            "fast clients",
        ),
    ],
)
def test_an_unknown_chance_is_refused_before_anything_is_written(
    algorithm: str, clients: dict[str, Any], own: dict[str, Any], why: str
) -> None:
    whole = config(run={"algorithm": algorithm}, algorithm={})
    changes = {
        "algorithm": {"aggregation": "importance", **own},
        "clients": whole.clients.model_copy(update=clients),
        "arm": (),
    }
    with pytest.raises(InvalidInput) as caught:
        check_all_arms(whole.model_copy(update=changes))
    assert str(caught.value).startswith("algorithm.aggregation = 'importance'")
    assert why in str(caught.value)
    fine = {**changes, "algorithm": {**own}}
    check_all_arms(whole.model_copy(update=fine))
