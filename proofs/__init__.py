"""Theory that runs: every claim about the algorithms is a small file with a check in it.

A claim states what holds, where it comes from, how and how far it is checked, and names a negative
control: a wrong relative that the same check must reject. `python -m proofs` runs them all.
"""

from proofs.claim import Claim, ClaimResult
from proofs.registry import all_claims

__all__ = ["Claim", "ClaimResult", "all_claims"]
