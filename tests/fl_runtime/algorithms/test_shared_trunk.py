"""One trunk for several tasks: directions, the server's step, joint local steps, limits."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fairopt import InvalidInput
from fairopt.solution import Status
from fairopt.torch import ConflictAverse, FairGrad, Mean, Method, MinNorm, UPGrad
from fl_runtime.algorithms import (
    ALGORITHMS,
    MGDA,
    CAGrad,
    FairGradTraining,
    FedAvg,
    LinearScalarisation,
    Nash,
    PCGradTraining,
    ServerState,
    SharedTrunk,
    Synchronous,
    base,
)
from fl_runtime.algorithms.shared_trunk import trunk_entries
from fl_runtime.configuration.toml_files import check_config
from fl_runtime.data.registry import load_dataset
from fl_runtime.running.build import assemble
from fl_runtime.training.directions import Direction, outcome
from fl_runtime.training.federation import Federation
from fl_runtime.training.job import Update
from fl_runtime.training.local_training import index_batches
from fl_runtime.training.models import build_model
from fl_runtime.training.pcgrad import PCGrad
from fl_runtime.training.task import Task
from tests.fl_runtime.rounds import trained

NAMES = ("digits-joint", "digits-joint-parity", "digits-joint-high", "digits-joint-side")
SHARED = [name for name, kind in ALGORITHMS.items() if issubclass(kind, SharedTrunk)]
WAYS = [(name, where) for name in SHARED for where in ("server", "client")]
BOTH = [way for way in WAYS if way != ("famo", "server")]  # which is refused
METHODS: list[Method] = [FairGrad(2.0), FairGrad(1.0), MinNorm(), UPGrad(), PCGrad(1), Mean()]


def federation(names: tuple[str, ...], **section: Any) -> Federation:
    """Six clients, half active, with those label sets."""
    small = {"model": "mlp", "hidden": [5], "test_fraction": 0.45, **section}
    tasks = [{"name": name, "data": name, **small} for name in names]
    tree = {
        "run": {"algorithm": "fed-avg", "num_server_rounds": 1},
        "task": tasks,
        "clients": {"num_clients": 6, "fraction_train": 0.5, "batch_size": 40},
    }
    return assemble(check_config(tree), seed=0).federation


FOUR = federation(NAMES)
TWO = federation(NAMES[:2])
ONE = federation(NAMES[:1])
TRUNK = ("1.weight", "1.bias")


def one_round(algorithm: Synchronous, fed: Federation) -> tuple[ServerState, list[Update]]:
    state, jobs = algorithm.dispatch(algorithm.init(fed, 0), fed, 0.0)
    updates = trained(fed.tasks, jobs)
    return algorithm.aggregate(state, updates), updates


@given(st.integers(1, 5), st.integers(0, 10**6), st.sampled_from(METHODS))
def test_directions_have_the_length_of_the_mean(K: int, seed: int, method: Method) -> None:
    G = np.random.default_rng(seed).normal(size=(K, 8)) + 0.5
    solution = Direction(method).solve(G @ G.T)
    length = np.linalg.norm(solution.weights @ G)
    if outcome(solution.status) == "stationary":
        assert length == 0.0
    else:
        np.testing.assert_allclose(length, np.linalg.norm(G.mean(axis=0)), rtol=1e-9)


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_a_step_without_an_answer_is_defined(method: Method) -> None:
    """Opposite, vanishing, infinite and NaN updates."""
    opposite = np.array([[1.0, -1.0], [-1.0, 1.0]])
    for A in (opposite, np.zeros((2, 2))):
        solution = Direction(method).solve(A)
        G = np.array([[1.0], [-1.0]]) if A.any() else np.zeros((2, 1))
        assert np.abs(solution.weights @ G).max() < 1e-9
        if not isinstance(method, Mean):
            assert outcome(solution.status) == "stationary"
    for bad in (np.inf, np.nan):
        solution = Direction(method).solve(np.array([[1.0, bad], [bad, 1.0]]))
        assert outcome(solution.status) == "undecided"
        assert solution.weights.tolist() == [0.5, 0.5]


def test_an_undecided_step_is_the_mean() -> None:
    """Opposite up to less than the stated error: the solver cannot tell, the step is the mean."""
    A = np.array([[1.0, -1.0 + 1e-7], [-1.0 + 1e-7, 1.0]])
    solution = Direction(FairGrad(2.0), "own").solve(A, gram_error=1e-5)
    assert solution.status == Status.UNDECIDED
    assert solution.weights.tolist() == [0.5, 0.5]


def explicit_pcgrad(G: np.ndarray, seed: int) -> np.ndarray:
    """Yu et al. 2020, algorithm 1, on the vectors themselves."""
    rng = np.random.default_rng(seed)
    projected = []
    for i in range(len(G)):
        g = G[i].copy()
        for j in rng.permutation(len(G)):
            if j != i and g @ G[j] < 0.0:
                g -= (g @ G[j]) / (G[j] @ G[j]) * G[j]
        projected.append(g)
    return np.mean(projected, axis=0)


@given(st.integers(1, 6), st.integers(0, 10**6))
def test_pcgrad_agrees_with_its_published_steps(K: int, seed: int) -> None:
    G = np.random.default_rng(seed).normal(size=(K, 7))
    weights = PCGrad(seed).solve(G @ G.T).weights
    np.testing.assert_allclose(weights @ G, explicit_pcgrad(G, seed), atol=1e-10)


def test_pcgrad_in_another_order_is_another_direction() -> None:
    G = np.random.default_rng(0).normal(size=(5, 3))
    seen = {tuple(PCGrad(seed).solve(G @ G.T).weights.round(6)) for seed in range(20)}
    assert len(seen) > 1
    stack = np.stack([G @ G.T, np.eye(5)])
    assert (PCGrad(3).solve(stack).weights[0] == PCGrad(3).solve(G @ G.T).weights).all()


def test_label_sets_of_one_family_are_cut_alike() -> None:
    """The same images in every shard and every held-out set, so nothing leaks between tasks."""
    first = FOUR.tasks[0]
    for task in FOUR.tasks[1:]:
        pairs = zip(
            (first.validation, first.test, *first.shards),
            (task.validation, task.test, *task.shards),
            strict=True,
        )
        assert all(torch.equal(one.features, two.features) for one, two in pairs)
    labels = [task.shards[0].labels for task in FOUR.tasks]
    assert torch.equal(labels[1], labels[0] % 2)
    assert torch.equal(labels[2], (labels[0] >= 5).long())
    assert 0.3 < float(load_dataset("digits-joint-side").labels.mean()) < 0.7


@pytest.mark.parametrize(("name", "where"), BOTH)
def test_trunks_stay_equal_and_heads_apart(name: str, where: Any) -> None:
    after, _ = one_round(ALGORITHMS[name](where=where), FOUR)  # type: ignore[call-arg]
    models = list(after.models.values())
    for model in models[1:]:
        assert all(torch.equal(model[key], models[0][key]) for key in TRUNK)
    assert not torch.equal(models[1]["3.weight"], models[2]["3.weight"])
    steps = 1 if where == "server" else 3 * 3  # 3 clients with 104 or 105 examples, 40 a batch
    assert after.figures["num-decisions"] == steps
    assert all(bool(value.isfinite().all()) for model in models for value in model.values())


@pytest.mark.parametrize(("name", "where"), BOTH)
def test_with_a_single_task_every_arm_is_fed_avg(name: str, where: Any) -> None:
    if name == "scale-invariant" and where == "client":
        return  # its steps are those of another loss
    ours, _ = one_round(ALGORITHMS[name](where=where), ONE)  # type: ignore[call-arg]
    plain, _ = one_round(FedAvg(), ONE)
    for key, value in plain.models[NAMES[0]].items():
        torch.testing.assert_close(ours.models[NAMES[0]][key], value, rtol=0, atol=1e-6)


def test_nash_is_fair_grad_with_alpha_one() -> None:
    one, two = (one_round(arm, TWO)[0] for arm in (Nash(), FairGradTraining(alpha=1.0)))
    for task, params in one.models.items():
        assert all(torch.equal(params[key], two.models[task][key]) for key in params)


def test_the_server_step_follows_the_fair_direction() -> None:
    """Against the equation w_k = <g_k, d>^(-alpha), on the mean updates of the tasks."""
    algorithm = FairGradTraining(alpha=2.0)
    before = algorithm.init(FOUR, 0)
    after, updates = one_round(algorithm, FOUR)
    means = []
    for name in NAMES:
        mine = [u for u in updates if u.task == name]
        total = sum(u.num_examples for u in mine)
        rows = [
            torch.cat([u.delta[key].double().flatten() for key in TRUNK]) * u.num_examples / total
            for u in mine
        ]
        means.append(torch.stack(rows).sum(0).numpy())
    G = np.array(means)
    step = np.concatenate(
        [
            (after.models[NAMES[0]][key] - before.models[NAMES[0]][key]).double().flatten()
            for key in TRUNK
        ]
    )
    np.testing.assert_allclose(np.linalg.norm(step), np.linalg.norm(G.mean(axis=0)), rtol=1e-4)
    progress = G @ step
    assert (progress > 0.0).all()
    weights, *_ = np.linalg.lstsq(G.T, step, rcond=None)
    ratio = weights * progress**2.0
    np.testing.assert_allclose(ratio / ratio.mean(), 1.0, rtol=1e-2)  # float32 differences


def test_priorities_belong_to_tasks_even_if_one_is_absent() -> None:
    algorithm = FairGradTraining(priority=(1.0, 2.0, 3.0, 4.0))
    table = {**algorithm.table(NAMES), "length": "own"}
    some = Direction.of(table, [NAMES[1], NAMES[3]], 0).method
    assert isinstance(some, FairGrad)
    assert some.priority == [2.0, 4.0]


def explicit_joint_step(
    tasks: list[Task], start: dict[str, Any], method: Method, rate: float, seed: int
) -> dict[str, Any]:
    """One step on one batch per task, with autograd and the direction written out."""
    losses, trunk = [], None
    modules = []
    for task in tasks:
        module = build_model("mlp", (1, 8, 8), int(start[task.name]["3.bias"].numel()), [5], seed=0)
        module.load_state_dict(start[task.name])
        shard = task.shards[0]
        (batch,) = index_batches(len(shard), task.training, seed)
        logits = module(shard.features[batch])
        losses.append(nn.functional.cross_entropy(logits, shard.labels[batch]))
        modules.append(module)
    rows, ends = [], {}
    for task, module, loss in zip(tasks, modules, losses, strict=True):
        slopes = dict(
            zip(start[task.name], torch.autograd.grad(loss, module.parameters()), strict=True)
        )
        rows.append(torch.cat([slopes[key].flatten() for key in TRUNK]).double().numpy())
        ends[task.name] = {k: -rate * slopes[k] for k in slopes if k not in TRUNK}
    G = np.array(rows)
    trunk = -rate * (Direction(method).solve(G @ G.T).weights @ G)
    return {"heads": ends, "trunk": trunk}


@pytest.mark.parametrize(
    ("algorithm", "method"),
    [
        (FairGradTraining(alpha=2.0, where="client"), FairGrad(2.0)),
        (LinearScalarisation(where="client"), Mean()),
    ],
    ids=["fair-grad", "mean"],
)
def test_a_joint_step_agrees_with_the_step_written_out(
    algorithm: SharedTrunk, method: Method
) -> None:
    whole = [replace(task, training=replace(task.training, batch_size=1000)) for task in TWO.tasks]
    fed = replace(TWO, tasks=tuple(whole), fraction_train=1.0)
    state = algorithm.init(fed, 0)
    jobs = [job for job in algorithm.dispatch(state, fed, 0.0)[1] if job.client == 0]
    updates = trained(fed.tasks, jobs)
    expected = explicit_joint_step(whole, dict(state.models), method, 0.05, jobs[0].seed)
    for update in updates:
        got = torch.cat([update.delta[key].double().flatten() for key in TRUNK])
        np.testing.assert_allclose(got, expected["trunk"], atol=1e-6)
        for key, value in expected["heads"][update.task].items():
            torch.testing.assert_close(update.delta[key], value, rtol=0, atol=1e-6)
    assert updates[0].metrics["decided_steps"] == 1


def test_joint_training_without_conflict_resolution_is_one_model_with_a_mean_loss() -> None:
    """Two steps with momentum: the optimiser serves trunk and heads as one."""
    fed = federation(NAMES[:2], momentum=0.9, persist_optimizer=True)
    after, updates = one_round(LinearScalarisation(where="client"), fed)
    assert all(update.client_state for update in updates)
    assert after.client_states.keys() == {*NAMES[:2], base.TRUNK}


def test_updates_that_are_not_finite_reach_the_loop_and_not_the_solver() -> None:
    fed = federation(NAMES[:2], learning_rate=1e6)
    algorithm = FairGradTraining(where="client")
    jobs = algorithm.dispatch(algorithm.init(fed, 0), fed, 0.0)[1]
    wild = [
        replace(job, payload={k: v * float("inf") for k, v in job.payload.items()}) for job in jobs
    ]
    updates = trained(fed.tasks, wild)
    assert not any(update.is_finite for update in updates)
    assert sum(u.metrics.get("undecided_steps", 0) for u in updates) > 0


def test_no_update_at_all_keeps_every_model() -> None:
    algorithm = FairGradTraining()
    before = algorithm.init(TWO, 0)
    after = algorithm.aggregate(before, [])
    assert after.server_round == 1
    assert after.figures["num-decisions"] == 0
    assert all(after.models[t][k] is v for t, m in before.models.items() for k, v in m.items())


def test_trunks_by_name() -> None:
    models = {task.name: task.initial for task in TWO.tasks}
    assert trunk_entries(models) == TRUNK
    assert trunk_entries(models, ["1.bias"]) == ("1.bias",)
    with pytest.raises(InvalidInput, match="a layer of"):
        trunk_entries(models, ["encoder"])
    with pytest.raises(InvalidInput, match="task digits-joint-parity model"):
        trunk_entries(models, ["3"])
    with pytest.raises(InvalidInput, match="before its last"):
        trunk_entries({"a": {"1.weight": torch.zeros(1), "1.bias": torch.zeros(1)}})


class Normed(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.BatchNorm1d(64), nn.Linear(64, 10))


def test_what_cannot_share_a_trunk_is_refused() -> None:
    normed = replace(ONE.tasks[0], model=Normed())
    with pytest.raises(InvalidInput, match="without buffers"):
        FairGradTraining().init(replace(ONE, tasks=(normed,)), 0)
    slow = replace(TWO.tasks[1], training=replace(TWO.tasks[1].training, learning_rate=0.5))
    uneven = replace(TWO, tasks=(TWO.tasks[0], slow))
    assert FairGradTraining().init(uneven, 0)
    with pytest.raises(InvalidInput, match="trained jointly"):
        FairGradTraining(where="client").init(uneven, 0)
    with pytest.raises(InvalidInput, match="tasks-per-client"):
        PCGradTraining(where="client", tasks_per_client="one").init(TWO, 0)
    with pytest.raises(InvalidInput, match="one per task"):
        FairGradTraining(priority=(1.0,)).init(TWO, 0)
    for make in (lambda: FairGradTraining(alpha=-1.0), lambda: CAGrad(c=1.0)):
        with pytest.raises(InvalidInput):
            make()


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_what_a_model_froze_stays_on_clients(optimizer: str) -> None:
    """A bias of the trunk and one head: neither steps nor weight decay may move them."""
    fed = federation(NAMES[:2], optimizer=optimizer, weight_decay=0.5)
    frozen: list[set[str]] = []
    for task in fed.tasks:
        named = dict(task.model.named_parameters())
        left = {"1.bias"} if frozen else {"1.bias", *(k for k in named if k not in TRUNK)}
        for key in left:
            named[key].requires_grad_(False)
        frozen.append(left)
    try:
        updates = one_round(FairGradTraining(alpha=2.0, where="client"), fed)[1]
    finally:
        for task in fed.tasks:
            task.model.requires_grad_(True)
    assert updates
    for update in updates:
        left = frozen[NAMES.index(update.task)]
        for key, value in update.delta.items():
            assert bool(value.any()) is (key not in left), key


@given(c=st.floats(0.0, 0.9), alpha=st.floats(0.0, 5.0), seed=st.integers(0, 99))
def test_an_arm_takes_the_direction_of_its_own_parameters(
    c: float, alpha: float, seed: int
) -> None:
    rows = np.random.default_rng(seed).normal(size=(3, 6))
    arms = {
        CAGrad(c=c): ConflictAverse(c),
        FairGradTraining(alpha=alpha, priority=(1.0, 2.0, 3.0)): FairGrad(alpha, [1.0, 2.0, 3.0]),
        Nash(): FairGrad(1.0),
        MGDA(): MinNorm(),
    }
    for arm, method in arms.items():
        table = {**arm.table(("a", "b", "c")), "length": "own"}
        found = Direction.of(table, ["a", "b", "c"], 0).solve(rows @ rows.T)
        wanted = method.solve(rows @ rows.T)
        if wanted.ok:
            np.testing.assert_allclose(found.weights, wanted.weights, rtol=1e-9)


@given(rounds=st.lists(st.integers(0, 50), min_size=2, max_size=2, unique=True))
@settings(max_examples=20)
def test_projections_take_another_order_in_another_round(rounds: list[int]) -> None:
    """Of ten tasks, where two equal orders are a chance of less than one in a million."""
    generator = torch.Generator().manual_seed(0)
    names, arm = "abcdefghij", PCGradTraining()
    models = {n: {"1.weight": torch.zeros(12), "3.weight": torch.zeros(2)} for n in names}
    updates = [
        Update(
            n,
            0,
            0,
            {key: torch.randn(v.shape, generator=generator) for key, v in models[n].items()},
            1,
        )
        for n in names
    ]
    steps = []
    for number in rounds:
        state = ServerState(0, number, models, {}, {})
        after = arm.aggregate(state, updates)
        steps.append(after.models["a"]["1.weight"])
    assert not torch.equal(steps[0], steps[1])
