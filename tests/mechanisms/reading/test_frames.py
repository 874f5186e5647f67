"""Data frames and Parquet files are the same bids as the CSV file with the same content."""

import importlib
import importlib.util
import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

from fairopt import errors
from mechanisms import max_min_fair, read_bids
from tests import forked

TEXT = "client,mnist,cifar\nann,1,0.5\nbob,2,\ncay,,3\n"
BIDS = [[1.0, 0.5], [2.0, math.inf], [math.inf, 3.0]]
DATA = {"client": ["ann", "bob", "cay"], "mnist": [1, 2, None], "cifar": [0.5, None, 3.0]}


def frame(library, data):
    """A data frame of that library, which is skipped where it is not installed."""
    module = pytest.importorskip(library)
    return module.table(data) if library == "pyarrow" else module.DataFrame(data)


LIBRARIES = pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])


class Column:
    """A column as all three libraries have it."""

    def __init__(self, cells):
        self.cells = np.array(cells)

    def __array__(self, dtype=None, copy=None):
        return self.cells

    def isna(self):
        return np.array([cell is None or cell != cell for cell in self.cells.tolist()])


class Frame:
    """Stands for a frame where no library is installed."""

    def __init__(self, data):
        self.columns = list(data)
        self.data = data

    def __getitem__(self, key):
        return Column(self.data[key])

    def __len__(self):
        return len(next(iter(self.data.values()), []))


@LIBRARIES
def test_a_frame_is_the_csv_file(library, tmp_path):
    path = tmp_path / "bids.csv"
    path.write_text(TEXT)
    named, same = read_bids(frame(library, DATA)), read_bids(path, exact=False)
    assert (named.clients, named.tasks) == (same.clients, same.tasks)
    assert named.bids.tolist() == same.bids.tolist() == BIDS
    assert named.bids.flags.c_contiguous
    assert max_min_fair(named.bids, 4.0) == max_min_fair(same.bids, 4.0)


def test_csv_files_that_pandas_and_polars_read_are_the_same_bids(tmp_path):
    path = tmp_path / "bids.csv"
    path.write_text(TEXT)
    for library in ("pandas", "polars"):
        named = read_bids(pytest.importorskip(library).read_csv(path))
        assert named.bids.tolist() == BIDS


@LIBRARIES
def test_rules_take_frames_of_numbers(library):
    table = frame(library, {"a": [2.0, 3.0, 5.0], "b": [9.0, 4.0, 1.0]})
    if library != "pyarrow":  # an Arrow table is no array
        assert max_min_fair(table, 24.0) == max_min_fair([[2.0, 9.0], [3.0, 4.0], [5.0, 1.0]], 24.0)
    assert read_bids(table, "none").clients == ("0", "1", "2")
    with pytest.raises(errors.InvalidInput, match=r'name_column="none" if they are bids$'):
        read_bids(table)


def test_a_frame_with_its_names_in_the_index_or_a_row_for_each_bid_is_told_how_to_turn():
    table = frame("pandas", {"a": [1.0, 2.0]}).set_axis(["ann", "bob"], axis=0)
    with pytest.raises(errors.InvalidInput, match=r"frame\.reset_index"):
        read_bids(table)
    long = {"client": ["ann", "ann"], "task": ["a", "b"], "bid": [1.0, 2.0]}
    with pytest.raises(errors.InvalidInput, match=r"frame\.pivot"):
        read_bids(frame("pandas", long))


@LIBRARIES
def test_parquet_files(library, tmp_path):
    path = tmp_path / "bids.parquet"
    table = frame(library, DATA)
    if library == "pandas":
        pytest.importorskip("pyarrow")
        table.to_parquet(path)
    elif library == "polars":
        table.write_parquet(path)
    else:
        importlib.import_module("pyarrow.parquet").write_table(table, path)
    named = read_bids(path)
    assert (named.clients, named.bids.tolist()) == (("ann", "bob", "cay"), BIDS)
    done = forked.command("mechanisms", "run", path, "--budget", 4, "--json")
    assert done.returncode == 0, done.stderr
    assert "computed in floats" in done.stderr


def test_polars_reads_parquet_where_pyarrow_is_missing(tmp_path, monkeypatch):
    polars = pytest.importorskip("polars")
    path = tmp_path / "bids.parquet"
    polars.DataFrame(DATA).write_parquet(path)
    without(monkeypatch, "pyarrow")
    assert read_bids(path).bids.tolist() == BIDS
    path.write_bytes(b"PAR1 no more")
    with pytest.raises(errors.InvalidInput, match="a readable Parquet file"):
        read_bids(path)


