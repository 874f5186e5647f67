"""One client, one encoder: what clients hold against a ledger, who holds what, and what is lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from fl_runtime.algorithms import (
    Ditto,
    FedAvg,
    FedHCA2,
    FedPer,
    FedRAM,
    LinearScalarisation,
    Local,
    ServerState,
)
from fl_runtime.algorithms.base import Algorithm
from fl_runtime.algorithms.client_models import ClientModels
from fl_runtime.algorithms.ditto import SUFFIX
from fl_runtime.algorithms.fed_ram_state import FedRAMState
from fl_runtime.algorithms.one_trunk import initial_models
from fl_runtime.algorithms.personal import PersonalState
from fl_runtime.training.federation import Federation
from fl_runtime.training.job import Job, Update
from fl_runtime.training.task import Params
from tests.fl_runtime.ledger import (
    DECODER,
    ROUNDING,
    TASKS,
    TRUNK,
    Ledger,
    Life,
    Owner,
)

REFERENCES = 2
"""Rounds of FedRAM's first stage here."""

lives = st.builds(
    Life,
    seed=st.integers(0, 10**6),
    rounds=st.integers(1, 8),
    every=st.integers(1, 3),
    lost=st.sampled_from([0.0, 0.2, 0.5]),
    fraction=st.sampled_from([0.5, 1.0]),
    persist=st.booleans(),
)


def trunk_of(algorithm: Any) -> tuple[str, ...]:
    """Names of the entries that several tasks have in common."""
    joined = getattr(algorithm, "share_trunk", isinstance(algorithm, LinearScalarisation))
    deep = () if getattr(algorithm, "shared_layers", ()) else DECODER
    return (*TRUNK, *deep) if joined else ()


def by_client(trunk: Sequence[str]) -> Owner:
    """A trunk belongs to the client, all else to a task and client."""
    return lambda task, client, key: (None if key in trunk else task, client, key)


def by_server(trunk: Sequence[str]) -> Owner:
    """A trunk is one for all, all else one per task."""
    return lambda task, client, key: (None if key in trunk else task, key)


def ledger_of(algorithm: Algorithm) -> Ledger:
    """Who owns what in an algorithm's models."""
    trunk, first = trunk_of(algorithm), TASKS[0].initial
    start = {
        task.name: {**task.initial, **{key: first[key] for key in trunk}}
        for task in (*TASKS, *algorithm.companions(TASKS, 0))
    }
    together = trunk
    owner = by_server(trunk)
    if isinstance(algorithm, LinearScalarisation | FedAvg) and not isinstance(algorithm, Local):
        together = trunk if getattr(algorithm, "where", "server") == "client" else ()
    elif isinstance(algorithm, Ditto):
        own, common = by_client(trunk), owner

        def owner(task: str, client: int, key: str) -> Any:
            return common(task, client, key) if task.endswith(SUFFIX) else own(task, client, key)

        def keeper(task: str, client: int, key: str) -> Any:
            return task.endswith(SUFFIX), *by_client(trunk)(task, client, key)  # type: ignore[misc]

        return Ledger(start, owner, keeper)
    elif isinstance(algorithm, FedPer):
        base = TRUNK if algorithm.shared_layers else (*TRUNK, *DECODER)

        def owner(task: str, client: int, key: str) -> Any:
            shared = by_server(trunk)(task, client, key)
            return shared if key in base else (task, client, key)

    else:
        owner = by_client(trunk)
    return Ledger(start, owner, by_client(together))


ONE_STEP = {"initial_weight": 0.0, "rate": 0.0, "alike": "own", "shared_layers": ("1",)}
"""Settings of FedHCA2 under which a model moves by its own update alone."""

BOOKED: dict[str, Algorithm] = {
    "local": Local(),
    "local, one encoder": Local(share_trunk=True),
    "local, shallow encoder": Local(share_trunk=True, shared_layers=("1",)),
    "fed-per": FedPer(),
    "fed-per, one base": FedPer(share_trunk=True, shared_layers=("1",)),
    "ditto": Ditto(),
    "ditto, one encoder": Ditto(share_trunk=True),
    "fed-hca2": FedHCA2(**ONE_STEP),  # type: ignore[arg-type]
    "fed-avg": FedAvg(),
    "server": LinearScalarisation(where="server"),
    "client": LinearScalarisation(where="client"),
}


