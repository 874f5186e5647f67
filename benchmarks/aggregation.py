"""Gram matrices, combinations and directions of tensors beside one pass over the same memory.

The unit is one `sum()` over all updates, the least that reading them takes. Columns: `gram`,
`combine` and `aggregate` (FairGrad, alpha 2) of fairopt.torch, and what is written without it:
torch.stack and two products in the dtype of the updates (naive), or in float64 (naive float64).
All calls of a row are interleaved in one process; medians with quartiles, of processor time on one
thread, else of time. Updates are one tensor, or 45 of the shapes of a ResNet; on a CUDA device
where there is one.

Run with: python benchmarks/aggregation.py [--tasks 4 16 64] [--entries 1e7] [--quick] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from fairopt.torch import FairGrad, aggregate, combine, gram

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float64": torch.float64}
BYTES = 3 << 30  # of all updates of a row and their copies in float64; longer ones are shortened
LEAVES = 45  # tensors of the second structure: convolutions, each with a scale and a shift
QUICK = {"tasks": [4, 16], "entries": 1e5, "rounds": 5}
WIDTH = 160  # characters that the table needs
COLUMNS = ("gram", "combine", "aggregate", "naive", "naive float64")

Call = Callable[[], Any]


def shapes(entries: int, leaves: int) -> list[tuple[int, ...]]:
    """One vector, or convolutions that double in width, with two vectors each, of so many entries.

    Example:
        >>> shapes(1000, 1)
        [(1000,)]
    """
    if leaves == 1:
        return [(entries,)]
    count = leaves // 3
    widths = [2 ** (4 * k // count) for k in range(count)]
    unit = np.sqrt(entries / sum(9 * w * w + 2 * w for w in widths))
    found: list[tuple[int, ...]] = []
    for w in widths:
        width = max(int(unit * w), 1)
        found += [(width, width, 3, 3), (width,), (width,)]
    return found


def draw(K: int, entries: int, leaves: int, dtype: torch.dtype, device: str) -> list[list[Tensor]]:
    """K updates of random numbers."""
    generator = torch.Generator(device).manual_seed(0)
    return [
        [
            torch.randn(shape, generator=generator, device=device).to(dtype)
            for shape in shapes(entries, leaves)
        ]
        for _ in range(K)
    ]


def naive(updates: list[list[Tensor]], dtype: torch.dtype) -> Tensor:
    """A stack of all updates, their products, and a combination, as in most released code."""
    rows = torch.stack([torch.cat([x.reshape(-1) for x in update]) for update in updates])
    rows = rows.to(dtype)
    weights = torch.ones(len(rows), dtype=dtype, device=rows.device) / len(rows)
    return weights @ rows + (rows @ rows.T).sum()


def calls(updates: list[list[Tensor]]) -> dict[str, Call]:
    """What is timed; the first is the unit."""
    weights = np.full(len(updates), 1.0 / len(updates))
    dtype = updates[0][0].dtype
    return {
        "sum": lambda: [x.sum() for update in updates for x in update],
        "gram": lambda: gram(updates),
        "combine": lambda: combine(updates, weights),
        "aggregate": lambda: aggregate(updates, FairGrad(2.0)),
        "naive": lambda: naive(updates, dtype),
        "naive float64": lambda: naive(updates, torch.float64),
    }


def seconds(call: Call) -> float:
    """Of one call, until the device is done."""
    alone = not torch.cuda.is_available() and torch.get_num_threads() == 1
    clock = time.process_time if alone else time.perf_counter  # others may share the processor
    begin = clock()
    call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return clock() - begin


def measure(updates: list[list[Tensor]], rounds: int) -> dict[str, list[float]]:
    """Quartiles of the times in units of the median time of the first call, and that time."""
    named = calls(updates)
    for call in named.values():
        call()
    taken: dict[str, list[float]] = {name: [] for name in named}
    for _ in range(rounds):
        for name, call in named.items():
            taken[name].append(seconds(call))
    unit = float(np.median(taken.pop("sum")))
    rows = {name: (np.quantile(x, [0.25, 0.5, 0.75]) / unit).tolist() for name, x in taken.items()}
    return rows | {"ms of a pass": [1e3 * unit]}


def cell(values: list[float]) -> str:
    """The median with its quartiles."""
    if len(values) == 1:
        return f"{values[0]:.2f}"
    low, middle, high = values
    return f"{middle:.1f} ({low:.1f}-{high:.1f})"


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--tasks", type=int, nargs="+", default=[4, 16, 64])
    parser.add_argument("--entries", type=float, default=1e7, help="of one update")
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=list(DTYPES))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="small updates, few rounds")
    parser.add_argument("--json", type=Path, help="write the table to this file")
    arguments = parser.parse_args()
    if arguments.quick:
        for name, value in QUICK.items():
            setattr(arguments, name, value)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rows: list[dict[str, Any]] = []
    for name in arguments.dtypes:
        for K in arguments.tasks:
            fitting = BYTES // (K * (DTYPES[name].itemsize + 8))
            entries = min(int(arguments.entries), fitting)
            for leaves in (1, LEAVES):
                updates = draw(K, entries, leaves, DTYPES[name], device)
                row = {"dtype": name, "K": K, "entries": entries, "tensors": leaves}
                rows.append(row | measure(updates, arguments.rounds))
    title = f"time / one sum() over all updates, {device}, {torch.get_num_threads()} threads"
    table = Table(title=title)
    for column in ("dtype", "K", "entries", "tensors", *COLUMNS, "ms of a pass"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        facts = [str(row[name]) for name in ("dtype", "K", "entries", "tensors")]
        table.add_row(*facts, *(cell(row[name]) for name in (*COLUMNS, "ms of a pass")))
    console = Console(width=max(Console().width, WIDTH))
    console.print(table)
    if arguments.json:
        arguments.json.write_text(json.dumps({"device": device, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
