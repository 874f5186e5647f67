"""`python -m mechanisms` as a person uses it."""

import json
import re
import subprocess
import sys
from fractions import Fraction

import pytest

from fairopt import errors
from mechanisms import __main__ as command_line
from mechanisms import named_rule
from mechanisms.auctions.registry import RULES, RuleOptions
from mechanisms.reading.bids import read_bids
from tests import forked

BIDS = "client,mnist,cifar\nann,1,5\nbob,2,1\ncay,4,3\n"


def command(*arguments):
    return forked.command("mechanisms", *arguments)


def command_of_its_own(*arguments):
    line = [sys.executable, "-m", "mechanisms", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, check=False)


@pytest.fixture
def bids(tmp_path):
    path = tmp_path / "bids.csv"
    path.write_text(BIDS)
    return path


def test_run_prints_a_table_and_draws(bids, tmp_path):
    picture = tmp_path / "auction.png"
    done = command_of_its_own("run", bids, "--budget", "15", "--plot", picture)
    assert done.returncode == 0, done.stderr
    assert "1 -> 3.75" in done.stdout
    assert "max-min-fair: 10.5 of 15 spent" in done.stdout
    assert picture.stat().st_size > 1000
    assert "bid -> payment of recruits" in done.stdout
    rows = {line.split()[1]: line.split()[-2] for line in done.stdout.splitlines() if "│" in line}
    assert rows == {"ann": "3.75", "bob": "3", "cay": "3.75", "recruits": "10.5"}


def test_run_as_json_is_exact(bids):
    done = command("run", bids, "--budget", "15", "--json", "--rule", "budget-fair")
    record = json.loads(done.stdout)
    assert record["spend_exact"] == "15"
    assert record["take_up"] == {"mnist": 2, "cifar": 2}
    assert record["recruits"][0] == {
        "client": "ann",
        "task": "mnist",
        "bid": 1.0,
        "ask": 1.0,
        "payment": 3.75,
        "payment_exact": "15/4",
    }


def test_payments_in_units(bids):
    options = ("--budget", "15", "--unit", "0.5", "--json")
    record = json.loads(command("run", bids, *options).stdout)
    assert {each["payment_exact"] for each in record["recruits"]} == {"3", "7/2"}
    audited = command("audit", bids, *options)
    assert audited.returncode == 0
    assert json.loads(audited.stdout)["truthful"] is True


def test_audit_status_tells_truthful_from_not(bids):
    truthful = command("audit", bids, "--budget", "15", "--json")
    assert truthful.returncode == 0
    assert json.loads(truthful.stdout)["truthful"] is True
    violated = command("audit", bids, "--budget", "15", "--rule", "level-max-min")
    assert violated.returncode == 1
    assert "client ann with costs (1, 5) gains 2" in violated.stdout
    assert "largest violation found" in violated.stdout
    assert re.search(r"critical payments +│ not checked", violated.stdout)
    assert "within budget, at these bids" in violated.stdout
    assert "not checked: this audit did not look" in violated.stdout
    assert "not decided" not in violated.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--budget", "-1"], "budget"),
        (["--budget", "many"], "--budget"),
        (["--budget", "0"], "--budget"),
        (["--budget", "inf"], "--budget"),
        (["--budget", "nan"], "--budget"),
        (["--budget", ""], "--budget"),
        (["--budget", "1e999999999"], "--budget"),
        (["--budget", "5", "--plot", "nowhere/at/all.png"], "plot"),
        (["--budget", "5", "--rule", "best"], "max-min-fair"),
        (["--budget", "5", "--rule", "posted-price"], "prices"),
        (["--budget", "5", "--reserve", "1,2,3"], "--reserve"),
        (["--budget", "5", "--seed", "-1"], "--seed"),
        (["--budget", "5", "--unit", "0"], "unit"),
        (["--budget", "5", "--unit", "6"], "unit"),
        (["--budget", "5", "--unit", "-1"], "--unit"),
        (["--budget", "5", "--unit", "cent"], "--unit"),
        (["--budget", "5", "--unit", "1", "--rule", "greedy-max-min"], "unit"),
    ],
)
def test_bad_options_are_one_line_and_status_2(bids, arguments, words):
    done = command("run", bids, *arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_an_audit_with_bad_options_is_status_2(bids):
    for arguments in (["--jobs", "0"], ["--budget", "0"], ["--samples", "0", "--method", "search"]):
        done = command("audit", bids, "--budget", "5", *arguments)
        assert done.returncode == 2
        assert done.stderr.startswith("error: ")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "client\nann\n",
        "client,a\n",
        "client,a\nann\n",
        "client,a\nann,x\n",
        "client,a\nann,1/0\n",
        "client,a\nann,nan\n",
        "client,a\nann,inf\n",
        "client,a\nann,-1\n",
        "client,a\nann,-1/2\n",
        "client,a\nann,1e400\n",
        "client,a\nann,1e999999999\n",
        "client,a\nann,-1e999999999\n",
        "client,a\nann,1e-999999999\n",
        "client,a,b\nann,1,2\nbob,1\n",
        "client,a,b\nann,1,2\nbob,1,2,3\n",
        "client,a\nann,1\nann,2\n",
        "client,a,a\nann,1,2\n",
        "client,a,\nann,1,\n",
        "client,a\n ,1\n",
        "client;a\nann;1\n",
        "client,a\nann,1\x00\n",
        'client,a\n"ann,1\n',
    ],
)
def test_bad_files(tmp_path, text):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(errors.InvalidInput, match="BIDS"):
        read_bids(path)


