"""FedHCA2 round by round: a reference implementation, limits, absent clients, and bad settings."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fairopt import InvalidInput, conflict_averse
from fl_runtime.algorithms import FedAvg, FedHCA2, Local
from fl_runtime.algorithms.fed_hca2_weights import HyperState
from fl_runtime.algorithms.personal import PersonalState
from fl_runtime.configuration.toml_files import check_config
from fl_runtime.running.build import assemble
from fl_runtime.training.federation import Federation
from fl_runtime.training.job import Update
from fl_runtime.training.task import Params
from tests.fl_runtime.rounds import after_one_round

Array = NDArray[np.float64]
TASKS = ("digits-joint", "digits-joint-parity")
SETS = [[TASKS[0]], [TASKS[1]], list(TASKS)]
ENCODER, DECODER, HEAD = ("1.weight", "1.bias"), ("3.weight", "3.bias"), ("5.weight", "5.bias")
SINGLE = 1e-5  # float32 sums in another order


def federation(sets: list[list[str]] = SETS, **clients: Any) -> Federation:
    """Three clients with an encoder, a decoder layer and a head each."""
    small = {"model": "mlp", "hidden": [5, 4], "test_fraction": 0.45}
    tree = {
        "run": {"algorithm": "fed-hca2", "num_server_rounds": 1},
        "task": [{"name": name, "data": name, **small} for name in TASKS],
        "clients": {"num_clients": len(sets), "batch_size": 40, "task_sets": sets, **clients},
        "algorithm": {"shared_layers": ["1"]},
    }
    return assemble(check_config(tree), seed=0).federation


FED = federation()


def after(algorithm: Local, fed: Federation, rounds: int) -> PersonalState:
    state = algorithm.init(fed, 0)
    for _ in range(rounds):
        state = after_one_round(algorithm, state, fed)  # type: ignore[assignment]
    return state


seeds = st.integers(0, 10**6)


def random_updates(seed: int, fed: Federation, size: float = 0.1) -> list[Update]:
    """One per pair of the federation, with one encoder's update per client."""
    generator = torch.Generator().manual_seed(seed)
    found: list[Update] = []
    for client, held in enumerate(fed.eligible):
        encoder: Params = {}
        for index in np.flatnonzero(held).tolist():
            task = fed.tasks[index]
            delta = {
                key: size * torch.randn(value.shape, generator=generator)
                for key, value in task.initial.items()
            }
            encoder = encoder or {key: delta[key] for key in ENCODER}
            found.append(Update(task.name, client, 0, {**delta, **encoder}, 10))
    return found


class Reference:
    """A server in plain NumPy, one flat vector at a time, straight from the description."""

    def __init__(self, algorithm: FedHCA2) -> None:
        self.a = algorithm
        self.models: dict[tuple[str, int], dict[str, Array]] = {}
        self.alpha: dict[Any, list[float]] = {}
        self.sent: dict[Any, Array] = {}

    def learn(self, name: Any, update: Array) -> float:
        weight, velocity = self.alpha.get(name, [self.a.initial_weight, 0.0])
        if name in self.sent:
            slope = -float(update @ self.sent[name]) if 0 <= weight <= 1 else 0.0
            velocity = self.a.momentum * velocity + slope + self.a.decay * weight
            weight -= self.a.rate * velocity
        self.alpha[name] = [weight, velocity]
        return min(max(weight, 0.0), 1.0)

    def round(self, updates: list[Update]) -> None:
        flat = {
            (u.task, u.client): {k: v.double().numpy().ravel() for k, v in u.delta.items()}
            for u in updates
        }
        clients = list(dict.fromkeys(client for _, client in flat))
        encoder = {
            k: np.concatenate([next(d for (_, j), d in flat.items() if j == k)[e] for e in ENCODER])
            for k in clients
        }
        X = np.array([encoder[k] for k in clients])
        U = conflict_averse(X @ X.T, self.a.c).weights @ X / (1 + self.a.c**2)
        kinds = {k: sorted(t for t, j in flat if j == k) for k in clients}
        total = {}
        for k in clients:
            weight = self.learn(k, encoder[k])
            own = np.mean([encoder[j] for j in clients if kinds[j] == kinds[k]], axis=0)
            total[k] = own + weight * U
        for k in clients:
            self.sent[k] = U
        mixed = {}
        for key in DECODER:
            D = np.array([d[key] for d in flat.values()])
            logits = D @ D.T / np.sqrt(D.shape[1])
            A = np.exp(logits - logits.max(axis=1, keepdims=True))
            mixed[key] = dict(zip(flat, A / A.sum(axis=1, keepdims=True) @ D, strict=True))
        for (task, k), delta in flat.items():
            name = (task, k)
            both = np.concatenate([delta[key] for key in DECODER])
            weight = self.learn(name, both)
            self.sent[name] = np.concatenate([mixed[key][name] for key in DECODER])
            model = self.models.setdefault(name, {key: 0.0 * v for key, v in delta.items()})
            cut = np.cumsum([delta[key].size for key in ENCODER])[:-1]
            for key, step in zip(ENCODER, np.split(total[k], cut), strict=True):
                model[key] = model[key] + step
            for key in DECODER:
                model[key] = model[key] + delta[key] + weight * mixed[key][name]
            for key in HEAD:
                model[key] = model[key] + delta[key]


