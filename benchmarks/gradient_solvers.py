"""The K x K solvers beside what people use today: ratios and residuals, from one process.

Three tables. Speed: the time of one call in units of one `numpy.linalg.solve` of the same size,
all solvers interleaved, as median (lower-upper quartile). Batch: 256 problems in one call, per
problem and in the same unit; solvers without batches are looped over a few of them. Accuracy: the
worst residual over several draws of each family, by the same functions for all (0 is exact, "-" a
refusal, an error, or too slow for this size). SciPy recipes are those of released code; cvxpy
is `fairopt.reference`; TorchJD is included if it is installed.

Run with: python benchmarks/gradient_solvers.py [--tasks 2 8 64 256] [--rounds 15] [--json FILE]
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.optimize import least_squares, minimize, nnls

import fairopt
from fairopt import reference

Array = NDArray[np.float64]
Solve = Callable[[Array], Array]

ALPHA = 2.0  # the default of released FairGrad runs
C = 0.4  # radius of the conflict-averse ball in released runs
SLOW = 0.02  # seconds: solvers above it get a tenth of the rounds
LIMIT = 0.25  # seconds: solvers above it are not run on larger sizes
BATCH = 256  # problems per call
BATCH_TASKS = (2, 8, 64)
LOOPED = 4  # of them for solvers that take one problem at a time
WIDTH = 150  # characters the accuracy table needs
TINY = 1e-300  # a residual below it prints as 0


def _unit(G: Array) -> Array:
    """Rows of length one."""
    return np.asarray(G / np.linalg.norm(G, axis=1)[:, None])


def families(K: int, rng: np.random.Generator) -> dict[str, Array]:
    """Gradients by wanted property, one per row."""
    width = 2 * K + 3
    well = _unit(rng.normal(size=(K, width)))
    sign = np.where(np.arange(K) % 2, -1.0, 1.0)[:, None]
    half = _unit(rng.normal(size=((K + 1) // 2, width)))
    plane = rng.normal(size=(K, max(2, K // 2)))
    plane[:, 0] = np.abs(plane[:, 0]) + 0.3 * np.sqrt(plane.shape[1])
    centred = well - well.mean(axis=0)
    normal = rng.normal(size=width)
    normal -= np.linalg.lstsq(centred, centred @ normal, rcond=None)[0]
    return {
        "well": well,
        "ill": _unit(well[:1] + 1e-4 * rng.normal(size=(K, width))),
        "rank K/2": _unit(plane),
        "duplicated": np.concatenate([half, half])[:K],
        "conflicting": _unit(sign * well[:1] + 0.1 * _unit(rng.normal(size=(K, width)))),
        "near 1e-4": centred + 1e-4 * normal / np.linalg.norm(normal),
        "mixed scale": well * 10.0 ** rng.uniform(-6.0, 6.0, size=(K, 1)),
        "x 1e-6": well * 1e-6,
        "x 1e6": well * 1e6,
    }


def scipy_fairgrad(A: Array) -> Array:
    """The released recipe: bounded least squares from 1 / K, exit status ignored."""
    K = len(A)
    found = least_squares(
        lambda w: A @ w - (1.0 / w) ** (1.0 / ALPHA), np.full(K, 1.0 / K), bounds=(0.0, np.inf)
    )
    return np.asarray(found.x)


def slsqp_conflict_averse(A: Array) -> Array:
    """The released recipe: SLSQP on the dual with absolute smoothing, from 1 / K."""
    K = len(A)
    b = A.mean(axis=1)
    norm = np.sqrt(A.mean() + 1e-8)
    start = np.full(K, 1.0 / K)
    found = minimize(
        lambda v: v @ b + C * norm * np.sqrt(v @ A @ v + 1e-8),
        start,
        bounds=[(0.0, 1.0)] * K,
        constraints={"type": "eq", "fun": lambda v: 1.0 - v.sum()},
    )
    return np.asarray(start + C * norm / (np.sqrt(found.x @ A @ found.x) + 1e-8) * found.x)


def nnls_min_norm(A: Array) -> Array:
    """Nonnegative least squares on a factor, with the sum as one heavy row."""
    G = reference.factor(A)
    heavy = 1e3 * float(np.sqrt(np.diag(A).max()))
    u, _ = nnls(np.vstack([G.T, np.full(len(A), heavy)]), np.r_[np.zeros(G.shape[1]), heavy])
    return np.asarray(u / u.sum())


def cvxpy_conflict_averse(A: Array) -> Array:
    """Weights of the cvxpy direction (the factor is square)."""
    d = reference.conflict_averse(A, C)
    return np.asarray(np.linalg.lstsq(reference.factor(A).T, d, rcond=None)[0])


def torchjd(name: str, **options: Any) -> Solve | None:
    """A TorchJD weighting in float64, if the package is there."""
    if importlib.util.find_spec("torchjd") is None:
        return None
    import torch

    weighting = getattr(importlib.import_module("torchjd.aggregation"), name, None)
    if weighting is None:
        return None
    instance = weighting(**options)
    return lambda A: np.asarray(instance(torch.from_numpy(A)).detach().numpy())


def nash() -> Solve | None:
    """TorchJD's NashMTL (proportional fairness), given a factor; its scale is set afterwards."""
    if importlib.util.find_spec("torchjd") is None or importlib.util.find_spec("ecos") is None:
        return None
    import torch

    aggregation = importlib.import_module("torchjd.aggregation")

    def solve(A: Array) -> Array:
        G = reference.factor(A)
        d = aggregation.NashMTL(n_tasks=len(A))(torch.from_numpy(G)).numpy()
        w = np.linalg.lstsq(G.T, d, rcond=None)[0]
        return np.asarray(w * np.sqrt(len(A) / (w @ A @ w)))

    return solve


