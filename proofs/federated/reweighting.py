"""FedRAM's exponentiated weights: the simplex, freezing, fixed points, and the sign it leaves open.

`w_k exp(rate d_k)`, normalised, moves weight towards large gains. The text of FedRAM wants both:
its formula with a positive rate raises the weight of a client with a high differential loss, its
Theorem 2 wants a high (noise) value to be weighed less. Both readings are measured here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import mpmath
import numpy as np

from fairopt import multiplicative_weights
from fairopt.arrays import Array
from proofs.claim import COUNTEREXAMPLE, IDENTITY, OWN, Claim, Evidence

Update = Callable[..., Array]
FEDRAM = "FedRAM, equations (7) and (11) as reconstructed from its text"
SEED = 20250700
DIGITS = 1e-12
"""Relative rounding of a sum of up to eight exponentials."""
RATES = (-1.0, 0.1, 3.0)
CLOSE = 2e-12
"""Relative error of a weight at any rate: 8 roundings of scores below 2048 + 745."""
TINY = float(np.finfo(np.float64).tiny)
"""Weights below it are known to it only."""


def stays_on_the_simplex(update: Update, deep: bool) -> str | None:
    """Nonnegative, the same total, zeros stay zero, absent weights stay and keep their mass."""
    for w, gain, here in _instances(deep):
        for rate in RATES:
            seen = update(w, gain, rate, smoothing=0.01, present=here)
            if not ((seen >= 0.0).all() and abs(seen.sum() - 1.0) <= DIGITS):
                return f"w {w}, gains {gain}, rate {rate}: {seen}"
            if (seen[~here] != w[~here]).any() or (seen[w == 0.0] != 0.0).any():
                return f"w {w}, gains {gain}, present {here}: {seen} moved what is absent or zero"
    return None


def is_proximal(update: Update, deep: bool) -> str | None:
    """<w', d> - KL(w' || w) / rate at w' is its largest value, log(sum w e^(rate d)) / rate."""
    rng = np.random.default_rng(SEED)
    for w, gain, _ in _instances(deep):
        if (w == 0.0).any():
            continue
        for rate in (0.1, 3.0):
            best = np.log(np.sum(w * np.exp(rate * gain))) / rate
            seen = _value(update(w, gain, rate), w, gain, rate)
            rivals = (_value(v, w, gain, rate) for v in rng.dirichlet(np.ones(len(w)), size=20))
            if not (abs(seen - best) <= 1e-9 and max(rivals) <= best + 1e-9):
                return f"w {w}, gains {gain}, rate {rate}: value {seen}, best {best}"
    return None


def fixed_points(update: Update, deep: bool) -> str | None:
    """Weights stay exactly where the gains of all weighted entries are equal, and nowhere else."""
    for w, gain, _ in _instances(deep):
        for rate in RATES:
            equal = update(w, np.full(len(w), 0.7), rate, smoothing=0.2)
            shifted = update(w, gain + 5.0, rate)
            plain = update(w, gain, rate)
            support = gain[w > 0.0]
            if not np.abs(equal - w).max() <= DIGITS:
                return f"w {w}: equal gains move it to {equal}"
            if not np.abs(shifted - plain).max() <= DIGITS * 100:
                return f"w {w}, gains {gain}: a constant added to all gains moves {plain}"
            if np.ptp(support) > 0.1 and np.abs(plain - w).max() <= DIGITS:
                return f"w {w}, gains {gain}, rate {rate}: unequal gains leave it"
    return None


def exact_at_any_rate(update: Update, deep: bool) -> str | None:
    """The normalised w e^(rate d) to 50 digits, for rates and gains over the whole range."""
    rng = np.random.default_rng(SEED)
    sizes = (1e-300, 1e-8, 1.0, 1e3, 1e150, 1e308)
    for w, gain, _ in _instances(deep):
        size, rate = (float(rng.choice(sizes)) for _ in range(2))
        d = np.where(rng.random(len(w)) < 0.3, 1.0, np.clip(gain, -1.5, 1.5)) * size
        rate = rate * float(rng.choice([-1.0, 1.0]))
        seen, expected = update(w, d, rate), in_fifty_digits(w, d, rate)
        if not (np.abs(seen - expected) <= CLOSE * expected + TINY).all():
            return f"w {w}, gains {d}, rate {rate}: {seen}, not {expected}"
    return None


