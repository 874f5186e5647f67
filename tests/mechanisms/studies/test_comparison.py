"""The studies: the same auctions for all rules, proved floors, output that a script can read."""

import io
import json
import math
import re

import numpy as np
import pytest
from rich.console import Console

from fairopt import errors
from mechanisms.auctions.baselines import cheapest_first
from mechanisms.auctions.max_min_fair import max_min_fair
from mechanisms.outcome import Outcome
from mechanisms.report.studies import plain, rounds_tables, study_figure, study_tables
from mechanisms.studies.comparison import compare_rules, cost_laws
from mechanisms.studies.contest import (
    FLOORS,
    RULES,
    RULES_FOR_FEW_TASKS,
    Draw,
    first_tasks,
    masked,
)
from mechanisms.studies.rounds import study_rounds
from mechanisms.studies.statistics import measure, paired
from tests.mechanisms.test_command_line import command

SMALL = {"num_clients": 8, "num_tasks": 2, "draws": 4, "budgets": [0.2, 0.6]}


@pytest.fixture(scope="module")
def cells():
    return compare_rules(**SMALL)


def test_every_rule_meets_every_law_and_budget(cells):
    seen = {(cell.rule, cell.law, cell.budget) for cell in cells}
    assert len(seen) == len(cells) == len(RULES) * len(cost_laws(2)) * 2


def test_no_floor_is_broken_and_the_optimum_is_one(cells):
    for cell in cells:
        assert cell.broken == 0
        assert (cell.floor is not None) == (cell.rule in FLOORS)
        assert cell.spent.mean <= 1
        if cell.rule == "greedy-max-min*":
            assert cell.ratio.mean == cell.worst == cell.floor == 1
        assert math.isnan(cell.ratio.mean) or 0 <= cell.ratio.mean <= 1
        assert math.isnan(cell.overpaid.mean) or cell.overpaid.mean > -1e-12
        if cell.floor is not None:
            assert cell.ratio.mean >= cell.floor


def test_leads_are_paired_and_intervals_cover(cells):
    for cell in cells:
        if cell.rule == "max-min-fair":
            assert (cell.lead.mean, cell.lead.half_width) == (0, 0)
        default = next(
            c
            for c in cells
            if c.rule == "max-min-fair" and c.law == cell.law and c.budget == cell.budget
        )
        if not math.isnan(cell.lead.mean):
            assert cell.lead.mean == pytest.approx(cell.ratio.mean - default.ratio.mean)
    rng = np.random.default_rng(0)
    hits = [abs((m := measure(rng.normal(size=5))).mean) <= m.half_width for _ in range(2000)]
    assert abs(np.mean(hits) - 0.95) < 4 * math.sqrt(0.95 * 0.05 / 2000)
    assert math.isnan(measure([1.0]).half_width)
    assert math.isnan(measure([]).mean)
    assert paired([1.0, 5.0], [0.0, 4.0]).half_width == 0


def test_auctions_too_small_for_any_recruit_show_dashes():
    assert study_tables(compare_rules(num_clients=1, num_tasks=2, draws=1))[0].row_count


def test_a_wrong_floor_shows(monkeypatch):
    wrong = {**FLOORS, "budget-fair": lambda best, tasks: best}
    monkeypatch.setattr("mechanisms.studies.contest.FLOORS", wrong)
    assert any(cell.broken for cell in compare_rules(**SMALL) if cell.rule == "budget-fair")


@pytest.mark.parametrize("capacity", [1, 2])
def test_rules_for_clients_that_do_few_tasks(capacity):
    small = {**SMALL, "num_tasks": 3}
    found = compare_rules(**small, capacity=capacity)
    assert {cell.rule for cell in found} == set(RULES_FOR_FEW_TASKS)
    assert not any(cell.broken for cell in found)
    assert all(cell.ratio.mean <= 1 for cell in found)
    best = [cell for cell in found if cell.rule == "greedy-max-min*"]
    assert {cell.worst for cell in best if not math.isnan(cell.worst)} == {1.0}
    with pytest.raises(errors.InvalidInput):
        compare_rules(**small, capacity=4)


