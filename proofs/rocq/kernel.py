"""Outcomes compared inside the kernel by computation: nothing that is extracted is trusted."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from proofs.incentives.instances import NO_BID
from proofs.rocq.auctions import ExactAuction
from proofs.rocq.compiler import SECONDS, compiled
from proofs.rocq.outcomes import Outcomes, Rows

HEADER = """\
From Coq Require Import QArith List.
Require Import Executable.
Import ListNotations.
Open Scope Q_scope.
Definition cases : list case := [
"""
FOOTER = """
].
Example code_and_proof_agree : forallb agrees cases = true.
Proof. vm_compute. reflexivity. Qed.
"""


def kernel_disagrees(auctions: Sequence[ExactAuction], outcomes: Sequence[Outcomes]) -> str | None:
    """What the kernel objects to these being the outcomes of the proved rules, or None."""
    cases = map(_case, auctions, outcomes)
    folder = compiled().folder.name
    with tempfile.TemporaryDirectory(prefix="fairopt-cases-") as work:
        path = Path(work) / "Cases.v"
        path.write_text(HEADER + ";\n".join(cases) + FOOTER, encoding="utf-8")
        command = ["coqc", "-q", "-Q", folder, "", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    return None if done.returncode == 0 else " ".join(done.stderr.split())[-300:]


def _case(auction: ExactAuction, outcomes: Outcomes) -> str:
    """One auction and what came of it, as a record of `Executable.v`."""
    fields = {
        "clients_of": f"{len(auction.bids)}%nat",
        "tasks_of": f"{auction.tasks}%nat",
        "budget_of": f"{auction.budget.numerator} # {auction.budget.denominator}",
        "reserve_of": _list(map(_amount, auction.reserve or ())),
        "capacities_of": _list(f"{capacity}%nat" for capacity in auction.capacities),
        "bids_of": _rows(auction.bids),
        "max_min_of": _rows(outcomes.max_min_fair),
        "fair_of": _rows(outcomes.budget_fair),
        "capacity_outcome_of": _rows(outcomes.capacities),
        "clearing_of": _rows(outcomes.clearing_levels),
    }
    return "{| " + "; ".join(f"{name} := {value}" for name, value in fields.items()) + " |}"


def _rows(rows: Rows) -> str:
    """A table."""
    return _list(_list(map(_amount, row)) for row in rows)


def _list(words: Iterable[str]) -> str:
    """A list."""
    return "[" + "; ".join(words) + "]"


def _amount(amount: Any) -> str:
    """An amount, or that there is none."""
    if amount is None or amount == NO_BID:
        return "None"
    return f"Some ({amount.numerator} # {amount.denominator})"