def upgrad_distance(A: Array, w: Array) -> float:
    """The worst projection's residual for our weights; for others their distance from our d."""
    exact = fairopt.upgrad(A)
    off = w - exact.weights
    square = float(exact.weights @ A @ exact.weights)
    return float(exact.residual) + float(np.sqrt(max(off @ A @ off, 0.0) / square))


def _uniform(A: Array) -> Array:
    """1 / K for every task, over batches."""
    return np.full(A.shape[:-1], 1.0 / A.shape[-1])


Problems = dict[str, tuple[Callable[[Array, Array], float], dict[str, Solve | None]]]


def problems() -> Problems:
    """For each problem its residual and its solvers; ours comes first and takes batches."""
    return {
        "fairgrad (alpha 2)": (
            lambda A, w: float(fairopt.fairgrad_residual(A, ALPHA, w)),
            {
                "fairopt": lambda A: fairopt.fairgrad(A, ALPHA).weights,
                "SciPy least_squares": scipy_fairgrad,
                "cvxpy": lambda A: reference.fairgrad(A, ALPHA),
                "TorchJD": torchjd("FairGradWeighting", alpha=ALPHA),
            },
        ),
        "fairgrad (alpha 1, Nash)": (
            lambda A, w: float(fairopt.fairgrad_residual(A, 1.0, w)),
            {
                "fairopt": lambda A: fairopt.fairgrad(A, 1.0).weights,
                "TorchJD NashMTL": nash(),
            },
        ),
        "conflict averse (c 0.4)": (
            lambda A, w: float(fairopt.conflict_averse_residual(A, C, w)),
            {
                "fairopt": lambda A: fairopt.conflict_averse(A, C).weights,
                "SciPy SLSQP": slsqp_conflict_averse,
                "cvxpy": cvxpy_conflict_averse,
                "TorchJD": torchjd("CAGradWeighting", c=C),
            },
        ),
        "min norm": (
            lambda A, w: float(fairopt.min_norm_residual(A, w)),
            {
                "fairopt": lambda A: fairopt.min_norm(A).weights,
                "SciPy nnls": nnls_min_norm,
                "cvxpy": reference.min_norm,
                "TorchJD": torchjd("MGDAWeighting"),
            },
        ),
        "dual cone (mean)": (
            lambda A, w: float(fairopt.dual_cone_residual(A, _uniform(A), w)),
            {
                "fairopt": lambda A: fairopt.dual_cone_projection(A, _uniform(A)).weights,
                "cvxpy": lambda A: reference.dual_cone_projection(A, _uniform(A)),
                "TorchJD": torchjd("DualProjWeighting"),
            },
        ),
        "UPGrad": (
            upgrad_distance,
            {
                "fairopt": lambda A: fairopt.upgrad(A).weights,
                "TorchJD": torchjd("UPGradWeighting"),
            },
        ),
    }


Quartiles = tuple[float, float, float]


def quartiles(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, Quartiles]:
    """Quartiles of the seconds of each call, interleaved; slow ones take every tenth round."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for k in range(rounds):
        for name, call in calls.items():
            if k % 10 and seconds[name][0] > SLOW:
                continue
            begin = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - begin)
    return {name: tuple(np.quantile(x, [0.25, 0.5, 0.75])) for name, x in seconds.items()}


def _record(rows: list[dict[str, Any]], found: dict[str, Quartiles], K: int) -> None:
    """Add the ratios to the time of one solve, and the microseconds."""
    unit = found.pop("solve")[1]
    for key, values in found.items():
        problem, _, name = key.partition("|")
        row = next((r for r in rows if (r["problem"], r["solver"]) == (problem, name)), None)
        if row is None:
            row = {"problem": problem, "solver": name}
            rows.append(row)
        row[f"K={K}"] = [value / unit for value in values]
        row[f"us K={K}"] = [1e6 * value for value in values]


def speed(tasks: list[int], rounds: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Rows of the first table: single problems, well-conditioned input."""
    rows: list[dict[str, Any]] = []
    slow: set[str] = set()
    for K in tasks:
        A = families(K, rng)["well"]
        A = A @ A.T
        b = np.ones(K)
        calls: dict[str, Callable[[], Any]] = {"solve": lambda A=A, b=b: np.linalg.solve(A, b)}
        for problem, (_, solvers) in problems().items():
            for name, solve in solvers.items():
                key = f"{problem}|{name}"
                if solve is not None and key not in slow and _bearable(solve, A, slow, key):
                    calls[key] = lambda A=A, solve=solve: solve(A)
        _record(rows, quartiles(calls, rounds), K)
    return rows


