"""FedAST's staleness: its mean, the cases where the mean says little, and its missing bound.

All of it is about the model of `requests_in_flight`. That `fl_runtime`'s loop obeys the same law is
tested on that loop, in `tests/fl_runtime/algorithms/test_staleness.py`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from proofs.claim import COUNTEREXAMPLE, IDENTITY, LIMIT, OWN, Claim
from proofs.federated.requests_in_flight import (
    Delays,
    Process,
    constant,
    heavy_tailed,
    shifted_exponential,
    uniform,
)

Build = Callable[..., Process]

FEDAST = "FedAST, arXiv 2406.00302, asynchronous loop"
SEED = 20240600
WARM_UP = 2_000
UPDATES = 20_000
SHAPES = ((96, 1), (20, 5), (96, 3))
"""(R, b): mean staleness 95, 19/5, 95/3."""
LAWS = (constant, uniform, shifted_exponential)
ACCURACY = 0.005
"""Relative: requests that the window cuts at both ends are R of 20,000, up to 1/200."""
FAR = 0.03
"""Relative: less than the heavy tail is off by at the same length, 4 to 10 % in eight runs."""


def conserves_arrivals(build: Build, deep: bool) -> str | None:
    """Every arrival is seen by exactly the R - 1 other requests: an identity of whole numbers."""
    for seed in range(40 if deep else 8):
        for law in (*LAWS, heavy_tailed):
            R, b = 3 + seed % 7, 1 + seed % 3
            process = build(R, b, law, np.random.default_rng([SEED, seed]), clients=seed % 5)
            seen = sum(others for _, others in process.run(500))
            if seen + process.unfinished() != (R - 1) * 500:
                total = seen + process.unfinished()
                return f"R {R}, b {b}, {law.__name__}: {total} arrivals seen, not {(R - 1) * 500}"
    return None


def mean_law(build: Build, deep: bool) -> str | None:
    """The mean staleness of 20,000 updates is (R - 1) / b, for delays with finite variance."""
    pairs = itertools.product(SHAPES, LAWS) if deep else zip(SHAPES, LAWS, strict=True)
    for (R, b), law in pairs:
        seen = mean_staleness(build, R, b, law, 10 if deep else 1)
        if not abs(seen * b / (R - 1) - 1.0) <= ACCURACY:
            return f"R {R}, b {b}, {law.__name__}: mean {seen:.3f}, not {(R - 1) / b:.3f}"
    return None


def mean_staleness(build: Build, R: int, b: int, law: Delays, length: int = 1) -> float:
    """Over a window after the warm-up."""
    process = build(R, b, law, np.random.default_rng([SEED, R, b]), clients=50)
    run = [staleness for staleness, _ in process.run(WARM_UP + length * UPDATES)]
    return float(np.mean(run[WARM_UP:]))


def mean_is_far_off(law: Delays, deep: bool) -> str | None:
    """After 20,000 updates the mean is over 3 % below (R - 1) / b: slow requests are missing."""
    R, b = 96, 3
    for seed in range(20 if deep else 3):
        process = Process(R, b, law, np.random.default_rng([SEED, R, b, seed]))
        run = [staleness for staleness, _ in process.run(WARM_UP + UPDATES)]
        off = 1.0 - float(np.mean(run[WARM_UP:])) * b / (R - 1)
        if not off > FAR:
            return f"seed {seed}: the mean is off by {100 * off:.2f} % only"
    return None


def exceeds_any_bound(build: Build, deep: bool) -> str | None:
    """With one slow request, staleness passes any bound."""
    for bound in (10, 100, 1_000):
        process = build(4, 2, first_takes(2.0 * bound), np.random.default_rng(SEED))
        worst = max(staleness for staleness, _ in process.run(8 * bound))
        if worst <= bound:
            return f"the largest staleness is {worst}, within {bound}"
    return None


def first_takes(duration: float) -> Delays:
    """One slow request, then requests of one unit of time."""
    times = itertools.chain([duration], itertools.repeat(1.0))
    return lambda rng: next(times)


def stamped_when_started(R: int, b: int, law: Delays, rng: Any, clients: int = 0) -> Process:
    """The version of a request is taken when a client starts on it."""
    return Process(R, b, law, rng, clients, stamp_when_started=True)


def two_for_one(R: int, b: int, law: Delays, rng: Any, clients: int = 0) -> Process:
    """Every tenth arrival is answered with two requests."""
    counter = itertools.count(1)
    return Process(
        R,
        b,
        law,
        rng,
        clients,
        reissue=lambda target, pending: 2 if next(counter) % 10 == 0 else 1,
    )


def in_rounds(R: int, b: int, law: Delays, rng: Any, clients: int = 0) -> Process:
    """New requests only when all have returned, as in synchronous rounds."""
    return Process(
        R, b, law, rng, clients, reissue=lambda target, pending: 0 if pending else target
    )


CLAIMS = (
    Claim(
        "arrivals-during-flights-add-up",
        "model of an asynchronous server that sends one request at every arrival: with R requests "
        "in flight every arrival is seen by the R - 1 other requests, whatever the delays",
        r"\sum_{\text{requests}} \#\{\text{other arrivals while in flight}\} = (R - 1) T",
        OWN,
        IDENTITY,
        "simulation, whole numbers",
        "32 simulations of 500 updates, 4 delay laws, R 3..9, b 1..3",
        "160 simulations of 500 updates, 4 delay laws, R 3..9, b 1..3",
        conserves_arrivals,
        Process,
        two_for_one,
    ),
    Claim(
        "mean-staleness",
        "in that model, with a buffer of b, the mean staleness tends to (R - 1) / b, whatever the "
        "law of independent delays with a finite mean and the order of what ends together",
        r"\lim_{T\to\infty} \frac1T \sum_t \tau_t = \frac{R - 1}{b}",
        f"{OWN}; {FEDAST}",
        LIMIT,
        "simulation with client queues, relative error 1/200",
        "20,000 updates each: constant (96, 1), uniform (20, 5), exponential (96, 3) as (R, b)",
        "200,000 updates each, the same 3 laws and 3 pairs (R, b), all combinations",
        mean_law,
        Process,
        stamped_when_started,
    ),
    Claim(
        "mean-staleness-under-heavy-tails",
        "with Pareto delays of index 1.2 the mean of 20,000 updates can be more than 3 % below "
        "(R - 1) / b, and is in every run here: the requests that count most have not returned",
        r"\frac1T \sum_{t \le T} \tau_t < 0.97\,\frac{R - 1}{b},\quad T = 20000",
        OWN,
        COUNTEREXAMPLE,
        "seeded simulations",
        "3 runs, R = 96, b = 3",
        "20 runs, R = 96, b = 3",
        mean_is_far_off,
        heavy_tailed,
        shifted_exponential,
    ),
    Claim(
        "staleness-has-no-bound",
        "one slow request is staler than any given bound: a bound on staleness is an assumption of "
        "the theorem, not something that the server enforces",
        r"\forall \gamma\ \exists \text{delays}: \max_t \tau_t > \gamma",
        f"{OWN}; {FEDAST} assumes a bound",
        COUNTEREXAMPLE,
        "constructed delays, whole numbers",
        "bounds 10, 100 and 1,000 with four requests",
        "bounds 10, 100 and 1,000 with four requests",
        exceeds_any_bound,
        Process,
        in_rounds,
    ),
)