def book(algorithm: Algorithm, life: Life) -> Ledger:
    """Live it, and check every job against the ledger."""
    ledger = ledger_of(algorithm)

    def seen(number: int, state: ServerState, fed: Federation, jobs: Sequence[Job]) -> None:
        ledger.check(jobs)
        check_one_encoder(jobs, trunk_of(algorithm))
        if isinstance(state, PersonalState):
            check_judges(state, fed)

    life.lived(algorithm, seen, lambda number, updates: ledger.note(updates))
    return ledger


def check_one_encoder(jobs: Sequence[Job], trunk: Sequence[str]) -> None:
    """The jobs of one client agree in the trunk, global models and own ones apart."""
    first: dict[tuple[int, bool], Params] = {}
    for job in jobs:
        one = first.setdefault((job.client, job.task.endswith(SUFFIX)), job.payload)
        assert all(torch.equal(job.payload[key], one[key]) for key in trunk)


def check_judges(state: PersonalState, fed: Federation) -> None:
    """A task is judged by the models of those who hold it, and by its own where nobody does."""
    for task, held in zip(fed.tasks, fed.eligible.T, strict=True):
        holders = held.nonzero()[0].tolist()
        judges = state.evaluated(task.name, holders)
        assert list(judges) == ([str(client) for client in holders] or [""])
        for client in holders:
            own = state.payload(task.name, client)
            assert all(torch.equal(value, own[key]) for key, value in judges[str(client)].items())


@pytest.mark.parametrize("name", BOOKED)
@given(life=lives)
@example(life=Life(seed=3, rounds=8, lost=0.5))
def test_jobs_bring_what_the_ledger_says(name: str, life: Life) -> None:
    """Through absence, lost answers, and recruitment for other tasks."""
    book(BOOKED[name], life)


@pytest.mark.parametrize("share_trunk", [False, True])
@given(life=lives)
@example(life=Life(seed=3, rounds=8, lost=0.5))
def test_fed_ram_brings_what_the_ledger_says(share_trunk: bool, life: Life) -> None:
    book_fed_ram(share_trunk, life)


def book_fed_ram(share_trunk: bool, life: Life) -> None:
    """References in one ledger, the server's models in another."""
    algorithm = FedRAM(
        reference_rounds=REFERENCES,
        proxy_rounds=3,
        share_trunk=share_trunk,
        proxy_hidden=(2, 2),
        client_rate=0.0,
        aggregation="data-weighted",
    )
    trunk = trunk_of(algorithm)
    start = ledger_of(algorithm).start
    small = algorithm.companions(TASKS, 0)
    proxies = initial_models(small, one_trunk=share_trunk)
    start = {**start, **proxies}
    references = Ledger(start, by_client(trunk), lambda task, client, key: None)

    def common(task: str, client: int, key: str) -> Any:
        return task.endswith(".proxy"), *by_server(trunk)(task, client, key)  # type: ignore[misc]

    server = Ledger(start, common, by_client(()))

    def seen(number: int, state: ServerState, fed: Federation, jobs: Sequence[Job]) -> None:
        (references if number < REFERENCES else server).check(jobs)
        for job in jobs:
            if "reference_loss" in job.config.get("echo", {}):
                check_reference(job)

    def check_reference(job: Job) -> None:
        task = next(each for each in small if each.name == job.task)
        shard = task.shards[job.client]
        has = (job.task, job.client) in references.answered
        own = references.payload(job.task, job.client) if has else job.payload
        expected, found = task.evaluate(own, shard).loss, job.config["echo"]["reference_loss"]
        assert found == pytest.approx(expected, rel=ROUNDING)
        assert has or not job.config["weights"].any()

    def counted(number: int, updates: Sequence[Update]) -> None:
        (references if number < REFERENCES else server).note(updates)

    life.lived(algorithm, seen, counted)


