r"""FedAST's rate: an explicit bound with its three terms, and where its step condition comes from.

Theorem. N clients with losses of smoothness L; the server keeps R requests in flight, each to a
client drawn uniformly when it is sent, and delays do not depend on what is drawn. A client makes
:math:`\tau` steps of length :math:`\eta_c` with unbiased gradients of variance at most
:math:`\sigma_l^2` from the model that it was sent, and
:math:`x \leftarrow x + \eta_s \frac1b \sum \Delta` when b answers are in the buffer. Let
:math:`\frac1N \sum_i \|\nabla f_i - \nabla f\|^2 \le \sigma_g^2`, :math:`\beta = \eta_s \eta_c
\tau`, :math:`S = \sigma_l^2 / \tau + \sigma_g^2`, and let at most W requests be sent between a
request and the aggregation of its answer (:math:`(\gamma_{\max} + 1) b + R` do). If

.. math:: \eta_c \tau L \le \tfrac14, \qquad \frac{\beta L}{b} \le \tfrac1{40}, \qquad
          \Bigl(\frac{\beta L}{b}\Bigr)^2 W (R + b) \le \tfrac1{120},

then the models :math:`x_n` that the first K requests carry have

.. math:: \frac1K \sum_n E \|\nabla f(x_n)\|^2 \le \frac{8 b (f(x_0) - f^*)}{\beta K}
          + \frac{20 L \beta S}{b} + 34 (L \eta_c \tau)^2 S + \frac{120 L^2 \beta^2 (R + b) S}{b^2}.

Proof. The virtual :math:`v_{n+1} = v_n - \frac{\beta}{b} G_n` moves when a request is *sent*
(:math:`G_n` is the mean of its gradients), so :math:`v_n - x_n` is what is in flight or in the
buffer: at most :math:`C = R + b - 2` terms. With :math:`g_n = \nabla f(x_n)`, given the past of n,
:math:`E G_n = g_n + e_n`. By the usual bound of local drift, with :math:`\eta_c \tau L \le
\frac14`, :math:`\|e_n\|^2 \le \frac83 (L \eta_c \tau)^2 S + \frac16 \|g_n\|^2` and :math:`E
\|G_n\|^2 \le 5 (S + \|g_n\|^2)`. Smoothness gives

.. math:: E f(v_{n+1}) \le E f(v_n) - \tfrac{\beta}{b} E\bigl[\tfrac12 \|g_n\|^2 -
          \tfrac32 \|e_n\|^2 - \tfrac32 L^2 \|v_n - x_n\|^2\bigr] + \tfrac{L \beta^2}{2 b^2} E
          \|G_n\|^2 .

Deviations of the :math:`G_m` from their means are uncorrelated, so :math:`E \|v_n - x_n\|^2 \le
\frac{\beta^2}{b^2} \sum_m [10 (S + \|g_m\|^2) + 4 C (\|g_m\|^2 + \|e_m\|^2)]` over those terms,
each of which occurs for at most W of the n. Summed over n, the conditions leave an eighth of the
squared gradients on the left. No gradient need be bounded, and the terms are the source's: those of
federated averaging, and one of order :math:`R / b` for asynchrony.

The check is exact: for quadratics with one Hessian everything is linear in the draws, so the
expectations are sums of squares, without sampling. The runtime is not imported here.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from fairopt.arrays import Array
from proofs.claim import BOUND, OWN, TIGHT, Claim
from proofs.federated.requests_in_flight import (
    Delays,
    constant,
    shifted_exponential,
    uniform,
)

FEDAST = "the three terms: FedAST, arXiv 2406.00302; constants and proof: " + OWN
SEED = 20240602
REQUESTS = 600
"""Sent in a simulation."""
SHAPES = ((8, 1), (8, 4), (24, 1), (24, 6), (37, 1), (74, 2))
"""(R, b): ratios of 8, 2, 24, 4 and twice 37."""
LAWS = (constant, uniform, shifted_exponential)
ROUNDING = 1e-9
"""Of sums of a few hundred squares, relative."""
BESIDE = 0.01
"""Relative distance from a threshold at which both sides of it are tried."""


@dataclass(frozen=True)
class Schedule:
    """When everything happens, which does not depend on any gradient.

    Attributes:
        buffer: b.
        versions: (K,) version that each of the first K requests carries.
        batches: For every aggregation the requests in it, in order of arrival.
        longest: W, the most requests that are sent between one and the aggregation of its answer.
    """

    buffer: int
    versions: Array
    batches: tuple[tuple[int, ...], ...]
    longest: int


@dataclass(frozen=True)
class Problem:
    r"""Quadratics :math:`f_i(x) = \frac12 \sum_d a_d (x_d - c_{id})^2`, written at the mean c.

    Attributes:
        curvature: (D,) the :math:`a_d`.
        start: (D,) distance of the first model from the mean of the c.
        centres: (D,) variances of the c over clients.
        noise: (D,) variances of a stochastic gradient.
    """

    curvature: Array
    start: Array
    centres: Array
    noise: Array

    @property
    def smoothness(self) -> float:
        """L."""
        return float(self.curvature.max())

    @property
    def excess(self) -> float:
        """f(x_0) - f*."""
        return float(0.5 * (self.curvature * self.start**2).sum())

    def variance(self, steps: int) -> float:
        """S, of gradients over clients and of the noise of so many steps."""
        return float(self.noise.sum() / steps + (self.curvature**2 * self.centres).sum())


@dataclass(frozen=True)
class Steps:
    """Steps of clients and server.

    Attributes:
        local: Number of a client's steps.
        client: Length of one.
        server: Rate of the server.
    """

    local: int
    client: float
    server: float

    @property
    def whole(self) -> float:
        """The step of an aggregation in units of a gradient, beta."""
        return self.server * self.client * self.local


Rule = Callable[[Problem, int, Schedule, int], Steps]
"""Steps for a problem, R, a schedule and a number of local steps."""


def largest_steps(problem: Problem, R: int, times: Schedule, local: int) -> Steps:
    """The largest that the conditions allow."""
    client = 0.25 / (local * problem.smoothness)
    b, W = times.buffer, times.longest
    whole = b * min(1.0 / 40.0, 1.0 / math.sqrt(120.0 * W * (R + b))) / problem.smoothness
    return Steps(local, client, whole / (client * local))


def tuned_steps(problem: Problem, R: int, times: Schedule, local: int) -> Steps:
    """Of order (b / K)^(1/2), for the rate; with local steps short enough for that."""
    most, rounds = largest_steps(problem, R, times, local), len(times.batches)
    scale = problem.smoothness * problem.variance(local)
    whole = min(most.whole, math.sqrt(times.buffer * problem.excess / (scale * rounds)))
    client = most.client / math.sqrt(rounds)
    return Steps(local, client, whole / (client * local))


def steps_of_rounds(problem: Problem, R: int, times: Schedule, local: int) -> Steps:
    """Half the inverse of the smoothness, which a server that waits can bear (wrong)."""
    client = largest_steps(problem, R, times, local).client
    return Steps(local, client, 0.5 / (problem.smoothness * client * local))


def schedule(R: int, b: int, law: Delays, seed: int, requests: int = REQUESTS) -> Schedule:
    """R requests in flight, a new one at every arrival, until so many are aggregated."""
    rng = np.random.default_rng([SEED, seed, R, b])
    versions: list[int] = []
    flying: list[tuple[float, float, int]] = []
    arrived: list[int] = []
    sent_at: list[int] = []

    def send(now: float) -> None:
        heapq.heappush(flying, (now + law(rng), float(rng.random()), len(versions)))
        versions.append(len(arrived) // b)

    for _ in range(R):
        send(0.0)
    while len(arrived) < requests:
        finish, _, number = heapq.heappop(flying)
        arrived.append(number)
        sent_at.append(len(versions))
        send(finish)
    batches = tuple(tuple(arrived[k : k + b]) for k in range(0, requests - requests % b, b))
    waits = [sent_at[(k + 1) * b - 1] - min(batch) for k, batch in enumerate(batches)]
    unfinished = [*arrived[len(batches) * b :], *(number for _, _, number in flying)]
    waits += [len(versions) - number for number in unfinished]
    return Schedule(b, np.array(versions), batches, max(waits))


def mean_square_gradient(problem: Problem, times: Schedule, steps: Steps) -> float:
    """E ||grad f||^2 of the models that requests carry, averaged over them; exact."""
    kept = 1.0 - steps.client * problem.curvature
    moved = 1.0 - kept**steps.local
    local = sum(kept ** (2 * k) for k in range(steps.local))
    # what one request adds to its own answer beside the model that it carries
    own = moved**2 * problem.centres + steps.client**2 * problem.noise * local
    K, T = len(times.versions), len(times.batches)
    total = 0.0
    for d, a in enumerate(problem.curvature.tolist()):
        path = np.zeros((T + 1, K + 1))  # a model as a sum of the start and of the draws
        path[0, 0] = 1.0
        for t, batch in enumerate(times.batches):
            answers = moved[d] * path[times.versions[list(batch)]]
            path[t + 1] = path[t] - steps.server / times.buffer * answers.sum(axis=0)
            path[t + 1, np.array(batch) + 1] += steps.server / times.buffer
        square = path[:, 0] ** 2 * problem.start[d] ** 2 + (path[:, 1:] ** 2).sum(axis=1) * own[d]
        total += a**2 * float(square[times.versions].mean())
    return total


def terms(problem: Problem, R: int, times: Schedule, steps: Steps) -> tuple[float, ...]:
    """The four terms of the bound, for the requests of the schedule."""
    L, S, b = problem.smoothness, problem.variance(steps.local), times.buffer
    beta, K = steps.whole, len(times.versions)
    return (
        8.0 * b * problem.excess / (beta * K),
        20.0 * L * beta * S / b,
        34.0 * (L * steps.client * steps.local) ** 2 * S,
        120.0 * (L * beta / b) ** 2 * (R + b) * S,
    )


def stays_within(rule: Rule, deep: bool) -> str | None:
    """The mean squared gradient is at most the sum of the terms."""
    for R, times, problem, local in _instances(deep):
        steps = rule(problem, R, times, local)
        found = mean_square_gradient(problem, times, steps)
        bound = sum(terms(problem, R, times, steps))
        if not found <= bound * (1.0 + ROUNDING):
            return f"R {R}, b {times.buffer}, {local} local steps: {found:.3g} > {bound:.3g}"
    return None


def falls_with_the_root(rule: Rule, deep: bool) -> str | None:
    """At tuned steps it is at most 28 (L S (f - f*) / (b T))^(1/2), and terms of order 1 / T."""
    lengths = (400, 1600, 3200) if deep else (400, 1600)
    for R, b in ((8, 1), (8, 4), (37, 1)):
        for length in lengths:
            problem = _problem(np.random.default_rng([SEED, R, b]))
            times = schedule(R, b, uniform, 0, length)
            T, L, S = len(times.batches), problem.smoothness, problem.variance(2)
            found = mean_square_gradient(problem, times, rule(problem, R, times, 2))
            slow = math.sqrt(L * S * problem.excess / (b * T))
            condition = math.sqrt(120.0 * times.longest * (R + b)) / b
            fast = 8.0 * L * problem.excess * max(40.0 / b, condition) + 2.125 * S
            fast += 120.0 * L * problem.excess * (R + b) / b
            if not found <= 28.0 * slow + fast / T:
                return f"R {R}, b {b}, {T} rounds: {found:.3g} > {28.0 * slow + fast / T:.3g}"
    return None


Threshold = Callable[[int], float]
"""From a staleness to the largest step times L."""


def sharp_threshold(staleness: int) -> float:
    """Where the polynomial has its first root of modulus 1."""
    return 2.0 * math.sin(math.pi / (2.0 * (2 * staleness + 1)))


def without_staleness(staleness: int) -> float:
    """That of gradient descent (wrong)."""
    return 2.0


def separates(threshold: Threshold, deep: bool) -> str | None:
    """Below it models approach the minimum, above they leave it; it is below 4 / (2 gamma + 1)."""
    for staleness in (0, 1, 2, 5, 12, 37, *((96, 300) if deep else ())):
        limit = threshold(staleness)
        below, above = (_growth(staleness, limit * f) for f in (1.0 - BESIDE, 1.0 + BESIDE))
        if not below < 1.0 < above:
            return f"staleness {staleness}: growth {below:.6f} below and {above:.6f} above"
        if not limit <= 4.0 / (2 * staleness + 1):
            return f"staleness {staleness}: {limit:.3g} is not of order 1 / staleness"
    return None


def _growth(staleness: int, step: float) -> float:
    """Per version, in x <- x - step * (the x of so many versions ago)."""
    polynomial = np.zeros(staleness + 2)
    polynomial[0], polynomial[1] = 1.0, -1.0
    polynomial[-1] += step
    return float(np.abs(np.roots(polynomial)).max())


def _instances(deep: bool) -> Iterator[tuple[int, Schedule, Problem, int]]:
    """Every shape with a law of delays, a problem and a number of local steps."""
    for draw in range(8 if deep else 1):
        for k, (R, b) in enumerate(SHAPES):
            rng = np.random.default_rng([SEED, draw, k])
            times = schedule(R, b, LAWS[(k + draw) % len(LAWS)], draw)
            yield R, times, _problem(rng), (1, 2, 5)[(k + draw) % 3]


def _problem(rng: np.random.Generator) -> Problem:
    """Three directions, the steepest of curvature 1."""
    return Problem(
        np.array([1.0, *rng.uniform(0.05, 0.9, 2)]),
        rng.normal(0.0, 2.0, 3),
        rng.uniform(0.1, 1.0, 3),
        rng.uniform(0.1, 1.0, 3),
    )


CLAIMS = (
    Claim(
        "buffered-asynchrony-rate",
        "buffered asynchronous training of smooth losses, under conditions on the steps of clients "
        "and server and on the largest staleness: the mean squared gradient of the models that "
        "requests carry is at most the sum of the terms of federated averaging and one of "
        "asynchrony; without the condition on staleness it is not",
        r"\frac1K \sum_n E \lVert \nabla f(x_n) \rVert^2 \le \frac{8 b (f(x_0) - f^*)}{\beta K} + "
        r"\frac{20 L \beta S}{b} + 34 (L \eta_c \tau)^2 S + "
        r"\frac{120 L^2 \beta^2 (R + b) S}{b^2}",
        FEDAST,
        BOUND,
        "exact expectations on quadratics, given the schedule",
        "6 pairs (R, b) with ratios 2 to 37, 600 answers, 3 laws of delays, 1, 2 and 5 local steps",
        "48 schedules of 600 answers",
        stays_within,
        largest_steps,
        steps_of_rounds,
    ),
    Claim(
        "buffered-asynchrony-linear-speed-up",
        "at a step of order (b / T)^(1/2) after T aggregations it falls as 1 / (b T)^(1/2), in "
        "which no staleness occurs: that is in the terms of order 1 / T; without the condition on "
        "staleness it does not",
        r"\frac1K \sum_n E \lVert \nabla f(x_n) \rVert^2 \le 28 "
        r"\Bigl(\frac{L S (f(x_0) - f^*)}{b T}\Bigr)^{1/2} + O(1 / T)",
        FEDAST,
        BOUND,
        "exact expectations on quadratics, given the schedule",
        "3 pairs (R, b), 400 and 1,600 answers",
        "3 pairs (R, b), 400, 1,600 and 3,200 answers",
        falls_with_the_root,
        tuned_steps,
        steps_of_rounds,
    ),
    Claim(
        "staleness-limits-the-step",
        "at a constant staleness the largest step that does not diverge on a quadratic is of order "
        "1 / staleness: a step condition of that order in the largest staleness is no weakness of "
        "the proof",
        r"\beta L < 2 \sin\frac{\pi}{2 (2 \gamma + 1)} \le \frac{4}{2 \gamma + 1}",
        OWN,
        TIGHT,
        "roots of the characteristic polynomial, 1 % below and above",
        "staleness 0, 1, 2, 5, 12 and 37",
        "staleness 0, 1, 2, 5, 12, 37, 96 and 300",
        separates,
        sharp_threshold,
        without_staleness,
    ),
)