@pytest.mark.parametrize("sets", [SETS, [[TASKS[0]], list(TASKS), [TASKS[0]], [TASKS[1]]]])
def test_three_rounds_are_those_of_the_reference(sets: list[list[str]]) -> None:
    fed = federation(sets)
    algorithm = FedHCA2(shared_layers=("1",), rate=0.5, initial_weight=0.3)
    reference, state = Reference(algorithm), algorithm.init(fed, 0)
    for seed in range(3):
        updates = random_updates(seed, fed, 0.3)
        state = algorithm.aggregate(state, updates)  # type: ignore[assignment]
        reference.round(updates)
    for (task, client), model in reference.models.items():
        start = fed.tasks[TASKS.index(task)].initial
        start = {**start, **{key: fed.tasks[0].initial[key] for key in ENCODER}}
        found = state.payload(task, client)
        for key, value in model.items():
            moved = (found[key] - start[key]).double().numpy().ravel()
            np.testing.assert_allclose(moved, value, rtol=SINGLE, atol=SINGLE)
    learnt = {name: weight for name, (weight, _) in state.hyper.items()}
    for name, (weight, _) in reference.alpha.items():
        mine = str(name) if isinstance(name, int) else f"{name[1]} 3 {name[0]}"
        assert learnt.pop(mine) == pytest.approx(weight, rel=1e-4)
    assert not learnt


@settings(max_examples=20)
@given(seeds)
def test_the_order_of_clients_does_not_matter(seed: int) -> None:
    algorithm = FedHCA2(shared_layers=("1",), rate=0.5)
    one = two = algorithm.init(FED, 0)
    for number in range(2):
        updates = random_updates(seed + number, FED)
        order = np.random.default_rng(seed).permutation(len(updates))
        one = algorithm.aggregate(one, updates)  # type: ignore[assignment]
        two = algorithm.aggregate(two, [updates[k] for k in order])  # type: ignore[assignment]
    for task, clients in one.personal.items():
        for client, params in clients.items():
            for key, value in params.items():
                other = two.personal[task][client][key]
                torch.testing.assert_close(value, other, rtol=1e-4, atol=SINGLE)


def test_identical_clients_move_by_the_known_factor() -> None:
    """Direction (1 + c) / (1 + c^2) times the update, so 1 + 1.207 alpha in all at c = .4."""
    fed = federation([[TASKS[0]]] * 4)
    algorithm = FedHCA2(shared_layers=("1",), initial_weight=0.1)
    one = random_updates(5, fed)[0]
    state = algorithm.aggregate(algorithm.init(fed, 0), [replace(one, client=k) for k in range(4)])
    for key in ENCODER:
        moved = state.payload(TASKS[0], 2)[key] - fed.tasks[0].initial[key]
        torch.testing.assert_close(
            moved, (1 + 0.1 * 1.4 / 1.16) * one.delta[key], rtol=1e-4, atol=1e-6
        )
    for key in DECODER:
        moved = state.payload(TASKS[0], 2)[key] - fed.tasks[0].initial[key]
        torch.testing.assert_close(moved, 1.1 * one.delta[key], rtol=1e-4, atol=1e-6)


def test_without_weights_every_client_trains_alone() -> None:
    off = FedHCA2(shared_layers=("1",), initial_weight=0.0, rate=0.0, alike="own")
    alone = after(Local(share_trunk=True, shared_layers=("1",)), FED, 2)
    assert_equal(after(off, FED, 2), alone)
    cut = replace(off, initial_weight=0.5, encoder="own", decoder="own")
    assert_equal(after(cut, FED, 2), alone)