TASKS_ONLY = "a,b\n1,2\n3,1\n2,2\n"


@pytest.mark.parametrize(
    ("text", "options", "says"),
    [
        (TASKS_ONLY, (), "--name-column a if these are names, --name-column none if they are bids"),
        (TASKS_ONLY, ("--name-column", "x"), "it must be none, or one of a, b"),
        (TASKS_ONLY, ("--name-column", "b"), "named once"),
        ("1,2\n3,1\n2,2\n", (), "a header"),
        ("1,2\n3,1\n2,2\n", ("--name-column", "none"), "a header"),
    ],
)
def test_asks_are_never_taken_for_names(tmp_path, text, options, says):
    path = tmp_path / "bids.csv"
    path.write_text(text)
    done = command("run", path, "--budget", 5, *options)
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


def test_where_names_are_is_said_or_seen(tmp_path):
    path = tmp_path / "bids.csv"

    def named(text, name_column=""):
        path.write_text(text)
        found = read_bids(path, name_column)
        return found.clients, found.tasks, found.bids.tolist()

    asks = [[1, 2], [3, 1], [2, 2]]
    assert named(TASKS_ONLY, "none") == (("0", "1", "2"), ("a", "b"), asks)
    assert named(TASKS_ONLY, "a") == (("1", "3", "2"), ("b",), [[2], [1], [2]])
    assert named("a,who,b\n1,x,2\n3,y,1\n2,z,2\n", "who") == (("x", "y", "z"), ("a", "b"), asks)
    for heading in ("client", "ID", ""):
        assert named(f"{heading},a,b\n7,1,2\n8,3,1\n9,2,2\n")[0] == ("7", "8", "9")
    assert named("who,a\n7,1\neight,2\n")[0] == ("7", "eight")


@pytest.fixture
def many(tmp_path):
    path = tmp_path / "many.csv"
    rows = (f"c{i},{i % 17}.25,{i % 11 or ''}" for i in range(2_001))
    path.write_text("client,mnist,cifar\n" + "\n".join(rows) + "\n")
    return path


def test_above_two_thousand_clients_floats_decide_and_say_so(many):
    options = ("--budget", "300", "--rule", "budget-fair", "--json")
    floats = command("run", many, *options)
    assert floats.returncode == 0
    assert floats.stderr == (
        "2,001 clients: computed in floats, with every amount as the nearest one; "
        "--exact computes in fractions\n"
    )
    exact = command("run", many, *options, "--exact")
    assert exact.stderr == ""
    record, same = json.loads(floats.stdout), json.loads(exact.stdout)
    assert "spend_exact" not in record
    assert "spend_exact" in same
    assert record["take_up"] == same["take_up"]
    for one, other in zip(record["recruits"], same["recruits"], strict=True):
        assert one["payment"] == pytest.approx(other.pop("payment"), rel=1e-12)
        del other["payment_exact"]
        assert {key: one[key] for key in other} == other


