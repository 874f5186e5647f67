"""The machine-checked theorems, and what ties them to the code.

What needs a compiler is skipped where there is none; the recorded auctions are compared everywhere.
"""

import dataclasses
import random
import re
from fractions import Fraction as F

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from mechanisms import budget_fair, capacity_max_min, max_min_fair
from proofs.__main__ import app
from proofs.claim import NotChecked, summary
from proofs.incentives.instances import exact_table
from proofs.rocq import clearing_claims, compiler, differential, extraction, theorems
from proofs.rocq.auctions import ExactAuction, draw_auction
from proofs.rocq.kernel import kernel_disagrees
from proofs.rocq.outcomes import best_margins, of_code
from proofs.rocq.recorded import COUNT, recorded
from proofs.rocq.wrong_definitions import (
    WRONG_DEFINITIONS,
    control_fails,
    refutation_fails,
)

needs_rocq = pytest.mark.skipif(not compiler.is_installed(), reason=compiler.MISSING)
needs_ocaml = pytest.mark.skipif(not extraction.is_buildable(), reason=extraction.MISSING)
TRUST = re.compile(
    r"\b(Axioms?|Admitted|admit|Parameters?|Conjecture|Hypotheses|give_up|bypass_check"
    r"|Unset\s+(Guard|Positivity|Universe)|Set\s+Type\s+In\s+Type|Declare\s+ML)\b|type-in-type"
)


def code(name):
    """A source without its comments."""
    return re.sub(r"\(\*.*?\*\)", "", compiler.source(name), flags=re.DOTALL)


def test_the_sources_are_the_files_that_are_compiled():
    assert {path.stem for path in compiler.THEORIES.glob("*.v")} == set(compiler.FILES)


@pytest.mark.parametrize("name", compiler.FILES)
def test_no_statement_is_taken_on_trust(name):
    assert not TRUST.search(code(name))


def test_hypotheses_of_the_theorems_are_discharged():
    """A hypothesis of a section is a premise of its theorems; outside it would be an axiom."""
    depth = 0
    for line in code("Theorems").splitlines():
        depth += line.startswith("Section ") - line.startswith("End ")
        assert depth or not line.startswith(("Hypothesis", "Variable", "Context"))


def test_every_theorem_asks_what_it_rests_on_and_has_a_claim():
    asked = re.findall(r"^Print Assumptions (\w+)\.", code("Theorems"), re.MULTILINE)
    assert tuple(asked) == compiler.stated()
    assert len(asked) == 39
    claims = (*theorems.CLAIMS, *clearing_claims.CLAIMS)
    sources = " ".join(claim.source for claim in claims)
    assert all(re.search(rf"\b{name}\b", sources) for name in asked)


@needs_rocq
def test_every_theorem_is_closed_under_the_global_context():
    found = compiler.compiled()
    assert found.error is None
    assert set(found.assumptions.values()) == {compiler.CLOSED}


SUMMARY = """CONTEXT SUMMARY ===
* Theory: Set is predicative
* Axioms: <none>
* Constants/Inductives relying on type-in-type: <none>
* Constants/Inductives relying on unsafe (co)fixpoints: <none>
* Inductives whose positivity is assumed: <none>
"""


@pytest.mark.parametrize("kind", ["Axioms", "type-in-type", "(co)fixpoints", "is assumed"])
def test_the_second_checker_must_find_nothing_of_any_kind(kind):
    assert compiler.rests_on_nothing(" ".join(SUMMARY.split()))
    bad = SUMMARY.replace(f"{kind}: <none>", f"{kind}: Auction.lemma")
    assert not compiler.rests_on_nothing(" ".join(bad.split()))
    assert not compiler.rests_on_nothing("")


COMPILED = {claim.name: claim for claim in (*theorems.CLAIMS, *clearing_claims.CLAIMS)}


@pytest.mark.parametrize("name", COMPILED)
def test_claim_for_all_sizes_holds_and_its_negative_control_is_rejected(name):
    result = COMPILED[name].verify()
    assert result.witness is None
    assert result.rejects_control


