"""Alpha-fair utilities on a polytope: planted answers, certified intervals, markets, max-min."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from fairopt import alpha_fair_allocation, alpha_fair_on_polytope, polytope_certificate
from fairopt.arrays import Array
from proofs.claim import BOUND, IDENTITY, OWN, Claim, Evidence
from proofs.fairness.fair_allocation import networks
from proofs.fairness.planted_polytopes import Planted, planted

Solve = Callable[..., Any]
Certify = Callable[..., Any]
SEED = 20261130
ALPHAS = (0.1, 0.5, 1.0, 2.0, 5.0, 20.0)
WITHIN = 1e-6
"""Relative: what is certified on these problems is right to far less."""
ROUNDING = 1e-13
"""Of the logarithm of a utility."""
TWIN = 2e-3
"""Relative: the accuracy of a conic solver on these problems."""
MARKET = 1e-6
"""Relative: prices and shares of markets of at most 7 buyers and goods."""


def cases(alpha: float, deep: bool) -> list[tuple[str, Planted]]:
    """Planted problems, every other one with negative entries in T."""
    draws = range(60 if deep else 8)
    return [
        (
            f"draw {d}, alpha {alpha}",
            planted(np.random.default_rng([SEED, d]), alpha, signs=d % 2 > 0),
        )
        for d in draws
    ]


def planted_are_found(solve: Solve, deep: bool) -> str | None:
    """What is called OPTIMAL is the planted answer, its interval holds it, and nearly all are."""
    missing = 0
    for alpha in ALPHAS:
        for name, case in cases(alpha, deep):
            found = solve(**case.problem)
            if not found.ok:
                missing += 1
                continue
            off = np.abs(np.log(found.utilities / case.x))
            if not off.max() <= WITHIN:
                return f"{name}: utilities {found.utilities}, not {case.x}"
            if not (off <= np.log1p(found.error) + ROUNDING).all():
                return f"{name}: off by {off}, certified {found.error}"
    total = len(ALPHAS) * len(cases(1.0, deep))
    return f"{missing} of {total} are not solved" if missing > 0.05 * total else None


def agrees_with_cvxpy(solve: Solve, deep: bool) -> str | None:
    """The evident convex programme has the same utilities."""
    from fairopt.reference import allocation_on_polytope

    for draw in range(20 if deep else 2):
        rng = np.random.default_rng([SEED, 1, draw])
        T, A = rng.random((3, 6)), rng.random((1, 6))
        limits = {"G": rng.random((4, 6)), "h": rng.uniform(1.0, 2.0, size=4)}
        given = {
            **limits,
            "A": A,
            "b": 0.2 * A.sum(axis=1),
            "weights": rng.uniform(0.5, 2.0, size=3),
        }
        for alpha in (0.5, 1.0, 2.0, np.inf):
            found = solve(T, alpha=alpha, **given)
            if not found.ok:
                return f"draw {draw}, alpha {alpha}: {found.sentence}"
            x = found.utilities
            off = np.abs(x / allocation_on_polytope(T, alpha, **given) - 1.0).max()
            if not off <= TWIN:
                return f"draw {draw}, alpha {alpha}: off by {off:.1e}"
    return None


def intervals_hold(certify: Certify, deep: bool) -> str | None:
    """At points between the planted one and another, with wrong prices, intervals hold it."""
    for alpha in ALPHAS:
        for name, case in cases(alpha, deep):
            rng = np.random.default_rng(SEED)
            other = _vertex(rng, case.problem)
            for share in (0.0, 1e-10, 1e-6, 1e-3, 0.1):
                z = (1.0 - share) * case.z + share * other
                prices = case.prices * (1.0 + share * rng.uniform(-0.5, 0.5, len(case.prices)))
                proof = certify(
                    point=z, prices=prices, equality_prices=case.equality_prices, **case.problem
                )
                with np.errstate(divide="ignore", invalid="ignore"):
                    off = np.abs(np.log(case.problem["T"] @ z / case.x))
                if (off > np.log1p(proof.error) + ROUNDING).any():
                    return f"{name}, share {share}: off by {off}, certified {proof.error}"
    return None


def _vertex(rng: np.random.Generator, problem: dict[str, Any]) -> Array:
    """Some vertex of the polytope."""
    from scipy.optimize import linprog

    equal = {"A_eq": problem["A"], "b_eq": problem["b"]} if len(problem["b"]) else {}
    call: Any = linprog
    found = call(
        rng.normal(size=len(problem["T"].T)), A_ub=problem["G"], b_ub=problem["h"], **equal
    )
    return np.asarray(np.maximum(found.x, 0.0))


def market_clears(solve: Solve, deep: bool) -> str | None:
    """All goods are sold, all money is spent, and only on goods of the most value for it."""
    for draw in range(60 if deep else 8):
        rng = np.random.default_rng([SEED, 2, draw])
        n, g = (int(size) for size in rng.integers(2, 8, size=2))
        value, budget = rng.uniform(0.1, 1.0, size=(n, g)), rng.uniform(0.5, 2.0, size=n)
        T = np.kron(np.eye(n), np.ones((1, g))) * value.ravel()
        supply = np.kron(np.ones((1, n)), np.eye(g))
        found = solve(T, G=supply, h=np.ones(g), alpha=1.0, priority=budget)
        share, price = found.point.reshape(n, g), found.prices
        unsold = np.abs(share.sum(axis=0) - 1.0).max()
        unspent = np.abs(share @ price / budget - 1.0).max()
        worse = np.abs(found.utilities / ((value / price).max(axis=1) * budget) - 1.0).max()
        if not max(unsold, unspent, worse) <= MARKET:
            return f"draw {draw}: unsold {unsold:.1e}, unspent {unspent:.1e}, worse {worse:.1e}"
    return None


def networks_agree(solve: Solve, deep: bool) -> str | None:
    """On R x <= c it has the rates of `alpha_fair_allocation`, at alpha = inf too."""
    for name, (R, c, p) in networks(deep):
        for alpha in (0.5, 1.0, 2.0, np.inf):
            x = solve(np.eye(len(p)), G=R, h=c, alpha=alpha, priority=p).utilities
            off = np.abs(x / alpha_fair_allocation(R, c, alpha, priority=p).rates - 1.0).max()
            if not off <= WITHIN:
                return f"{name}, alpha {alpha}: off by {off:.1e}"
    return None


def at_other_powers(T: Any, *, alpha: float, **others: Any) -> Any:
    """The solver with the power off by a hundredth, and 3 for inf."""
    return alpha_fair_on_polytope(T, alpha=1.01 * min(alpha, 3.0), **others)


def too_sure(T: Any, **others: Any) -> Any:
    """A certificate with a tenth of the error."""
    proof = polytope_certificate(T, **others)
    return replace(proof, error=0.1 * proof.error)


def _claim(
    name: str, words: str, formula: str, source: str, kind: str, how: str, **more: Any
) -> Claim:
    """A claim about polytopes of up to 11 variables."""
    subject, control = more.pop("pair", (alpha_fair_on_polytope, at_other_powers))
    scope = more.pop("scope", "48 polytopes of up to 11 variables, alpha from 0.1 to 20")
    deep = more.pop("deep", "360 polytopes of up to 11 variables, alpha from 0.1 to 20")
    return Claim(
        name, words, formula, source, kind, how, scope, deep, more.pop("check"), subject, control,
        more.pop("evidence", ()),
    )  # fmt: skip


CLAIMS = (
    _claim(
        "polytope-utilities-are-optimal",
        "utilities called optimal are the planted ones, inside their certified intervals, and "
        "those of the convex programme",
        r"T^\top q \le G^\top \lambda + A^\top \nu,\quad q_i = p_i x_i^{-\alpha}",
        OWN,
        IDENTITY,
        "planted answers, relative 1e-6",
        check=planted_are_found,
        evidence=(
            Evidence(
                "cvxpy with Clarabel", agrees_with_cvxpy, alpha_fair_on_polytope, at_other_powers
            ),
        ),
    ),
    _claim(
        "polytope-error-is-a-bound",
        "whatever the point and the prices, the exact utilities lie in the certified intervals",
        r"\sum_i L_i(x_i) - L_i(x^*_i) \le \lambda^\top (h - G z) + r^\top z",
        OWN,
        BOUND,
        "mixed points and prices of planted problems",
        check=intervals_hold,
        pair=(polytope_certificate, too_sure),
    ),
    _claim(
        "polytope-markets-clear",
        "the largest Nash welfare of a market, with its prices, is a competitive equilibrium",
        r"\sum_i z_{ij} = 1,\quad \lambda^\top z_i = p_i,\quad "
        r"x_i = p_i \max_j T_{ij} / \lambda_j",
        "Eisenberg and Gale 1959",
        IDENTITY,
        "supply, budgets and best buys, relative 1e-6",
        check=market_clears,
        scope="8 markets of up to 7 buyers and goods",
        deep="60 markets of up to 7 buyers and goods",
    ),
    _claim(
        "polytope-networks-agree",
        "on a network the utilities are the rates of the solver for networks, max-min included",
        r"T = I,\ G = R,\ h = c",
        OWN,
        IDENTITY,
        "two independent solvers, relative 1e-6",
        check=networks_agree,
        scope="12 networks of up to 6 links and 12 flows",
        deep="100 networks of up to 6 links and 12 flows",
    ),
)
