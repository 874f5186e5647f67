"""The table of the front page: one problem, FairGrad at alpha = 2 for eight tasks, five solvers.

Each solver gets the same Gram matrices and returns weights, checked by `fairopt.fairgrad_residual`;
a negative cosine is that of the direction with the task it conflicts with most. Times are processor
time on well-conditioned input, solvers interleaved, as median and quartiles. A sample is as many
calls as take a few milliseconds, so caches are warm for everybody. The table is written between two
marks of the README, which the documentation's first page includes.

Run with: python -m benchmarks.front_page --libmtl FOLDER [--rounds 30] [--write]
(the folder is a clone of LibMTL; without it the column is left out and nothing is written)
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import re
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import fairopt
from benchmarks.gradient_solvers import families, scipy_fairgrad, torchjd
from fairopt import reference
from fairopt.arrays import Array
from proofs.libmtl_weightings import libmtl_version, libmtl_weightings

Solve = Callable[[Array], Array]

K, ALPHA = 8, 2.0
DRAWS = 3  # of every kind of gradients; the worst is shown
BATCH = 256  # problems of one call of ours
SAMPLE = 0.005  # seconds that a sample takes at least
README = Path(__file__).parents[1] / "README.md"
MARKS = ("<!-- --8<-- [start:table] -->\n", "<!-- --8<-- [end:table] -->")
KINDS = {
    "gradients of length 1, well-conditioned": "well",
    "the same gradients times 1e-6": "x 1e-6",
    "lengths over 12 decades": "mixed scale",
    "conflicting": "conflicting",
    "nearly stationary: 1e-4 from it": "near 1e-4",
    "stationary: no step helps all": "stationary",
}


def draws(seed: int) -> list[dict[str, Array]]:
    """Gradients of every kind, one per row."""
    rng = np.random.default_rng(seed)
    found = [families(K, rng) for _ in range(DRAWS)]
    for kinds in found:
        kinds["stationary"] = kinds["well"] - kinds["well"].mean(axis=0)
    return found


def libmtl(checkout: Path) -> Solve:
    """LibMTL's class, with the Gram matrix of the gradients that are handed to it."""
    torch = importlib.import_module("torch")
    libmtl_weightings(checkout)  # makes the package importable without its trainer
    weighting = importlib.import_module("LibMTL.weighting.FairGrad").FairGrad

    class Given(weighting):  # type: ignore[misc, valid-type]
        """Its solver, without the passes that form the gradients."""

        task_num, rep_grad, device = K, False, torch.device("cpu")
        gradients: Any = None

        def _compute_grad_dim(self) -> None:
            pass

        def _compute_grad(self, losses: Any, mode: str) -> Any:
            return self.gradients

    model = Given()

    def solve(A: Array) -> Array:
        model.gradients = torch.from_numpy(reference.factor(A))
        losses = torch.zeros(K, dtype=torch.float64, requires_grad=True)
        return np.asarray(model.backward(losses, FairGrad_alpha=ALPHA))

    return solve


def solvers(checkout: Path | None) -> dict[str, Solve]:
    """The columns."""
    version = importlib.metadata.version
    other = torchjd("FairGradWeighting", alpha=ALPHA)
    found: dict[str, Solve] = {"fairopt": lambda A: fairopt.fairgrad(A, ALPHA).weights}
    if other is not None:
        found[f"TorchJD {version('torchjd')}"] = other
    if checkout is not None:
        found[f"LibMTL {libmtl_version(checkout).split()[-1]}"] = libmtl(checkout)
    found["SciPy recipe"] = scipy_fairgrad
    found[f"cvxpy {version('cvxpy')}"] = lambda A: reference.fairgrad(A, ALPHA)
    return found


def seconds(calls: dict[str, Solve], A: Array, rounds: int) -> dict[str, Array]:
    """Quartiles of the processor time of one call of each."""
    repeats = {}
    for name, solve in calls.items():
        solve(A)
        once = elapsed(solve, A, 1)
        repeats[name] = 1 + int(SAMPLE / once)
    samples = [
        {n: elapsed(solve, A, repeats[n]) for n, solve in calls.items()} for _ in range(rounds)
    ]
    return {name: np.quantile([x[name] for x in samples], [0.25, 0.5, 0.75]) for name in calls}


def elapsed(solve: Solve, A: Array, repeats: int) -> float:
    """Processor time of one of so many calls."""
    begin = time.process_time()
    for _ in range(repeats):
        solve(A)
    return (time.process_time() - begin) / repeats


def judged(solve: Solve, given: list[Array]) -> str:
    """The worst residual over draws, and the worst conflict if there is one."""
    residual, cosine = 0.0, 1.0
    for G in given:
        try:
            w = solve(G @ G.T)
        except Exception as error:  # noqa: BLE001 (solvers raise types of their own)
            return f"raises {type(error).__name__}"
        if not w.any():
            return "zero, with a certificate"
        d = w @ G
        residual = max(residual, float(fairopt.fairgrad_residual(G @ G.T, ALPHA, w)))
        cosine = min(cosine, float((G @ d / np.linalg.norm(G, axis=1)).min() / np.linalg.norm(d)))
    return f"{residual:.0e}" + (f", cosine {cosine:.1g}" if cosine < -1e-6 else "")


def rows(calls: dict[str, Solve], rounds: int, seed: int) -> list[list[str]]:
    """Cells of the table."""
    given = draws(seed)
    G = given[0]["well"]
    times = seconds(calls, G @ G.T, rounds)
    stack = np.broadcast_to(G @ G.T, (BATCH, K, K)).copy()
    batch = seconds({"fairopt": calls["fairopt"]}, stack, rounds)["fairopt"] / BATCH
    batches = {name: batch if name == "fairopt" else x for name, x in times.items()}
    table = [
        [f"FairGrad, {K} tasks", *calls],
        ["---", *("---" for _ in calls)],
        ["one problem, µs", *(spread(1e6 * x) for x in times.values())],
        [f"of {BATCH} problems, each, µs", *(spread(1e6 * x) for x in batches.values())],
    ]
    for title, kind in KINDS.items():
        table.append(
            [title, *(judged(solve, [d[kind] for d in given]) for solve in calls.values())]
        )
    return table


def spread(x: Array) -> str:
    """Median and quartiles, to two digits."""
    low, middle, high = (f"{float(f'{value:.2g}'):,.0f}" for value in x)
    return f"{middle} ({low}-{high})"


def main() -> None:
    """Measure, print, and write if asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--libmtl", type=Path, help="a clone of LibMTL")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help="into README.md, between its marks")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # solvers warn about what the residual shows
    calls = solvers(arguments.libmtl)
    found = rows(calls, arguments.rounds, arguments.seed)
    text = "".join("| " + " | ".join(cells) + " |\n" for cells in found)
    print(text)
    if arguments.write and len(calls) == 5:
        page = README.read_text(encoding="utf-8")
        between = re.compile(f"({re.escape(MARKS[0])}).*?({re.escape(MARKS[1])})", re.DOTALL)
        README.write_text(between.sub(lambda m: m[1] + text + m[2], page), encoding="utf-8")


if __name__ == "__main__":
    main()