@pytest.mark.parametrize("capacity", [1, 2])
def test_masks_give_every_task_as_many_clients(capacity):
    draw = Draw(np.zeros((12, 3)), np.zeros((12, 3)), 1e9, seed=5)
    outcome = masked(draw, capacity)
    assert (outcome.winners.sum(axis=1) <= capacity).all()
    kept = first_tasks(draw, capacity)
    assert (kept.winners.sum(axis=1) <= capacity).all()
    assert len(set(outcome.take_up)) == 1
    assert not np.array_equal(masked(Draw(*_tables(), 1e9, 6), 1).winners, masked(draw, 1).winners)


def _tables():
    return np.zeros((12, 3)), np.zeros((12, 3))


def test_a_study_repeats_and_can_be_shared(cells):
    again = compare_rules(**SMALL, jobs=2)
    assert str(again) == str(cells)
    assert str(compare_rules(**SMALL, seed=1)) != str(cells)


def own_rule(bids, budget):
    """Everybody works who bids at most an equal share of the budget."""
    price = budget / bids.size
    winners = bids <= price
    return Outcome(winners, np.where(winners, price, 0.0), winners.sum(axis=0))


def drawing(bids, budget):
    """Draws anew at every call."""
    winners = np.random.default_rng().random(bids.shape) < 0.5
    return Outcome(winners, np.where(winners, 0.001, 0.0), winners.sum(axis=0))


def failing(bids, budget):
    """Cannot take clients that do not bid."""
    if np.isinf(bids).any():
        raise ValueError("no missing bids")
    return own_rule(bids, budget)


def test_rules_of_ones_own_meet_the_same_auctions(cells, tmp_path):
    own = {"equal shares": own_rule, "again": max_min_fair}
    with_own = compare_rules(**SMALL, own=own, journal=tmp_path / "journal")
    marked = {cell.rule for cell in with_own} - {cell.rule for cell in cells}
    assert marked == {"equal shares?", "again?"}
    assert str([cell for cell in with_own if cell.rule not in marked]) == str(list(cells))
    for cell in with_own:
        if cell.rule == "again?":
            assert (cell.lead.mean, cell.floor, cell.broken) == (0, None, 0)
    shown = study_tables(with_own)[0]
    assert "?: yours" in shown.caption
    assert "?: yours" not in study_tables(cells)[0].caption
    assert len(study_figure(with_own, "with a rule of one's own").axes) == 8


@pytest.mark.parametrize(
    ("rule", "capacity", "words"),
    [
        (drawing, None, "a function of bids and budget alone"),
        (failing, None, "no missing bids, test_comparison.py line"),
        (own_rule, 1, "no client more than 1, the capacity"),
        (lambda bids, budget: 3, None, "whose answer is sound"),
    ],
)
def test_rules_of_ones_own_that_fail_are_named(rule, capacity, words):
    with pytest.raises(errors.InvalidInput, match=f"rule = 'mine', .*{words}"):
        compare_rules(num_clients=6, num_tasks=2, draws=2, capacity=capacity, own={"mine": rule})


def test_rounds_of_a_rule_of_ones_own_are_audited():
    own = {"equal shares": own_rule, "lowest bids": cheapest_first}
    rounds, _ = study_rounds(num_rounds=2, num_clients=4, num_tasks=1, draws=1, own=own)
    found = {name: [each for each in rounds if each.rule == name] for name in own}
    assert [each.truthful_rounds for each in found["equal shares"]] == [2, 2, 2]
    assert sum(each.truthful_rounds for each in found["lowest bids"]) < 6
    assert rounds_tables(rounds, ())[0].row_count == len(rounds)
    with pytest.raises(errors.InvalidInput, match=r"rule = 'mine', .*function of bids and budget"):
        study_rounds(num_rounds=1, num_clients=4, num_tasks=1, draws=1, own={"mine": drawing})


def test_views(cells):
    (by_rule,) = study_tables(cells)
    assert by_rule.columns[0].header == "rule"
    tables = study_tables(cells, everything=True)
    assert [each.row_count for each in tables] == [len(RULES)] * 5
    figure = study_figure(cells, "small")
    assert len(figure.axes) == 8
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[:3] == ["truthful rule", "rule that is not truthful", "proved floor"]
    assert "95 % interval" in figure.get_suptitle()
    assert plain({"x": (float("inf"), 2)}) == {"x": [None, 2]}


def printed(tables, width=120):
    console = Console(width=width, file=io.StringIO())
    for table in tables:
        console.print(table)
    return console.file.getvalue()


