"""One table about a GPU: the tests that need one, a training step and an aggregation on it.

Prints "no CUDA device" and succeeds where there is none. Takes at most some minutes; the parts that
are left when `--minutes` are over are skipped and say so. `make gpu-check` runs it.

Run with: python benchmarks/peers/gpu_check.py [--minutes 8] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[2]
STEP = ["benchmarks/training_step.py", "--device", "cuda", "--rounds", "7"]
PARTS = {
    "tests": ["-m", "pytest", "-q", "-m", "gpu", "tests"],
    "step, MLP": [*STEP, "--models", "MLP", "--tasks", "10", "40", "200"],
    "step, transformer": [*STEP, "--models", "transformer", "--tasks", "10", "40"],
    "step, CNN": [*STEP, "--models", "CNN", "--tasks", "10", "40"],
    "aggregation": ["benchmarks/aggregation.py", "--tasks", "16", "--rounds", "5"],
}


def run(arguments: list[str], seconds: float, file: Path) -> tuple[int | None, str, Any]:
    """(exit code or None for no time, last line, figures) of one part."""
    json_file = [] if arguments[0] == "-m" else ["--json", str(file)]
    try:
        done = subprocess.run(
            [sys.executable, *arguments, *json_file],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None, "no time left", None
    lines = (done.stdout if done.returncode == 0 else done.stderr or done.stdout).strip()
    figures = json.loads(file.read_text()) if file.exists() else None
    return done.returncode, lines.splitlines()[-1] if lines else "", figures


def summary(figures: Any, last: str) -> str:
    """What fits into a cell."""
    if not isinstance(figures, list):
        return last[:90]
    steps = [row for row in figures if "plain_steps" in row and "fairopt" in row["step"]]
    found = [f"K={r['K']} {r['step']} {r['plain_steps'][1]:.1f}" for r in steps]
    return "; ".join(found) or last[:90]


def main() -> int:
    """Run all parts; 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    console = Console()
    if not torch.cuda.is_available():
        console.print("no CUDA device")
        return 0
    table = Table("part", "result", "seconds", "figures (plain steps)", title="on the GPU")
    end, results, failed = time.monotonic() + 60.0 * options.minutes, {}, False
    with tempfile.TemporaryDirectory() as folder, console.status("GPU checks"):
        for name, arguments in PARTS.items():
            begin = time.monotonic()
            left = max(end - begin, 0.1)
            code, last, figures = run(arguments, left, Path(folder, f"{name}.json"))
            taken = time.monotonic() - begin
            word = "skipped" if code is None else "ok" if code == 0 else "FAILED"
            failed |= code not in (0, None)
            table.add_row(name, word, f"{taken:.0f}", summary(figures, last))
            results[name] = {"code": code, "seconds": taken, "last": last, "figures": figures}
    console.print(torch.cuda.get_device_name())
    console.print(table)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
