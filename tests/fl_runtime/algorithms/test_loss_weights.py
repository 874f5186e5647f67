"""Rivals that weigh losses or remember angles: rules by hand, what is remembered, who decides."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fairopt import InvalidInput
from fairopt.rivals import aligned_mtl, gradient_vaccine, imtl_g
from fl_runtime.algorithms import ALGORITHMS, ServerState, SharedTrunk
from fl_runtime.algorithms.base import TRUNK as ALL
from fl_runtime.random_streams import torch_seed
from fl_runtime.running.checkpoint import packed, unpacked
from fl_runtime.training.federation import Federation
from fl_runtime.training.job import Update
from fl_runtime.training.local_training import mean_loss
from fl_runtime.training.method_memory import averaged
from fl_runtime.training.task import load_params
from tests.fl_runtime.algorithms.test_shared_trunk import TRUNK, TWO
from tests.fl_runtime.rounds import trained

WEIGHING = ("scale-invariant", "dwa", "uw", "imtl-l")
RATE = 0.025
EYE = torch.eye(3)


def arm(name: str, **options: Any) -> SharedTrunk:
    return ALGORITHMS[name](**{"length": "own", **options})  # type: ignore[no-any-return]


def start(count: int) -> ServerState:
    model = {"1.weight": torch.zeros(3), "3.weight": torch.zeros(1)}
    return ServerState(0, 0, dict.fromkeys("abc"[:count], model), {}, {})


def answers(losses: Mapping[str, float], rows: Any = EYE) -> list[Update]:
    """One update per task, of the trunk a row each."""
    return [
        Update(
            name,
            0,
            0,
            {"1.weight": torch.as_tensor(row).float(), "3.weight": torch.zeros(1)},
            5,
            metrics={"train_loss": loss},
        )
        for (name, loss), row in zip(losses.items(), rows, strict=False)
    ]


def steps(algorithm: SharedTrunk, rounds: Sequence[Sequence[float]], rows: Any = EYE) -> Any:
    """The trunk's step in every round: the weights themselves, where updates are unit vectors."""
    state, found = start(len(rounds[0])), []
    for losses in rounds:
        given_losses = dict(zip("abc", losses, strict=False))
        after = algorithm.aggregate(state, answers(given_losses, rows))
        step = after.models["a"]["1.weight"] - state.models["a"]["1.weight"]
        found.append(step.double().numpy())
        state = after
    return np.array(found)


def test_uncertainty_and_imtl_l_move_their_numbers_by_adam() -> None:
    """The first step of Adam is `rate` against the sign of the slope."""
    losses = [4.0, 0.25, 4.0]
    for name, first, sign in (("uw", 0.5, -1.0), ("imtl-l", 1.0, 1.0)):
        found = steps(arm(name), [losses, losses])
        s = np.array([RATE, -RATE, RATE]) if name == "uw" else np.array([-RATE, RATE, -RATE])
        np.testing.assert_allclose(found[0], first, rtol=1e-6)
        np.testing.assert_allclose(found[1], first * np.exp(sign * s), rtol=1e-6)


def test_learnt_weights_come_to_rest_at_the_inverse_of_the_loss() -> None:
    losses = [2.0, 1.0, 0.5]
    rest = {"uw": 0.5 / np.array(losses), "imtl-l": 1.0 / np.array(losses)}
    for name, wanted in rest.items():
        found = steps(arm(name, rate=0.2), [losses] * 40)
        np.testing.assert_allclose(found[-1], wanted, rtol=0.05)


def test_dynamic_weights_compare_the_last_two_rounds() -> None:
    rounds = [[4.0, 4.0, 4.0], [4.0, 2.0, 1.0], [9.0, 9.0, 9.0], [1.0, 1.0, 1.0]]
    found = steps(arm("dwa", temperature=0.5), rounds)
    np.testing.assert_allclose(found[:2], 1.0, rtol=1e-6)
    for now, before, last in ((2, 1, 0), (3, 2, 1)):
        powers = np.exp(np.divide(rounds[before], rounds[last]) / 0.5)
        np.testing.assert_allclose(found[now], 3.0 * powers / powers.sum(), rtol=1e-6, atol=1e-6)


def test_scale_invariance_is_the_mean_of_the_logarithms() -> None:
    found = steps(arm("scale-invariant"), [[4.0, 0.25, 1.0]])
    np.testing.assert_allclose(found[0], np.array([0.25, 4.0, 1.0]) / 3.0, rtol=1e-6)


def test_random_weights_are_a_mixture_drawn_anew_in_every_round() -> None:
    found = steps(arm("rlw"), [[1.0, 1.0, 1.0]] * 3)
    assert (found > 0.0).all()
    np.testing.assert_allclose(found.sum(axis=1), 1.0, rtol=1e-6)
    assert len({tuple(row) for row in found}) == 3
    assert (steps(arm("rlw"), [[5.0, 1.0, 2.0]] * 3) == found).all()


