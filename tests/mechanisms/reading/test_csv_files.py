"""Bids of CSV files: fractions and floats agree, and every refusal is one sentence with a place."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fairopt import errors
from mechanisms import read_bids
from mechanisms.reading import csv_files

DIGITS = st.decimals(0, 10**6, allow_nan=False).map(str)
CELLS = st.one_of(
    DIGITS,
    st.floats(1e-300, 1e300).map(repr),
    st.sampled_from(
        ["", " ", "0", "0.0", "0e5", "-0", "1/3", " 2 ", "1_000", "+3", "1e-300", "7."]
    ),
)
WRONG = ["nan", "inf", "-inf", "x", "1/0", "-1", "-1/2", "1e301", "1e-301", "1e999999", "1e-999999"]


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / "bids.csv"
        path.write_text(text, encoding="utf-8")
        return path

    return write


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=12))
@example([("1e-300", "1/3")])
def test_floats_are_the_nearest_ones_to_the_exact_numbers(written, rows):
    lines = [f"c{i},{a},{b}" for i, (a, b) in enumerate(rows)]
    path = written("\n".join(["client,a,b", *lines]) + "\n")
    exact, floats = read_bids(path), read_bids(path, exact=False)
    assert exact.exact
    assert floats.bids.dtype == np.float64
    assert floats.clients == exact.clients
    assert floats.bids.tolist() == [[float(cell) for cell in row] for row in exact.bids]


@pytest.mark.parametrize("cell", WRONG)
@pytest.mark.parametrize("beside", ["1", "", "1/3"])
def test_a_wrong_cell_is_named_in_both_kinds_of_numbers(written, cell, beside):
    path = written(f"client,a,b\nann,1,2\nbob,{beside},{cell}\ncay,1,2\n")
    for exact in (True, False):
        with pytest.raises(errors.InvalidInput) as caught:
            read_bids(path, exact=exact)
        assert caught.value.argument == "BIDS, line 3, client 'bob', task 'b'"


@pytest.mark.parametrize("piece", [1, 2, 7])
def test_large_files_are_read_in_pieces(written, monkeypatch, piece):
    monkeypatch.setattr(csv_files, "LARGEST_EXACT", 3)
    monkeypatch.setattr(csv_files, "PIECE", piece)
    rows = [f"c{i},{i}.5,{'' if i % 3 else i}" for i in range(17)]
    path = written("client,a,b\n" + "\n\n".join(rows) + "\n")
    read = []
    named = read_bids(path, advance=read.append)
    assert not named.exact
    assert sum(read) == path.stat().st_size
    assert named.clients == tuple(f"c{i}" for i in range(17))
    expected = [[i + 0.5, math.inf if i % 3 else i] for i in range(17)]
    assert named.bids.tolist() == expected
    assert read_bids(path, exact=True).bids.tolist() == expected
    path.write_text(path.read_text().replace("c16,16.5", "c16,no"))
    with pytest.raises(errors.InvalidInput, match="client 'c16', task 'a'"):
        read_bids(path)


def test_up_to_two_thousand_clients_are_exact(written):
    lines = ["client,a", *(f"c{i},0.1" for i in range(2_000))]
    assert read_bids(written("\n".join(lines))).bids[-1, 0] == Fraction(1, 10)
    more = read_bids(written("\n".join([*lines, "last,0.1"])))
    assert more.bids.dtype == np.float64
    assert more.bids[-1, 0] == 0.1


def test_a_name_that_stands_twice_is_named_with_both_lines(written):
    path = written('client,a\nann,1\n\n"bo\nb",2\n ann ,3\n')
    for exact in (True, False):
        with pytest.raises(errors.InvalidInput) as caught:
            read_bids(path, exact=exact)
        message = "BIDS, client = 'ann', but it must be named once; it stands in lines 2 and 6"
        assert str(caught.value) == message
    with pytest.raises(errors.InvalidInput, match=r"'a', .* in columns 2 and 4"):
        read_bids(written("client,a,b,a\nann,1,2,3\n"))
    with pytest.raises(errors.InvalidInput, match=r"'client', .* in columns 1 and 3"):
        read_bids(written("client,a,client\nann,1,2\n"))


@pytest.mark.parametrize(
    ("text", "name_column"),
    [
        ("1,2\n3,1\n", ""),
        ("1,2\n3,1\n", "none"),
        ("ann,1,2\nbob,3,1\n", ""),
        ("0.5,1/3,2e3\n3,1,1\n", ""),
    ],
)
def test_a_file_without_header_does_not_lose_its_first_client(written, text, name_column):
    with pytest.raises(errors.InvalidInput, match=r"first line.*a header"):
        read_bids(written(text), name_column)


def test_tasks_may_have_numbers_as_names_where_the_names_column_is_known(written):
    for text, name_column in (("client,1,2\nann,3,4\n", ""), ("who,1,2\nann,3,4\n", "who")):
        named = read_bids(written(text), name_column)
        assert (named.clients, named.tasks) == (("ann",), ("1", "2"))


def test_numbers_under_a_tasks_heading_are_no_names_in_large_files_either(written, monkeypatch):
    monkeypatch.setattr(csv_files, "LARGEST_EXACT", 3)
    text = "a,b\n" + "".join(f"{i},{i}\n" for i in range(9))
    with pytest.raises(errors.InvalidInput, match="holds numbers only"):
        read_bids(written(text))
    assert read_bids(written(text + "x,9\n")).clients[-1] == "x"
    assert read_bids(written(text), "b").tasks == ("a",)
