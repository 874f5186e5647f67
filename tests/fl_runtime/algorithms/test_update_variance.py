"""Both estimators of heterogeneity against quadratics, whose heterogeneity is known exactly."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fairopt import request_allocation
from fl_runtime.algorithms.fed_ast import FedAST
from fl_runtime.algorithms.update_variance import Watch, gradient_variance, relative_variance
from fl_runtime.simulation.clock import Timing
from fl_runtime.simulation.delays import ShiftedExponential
from fl_runtime.training.job import Job
from fl_runtime.training.task import Params
from tests.fl_runtime.arrivals import arrivals, federation, vector

Vector = NDArray[np.float64]
ROUNDING = 1e-9  # relative; a handful of float64 operations on numbers of size one
POINTS = [{"w": torch.tensor(point)} for point in [(1.0, 0.0), (3.0, 0.0), (2.0, 3.0)]]


@dataclass(frozen=True)
class Quadratics:
    """f_i(x) = (x - c_i)' A (x - c_i) / 2 for every client i.

    Attributes:
        curvature: (d, d) A, symmetric and positive definite.
        optima: (clients, d) c_i.
    """

    curvature: Vector
    optima: Vector

    @property
    def heterogeneity(self) -> float:
        """Variance over clients of the gradient, mean of |A (c_i - mean c)|^2, anywhere."""
        gaps = (self.optima - self.optima.mean(axis=0)) @ self.curvature
        return float(np.square(gaps).sum(axis=1).mean())

    def trained(self, start: Vector, client: int, rate: float, steps: int) -> Params:
        """What local gradient descent changes."""
        point = start
        for _ in range(steps):
            point = point - rate * self.curvature @ (point - self.optima[client])
        return vector(*(point - start))

    def moved(self, rate: float, steps: int) -> Vector:
        """M with Delta = -M (x - c): I - (I - rate A)^steps."""
        unit = np.eye(len(self.curvature))
        return unit - np.linalg.matrix_power(unit - rate * self.curvature, steps)


def some(seed: int, clients: int, size: int = 3, spread: float = 1.0) -> Quadratics:
    """Quadratics with curvatures from 0.5 to 2 along random axes."""
    rng = np.random.default_rng(seed)
    axes, _ = np.linalg.qr(rng.normal(size=(size, size)))
    curvature = axes @ np.diag(np.linspace(0.5, 2.0, size)) @ axes.T
    return Quadratics(curvature, spread * rng.normal(size=(clients, size)))


@given(seed=st.integers(0, 999), clients=st.integers(2, 12), rate=st.floats(0.01, 0.4))
def test_one_step_of_every_client_shows_the_heterogeneity_exactly(
    seed: int, clients: int, rate: float
) -> None:
    """Both scores, from any model: eta_s s2 / (2 eta_c |A (x - mean c)|^2) is the relative one."""
    task, server_rate = some(seed, clients), 0.3
    start = np.array([5.0, -3.0, 2.0])
    updates = [task.trained(start, client, rate, 1) for client in range(clients)]
    found = gradient_variance(updates, rate, 1)
    assert found == pytest.approx(task.heterogeneity, rel=ROUNDING)
    signal = np.square(task.curvature @ (start - task.optima.mean(axis=0))).sum()
    relative = server_rate * task.heterogeneity / (2.0 * rate * signal)
    assert relative_variance(updates, rate, server_rate, 1) == pytest.approx(relative, rel=ROUNDING)


@given(seed=st.integers(0, 999), steps=st.integers(1, 30), rate=st.floats(0.001, 0.4))
def test_more_steps_are_seen_through_the_path_they_take(seed: int, steps: int, rate: float) -> None:
    """Exactly |M (c_i - mean c)|^2 / (eta tau)^2: less than the truth, since clients get there."""
    task = some(seed, 5)
    updates = [task.trained(np.ones(3), client, rate, steps) for client in range(5)]
    gaps = (task.optima - task.optima.mean(axis=0)) @ task.moved(rate, steps)
    exact = np.square(gaps).sum(axis=1).mean() / (rate * steps) ** 2
    found = gradient_variance(updates, rate, steps)
    assert found == pytest.approx(exact, rel=ROUNDING)
    assert found <= task.heterogeneity * (1.0 + ROUNDING)


@pytest.mark.parametrize("window", [2, 3, 4])
def test_the_mean_over_all_windows_is_short_by_one_part_in_the_window(window: int) -> None:
    """Clients are drawn with replacement; all windows of four clients are tried."""
    task = some(1, 4)
    updates = [task.trained(np.zeros(3), client, 0.1, 1) for client in range(4)]
    windows = list(itertools.product(updates, repeat=window))
    found = np.mean([gradient_variance(each, 0.1, 1) for each in windows])
    assert found == pytest.approx(task.heterogeneity * (window - 1) / window, rel=ROUNDING)


def test_a_spread_around_zero_would_be_found() -> None:
    """The negative control: it forgets the mean, so a common direction counts as disagreement."""
    task = some(2, 6)
    updates = [task.trained(np.full(3, 4.0), client, 0.1, 1) for client in range(6)]
    wrong = sum(float(each["w"].square().sum()) for each in updates) / (6 * 0.1**2)
    assert wrong > 2.0 * task.heterogeneity


def test_both_estimators_on_hand_numbers() -> None:
    assert gradient_variance(POINTS, 0.1, 5) == pytest.approx(8 / 0.75, rel=1e-14)
    assert relative_variance(POINTS, 0.1, 0.1, 5) == pytest.approx(0.16 / 15, rel=1e-14)


STILL = 1e-9
"""Step of a server whose model stays where it is, so that age changes no update."""


@pytest.mark.slow
@settings(max_examples=2)
@given(seed=st.integers(0, 99))
def test_estimates_in_flight_lead_to_the_shares_of_the_known_heterogeneities(seed: int) -> None:
    """On the runtime's clock, with windows of 8: requests in proportion to the variances."""
    rate, clients, window = 0.1, 40, 8
    tasks = {"A": some(seed, clients), "B": some(seed + 1, clients, spread=2.0)}

    def train(job: Job) -> Params:
        return tasks[job.task].trained(job.payload["w"].numpy(), job.client, rate, 1)

    algorithm = FedAST(
        concurrency=40,
        ratio=4.0,
        server_learning_rate=STILL,
        allocation="dynamic",
        window=window,
        period=1200,
    )
    timing = Timing(ShiftedExponential(0.3, 1.0), np.ones(clients))
    events = arrivals(algorithm, federation("AB", clients, rate=rate, size=3), timing, train)
    before, after = itertools.islice(events, 1198, 1200)
    known = {name: task.heterogeneity for name, task in tasks.items()}
    for name, watch in before.state.watches.items():
        expected = known[name] * (window - 1) / window
        assert watch.mean() == pytest.approx(expected, rel=0.2)  # 70 windows that do not overlap
    shares = request_allocation(list(known.values()), 40, minimum=4)
    assert list(after.state.requests.values()) == pytest.approx(shares.tolist(), abs=3)


def test_a_mean_update_of_zero_gives_no_relative_score() -> None:
    """The score is infinite, and nothing is counted; the plain variance is."""
    there_and_back = [vector(1.0), vector(-1.0)]
    watch = Watch(client_rate=0.1, steps=1)
    for estimator, count in (("relative-variance", 0), ("gradient-variance", 1)):
        after = watch
        for update in there_and_back:
            after = after.seen(update, 2, estimator, 0.1)  # type: ignore[arg-type]
        assert after.count == count
