"""Cost distributions: they draw what their docstring says and refuse what it does not."""

import numpy as np
import pytest

from fairopt import errors
from mechanisms.studies import cost_distributions
from mechanisms.studies.cost_distributions import (
    DISTRIBUTIONS,
    Abstaining,
    Correlated,
    LogNormal,
    Specialists,
    TwoPoint,
    Uniform,
    draw_costs,
    scenario,
)

CLIENTS = 4000
"""Means of 4000 draws are within 4 standard errors of the truth in all tests below."""


def drawn(distribution, tasks=3):
    return draw_costs(np.random.default_rng(1), CLIENTS, tasks, distribution)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_every_named_distribution_draws_finite_costs(name):
    table = drawn(scenario({"distribution": name}))
    assert table.shape == (CLIENTS, 3)
    assert np.isfinite(table).all()
    assert (table >= 0).all()
    again = drawn(scenario({"distribution": name}))
    assert np.array_equal(table, again)


def test_uniform_with_task_scale():
    table = drawn(scenario({"distribution": "uniform", "high": 2.0, "task-scale": [1, 2, 4]}))
    error = 4 * np.array([1, 2, 4]) * np.sqrt(2.0**2 / 12 / CLIENTS)
    assert (abs(table.mean(axis=0) - [1, 2, 4]) < error).all()


def test_lognormal_has_its_mean_and_spread():
    logs = np.log(drawn(LogNormal(mean=1.0, sigma=0.5)))
    assert abs(logs.mean() - 1.0) < 4 * 0.5 / np.sqrt(3 * CLIENTS)
    assert abs(logs.std() - 0.5) < 4 * 0.5 / np.sqrt(6 * CLIENTS)


def test_correlated_costs_are_positively_correlated():
    table = drawn(Correlated(client=1.0, task=0.0, noise=0.5))
    exact = 1.0 / (1.0 + 0.5**2)  # var(client) / (var(client) + var(noise))
    assert abs(np.corrcoef(table.T)[0, 1] - exact) < 4 / np.sqrt(CLIENTS)


def test_specialists_are_cheap_on_exactly_one_task():
    table = drawn(Specialists(cheap=0.2, dear=1.0))
    assert ((table < 0.2).sum(axis=1) == 1).all()


def test_two_point_and_abstention():
    table = drawn(Abstaining(TwoPoint(1.0, 3.0, 0.25), 0.2))
    assert set(np.unique(table)) == {1.0, 3.0, np.inf}
    away = np.isinf(table).mean()
    assert abs(away - 0.2) < 4 * np.sqrt(0.2 * 0.8 / (3 * CLIENTS))
    named = scenario({"distribution": "two-point", "high": 3.0, "abstention": 0.2})
    assert named == Abstaining(TwoPoint(0.0, 3.0, 0.5), 0.2)


@pytest.mark.parametrize(
    ("settings", "argument"),
    [
        ({"distribution": "normal"}, "distribution"),
        ({}, "distribution"),
        ({"distribution": "uniform", "hight": 1.0}, "hight"),
        ({"distribution": "uniform", "low": -1.0}, "low"),
        ({"distribution": "uniform", "low": 2.0, "high": 1.0}, "high"),
        ({"distribution": "uniform", "low": float("nan")}, "low"),
        ({"distribution": "uniform", "high": float("inf")}, "high"),
        ({"distribution": "uniform", "high": "1"}, "high"),
        ({"distribution": "uniform", "task-scale": [1, 0]}, "task_scale"),
        ({"distribution": "uniform", "task-scale": 2}, "task_scale"),
        ({"distribution": "lognormal", "sigma": -1}, "sigma"),
        ({"distribution": "lognormal", "mean": None}, "mean"),
        ({"distribution": "correlated", "noise": -1}, "noise"),
        ({"distribution": "specialists", "cheap": 2}, "dear"),
        ({"distribution": "two-point", "probability": 1.5}, "probability"),
        ({"distribution": "uniform", "abstention": -0.1}, "abstention"),
    ],
)
def test_bad_settings(settings, argument):
    with pytest.raises(errors.InvalidInput) as caught:
        scenario(settings)
    assert caught.value.argument == argument


def test_bad_sizes():
    rng = np.random.default_rng(0)
    with pytest.raises(errors.InvalidInput, match="task_scale"):
        Uniform(task_scale=(1.0, 2.0)).draw(rng, 3, 3)
    for clients, tasks in ((0, 1), (1, 0), (1.5, 1), (True, 1)):
        for distribution in (Uniform(), Specialists(), Correlated(), TwoPoint(), LogNormal()):
            with pytest.raises(errors.InvalidInput):
                distribution.draw(rng, clients, tasks)


def test_the_registry_cannot_be_changed():
    with pytest.raises(TypeError):
        cost_distributions.DISTRIBUTIONS["mine"] = Uniform
