"""FedAvg, FedProx, q-FFL and importance weights against sums written out, and their limits."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from fairopt import InvalidInput
from fl_runtime.algorithms import (
    QFFL,
    FedAvg,
    FedFairMMFL,
    FedProx,
    QFFLReleased,
    RandomAllocation,
    RoundRobin,
    ServerState,
    Synchronous,
)
from fl_runtime.algorithms.aggregation import IMPORTANCE, data_shares, importance_weights
from fl_runtime.running.build import assemble
from fl_runtime.training.federation import Federation
from fl_runtime.training.job import Update
from fl_runtime.training.task import Evaluation, Examples, Params
from tests.fl_runtime.rounds import after_one_round, trained
from tests.fl_runtime.small import config

FEDERATION = assemble(config(recruitment={"rule": "everyone"}), seed=0).federation
START = ServerState.initial(FEDERATION, 0)
MEASURED = replace(
    START.observe(
        {"wine": Evaluation.of_accuracy(2.0, 0.8), "iris": Evaluation.of_accuracy(0.7, 0.2)}
    ),
    server_round=3,
)


def after_start(algorithm: Synchronous, federation: Federation = FEDERATION) -> ServerState:
    return after_one_round(algorithm, START, federation)


def assert_same_models(one: ServerState, two: ServerState, atol: float = 1e-7) -> None:
    for task, params in one.models.items():
        for key, value in params.items():
            torch.testing.assert_close(two.models[task][key], value, rtol=0, atol=atol)


def test_errors_are_what_accuracies_lack() -> None:
    assert MEASURED.validation_error == pytest.approx({"wine": 0.2, "iris": 0.8})
    assert MEASURED.validation_loss == {"wine": 2.0, "iris": 0.7}


def test_fed_avg_sends_every_task_of_every_active_client() -> None:
    eligible = FEDERATION.eligible.copy()
    eligible[:5, 0] = False
    some = Federation(FEDERATION.tasks, 8, 0.5, eligible)
    jobs = FedAvg().dispatch(START, some, 0.0)[1]
    active = {job.client for job in RandomAllocation().dispatch(START, some, 0.0)[1]}
    names = [task.name for task in some.tasks]
    assert {(job.client, job.task) for job in jobs} == {
        (client, names[task]) for client, task in np.argwhere(eligible) if client in active
    }


def test_fed_avg_with_one_task_is_random() -> None:
    assert_same_models(
        after_start(FedAvg(tasks_per_client="one")), after_start(RandomAllocation()), 0.0
    )


def test_fed_prox_without_a_pull_is_fed_avg() -> None:
    assert_same_models(after_start(FedProx(mu=0.0)), after_start(FedAvg()), 0.0)


def test_a_strong_pull_keeps_the_model_near() -> None:
    tasks = (replace(t, training=replace(t.training, local_epochs=5)) for t in FEDERATION.tasks)
    longer = replace(FEDERATION, tasks=tuple(tasks))  # the first step has no pull yet

    def moved(algorithm: Synchronous) -> float:
        state = after_start(algorithm, longer)
        return sum(
            float((state.models[t][k] - v).square().sum())
            for t, params in START.models.items()
            for k, v in params.items()
        )

    lengths = [moved(FedProx(mu=mu)) for mu in (0.0, 1.0, 10.0)]
    assert lengths[0] > lengths[1] > lengths[2] > 0.0


def test_the_pull_is_mu_times_the_distance() -> None:
    """In the second of two full-batch steps; the average of the clients is linear in it."""

    def moved(mu: float, epochs: int) -> dict[str, Params]:
        whole = {"local_epochs": epochs, "batch_size": 10**6}
        tasks = (replace(t, training=replace(t.training, **whole)) for t in FEDERATION.tasks)
        return dict(after_start(FedProx(mu=mu), replace(FEDERATION, tasks=tuple(tasks))).models)

    first, free, pulled = moved(0.3, 1), moved(0.0, 2), moved(0.3, 2)
    for task in FEDERATION.tasks:
        for key, start in START.models[task.name].items():
            way = first[task.name][key] - start
            torch.testing.assert_close(
                pulled[task.name][key] - free[task.name][key],
                -0.3 * task.training.learning_rate * way,
                rtol=1e-3,
                atol=1e-7,
            )


def numpy_q_fed_avg(
    start: np.ndarray, trained: np.ndarray, losses: np.ndarray, p: np.ndarray, q: float, lr: float
) -> np.ndarray:
    """Li et al. 2020, algorithm 2, line by line, with client weights p."""
    L = 1.0 / lr
    dw = L * (start - trained)
    delta = losses[:, None] ** q * dw
    h = q * losses ** (q - 1.0) * (dw**2).sum(axis=1) + L * losses**q
    return start - (p[:, None] * delta).sum(axis=0) / (p * h).sum()


def made(
    task: str, deltas: np.ndarray, losses: np.ndarray, sizes: np.ndarray, **extra: float
) -> list[Update]:
    return [
        Update(
            task,
            k,
            0,
            {"w": torch.from_numpy(delta)},
            int(size),
            metrics={"start_loss": float(loss), "learning_rate": 0.1, **extra},
        )
        for k, (delta, loss, size) in enumerate(zip(deltas, losses, sizes, strict=True))
    ]


def single(params: Params) -> ServerState:
    return ServerState(0, 0, {"a": params}, {}, {})


@pytest.mark.parametrize("q", [0.0, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("aggregation", ["data-weighted", "plain"])
def test_q_ffl_agrees_with_its_numpy_reference(q: float, aggregation: str) -> None:
    rng = np.random.default_rng(int(10 * q))
    start, deltas = rng.normal(size=4), rng.normal(size=(3, 4))
    losses, sizes = np.array([0.3, 2.0, 1.1]), np.array([5, 1, 4])
    p = sizes / sizes.sum() if aggregation == "data-weighted" else np.full(3, 1 / 3)
    expected = numpy_q_fed_avg(start, start + deltas, losses, p, q, lr=0.1)
    algorithm = QFFL(q=q, aggregation=aggregation)
    updates = made("a", deltas, losses, sizes)
    got = algorithm.aggregate(single({"w": torch.from_numpy(start)}), updates).models["a"]["w"]
    np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_q_zero_is_the_random_arm() -> None:
    assert_same_models(after_start(QFFL(q=0.0)), after_start(RandomAllocation()))


def test_q_ffl_survives_a_perfect_client() -> None:
    updates = made("a", np.ones((2, 1)), np.array([0.0, 1.0]), np.array([1, 1]))
    for q in (0.5, 1.0, 60.0):
        assert np.isfinite(QFFL(q=q).coefficients(updates)).all()
    nothing = made("a", np.zeros((2, 1)), np.zeros(2), np.array([1, 1]))
    assert np.isfinite(QFFL(q=2.0).coefficients(nothing)).all()


@pytest.mark.parametrize("alpha", [1.0, 2.0, 3.0])
def test_the_released_variant_agrees_with_its_formula(alpha: float) -> None:
    """Three of N = 6 clients trained; S = 2, C = 0.5, hence P = 0.25."""
    rng = np.random.default_rng(7)
    start, deltas = rng.normal(size=4), rng.normal(size=(3, 4))
    losses, d = np.array([0.3, 2.0, 1.1]), np.array([0.25, 0.05, 0.2])
    N, P = 6, 0.5 / 2
    f = (d * losses).sum() / d.sum()
    H = max(d * np.linalg.norm(deltas, axis=1))
    expected = start + (d / P) @ deltas * f / ((alpha - 1) * (N * H) ** 2 + f)
    updates = [
        replace(u, metrics={**u.metrics, "released_weight": w / P, "relative_size": w * N})
        for u, w in zip(made("a", deltas, losses, 20 * d), d, strict=True)
    ]
    got = QFFLReleased(alpha=alpha).aggregate(single({"w": torch.from_numpy(start)}), updates)
    np.testing.assert_allclose(got.models["a"]["w"], expected, rtol=1e-12)


def test_the_released_variant_with_alpha_one_is_importance_weighted_random() -> None:
    assert_same_models(
        after_start(QFFLReleased(alpha=1.0)),
        after_start(RandomAllocation(aggregation="importance")),
    )


def test_the_released_variant_counts_tasks_that_are_not_finished() -> None:
    """With C = 0.5 of two tasks P = 0.25, and 0.5 once one of them is finished."""
    shares = data_shares(FEDERATION)
    for finished, chance in (((), 0.25), (("iris",), 0.5)):
        rest = FEDERATION.without(finished)
        for job in QFFLReleased().dispatch(START, rest, 0.0)[1]:
            expected = shares[job.client, 0 if job.task == "wine" else 1] / chance
            assert job.config["echo"]["released_weight"] == pytest.approx(expected)
    assert_same_models(
        after_start(QFFLReleased(alpha=1.0), rest),
        after_start(RandomAllocation(aggregation="importance"), rest),
    )


def test_the_released_variant_with_everybody_on_one_task_is_fed_avg() -> None:
    alone = Federation(FEDERATION.tasks[:1], 8, 1.0, np.ones((8, 1), dtype=bool))
    start = ServerState.initial(alone, 0)
    ends = (
        after_one_round(algorithm, start, alone)
        for algorithm in (QFFLReleased(alpha=1.0), FedAvg())
    )
    assert_same_models(*ends)


def uneven() -> Federation:
    """Four clients with shards of different sizes; client 3 does not take part in iris."""
    tasks = tuple(
        replace(
            task,
            shards=tuple(
                Examples(s.features[: 2 + k], s.labels[: 2 + k])
                for k, s in enumerate(task.shards[:4])
            ),
        )
        for task in FEDERATION.tasks
    )
    eligible = np.ones((4, 2), dtype=bool)
    eligible[3, 1] = False
    return Federation(tasks, 4, 0.5, eligible)


def expected_step(
    federation: Federation, chances: np.ndarray, weights: np.ndarray, deltas: np.ndarray
) -> np.ndarray:
    """Mean step per task over all active sets and all draws, each with its exact probability."""
    N, S = chances.shape
    sets = list(itertools.combinations(range(N), federation.num_active))
    total = np.zeros(S)
    for active in sets:
        for tasks in itertools.product(range(S), repeat=len(active)):
            pairs = list(zip(active, tasks, strict=True))
            probability = np.prod([chances[pair] for pair in pairs]) / len(sets)
            for client, task in pairs:
                total[task] += probability * weights[client, task] * deltas[client, task]
    return total


@pytest.mark.parametrize("alpha", [1.0, 2.0, 3.0])
def test_importance_weights_are_unbiased_and_the_released_constant_is_not(alpha: float) -> None:
    """Enumeration of every active pair of four clients and every draw of a task for each."""
    federation = uneven()
    everyone = replace(federation, eligible=np.ones((4, 2), dtype=bool))
    deltas = np.random.default_rng(0).normal(size=(4, 2))
    algorithm = FedFairMMFL(alpha, aggregation="importance")
    for fed in (federation, everyone):
        chances = algorithm.probabilities(MEASURED, fed)
        full = (data_shares(fed) * deltas).sum(axis=0)
        included = algorithm.inclusion(MEASURED, fed)
        assert included is not None
        ours = expected_step(fed, chances, importance_weights(fed, included), deltas)
        np.testing.assert_allclose(ours, full, rtol=1e-12)
    chances = algorithm.probabilities(MEASURED, everyone)
    full = (data_shares(everyone) * deltas).sum(axis=0)
    constant = data_shares(everyone) / (0.5 / 2)
    released = expected_step(everyone, chances, constant, deltas)
    np.testing.assert_allclose(released, 2 * chances[0] * full, rtol=1e-12)  # S p_s too long
    assert np.allclose(released, full) == (alpha == 1.0)


def test_jobs_carry_the_weights_that_absorb_uses() -> None:
    federation = uneven()
    algorithm = FedFairMMFL(3.0, aggregation="importance")
    names = [task.name for task in federation.tasks]
    included = algorithm.inclusion(MEASURED, federation)
    assert included is not None
    weights = importance_weights(federation, included)
    state, jobs = algorithm.dispatch(MEASURED, federation, 0.0)
    for job in jobs:
        expected = weights[job.client, names.index(job.task)]
        assert job.config["echo"][IMPORTANCE] == expected
    updates = trained(federation.tasks, jobs)
    after = algorithm.aggregate(state, updates)
    for name in names:
        mine = [u for u in updates if u.task == name]
        for key, value in state.models[name].items():
            step = sum(u.metrics[IMPORTANCE] * u.delta[key] for u in mine)
            torch.testing.assert_close(after.models[name][key], value + step)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: FedProx(mu=-1.0), "mu"),
        (lambda: QFFL(q=-0.1), "q"),
        (lambda: QFFL(aggregation="importance"), "data-weighted or plain"),
        (lambda: QFFLReleased(alpha=0.5), "alpha"),
        (lambda: RoundRobin(aggregation="importance"), "not drawn"),
    ],
)
def test_what_makes_no_sense_is_refused(make: object, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        make()  # type: ignore[operator]
