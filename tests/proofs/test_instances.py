"""Strategies draw valid inputs, exact solutions agree with convex programs, models count right."""

from fractions import Fraction
from itertools import islice

import numpy as np
from hypothesis import given, settings

import fairopt
from fairopt import reference
from mechanisms import max_min_fair
from proofs.federated.requests_in_flight import Process, constant
from proofs.gradients import exact
from proofs.gradients.best_progress import Ball, best_progress
from proofs.gradients.degenerate import exact_row, neighbours, problems
from proofs.gradients.problems import exact_gram, progress, samples
from proofs.incentives.existence import Question, mechanism_exists
from proofs.strategies import (
    bid_profiles,
    conflicting_gradients,
    gradient_matrices,
    gram_matrices,
    loss_vectors,
    near_stationary_gradients,
)

CONIC = 1e-4  # accuracy of a direction from a conic solver, relative


@settings(max_examples=30)
@given(bid_profiles(exact=False))
def test_profiles_are_valid_auctions(auction):
    bids, budget = auction
    assert max_min_fair(bids, budget).spend <= budget


@settings(max_examples=50)
@given(gradient_matrices(), gram_matrices(), loss_vectors())
def test_inputs_are_valid(G, A, losses):
    assert fairopt.fairgrad(G @ G.T, 2.0).weights.shape == (len(G),)
    assert np.linalg.eigvalsh(A).min() >= -1e-9 * np.trace(A)
    assert abs(fairopt.client_task_probabilities(losses, 2.0).sum() - 1.0) < 1e-12


@settings(max_examples=50)
@given(conflicting_gradients(), near_stationary_gradients())
def test_gradients_are_what_they_are_called(conflicting, near):
    A = conflicting @ conflicting.T
    assert A.min() < 0.0
    assert not exact.stationary(exact_gram(conflicting))
    G, margin = near
    point = fairopt.min_norm_from_gradients(G)
    assert abs(np.linalg.norm(point.weights @ G) / margin - 1.0) < 1e-6


def test_exact_solutions_agree_with_convex_programs():
    rng = np.random.default_rng(3)
    for _ in range(10):
        G = rng.integers(-3, 4, size=(3, 2)).astype(float)
        A = exact_gram(G)
        v = np.array([float(x) for x in exact.min_norm(A)])
        assert np.linalg.norm((v - reference.min_norm(G @ G.T)) @ G) < CONIC * 10
        r = [Fraction(1), Fraction(2), Fraction(1)]
        w = np.array([float(x) for x in exact.dual_cone(A, r)])
        other = reference.dual_cone_projection(G @ G.T, [1.0, 2.0, 1.0])
        assert np.linalg.norm((w - other) @ G) < CONIC * 10


def test_the_active_set_in_fractions_agrees_with_every_support():
    rng = np.random.default_rng(5)
    for _ in range(60):
        G = rng.integers(-2, 3, size=(rng.integers(1, 5), rng.integers(1, 4))).astype(float)
        A, r = exact_gram(G), exact_row(rng.integers(-2, 3, size=len(G)))
        pairs = zip(exact.projection(A, r), exact.dual_cone(A, r), strict=True)
        assert exact.square(A, [x - y for x, y in pairs]) == 0


def test_the_best_progress_is_reached_and_cannot_be_exceeded():
    rng = np.random.default_rng(6)
    for name, G, r in islice(problems(False, 3), 0, None, 7):
        A, c = exact_gram(G), float(rng.choice([0.3, 1.0, 2.0]))
        best = float(best_progress(Ball(A, exact_row(r), Fraction(c))))
        g0 = r @ G
        reach, size = c * np.linalg.norm(g0), np.linalg.norm(G, axis=1).max()
        found = fairopt.conflict_averse(G @ G.T, c, reference=r)
        if found.ok:
            assert best - (G @ (found.weights @ G)).min() <= 1e-6 * max(abs(best), g0 @ g0), name
        for push in rng.normal(size=(20, G.shape[1])):
            rival = g0 + reach * push / np.linalg.norm(push)
            assert (G @ rival).min() <= best + 1e-12 * size * (size + reach), name


def test_neighbours_are_other_gradients_within_the_error():
    seen = 0
    for name, G, r in problems(False):
        A = G @ G.T
        d = np.where(G.any(axis=1), np.linalg.norm(G, axis=1), 1.0)
        for B in neighbours(G, 1e-8, r, r, name):
            off = np.abs(np.array(B, dtype=float) - A) / d / d[:, None]
            assert off.max() <= 1.0001e-8
            seen += off.max() > 1e-10
    assert seen > 200  # of 585; some kinds of them are farther away for most gradients


def test_families_have_a_common_descent_direction():
    for name, G in samples(False):
        v = fairopt.min_norm(G @ G.T).weights
        assert min(progress(G, v)) > 0, name


def test_one_request_is_never_stale():
    process = Process(1, 1, constant, np.random.default_rng(0))
    assert list(process.run(5)) == [(0, 0)] * 5


def test_two_requests_that_end_together_are_stale_by_one_on_average():
    """In either order: the second is one version behind, or sees two made after it was sent."""
    seen = list(Process(2, 1, constant, np.random.default_rng(0)).run(40))
    assert seen[:2] == [(0, 0), (1, 1)]
    sums = {first + second for (first, _), (second, _) in zip(seen[2::2], seen[3::2], strict=True)}
    assert sums == {2}
    assert set(seen[2:]) == {(0, 0), (1, 1), (2, 2)}


def test_mechanisms_that_exist_and_do_not():
    assert mechanism_exists(Question(2, 1, 4, 1, cheapest_first=True), [(1, 1), (1, 3), (3, 1)])
    everybody = Question(2, 1, 4, 2, cheapest_first=True)
    assert not mechanism_exists(everybody, [(1, 1), (1, 3), (3, 1)])
