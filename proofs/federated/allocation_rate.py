"""How fast a task trains whose clients are drawn: the rate, and what recruiting leaves of it.

Quadratic losses with known constants: the expected excess loss after any number of local steps is
computed exactly, from every subset of clients, and compared with the bound.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from fairopt import client_task_probabilities
from fairopt.arrays import Array
from proofs.claim import BOUND, Claim, Evidence

SEED = 20240413
LONGEST = 2**14
"""Local steps: the bound is then below a tenth of the bias of the first problem."""
BLOCK = 64
"""Rounds whose shrinkage is multiplied up at once: above (3/4)^(5 * 64), far from underflow."""
ROUNDING = 1e-9
"""Relative: sums of up to 2^14 positive terms."""

RATE = (
    r"\frac{1}{T+\gamma}\Big[\frac{4L(32\tau^2G^2+\sigma^2/m)}{3\mu^2\underline\rho}"
    r"+\frac{8L^2\Gamma}{\mu^2}+\frac{L\gamma}{2}\lVert w_0-w^*\rVert^2\Big]"
)
SOURCE = (
    "FedFairMMFL, arXiv 2404.13841, convergence; stated as by Cho, Wang and Joshi 2020 "
    "(arXiv 2010.01243), theorem 1: our reconstruction"
)


@dataclass(frozen=True)
class Problem:
    r"""One task: :math:`F_k(w) = \tfrac12 \sum_i h_i (w_i - c_{ki})^2`, all clients alike in size.

    Args:
        curvature: h, shape (D,), positive.
        centres: c, shape (N, D).
        start: Initial model, shape (D,).
        local_steps: tau, exact gradient steps of a client in a round (no noise, sigma = 0).
        losses: Of all tasks, shape (S,); this task is the first.
        alpha: Of the allocation.
    """

    curvature: Array
    centres: Array
    start: Array
    local_steps: int
    losses: Array
    alpha: float

    @property
    def optimum(self) -> Array:
        """The best model for all clients."""
        return np.asarray(self.centres.mean(axis=0))

    @property
    def heterogeneity(self) -> float:
        """Gamma, the loss at the optimum: every client's own best is zero."""
        return 0.5 * float(self.curvature @ self.centres.var(axis=0))

    @property
    def gradient_bound(self) -> float:
        """G^2: local steps of at most 1 / 4L never leave the box of the centres and the start."""
        corners = np.vstack([self.centres, self.start])
        return float(((self.curvature * np.ptp(corners, axis=0)) ** 2).sum())


Chances = Callable[[Problem], Array]
"""(N,) chance of every client to train the task in a round."""
Steps = Callable[[Problem, Array], Array]
"""Step lengths by the number of the local step."""
Bound = Callable[[Problem, Array, Array], Array]
"""On the excess loss, from the chances, by the number of local steps."""


@dataclass(frozen=True)
class Training:
    """Who trains, and with which steps."""

    chances: Chances
    steps: Steps


def excess(problem: Problem, training: Training, rounds: int) -> Array:
    r"""(rounds,) expected f(w) - f* after rounds in which somebody trained the task: exactly.

    A client's round is affine, :math:`w \mapsto A w + (1 - A) c_k` in every coordinate, so the mean
    over trainers is as well, and means and variances of the model obey linear recursions.
    """
    tau, h = problem.local_steps, problem.curvature
    lengths = training.steps(problem, np.arange(float(rounds * tau))).reshape(rounds, tau, 1)
    shrink = np.prod(1.0 - lengths * h, axis=1)
    mean, variance = trainers(problem.centres, training.chances(problem))
    off, spread, found = problem.start - mean, np.zeros(h.size), []
    for begin in range(0, rounds, BLOCK):
        part = shrink[begin : begin + BLOCK]
        whole = np.cumprod(part, axis=0)
        offs = whole * off
        spreads = whole**2 * (spread + variance * np.cumsum(((1.0 - part) / whole) ** 2, axis=0))
        found.append(0.5 * ((mean + offs - problem.optimum) ** 2 + spreads) @ h)
        off, spread = offs[-1], spreads[-1]
    return np.concatenate(found)