@given(st.floats(1e-3, 1e3), st.integers(1, 4))
@settings(max_examples=8)
def test_equal_losses_have_equal_weights(loss: float, count: int) -> None:
    for name in WEIGHING:
        found = steps(arm(name), [[loss] * 3] * count)
        np.testing.assert_allclose(found, found[:, :1] * np.ones(3), rtol=1e-6)
        assert (found > 0.0).all()


ROWS = np.array([[1.0, 0.2, 0.0], [-0.6, 1.0, 0.3], [0.1, -0.7, 2.0]])


@pytest.mark.parametrize(("name", "rule"), [("aligned-mtl", aligned_mtl), ("imtl-g", imtl_g)])
def test_directions_are_those_of_the_rules(name: str, rule: Any) -> None:
    rows = ROWS.astype(np.float32).astype(np.float64)
    found = steps(arm(name), [[1.0, 1.0, 1.0]], ROWS)
    np.testing.assert_allclose(found[0], rule(rows @ rows.T).weights @ rows, rtol=1e-5)


def test_gradient_vaccine_remembers_the_cosines() -> None:
    rows = ROWS.astype(np.float32).astype(np.float64)
    found, targets = steps(arm("gradvac", beta=0.3), [[1.0] * 3] * 3, ROWS), np.zeros((3, 3))
    for number, step in enumerate(found):
        rng = np.random.default_rng(torch_seed(0, "direction", number))
        wanted, targets = gradient_vaccine(rows @ rows.T, targets, 0.3, rng)
        np.testing.assert_allclose(step, wanted.weights @ rows, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["dwa", "uw", "imtl-l", "gradvac"])
def test_a_checkpoint_keeps_what_is_remembered(name: str) -> None:
    """To the last bit, and of a task that is absent from a round too."""
    algorithm = arm(name)
    state = start(3)
    for losses in ({"a": 4.0, "b": 3.0, "c": 2.0}, {"a": 3.0, "c": 2.5}):
        state = algorithm.aggregate(state, answers(losses, ROWS))
    memory = state.memory[ALL]
    assert all(set(rows) == {"a", "b", "c"} for rows in memory.values())
    again = ServerState.from_tree(unpacked(*packed(state.tree())))
    assert again.memory == state.memory
    last = {"a": 2.0, "b": 1.0, "c": 2.0}
    one, two = (algorithm.aggregate(s, answers(last, ROWS)) for s in (state, again))
    assert torch.equal(one.models["a"]["1.weight"], two.models["a"]["1.weight"])
    assert one.memory == two.memory != state.memory


WHOLE: Federation = replace(
    TWO,
    tasks=tuple(replace(t, training=replace(t.training, batch_size=1000)) for t in TWO.tasks),
    fraction_train=1.0,
)
NAMES = [task.name for task in WHOLE.tasks]


def played(algorithm: SharedTrunk, rounds: int) -> tuple[ServerState, list[Any], list[Update]]:
    """One local step per client and round, every client active; the last jobs and answers too."""
    state, jobs, updates = algorithm.init(WHOLE, 0), [], []
    for _ in range(rounds):
        state, jobs = algorithm.dispatch(state, WHOLE, 0.0)
        updates = trained(WHOLE.tasks, jobs)
        state = algorithm.aggregate(state, updates)
    return state, jobs, updates


def test_clients_learn_and_the_server_takes_the_mean() -> None:
    algorithm = arm("uw", where="client")
    state, jobs, _ = played(algorithm, 1)
    assert all("memory" not in job.config["joint"] for job in jobs)
    first = state.memory[ALL]["log_variance"]
    for task in NAMES:  # losses near log(classes): 2.3 is above one, 0.7 below
        sign = 1.0 if task == NAMES[0] else -1.0
        assert first[task] == pytest.approx(sign * RATE, rel=1e-5)
    after, jobs, updates = played(algorithm, 2)
    assert all(job.config["joint"]["memory"] == state.memory[ALL] for job in jobs)
    for task in NAMES:
        mine = [u for u in updates if u.task == task]
        total = sum(u.num_examples for u in mine)
        mean = sum(u.metrics["learnt|log_variance"] * u.num_examples for u in mine) / total
        assert after.memory[ALL]["log_variance"][task] == pytest.approx(mean, rel=1e-12)