def assert_equal(one: PersonalState, two: PersonalState) -> None:
    for task, clients in one.personal.items():
        for client, params in clients.items():
            other = two.payload(task, int(client))
            for key, value in params.items():
                torch.testing.assert_close(value, other[key], rtol=0, atol=1e-7)


def test_encoders_that_are_left_alone_take_no_mean_over_clients_alike() -> None:
    fed = federation([[TASKS[0]]] * 3)
    one = FedHCA2(shared_layers=("1",), encoder="own", decoder="own")
    assert one.alike == "share"
    assert_equal(after(one, fed, 2), after(Local(share_trunk=True, shared_layers=("1",)), fed, 2))


def test_clients_of_one_kind_without_weights_are_fed_avg_in_their_encoders() -> None:
    fed = federation([[TASKS[0]]] * 3)
    off = FedHCA2(shared_layers=("1",), initial_weight=0.0, rate=0.0)
    average = FedAvg(aggregation="plain")
    expected = after_one_round(average, average.init(fed, 0), fed).models[TASKS[0]]
    found = after(off, fed, 1).personal[TASKS[0]]
    for params in found.values():
        for key in ENCODER:
            torch.testing.assert_close(params[key], expected[key], rtol=0, atol=1e-7)


def test_the_first_round_learns_nothing_and_absent_clients_keep_what_they_have() -> None:
    algorithm = FedHCA2(shared_layers=("1",), rate=0.5)
    updates = random_updates(0, FED)
    first = algorithm.aggregate(algorithm.init(FED, 0), updates)
    assert isinstance(first, HyperState)
    assert {weight for weight, _ in first.hyper.values()} == {algorithm.initial_weight}
    some = [u for u in random_updates(1, FED) if u.client != 1]
    second = algorithm.aggregate(first, some)
    assert isinstance(second, HyperState)
    before, after_ = (state.payload(TASKS[1], 1) for state in (first, second))
    assert all(value is before[key] for key, value in after_.items())
    assert second.hyper["1"] == first.hyper["1"]
    assert second.hyper["0"] != first.hyper["0"]
    assert second.sent["1"] is first.sent["1"]


def test_a_lost_answer_leaves_a_client_with_one_encoder() -> None:
    algorithm = FedHCA2(shared_layers=("1",))
    lost = [u for u in random_updates(0, FED) if (u.task, u.client) != (TASKS[1], 2)]
    state = algorithm.aggregate(algorithm.init(FED, 0), lost)
    one, two = (state.payload(task, 2) for task in TASKS)
    assert all(torch.equal(one[key], two[key]) for key in ENCODER)
    torch.testing.assert_close(two["3.weight"], FED.tasks[1].initial["3.weight"])


def test_zero_updates_and_no_updates_change_no_model() -> None:
    algorithm = FedHCA2(shared_layers=("1",))
    start = algorithm.init(FED, 0)
    zeros = [
        replace(u, delta={key: 0 * value for key, value in u.delta.items()})
        for u in random_updates(0, FED)
    ]
    assert_equal(algorithm.aggregate(start, zeros), start)
    waited = algorithm.aggregate(start, [])
    assert waited.server_round == 1
    assert_equal(waited, start)


def test_figures_tell_entropy_weights_and_dead_ones() -> None:
    algorithm = FedHCA2(shared_layers=("1",), rate=1e4)
    state = algorithm.init(FED, 0)
    for seed in range(3):
        state = algorithm.aggregate(state, random_updates(seed, FED, 1e-4))  # type: ignore[assignment]
    assert state.figures["attention_entropy"] == pytest.approx(1.0)
    assert state.figures["min_encoder_weight"] <= state.figures["encoder_weight"]
    wild = replace(algorithm, rate=1e9)
    for seed in range(3):
        state = wild.aggregate(state, random_updates(seed, FED, 1.0))  # type: ignore[assignment]
    assert state.figures["num-dead-weights"] > 0
    assert state.figures["max_encoder_weight"] <= 1.0


def test_a_rate_that_overflows_is_named() -> None:
    algorithm = FedHCA2(shared_layers=("1",), rate=1e308)
    state = algorithm.init(FED, 0)
    one = replace(algorithm, rate=0.0).aggregate(state, random_updates(0, FED, 3.0))
    with pytest.raises(InvalidInput, match=r"algorithm\.rate"):
        algorithm.aggregate(one, random_updates(1, FED, 3.0))  # type: ignore[arg-type]