def trainers(centres: Array, chances: Array) -> tuple[Array, Array]:
    """Mean and variance of the mean centre of those that train, given that somebody does.

    Every subset, with its probability.
    """
    weights, means = [], []
    for chosen in itertools.product((False, True), repeat=len(centres)):
        if any(chosen):
            mine = np.array(chosen)
            weights.append(float(np.prod(np.where(mine, chances, 1.0 - chances))))
            means.append(centres[mine].mean(axis=0))
    p, points = np.array(weights) / sum(weights), np.array(means)
    mean = p @ points
    return mean, p @ (points - mean) ** 2


def skews(problem: Problem, chances: Array) -> tuple[float, float]:
    r"""The smallest, and the value at the optimum, of :math:`\rho(w)`.

    :math:`\rho(w) = \sum_k q_k F_k(w) / \big(\tfrac1N \sum_k F_k(w)\big)` with q the
    share of client k in the mean over trainers. Both sides are quadratics in w with one curvature:
    with their centres a distance :math:`\delta` apart (in the norm of h) and variances
    :math:`\tilde V, V` the smallest ratio is the smaller root of
    :math:`V x^2 - (\tilde V + V + \delta^2) x + \tilde V`.
    """
    c, h = problem.centres, problem.curvature
    q = np.array([trainers(np.eye(len(c)), chances)[0]])[0]
    mean = q @ c
    apart = float(h @ (mean - problem.optimum) ** 2)
    mine, everybody = float(h @ (q @ (c - mean) ** 2)), float(h @ c.var(axis=0))
    b = mine + everybody + apart
    smallest = 2.0 * mine / (b + math.sqrt(max(b * b - 4.0 * everybody * mine, 0.0)))
    return smallest, (mine + apart) / everybody


def without_bias(problem: Problem, chances: Array, T: Array) -> Array:
    """The part of the bound that vanishes."""
    low, _ = skews(problem, chances)
    mu, L = float(problem.curvature.min()), float(problem.curvature.max())
    gamma, distance = 4.0 * L / mu, float(((problem.start - problem.optimum) ** 2).sum())
    local = 4.0 * L * 32.0 * problem.local_steps**2 * problem.gradient_bound
    constant = local / (3.0 * mu**2 * low) + 8.0 * L**2 * problem.heterogeneity / mu**2
    return np.asarray((constant + 0.5 * L * gamma * distance) / (T + gamma))


def with_bias(problem: Problem, chances: Array, T: Array) -> Array:
    """The whole bound."""
    low, best = skews(problem, chances)
    mu, L = float(problem.curvature.min()), float(problem.curvature.max())
    bias = 8.0 * L * problem.heterogeneity / (3.0 * mu) * (best / low - 1.0)
    return without_bias(problem, chances, T) + bias


def decaying(problem: Problem, t: Array) -> Array:
    """1 / (mu (t + gamma)), t the local steps of this task so far."""
    mu, L = problem.curvature.min(), problem.curvature.max()
    return np.asarray(1.0 / (mu * (t + 4.0 * L / mu)))


def fixed(problem: Problem, t: Array) -> Array:
    """The first of those steps, always."""
    return np.asarray(np.full(t.shape, 0.25 / problem.curvature.max()))


def alike(problem: Problem) -> Array:
    """The allocation of FedFairMMFL: one chance for all clients."""
    p = client_task_probabilities(problem.losses, problem.alpha)[0]
    return np.full(len(problem.centres), p)


def by_own_loss(problem: Problem) -> Array:
    """Every client by its own loss of this task: those far from the start train it more often."""
    own = 0.5 * (problem.centres - problem.start) ** 2 @ problem.curvature
    rows = [
        client_task_probabilities([loss, *problem.losses[1:]], 1.0 + problem.alpha)[0]
        for loss in own
    ]
    return np.array(rows)


