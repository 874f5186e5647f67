"""The claims hold, their negative controls are rejected, and a bad claim cannot pass unseen."""

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
from proofs.report import as_json, table, verify_all
from proofs.rocq import clearing_claims, theorems

CLAIMS = {claim.name: claim for claim in all_claims()}
COMPILED = {claim.name for claim in (*theorems.CLAIMS, *clearing_claims.CLAIMS)}
"""Verified in test_rocq.py, whose process has compiled the theorems."""


@pytest.mark.parametrize("name", [name for name in CLAIMS if name not in COMPILED])
def test_claim_holds_and_its_negative_control_is_rejected(name):
    result = CLAIMS[name].verify()
    assert result.witness is None
    assert result.rejects_control


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
def test_no_joint_misreport_pays_on_a_complete_grid(rule):
    grid = Grid(3, 2, (0, 1, 2, NO_BID), 5)
    assert size([grid]) == 4096
    assert laws._misreport_on(grid, rule) is None


def test_a_false_claim_and_a_check_that_accepts_everything_do_not_pass():
    claim = template.CLAIMS[0]
    assert claim.verify().passed
    swapped = dataclasses.replace(claim, subject=claim.control, control=claim.subject).verify()
    assert not swapped.holds
    assert not swapped.rejects_control
    blind = dataclasses.replace(claim, check=lambda subject, deep: None).verify()
    assert blind.holds
    assert not blind.passed
    shown = table([swapped, blind])
    assert shown.row_count == 2
    assert {"result", "control rejected"} <= {column.header for column in shown.columns}


def test_records_have_present_and_former_keys():
    claim = template.CLAIMS[0]
    blind = dataclasses.replace(claim, check=lambda subject, deep: None)
    good, bad = json.loads(as_json([claim.verify(), blind.verify()]))["claims"]
    assert good["result"] == good["verdict"] == "holds"
    assert good["controls"] == good["twins"] == 1
    assert good["control_rejected"] is good["broken_twin_rejected"] is True
    assert bad["control_rejected"] is bad["broken_twin_rejected"] is False


def test_every_further_check_counts():
    claim = template.CLAIMS[0]
    good = Evidence("once more", claim.check, claim.subject, claim.control)
    bad = Evidence("once more", claim.check, claim.control, claim.control)
    blind = Evidence("once more", claim.check, claim.subject, claim.subject)
    assert dataclasses.replace(claim, more=(good,)).verify().passed
    assert not dataclasses.replace(claim, more=(good, bad)).verify().holds
    assert not dataclasses.replace(claim, more=(good, blind)).verify().rejects_control


def test_one_check_of_one_subject_runs_once_whatever_the_number_of_controls():
    calls = []

    def check(subject, deep):
        calls.append(subject)
        return None if subject == "right" else "wrong"

    more = tuple(Evidence("again", check, "right", control) for control in ("b", "c"))
    claim = dataclasses.replace(
        template.CLAIMS[0], check=check, subject="right", control="a", more=more
    )
    assert claim.verify().passed
    assert sorted(calls) == ["a", "b", "c", "right"]


def test_a_crash_names_its_claim():
    def crash(subject, deep):
        raise ZeroDivisionError

    claim = dataclasses.replace(template.CLAIMS[0], check=crash)
    with pytest.raises(ZeroDivisionError) as caught:
        claim.verify()
    assert claim.name in caught.value.__notes__[0]


def test_a_crash_fails_its_claim_and_spares_the_others(caplog):
    def crash(subject, deep):
        raise ZeroDivisionError("by nothing")

    claim = template.CLAIMS[0]
    bad, good = verify_all([dataclasses.replace(claim, check=crash), claim])
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
    assert [claim["result"] for claim in claims] == ["holds"] * 4
    assert "4 of 4 claims hold" in page.read_text()
    assert "4 of 4 claims hold" in run("--only", "c[1-4]-*").stdout
    assert run("--only", "no such claim").returncode == 2
    for words in ((), ("conformance",)):
        refused = run(*words, "--markdown", "nowhere/at/all.md")
        assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (2, "", 1)
        assert "a file in a folder that exists" in refused.stderr