@needs_rocq
def test_an_axiom_and_an_error_are_seen(monkeypatch):
    found = compiler.compiled()
    name = compiler.stated()[0]
    on_trust = dataclasses.replace(found, assumptions={**found.assumptions, name: "Axioms:\nA"})
    broken = dataclasses.replace(found, error="Auction.v does not compile: no")
    fewer = dataclasses.replace(found, assumptions={name: compiler.CLOSED})
    for bad, words in ((on_trust, "rests on"), (broken, "does not compile"), (fewer, "ask")):
        monkeypatch.setattr(compiler, "compiled", lambda bad=bad: bad)
        assert words in compiler.objection((name,))


@needs_rocq
def test_an_admitted_lemma_is_an_axiom(tmp_path):
    text = "Lemma l : False. Admitted.\nPrint Assumptions l.\n"
    done = compiler.compile_text(text, tmp_path, "Admitted")
    assert compiler.assumed(done.stdout, text)["l"] == "Axioms:\nl : False"


@needs_rocq
@pytest.mark.slow
@pytest.mark.parametrize("file", ["Auction", "ClearingLevels"])
def test_the_right_rule_passes_where_the_wrong_ones_stop(file, tmp_path):
    assert control_fails(tmp_path, file) is None


@needs_rocq
@pytest.mark.slow
@pytest.mark.parametrize("wrong", WRONG_DEFINITIONS, ids=lambda each: each.name)
def test_a_wrong_rule_is_refuted_by_the_kernel(wrong, tmp_path):
    assert refutation_fails(wrong, tmp_path) is None


@needs_rocq
def test_the_code_is_the_rule_of_the_proofs_inside_the_kernel():
    rng = random.Random(11)
    auctions = [draw_auction(rng) for _ in range(25)]
    seen = list(map(of_code, auctions))
    assert kernel_disagrees(auctions, seen) is None
    for name in ("max_min_fair", "clearing_levels"):
        wrong = [dataclasses.replace(each, **{name: each.budget_fair}) for each in seen]
        assert kernel_disagrees(auctions, wrong) is not None


@needs_ocaml
def test_the_code_is_the_extracted_rule_in_fractions_and_in_floats():
    rng = random.Random(12)
    auctions = [draw_auction(rng) for _ in range(120)]
    assert differential.differences(auctions) == []
    assert differential.float_differences(auctions) == []


@needs_ocaml
@pytest.mark.parametrize("rule", [max_min_fair, budget_fair])
@pytest.mark.parametrize(("shape", "least"), [((2, 2), 100), ((3, 1), 20)])
def test_every_path_of_the_code_decides_as_the_extracted_rule(rule, shape, least):
    """Ties are paths of their own, so every pattern of them is there."""
    auctions = differential.auctions_of_paths(rule, shape)
    assert len(auctions) > least
    assert differential.differences(auctions) == []


@needs_ocaml
def test_the_command_compares_and_reports(capsys):
    with pytest.raises(typer.Exit) as done:
        differential.main(count=20, seed=3, kernel=5, paths=False, record=False)
    assert done.value.exit_code == 0
    shown = capsys.readouterr().out
    assert "20 auctions" in shown
    assert "0 differ in fractions, 0 in floats; the kernel agrees on 5" in shown


@needs_ocaml
def test_the_command_sees_a_rule_that_differs(capsys, monkeypatch):
    def swapped(auction):
        seen = of_code(auction)
        return dataclasses.replace(seen, max_min_fair=seen.budget_fair)

    monkeypatch.setattr(differential, "of_code", swapped)
    with pytest.raises(typer.Exit) as done:
        differential.main(count=20, seed=3, kernel=20, paths=False, record=False)
    assert done.value.exit_code == 1
    assert "max_min_fair differ" in capsys.readouterr().out


def fractions(rows):
    return exact_table(row.split() for row in rows.split("|"))


STEADY = [(0, 0), (1, 0), (3, 1), (4, 1)]
SEVEN = "2 2 | 3 1 | 1 0 | 2 3 | 3 3 | 3 3 | 2 1"


