"""The claims hold, their broken twins are rejected, and a bad claim cannot pass unseen."""

import dataclasses
import json
import subprocess
import sys

import pytest
from hypothesis import given, settings

from fairopt import errors
from mechanisms import budget_fair, greedy_max_min, leave_one_out_level, max_min_fair
from proofs import all_claims, template
from proofs.claim import KINDS
from proofs.conformance import AUCTION_LAWS, DoesNotConform, check_auction
from proofs.incentives import laws, wrong_rules
from proofs.incentives.instances import NO_BID, Grid, size
from proofs.report import as_json, table
from proofs.strategies import bid_profiles

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
    assert all(getattr(claim, field) for field in ("statement", "source", "how", "scope"))


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


def test_a_crash_names_its_claim():
    def crash(subject, deep):
        raise ZeroDivisionError

    claim = dataclasses.replace(template.CLAIMS[0], check=crash)
    with pytest.raises(ZeroDivisionError) as caught:
        claim.judge()
    assert claim.name in caught.value.__notes__[0]


def run(*arguments):
    command = [sys.executable, "-m", "proofs", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_command_line():
    done = run("--only", "c[1-4]-*", "--json")
    assert done.returncode == 0, done.stderr
    claims = json.loads(done.stdout)["claims"]
    assert [claim["verdict"] for claim in claims] == ["holds"] * 4
    assert "4 of 4 claims hold" in run("--only", "c[1-4]-*").stdout
    assert run("--only", "no such claim").returncode == 2


@pytest.mark.parametrize("rule", [budget_fair, max_min_fair, leave_one_out_level])
def test_honest_rules_conform(rule):
    assert check_auction(rule, seed=1).require().passed


@pytest.mark.parametrize(
    ("rule", "law"),
    [
        (greedy_max_min, "truthful"),
        (wrong_rules.unlimited, "within budget"),
        (wrong_rules.underpaying, "individually rational"),
        (lambda bids, budget: max_min_fair(bids * 0, budget), "recruits only bidders"),
    ],
)
def test_wrong_rules_do_not_conform(rule, law):
    def forgiving(bids, budget):
        bids = bids.copy()
        if law == "recruits only bidders":
            bids[bids == float("inf")] = 1.0
        return rule(bids, budget)

    report = check_auction(forgiving, claims=[law])
    assert not report.passed
    assert report.results[0].witness
    with pytest.raises(DoesNotConform, match=law):
        report.require()


def test_unknown_law():
    with pytest.raises(errors.InvalidInput, match="within budget"):
        check_auction(budget_fair, claims=["nice"])
    assert "truthful" in AUCTION_LAWS


@settings(max_examples=30, deadline=None)
@given(bid_profiles(exact=False))
def test_profiles_are_valid_auctions(auction):
    bids, budget = auction
    assert max_min_fair(bids, budget).spend <= budget