def test_above_two_thousand_clients_the_table_has_a_row_for_each_task(many, tmp_path):
    picture = tmp_path / "auction.png"
    options = ("--reserve", "0.1,2", "--progress", "--plot", picture)
    done = command("run", many, "--budget", "300", *options)
    assert done.returncode == 0
    assert picture.stat().st_size > 1000
    assert "of bidders" in done.stdout
    assert "c17" not in done.stdout
    assert "mnist" in done.stdout
    for title in ("Reading many.csv", "max-min-fair, 2,001 clients", "computed in floats"):
        assert title in done.stderr


@pytest.mark.parametrize(
    ("rule", "options"),
    [
        ("posted-price", ("--prices", "0.1,1/3")),
        ("participation-fee", ("--fee", "1/3", "--direction", "0.1,0.7")),
        ("max-min-fair", ("--reserve", "0.1")),
        ("random-recruitment", ()),
        ("sampled-posted-price", ()),
    ],
)
def test_options_are_numbers_of_the_auctions_kind(many, rule, options):
    for exact in ((), ("--exact",)) if rule != "max-min-fair" else ((),):
        done = command("run", many, "--budget", "0.7", "--rule", rule, *options, *exact)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "a header of task names and a row per client"),
        ("client,a\n", "a header of task names and a row per client"),
        ("1,2\n3,4\n", "names of the columns: a header"),
        ("ann,1,2\nbob,3,4\n", "names of the columns: a header"),
        ("client\nann\n", "a column of names and at least one task"),
        (
            "client,a\nann,1\nann,2\n",
            "'ann', but it must be named once; it stands in lines 2 and 3",
        ),
        ("client,a\nann,nan\n", "client 'ann', task 'a' = 'nan'"),
        ("client,a\nann,cheap\n", "client 'ann', task 'a' = 'cheap'"),
        ("client,a,b\nann,1\n", "a row of 3 cells, as the header"),
    ],
)
@pytest.mark.parametrize("exact", [(), ("--exact",)])
def test_a_bad_file_is_one_line_and_status_2(tmp_path, text, says, exact):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    done = command("run", path, "--budget", 5, *exact)
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.startswith("error: BIDS")
    assert done.stderr.count("\n") == 1


def test_a_missing_file_or_a_folder(tmp_path):
    for path in (tmp_path / "none.csv", tmp_path):
        done = command("audit", path, "--budget", 1)
        assert done.returncode == 2
        assert done.stderr.startswith("error: BIDS")
        assert done.stderr.count("\n") == 1


def test_an_audit_in_two_processes_with_a_bar_and_a_picture(bids, tmp_path):
    picture = tmp_path / "misreports.png"
    options = ("--rule", "level-max-min", "--json", "--progress", "--plot", picture)
    shared = command_of_its_own("audit", bids, "--budget", "15", *options, "--jobs", "2")
    alone = command("audit", bids, "--budget", "15", *options)
    assert shared.returncode == alone.returncode == 1
    assert json.loads(shared.stdout) == json.loads(alone.stdout)
    assert "Auditing clients" in shared.stderr
    assert picture.stat().st_size > 1000


def test_limits_are_shown_and_do_not_count(bids):
    done = command("audit", bids, "--budget", "15", "--json", "--limits")
    assert done.returncode == 0
    limits = json.loads(done.stdout)["limits"]
    assert limits["collusion"]["gain"] > 0
    assert set(limits["collusion"]["clients"]) < {"ann", "bob", "cay"}
    table = command("audit", bids, "--budget", "15", "--limits")
    assert table.returncode == 0
    assert "two clients" in table.stdout
    assert "lower bounds" in table.stdout


def test_cells_are_read_exactly(tmp_path):
    path = tmp_path / "bids.csv"
    path.write_text("who, a ,b\n ann ,0.1,\n\nbob,1/3,1e-2\n")
    named = read_bids(path)
    assert (named.clients, named.tasks) == (("ann", "bob"), ("a", "b"))
    assert named.bids.tolist() == [
        [Fraction(1, 10), float("inf")],
        [Fraction(1, 3), Fraction(1, 100)],
    ]


OPTIONS = {
    "posted-price": RuleOptions(prices=[3, 3]),
    "participation-fee": RuleOptions(fee=Fraction(1, 2)),
}