def in_fifty_digits(w: Array, gain: Array, rate: float) -> Array:
    """The same formula from the best product on, rounded at the end."""
    with mpmath.workdps(50):
        product = [mpmath.mpf(float(d)) * mpmath.mpf(rate) for d in gain]
        top = max(p for p, share in zip(product, w, strict=True) if share > 0.0)
        raised = [
            mpmath.mpf(float(share)) * (mpmath.exp(p - top) if p - top > -1e6 else 0)
            for p, share in zip(product, np.where(w > 0.0, w, 0.0), strict=True)
        ]
        return np.array([float(x / mpmath.fsum(raised) * float(w.sum())) for x in raised])


def overflowing(w: Any, gain: Any, rate: float) -> Array:
    """The formula in floats, with the largest score subtracted."""
    with np.errstate(all="ignore"):
        score = np.log(w) + rate * np.asarray(gain)
        raised = np.exp(score - score.max())
        return np.asarray(raised / raised.sum())


def worked_values(update: Update, deep: bool) -> str | None:
    """Three worked updates to six digits: tasks, clients, clients one of whom is absent."""
    cases: Any = (
        (
            ([0.5, 0.3, 0.2], [0.5, 0.0, 0.1], 0.1),
            {"smoothing": 0.01},
            (0.511380, 0.292010, 0.196610),
        ),
        (([1 / 3] * 3, [-0.6, -0.1, 0.0], 0.1), {}, (0.321222, 0.337692, 0.341086)),
        (
            ([0.4, 0.3, 0.2, 0.1], [-0.6, -0.1, np.nan, 0.2], 0.1),
            {"present": [True, True, False, True]},
            (0.388486, 0.306303, 0.2, 0.105211),
        ),
    )
    for problem, options, expected in cases:
        seen = update(*problem, **options)
        if not np.abs(seen - expected).max() <= 5.1e-7:
            return f"{problem}: {seen}, not {expected}"
    return None


def raises_the_noisy_client(rate: float, deep: bool) -> str | None:
    """Noise of variance 1 and 4: the update with this rate is worse than no update.

    The mean of two unbiased updates has variance w1^2 + 4 w2^2, least at w = (4/5, 1/5), as
    Theorem 2 wants. With the differential loss proxy minus reference, which grows with the noise,
    a positive rate moves the other way.
    """
    variances = np.array([1.0, 4.0])
    w = np.array([0.5, 0.5])
    before = float(w**2 @ variances)
    for _ in range(5):
        w = multiplicative_weights(w, variances, rate)
    after = float(w**2 @ variances)
    raised = bool(w[1] > 0.5 and after > before)
    return None if raised else f"weights {w}: the variance goes from {before} to {after:.4f}"


def lowers_the_odd_client(rate: float, deep: bool) -> str | None:
    """The other reading: local minus global loss, most negative at the odd client.

    Two clients fit scalars: one near the global model, one far from it. After their local steps the
    far one gains most, so its d is the most negative and a positive rate lowers its weight.
    """
    centres, model = np.array([0.1, 3.0]), 0.0
    local = model + 0.5 * (centres - model)
    d = 0.5 * (local - centres) ** 2 - 0.5 * (model - centres) ** 2
    w = multiplicative_weights([0.5, 0.5], d, rate)
    lowered = bool(d[1] < d[0] <= 0.0 and w[1] < 0.5)
    return None if lowered else f"d {d}, weights {w}"


def additive(w: Any, gain: Any, rate: float, **_: Any) -> Array:
    """A first-order step, normalised."""
    moved = np.asarray(w) + rate * np.nan_to_num(np.asarray(gain))
    return np.asarray(moved / moved.sum())


def linearised(w: Any, gain: Any, rate: float, **_: Any) -> Array:
    """Weights times 1 + rate gain, normalised: stays on the simplex for small gains only."""
    moved = np.asarray(w) * np.maximum(1.0 + rate * np.asarray(gain), 1e-9)
    return np.asarray(moved / moved.sum())


def renormalising(w: Any, gain: Any, rate: float, **options: Any) -> Array:
    """Absent clients move with the normalisation."""
    return multiplicative_weights(w, gain, rate, **options, absent="renormalise")


def towards_uniform(w: Any, gain: Any, rate: float, **options: Any) -> Array:
    """Smoothing with the uniform vector instead of the previous one."""
    options["smoothing"] = options.get("smoothing", 0.01) or 0.01
    return multiplicative_weights(w, gain, rate, **options, smooth_towards="uniform")


def _value(v: Array, w: Array, gain: Array, rate: float) -> float:
    """<v, gain> - KL(v || w) / rate."""
    return float(v @ gain - np.sum(v * np.log(v / w)) / rate)


def _instances(deep: bool) -> Iterator[tuple[Array, Array, Any]]:
    """Weights, gains and who is present."""
    rng = np.random.default_rng(SEED)
    for _ in range(2000 if deep else 200):
        K = int(rng.integers(1, 9))
        w = rng.dirichlet(np.ones(K))
        if K > 2 and rng.random() < 0.3:
            w[0] = 0.0
            w = w / w.sum()
        yield w, rng.normal(size=K), rng.random(K) < 0.7


