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
from fl_runtime.data.dataset import Dataset

ARRAYS = ("features", "labels")
"""What an archive or a folder of arrays holds."""


IDX_PARTS = {"train": "train", "val": "validation", "t10k": "test", "test": "test"}
"""Parts of an official split by the beginnings of file names."""


def read_arrays(path: Path) -> Dataset:
    """Arrays `features` and `labels` of a NumPy archive, or of a folder with one file for each.

    Raises:
        InvalidInput: There are no such arrays, or they do not fit together.
    """
    try:
        arrays = _folder(path) if path.is_dir() else _archive(path)
        return Dataset.from_arrays(*(arrays[name] for name in ARRAYS), source=f"npz:{path.name}")
    except (OSError, KeyError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        if isinstance(error, InvalidInput):
            raise
        requirement = f"a NumPy archive or folder with arrays features and labels ({error})"
        raise InvalidInput("data", f"npz:{path}", requirement) from error


def _archive(path: Path) -> Mapping[str, NDArray[Any]]:
    """Arrays of an ``.npz`` file."""
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in ARRAYS}


def _folder(path: Path) -> Mapping[str, NDArray[Any]]:
    """Arrays of ``features.npy`` and ``labels.npy``."""
    return {name: np.load(path / f"{name}.npy", allow_pickle=False) for name in ARRAYS}


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
            f"as many label files ({len(labels)}) as images ({len(images)})",
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