def test_one_client_with_one_task_takes_more_of_its_own_step() -> None:
    """Alone, both shared parts are its own update: 1 + alpha (1 + c) / (1 + c^2), and 1 + beta."""
    fed = federation([[TASKS[0]]])
    algorithm = FedHCA2(shared_layers=("1",), initial_weight=0.5)
    (update,) = random_updates(0, fed)
    state = algorithm.aggregate(algorithm.init(fed, 0), [update])
    for key, factor in (("1.weight", 1 + 0.5 * 1.4 / 1.16), ("3.weight", 1.5), ("5.weight", 1.0)):
        moved = state.payload(TASKS[0], 0)[key] - fed.tasks[0].initial[key]
        torch.testing.assert_close(moved, factor * update.delta[key], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"c": 1.0}, "c"),
        ({"c": float("nan")}, "c"),
        ({"initial_weight": 1.5}, "initial_weight"),
        ({"rate": float("inf")}, "rate"),
        ({"momentum": 1.0}, "momentum"),
        ({"decay": -1.0}, "decay"),
        ({"temperature": 0.0}, "temperature"),
        ({"share_trunk": False}, "share_trunk"),
        ({"tasks_per_client": "one"}, "tasks_per_client"),
    ],
)
def test_wrong_hyper_parameters_are_named(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidInput, match=named):
        FedHCA2(**wrong)


def test_models_without_a_decoder_or_of_other_shapes_are_refused() -> None:
    with pytest.raises(InvalidInput, match="shared-layers"):
        FedHCA2().init(FED, 0)
    FedHCA2(decoder="own").init(FED, 0)
    odd = replace(FED.tasks[1], initial={**FED.tasks[1].initial, "1.bias": torch.zeros(9)})
    with pytest.raises(InvalidInput, match="shared entries"):
        FedHCA2(shared_layers=("1",)).init(replace(FED, tasks=(FED.tasks[0], odd)), 0)


def of_two_architectures(**algorithm: Any) -> Federation:
    """One encoder; a decoder of two layers for one task, of its first layer for the other."""
    tree = {
        "run": {"algorithm": "fed-hca2", "num_server_rounds": 1},
        "task": [
            {"name": name, "data": name, "model": "patches", "hidden": hidden}
            for name, hidden in zip(TASKS, ([4, 3, 3], [4, 3]), strict=True)
        ],
        "clients": {"num_clients": 3, "batch_size": 400, "task_sets": SETS},
        "algorithm": {"shared_layers": ["encoder"], **algorithm},
    }
    return assemble(check_config(tree), seed=0).federation


def test_clients_of_two_architectures_exchange_what_they_have_in_common() -> None:
    fed = of_two_architectures(decoder_layers=["decoder.0"])
    algorithm = FedHCA2(shared_layers=("encoder",), decoder_layers=("decoder.0",))
    alone = Local(share_trunk=True, shared_layers=("encoder",))
    one, other = after(algorithm, fed, 1), after(alone, fed, 1)
    common = {"encoder.embed", "encoder.mix", "decoder.0"}
    for task, clients in one.personal.items():
        for client, params in clients.items():
            mine = other.payload(task, int(client))
            for key, value in params.items():
                assert torch.equal(value, mine[key]) == (key.rpartition(".")[0] not in common)
    with pytest.raises(InvalidInput, match="shared entries"):
        replace(algorithm, decoder_layers=()).init(fed, 0)
    with pytest.raises(InvalidInput, match="decoder-layers"):
        replace(algorithm, decoder_layers=("encoder.mix",)).init(fed, 0)


def test_attention_by_pairs_of_tasks_is_as_much_as_uniform_in_the_mean() -> None:
    algorithm = FedHCA2(shared_layers=("1",), attention_layers=("3",))
    state = algorithm.aggregate(algorithm.init(FED, 0), random_updates(0, FED, 2.0))
    pairs = {(a, b): state.figures[f"attention_3/{a}/{b}"] for a in TASKS for b in TASKS}
    assert set(state.figures) == set(algorithm.own_figures(TASKS))
    for one in TASKS:  # two decoders of either task, whose weights sum to one
        assert sum(pairs[one, other] for other in TASKS) == pytest.approx(2.0)
    assert pairs[TASKS[0], TASKS[0]] > pairs[TASKS[0], TASKS[1]]
    with pytest.raises(InvalidInput, match="attention-layers"):
        replace(algorithm, attention_layers=("1",)).init(FED, 0)
