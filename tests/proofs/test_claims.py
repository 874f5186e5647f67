"""The claims hold, their broken twins are rejected, and a bad claim cannot pass unseen."""

import dataclasses
import json
import subprocess
import sys

import pytest

from mechanisms import budget_fair, leave_one_out_level, max_min_fair
from proofs import all_claims, template
from proofs.claim import KINDS, Evidence
from proofs.incentives import laws
from proofs.incentives.instances import NO_BID, Grid, size
from proofs.report import as_json, judge_all, table

CLAIMS = {claim.name: claim for claim in all_claims()}


@pytest.mark.parametrize("name", CLAIMS)
def test_claim_holds_and_its_broken_twin_is_rejected(name):
    verdict = CLAIMS[name].judge()
    assert verdict.holds, verdict.witness
    assert verdict.rejects_broken


@pytest.mark.parametrize("name", CLAIMS)
def test_claim_says_what_it_is(name):
    claim = CLAIMS[name]
    assert claim.kind in KINDS
    fields = ("statement", "formula", "source", "how", "scope", "deep_scope")
    assert all(getattr(claim, field) for field in fields)
    assert "|" not in claim.formula  # it would end a cell of the page
    assert claim.formula.count("{") == claim.formula.count("}")
    assert "$" not in claim.formula


@pytest.mark.slow
@pytest.mark.parametrize("rule", [budget_fair, leave_one_out_level, max_min_fair])
def test_no_joint_lie_pays_on_a_complete_grid(rule):
    grid = Grid(3, 2, (0, 1, 2, NO_BID), 5)
    assert size([grid]) == 4096
    assert laws._lie_on(grid, rule) is None


def test_a_false_claim_and_a_check_that_accepts_everything_do_not_pass():
    claim = template.CLAIMS[0]
    assert claim.judge().passed
    swapped = dataclasses.replace(claim, subject=claim.broken, broken=claim.subject).judge()
    assert not swapped.holds
    assert not swapped.rejects_broken
    blind = dataclasses.replace(claim, check=lambda subject, deep: None).judge()
    assert blind.holds
    assert not blind.passed
    assert json.loads(as_json([blind]))["claims"][0]["broken_twin_rejected"] is False
    assert table([swapped, blind]).row_count == 2


def test_every_further_check_counts():
    claim = template.CLAIMS[0]
    good = Evidence("once more", claim.check, claim.subject, claim.broken)
    bad = Evidence("once more", claim.check, claim.broken, claim.broken)
    blind = Evidence("once more", claim.check, claim.subject, claim.subject)
    assert dataclasses.replace(claim, more=(good,)).judge().passed
    assert not dataclasses.replace(claim, more=(good, bad)).judge().holds
    assert not dataclasses.replace(claim, more=(good, blind)).judge().rejects_broken


def test_a_crash_names_its_claim():
    def crash(subject, deep):
        raise ZeroDivisionError

    claim = dataclasses.replace(template.CLAIMS[0], check=crash)
    with pytest.raises(ZeroDivisionError) as caught:
        claim.judge()
    assert claim.name in caught.value.__notes__[0]


def test_a_crash_fails_its_claim_and_spares_the_others(caplog):
    def crash(subject, deep):
        raise ZeroDivisionError("by nothing")

    claim = template.CLAIMS[0]
    bad, good = judge_all([dataclasses.replace(claim, check=crash), claim])
    assert bad.witness == "the check raises ZeroDivisionError: by nothing"
    assert not bad.passed
    assert good.passed
    assert claim.name in caplog.text


def run(*arguments):
    command = [sys.executable, "-m", "proofs", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_command_line(tmp_path):
    page = tmp_path / "claims.md"
    done = run("--only", "c[1-4]-*", "--json", "--markdown", str(page))
    assert done.returncode == 0, done.stderr
    claims = json.loads(done.stdout)["claims"]
    assert [claim["verdict"] for claim in claims] == ["holds"] * 4
    assert "4 of 4 claims hold" in page.read_text()
    assert "4 of 4 claims hold" in run("--only", "c[1-4]-*").stdout
    assert run("--only", "no such claim").returncode == 2
