"""Encoders, references, judges and weights where clients hold other tasks later or lose answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fairopt import InvalidInput
from fl_runtime.algorithms import (
    ALGORITHMS,
    Ditto,
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
from fl_runtime.algorithms.fed_ram_state import FedRAMState, stage_figures
from fl_runtime.algorithms.personal import PersonalState
from fl_runtime.configuration.schema import Config
from fl_runtime.configuration.toml_files import check_config
from fl_runtime.execution.sequential import SequentialExecutor
from fl_runtime.running.build import Parts, assemble
from fl_runtime.running.experiment import run
from fl_runtime.running.loop import Evaluator, one_round
from fl_runtime.training.federation import Federation
from fl_runtime.training.job import Job, Update
from fl_runtime.training.task import Task
from tests.fl_runtime.kills import assert_resumes
from tests.fl_runtime.ledger import DECODER, HEAD, MOMENTUM, TASKS, TRUNK, tiny_federation
from tests.fl_runtime.rounds import started, trained

A, B, C = (task.name for task in TASKS)
ENCODER = (*TRUNK, *DECODER)
SHALLOW = {"shared_layers": ("1",)}


def holding(algorithm: Algorithm, *held: str, training: Any = None) -> Federation:
    """One client after the other with the tasks of its letters, the others with none."""
    fed = tiny_federation(algorithm)
    eligible = np.zeros_like(fed.eligible)
    for client, letters in enumerate(held):
        eligible[client] = [task.name in letters for task in TASKS]
    if training is None:
        return replace(fed, eligible=eligible)

    def settled(tasks: Sequence[Task]) -> tuple[Task, ...]:
        return tuple(replace(each, training=replace(each.training, **training)) for each in tasks)

    tasks, companions = settled(fed.tasks), settled(fed.companions)
    return replace(fed, eligible=eligible, tasks=tasks, companions=companions)


def went(
    algorithm: Algorithm,
    state: Any,
    fed: Federation,
    counts: Callable[[Update], bool] = lambda update: True,
) -> Any:
    """The state after a round of real training in which some answers count."""
    state, jobs = algorithm.dispatch(state, fed, 0.0)
    updates = trained((*fed.tasks, *fed.companions), jobs)
    return algorithm.aggregate(state, [update for update in updates if counts(update)])


def same(one: Any, two: Any, keys: Sequence[str]) -> bool:
    """Whether two models agree in those entries."""
    return all(torch.equal(one[key], two[key]) for key in keys)


@pytest.mark.parametrize(
    ("algorithm", "encoder"),
    [
        (Local(share_trunk=True), ENCODER),
        (Ditto(share_trunk=True), ENCODER),
        (FedPer(share_trunk=True), ENCODER),
        (FedHCA2(shared_layers=("1",)), TRUNK),
    ],
    ids=["local", "ditto", "fed-per", "fed-hca2"],
)
def test_a_further_task_begins_with_the_encoder_of_its_client(
    algorithm: Local, encoder: Sequence[str]
) -> None:
    """And with the initial head; so does it for whoever comes back, with the head it had."""
    fed = holding(algorithm, A, A)
    state = went(algorithm, algorithm.init(fed, 0), fed)
    first, new = state.payload(A, 0), state.payload(B, 0)
    assert not same(first, TASKS[0].initial, encoder)
    assert same(new, first, encoder)
    assert same(new, TASKS[1].initial, HEAD)
    state = went(algorithm, state, holding(algorithm, A + B, A))
    before = state.payload(A, 0)
    state = went(algorithm, state, holding(algorithm, B, A))
    back = state.payload(A, 0)
    assert same(back, before, HEAD)
    assert same(back, state.payload(B, 0), encoder)
    assert not same(back, before, encoder)


def test_without_a_shared_base_a_further_task_begins_with_the_common_one() -> None:
    algorithm = FedPer()
    fed = holding(algorithm, A, B)
    state = went(algorithm, algorithm.init(fed, 0), fed)
    assert same(state.payload(B, 0), state.payload(B, 1), ENCODER)
    assert not same(state.payload(B, 0), TASKS[1].initial, ENCODER)
    assert same(state.payload(B, 0), TASKS[1].initial, HEAD)


@pytest.mark.parametrize(
    "algorithm",
    [
        Local(share_trunk=True),
        FedPer(share_trunk=True),
        Ditto(share_trunk=True),
        FedHCA2(shared_layers=("1",)),
        LinearScalarisation(where="client"),
    ],
    ids=["local", "fed-per", "ditto", "fed-hca2", "client"],
)
@pytest.mark.parametrize("lost", [A, B])
def test_a_lost_answer_leaves_one_state_of_the_optimiser(algorithm: Any, lost: str) -> None:
    """The newest trunk's, which the other answer brought; the lost head's is the older one."""
    momentum = {"momentum": 0.9, "persist_optimizer": True}
    fed = holding(algorithm, A + B, training=momentum)
    first = went(algorithm, algorithm.init(fed, 0), fed)
    answers: dict[str, Update] = {}

    def counts(update: Update) -> bool:
        answers[update.task] = update
        return update.task not in (lost, lost + SUFFIX)

    state = went(algorithm, first, fed, counts)
    _, jobs = algorithm.dispatch(state, fed, 0.0)
    trunk = TRUNK if isinstance(algorithm, FedHCA2) else ENCODER
    for job in jobs:
        kind = SUFFIX if job.task.endswith(SUFFIX) else ""
        other = (B if lost == A else A) + kind
        for key in trunk:
            newest = answers[other].client_state[MOMENTUM + key]
            assert torch.equal(job.client_state[MOMENTUM + key], newest)
            assert not torch.equal(newest, first.client_state(other, 0, kind)[MOMENTUM + key])
        if job.task == lost + kind:
            kept = first.client_state(job.task, 0, kind)
            assert same(job.client_state, kept, [MOMENTUM + key for key in HEAD])


def test_a_heads_momentum_survives_a_change_between_one_task_and_several() -> None:
    algorithm = Local(share_trunk=True)
    momentum = {"momentum": 0.9, "persist_optimizer": True}
    one, two = (holding(algorithm, held, training=momentum) for held in (A, A + B))
    state = algorithm.init(one, 0)
    for fed in (one, two, one):
        state = went(algorithm, state, fed)
        _, jobs = algorithm.dispatch(state, two, 0.0)
        names = {MOMENTUM + key for key in (*ENCODER, *HEAD)}
        assert jobs[0].client_state.keys() == names
        assert same(jobs[0].client_state, state.client_state(A, 0), sorted(names))
    assert jobs[1].client_state.keys() == names


def test_stale_momentum_would_have_moved_models() -> None:
    """Two rounds after a lost answer the trunk is that of momentum carried on by hand."""
    algorithm = Local(share_trunk=True)
    settings = {"momentum": 0.9, "persist_optimizer": True, "batch_size": 1000}
    fed = holding(algorithm, A + B, training=settings)
    state = went(algorithm, algorithm.init(fed, 0), fed)
    speed = state.client_state(A, 0)[MOMENTUM + "1.weight"]
    seen: list[Update] = []
    state = went(algorithm, state, fed, lambda u: seen.append(u) or u.task == A)  # type: ignore[func-returns-value]
    gradient = seen[0].client_state[MOMENTUM + "1.weight"] - 0.9 * speed
    torch.testing.assert_close(seen[0].delta["1.weight"], -0.1 * (0.9 * speed + gradient))
    before, newest = state.payload(B, 0)["1.weight"], 0.9 * speed + gradient
    state = went(algorithm, state, fed, lambda u: seen.append(u) or True)  # type: ignore[func-returns-value]
    third = seen[-1].client_state[MOMENTUM + "1.weight"] - 0.9 * newest
    moved = state.payload(B, 0)["1.weight"] - before
    torch.testing.assert_close(moved, -0.1 * (0.9 * newest + third), rtol=1e-4, atol=1e-6)


def ram(**settings: Any) -> FedRAM:
    """FedRAM with a stage of references and two rounds of proxies."""
    return FedRAM(reference_rounds=1, proxy_rounds=2, proxy_hidden=(2, 2), **settings)


@pytest.mark.parametrize("share_trunk", [False, True])
def test_what_was_lost_in_the_first_stage_is_no_reference(share_trunk: bool) -> None:
    """The proxy is compared with itself there; the weights are those of the formulas by hand."""
    algorithm = ram(differential="reference", task_rate=1.0, share_trunk=share_trunk)
    fed = holding(algorithm, A + B, A + B, A + B, A + B)
    state = algorithm.init(fed, 0)
    state = went(algorithm, state, fed, lambda u: (u.client, u.task) != (0, f"{A}.proxy"))
    assert state.references.head(f"{A}.proxy", 0) is None
    assert state.references.head(f"{B}.proxy", 0) is not None
    sent, jobs = algorithm.dispatch(state, fed, 0.0)
    small = {task.name: task for task in fed.companions}
    mine = [job for job in jobs if job.client == 0]
    proxy = [small[j.task].evaluate(j.payload, small[j.task].shards[0]).loss for j in mine]
    own = small[f"{B}.proxy"].evaluate(
        state.reference(f"{B}.proxy", 0), small[f"{B}.proxy"].shards[0]
    )
    assert [job.config["echo"]["reference_loss"] for job in mine] == [proxy[0], own.loss]
    old = np.array(state.task_weights[0])
    raised = old * np.exp([0.0, max(proxy[1] - own.loss, 0.0), 0.0])
    raised[:2] *= old[:2].sum() / raised[:2].sum()
    assert sent.proposed["0"] == pytest.approx(0.01 * old + 0.99 * raised)
    updates = trained((*fed.tasks, *fed.companions), jobs)
    after = algorithm.aggregate(sent, updates)
    gaps = np.zeros(4)
    for client in range(4):
        its = [u for u in updates if u.client == client]
        base = [u.metrics["reference_loss"] for u in its]
        ends = [u.metrics["end_loss"] for u in its]
        gaps[client] = np.average(np.subtract(ends, base), weights=[u.num_examples for u in its])
    expected = np.exp(0.1 * gaps) / np.exp(0.1 * gaps).sum()
    assert after.client_weights == pytest.approx(expected)


def test_a_task_recruited_after_the_first_stage_has_no_reference_and_breaks_nothing() -> None:
    algorithm = ram(differential="reference")
    first, later = holding(algorithm, A, B), holding(algorithm, A + B, C, C)
    state = went(algorithm, algorithm.init(first, 0), first)
    sent, jobs = algorithm.dispatch(state, later, 0.0)
    small = {task.name: task for task in later.companions}
    for job in jobs:
        loss = small[job.task].evaluate(job.payload, small[job.task].shards[job.client]).loss
        alone = (job.client, job.task) != (0, f"{A}.proxy")
        assert (job.config["echo"]["reference_loss"] == loss) == alone
        assert not (alone and job.config["weights"].any())
    state = algorithm.aggregate(sent, trained(later.companions, jobs))
    for _ in range(2):
        state = went(algorithm, state, later)
    assert np.sum(state.task_weights, axis=1) == pytest.approx(np.ones(4))
    assert state.references == ClientModels()


def test_a_reference_without_a_finite_loss_is_none() -> None:
    algorithm = ram()
    fed = holding(algorithm, A + B)
    state = went(algorithm, algorithm.init(fed, 0), fed)
    bad = {key: torch.full_like(v, torch.inf) for key, v in state.models[f"{A}.proxy"].items()}
    worse = replace(state, references=state.references.with_models({(f"{A}.proxy", 0): bad}))
    _, jobs = algorithm.dispatch(worse, fed, 0.0)
    proxy = fed.companions[0].evaluate(jobs[0].payload, fed.companions[0].shards[0]).loss
    assert jobs[0].config["echo"]["reference_loss"] == proxy


def weights_of(rows: list[list[float]], held: list[list[bool]]) -> list[float]:
    """`TASK/weight` of two tasks."""
    fed = tiny_federation(ram())
    fed = replace(fed, tasks=fed.tasks[:2], companions=fed.companions[:2], eligible=_all(4, 2))
    state = replace(FedRAMState.beginning(fed, 0, one_trunk=False), task_weights=rows, held=held)
    figures = stage_figures(state, "proxy", [])
    return [figures[f"{name}/weight"] for name in (A, B)]


def _all(*shape: int) -> NDArray[np.bool_]:
    """True everywhere."""
    return np.ones(shape, dtype=np.bool_)


def test_weights_of_tasks_are_over_the_tasks_that_are_held() -> None:
    """.5 and .5, where the rows themselves have the means .625 and .375."""
    rows = [[0.75, 0.25], [0.5, 0.5]]
    assert np.mean(rows, axis=0).tolist() == [0.625, 0.375]
    assert weights_of(rows, [[True, False], [False, True]]) == [0.5, 0.5]
    assert weights_of(rows, [[True, True], [True, True]]) == [0.625, 0.375]
    assert weights_of(rows, [[True, True], [False, False]]) == [0.75, 0.25]
    assert np.isnan(weights_of(rows, [[False, False], [False, False]])).all()


def test_a_task_is_judged_by_those_who_hold_it_now() -> None:
    algorithm = Local()
    fed = holding(algorithm, A, A)
    state = went(algorithm, algorithm.init(fed, 0), fed)
    evaluator, now = Evaluator(TASKS), holding(algorithm, B, A).eligible
    alone = TASKS[0].evaluate(state.payload(A, 1), TASKS[0].test)
    assert evaluator.test(state, now)[A] == alone
    both = [TASKS[0].evaluate(state.payload(A, k), TASKS[0].test).loss for k in (0, 1)]
    assert both[0] != both[1]
    assert evaluator.test(state, fed.eligible)[A].loss == pytest.approx(np.mean(both))
    initial = TASKS[2].evaluate(TASKS[2].initial, TASKS[2].test)
    assert evaluator.test(state, now)[C] == initial


def recruited(name: str, **clients: Any) -> Config:
    """Recruitment at every second round, with costs that move, and answers that are lost."""
    alone = name in ("fair-grad", "linear-scalarisation")
    own = {"where": "client"} if alone else {} if name == "fed-ram" else {"share_trunk": True}
    layers = {} if name == "fed-ram" else {"shared_layers": ["1"]}
    stages = {"reference_rounds": 2, "proxy_rounds": 3} if name == "fed-ram" else {}
    small: dict[str, Any] = {"model": "mlp", "hidden": [5, 4], "test_fraction": 0.45}
    kept = {"optimizer": "adamw", "learning_rate": 0.005, "persist_optimizer": True}
    names = ("digits-joint", "digits-joint-parity")
    return check_config(
        {
            "run": {"algorithm": name, "num_server_rounds": 6, "client_metrics": True},
            "task": [{"name": each, "data": each, **small, **kept} for each in names],
            "clients": {"num_clients": 5, "batch_size": 40, "dropout": 0.2, "failures": 0.1},
            "algorithm": {**own, **layers, **stages},
            "recruitment": {
                "rule": "random-recruitment",
                "budget": 3.0,
                "every": 2,
                "drift": {"model": "geometric-walk", "sigma": 0.5},
            },
        }
    )


class Watching:
    """Trains like the sequential executor, and shows the jobs."""

    def __init__(self, tasks: Sequence[Task], seen: list[Job]) -> None:
        self._inner, self._seen = SequentialExecutor(tasks), seen

    def submit(self, jobs: Any) -> None:
        """Note and queue jobs."""
        mine = list(jobs)
        self._seen.extend(mine)
        self._inner.submit(mine)

    def poll(self) -> list[Update]:
        """Train."""
        return self._inner.poll()


@pytest.mark.parametrize("name", ["local", "ditto", "fed-per", "fed-hca2", "fair-grad"])
def test_in_the_loop_the_jobs_of_a_client_agree_in_its_encoder(name: str) -> None:
    """Clients are recruited anew every two rounds; some get a second task, some lose one."""
    parts: Parts = assemble(recruited(name), 0)
    seen: list[Job] = []
    federation = parts.federation
    parts = replace(parts, executor=Watching((*federation.tasks, *federation.companions), seen))
    current, evaluator = started(parts)
    pairs, several = [], 0
    for number in range(6):
        if number and number % 2 == 0:
            parts = parts.recruited(number // 2)
        pairs.append(str(parts.federation.eligible.tolist()))
        current, _, _ = one_round(parts, current, evaluator)
        by_client: dict[tuple[int, bool], list[Job]] = {}
        for job in seen:
            key = job.client, job.task.endswith(SUFFIX)
            by_client.setdefault(key, []).append(job)
        for jobs in by_client.values():
            assert all(same(job.payload, jobs[0].payload, TRUNK) for job in jobs)
            slots = [f"optimizer:exp_avg:{key}" for key in TRUNK]
            kept = [[job.client_state.get(slot) for slot in slots] for job in jobs]
            assert all(_equal(one, kept[0]) for one in kept)
            several += len(jobs) > 1
        seen.clear()
    assert len(set(pairs)) > 1
    assert several


def _equal(one: Sequence[Any], two: Sequence[Any]) -> bool:
    """Whether two lists of tensors, or of nothing, agree."""
    pairs = zip(one, two, strict=True)
    return all(x is y or (x is not None and y is not None and torch.equal(x, y)) for x, y in pairs)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["local", "fed-per", "ditto", "fed-hca2", "fair-grad", "fed-ram"])
@pytest.mark.parametrize("events", [4, 7])
def test_a_stop_between_recruitments_resumes_to_the_same_bytes(
    name: str, events: int, tmp_path: Path
) -> None:
    assert_resumes(recruited(name), tmp_path, after=events)


def test_a_finished_task_goes_on_being_judged_by_its_clients() -> None:
    """It is closed to new jobs, and still theirs."""
    tree = recruited("local").model_dump()
    tree |= {"algorithm": {}, "recruitment": {"rule": "everyone"}}
    tree["run"].update(stop_at_targets=True, num_server_rounds=3)
    for task, target in zip(tree["task"], (0.05, 1.0), strict=True):
        task["target_accuracy"] = target
    first, *later = run(check_config(tree)).rounds("local", 0)
    start = assemble(check_config(tree), 0).federation.tasks[0]
    assert first["digits-joint/eval_loss"] != start.evaluate(start.initial, start.test).loss
    assert {row["digits-joint/eval_loss"] for row in later} == {first["digits-joint/eval_loss"]}
    assert all(row["digits-joint/num-clients"] == 0 for row in later)


@pytest.mark.parametrize(
    ("kind", "old"),
    [
        (PersonalState, {"personal": {A: {"0": {"w": torch.ones(1)}}}}),
        (FedRAMState, {"references": {f"{A}.proxy": {"0": {"w": torch.ones(1)}}}}),
        (
            ServerState,
            {"client_states": {A: {"0": {f"{MOMENTUM}{A}|5.weight": torch.ones(1)}}}},
        ),
    ],
    ids=["models", "references", "momentum"],
)
def test_checkpoints_that_kept_them_by_task_are_refused_in_one_line(
    kind: type[ServerState], old: dict[str, Any]
) -> None:
    plain = ServerState(seed=0, server_round=1, models={}, validation_loss={}, validation_error={})
    with pytest.raises(InvalidInput, match="of this version") as refusal:
        kind.from_tree({**plain.tree(), **old})
    assert "\n" not in str(refusal.value)


def test_checkpoints_of_fed_ram_without_references_are_read() -> None:
    """Those of the last stage, from an earlier version."""
    algorithm = ALGORITHMS["fed-ram"]()
    state: Any = algorithm.init(tiny_federation(algorithm), 0)
    tree = {key: value for key, value in state.tree().items() if key != "held"}
    found = FedRAMState.from_tree({**tree, "references": {}})
    assert found.references == ClientModels()
    assert found.models is state.models
