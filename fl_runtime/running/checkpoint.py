"""Everything needed to go on after a kill, in one file that is always whole.

A checkpoint is one safetensors file: tensors by path, and the rest of the tree as JSON in its
header (so reading one never executes code). A tensor that occurs at several places, such as the
model that many jobs in flight started from, is stored once, and models that are rows of one stack
are stored as a stack. The header also holds a hash of the
tree and of every tensor, so that a checkpoint is taken up bit by bit as it was written, or not at
all; those of the format before had none. The file is written to a temporary name and renamed, which
a process kill cannot split. It does not wait for the disk, so a power cut may cost the last rounds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from fairopt.errors import InvalidInput
from fl_runtime.training.stacks import Row, Rows

FORMAT = "4"
"""Version of the layout; another one is refused rather than guessed at."""

WITHOUT_HASH, WITHOUT_ROWS = "2", "3"
"""Versions before, which can still be read: they have no hash, or no rows of stacks."""

_TENSOR, _ROW = "$tensor", "$row"


def save_checkpoint(path: Path, tree: Mapping[str, Any]) -> None:
    """Write a tree of dictionaries, lists, numbers, words and tensors.

    Args:
        path: The file; its folder exists.
        tree: Plain values; keys are strings.

    Raises:
        OSError: It cannot be written, as on a full disk; an earlier checkpoint there is kept.
    """
    text, tensors = packed(tree)
    header = {"format": FORMAT, "tree": text, "sha256": hash_of(text, tensors)}
    write_tensors(path, tensors, header)


def packed(tree: Any) -> tuple[str, dict[str, Tensor]]:
    """A tree as JSON, and its tensors by path: each once, on the CPU, sharing no memory.

    Example:
        >>> both = torch.ones(2)
        >>> text, tensors = packed({"a": both, "b": [both, 3]})
        >>> list(tensors), unpacked(text, tensors)["b"]
        (['/a'], [tensor([1., 1.]), 3])
    """
    tensors: dict[str, Tensor] = {}
    text = json.dumps(_Packed(tensors, _rows_of(tree)).strip(tree, ""))
    return text, tensors


def unpacked(text: str, tensors: Mapping[str, Tensor]) -> Any:
    """The tree that was `packed`.

    Raises:
        ValueError: The text is no JSON.
        KeyError: A tensor is missing.
    """
    return _fill(json.loads(text), tensors, {})


def write_tensors(path: Path, tensors: Mapping[str, Tensor], header: dict[str, str]) -> None:
    """Write tensors that share no memory, and a header, to a file that is never half there.

    Raises:
        OSError: It cannot be written; an earlier file there is kept.
    """
    temporary = path.with_name(path.name + ".partial")
    try:
        save_file(dict(tensors), temporary, metadata=header)
    except SafetensorError as error:
        temporary.unlink(missing_ok=True)
        raise OSError(f"the file {path} cannot be written ({error})") from error
    temporary.replace(path)


def read_tensors(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Header and tensors of a safetensors file.

    Raises:
        OSError: It cannot be read.
        SafetensorError: It is no such file, or not a whole one.
    """
    with safe_open(path, framework="pt") as file:
        header = file.metadata() or {}
        return header, {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a tree back.

    Raises:
        InvalidInput: The file is missing, damaged, or of another layout.
    """
    try:
        header, tensors = read_tensors(path)
        if header.get("format") not in (FORMAT, WITHOUT_ROWS, WITHOUT_HASH):
            raise InvalidInput("checkpoint", header.get("format"), f"of format {FORMAT}")
        hashed = header["format"] != WITHOUT_HASH or header.keys() != {"format", "tree"}
        if hashed and header.get("sha256") != hash_of(header["tree"], tensors):
            raise InvalidInput("checkpoint", str(path), "with the bits that a run wrote")
        return unpacked(header["tree"], tensors)  # type: ignore[no-any-return]
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput("checkpoint", str(path), f"a whole checkpoint file ({error})") from error


def hash_of(text: str, tensors: Mapping[str, Tensor]) -> str:
    """Hash of a text and of the name, type, shape and bits of each tensor."""
    found = hashlib.sha256(text.encode())
    for name, tensor in sorted(tensors.items()):
        found.update(repr((name, str(tensor.dtype), tuple(tensor.shape))).encode())
        found.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def _rows_of(tree: Any) -> dict[int, list[int]]:
    """The rows of each stack, by its identity, that occur in a tree, in order."""
    found: dict[int, set[int]] = {}
    todo = [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, Row):
            found.setdefault(id(node.rows), set()).add(node.index)
        elif isinstance(node, Mapping):
            todo += node.values()
        elif isinstance(node, list | tuple):
            todo += node
    return {rows: sorted(index) for rows, index in found.items()}


class _Packed:
    """Takes tensors out of a tree; the tree keeps them all alive meanwhile."""

    def __init__(self, tensors: dict[str, Tensor], rows: Mapping[int, list[int]]) -> None:
        self._tensors = tensors
        self._rows = rows
        self._stored: dict[int, str] = {}
        self._stacks: dict[int, dict[str, str]] = {}

    def strip(self, node: Any, path: str) -> Any:
        """The tree with tensors moved into `tensors`, their paths left behind."""
        if isinstance(node, Tensor):
            return {_TENSOR: self._place(node, path)}
        if isinstance(node, Row):
            return {_ROW: self._row(node, path)}
        if isinstance(node, Mapping):
            return {key: self.strip(value, f"{path}/{key}") for key, value in node.items()}
        if isinstance(node, list | tuple):
            return [self.strip(value, f"{path}/{index}") for index, value in enumerate(node)]
        return node

    def _row(self, row: Row, path: str) -> list[Any]:
        """Where the row's stack is, by entry, and its position there."""
        used = self._rows[id(row.rows)]
        places = self._stacks.get(id(row.rows))
        if places is None:
            chosen = {key: (f"{path}/{key}", value[used]) for key, value in row.rows.stack.items()}
            places = {key: self._put(*each) for key, each in chosen.items()}
            self._stacks[id(row.rows)] = places
        return [places, used.index(row.index)]

    def _place(self, tensor: Tensor, path: str) -> str:
        """The path of a tensor, which is stored once."""
        if id(tensor) not in self._stored:
            self._stored[id(tensor)] = self._put(path, tensor)
        return self._stored[id(tensor)]

    def _put(self, path: str, tensor: Tensor) -> str:
        """Store a copy."""
        self._tensors[path] = tensor.detach().to("cpu").contiguous().clone()
        return path


def _fill(node: Any, tensors: Mapping[str, Tensor], known: dict[str, Rows]) -> Any:
    """The tree with its tensors back in place; rows of one stack share it again."""
    if isinstance(node, dict) and node.keys() == {_TENSOR}:
        return tensors[node[_TENSOR]]
    if isinstance(node, dict) and node.keys() == {_ROW}:
        places, index = node[_ROW]
        name = json.dumps(places)
        if name not in known:
            known[name] = Rows({key: tensors[place] for key, place in places.items()})
        return Row(known[name], index)
    if isinstance(node, dict):
        return {key: _fill(value, tensors, known) for key, value in node.items()}
    if isinstance(node, list):
        return [_fill(value, tensors, known) for value in node]
    return node


def to_device(node: Any, device: torch.device) -> Any:
    """The tree with all tensors on a device; one that occurs at several places stays one."""
    return _moved(node, device, {})


def _moved(node: Any, device: torch.device, done: dict[int, Any]) -> Any:
    """`to_device`, with the tensors and stacks that have been moved already."""
    if isinstance(node, Tensor):
        return done.setdefault(id(node), node.to(device))
    if isinstance(node, Row):
        if id(node.rows) not in done:
            moved = {key: value.to(device) for key, value in node.rows.stack.items()}
            done[id(node.rows)] = Rows(moved)
        return Row(done[id(node.rows)], node.index)
    if isinstance(node, dict):
        return {key: _moved(value, device, done) for key, value in node.items()}
    if isinstance(node, list):
        return [_moved(value, device, done) for value in node]
    return node
