"""Which laws does your way of combining task gradients obey?

Run with `python examples/check_your_own_aggregator.py`.
"""

from __future__ import annotations

import numpy as np

import fairopt
from proofs.conformance import check_aggregator


def normalised_mean(gradients):
    """A rule somebody might write: the mean of the unit gradients."""
    return (gradients / np.linalg.norm(gradients, axis=1, keepdims=True)).mean(axis=0)


def fair(gradients):
    """FairGrad at alpha = 1."""
    return fairopt.fairgrad(gradients @ gradients.T, alpha=1.0).weights @ gradients


def main() -> None:
    """Check the rule against all laws, replay a witness, and require what it should obey."""
    with np.errstate(invalid="ignore"):
        report = check_aggregator(normalised_mean)
    print(report)

    broken = next(result for result in report.broken if result.law == "non-conflicting")
    print()
    print("gradients of the witness:")
    print(broken.instance.round(3))
    print("fairgrad on them:", broken.replay(fair) or "non-conflicting")

    claims = ["permutation invariant", "ignores task scales", "duplicated tasks"]
    check_aggregator(normalised_mean, claims=claims).require()  # one line in your test suite


if __name__ == "__main__":
    main()