@pytest.mark.parametrize(
    ("bids", "budget", "paid"),
    [
        ("8 8 | 2 1 | 3 8", 12, {(2, 0): 6}),
        ("8 8 | 5 0 | 3 8", 12, {(2, 0): 6}),
        ("0 0 | 0 0 | 0 0 | 0 0", 4, {(0, 1): 1, (1, 1): 1, (2, 0): 1, (3, 0): 1}),
        ("0 1 | 1 0 | 1 0 | 1 0", 4, {(0, 0): F(5, 4), (1, 1): 0, (2, 1): 0, (3, 0): 1}),
        ("1 5 | 5 1", 6, {}),
        ("1 5 | 5 1", 10, {(0, 0): 5, (1, 1): 5}),
        ("1 | 2 | 3 | 4", 7, {(0, 0): 3, (1, 0): 3}),
        ("1 - | 2 - | 3 - | - 1 | - 2 | - 3 | 2 2", 9, dict.fromkeys(STEADY, 2)),
        (SEVEN, 6, {(1, 1): 1, (2, 0): 2}),
    ],
)
def test_clearing_levels_of_worked_auctions(bids, budget, paid):
    found = capacity_max_min(fractions(bids), F(budget))
    assert {tuple(cell): found.payments[tuple(cell)] for cell in np.argwhere(found.winners)} == paid


def test_clearing_levels_without_slack_overspend():
    assert clearing_claims.recruits_without_slack(fractions(SEVEN), F(6)).spend == 7


def test_with_one_task_clearing_levels_are_the_proportional_share():
    for each in recorded():
        if each.auction.tasks == 1:
            assert each.outcomes.clearing_levels == each.outcomes.budget_fair, each.auction


def test_clearing_levels_stay_within_the_budget_on_recorded_auctions():
    """Which is proved on paper only."""
    for each in recorded():
        pays = [p for row in each.outcomes.clearing_levels for p in row if p is not None]
        assert sum(pays) <= each.auction.budget


def test_recorded_auctions_are_many_and_of_every_kind():
    auctions = [each.auction for each in recorded()]
    assert len(auctions) == COUNT
    assert len(set(auctions)) > 0.95 * COUNT
    assert sum(auction.reserve is not None for auction in auctions) > 300
    assert {auction.tasks for auction in auctions} == {1, 2, 3, 4}
    assert {len(auction.bids) for auction in auctions} == set(range(1, 8))
    ties = [a for a in auctions if any(len(set(c)) < len(c) for c in zip(*a.bids, strict=True))]
    assert len(ties) > 1_000


def test_without_a_compiler_a_claim_neither_holds_nor_fails(monkeypatch):
    monkeypatch.setattr(theorems, "is_installed", lambda: False)
    claim = theorems.CLAIMS[0]
    result = claim.verify()
    assert (result.holds, result.passed, result.failed) == (False, False, False)
    assert result.verdict == result.record()["result"] == "not checked here"
    assert result.rejects_control
    assert "apt-get install" in result.record()["not_checked"]
    assert isinstance(claim.check(max_min_fair, False), NotChecked)
    assert summary([result]) == (
        "0 of 1 claims hold and reject their negative controls; 1 not checked here: "
        + compiler.MISSING
    )
    wrong = dataclasses.replace(claim, subject=claim.control).verify()
    assert wrong.verdict == "fails"
    assert wrong.failed


def test_without_a_compiler_the_command_exits_with_0_and_says_so(monkeypatch):
    monkeypatch.setattr(theorems, "is_installed", lambda: False)
    done = CliRunner().invoke(app, ["--only", "max-min-fair-menu-for-all-sizes"])
    assert done.exit_code == 0
    assert "1 not checked here: no coqc" in done.stdout


def test_the_program_refuses_without_its_compilers(monkeypatch):
    monkeypatch.setattr(differential, "is_buildable", lambda: False)
    with pytest.raises(typer.Exit) as caught:
        differential.main(count=1, seed=0, kernel=1, paths=False, record=False)
    assert caught.value.exit_code == 2


def test_an_auction_says_its_bids():
    auction = ExactAuction(((1, 2),), 3, None, (1,))
    assert str(auction) == "bids (1, 2), budget 3"
    assert best_margins(0, [1, 2]) == []
