"""The user's own files: MNIST-style images, archives of arrays, folders of arrays."""

from __future__ import annotations

import gzip
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairopt.errors import InvalidInput
from fl_runtime.data.dataset import Data, Dataset, clients_of, marks_of, outputs_like, strata_of

NEEDED = ("features", "labels")
"""What an archive or a folder of arrays holds; instead of labels there may be targets."""

KNOWN = (*NEEDED, "targets", "outputs", "client", "split", "strata")
"""What else it may hold."""


IDX_PARTS = {"train": "train", "val": "validation", "t10k": "test", "test": "test"}
"""Parts of an official split by the beginnings of file names."""


def read_arrays(path: Path) -> Dataset | Data:
    """Arrays of a NumPy archive, or of a folder with one file for each.

    There are `features` and `labels` for classification (float labels are targets). For anything
    else there are `targets` instead of labels, and `outputs` where the model is to be told another
    number or shape than these suggest: the number of classes for integers, the shape of a target
    for floats. Features of several parts are called ``features/NAME`` (a folder in the folder). Who
    made each example may be in `client`, the marks of an official split in `split`, classes to deal
    by in `strata`.

    Raises:
        InvalidInput: There are no such arrays, or they do not fit together.
    """
    source = f"npz:{path.name}"
    try:
        arrays = _folder(path) if path.is_dir() else _archive(path)
        if "targets" not in arrays and arrays["labels"].dtype.kind == "f":
            arrays = {**arrays, "targets": arrays["labels"]}
        if "targets" in arrays:
            return _data(arrays, source)
        made = Dataset.from_arrays(*(arrays[name] for name in NEEDED), source=source)
        count = len(made.labels)
        return replace(
            made,
            client=clients_of(arrays.get("client"), count, source),
            split=marks_of(arrays.get("split"), count, source),
            strata=strata_of(arrays.get("strata"), count, source),
        )
    except (OSError, KeyError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        if isinstance(error, InvalidInput):
            raise
        requirement = f"a NumPy archive or folder with arrays features and labels ({error})"
        raise InvalidInput("data", f"npz:{path}", requirement) from error


def _data(arrays: Mapping[str, NDArray[Any]], source: str) -> Data:
    """Data of another kind than classification."""
    parts = {
        name.removeprefix("features/"): part
        for name, part in arrays.items()
        if name.startswith("features/")
    }
    if parts and "features" in arrays:
        raise InvalidInput(f"{source} features", "both one array and several", "one of the two")
    y = arrays["targets"]
    told = arrays.get("outputs")
    outputs = outputs_like(y) if told is None else tuple(np.atleast_1d(told).tolist())
    return Data(
        parts or arrays["features"],
        y,
        outputs[0] if isinstance(outputs, tuple) and len(outputs) == 1 else outputs,
        strata=arrays.get("strata"),
        client=arrays.get("client"),
        split=arrays.get("split"),
    ).checked(source)


def _archive(path: Path) -> Mapping[str, NDArray[Any]]:
    """Arrays of an ``.npz`` file."""
    with np.load(path, allow_pickle=False) as archive:
        names = archive.files
        if not any(name.partition("/")[0] == "features" for name in names):
            raise ValueError(f"no features among {', '.join(names)}")
        if not {"labels", "targets"} & set(names):
            raise ValueError(f"neither labels nor targets among {', '.join(names)}")
        return {name: archive[name] for name in names if _is_known(name)}


def _folder(path: Path) -> Mapping[str, NDArray[Any]]:
    """Arrays of ``features.npy``, ``labels.npy`` and so on; absent ones are named."""
    found = {
        name: np.load(file, allow_pickle=False)
        for file in sorted([*path.glob("*.npy"), *path.glob("features/*.npy")])
        if _is_known(name := file.relative_to(path).with_suffix("").as_posix())
    }
    parts = any(name.startswith("features/") for name in found)
    needed = [] if parts else ["features"]
    for name in [*needed, *([] if "targets" in found else ["labels"])]:
        if name not in found:
            raise FileNotFoundError(f"No such file: {path / name}.npy")
    return found


def _is_known(name: str) -> bool:
    """Whether an array means something here."""
    return name in KNOWN or name.startswith("features/")


def read_idx_folder(folder: Path) -> Dataset:
    """MNIST-style files of a folder, all parts together; pixels become 0..1.

    Files whose names begin with `train`, `val`, and `t10k` or `test` are the parts of the official
    split, if there are no others.

    Raises:
        InvalidInput: Files are missing, damaged, or do not fit together.
    """
    images = _matching(folder, "*images*idx3*")
    labels = _matching(folder, "*labels*idx1*")
    if len(images) != len(labels):
        raise InvalidInput(
            "data",
            f"idx:{folder}",
            f"as many label files ({len(labels)}) as images ({len(images)}); there are "
            f"{', '.join(path.name for path in (*images, *labels))}",
        )
    parts = [_read_idx(path) for path in images]
    if len({part.shape[1:] for part in parts}) > 1:
        raise InvalidInput("data", f"idx:{folder}", "a folder with images of one size")
    pixels = np.concatenate(parts)
    found = Dataset.from_arrays(
        pixels[:, None].astype(np.float32) / 255.0,
        np.concatenate([_read_idx(path) for path in labels]).astype(np.int64),
        source=f"idx:{folder.name}",
    )
    marks = [mark for path in images if (mark := _mark(path.name)) is not None]
    if len(marks) < len(parts):
        return found
    return replace(found, split=np.repeat(marks, [len(part) for part in parts]))


def _mark(name: str) -> str | None:
    """The part of the official split that a file holds, by its name."""
    for start, part in IDX_PARTS.items():
        if name.startswith(start):
            return part
    return None


def _matching(folder: Path, pattern: str) -> list[Path]:
    """Files of that pattern in the order of their names, at least one."""
    found = sorted(path for path in folder.glob(pattern) if path.is_file())
    if not found:
        raise InvalidInput("data", f"idx:{folder}", f"a folder with files named like {pattern}")
    names = [path.name.removesuffix(".gz") for path in found]
    if len(set(names)) < len(names):
        raise InvalidInput("data", f"idx:{folder}", "a folder without a file and its .gz together")
    return found


def _read_idx(path: Path) -> NDArray[np.uint8]:
    """One IDX file of unsigned bytes, compressed or not.

    The format: two zero bytes, type code 8, number of dimensions, each dimension as a big-endian
    32-bit integer, then the bytes in row order.
    """
    content = path.read_bytes()
    try:
        if path.suffix == ".gz":
            content = gzip.decompress(content)
        zero, code, dimensions = struct.unpack_from(">HBB", content)
        shape = struct.unpack_from(f">{dimensions}I", content, 4)
        values = np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * dimensions)
        if zero != 0 or code != 8 or values.size != int(np.prod(shape)):
            raise ValueError("header and size disagree")
        return values.reshape(shape)
    except (struct.error, ValueError, OSError, EOFError) as error:
        raise InvalidInput("data", str(path), f"an IDX file of bytes ({error})") from error
