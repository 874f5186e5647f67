"""Models of clients' own: limits of local training, FedPer and Ditto, and who holds which task."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from fairopt import InvalidInput
from fl_runtime.algorithms import Ditto, FedAvg, FedPer, Local, ServerState, Synchronous
from fl_runtime.algorithms.ditto import SUFFIX
from fl_runtime.algorithms.personal import PersonalState
from fl_runtime.configuration.toml_files import check_config
from fl_runtime.running.build import Parts, assemble
from fl_runtime.running.experiment import run
from fl_runtime.running.loop import Evaluator
from fl_runtime.training.federation import Federation
from fl_runtime.training.task import Params
from tests.fl_runtime.rounds import after_one_round

TASKS = ("digits-joint", "digits-joint-parity")
SETS = [[TASKS[0]], [TASKS[1]], list(TASKS)]
TRUNK = ("1.weight", "1.bias")


def tree(**clients: Any) -> dict[str, Any]:
    """Six clients, two label sets of the same images, one hidden layer."""
    small = {"model": "mlp", "hidden": [5], "test_fraction": 0.45}
    return {
        "run": {"algorithm": "local", "num_server_rounds": 2},
        "task": [{"name": name, "data": name, **small} for name in TASKS],
        "clients": {"num_clients": 6, "batch_size": 40, **clients},
    }


def parts(**clients: Any) -> Parts:
    return assemble(check_config(tree(**clients)), seed=0)


def after(algorithm: Synchronous, fed: Federation, rounds: int = 2) -> ServerState:
    """The state after so many rounds."""
    state = algorithm.init(fed, 0)
    for _ in range(rounds):
        state = after_one_round(algorithm, state, fed)
    return state


def personal(algorithm: Local, fed: Federation, rounds: int = 2) -> PersonalState:
    state = after(algorithm, fed, rounds)
    assert isinstance(state, PersonalState)
    return state


def distance(one: Params, two: Params) -> float:
    return max(float((one[key] - two[key]).abs().max()) for key in one)


@pytest.mark.parametrize("share_trunk", [False, True])
def test_ditto_without_pull_is_local_training(share_trunk: bool) -> None:
    fed = parts(task_sets=SETS).federation
    alone = personal(Local(share_trunk=share_trunk), fed).personal
    ditto = personal(Ditto(pull=0.0, share_trunk=share_trunk), fed).personal
    for task, clients in alone.items():
        for client, params in clients.items():
            assert distance(params, ditto[task][client]) == 0.0


def test_a_task_named_like_a_global_model_is_refused_by_ditto() -> None:
    """Its personal models would be taken for global ones and never move."""
    tasks = [replace(task, name=task.name + SUFFIX) for task in parts().federation.tasks]
    with pytest.raises(InvalidInput, match="does not end in"):
        Ditto().companions(tasks, 0)


def test_the_global_model_of_ditto_is_that_of_fed_avg() -> None:
    fed = parts(fraction_train=0.5).federation
    average, ditto = after(FedAvg(), fed), after(Ditto(pull=0.3), fed)
    for task in TASKS:
        assert distance(average.models[task], ditto.models[task + SUFFIX]) == 0.0


def test_personal_models_are_nearer_the_stronger_the_pull() -> None:
    fed = parts(local_epochs=3).federation

    def spread(pull: float) -> float:
        state = personal(Ditto(pull=pull), fed, rounds=3)
        return max(
            distance(params, state.models[task + SUFFIX])
            for task, clients in state.personal.items()
            for params in clients.values()
        )

    weak, middle, strong = (spread(pull) for pull in (0.0, 1.0, 10.0))
    assert strong < middle < weak


def test_the_pull_is_towards_the_global_model_that_was_sent() -> None:
    """One step of one batch: v - eta (g + pull (v - w)), against one without pull."""
    fed = parts(num_clients=1, batch_size=2000).federation
    algorithm, plain = Ditto(pull=0.5), Ditto(pull=0.0)
    start = personal(plain, fed, rounds=1)
    elsewhere = {k: v + 1.0 for k, v in start.models[TASKS[0] + SUFFIX].items()}
    start = PersonalState.from_tree(
        {**start.tree(), "models": {**start.models, TASKS[0] + SUFFIX: elsewhere}}
    )
    moved = []
    for kind in (algorithm, plain):
        moved.append(after_one_round(kind, start, fed).payload(TASKS[0], 0))
    eta, before = fed.tasks[0].training.learning_rate, start.payload(TASKS[0], 0)
    for key, value in before.items():
        expected = moved[1][key] - eta * 0.5 * (value - elsewhere[key])
        torch.testing.assert_close(moved[0][key], expected, rtol=1e-4, atol=1e-6)


def test_after_one_round_the_base_of_fed_per_is_that_of_fed_avg_and_heads_differ() -> None:
    fed = parts().federation
    average, per = after(FedAvg(), fed, 1), personal(FedPer(), fed, 1)
    for task in TASKS:
        models = list(per.personal[task].values())
        for key in TRUNK:
            assert all(torch.equal(params[key], average.models[task][key]) for params in models)
        assert not torch.equal(models[0]["3.weight"], models[1]["3.weight"])


def test_absent_clients_of_fed_per_keep_their_heads_and_get_the_base() -> None:
    fed = parts(fraction_train=0.5).federation
    state = personal(FedPer(), fed, 1)
    first = fed.tasks[0]
    everybody = [state.payload(first.name, client) for client in range(fed.num_clients)]
    untouched = [
        params for params in everybody if torch.equal(params["3.weight"], first.initial["3.weight"])
    ]
    assert len(untouched) == 3
    base = state.models[first.name]["1.weight"]
    assert not torch.equal(base, first.initial["1.weight"])
    assert all(torch.equal(params["1.weight"], base) for params in untouched)


@pytest.mark.parametrize("kind", [Local, FedPer, Ditto])
def test_the_tasks_of_a_client_keep_one_trunk(kind: type[Local]) -> None:
    fed = parts(task_sets=SETS, fraction_train=0.5).federation
    state = personal(kind(share_trunk=True), fed, 3)
    for client in (2, 5):
        one, two = (state.payload(task, client) for task in TASKS)
        assert all(torch.equal(one[key], two[key]) for key in TRUNK)
    apart = personal(kind(), parts(task_sets=SETS).federation, 3)
    assert not torch.equal(*(apart.personal[task]["2"]["1.weight"] for task in TASKS))


def test_one_client_alone_is_fed_avg() -> None:
    fed = parts(num_clients=1).federation
    average = after(FedAvg(), fed)
    for kind in (Local, FedPer):
        state = personal(kind(), fed)
        for task in TASKS:
            assert distance(state.payload(task, 0), average.models[task]) == 0.0


def test_a_task_is_judged_by_the_mean_over_its_clients() -> None:
    fed = parts(task_sets=SETS).federation
    state = personal(Local(), fed)
    seen = Evaluator(fed.tasks).test(state, fed.eligible)
    for task, holders in zip(fed.tasks, ([0, 2, 3, 5], [1, 2, 4, 5]), strict=True):
        each = [task.evaluate(state.payload(task.name, k), task.test) for k in holders]
        assert seen[task.name].accuracy == pytest.approx(np.mean([one.accuracy for one in each]))
        assert seen[task.name].loss == pytest.approx(np.mean([one.loss for one in each]))


def test_one_ruined_personal_model_ruins_its_task_alone() -> None:
    fed = parts().federation
    state = Local().init(fed, 0)
    bad = {key: value * np.nan for key, value in fed.tasks[1].initial.items()}
    evaluator = Evaluator(fed.tasks)
    assert evaluator.ruined(state, fed.eligible) == set()
    worse = state.with_personal({(TASKS[1], 3): bad})
    assert evaluator.ruined(worse, fed.eligible) == {TASKS[1]}


def test_task_sets_say_who_trains_what() -> None:
    history = run(check_config(tree(task_sets=SETS)))
    assert history.recruitments("local", 0)[0]["take_up"] == dict.fromkeys(TASKS, 4)
    assert history.rounds("local", 0)[-1][f"{TASKS[0]}/num-clients"] == 4


def test_an_auction_recruits_no_client_for_a_task_it_lacks() -> None:
    config = tree(task_sets=SETS) | {"recruitment": {"rule": "budget-fair", "budget": 50.0}}
    found = assemble(check_config(config), 0)
    holds = np.array([[name in held for name in TASKS] for held in SETS * 2])
    assert not (found.federation.eligible & ~holds).any()
    assert found.federation.eligible.any()


@pytest.mark.parametrize(
    ("sets", "reason"),
    [
        ([[TASKS[0]]] * 4, "divides num-clients"),
        ([[TASKS[0]]] * 7, "divides num-clients"),
        ([[TASKS[0]], []], "client 1 without a task"),
        ([[TASKS[0]], ["digit-joint"]], "digits-joint"),
    ],
)
def test_task_sets_that_do_not_fit(sets: list[list[str]], reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        parts(task_sets=sets)


@pytest.mark.parametrize("kind", [Local, FedPer, Ditto])
def test_layers_that_do_not_fit_are_named(kind: type[Local]) -> None:
    whole = tree()
    whole["task"][1]["hidden"] = [7]
    fed = assemble(check_config(whole), 0).federation
    with pytest.raises(InvalidInput, match="digits-joint-parity model"):
        kind(share_trunk=True).init(fed, 0)
    kind().init(fed, 0)
    with pytest.raises(InvalidInput, match="encoder"):
        kind(share_trunk=True, shared_layers=("encoder",)).init(fed, 0)


@pytest.mark.parametrize(
    "wrong", [{"pull": -1.0}, {"pull": float("nan")}, {"aggregation": "importance"}]
)
def test_wrong_hyper_parameters(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        Ditto(**wrong)
    with pytest.raises(InvalidInput):
        Local(tasks_per_client="one")
