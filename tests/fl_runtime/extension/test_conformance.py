"""The laws of parts: all built-in ones keep them, and planted faults are caught by name."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch

from fairopt.errors import InvalidInput
from fl_runtime import (
    FedAvg,
    check_algorithm,
    check_availability,
    check_cost_law,
    check_delay,
    check_partition,
)
from fl_runtime.algorithms import RandomAllocation
from fl_runtime.algorithms.base import ServerState
from fl_runtime.algorithms.exchange import Exchange
from fl_runtime.data.partitions import IID, Dirichlet, MissingClasses
from fl_runtime.simulation import delays
from fl_runtime.simulation.availability import Always, OnOff
from fl_runtime.training.job import Update
from mechanisms.studies import cost_distributions
from tests.fl_runtime.extension import own_algorithms, own_parts
from tests.fl_runtime.representatives import REPRESENTATIVES

OWN: Mapping[str, dict[str, Any]] = {
    "fed-ram": {"reference_rounds": 1, "proxy_rounds": 2},
    "fed-hca2": {"shared_layers": ("1",)},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", REPRESENTATIVES)
def test_every_built_in_algorithm_keeps_all_laws(name: str) -> None:
    assert check_algorithm(name, OWN.get(name)) == []


@pytest.mark.parametrize("kind", [own_algorithms.FedNova, own_algorithms.FedAdam, own_parts.Mine])
def test_a_users_own_algorithms_keep_all_laws(kind: type) -> None:
    assert check_algorithm(kind) == []
    assert check_algorithm(f"{kind.__module__}:{kind.__name__}") == []


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("fed-fair-mmfl", {"aggregation": "importance"}),
        ("fed-avg", {"tasks_per_client": "one", "aggregation": "plain"}),
        ("fair-grad", {"where": "client"}),
        ("uw", {"where": "client", "loss_alpha": 0.5}),
        ("ditto", {"share_trunk": True}),
        ("fed-buff", {"buffer_size": 2, "max_staleness": 1}),
        ("sync-st", {"first": 1}),
    ],
)
def test_variants_keep_all_laws(name: str, settings: dict[str, Any]) -> None:
    assert check_algorithm(name, settings) == []


def moved(state: ServerState, factor: float) -> ServerState:
    models = {t: {k: factor * v for k, v in m.items()} for t, m in state.models.items()}
    return replace(state, models=models)


@dataclass(frozen=True, kw_only=True)
class ChangesUpdates(FedAvg):
    def aggregate(self, state: Any, updates: Sequence[Update]) -> Any:
        for update in updates:
            for value in update.delta.values():
                value.mul_(0.5)
        return super().aggregate(state, updates)


@dataclass(frozen=True, kw_only=True)
class ChangesItsState(FedAvg):
    def dispatch(self, state: Any, federation: Any, now: float) -> Any:
        next(iter(state.models["first"].values())).add_(0.01)
        return super().dispatch(state, federation, now)


@dataclass(frozen=True, kw_only=True)
class RemembersOutside(FedAvg):
    calls: list[int] = field(default_factory=list)

    def aggregate(self, state: Any, updates: Sequence[Update]) -> Any:
        self.calls.append(1)
        after = super().aggregate(state, updates)
        return moved(after, 1.0 + 0.01 * len(self.calls)) if updates else after


@dataclass(frozen=True, kw_only=True)
class RollsGlobalDice(FedAvg):
    def dispatch(self, state: Any, federation: Any, now: float) -> Any:
        state, jobs = super().dispatch(state, federation, now)
        random.shuffle(jobs)
        return state, jobs


@dataclass(frozen=True, kw_only=True)
class InvitesEverybody(RandomAllocation):
    def probabilities(self, state: Any, federation: Any) -> Any:
        return np.full(federation.eligible.shape, 1.0 / len(federation.tasks))


@dataclass(frozen=True, kw_only=True)
class AsksTheAbsent(FedAvg):
    def dispatch(self, state: Any, federation: Any, now: float) -> Any:
        return super().dispatch(state, replace(federation, present=None, busy=None), now)


@dataclass(frozen=True, kw_only=True)
class TheFirstCountsMost(FedAvg):
    def coefficients(self, updates: Sequence[Update]) -> list[float]:
        return [0.5**k for k in range(len(updates))]


@dataclass(frozen=True, kw_only=True)
class DecaysWithoutAnswers(FedAvg):
    def aggregate(self, state: Any, updates: Sequence[Update]) -> Any:
        return moved(super().aggregate(state, updates), 0.99)


@dataclass(frozen=True, kw_only=True)
class AsksTheUnknown(FedAvg):
    def job_options(self, *_: Any) -> dict[str, Any]:
        return {"learning_rat": 0.1}


@dataclass(frozen=True, kw_only=True)
class DividesByAnswers(FedAvg):
    def aggregate(self, state: Any, updates: Sequence[Update]) -> Any:
        total = sum(update.num_examples for update in updates)
        return replace(super().aggregate(state, updates), figures={"mean": 1.0 / total})

    def own_figures(self, tasks: Sequence[str]) -> tuple[str, ...]:
        return ("mean",)


@dataclass(kw_only=True)
class Thaws:
    """Not frozen, hence no subclass of a frozen record."""

    inner: FedAvg = FedAvg()  # noqa: RUF009

    def __getattr__(self, name: str) -> Any:
        return getattr(FedAvg(), name)


@dataclass(frozen=True)
class ForgetfulState(ServerState):
    extra: float = field(default=0.0, kw_only=True)

    def tree(self) -> dict[str, Any]:
        return {key: value for key, value in super().tree().items() if key != "extra"}


@dataclass(frozen=True, kw_only=True)
class LosesItsState(FedAvg):
    def init(self, federation: Any, seed: int) -> Any:
        return ForgetfulState.initial(federation, seed)

    def aggregate(self, state: Any, updates: Sequence[Update]) -> Any:
        after = super().aggregate(state, updates)
        return replace(moved(after, 1.0 + state.extra) if updates else after, extra=0.1)


@dataclass(frozen=True, kw_only=True)
class OverstatesInclusion(RandomAllocation):
    def inclusion(self, state: Any, federation: Any) -> Any:
        return np.asarray(super().inclusion(state, federation)) * 1.5


@dataclass(frozen=True, kw_only=True)
class ExchangesTheUnknown(FedAvg):
    def exchange(self, state: Any, task: str) -> Exchange:
        return Exchange((*state.models[task], "no.such.entry"))


@dataclass(frozen=True, kw_only=True)
class SaysItIsSentOnce(FedAvg):
    def exchange(self, state: Any, task: str) -> Exchange:
        return Exchange(tuple(state.models[task]), once_down=tuple(state.models[task]))


@dataclass(frozen=True, kw_only=True)
class HasASecretFigure(FedAvg):
    def aggregate(self, state: Any, updates: Sequence[Update]) -> Any:
        return replace(super().aggregate(state, updates), figures={"secret": 1.0})


@dataclass(frozen=True, kw_only=True)
class SaysItAnswersOnce(FedAvg):
    @property
    def answers_once(self) -> bool:
        return True


@dataclass(frozen=True, kw_only=True)
class RefusesQuietly(FedAvg):
    def accepts(self, state: Any, update: Update) -> bool:
        return update.client != 5


@dataclass(frozen=True, kw_only=True)
class CountsNoRound(FedAvg):
    def aggregate(self, state: Any, updates: Sequence[Update]) -> Any:
        return state


FAULTS: Mapping[type, str] = {
    CountsNoRound: "runs with losses and absences",
    ChangesUpdates: "aggregation is pure",
    ChangesItsState: "dispatch is pure",
    RemembersOutside: "aggregation is pure",
    RollsGlobalDice: "dispatch is pure",
    InvitesEverybody: "only clients that agreed and are there",
    AsksTheAbsent: "only clients that agreed and are there",
    TheFirstCountsMost: "answers in any order, up to rounding",
    DecaysWithoutAnswers: "nothing changes without answers",
    AsksTheUnknown: "jobs that clients understand",
    DividesByAnswers: "nothing changes without answers",
    Thaws: "is a frozen record",
    LosesItsState: "the same after a checkpoint",
    OverstatesInclusion: "inclusion is right in frequency",
    ExchangesTheUnknown: "exchange names what travels",
    SaysItIsSentOnce: "exchange names what travels",
    HasASecretFigure: "own figures are announced",
    SaysItAnswersOnce: "answers once where it says so",
    RefusesQuietly: "refuses only where it says so",
}


@pytest.mark.parametrize("kind", FAULTS, ids=lambda kind: kind.__name__)
def test_a_planted_fault_is_caught_by_its_law(kind: type) -> None:
    found = check_algorithm(kind)
    assert FAULTS[kind] in [each.law for each in found]
    assert all(each.witness and "\n" not in each.witness for each in found)


def test_unknown_algorithms_and_settings_are_refused() -> None:
    with pytest.raises(InvalidInput, match="did you mean fed-avg"):
        check_algorithm("fed-avgg")
    with pytest.raises(InvalidInput, match="did you mean mu"):
        check_algorithm("fed-prox", {"muu": 1.0})


def test_built_in_parts_keep_their_laws() -> None:
    for partition in (IID(), Dirichlet(0.1), Dirichlet(10.0), MissingClasses(0.5)):
        assert check_partition(partition) == []
    for delay in (
        delays.Constant(2.0),
        delays.ShiftedExponential(0.5, 1.0),
        delays.Exponential(3.0),
        delays.Uniform(0.5, 1.5),
        delays.Lognormal(1.0, 2.0),
        delays.Pareto(1.0, 1.2),
    ):
        assert check_delay(delay) == []
    for availability in (Always(), OnOff(2.0, 1.0), own_parts.EvenHours()):
        assert check_availability(availability) == []
    for law in cost_distributions.DISTRIBUTIONS.values():
        assert check_cost_law(law()) == []
    assert check_partition(own_parts.InOrder()) == []
    assert check_delay(own_parts.Weekly()) == []
    assert check_cost_law(own_parts.AllOne()) == []


def test_parts_may_be_named_as_in_a_configuration() -> None:
    assert check_partition({"name": "dirichlet", "concentration": 0.5}) == []
    assert check_partition(f"{own_parts.__name__}:InOrder") == []
    assert check_delay({"name": "uniform", "low": 0.5, "high": 1.5}) == []
    assert check_availability({"name": "on-off", "on": 2.0, "off": 1.0}) == []
    assert check_cost_law("uniform") == []
    with pytest.raises(InvalidInput, match="did you mean pareto"):
        check_delay("paretto")


class Overlaps:
    def split(self, labels: Any, num_clients: int, rng: Any) -> Any:
        return tuple(np.arange(labels.size) for _ in range(num_clients))


class LeavesOne:
    def split(self, labels: Any, num_clients: int, rng: Any) -> Any:
        return tuple(np.array_split(np.arange(labels.size - 1), num_clients))


class AllToTheFirst:
    def split(self, labels: Any, num_clients: int, rng: Any) -> Any:
        nothing = [np.arange(0)] * (num_clients - 1)
        return (np.arange(labels.size), *nothing)


class TooFew:
    def split(self, labels: Any, num_clients: int, rng: Any) -> Any:
        return tuple(np.array_split(np.arange(labels.size), max(1, num_clients - 1)))


class OwnDice:
    def split(self, labels: Any, num_clients: int, rng: Any) -> Any:
        order = torch.randperm(labels.size).numpy()
        return tuple(np.array_split(order, num_clients))


@pytest.mark.parametrize(
    ("partition", "law"),
    [
        (Overlaps(), "disjoint and covering"),
        (LeavesOne(), "disjoint and covering"),
        (AllToTheFirst(), "no empty shard"),
        (TooFew(), "a shard for every client"),
        (OwnDice(), "a function of labels, number and generator"),
    ],
)
def test_faults_of_partitions_are_caught(partition: Any, law: str) -> None:
    assert law in [each.law for each in check_partition(partition)]


@dataclass(frozen=True)
class Late:
    mean: float = 1.0
    factor: float = 1.0
    own: bool = False
    scalar: bool = False

    def draw(self, rng: Any, count: int) -> Any:
        rng = np.random.default_rng(random.getrandbits(32)) if self.own else rng
        return self.factor if self.scalar else self.factor * rng.exponential(1.0, count)


@pytest.mark.parametrize(
    ("delay", "law"),
    [
        (Late(factor=1.3), "mean is the mean"),
        (Late(mean=0.0), "mean is the mean"),
        (Late(factor=-1.0), "finite delays, one for each job"),
        (Late(factor=np.inf), "finite delays, one for each job"),
        (Late(scalar=True), "finite delays, one for each job"),
        (Late(own=True), "a function of the generator"),
    ],
)
def test_faults_of_delays_are_caught(delay: Any, law: str) -> None:
    assert law in [each.law for each in check_delay(delay)]


@dataclass
class Away:
    fault: str
    asked: int = 0

    def present(self, seed: int, num_clients: int, now: float) -> Any:
        self.asked += 1
        if self.fault == "counts":
            return np.full(num_clients, self.asked % 3 > 0)
        if self.fault == "shares":
            return np.arange(num_clients) < num_clients / 2
        return np.ones(num_clients) if self.fault == "floats" else np.ones(1, dtype=np.bool_)


@pytest.mark.parametrize(
    ("fault", "law"),
    [
        ("counts", "a function of seed, client and time"),
        ("shares", "every client by itself"),
        ("floats", "a yes or no for every client"),
        ("one", "a yes or no for every client"),
    ],
)
def test_faults_of_availabilities_are_caught(fault: str, law: str) -> None:
    assert law in [each.law for each in check_availability(Away(fault))]


def test_faults_of_cost_laws_are_caught() -> None:
    class Negative:
        def draw(self, rng: Any, num_clients: int, num_tasks: int) -> Any:
            return rng.normal(size=(num_clients, num_tasks))

    class Turned:
        def draw(self, rng: Any, num_clients: int, num_tasks: int) -> Any:
            return np.random.random((num_tasks, num_clients))  # noqa: NPY002

    assert [each.law for each in check_cost_law(Negative())] == ["a table of costs"]
    assert len(check_cost_law(Turned())) == 2