def test_tables_fit_120_columns_and_explain_themselves(cells):
    text = printed(study_tables(cells, everything=True))
    assert "…" not in text
    words = ("k*:", "floor:", "worst:", "gap:", "overpaid:", "ahead, behind:", "*: not truthful")
    summary = printed(study_tables(cells))
    assert all(word in summary for word in words)
    for width in (60, 80, 100):  # folded, not cut off
        words = printed(study_tables(cells), width).split("k*:")[1].split()
        assert words == summary.split("k*:")[1].split()
    for name in RULES:  # a rule has one line in each table
        assert sum(line.startswith(f" {name} ") for line in text.splitlines()) == 5


def test_intervals_of_few_draws_are_dashes_and_settle_nothing():
    for draws, settled in ((2, False), (4, False), (8, True)):
        found = compare_rules(num_clients=8, num_tasks=2, draws=draws, budgets=[0.5])
        _, ratios, leads = study_tables(found, everything=True)
        assert ("!" in printed([leads]).replace("; !", "")) == settled
        widths = re.findall(r"±([ -]+|[0-9.]+)", printed([ratios]))
        assert all(width.strip() == "-" or float(width) <= 0.5 for width in widths)
        if draws == 2:
            assert {width.strip() for width in widths} == {"-"}


def overspends(bids, budget):
    """Everybody works for the whole budget."""
    winners = np.isfinite(bids)
    return Outcome(winners, np.where(winners, budget, 0.0), winners.sum(axis=0))


def test_a_rule_that_overspends_is_marked(cells):
    assert not any(cell.overspent for cell in cells)
    found = compare_rules(**SMALL, own={"mine": overspends})
    caption = study_tables(found)[0].caption
    assert "mine? spends more than its budget in 56 of 56 auctions: its figures" in caption
    assert caption.count("spends more") == 1


def test_a_study_is_a_sequence_that_makes_a_data_frame(cells):
    rows = cells.as_rows()
    assert len(rows) == len(cells)
    assert rows[3]["ratio_half_width"] == cells[3].ratio.half_width
    assert {type(value) for row in rows for value in row.values()} <= {str, float, int, type(None)}
    frame = pytest.importorskip("pandas").DataFrame(rows)
    assert frame.groupby("rule")["ratio"].mean()["greedy-max-min*"] == 1
    assert "greedy-max-min*: 1" in str(cells)


def test_rounds_are_truthful_one_by_one_and_not_where_they_learn():
    by_rule, learning = study_rounds(num_rounds=3, num_clients=8, num_tasks=2, draws=2)
    for each in by_rule:
        if not each.rule.endswith("*"):
            assert each.truthful_rounds == each.audited_rounds == 3
        assert 0.5 <= each.task_fairness.mean <= 1
    assert next(row.policy for row in learning) == "nothing"
    safe = [row for row in learning if row.policy == "nothing" or "scouts" in row.policy]
    assert [row.gaining for row in safe] == [0, 0, 0]
    assert any(row.gaining for row in learning)


def test_commands_print_tables_json_and_pictures(tmp_path):
    picture = tmp_path / "study.png"
    options = ("--clients", 6, "--tasks", 2, "--draws", 2, "--budgets", "0.5")
    done = command("study", *options, "--json", "--progress", "--plot", picture)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["cells"]) == 70
    assert "Comparing rules" in done.stderr
    assert picture.stat().st_size > 1000
    assert "max-min-fair" in command("study", *options).stdout
    small = ("--rounds", 2, "--clients", 6, "--tasks", 2, "--draws", 1)
    done = command("rounds", *small, "--json")
    assert len(json.loads(done.stdout)["learning"]) == 5
    assert "reserve from scouts" in command("rounds", *small).stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("study", "--draws", 0),
        ("study", "--budgets", "0"),
        ("study", "--budgets", "many"),
        ("study", "--clients", 0),
        ("study", "--jobs", 0),
        ("study", "--seed", -1),
        ("study", "--clients", 4, "--draws", 1, "--plot", "nowhere/at/all.png"),
        ("rounds", "--rounds", 0),
        ("rounds", "--clients", 3),
    ],
)
def test_bad_options_are_one_line_and_status_2(arguments):
    done = command(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_bad_arguments():
    with pytest.raises(errors.InvalidInput, match="budgets"):
        compare_rules(budgets=[])
