"""Bundled sets, and loaders on files made here."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from fairopt import InvalidInput
from fl_runtime.data.dataset import Data, Dataset
from fl_runtime.data.registry import BUNDLED, load_dataset


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_sets_are_whole_and_repeat(name: str) -> None:
    first, second = load_dataset(name), load_dataset(name)
    checked = Dataset.from_arrays(first.features, first.labels, source=name)
    assert checked.num_classes == first.num_classes
    assert first.features.tobytes() == second.features.tobytes()


def test_noise_hides_but_does_not_change_the_labels() -> None:
    clean, noisy = load_dataset("digits"), load_dataset("digits-noisy")
    assert np.array_equal(clean.labels, noisy.labels)
    assert np.array_equal(load_dataset("digits-parity").labels, clean.labels % 2)
    assert (noisy.features - clean.features).std() == pytest.approx(0.5, rel=0.02)


def write_idx(path: Path, values: np.ndarray) -> None:
    header = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
    content = header + values.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_idx_folder_joins_its_parts(tmp_path: Path, ending: str) -> None:
    rng = np.random.default_rng(0)
    images, labels = rng.integers(256, size=(12, 4, 5)), np.arange(12) % 3
    for part, rows in (("t10k", slice(0, 4)), ("train", slice(4, 12))):
        write_idx(tmp_path / f"{part}-images-idx3-ubyte{ending}", images[rows])
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte{ending}", labels[rows])
    dataset = load_dataset(f"idx:{tmp_path}")
    assert dataset.features.shape == (12, 1, 4, 5)
    assert np.array_equal(dataset.labels, labels)
    np.testing.assert_allclose(dataset.features[:, 0], images / 255.0, rtol=1e-6)


def test_a_folder_of_arrays_is_an_archive(tmp_path: Path) -> None:
    arrays = {"features": np.arange(8.0).reshape(4, 2), "labels": np.array([0, 1, 0, 1])}
    np.savez(tmp_path / "a.npz", **arrays)
    folder = tmp_path / "a"
    folder.mkdir()
    for name, values in arrays.items():
        np.save(folder / f"{name}.npy", values)
    one, other = (load_dataset(f"npz:{tmp_path / name}") for name in ("a.npz", "a"))
    assert np.array_equal(one.features, other.features)
    assert np.array_equal(one.labels, other.labels)
    (folder / "labels.npy").unlink()
    with pytest.raises(InvalidInput, match=r"features and labels .*labels\.npy"):
        load_dataset(f"npz:{folder}")


def test_npz_archive(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", features=np.ones((4, 2)), labels=np.array([0, 1, 0, 1]))
    assert load_dataset(f"npz:{tmp_path / 'a.npz'}").num_classes == 2


def pair() -> tuple[np.ndarray, np.ndarray]:
    return np.ones((4, 2)), np.array([0, 1, 0, 1])


def number() -> int:
    return 3


def failing() -> None:
    raise SystemExit(7)


def ragged() -> tuple[object, object]:
    return [[1.0], [1.0, 2.0]], [0, 1]


def far() -> tuple[np.ndarray, np.ndarray]:
    return np.full((2, 1), 1e300), np.array([0, 1])


def sparse_labels() -> tuple[np.ndarray, np.ndarray]:
    return np.ones((2, 1)), np.array([0, 10**12])


def test_function_of_the_user() -> None:
    assert load_dataset(f"{__name__}:pair").features.shape == (4, 2)


def broken_files(folder: Path) -> dict[str, str]:
    """Names of data sets that must be refused, and a word of the reason."""
    (folder / "text.npz").write_text("not an archive")
    np.savez(folder / "other.npz", x=np.ones(3))
    np.savez(folder / "nan.npz", features=np.full((2, 1), np.nan), labels=np.array([0, 1]))
    np.savez(folder / "ragged.npz", features=np.ones((3, 1)), labels=np.array([0, 1]))
    np.savez(folder / "gap.npz", features=np.ones((2, 1)), labels=np.array([0, 2]))
    np.savez(folder / "one.npz", features=np.ones((2, 1)), labels=np.array([0, 0]))
    np.savez(folder / "negative.npz", features=np.ones((2, 1)), labels=np.array([0, -1]))
    np.save(folder / "array.npy", np.ones(3))
    for name in ("twice", "sizes"):
        (folder / name).mkdir()
        write_idx(folder / name / "a-images-idx3-ubyte", np.ones((2, 4, 4)))
        write_idx(folder / name / "a-labels-idx1-ubyte", np.array([0, 1]))
    write_idx(folder / "twice" / "a-images-idx3-ubyte.gz", np.ones((2, 4, 4)))
    write_idx(folder / "sizes" / "b-images-idx3-ubyte", np.ones((2, 5, 5)))
    write_idx(folder / "sizes" / "b-labels-idx1-ubyte", np.array([0, 1]))
    (folder / "idx").mkdir()
    (folder / "idx" / "a-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03short")
    (folder / "idx" / "a-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01")
    return {
        "digit": "did you mean digits?",
        "npz:" + str(folder / "absent.npz"): "NumPy archive",
        "npz:" + str(folder / "text.npz"): "NumPy archive",
        "npz:" + str(folder / "other.npz"): "features",
        "npz:" + str(folder / "nan.npz"): "npz:nan.npz features[0, 0] = nan, but it must be finite",
        "npz:" + str(folder / "ragged.npz"): "return Data(features, targets, outputs)",
        "npz:" + str(folder / "gap.npz"): "each with an example",
        "npz:" + str(folder / "one.npz"): "at least two classes",
        "npz:" + str(folder / "negative.npz"): "labels[1] = -1, but it must be an integer >= 0",
        "idx:" + str(folder / "absent"): "a folder with files",
        "idx:" + str(folder / "idx"): "an IDX file",
        "no.such.module:function": "No module named 'no'; it is looked for in the current folder",
        "math:no_such": "package.module:function",
        "math:pi": "the name of a function",
        f"{__name__}:number": "returns a Dataset",
        f"{__name__}:failing": "SystemExit",
        f"{__name__}:ragged": "an array of numbers",
        f"{__name__}:far": "finite as float32",
        f"{__name__}:sparse_labels": "each with an example",
        "idx:" + str(folder / "twice"): "without a file and its .gz",
        "idx:" + str(folder / "sizes"): "images of one size",
        "npz:" + str(folder / "array.npy"): "NumPy archive",
    }


def test_broken_sources_are_refused_with_the_reason(tmp_path: Path) -> None:
    for name, reason in broken_files(tmp_path).items():
        with pytest.raises(InvalidInput) as caught:
            load_dataset(name)
        assert reason in str(caught.value), name


def curve() -> tuple[np.ndarray, np.ndarray]:
    return np.ones((4, 2)), np.array([0.5, np.nan, 2.0, 1.0])


def curves() -> tuple[np.ndarray, np.ndarray]:
    return np.ones((4, 2)), np.ones((4, 3))


@pytest.mark.parametrize(("name", "outputs"), [("curve", 1), ("curves", 3)])
def test_float_targets_are_numbers_to_predict(name: str, outputs: int, tmp_path: Path) -> None:
    x, y = globals()[name]()
    np.savez(tmp_path / "labels.npz", features=x, labels=y)
    np.savez(tmp_path / "targets.npz", features=x, targets=y)
    files = (f"npz:{tmp_path / file}.npz" for file in ("labels", "targets"))
    for entry in (f"{__name__}:{name}", *files):
        found = load_dataset(entry)
        assert isinstance(found, Data)
        assert found.outputs == outputs
        np.testing.assert_array_equal(found.targets, y.astype(np.float32))


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, 1e300])
def test_the_first_number_that_is_not_finite_is_named(wrong: float) -> None:
    x = np.ones((6, 2, 3))
    x[2, 1, 0] = x[4, 0, 0] = wrong
    reason = rf"\[2, 1, 0\] = {wrong}, .*; 2 of 36 numbers are not".replace("+", r"\+")
    for data in (Data(x, np.ones(6), 1), Data({"x": x}, np.ones(6), 1)):
        with pytest.raises(InvalidInput, match=f"mine inputs.*{reason}"):
            data.checked("mine")
    with pytest.raises(InvalidInput, match=f"mine features{reason}"):
        Dataset.from_arrays(x, np.arange(6) % 2, source="mine")


def test_marks_of_parts() -> None:
    marks = np.array(["train", "val", "test", "validation"])
    found = Data(np.ones((4, 1)), np.ones(4), 1, split=marks).checked("mine").split
    assert found is not None
    assert found.tolist() == ["train", "validation", "test", "validation"]
    marks[2] = "Tests"
    with pytest.raises(InvalidInput, match=r"mine split\[2\] = 'Tests', .*did you mean test"):
        Data(np.ones((4, 1)), np.ones(4), 1, split=marks).checked("mine")
