"""Alpha-fairness in the losses of every algorithm with a shared trunk."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fairopt import InvalidInput
from fairopt.torch import ConflictAverse, FairGrad, Mean, Method, MinNorm, UPGrad, aggregate
from fl_runtime.algorithms import CAGrad, FairGradTraining, LinearScalarisation, ServerState
from fl_runtime.training.directions import Direction
from fl_runtime.training.fair_losses import Scaled, loss_factors
from fl_runtime.training.job import Update
from tests.fl_runtime.algorithms.test_shared_trunk import TRUNK, TWO, one_round
from tests.fl_runtime.rounds import trained

METHODS: list[Method] = [Mean(), FairGrad(2.0), MinNorm(), ConflictAverse(0.4), UPGrad()]
NAMES = ("a", "b", "c")


@given(
    st.integers(0, 10**6),
    st.sampled_from(METHODS),
    st.lists(st.floats(1e-3, 1e3), min_size=3, max_size=3),
)
@settings(max_examples=30)
def test_a_scaled_method_is_the_method_on_scaled_updates(
    seed: int, method: Method, losses: list[float]
) -> None:
    G = np.random.default_rng(seed).normal(size=(3, 6)) + 0.3
    f = loss_factors(losses, 1.0)
    scaled = f[:, None] * G
    wanted = method.solve(scaled @ scaled.T)
    found = Scaled(method, f).solve(G @ G.T)
    assert found.status == wanted.status
    if wanted.ok:
        size = np.abs(wanted.weights) @ np.linalg.norm(scaled, axis=1)
        assert np.abs(found.weights @ G - wanted.weights @ scaled).max() <= 1e-6 * size


def test_twice_the_digits_see_the_factors_too() -> None:
    """Nearly opposite gradients, which float64 does not tell apart from opposite ones."""
    near = torch.tensor([[1.0, 1e-9, 0.0], [-1.0, 1e-9, 0.0], [0.0, 0.0, 1.0]]).double()
    f = np.array([4.0, 0.5, 2.0])
    rows, scaled = list(near), [x * float(c) for x, c in zip(near, f, strict=True)]
    found, solution = aggregate(rows, Scaled(UPGrad(), f))
    wanted, other = aggregate(scaled, UPGrad())
    assert solution.ok
    assert other.ok
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-20)


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=5), st.floats(0.0, 5.0))
@settings(max_examples=20)
def test_factors_are_powers_of_the_losses(losses: list[float], alpha: float) -> None:
    np.testing.assert_allclose(loss_factors(losses, alpha), np.power(losses, -alpha), rtol=1e-9)


def test_what_is_no_positive_loss_counts_as_the_floor() -> None:
    assert loss_factors([0.0, -3.0, 0.5], 1.0, floor=0.25).tolist() == [4.0, 4.0, 2.0]
    assert np.isnan(loss_factors([np.nan, 1.0], 1.0)[0])
    for make in (
        lambda: CAGrad(loss_alpha=-1.0),
        lambda: FairGradTraining(loss_alpha=float("inf")),
        lambda: LinearScalarisation(loss_floor=0.0),
    ):
        with pytest.raises(InvalidInput):
            make()


def test_a_loss_that_is_no_number_leaves_the_mean() -> None:
    direction = Direction(Scaled(MinNorm(), loss_factors([np.nan, 1.0], 1.0)))
    solution = direction.solve(np.eye(2))
    assert not solution.ok
    assert solution.weights.tolist() == [0.5, 0.5]


def _step(arm: Any, units: list[float], losses: list[float]) -> torch.Tensor:
    """The server's step of the trunk; every loss and update in a unit of its own."""
    generator = torch.Generator().manual_seed(7)
    start = {n: {"1.weight": torch.zeros(12), "3.weight": torch.zeros(2)} for n in NAMES}
    updates = [
        Update(
            name,
            0,
            0,
            {"1.weight": u * torch.randn(12, generator=generator), "3.weight": torch.ones(2)},
            5,
            metrics={"train_loss": u * loss},
        )
        for name, u, loss in zip(NAMES, units, losses, strict=True)
    ]
    return arm.aggregate(ServerState(0, 1, start, {}, {}), updates).models["a"]["1.weight"]  # type: ignore[no-any-return]


@given(st.lists(st.floats(0.01, 100.0), min_size=3, max_size=3))
@settings(max_examples=8)
@pytest.mark.parametrize("length", ["own", "mean"])
def test_at_one_the_units_of_losses_do_not_turn_the_servers_step(
    length: Any, units: list[float]
) -> None:
    for arm in (LinearScalarisation, CAGrad, FairGradTraining):
        algorithm = arm(loss_alpha=1.0, length=length)
        one, other = (_step(algorithm, u, [2.0, 1.0, 0.5]) for u in ([1.0] * 3, units))
        cosine = float(one @ other / one.norm() / other.norm())
        assert cosine == pytest.approx(1.0, abs=1e-5)
        if length == "own":
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_the_servers_step_is_the_sum_of_scaled_updates() -> None:
    """At "own" length of the mean method: 1/K sum of loss^-2 times the update."""
    losses = [2.0, 1.0, 0.5]
    parts = [_step(LinearScalarisation(length="own"), u, losses) * 3.0 for u in np.eye(3).tolist()]
    wanted = sum(p * loss**-2.0 for p, loss in zip(parts, losses, strict=True)) / 3.0
    found = _step(LinearScalarisation(loss_alpha=2.0, length="own"), [1.0] * 3, losses)
    torch.testing.assert_close(found, wanted)
    mean = _step(LinearScalarisation(), [1.0] * 3, losses)
    same = _step(LinearScalarisation(loss_alpha=2.0), [1.0] * 3, losses)
    torch.testing.assert_close(same.norm(), mean.norm())
    torch.testing.assert_close(same / same.norm(), wanted / wanted.norm())


def test_a_clients_first_step_is_scaled_by_its_batch_loss() -> None:
    """Trunk and heads, at the "own" length of the mean; one batch, so one step."""
    whole = [replace(t, training=replace(t.training, batch_size=1000)) for t in TWO.tasks]
    fed = replace(TWO, tasks=tuple(whole), fraction_train=1.0)
    deltas = []
    for alpha in (0.0, 1.5):
        arm = LinearScalarisation(where="client", loss_alpha=alpha)
        jobs = [j for j in arm.dispatch(arm.init(fed, 0), fed, 0.0)[1] if j.client == 0]
        deltas.append(trained(fed.tasks, jobs))
    for plain, scaled in zip(*deltas, strict=True):
        factor = plain.metrics["train_loss"] ** -1.5
        assert scaled.metrics["train_loss"] == plain.metrics["train_loss"]
        for key in plain.delta.keys() - set(TRUNK):
            torch.testing.assert_close(scaled.delta[key], factor * plain.delta[key])
    one, two = (updates[0].delta["1.weight"] for updates in deltas)
    assert not torch.allclose(one / one.norm(), two / two.norm(), atol=1e-4)


@pytest.mark.parametrize("where", ["server", "client"])
def test_zero_is_to_leave_losses_as_they_are(where: Any) -> None:
    with_key, without = (
        one_round(arm, TWO)[0]
        for arm in (CAGrad(where=where, loss_alpha=0.0, loss_floor=1.0), CAGrad(where=where))
    )
    for task, params in with_key.models.items():
        assert all(torch.equal(params[key], without.models[task][key]) for key in params)