def recruits(problem: Problem) -> Array:
    """Half of the clients were recruited, those whose first entry is smallest."""
    p = client_task_probabilities(problem.losses, problem.alpha)[0]
    cheap = np.argsort(problem.centres[:, 0])[: (len(problem.centres) + 1) // 2]
    return np.where(np.isin(np.arange(len(problem.centres)), cheap), p, 0.0)


def problems(deep: bool) -> Iterator[Problem]:
    """One with small constants, so that little bias shows, then random ones."""
    ones, centres = np.ones(1), np.array([[0.0], [0.1], [0.2], [1.0]])
    yield Problem(ones, centres, np.array([0.325]), 1, np.array([0.5, 0.5]), 1.0)
    rng = np.random.default_rng(SEED)
    for _ in range(200 if deep else 12):
        N, D = int(rng.integers(3, 7)), int(rng.integers(1, 4))
        yield Problem(
            rng.uniform(0.5, 2.0, D),
            rng.normal(size=(N, D)),
            rng.normal(size=D),
            int(rng.integers(1, 6)),
            rng.uniform(0.1, 1.0, int(rng.integers(2, 5))),
            float(rng.integers(1, 5)),
        )


def keeps_the_rate(training: Training, deep: bool) -> str | None:
    """The bound without a bias term, after 1, 2, 4, ... rounds."""
    return _within(training, without_bias, deep)


def keeps_the_bound(bound: Bound, deep: bool) -> str | None:
    """Recruits that are no image of all clients, against a bound."""
    return _within(Training(recruits, decaying), bound, deep)


def ends_at_the_bias(bias: Callable[[Problem, Array], float], deep: bool) -> str | None:
    """The excess of recruits tends to that of the best model for them, within the rate."""
    for number, problem in enumerate(problems(deep)):
        rounds = LONGEST // problem.local_steps
        seen = float(excess(problem, Training(recruits, decaying), rounds)[-1])
        claimed = bias(problem, recruits(problem))
        rate = float(without_bias(problem, recruits(problem), np.array([float(LONGEST)]))[0])
        if not abs(seen - claimed) <= rate:
            return f"problem {number}: {seen:.3g} after {LONGEST} steps, not {claimed:.3g}"
    return None


def of_their_best(problem: Problem, chances: Array) -> float:
    """The loss at the mean centre of the trainers, less its minimum."""
    mean, _ = trainers(problem.centres, chances)
    return 0.5 * float(problem.curvature @ (mean - problem.optimum) ** 2)


def nothing(problem: Problem, chances: Array) -> float:
    """No bias."""
    return 0.0


def _within(training: Training, bound: Bound, deep: bool) -> str | None:
    """The excess against a bound, after 1, 2, 4, ... rounds."""
    for number, problem in enumerate(problems(deep)):
        rounds = LONGEST // problem.local_steps
        at = 2 ** np.arange(int(math.log2(rounds)) + 1)
        seen = excess(problem, training, int(at[-1]))[at - 1]
        most = bound(
            problem, training.chances(problem), at.astype(np.float64) * problem.local_steps
        )
        broken = np.flatnonzero(~(seen <= most * (1.0 + ROUNDING)))
        if broken.size:
            i = int(broken[0])
            T = int(at[i]) * problem.local_steps
            return f"problem {number}: {seen[i]:.3g} after {T} local steps, bound {most[i]:.3g}"
    return None


SCOPE = "13 problems of 3 to 6 clients, 1 to 5 local steps, up to 16,384 in all"
DEEP_SCOPE = SCOPE.replace("13", "201")
HOW = "quadratics, exact expectation over every subset of clients"
CLAIMS = (
    Claim(
        "fair-allocation-trains-at-rate-one-over-t",
        "a task of FedFairMMFL whose steps shrink with its own local steps T is within O(1/T) of "
        "its optimum, with the constant of selection without bias: fairness decides how soon T "
        "is reached, not where training ends",
        r"\mathbb{E} f(w_T) - f^* \le " + RATE + r",\quad \underline\rho = 1,\ \sigma = 0",
        SOURCE,
        BOUND,
        HOW,
        SCOPE,
        DEEP_SCOPE,
        keeps_the_rate,
        Training(alike, decaying),
        Training(alike, fixed),
        (
            Evidence(
                HOW, keeps_the_rate, Training(alike, decaying), Training(by_own_loss, decaying)
            ),
        ),
    ),
    Claim(
        "recruits-train-at-that-rate-to-a-biased-model",
        "where only some clients were recruited the same holds with a term that does not vanish, "
        "and training ends at the best model for the recruits",
        r"\mathbb{E} f(w_T) - f^* \le " + RATE + r"+ \frac{8L\Gamma}{3\mu}"
        r"\Big(\frac{\bar\rho}{\underline\rho}-1\Big)",
        SOURCE,
        BOUND,
        HOW,
        SCOPE,
        DEEP_SCOPE,
        keeps_the_bound,
        with_bias,
        without_bias,
        (Evidence("the limit, within the rate", ends_at_the_bias, of_their_best, nothing),),
    ),
)