def _bearable(solve: Solve, A: Array, slow: set[str], key: str) -> bool:
    """Whether the solver solves this one in time; adds slow ones to `slow`."""
    solve(A[:2, :2])  # imports and compiles
    begin = time.perf_counter()
    solve(A)
    if time.perf_counter() - begin > LIMIT:
        slow.add(key)
    return time.perf_counter() - begin < 4.0 * LIMIT


def batches(rounds: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Rows of the second table: seconds per problem of a batch."""
    rows: list[dict[str, Any]] = []
    for K in BATCH_TASKS:
        G = [families(K, rng)["well"] for _ in range(BATCH)]
        A = np.stack([g @ g.T for g in G])
        b = np.ones(K)
        single = {"solve": lambda A=A[0], b=b: np.linalg.solve(A, b)}
        found = quartiles(single, 10 * rounds)
        for problem, (_, solvers) in problems().items():
            for name, solve in solvers.items():
                if solve is None or name == "cvxpy" or (K > 8 and "Nash" in name):
                    continue
                many = A if name == "fairopt" else A[:LOOPED]
                call = (lambda s=solve, A=many: s(A)) if many is A else _loop(solve, many)
                times = quartiles({"it": call}, max(rounds // 5, 3))["it"]
                found[f"{problem}|{name}"] = tuple(t / len(many) for t in times)
        _record(rows, found, K)
    return rows


def _loop(solve: Solve, many: Array) -> Callable[[], list[Array]]:
    """One problem after the other."""
    return lambda: [solve(A) for A in many]


def accuracy(K: int, draws: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Rows of the third table: the worst residual by family."""
    grams = [{n: G @ G.T for n, G in families(K, rng).items()} for _ in range(draws)]
    rows = []
    for problem, (residual, solvers) in problems().items():
        for name, solve in solvers.items():
            if solve is None:
                continue
            row: dict[str, Any] = {"problem": problem, "solver": name}
            for family in grams[0]:
                row[family] = max(_residual(solve, residual, draw[family]) for draw in grams)
            rows.append(row)
    return rows


def _residual(solve: Solve, residual: Callable[[Array, Array], float], A: Array) -> float:
    """Residual of one answer; NaN where the solver raises."""
    try:
        return residual(A, solve(A))
    except (ValueError, ArithmeticError, RuntimeError, np.linalg.LinAlgError):
        return float("nan")
    except Exception as error:  # solvers raise their own types, cvxpy among them
        if type(error).__module__.partition(".")[0] in ("cvxpy", "torchjd"):
            return float("nan")
        raise


def _table(title: str, rows: list[dict[str, Any]], columns: list[str], style: str) -> Table:
    """A rich table of numbers."""
    table = Table(title=title)
    for column in ("problem", "solver", *columns):
        left = column in ("problem", "solver")
        table.add_column(column, justify="left" if left else "right", no_wrap=True)
    for row in rows:
        cells = [_cell(row.get(column, float("nan")), style) for column in columns]
        table.add_row(row["problem"], row["solver"], *cells)
    return table


def _cell(value: float | list[float], style: str) -> str:
    """One number, or a median with its quartiles."""
    if isinstance(value, list):
        low, middle, high = (_short(x) for x in value)
        return f"{middle} ({low}-{high})"
    if np.isnan(value):
        return "-"
    return "0" if abs(value) < TINY else format(value, style)


def _short(value: float) -> str:
    """Two digits, without an exponent."""
    return f"{value:.2f}" if value < 10.0 else f"{value:.0f}"


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--tasks", type=int, nargs="+", default=[2, 8, 64, 256])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--draws", type=int, default=3, help="draws of each family")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write all tables to this file")
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    warnings.simplefilter("ignore")  # solvers warn about what the residual shows
    fast = speed(arguments.tasks, arguments.rounds, rng)
    batch = batches(arguments.rounds, rng)
    exact = accuracy(8, arguments.draws, rng)
    console = Console(width=max(Console().width, WIDTH))
    sizes = [f"K={K}" for K in arguments.tasks]
    console.print(_table("time of one call / one numpy.linalg.solve", fast, sizes, ""))
    sizes = [f"K={K}" for K in BATCH_TASKS]
    console.print(_table(f"batch of {BATCH}: time per problem / one solve", batch, sizes, ""))
    console.print(_table("worst residual, K = 8", exact, list(exact[0])[2:], ".0e"))
    if arguments.json:
        tables = {"speed": fast, "batch": batch, "accuracy": exact}
        arguments.json.write_text(json.dumps(tables, indent=1) + "\n")


if __name__ == "__main__":
    main()