def test_a_clients_weights_turn_the_trunk_and_leave_the_heads() -> None:
    algorithm, plain = arm("uw", where="client"), arm("linear-scalarisation", where="client")
    state = algorithm.init(WHOLE, 0)
    memory = {"log_variance": {NAMES[0]: math.log(4.0), NAMES[1]: math.log(0.5)}}
    weights = {NAMES[0]: 0.125, NAMES[1]: 1.0}
    told = replace(state, memory={ALL: memory})
    jobs = [job for job in algorithm.dispatch(told, WHOLE, 0.0)[1] if job.client == 0]
    found = trained(WHOLE.tasks, jobs)
    alone = []
    for job in jobs:
        one = [replace(job, config={**job.config, "joint": plain_table(plain)})]
        alone += trained(WHOLE.tasks, one)
    wanted = sum(weights[u.task] * u.delta["1.weight"] for u in alone)
    for one, other in zip(found, alone, strict=True):
        torch.testing.assert_close(one.delta["1.weight"], wanted, rtol=1e-4, atol=1e-6)
        for key in one.delta.keys() - set(TRUNK):
            torch.testing.assert_close(one.delta[key], other.delta[key], rtol=1e-5, atol=1e-7)


def plain_table(algorithm: SharedTrunk) -> dict[str, Any]:
    return {**algorithm.table(NAMES), "length": "own"}


def test_famo_learns_from_what_a_step_did_to_its_batch() -> None:
    """The task whose log loss fell less gains: by `rate`, in Adam's first step."""
    algorithm = arm("famo", where="client", decay=0.0)
    _, jobs, updates = played(algorithm, 1)
    for client in range(2):
        fell = []
        for job, update in zip(jobs, updates, strict=True):
            if job.client != client:
                continue
            task = next(t for t in WHOLE.tasks if t.name == job.task)
            before, after = (
                loaded_loss(task, job.payload, update.delta, by, client) for by in (0.0, 1.0)
            )
            fell.append(math.log(before) - math.log(after))
        signs = [u.metrics["learnt|logits"] for u in updates if u.client == client]
        assert signs[0] == pytest.approx(RATE * (1 if fell[0] < fell[1] else -1), rel=1e-3)
        assert signs[1] == pytest.approx(-signs[0], rel=1e-3)


def loaded_loss(task: Any, payload: Any, delta: Any, by: float, client: int) -> float:
    load_params(task.model, {key: value + by * delta[key] for key, value in payload.items()})
    return float(mean_loss(task.model, task.shards[client], task.loss))


def test_an_epoch_of_dwa_is_a_round_on_clients_too() -> None:
    state, jobs, updates = played(arm("dwa", where="client"), 3)
    memory = state.memory[ALL]
    assert set(memory) == {"older", "newer"}
    sent = jobs[0].config["joint"]["memory"]
    assert sent["newer"] == memory["older"]
    for task in NAMES:
        mine = [u for u in updates if u.task == task]
        loss = sum(u.metrics["train_loss"] * u.num_examples for u in mine)
        mean = loss / sum(u.num_examples for u in mine)
        assert memory["newer"][task] == pytest.approx(mean, rel=1e-12)


def test_clients_report_angles_of_pairs() -> None:
    state, _, updates = played(arm("gradvac", where="client"), 1)
    targets = state.memory[ALL]["targets"]
    assert set(targets) == set(targets[NAMES[0]]) == set(NAMES)
    seen = [u.metrics[f"learnt|targets|{NAMES[1]}"] for u in updates if u.task == NAMES[0]]
    assert min(seen) <= targets[NAMES[0]][NAMES[1]] <= max(seen)
    assert targets[NAMES[0]][NAMES[0]] == 0.0
    one = Update("a", 0, 0, {}, 3, metrics={"learnt|targets|b": 0.5})
    assert averaged({"targets": {"b": {"a": 0.25}}}, [one]) == {
        "targets": {"b": {"a": 0.25}, "a": {"b": 0.5}}
    }


@pytest.mark.parametrize(
    ("name", "options", "argument"),
    [
        ("famo", {"where": "server"}, "where"),
        ("famo", {"decay": -1.0}, "decay"),
        ("uw", {"rate": 0.0}, "rate"),
        ("imtl-l", {"rate": math.nan}, "rate"),
        ("dwa", {"temperature": 0.0}, "temperature"),
        ("gradvac", {"beta": 1.5}, "beta"),
        ("rlw", {"loss_alpha": -1.0}, "loss_alpha"),
    ],
)
def test_what_has_no_meaning_is_refused(name: str, options: Any, argument: str) -> None:
    with pytest.raises(InvalidInput, match=argument):
        ALGORITHMS[name](**options)


def test_losses_that_a_rule_is_not_defined_for_are_named() -> None:
    with pytest.raises(InvalidInput, match="mean loss"):
        steps(arm("dwa"), [[1.0, 0.0, 1.0]])
