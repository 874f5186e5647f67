"""An auction from a data frame of pandas, Polars or PyArrow, and its outcome as a frame again.

One column has the clients' names, the others are tasks; a missing value is no bid.

Run with: python examples/bids_from_data_frames.py (needs pandas or polars)
"""

from __future__ import annotations

import importlib
import importlib.util

from mechanisms import max_min_fair, read_bids

TABLE = {
    "client": ["ann", "bob", "cid", "dan"],
    "mnist": [2.0, 3.0, 5.0, 8.0],
    "cifar": [9.0, 4.0, 1.0, None],
}


def payments(frame: object, budget: float) -> dict[str, dict[str, float]]:
    """What every recruit is paid for every task that it does."""
    named = read_bids(frame)
    outcome = max_min_fair(named.bids, budget)
    return {
        client: {
            task: float(outcome.payments[i, s])
            for s, task in enumerate(named.tasks)
            if outcome.winners[i, s]
        }
        for i, client in enumerate(named.clients)
    }


def main() -> None:
    """The same from both libraries, as far as they are installed."""
    for library in ("pandas", "polars"):
        if importlib.util.find_spec(library):
            module = importlib.import_module(library)
            paid = payments(module.DataFrame(TABLE), budget=24.0)
            print(library, module.DataFrame([{"client": c, **row} for c, row in paid.items()]))


if __name__ == "__main__":
    main()
