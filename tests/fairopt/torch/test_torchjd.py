"""The adapters inside the real TorchJD."""

import torch
from torchjd.aggregation import Aggregator, Weighting

from examples import torchjd_weighting
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


def test_the_example_trains_both_tasks_better_than_the_mean(monkeypatch) -> None:
    monkeypatch.setattr(torchjd_weighting, "STEPS", 150)
    mean = torchjd_weighting.with_gramians(torchjd_weighting.Mean())
    fair = torchjd_weighting.with_gramians(FairGrad(1.0))
    assert fair[1] < mean[1]