@pytest.mark.parametrize("name", RULES)
def test_every_named_rule_runs(name, bids):
    rule = named_rule(name, OPTIONS.get(name))
    named = read_bids(bids)
    outcome = rule(named.bids, 15)
    assert outcome.spend <= 15
    assert rule(named.bids, 15) == outcome


UNITS = (
    "max-min-fair",
    "leave-one-out-level",
    "budget-fair",
    "posted-price",
    "sampled-posted-price",
)


@pytest.mark.parametrize("name", UNITS)
def test_named_rules_take_a_unit(name, bids):
    options = RuleOptions(prices=[3.1, 3.3] if name == "posted-price" else None, unit=0.25)
    outcome = named_rule(name, options)(read_bids(bids).bids, 15)
    assert 0 < outcome.spend <= 15
    assert all(amount % Fraction(1, 4) == 0 for amount in outcome.payments.flat)


def test_rules_refuse_options_that_are_not_theirs():
    with pytest.raises(errors.InvalidInput, match="left out"):
        named_rule("greedy-max-min", RuleOptions(fee=1))
    for name in ("greedy-max-min", "level-max-min", "participation-fee"):
        with pytest.raises(errors.InvalidInput, match=f"unit = 1, but .* left out for {name}"):
            named_rule(name, RuleOptions(unit=1, fee=1 if name == "participation-fee" else None))
    with pytest.raises(errors.InvalidInput, match="given"):
        named_rule("participation-fee")


OWN_RULES = """
import numpy as np
from mechanisms import Outcome

def paid(bids, price):
    winners = np.asarray(bids <= price, dtype=bool)
    return Outcome(winners, np.where(winners, price, 0), winners.sum(axis=0))

def fixed(bids, budget, reserve=None):
    return paid(bids, budget / 6 if reserve is None else reserve[0])

def roots(bids, budget):
    return paid(np.sqrt(bids), np.sqrt(budget / 6))

def capped(bids, budget):
    if bids[0, 0] > 7:
        raise ValueError("bids go up to 7")
    return paid(bids, budget / 6)

def nothing(bids, budget):
    pass

def generous(bids, budget):
    return paid(bids, budget)

def stingy(bids, budget):
    winners = np.asarray(bids < 9, dtype=bool)
    return Outcome(winners, np.where(winners, budget / 12, 0), winners.sum(axis=0))

def forever(bids, budget):
    while True:
        pass
"""