@given(life=lives)
def test_fed_hca2_keeps_one_encoder_whatever_is_learnt_from_others(life: Life) -> None:
    """Heads move by themselves; encoders and decoders stay until their client answers."""
    algorithm = FedHCA2(shared_layers=("1",), rate=0.5, project=True, normalise=True)
    ledger = ledger_of(algorithm)
    ledger.known = lambda task, key: key not in (*TRUNK, *DECODER)
    last: dict[tuple[Any, ...], Params] = {}

    def seen(number: int, state: ServerState, fed: Federation, jobs: Sequence[Job]) -> None:
        ledger.check(jobs)
        check_one_encoder(jobs, TRUNK)
        for job in jobs:
            for owner, keys in (((job.client,), TRUNK), ((job.client, job.task), DECODER)):
                part = {key: job.payload[key] for key in keys}
                before = last.setdefault(owner, part)
                assert all(torch.equal(before[key], value) for key, value in part.items())

    def counted(number: int, updates: Sequence[Update]) -> None:
        ledger.note(updates)
        for update in updates:
            last.pop((update.client,), None)
            last.pop((update.client, update.task), None)

    life.lived(algorithm, seen, counted)


def encoder_by_task(self: ClientModels, common: Params, task: str, client: int) -> Params:
    """As it was: who has not trained a task begins with the initial encoder."""
    head = self.head(task, client)
    return common if head is None else {**common, **self.trunks.get(str(client), {}), **head}


def momentum_by_task(self: ServerState, updates: Sequence[Update], *_: Any, **__: Any) -> Any:
    """As it was: the trunk's momentum is kept with every task."""
    kept = {task: dict(clients) for task, clients in self.client_states.items()}
    for update in updates:
        if update.client_state:
            kept.setdefault(update.task, {})[str(update.client)] = update.client_state
    return replace(self, client_states=kept)


def untrained_reference(self: FedRAMState, name: str, client: int) -> Params:
    """As it was: the first model stands for one that was never trained."""
    start = initial_models(FedRAM(proxy_hidden=(2, 2)).companions(TASKS, 0), one_trunk=False)
    return self.references.model(start[name], name, client)


WRONG: list[tuple[Any, str, Any, Callable[[Life], Any]]] = [
    (ClientModels, "model", encoder_by_task, lambda life: book(Local(share_trunk=True), life)),
    (ClientModels, "model", encoder_by_task, lambda life: book(BOOKED["fed-hca2"], life)),
    (ServerState, "keep", momentum_by_task, lambda life: book(Ditto(share_trunk=True), life)),
    (ServerState, "keep", momentum_by_task, lambda life: book(BOOKED["client"], life)),
    (FedRAMState, "reference", untrained_reference, lambda life: book_fed_ram(False, life)),
    (
        PersonalState,
        "evaluated",
        lambda self, task, holders: self.personal.get(task) or {"": self.models[task]},
        lambda life: book(Local(), life),
    ),
]
"""Broken twins: where, what, and who would notice."""


@pytest.mark.parametrize(("kind", "name", "twin", "noticing"), WRONG)
def test_the_ledger_rejects_what_was_wrong(
    kind: Any,
    name: str,
    twin: Any,
    noticing: Callable[[Life], Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kind, name, twin)
    with pytest.raises(AssertionError):
        noticing(Life(seed=3, rounds=8, lost=0.3))


def test_a_life_goes_through_what_it_is_meant_to() -> None:
    """Otherwise the ledger would show less than it says."""
    held: list[Any] = []
    jobs_: list[int] = []
    answers: list[int] = []

    def seen(number: int, state: ServerState, fed: Federation, jobs: Sequence[Job]) -> None:
        held.append(fed.eligible.tolist())
        jobs_.append(len(jobs))

    Life(rounds=8).lived(Local(), seen, lambda number, updates: answers.append(len(updates)))
    assert len({str(each) for each in held}) == 4
    assert 0 < sum(answers) < sum(jobs_) < sum(map(_count, held))


def _count(held: list[list[bool]]) -> int:
    """Pairs of a client and a task that it holds."""
    return sum(map(sum, held))


def test_what_one_step_leaves_alone_is_kept_from_the_last() -> None:
    """Steps may move some entries of a client only: the others stay the client's own."""
    start = {key: torch.zeros(1) for key in ("encoder", "decoder", "head")}
    one = torch.ones(1)
    models = ClientModels(shared=("encoder",))
    for step in ({"encoder": one, "head": one}, {"decoder": one}, {"head": one}):
        models = models.stepped({"a": start}, {("a", 0): step})
    assert {key: value.item() for key, value in models.model(start, "a", 0).items()} == {
        "encoder": 1.0,
        "decoder": 1.0,
        "head": 2.0,
    }
    assert models.model(start, "a", 1) is start
