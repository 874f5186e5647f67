"""No claim holds of a subject that does not work: a check that runs nothing would not notice."""

import dataclasses
import functools

import pytest

from proofs import all_claims, template
from proofs.claim import Evidence, NotChecked

CLAIMS = {claim.name: claim for claim in all_claims()}
ABOUT_NUMBERS = {
    "dual-cone-repairs-bound-the-distance",  # factors of a lemma
    "fedram-formula-contradicts-its-theorem",  # a value at which a printed formula is read
    "fedram-formula-read-as-a-gap",
    "large-market-bound-is-attained-by-a-law",  # a quantile of the law of the bound
    "no-floor-where-the-optimum-is-one",  # numbers of tasks, over all mechanisms
    "projections-jump-at-stationary-points",  # a sign of a lemma
}
"""Claims with a subject that is no code of the library: only their controls can show a check."""


def useless(*args, **options):
    """What takes anything and answers nothing that means something."""
    return object()


def with_useless_code(subject):
    """A subject in which every function is useless, and how many there were."""
    if type(subject) is tuple:
        parts = [with_useless_code(part) for part in subject]
        return tuple(part for part, _ in parts), sum(count for _, count in parts)
    if dataclasses.is_dataclass(subject) and not isinstance(subject, type):
        names = [field.name for field in dataclasses.fields(subject)]
        parts = {name: with_useless_code(getattr(subject, name)) for name in names}
        count = sum(count for _, count in parts.values())
        if count:
            changed = {name: part for name, (part, _) in parts.items()}
            return dataclasses.replace(subject, **changed), count
    return (useless, 1) if callable(subject) else (subject, 0)


def noticed(evidence):
    """Whether a check objects to useless code, in words or by an error; None without code."""
    subject, count = with_useless_code(evidence.subject)
    if not count:
        return None
    try:
        found = evidence.check(subject, False)
    except Exception:  # noqa: BLE001  # whatever happens, the claim would not hold
        return True
    return found is not None and not isinstance(found, NotChecked)


@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_fails_with_its_subject_replaced_by_useless_code(name):
    seen = [noticed(evidence) for evidence in CLAIMS[name].evidence]
    assert False not in seen
    if name not in ABOUT_NUMBERS:
        assert True in seen


def test_the_list_of_exceptions_is_current():
    without = {
        claim.name
        for claim in CLAIMS.values()
        if not all(with_useless_code(evidence.subject)[1] for evidence in claim.evidence)
    }
    assert without == ABOUT_NUMBERS


def test_a_check_that_runs_nothing_is_noticed():
    claim = template.CLAIMS[0]
    blind = Evidence("not at all", lambda subject, deep: None, claim.subject, claim.control)
    deaf = dataclasses.replace(blind, check=lambda subject, deep: subject(None, None) and None)
    assert noticed(claim.evidence[0]) is True
    assert noticed(blind) is False
    assert noticed(deaf) is False
    part = dataclasses.replace(blind, subject=(functools.partial(claim.subject), 3))
    assert noticed(part) is False
