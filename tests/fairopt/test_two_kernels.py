"""A solver as two kernels: the quick one gives the digits of the full one, or gives nothing."""

from __future__ import annotations

from functools import cache
from importlib import import_module

import numpy as np
import pytest

from fairopt import (
    checks,
    conflict_averse,
    dual_cone_projection,
    fairgrad,
    two_kernels,
    upgrad,
)
from fairopt.conflict_averse import _kernel as conflict_averse_full
from fairopt.conflict_averse import _quick_kernel as conflict_averse_quick
from fairopt.dual_cone import _kernel as dual_cone_full
from fairopt.dual_cone import _quick_kernel as dual_cone_quick
from fairopt.fairgrad import _kernel as fairgrad_full
from fairopt.fairgrad import _quick_kernel as fairgrad_quick
from fairopt.kernels.faults import UNSETTLED
from tests.fairopt.fuzzing import ALPHAS, gram_batch

TASKS = (1, 2, 3, 5, 8, 12, 30)
KERNELS = {
    "fairgrad": (fairgrad_quick, fairgrad_full, 2),
    "conflict_averse": (conflict_averse_quick, conflict_averse_full, 3),
    "dual_cone": (dual_cone_quick, dual_cone_full, 1),
}


def problems(name, rng, count):
    """Arguments of a kernel: any gradients, and plain ones, each with any options."""
    while count > 0:
        K = int(rng.choice(TASKS))
        G = rng.normal(size=(40, K, 2 * K + 3)) + 0.3
        A = np.concatenate([gram_batch(K, 40, rng), G @ np.swapaxes(G, 1, 2)])
        count -= len(A)
        steps = rng.choice([1000.0, 1000.0, 3.0, 0.0], len(A))
        if name == "dual_cone":
            m = int(rng.integers(1, K + 2))  # references share what is known of the matrix
            arrays = rng.normal(size=(2, len(A), m, K))
            warm = rng.integers(0, 2, len(A)).astype(float)
            yield A, *arrays, warm, 1e-12, -1.0, steps, checks.DEFAULT_ERROR
            continue
        if name == "fairgrad":
            number = rng.choice(ALPHAS[1:], len(A))
            arrays = 10.0 ** rng.uniform(-3.0, 3.0, size=(2, len(A), K))
        else:
            number = rng.choice([0.0, 0.1, 0.4, 0.9, 1.0, 2.0], len(A))
            arrays = rng.normal(size=(2, len(A), K))
        given = rng.integers(0, 4, len(A)).astype(float)
        yield A, number, *arrays, given, 1e-10, steps, checks.DEFAULT_ERROR


@pytest.mark.parametrize("name", KERNELS)
def test_where_the_quick_kernel_settles_it_gives_the_digits_of_the_full_one(name):
    quick, full, at = KERNELS[name]
    settled, left = 0, 0
    with np.errstate(all="ignore"):
        for given in problems(name, np.random.default_rng(0), 4000):
            fast, slow = quick()(*given), full()(*given)
            known = fast[at] != UNSETTLED
            known = known.all(axis=-1) if name == "dual_cone" else known
            settled, left = settled + known.sum(), left + (~known).sum()
            for a, b in zip(fast, slow, strict=True):
                np.testing.assert_array_equal(a[known], b[known], strict=True)
            assert not (slow[at] == UNSETTLED).any()
    assert settled > 1000
    assert left > 100


@pytest.mark.parametrize("K", [2, 5, 10, 30])
def test_the_quick_kernels_alone_answer_plain_problems(K, monkeypatch):
    def refuse(*_):
        raise AssertionError("the full kernel was needed")

    @cache
    def loaded():
        return refuse

    for name in KERNELS:
        monkeypatch.setattr(import_module(f"fairopt.{name}"), "_kernel", loaded)
    G = np.random.default_rng(K).normal(size=(50, K, 4 * K)) + 0.3
    A = G @ np.swapaxes(G, 1, 2)
    for alpha in (0.5, 1.0, 2.0, 10.0):
        assert fairgrad(A, alpha).ok
        assert fairgrad(A[0], alpha).ok
    assert conflict_averse(A, 0.4).ok
    assert conflict_averse(A[0], 0.4).ok
    assert dual_cone_projection(A, -np.ones(K)).ok
    assert dual_cone_projection(A[0], np.ones(K)).ok
    assert upgrad(A).ok
    assert upgrad(A[0]).ok


def halves(status):
    """Twice the number of each problem, which a kernel leaves where it is odd."""

    @cache
    def load():
        def kernel(vector, number):
            seen.append(np.shape(number))
            doubled = 2.0 * (vector.sum(axis=-1) + number)
            odd = np.broadcast_to(np.asarray(number) % 2 == 1, doubled.shape)
            return doubled, np.where(odd, status, 0)[()]

        seen = kernel.seen = []
        return kernel

    return load


def test_only_what_is_left_goes_to_the_full_kernel():
    quick, full = halves(UNSETTLED), halves(7)
    numbers = np.arange(6.0)
    doubled, status = two_kernels.solve(quick, full, 1, (1, 0), (np.ones(2), numbers))
    assert full().seen == [(3,)]
    np.testing.assert_array_equal(doubled, 2.0 * (2.0 + numbers))
    np.testing.assert_array_equal(status, [0, 7, 0, 7, 0, 7])


def test_a_process_that_has_the_full_kernel_solves_nothing_twice():
    quick, full = halves(UNSETTLED), halves(7)
    for number in (2.0, 1.0, 2.0):
        two_kernels.solve(quick, full, 1, (1, 0), (np.ones(2), np.float64(number)))
    assert (len(quick().seen), len(full().seen)) == (2, 2)


def test_batches_of_arguments_are_broadcast_before_they_are_picked():
    quick, full = halves(UNSETTLED), halves(7)
    vector = np.arange(4.0).reshape(2, 1, 2)
    numbers = np.arange(3.0)
    doubled, _ = two_kernels.solve(quick, full, 1, (1, 0), (vector, numbers))
    np.testing.assert_array_equal(doubled, 2.0 * (vector.sum(axis=-1) + numbers))
    assert full().seen == [(2,)]
