"""Random auctions on which no audit may be wrong; `tests.mechanisms.audits.honest` has more."""

from __future__ import annotations

import pytest

from tests.mechanisms.audits.honest import verdict_on


@pytest.mark.parametrize("block", range(4))
def test_no_audit_is_wrong(block: int) -> None:
    found = [verdict_on(seed) for seed in range(1000 * block, 1000 * block + 15)]
    assert not [each for each in found if each.wrong]
    assert {each.truthful for each in found} >= {True, None}
