"""Wrong relatives of the proved rules, which the kernel must refuse and refute.

Each one replaces a piece of the definition in `Auction.v` or `ClearingLevels.v`. That the proof
then breaks says little (it would for a misspelt name too), so two things are required: the
compilation stops in the proof that is named here; and on one explicit auction the kernel computes
from the changed definition, which so compiles, that it overspends or that a client gains by a
misreport. The controls: the right rule compiles by the same road, and none of the explicit auctions
speaks against it.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from proofs.rocq.compiler import FILES, compile_text, compiled, source

_RULE = "(* ------------------------------------------------------------------ "
PROOFS = MappingProxyType(
    {
        "Auction": f"{_RULE}2. numbers *)",
        "ClearingLevels": f"{_RULE}4. the best item of a menu *)",
    }
)
"""Where the definitions of a file end."""
STATEMENTS = r"(?:Lemma|Theorem|Corollary) (\w+)"
PRELUDE = """
Definition table (rows : list (list (option Q))) : profile :=
  fun i t => nth t (nth i rows []) None.
Definition no_sellers : nat -> list Q := fun _ => [].
Definition beats (u v : option Q) : bool :=
  match u, v with
  | Some x, Some y => negb (Qle_bool x y)
  | Some _, None => true
  | None, _ => false
  end.
"""
MEASURES = MappingProxyType(
    {
        "Auction": "",
        "ClearingLevels": """