@pytest.fixture
def own_rules(tmp_path, monkeypatch):
    """A module of the user's in the current folder."""
    (tmp_path / "own_auctions.py").write_text(OWN_RULES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    yield
    sys.modules.pop("own_auctions", None)


def own(capsys, *arguments):
    """Status, output and errors of the command line in this process, which has the module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["mechanisms", *map(str, arguments)])
        patch.delenv("COLUMNS", raising=False)  # which readline sets
        with pytest.raises(SystemExit) as stop:
            command_line.main()
    printed = capsys.readouterr()
    return stop.value.code, printed.out, printed.err


@pytest.mark.usefixtures("own_rules")
def test_a_rule_of_ones_own_is_run_and_audited(bids, capsys):
    auction = (bids, "--budget", 12, "--rule", "own_auctions:fixed")
    code, printed, _ = own(capsys, "run", *auction, "--json")
    assert (code, json.loads(printed)["spend_exact"]) == (0, "6")
    code, printed, _ = own(capsys, "run", *auction, "--json", "--reserve", 1)
    assert (code, json.loads(printed)["spend_exact"]) == (0, "2")
    code, printed, _ = own(capsys, "audit", *auction, "--json", "--limits")
    record = json.loads(printed)
    assert (code, record["method"], record["laws"]["monotone"]) == (0, "exact", True)


@pytest.mark.usefixtures("own_rules")
def test_a_rule_that_overspends_or_underpays_is_warned_of(bids, capsys):
    auction = (bids, "--budget", 12, "--rule")
    _, _, says = own(capsys, "run", *auction, "own_auctions:generous")
    assert says == "warning: 72 is paid out of a budget of 12: not within budget\n"
    _, _, says = own(capsys, "run", *auction, "own_auctions:stingy")
    assert says == (
        "warning: client ann bids 5 for task cifar and is paid 1: not individually rational\n"
    )
    assert own(capsys, "run", *auction, "own_auctions:fixed")[2] == ""


@pytest.mark.usefixtures("own_rules")
def test_a_rule_of_ones_own_may_refuse_auctions(bids, capsys):
    auction = (bids, "--budget", 12, "--rule", "own_auctions:capped", "--refusals", "ValueError")
    code, printed, _ = own(capsys, "audit", *auction, "--json")
    assert (code, json.loads(printed)["laws"]["truthful"]) == (0, None)


def test_rules_are_named_as_in_python_too(bids, capsys):
    code, printed, _ = own(capsys, "run", bids, "--budget", 12, "--rule", "max_min_fair", "--json")
    assert code == 0
    code, hyphens, _ = own(capsys, "run", bids, "--budget", 12, "--rule", "max-min-fair", "--json")
    assert json.loads(printed)["recruits"] == json.loads(hyphens)["recruits"]


@pytest.mark.usefixtures("own_rules")
def test_a_rule_of_ones_own_competes_in_studies(capsys):
    small = ("--clients", 4, "--tasks", 1, "--draws", 1, "--rule", "own_auctions:fixed")
    code, printed, _ = own(capsys, "study", *small, "--budgets", "0.5", "--json")
    assert code == 0
    assert "own_auctions:fixed?" in {cell["rule"] for cell in json.loads(printed)["cells"]}
    code, printed, _ = own(capsys, "rounds", *small, "--rounds", 1)
    assert (code, "own_auctions:fixed" in printed) == (0, True)
    code, printed, says = own(capsys, "study", "--rule", "max-min-fair")
    assert (code, printed, says.count("\n")) == (2, "", 1)
    assert "a rule of your own, package.module:function" in says


@pytest.mark.usefixtures("own_rules")
def test_a_rule_that_cannot_compute_with_fractions_gets_floats_and_says_so(bids, capsys):
    auction = (bids, "--budget", 12, "--rule", "own_auctions:roots", "--json")
    code, printed, says = own(capsys, "run", *auction)
    assert code == 0
    assert "spend_exact" not in json.loads(printed)
    assert "own_auctions:roots does not run on fractions (TypeError" in says
    code, printed, says = own(capsys, "audit", *auction, "--samples", 20)
    assert json.loads(printed)["method"] == "search"
    assert "floats are used" in says


@pytest.mark.usefixtures("own_rules")
@pytest.mark.parametrize(
    ("command", "rule", "words"),
    [
        (
            "audit",
            "capped",
            r"ValueError: bids go up to 7, own_auctions.py line 17; while .*",
        ),
        ("run", "nothing", r"a rule whose answer is sound \(outcome = None"),
        ("audit", "capped", r"if it refuses an auction by this error, say --refusals"),
        ("audit", "capped --refusals Value", r"--refusals = 'Value', but it must be an error that"),
        ("audit", "fixd", r"did you mean fixed\?"),
        ("run", "forever --time-limit 0.01", r"time_limit = 0.01, but it must be longer than a"),
        ("audit", "forever --time-limit 0.01", r"time_limit = 0.01, but it must be longer than a"),
        ("run", "fixed --time-limit 0", r"--time-limit = 0.0, but it must be seconds above 0"),
        ("run", "fixed --unit 3", r"unit = 3, but it must be left out for own_auctions:fixed"),
    ],
)
def test_mistakes_of_a_rule_of_ones_own_are_one_line(bids, capsys, command, rule, words):
    name, *options = rule.split()
    line = (command, bids, "--budget", 12, "--rule", f"own_auctions:{name}", *options)
    code, printed, says = own(capsys, *line)
    assert (code, printed, says.count("\n")) == (2, "", 1)
    assert re.search(words, says), says


def test_sentences_of_an_audit_are_in_decimals_and_its_record_is_exact(tmp_path):
    path = tmp_path / "bids.csv"
    path.write_text("client,a,b\nann,1/3,5\nbob,2,1\ncay,4,3\n")
    done = command("audit", path, "--budget", "15", "--rule", "level-max-min", "--json")
    largest = json.loads(done.stdout)["violations"][0]
    assert largest["truth"] == ["1/3", "5"]
    assert "with costs (~0.333333, 5) gains" in largest["sentence"]
    assert Fraction(largest["gain_exact"]) > 0
