"""The solver's encodings are the rules: the same utilities on concrete auctions."""

import math
from fractions import Fraction

import numpy as np
import pytest

from fairopt import errors
from mechanisms import budget_fair, leave_one_out_level, level_max_min, max_min_fair
from mechanisms.audits.smt import encodings, prove
from mechanisms.audits.violation import client_utility

RULES = [budget_fair, leave_one_out_level, level_max_min, max_min_fair]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("joint", [True, False])
@pytest.mark.parametrize("seed", range(12))
def test_an_encoding_gives_the_utility_of_the_rule(rule, joint, seed):
    import z3

    rng = np.random.default_rng(seed)
    clients, tasks = int(rng.integers(2, 5)), int(rng.integers(1, 4))
    market = encodings.new_market(clients, tasks, joint)
    scale = int(rng.integers(4, 30))

    def numbers(count):
        return sorted(Fraction(int(x), scale) for x in rng.integers(0, 12, size=count))

    report, costs = numbers(tasks), numbers(tasks)
    rng.shuffle(report)
    term = encodings.UTILITIES[rule](
        market, list(map(z3_value, report)), list(map(z3_value, costs))
    )
    fixed, rows = [], {}
    for task, terms in enumerate(market.others):
        rows[task] = numbers(len(terms))
        fixed += [name == z3_value(value) for name, value in zip(terms, rows[task], strict=True)]
    model = prove._solve([*fixed, *market.facts, z3.RealVal(0) >= 0])
    values = {
        str(name): value
        for task, terms in enumerate(market.others)
        for name, value in zip(terms, rows[task], strict=True)
    }
    others = prove._others_rows(market, lambda name: values[str(name)])
    own = [bid if s in market.bidding else math.inf for s, bid in enumerate(report)]
    bids = np.array([*others, own], dtype=object)
    expected = client_utility(rule(bids, 1), len(others), costs)
    seen = model.eval(term, model_completion=True)
    assert Fraction(seen.numerator_as_long(), seen.denominator_as_long()) == expected


def z3_value(fraction):
    import z3

    return z3.RealVal(str(fraction))


def test_a_truthful_encoding_with_a_wrong_price_is_refuted():
    def pays_more_for_more(market, report, costs):
        import z3

        own = market.bidding
        return sum(z3.If(report[s] < market.a(s, 1), report[s] - costs[s], 0) for s in own)

    import z3

    market = encodings.new_market(3, 2, True)
    truth, report = ([z3.Real(f"{name}{s}") for s in range(2)] for name in "cr")
    gain = pays_more_for_more(market, report, truth) - pays_more_for_more(market, truth, truth)
    assert prove._solve([*encodings.ordered(market.others), gain > 0]) is not None


def test_a_reserve_is_not_encoded():
    import functools

    with pytest.raises(ValueError, match="smt"):
        prove.prove_truthful(functools.partial(max_min_fair, reserve=1), (3, 2))


def test_budgets_for_all_real_bids_and_a_rule_that_overspends():
    from functools import partial

    from proofs.incentives.wrong_rules import without_other_tests

    assert prove.prove_within_budget(max_min_fair, encodings.capped_offers, (2, 2)).proved
    untested = partial(encodings.capped_offers, test_others=False)
    found = prove.prove_within_budget(without_other_tests, untested, (3, 2)).violation
    assert found.replay(without_other_tests) == found.gain > 0
    assert found.replay(max_min_fair) <= 0
    with pytest.raises(errors.NotSolved, match="does not replay"):
        prove.prove_within_budget(max_min_fair, untested, (3, 2))