Definition spend N T B (_ : nat -> list Q) b := clw_spend N T B true b.
Definition utility N T B (_ : nat -> list Q) b i cost := unit_utility (clw N T B true b i) cost.
""",
    }
)
"""What a rule spends and a client earns, where the file does not define it."""


@dataclass(frozen=True)
class Example:
    """An auction on which a rule overspends, or on which a client gains by a misreport.

    Args:
        costs: Rows of true costs, such as "- 0 | 1 2".
        budget: B.
        report: All rows when the client misreports; empty to look at the budget.
        client: Who misreports.
    """

    costs: str
    budget: int
    report: str = ""
    client: int = 0

    def statement(self) -> str:
        """The violation, as a computation in Rocq."""
        rows = self.costs.split("|")
        sizes = f"{len(rows)} {len(rows[0].split())} {self.budget} no_sellers"
        truth = f"(table {_table(self.costs)})"
        if not self.report:
            return f"Qle_bool (spend {sizes} {truth}) {self.budget} = false"
        own = f"{self.client}%nat ({truth} {self.client}%nat)"
        misreport = f"utility {sizes} (table {_table(self.report)}) {own}"
        return f"beats ({misreport}) (utility {sizes} {truth} {own}) = true"


@dataclass(frozen=True)
class WrongDefinition:
    """One wrong rule.

    Args:
        name: What is wrong.
        old: Text that occurs once in the definitions.
        new: What it becomes.
        stops_at: The lemma whose proof breaks first.
        example: An auction that refutes it.
        file: Where the definition is.
    """

    name: str
    old: str
    new: str
    stops_at: str
    example: Example
    file: str = "Auction"


_LOSING = "kth (column b (others i) t) (if (t =? s)%nat then k else S k)) tasks."
_WINNING = "(if (t =? s)%nat then k - 1 else k)%nat) tasks."
_TESTED = "map (fun t => kth (column b (others i) t) "
WRONG_DEFINITIONS = (
    WrongDefinition(
        "pays the bid",
        "then Some p else None\n  | _, _ => None",
        "then Some a else None\n  | _, _ => None",
        "outcome_won",
        Example("0 | 5", 6, report="2 | 5"),
    ),
    WrongDefinition(
        "own bid among the losers",
        _LOSING,
        _LOSING.replace("(others i)", "clients"),
        "losers_agree",
        Example("2 | 3", 1, report="0 | 3"),
    ),
    WrongDefinition(
        "no test on the other tasks",
        _TESTED + _WINNING,
        "map (fun t => if (t =? s)%nat then kth (column b (others i) t) (k - 1) "
        "else Some 0) tasks.",
        "won_common",
        Example("- 0 | 0 0 | - 0", 5),
    ),
    WrongDefinition(
        "losers' bids a rank too low",
        _LOSING,
        _LOSING.replace("(if (t =? s)%nat then k else S k)", "k"),
        "won_affordable",
        Example("0 1 | 1 0", 1),
    ),
    WrongDefinition(
        "cap at twice the share",
        "(water_level (losers b i s k) (B / nQ k)).",
        "(water_level (losers b i s k) (2 * B / nQ k)).",
        "outcome_won",
        Example("0 | 0", 1),
    ),
    WrongDefinition(
        "tied clients all win",
        "then Qle_bool x a && (j <? i)%nat else true",
        "then false else true",
        "ahead_total",
        Example("2 | 2 | 2", 4),
    ),
    WrongDefinition(
        "clearing levels: own row among the others",
        "map (own_row b) (others N i).",
        "map (own_row b) (clients N).",
        "rows_agree",
        Example("2 3 | 1 3", 6, report="2 3 | 1 2", client=1),
        "ClearingLevels",
    ),
    WrongDefinition(
        "clearing levels: pays the bid",
        "| Some c => Some (s, value_of w - c) | None => None end\n                   else None",
        "| Some c => Some (s, fst a - c) | None => None end\n                   else None",
        "served_best",
        Example("3 0 | 0 2", 6, report="0 2 | 0 2"),
        "ClearingLevels",
    ),
    WrongDefinition(
        "clearing levels: the first task, not the best",
        "if leqb a c then Some (s, a) else Some (t, c)",
        "Some (s, a)",
        "cheapest_some",
        Example("2 1 | 0 2", 5, report="- 2 | 0 2"),
        "ClearingLevels",
    ),
)


def refutation_fails(wrong: WrongDefinition, folder: Path) -> str | None:
    """Why a wrong rule does not count as refuted, or None: 1.5 seconds."""
    text, end = source(wrong.file), PROOFS[wrong.file]
    if text.count(wrong.old) != 1 or text.index(wrong.old) > text.index(end):
        return "its place occurs not exactly once in the definitions"
    text = text.replace(wrong.old, wrong.new)
    rule = text[: text.index(end)]
    stopped = _compiled(text, folder / "proof", wrong.file)
    place = _statement_at(text, stopped.stderr)
    if stopped.returncode == 0 or place != wrong.stops_at:
        return f"the proof stops at {place}, not at {wrong.stops_at}"
    if not violates(rule, wrong, folder):
        return "the kernel does not find the violation"
    return None


def control_fails(folder: Path, file: str = "Auction") -> str | None:
    """What the same steps say against the right rule of a file, or None."""
    text = source(file)
    rule = text[: text.index(PROOFS[file])]
    if _compiled(text, folder / "proof", file).returncode != 0:
        return "the right rule does not compile"
    wrong_ones = (wrong for wrong in WRONG_DEFINITIONS if wrong.file == file)
    refuted = [wrong.name for wrong in wrong_ones if violates(rule, wrong, folder)]
    return f"the right rule is refuted as: {', '.join(refuted)}" if refuted else None


def violates(rule: str, wrong: WrongDefinition, folder: Path) -> bool:
    """Whether the kernel computes a violation by a rule, given its definitions."""
    statement = wrong.example.statement()
    proof = f"Example refuted : {statement}. Proof. vm_compute. reflexivity. Qed.\n"
    text = rule + PRELUDE + MEASURES[wrong.file] + proof
    return _compiled(text, folder / "refuted", wrong.file).returncode == 0


def _compiled(text: str, folder: Path, file: str) -> subprocess.CompletedProcess[str]:
    """Compile a text under the name that it has in the sources, which it uses within."""
    folder.mkdir(exist_ok=True)
    library = None if file == FILES[0] else compiled().folder.name
    return compile_text(text, folder, file, library=library)


def _statement_at(text: str, error: str) -> str:
    """The statement in whose proof a compilation stopped."""
    line = re.search(r"line (\d+)", error)
    before = "\n".join(text.splitlines()[: int(line.group(1))]) if line else ""
    names: list[str] = re.findall(rf"^{STATEMENTS}", before, re.MULTILINE)
    return names[-1] if names else "no statement"


def _table(rows: str) -> str:
    """Rows in Rocq's syntax."""

    def cell(word: str) -> str:
        return "None" if word == "-" else f"Some ({word})"

    lists = ("[" + "; ".join(map(cell, row.split())) + "]" for row in rows.split("|"))
    return "[" + "; ".join(lists) + "]"