CLAIMS = (
    Claim(
        "reweighting-stays-on-the-simplex",
        "weights stay nonnegative with sum one, zeros stay zero, and absent clients are frozen",
        r"w' \in \Delta,\quad k \notin P \Rightarrow w_k' = w_k,\quad "
        r"\sum_{k \in P} w_k' = \sum_{k \in P} w_k",
        FEDRAM,
        IDENTITY,
        "random weights, gains and absences",
        "200 vectors of up to 8 entries, 3 rates",
        "2,000 vectors of up to 8 entries, 3 rates",
        stays_on_the_simplex,
        multiplicative_weights,
        additive,
        (Evidence("random absences", stays_on_the_simplex, multiplicative_weights, renormalising),),
    ),
    Claim(
        "reweighting-is-a-proximal-step",
        "the update maximises gain minus relative entropy over the rate",
        r"w' = \arg\max_{v \in \Delta} \langle v, d\rangle - \tfrac1\eta \mathrm{KL}(v \Vert w)",
        OWN,
        IDENTITY,
        "closed form of the optimum, 20 rivals each",
        "200 vectors of up to 8 entries, 2 rates",
        "2,000 vectors of up to 8 entries, 2 rates",
        is_proximal,
        multiplicative_weights,
        linearised,
    ),
    Claim(
        "reweighting-fixed-points",
        "weights stay exactly where all weighted gains are equal, smoothing included; a constant "
        "added to all gains changes nothing",
        r"w' = w \iff d_j = d_k \ \forall j, k: w_j w_k > 0",
        OWN,
        IDENTITY,
        "random weights and gains",
        "200 vectors of up to 8 entries, 3 rates",
        "2,000 vectors of up to 8 entries, 3 rates",
        fixed_points,
        multiplicative_weights,
        towards_uniform,
    ),
    Claim(
        "reweighting-is-exact-at-any-rate",
        "weights are those of the formula for every finite rate and gain; where products overflow "
        "the largest share in proportion to their weights",
        r"\lvert w_k' - \hat w_k \rvert \le 2 \cdot 10^{-12}\, \hat w_k,\quad "
        r"\hat w_k = \frac{w_k e^{\eta d_k}}{\sum_j w_j e^{\eta d_j}}",
        OWN,
        IDENTITY,
        "50-digit arithmetic",
        "200 vectors of up to 8 entries, rates and gains up to 1e308",
        "2,000 vectors of up to 8 entries, rates and gains up to 1e308",
        exact_at_any_rate,
        multiplicative_weights,
        overflowing,
    ),
    Claim(
        "reweighting-worked-values",
        "worked updates of tasks, of clients, and with an absent client, to six digits",
        r"w_k' = (1 - s)\, \frac{w_k e^{\eta d_k}}{\sum_j w_j e^{\eta d_j}} + s\, w_k",
        FEDRAM,
        IDENTITY,
        "three worked updates",
        "three vectors",
        "three vectors",
        worked_values,
        multiplicative_weights,
        towards_uniform,
    ),
    Claim(
        "fedram-formula-contradicts-its-theorem",
        "with d = proxy minus reference loss and the published rate +0.1 the noisier of two "
        "clients gains weight and the variance of their mean rises; Theorem 2 wants it to fall",
        r"\eta = +0.1:\ w_2' > w_2,\ \textstyle\sum_k w_k'^2 \sigma_k^2 > \sum_k w_k^2 \sigma_k^2",
        "FedRAM, Algorithm 1 line 13 against Theorem 2",
        COUNTEREXAMPLE,
        "two clients with noise of variance 1 and 4, five updates",
        "one worked instance; the control is the rate -0.1",
        "one worked instance; the control is the rate -0.1",
        raises_the_noisy_client,
        0.1,
        -0.1,
    ),
    Claim(
        "fedram-formula-read-as-a-gap",
        "with d = local minus global loss after local training the same rate lowers the weight of "
        "the client that is farthest from the others",
        r"d_k = \ell_k(\theta_k) - \ell_k(\theta) \le 0:\ \eta = +0.1 \Rightarrow w_2' < w_2",
        "FedRAM, Algorithm 1 line 12 to 14",
        COUNTEREXAMPLE,
        "two scalar clients, one local step of gradient descent",
        "one worked instance; the control is the rate -0.1",
        "one worked instance; the control is the rate -0.1",
        lowers_the_odd_client,
        0.1,
        -0.1,
    ),
)
