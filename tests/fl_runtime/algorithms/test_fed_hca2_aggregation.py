"""The parts of FedHCA2: directions, attention, and the weights that are learnt."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fl_runtime.algorithms.fed_hca2_aggregation import cross_attention, shared_direction
from fl_runtime.algorithms.fed_hca2_weights import Descent, clamp, joined, layers_of
from fl_runtime.training.task import Params

Array = NDArray[np.float64]


def vectors(rows: Array) -> list[Params]:
    return [{"x": torch.from_numpy(row)} for row in rows]


def rows(seed: int, count: int, size: int = 7) -> Array:
    return np.random.default_rng(seed).normal(size=(count, size)) + 0.3


counts = st.integers(1, 6)
seeds = st.integers(0, 10**6)
scales = st.sampled_from([1e-10, 1e-3, 1.0, 1e4, 1e10])


@given(seeds, counts, st.floats(0.0, 0.9), scales)
def test_the_shared_direction_lies_on_the_ball_and_serves_the_worst(
    seed: int, N: int, c: float, scale: float
) -> None:
    X = scale * rows(seed, N)
    found, how = shared_direction(vectors(X), c, "none")
    U, mean = found["x"].numpy(), X.mean(axis=0)
    size = np.linalg.norm(mean)
    assert how == "decided"
    assert np.linalg.norm(U - mean) <= c * size * (1 + 1e-6) + 1e-9 * size
    assert (X @ U).min() >= (X @ mean).min() - 1e-9 * scale**2 * 10
    once, _ = shared_direction(vectors(X / scale), c, "none")
    np.testing.assert_allclose(U / scale, once["x"], rtol=1e-6, atol=1e-6)
    divided, _ = shared_direction(vectors(X), c, "1+c2")
    np.testing.assert_allclose(divided["x"] * (1 + c**2), U, rtol=1e-12)


def test_radius_zero_is_the_mean_and_vanishing_updates_stay() -> None:
    X = rows(1, 4)
    np.testing.assert_allclose(shared_direction(vectors(X), 0.0, "none")[0]["x"], X.mean(axis=0))
    still, _ = shared_direction(vectors(np.zeros((3, 5))), 0.4, "1+c2")
    assert not still["x"].any()


@given(seeds, counts, st.sampled_from(["released", "scale-free"]))
def test_attention_is_equivariant_and_gives_equal_updates_back(
    seed: int, K: int, attention: Any
) -> None:
    X = rows(seed, K)
    order = np.random.default_rng(seed).permutation(K)
    mixed = [d["x"].numpy() for d in cross_attention(vectors(X), attention).deltas]
    permuted = [d["x"].numpy() for d in cross_attention(vectors(X[order]), attention).deltas]
    np.testing.assert_allclose(permuted, np.array(mixed)[order], rtol=1e-9, atol=1e-12)
    equal = cross_attention(vectors(np.tile(X[:1], (K, 1))), attention)
    np.testing.assert_allclose(equal.deltas[0]["x"], X[0], rtol=1e-12)
    assert equal.entropy == pytest.approx(1.0)


def test_released_attention_is_uniform_for_small_updates_and_scale_free_is_not() -> None:
    X = rows(3, 5, 400)
    for scale in (1e-8, 1e-4):
        mixed = cross_attention(vectors(scale * X), "released")
        assert mixed.entropy > 1 - 1e-6
        np.testing.assert_allclose(mixed.deltas[2]["x"], scale * X.mean(axis=0), rtol=1e-3)
    large = cross_attention(vectors(1e3 * X), "released")
    assert large.own == pytest.approx(1.0)
    assert large.entropy == pytest.approx(0.0, abs=1e-9)
    one, two = (cross_attention(vectors(s * X), "scale-free") for s in (1e-6, 1e6))
    assert one.entropy == pytest.approx(two.entropy)
    assert one.own > 1.2 / 5
    zero = cross_attention(vectors(np.zeros((2, 3))), "scale-free")
    assert zero.entropy == pytest.approx(1.0)


@given(seeds, st.floats(0.05, 0.95))
def test_the_gradient_of_a_weight_is_the_slope_of_the_loss(seed: int, weight: float) -> None:
    """On f(x) = |x - a|^2 / 2, where the way to the optimum is minus the gradient."""
    target, base, direction = rows(seed, 3)

    def loss(w: float) -> float:
        return float(((base + clamp(w) * direction - target) ** 2).sum()) / 2

    walked = {"x": torch.from_numpy(target - (base + weight * direction))}
    gradient = Descent().gradient(weight, walked, {"x": torch.from_numpy(direction)})
    h = 1e-4
    slope = (loss(weight + h) - loss(weight - h)) / (2 * h)
    assert gradient == pytest.approx(slope, rel=1e-6, abs=1e-6)
    broken = Descent().gradient(weight, {"x": -walked["x"]}, {"x": torch.from_numpy(direction)})
    assert broken != pytest.approx(slope, rel=1e-3, abs=1e-3) or abs(slope) < 1e-2


def test_a_clamped_weight_has_no_gradient_and_edges_have_one() -> None:
    one = {"x": torch.ones(2)}
    assert [Descent().gradient(w, one, one) for w in (-0.1, 0.0, 1.0, 1.1)] == [0, -2, -2, 0]
    assert Descent(normalise=True).gradient(
        0.5, one, {"x": torch.full((2,), 7.0)}
    ) == pytest.approx(-1.0)
    assert Descent(normalise=True).gradient(0.5, one, {"x": torch.zeros(2)}) == 0.0


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=6), st.floats(0, 0.99), st.floats(0, 1))
def test_descent_is_that_of_pytorch(slopes: list[float], momentum: float, decay: float) -> None:
    weight = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    peer = torch.optim.SGD([weight], lr=0.3, momentum=momentum, weight_decay=decay)
    rule, mine, velocity = Descent(0.3, momentum, decay), 0.1, 0.0
    for slope in slopes:
        weight.grad = torch.tensor(slope, dtype=torch.float64)
        peer.step()
        mine, velocity = rule.step(mine, velocity, slope)
    assert mine == pytest.approx(weight.item(), rel=1e-12, abs=1e-12)
    assert 0.0 <= replace(rule, project=True).step(0.9, -5.0, -5.0)[0] <= 1.0


def test_entries_without_a_layer_are_a_layer_of_their_own() -> None:
    assert layers_of(["position", "embed.weight"]) == {
        "position": ("position",),
        "embed": ("embed.weight",),
    }


def test_a_share_goes_to_its_own_task_alone() -> None:
    """Also where the name of one task ends with that of another."""
    one, two = ({"x": torch.full((1,), value)} for value in (1.0, 2.0))
    shares = {"3 fuse odd": one, "3 fuse even or odd": two, "13 fuse odd": two}
    assert joined(shares, "odd", 3)["x"].item() == 1.0
    assert joined(dict(reversed(shares.items())), "odd", 3)["x"].item() == 1.0
    assert joined({"3": one, "13": two}, "odd", 3)["x"].item() == 1.0
