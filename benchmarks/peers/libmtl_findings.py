"""What a few weightings of LibMTL do where their methods promise otherwise: one line for each.

Run with: python -m benchmarks.peers.libmtl_findings FOLDER (a clone of LibMTL; needs cvxpy)
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from fairopt.arrays import Array
from proofs.aggregator_laws import tiny
from proofs.libmtl_weightings import libmtl_version, libmtl_weightings

GRADIENTS = np.random.default_rng(0).normal(size=(3, 6))


def raised(aggregate: Callable[[Array], Array], G: Array) -> str:
    """The error, or the direction's length."""
    try:
        return f"a direction of length {np.linalg.norm(aggregate(G)):.2g}"
    except Exception as error:  # noqa: BLE001 (whatever it raises is the finding)
        return f"{type(error).__name__}: {str(error)[:60]}"


def smallest_cosine(aggregate: Callable[[Array], Array], G: Array) -> float:
    """Of the direction with a task."""
    d = aggregate(G)
    return float((G @ d / np.linalg.norm(G, axis=1)).min() / np.linalg.norm(d))


def main() -> None:
    """Print the findings."""
    warnings.simplefilter("ignore")
    sys.modules["ecos"] = None  # type: ignore[assignment]  # as where it is not installed
    checkout = Path(sys.argv[1])
    found = {k.removeprefix("LibMTL "): w for k, w in libmtl_weightings(checkout).items()}
    ratio = found["Nash_MTL"](GRADIENTS) / GRADIENTS.sum(axis=0)
    print(f"LibMTL {libmtl_version(checkout)}, gradients: 3 tasks x 6 parameters")
    print(f"Nash_MTL without ECOS, direction / sum of gradients: {ratio.min()} to {ratio.max()}")
    print(f"MGDA, one task: {raised(found['MGDA'], GRADIENTS[:1])}")
    print(f"MGDA, gradients times 1e5: {raised(found['MGDA'], 1e5 * GRADIENTS)}")
    print(f"Aligned_MTL: {raised(found['Aligned_MTL'], GRADIENTS)}")
    rng = np.random.default_rng(0)
    worst = min(smallest_cosine(found["FairGrad"], tiny(3, rng)) for _ in range(20))
    print(f"FairGrad, gradients of 1e-6 (the family 'tiny'), worst of 20: cosine {worst:.2f}")


if __name__ == "__main__":
    main()
