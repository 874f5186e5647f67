"""The compiled solvers of this checkout beside those of another one: ratios of run times.

For changes that should cost nothing. One process per checkout; both make the same call in turn, on
the same processor, which is another one in the next round, and who begins alternates too. The time
is that of the processor, so that neighbours on the machine count for little. A ratio above 1 means
that this checkout is slower; it is the median over rounds with quartiles. Compiling is left out.

Run with: python benchmarks/peers/two_checkouts.py [OTHER] [--rounds 31] [--only X] [--json FILE]
OTHER is a folder or a revision of this repository; the default, HEAD, shows what is not committed.
"""

from __future__ import annotations

import argparse
import fnmatch
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[2]
TASKS = (2, 8, 32)
BATCH = 64  # problems in one call
ALPHAS = (0.0, 0.5, 1.0, 2.0, 10.0, np.inf)
FLOWS, LINKS = 400, 60
CHUNK = 2e-3  # seconds of one measurement, as many calls as fit

Calls = dict[str, Callable[[], Any]]


def gram(K: int, kind: str, rng: np.random.Generator) -> Any:
    """One Gram matrix: plain, nearly stationary (refined in twice the digits), or with copies."""
    G = rng.normal(size=(K, 2 * K + 3)) + 0.3
    if kind == "near":
        G = G - G.mean(axis=0) + 1e-5 * rng.normal(size=G.shape[1])
    if kind == "copies":
        G = np.concatenate([G[: (K + 1) // 2], G])[:K]
        G = G - G.mean(axis=0) + 1e-4 * rng.normal(size=G.shape[1])
    return G @ G.T


def calls() -> Calls:
    """Every compiled public function, by what it is given."""
    import fairopt as f

    rng = np.random.default_rng(0)
    found: Calls = {}
    for K in TASKS:
        plain = np.stack([gram(K, "plain", rng) for _ in range(BATCH)])
        given, r = {"plain": plain[0], "batch": plain}, -np.ones(K)
        given |= {kind: gram(K, kind, rng) for kind in ("near", "copies")}
        for kind, A in given.items():
            end = f"K={K} {kind}"
            for alpha in ALPHAS:
                name = f"fairgrad {alpha:g} {end}"
                found[name] = lambda A=A, alpha=alpha: f.fairgrad(A, alpha)
            found[f"min_norm {end}"] = lambda A=A: f.min_norm(A)
            found[f"conflict_averse {end}"] = lambda A=A: f.conflict_averse(A, 0.4)
            found[f"dual_cone {end}"] = lambda A=A, r=r: f.dual_cone_projection(A, r)
            found[f"upgrad {end}"] = lambda A=A: f.upgrad(A)
            found[f"pareto {end}"] = lambda A=A: f.pareto_certificate(A)
    R = (rng.random((LINKS, FLOWS)) < 4.0 / LINKS).astype(float)
    R[rng.integers(LINKS, size=FLOWS), np.arange(FLOWS)] = 1.0
    c, p = rng.uniform(1.0, 10.0, LINKS), rng.uniform(0.5, 2.0, FLOWS)
    for alpha in ALPHAS[1:]:
        name = f"alpha_fair_allocation {alpha:g}"
        found[name] = lambda alpha=alpha: f.alpha_fair_allocation(R, c, alpha, priority=p)
    return found


def serve(folder: Path) -> None:
    """Answer requests `name, calls` with the processor seconds they took."""
    sys.path.insert(0, str(folder))
    import fairopt

    if not Path(fairopt.__file__).is_relative_to(folder):
        raise ImportError(f"{fairopt.__file__} is not in {folder}")
    known = calls()
    for line in sys.stdin:
        name, count = json.loads(line)
        call = known[name]
        call()
        begin = time.process_time()
        for _ in range(count):
            call()
        print(time.process_time() - begin, flush=True)


class Server:
    """A process that makes the calls of one checkout."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, __file__, "--serve", str(folder)]
        environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=-1, stdout=-1, text=True
        )

    def seconds(self, name: str, count: int, processor: int) -> float:
        """Processor seconds of so many calls."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        os.sched_setaffinity(self.process.pid, {processor})
        self.process.stdin.write(json.dumps([name, count]) + "\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())


def measure(other: Path, pattern: str, rounds: int) -> dict[str, dict[str, Any]]:
    """Microseconds per call of the other checkout, and the quartiles of the ratio, by call."""
    names = fnmatch.filter(calls(), pattern)
    pair = (Server(other), Server(ROOT))
    processors = sorted(os.sched_getaffinity(0))
    counts = {}
    for name in names:
        pair[1].seconds(name, 1, processors[0])  # compiles
        pair[0].seconds(name, 1, processors[0])
        counts[name] = 1 + int(CHUNK / max(pair[0].seconds(name, 3, processors[0]) / 3.0, 1e-7))
    found = {name: ([], []) for name in names}  # type: dict[str, tuple[list[float], list[float]]]
    for k in range(rounds):
        processor = processors[k // 2 % len(processors)]
        for name in names:
            for who in (0, 1) if k % 2 else (1, 0):
                found[name][who].append(pair[who].seconds(name, counts[name], processor))
    rows = {}
    for name, (before, after) in found.items():
        ratio = np.quantile(np.divide(after, before), [0.25, 0.5, 0.75])
        rows[name] = {"us": 1e6 * float(np.median(before)) / counts[name], "ratio": ratio.tolist()}
    return rows


def checkout(name: str, into: str) -> Path:
    """A folder as it is, or a revision written to a temporary one."""
    if Path(name).is_dir():
        return Path(name).resolve()
    done = subprocess.run(
        ["git", "archive", name, "fairopt"], cwd=ROOT, capture_output=True, check=True
    )
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(into, filter="data")
    return Path(into).resolve()


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("other", nargs="?", default="HEAD", help="folder or revision")
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--only", default="*", help="pattern of the calls to make")
    parser.add_argument("--json", type=Path, help="write the table to this file")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve)
        return
    sys.path.insert(0, str(ROOT))
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(checkout(arguments.other, folder), arguments.only, arguments.rounds)
    table = Table("call", "us, other", "this / other", "quartiles", title="time of one call")
    for name, row in rows.items():
        low, middle, high = row["ratio"]
        table.add_row(name, f"{row['us']:.1f}", f"{middle:.3f}", f"{low:.3f} - {high:.3f}")
    Console().print(table)
    every = np.array([row["ratio"][1] for row in rows.values()])
    print(f"median ratio {np.median(every):.3f}, largest {every.max():.3f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
