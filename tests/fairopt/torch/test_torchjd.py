"""The adapters inside the real TorchJD."""

import numpy as np
import pytest
import torch
from torchjd import aggregation, scalarization
from torchjd.aggregation import Aggregator, Weighting

from examples import torchjd_weighting
from fairopt import InvalidInput
from fairopt import torch as ft
from fairopt.torch import FairGrad, MinNorm, aggregate, as_torchjd_aggregator, as_torchjd_weighting


def test_adapters_are_torchjd_objects_with_our_answers() -> None:
    jacobian = torch.randn(3, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for method in (FairGrad(2.0), MinNorm()):
        weighting, aggregator = as_torchjd_weighting(method), as_torchjd_aggregator(method)
        assert isinstance(weighting, Weighting)
        assert isinstance(aggregator, Aggregator)
        direction, solution = aggregate(list(jacobian), method)
        torch.testing.assert_close(aggregator(jacobian), direction)
        weights = torch.from_numpy(solution.weights)
        torch.testing.assert_close(weighting(jacobian @ jacobian.T), weights)


@pytest.mark.parametrize("scale", [1.0, 1e-4])
def test_directions_at_the_length_of_the_mean(scale: float) -> None:
    generator = torch.Generator().manual_seed(1)
    jacobian = scale * torch.randn(3, 7, generator=generator, dtype=torch.float64)
    mean = jacobian.mean(dim=0).norm()
    own = as_torchjd_aggregator(FairGrad(2.0))(jacobian)
    for direction in (
        as_torchjd_aggregator(FairGrad(2.0), length="mean")(jacobian),
        as_torchjd_weighting(FairGrad(2.0), length="mean")(jacobian @ jacobian.T) @ jacobian,
    ):
        torch.testing.assert_close(direction, own * (mean / own.norm()))
    opposite = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    assert not as_torchjd_aggregator(FairGrad(2.0), length="mean")(opposite).any()
    for adapt in (as_torchjd_weighting, as_torchjd_aggregator):
        with pytest.raises(InvalidInput, match="length"):
            adapt(FairGrad(2.0), length="unit")


def test_the_example_trains_both_tasks_better_than_the_mean(monkeypatch) -> None:
    monkeypatch.setattr(torchjd_weighting, "STEPS", 150)
    mean = torchjd_weighting.with_gramians(torchjd_weighting.Mean())
    fair = torchjd_weighting.with_gramians(FairGrad(1.0))
    assert fair[1] < mean[1]


def jacobians(K: int, count: int = 25) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(K)
    return [torch.randn(K, 3 * K, generator=generator, dtype=torch.float64) for _ in range(count)]


@pytest.mark.parametrize("K", [2, 3, 8])
def test_rivals_are_torchjds_where_the_matrix_is_regular(K: int) -> None:
    pairs = [
        (ft.AlignedMTL(), aggregation.AlignedMTL()),
        (ft.IMTLG(), aggregation.IMTLG()),
        (ft.ConFIG(), aggregation.ConFIG()),
    ]
    for jacobian in jacobians(K):
        for method, theirs in pairs:
            direction, solution = aggregate(list(jacobian), method)
            assert solution.ok
            torch.testing.assert_close(direction, theirs(jacobian), rtol=1e-7, atol=1e-9)


def test_gradvac_is_torchjds_for_two_tasks_whose_order_is_no_question() -> None:
    method, theirs = ft.GradVac(beta=0.3), aggregation.GradVac(beta=0.3, eps=0.0)
    for jacobian in jacobians(2):
        torch.testing.assert_close(aggregate(list(jacobian), method)[0], theirs(jacobian))


def scalarizer_weights(scalarizer: torch.nn.Module, losses: torch.Tensor) -> torch.Tensor:
    """The gradient for the losses: their weights."""
    values = losses.clone().requires_grad_()
    return torch.autograd.grad(scalarizer(values), values)[0]


SCALARIZERS = {
    "DWA": (lambda: ft.DWA(1.5), lambda: scalarization.DWA(1.5)),
    "FAMO": (ft.FAMO, lambda: scalarization.FAMO((2, 2)).double()),
    "Uncertainty": (ft.Uncertainty, lambda: scalarization.UW((2, 2)).double()),
    "IMTLL": (ft.IMTLL, lambda: scalarization.IMTLL((2, 2)).double()),
}


@pytest.mark.parametrize("name", SCALARIZERS)
def test_scalarizers_give_the_weights_of_torchjds_own(name: str) -> None:
    """Learned ones against Adam at the same rate; values of any shape."""
    ours, theirs = (make() for make in SCALARIZERS[name])
    scalarizer = ft.as_torchjd_scalarizer(ours)
    assert isinstance(scalarizer, scalarization.Scalarizer)
    learned = list(theirs.parameters()) if name in ("Uncertainty", "IMTLL") else []
    optimizer = torch.optim.Adam(learned, lr=0.025) if learned else None
    rng = np.random.default_rng(0)
    for t in range(60):
        losses = torch.from_numpy(np.exp(rng.normal(size=(2, 2))))
        expected = scalarizer_weights(theirs, losses)
        torch.testing.assert_close(scalarizer_weights(scalarizer, losses), expected)
        after = losses * torch.from_numpy(rng.uniform(0.5, 1.0, (2, 2)))
        scalarizer.update(after)
        if name == "FAMO":
            theirs.update(after)
        if name == "DWA" and t % 7 == 6:
            theirs.step()
            scalarizer.step()
        if optimizer is not None:
            optimizer.zero_grad()
            theirs(losses).backward()
            optimizer.step()


def test_a_scalarizer_saves_what_the_method_remembers() -> None:
    first, second = (ft.as_torchjd_scalarizer(ft.RLW(seed)) for seed in (1, 2))
    losses = torch.ones(3, dtype=torch.float64)
    first(losses)
    second.load_state_dict(first.state_dict())
    torch.testing.assert_close(
        scalarizer_weights(first, losses), scalarizer_weights(second, losses)
    )
    first.step()
    first.reset()


@pytest.mark.parametrize("method", [ft.GradNorm(), FairGrad(1.0), ft.FAMO, None])
def test_methods_that_need_gradients_are_no_scalarizers(method: object) -> None:
    with pytest.raises(InvalidInput, match="method"):
        ft.as_torchjd_scalarizer(method)  # type: ignore[arg-type]


@pytest.mark.parametrize("make", [ft.FAMO, ft.Uncertainty, lambda: ft.DWA(period=1)])
def test_a_scalarizer_that_was_reset_is_a_new_one(make):
    used, new = ft.as_torchjd_scalarizer(make()), ft.as_torchjd_scalarizer(make())
    values = [torch.tensor([1.0, 4.0]), torch.tensor([3.0, 0.5]), torch.tensor([2.0, 2.5])]
    for row in values:
        used(row)
        used.update(row)
    used.reset()
    for row in values:
        torch.testing.assert_close(used(row), new(row))
        used.update(row)
        new.update(row)
