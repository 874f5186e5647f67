"""Pictures say what was found, and where they cannot be written this is said at once."""

from collections import Counter

import numpy as np
import pytest

from fairopt.errors import InvalidInput
from mechanisms import NamedBids, Outcome, audit, max_min_fair
from mechanisms.audits.violation import TRUTHFUL
from mechanisms.report.plots import audit_figure, checked_picture, outcome_figure
from tests.mechanisms.test_command_line import command

BIDS = np.array([[1, 5], [2, 1], [4, 3], [9, 9]])
NAMED = NamedBids(("ann", "bob", "cay", "dan"), ("mnist", "cifar"), BIDS)


def pays_the_bid(bids, budget):
    """The cheapest two of each task are paid what they bid."""
    winners = np.zeros(bids.shape, dtype=bool)
    for task in range(bids.shape[1]):
        winners[np.argsort(bids[:, task], kind="stable")[:2], task] = True
    return Outcome(winners, np.where(winners, bids, 0), winners.sum(axis=0))


def test_a_client_with_misreports_of_both_kinds_is_counted_once():
    report = audit(pays_the_bid, BIDS.astype(object), 100)
    found = Counter(each.client for each in report.violations if each.law == TRUTHFUL)
    assert max(found.values()) == 2
    title = " ".join(audit_figure(NAMED, report, "mine").get_suptitle().split())
    assert title.startswith(f"mine: {len(found)} of 4 clients have a profitable misreport every")


def test_an_audit_without_a_violation_says_so_in_the_picture():
    panel = audit_figure(NAMED, audit(max_min_fair, BIDS, 15), "max-min-fair").axes[0]
    assert [text.get_text() for text in panel.texts] == ["no profitable misreport found"]
    assert list(panel.get_yticks()) == []


@pytest.mark.parametrize("title", ["mine", "a rule with a very long name " * 4])
def test_nothing_is_cut_off_and_the_legend_names_every_colour(title):
    drawn = [
        outcome_figure(NAMED, pays_the_bid(BIDS, 100), title),
        audit_figure(NAMED, audit(max_min_fair, BIDS, 15), title),
    ]
    labels = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert labels == ["bid of a recruit", "bid that does not win", "payment"]
    for figure in drawn:
        figure.draw_without_rendering()
        texts = [figure._suptitle, *figure.legends, *(axes.title for axes in figure.axes)]
        for text in filter(None, texts):
            box = text.get_window_extent()
            assert figure.bbox.x0 <= box.x0 <= box.x1 <= figure.bbox.x1


@pytest.mark.parametrize("name", ["at.all/none.png", "picture.xyz", "picture", "folder.png"])
def test_a_picture_that_cannot_be_written_is_refused_before_anything_is_computed(tmp_path, name):
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(InvalidInput, match=r"plot = .*a picture file that can be written"):
        checked_picture(tmp_path / name)
    bids = tmp_path / "bids.csv"
    bids.write_text("client,a\n" + "\n".join(f"c{i},{i}" for i in range(30)) + "\n")
    large = {
        "run": (bids, "--budget", 9),
        "audit": (bids, "--budget", 9, "--method", "search", "--samples", 10**7),
        "study": ("--draws", 10**6),
    }
    for which, options in large.items():
        done = command(which, *options, "--plot", tmp_path / name)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert "plot = " in done.stderr


def test_a_picture_that_is_written_is_named(tmp_path):
    bids, picture = tmp_path / "bids.csv", tmp_path / "auction.svg"
    bids.write_text("client,a\nann,1\nbob,2\n")
    done = command("run", bids, "--budget", 9, "--plot", picture)
    assert done.stderr == f"written: {picture}\n"
    assert "bid that does not win" in picture.read_text()