def without(monkeypatch, *names):
    """As if these packages were not installed."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in names else find(name)
    )


def test_without_a_library_a_parquet_file_says_what_to_install(tmp_path, monkeypatch):
    without(monkeypatch, "pyarrow", "polars")
    with pytest.raises(errors.InvalidInput, match=r"pip install 'fairopt\[parquet\]'"):
        read_bids(tmp_path / "bids.parquet")


@pytest.mark.parametrize("name", ["absent.parquet", "broken.parquet"])
def test_parquet_files_that_cannot_be_read_are_one_line(tmp_path, name):
    pytest.importorskip("pyarrow")
    (tmp_path / "broken.parquet").write_text(TEXT)
    done = forked.command("mechanisms", "run", tmp_path / name, "--budget", 4)
    assert done.returncode == 2
    assert done.stderr.startswith("error: BIDS")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"client": ["ann", "bob", "ann"]}, "'ann', .* rows 0 and 2"),
        ({"client": ["ann", "", "cay"]}, "column 'client', row 1 = ''"),
        (
            {"cifar": ["x", "y", "z"]},
            r"'cifar', row 0 \(client 'ann'\) = 'x', .*it is str in a column",
        ),
        ({"cifar": ["1", "2", "3"]}, r"column 'cifar', row 0 \(client 'ann'\) = '1'"),
        ({"cifar": [True, False, True]}, r"column 'cifar', row 0 .* = True, .*it is bool"),
        ({"cifar": [1.0, -2.0, 3.0]}, r"row 1 \(client 'bob'\) = -2.0"),
        ({"cifar": [1, 2**60, 3]}, "at most 2"),
        ({"cifar": [1j, 1j, 1j]}, "column 'cifar'"),
    ],
)
@pytest.mark.parametrize("library", ["", "pandas", "polars", "pyarrow"])
def test_what_a_frame_must_not_have(library, change, says):
    data = {**DATA, "mnist": [1, 2, 3], **change}
    if library in ("polars", "pyarrow") and data["cifar"][0] == 1j:
        pytest.skip("has no complex numbers")
    table = frame(library, data) if library else Frame(data)
    with pytest.raises(errors.InvalidInput, match=says):
        read_bids(table)


@pytest.mark.parametrize("library", ["polars", "pyarrow"])
def test_nan_is_no_missing_value_where_a_frame_can_tell(library):
    table = frame(library, {"client": ["ann", "bob"], "a": [1.0, math.nan]})
    with pytest.raises(errors.InvalidInput, match=r"column 'a', row 1 \(client 'bob'\) = nan"):
        read_bids(table)


@pytest.mark.parametrize(
    "data",
    [{}, {"client": []}, {"client": ["ann"]}, {"client": [], "a": []}, {"0": ["x"], "1": [2]}],
)
@pytest.mark.parametrize("library", ["", "pandas", "polars", "pyarrow"])
def test_frames_without_bids_or_headings(library, data):
    table = frame(library, data) if library else Frame(data)
    with pytest.raises(errors.InvalidInput, match=type(table).__name__):
        read_bids(table)


def test_decimals_and_fractions_stay_exact():
    for cells in ([Decimal("0.1"), Decimal(2)], [Fraction(1, 10), 2]):
        table = Frame({"client": ["ann", "bob"], "a": np.array(cells, dtype=object)})
        named = read_bids(table)
        assert named.bids.tolist() == [[Fraction(1, 10)], [2]]
        assert read_bids(table, exact=False).bids.tolist() == [[0.1], [2.0]]
    floats = Frame({"client": ["ann"], "a": [0.1]})
    assert read_bids(floats, exact=True).bids.tolist() == [[Fraction(0.1)]]


@LIBRARIES
def test_decimals_of_libraries_are_exact(library):
    table = frame(library, {"client": ["ann", "bob"], "a": [Decimal("0.1"), None]})
    assert read_bids(table).bids.tolist() == [[Fraction(1, 10)], [math.inf]]


def test_nullable_columns_of_pandas():
    pandas = pytest.importorskip("pandas")
    table = frame("pandas", DATA).convert_dtypes()
    assert table["mnist"].dtype == pandas.Int64Dtype()
    assert read_bids(table).bids.tolist() == BIDS


def test_other_things_are_no_frames():
    for source in ([[1.0, 2.0]], np.ones((2, 2)), None, 5):
        with pytest.raises(errors.InvalidInput, match="a path, or a data frame"):
            read_bids(source)
    lazy = frame("polars", DATA).lazy()
    with pytest.raises(errors.InvalidInput, match="source = 'LazyFrame'"):
        read_bids(lazy)


def test_the_index_of_a_frame_is_no_task(tmp_path):
    """A filtered frame of pandas keeps its index in a column of its own when it is written."""
    pytest.importorskip("pyarrow")
    table = frame("pandas", {"client": list("wxyz"), "a": [1.0, 2.0, 3.0, 4.0]}).iloc[[0, 1, 3]]
    table.to_parquet(tmp_path / "bids.parquet")
    named = read_bids(tmp_path / "bids.parquet")
    assert (named.tasks, named.clients) == (("a",), ("w", "x", "z"))


@LIBRARIES
def test_integers_that_floats_round_are_refused_beside_a_missing_value(library):
    for cells in ([2**53 + 1, None], [2**53 + 1, 1]):
        if library == "pandas":  # which rounds them itself in a column of floats
            cells = pytest.importorskip("pandas").array(cells, dtype="Int64")
        with pytest.raises(errors.InvalidInput, match=r"2\^53"):
            read_bids(frame(library, {"client": ["ann", "bob"], "a": cells}), exact=True)
    assert read_bids(frame(library, {"client": ["a", "b"], "t": [7, None]})).bids[0, 0] == 7


def test_huge_decimals_are_exact_or_refused():
    table = Frame({"client": ["ann"], "a": np.array([Decimal("1e400")], dtype=object)})
    assert read_bids(table).bids.tolist() == [[Fraction(10) ** 400]]
    with pytest.raises(errors.InvalidInput, match="exact=True"):
        read_bids(table, exact=False)


def test_a_heading_that_stands_twice_is_refused():
    table = frame("pandas", {"a": ["x", "y"], "b": [2, 4]}).set_axis(["a", "a"], axis=1)
    with pytest.raises(errors.InvalidInput, match="stands once"):
        read_bids(table)
