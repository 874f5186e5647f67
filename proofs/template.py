"""The blanks to fill for a new claim: copy this file into a topic's folder and change every line.

It is complete and its check runs, but it lies outside the topics' folders, so it is not listed.
"""

from __future__ import annotations

from mechanisms import Mechanism, budget_fair
from proofs.claim import IDENTITY, Claim
from proofs.incentives.instances import exact_table
from proofs.incentives.wrong_rules import underpaying


def pays_everybody_alike(mechanism: Mechanism, deep: bool) -> str | None:
    """Return what speaks against the claim, in words, or None. `deep` requests more effort."""
    outcome = mechanism(exact_table([(1,), (1,), (9,)]), 6)
    paid = set(outcome.payments[outcome.winners])
    return None if paid == {3} else f"recruits are paid {sorted(paid)}"


CLAIMS = (
    Claim(
        name="a-new-claim",
        statement="two recruits share the budget",
        formula=r"p_{11} = p_{21} = B/2",
        source="where the statement and its proof are written",
        kind=IDENTITY,
        how="how the check works, in three words",
        scope="what the check covers, in numbers",
        deep_scope="what the thorough check covers",
        check=pays_everybody_alike,
        subject=budget_fair,
        control=underpaying,
    ),
)
