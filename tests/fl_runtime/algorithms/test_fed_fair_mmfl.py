"""Who trains what: the allocation rules, and the pairing of arms."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fairopt import InvalidInput, learning_progress
from fl_runtime.algorithms import FedFairMMFL, RandomAllocation, RoundRobin
from fl_runtime.algorithms.aggregation import data_weighted, step_tasks
from fl_runtime.algorithms.base import ServerState
from fl_runtime.algorithms.one_task_per_client import draw_tasks
from fl_runtime.running.build import assemble
from fl_runtime.training.federation import Federation
from fl_runtime.training.job import Job, Update
from fl_runtime.training.task import Evaluation, Params
from tests.fl_runtime.small import config

FEDERATION = assemble(config(recruitment={"rule": "everyone"}), seed=0).federation
STATE = replace(
    FedFairMMFL()
    .init(FEDERATION, 0)
    .observe({"wine": Evaluation.of_accuracy(2.0, 0.8), "iris": Evaluation.of_accuracy(1.0, 0.2)}),
    server_round=4,
)


def jobs_of(algorithm: FedFairMMFL | RandomAllocation | RoundRobin, state=STATE) -> list[Job]:
    return algorithm.dispatch(state, FEDERATION, 0.0)[1]


def test_probabilities_follow_the_chosen_signal() -> None:
    by_loss = FedFairMMFL(alpha=2.0, signal="loss").probabilities(STATE, FEDERATION)
    by_error = FedFairMMFL(alpha=2.0, signal="error").probabilities(STATE, FEDERATION)
    np.testing.assert_allclose(by_loss[0], [2 / 3, 1 / 3])
    np.testing.assert_allclose(by_error[0], [0.2, 0.8])
    favoured = FedFairMMFL(alpha=2.0, signal="loss", priority=(1.0, 2.0))
    np.testing.assert_allclose(favoured.probabilities(STATE, FEDERATION)[0], [0.5, 0.5])


def measured(state: ServerState, wine: float, iris: float) -> ServerState:
    errors = {"wine": wine, "iris": iris}
    return state.observe({k: Evaluation.of_accuracy(1.0, 1.0 - e) for k, e in errors.items()})


def test_progress_is_of_the_errors_after_every_training() -> None:
    """Wine learns in every round; iris is bad, and trained in every second one."""
    algorithm = FedFairMMFL(alpha=2.0, signal="progress")
    state, wine, iris = algorithm.init(FEDERATION, 0), [], []
    for server_round in range(12):
        shares = algorithm.probabilities(state, FEDERATION)[0]
        if len(iris) >= 4:
            seen = [learning_progress(wine), learning_progress(iris)]
            np.testing.assert_allclose(shares, np.array(seen) / sum(seen))
        else:
            np.testing.assert_allclose(shares, 0.5)
        trained = ["wine", "iris"][: 1 + server_round % 2]
        updates = [Update(t, 0, 0, zeros_of(state.models[t]), 1) for t in trained]
        state = measured(algorithm.aggregate(state, updates), 0.9**server_round, 0.8)
        wine.append(0.9**server_round)
        iris += [0.8] if not iris or "iris" in trained else []
    assert shares[0] > 0.99


def zeros_of(params: Params) -> Params:
    return {name: torch.zeros_like(value) for name, value in params.items()}


def test_a_finished_task_is_not_waited_for() -> None:
    algorithm = FedFairMMFL(alpha=2.0, signal="progress")
    curves = {"wine": [0.9, 0.7, 0.5, 0.4]}
    state = replace(STATE, memory={"": curves})
    np.testing.assert_allclose(algorithm.probabilities(state, FEDERATION), 0.5)
    alone = algorithm.probabilities(state, FEDERATION.without({"iris"}))
    np.testing.assert_allclose(alone, [[1.0, 0.0]] * 8)


def test_the_first_round_is_uniform() -> None:
    fresh = FedFairMMFL().init(FEDERATION, 0)
    np.testing.assert_allclose(FedFairMMFL(5.0).probabilities(fresh, FEDERATION), 0.5)


def test_alpha_one_is_the_random_arm() -> None:
    fair, random = jobs_of(FedFairMMFL(alpha=1.0)), jobs_of(RandomAllocation())
    assert [(j.client, j.task, j.seed) for j in fair] == [
        (j.client, j.task, j.seed) for j in random
    ]


def test_alpha_infinity_sends_everybody_to_the_worst_task() -> None:
    assert {job.task for job in jobs_of(FedFairMMFL(np.inf, "error"))} == {"iris"}


def test_arms_share_their_active_clients() -> None:
    arms = (FedFairMMFL(), RandomAllocation(), RoundRobin())
    active = [[job.client for job in jobs_of(arm)] for arm in arms]
    assert active[0] == active[1] == active[2]
    assert len(set(active[0])) == len(active[0]) == FEDERATION.num_active


def test_dispatch_is_a_pure_function_of_the_state() -> None:
    first, second = jobs_of(FedFairMMFL()), jobs_of(FedFairMMFL())
    assert [(j.client, j.task, j.seed) for j in first] == [
        (j.client, j.task, j.seed) for j in second
    ]
    later = jobs_of(FedFairMMFL(), replace(STATE, server_round=5))
    assert {job.seed for job in first}.isdisjoint(job.seed for job in later)


def test_only_eligible_pairs_train_and_nobody_else() -> None:
    eligible = np.zeros((8, 2), dtype=bool)
    eligible[:4, 0] = True
    half = Federation(FEDERATION.tasks, 8, 1.0, eligible)
    for arm in (FedFairMMFL(), RandomAllocation(), RoundRobin()):
        jobs = arm.dispatch(STATE, half, 0.0)[1]
        assert {(job.client, job.task) for job in jobs} == {(c, "wine") for c in range(4)}


def test_round_robin_visits_every_task_in_turn() -> None:
    turns = [
        RoundRobin().probabilities(replace(STATE, server_round=r), FEDERATION).argmax(axis=1)
        for r in range(4)
    ]
    assert all((turns[r] != turns[r + 1]).all() for r in range(3))
    assert turns[0].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]


def test_round_robin_shares_clients_among_unfinished_tasks_alone() -> None:
    wine = FEDERATION.tasks[0]
    tasks = tuple(replace(wine, name=name) for name in "abc")
    rest = Federation(tasks, 8, 1.0, np.ones((8, 3), dtype=bool)).without({"b"})
    for server_round in range(4):
        turn = RoundRobin().probabilities(replace(STATE, server_round=server_round), rest)
        assert turn.sum(axis=0).tolist() == [4.0, 0.0, 4.0]
    nobody = rest.without({"a", "c"})
    assert not RoundRobin().probabilities(STATE, nobody).any()


def test_shares_of_clients_are_decimal() -> None:
    federation = assemble(config(), seed=0).federation
    for share, count in ((0.29, 29), (0.57, 57), (0.58, 58)):
        assert replace_clients(federation, 100, share) == count


def replace_clients(federation: Federation, clients: int, share: float) -> int:
    tasks = tuple(replace(task, shards=task.shards[:1] * clients) for task in federation.tasks)
    return Federation(tasks, clients, share, np.ones((clients, 2), dtype=bool)).num_active


@given(
    st.lists(st.floats(0.0, 10.0), min_size=1, max_size=5),
    st.floats(0.0, 1.0, exclude_max=True),
)
def test_a_drawn_task_has_positive_probability(weights: list[float], draw: float) -> None:
    total = sum(weights)
    row = np.array(weights) / total if total > 0 else np.zeros(len(weights))
    (task,) = draw_tasks(row[None], np.array([draw]))
    assert task == -1 if total == 0 else row[task] > 0


def test_draws_have_the_stated_frequencies() -> None:
    shares = np.array([0.2, 0.0, 0.5, 0.3])
    even = (np.arange(10_000) + 0.5) / 10_000
    drawn = draw_tasks(np.tile(shares, (even.size, 1)), even)
    np.testing.assert_allclose(np.bincount(drawn, minlength=4) / even.size, shares, atol=1e-4)


def update(task: str, size: int, value: float) -> Update:
    return Update(task, 0, 0, {"w": torch.full((2,), value)}, size)


def test_aggregation_weighs_by_examples_and_keeps_untrained_models() -> None:
    models = {"a": {"w": torch.ones(2)}, "b": {"w": torch.ones(2)}}
    updates = [update("a", 1, 4.0), update("a", 3, 0.0)]
    stepped = step_tasks(models, updates, data_weighted)
    assert stepped["a"]["w"].tolist() == [2.0, 2.0]
    assert stepped["b"] is models["b"]
    assert models["a"]["w"].tolist() == [1.0, 1.0]


def test_an_update_that_is_not_finite_is_seen() -> None:
    assert update("a", 1, 0.0).is_finite
    assert not update("a", 1, float("nan")).is_finite
    assert not update("a", 1, float("-inf")).is_finite


@pytest.mark.parametrize("priority", [(1.0,), (1.0, 0.0), (1.0, float("nan")), (1.0, 1.0, 1.0)])
def test_priorities_that_do_not_fit_are_refused(priority: tuple[float, ...]) -> None:
    with pytest.raises(InvalidInput, match="one per task"):
        FedFairMMFL(priority=priority).init(FEDERATION, 0)
