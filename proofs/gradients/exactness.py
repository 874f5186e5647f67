"""OPTIMAL as a proved statement: rational and interval certificates of the solvers' own answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from fairopt import Solution, Status, conflict_averse, dual_cone_projection, fairgrad, min_norm
from fairopt.arrays import Array
from proofs.certificates import (
    Enclosure,
    enclose_conflict_averse,
    enclose_dual_cone,
    enclose_fairgrad,
    enclose_min_norm,
)
from proofs.claim import BOUND, OWN, Check, Claim, Evidence
from proofs.gradients import wrong_solvers
from proofs.gradients.problems import (
    DEEP_SCOPE,
    PROVED,
    SCOPE,
    Solver,
    samples,
    samples_at,
)

Proof = Callable[[Solver, Array], tuple[Solution, Enclosure]]

POWERS = (0.01, 0.5, 2.0, 200.0)
HARD_POWERS = (0.01, 0.05, 0.1, 200.0)
"""Where float64 weights often cannot show a small residual."""
NEIGHBOURS = 8.0
"""Times the floor. Newton stops at a backward error of a few ulps, not at the nearest floats: 1.8
is the most on 36 gradient matrices, 2.8 on 480."""
RADII = (0.0, 0.4, 2.0)


def proved(proof: Proof) -> Check:
    """Check that an answer called OPTIMAL has a proved residual, and that its own is compatible."""

    def check(solver: Solver, deep: bool) -> str | None:
        for name, G in samples(deep):
            found, enclosure = proof(solver, G @ G.T)
            if found.status == Status.OPTIMAL and not enclosure.at_most(PROVED):
                return f"{name}: called optimal, residual up to {enclosure.high:.1e}"
            if not found.ok:
                return f"{name}: {found.sentence}"
        return None

    return check


def explained(solver: Solver, deep: bool) -> str | None:
    """A ROUNDING_LIMITED residual is at most eight times what half an ulp of the weights causes."""
    for name, G, alpha in samples_at(HARD_POWERS, deep):
        found = solver(G @ G.T, alpha)
        if found.status != Status.ROUNDING_LIMITED:
            continue
        proof = enclose_fairgrad(G @ G.T, alpha, found.weights)
        floor = max(float(found.floor), PROVED)
        if not proof.at_most(NEIGHBOURS * floor):
            return f"{name}: residual {proof.high:.1e}, floor {floor:.1e}"
    return None


def fairgrad_at(alpha: float) -> Proof:
    """Solve and prove for one power, with priorities."""

    def proof(solver: Solver, A: Array) -> tuple[Solution, Enclosure]:
        p = np.linspace(0.5, 2.0, len(A))
        found = solver(A, alpha, priority=p)
        return found, enclose_fairgrad(A, alpha, found.weights, p)

    return proof


def conflict_averse_at(c: float) -> Proof:
    """Solve and prove for one radius, around an uneven reference."""

    def proof(solver: Solver, A: Array) -> tuple[Solution, Enclosure]:
        r = np.linspace(0.5, 2.0, len(A))
        found = solver(A, c, reference=r)
        error = float(found.gram_error)
        return found, enclose_conflict_averse(A, c, found.weights, found.dual, r, error)

    return proof


def min_norm_proof(solver: Solver, A: Array) -> tuple[Solution, Enclosure]:
    """Solve and prove the min-norm problem."""
    found = solver(A)
    return found, enclose_min_norm(A, found.weights)


def dual_cone_proof(solver: Solver, A: Array) -> tuple[Solution, Enclosure]:
    """Solve and prove the projection of an uneven sum on the dual cone."""
    r = np.linspace(0.5, 2.0, len(A))
    found = solver(A, r)
    return found, enclose_dual_cone(A, r, found.weights)


def perturbed(solver: Solver) -> Solver:
    """The solver, with one weight moved by a part in a million."""

    def moved(*problem: Any, **options: Any) -> Solution:
        found = solver(*problem, **options)
        weights = found.weights.copy()
        weights[np.argmax(np.abs(weights))] *= 1 + 1e-6
        return replace(found, weights=weights)

    return moved


def certified(
    name: str,
    formula: str,
    proofs: dict[str, Proof],
    solver: Solver,
    *further: Evidence,
    what: str = "the true residual of the given matrix",
) -> Claim:
    """The claim of one solver over its parameters."""
    label = solver.__name__
    checks = [proved(proof) for proof in proofs.values()]
    how = "exact fractions and outward-rounded intervals"
    parameters = ", ".join(proofs)
    more = tuple(Evidence(how, check, solver, perturbed(solver)) for check in checks[1:])
    return Claim(
        name=name,
        statement=f"where {label} says OPTIMAL {what} is proved to be at most 1e-10; weights moved "
        "by a part in a million are refused",
        formula=formula,
        source=OWN,
        kind=BOUND,
        how=how,
        scope=SCOPE + (f"; {parameters}" if parameters else ""),
        deep_scope=DEEP_SCOPE + (f"; {parameters}" if parameters else ""),
        check=checks[0],
        subject=solver,
        control=perturbed(solver),
        more=(*more, *further),
    )


CLAIMS = (
    certified(
        "fairgrad-optimal-is-proved",
        r"\max_k \lvert s_k (w_k/p_k)^{1/\alpha} - 1 \rvert \le 10^{-10},\ s = A w",
        {f"alpha {alpha}": fairgrad_at(alpha) for alpha in POWERS},
        fairgrad,
    ),
    certified(
        "conflict-averse-optimal-is-proved",
        r"\mathrm{dual} - \min_k (A w)_k \le 10^{-10} \max(\lvert\mathrm{dual}\rvert, "
        r"\lVert g_0 \rVert^2)",
        {f"c {c}": conflict_averse_at(c) for c in RADII},
        conflict_averse,
        what="the gap, for every Gram matrix within gram_error of the given one,",
    ),
    certified(
        "min-norm-optimal-is-proved",
        r"v^\top A v - (A v)_k \le 10^{-10} S \max(\lVert g_k\rVert, S)",
        {"every family": min_norm_proof},
        min_norm,
        Evidence(
            "thirty Frank-Wolfe steps", proved(min_norm_proof), min_norm, wrong_solvers.frank_wolfe
        ),
    ),
    certified(
        "dual-cone-optimal-is-proved",
        r"\lvert \min(\lVert g_k\rVert u_k, (A w)_k / \lVert g_k\rVert) \rvert \le 10^{-10} "
        r"\textstyle\sum_k \lVert g_k\rVert \max(\lvert w_k\rvert, \lvert r_k\rvert)",
        {"uneven reference": dual_cone_proof},
        dual_cone_projection,
    ),
    Claim(
        name="fairgrad-rounding-limited-is-explained",
        statement="where fairgrad says ROUNDING_LIMITED the proved residual is at most eight times "
        "what half an ulp of the weights causes, and counted in these where that is above 1, as at "
        "alpha below 0.1",
        formula=r"\max_k \lvert s_k w_k^{1/\alpha} - 1 \rvert \le 8 \max(\mathrm{floor}, 10^{-10})",
        source=OWN,
        kind=BOUND,
        how="exact fractions and outward-rounded intervals",
        scope=f"{SCOPE}; alpha {', '.join(map(str, HARD_POWERS))}",
        deep_scope=f"{DEEP_SCOPE}; alpha {', '.join(map(str, HARD_POWERS))}",
        check=explained,
        subject=fairgrad,
        control=perturbed(fairgrad),
    ),
)
