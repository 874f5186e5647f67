"""Everything needed to go on after a kill, in one file that is always whole.

A checkpoint is one safetensors file: tensors by path, and the rest of the tree as JSON in its
header (so reading one never executes code). A tensor that occurs at several places, such as the
model that many jobs in flight started from, is stored once. The header also holds a hash of the
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

FORMAT = "3"
"""Version of the layout; another one is refused rather than guessed at."""

WITHOUT_HASH = "2"
"""The version before, which can still be read: it differs in having no hash."""

_TENSOR = "$tensor"


def save_checkpoint(path: Path, tree: Mapping[str, Any]) -> None:
    """Write a tree of dictionaries, lists, numbers, words and tensors.

    Args:
        path: The file; its folder exists.
        tree: Plain values; keys are strings.

    Raises:
        OSError: It cannot be written, as on a full disk; an earlier checkpoint there is kept.
    """
    tensors: dict[str, Tensor] = {}
    text = json.dumps(_strip(tree, "", tensors, {}))
    header = {"format": FORMAT, "tree": text, "sha256": _hash(text, tensors)}
    temporary = path.with_name(path.name + ".partial")
    try:
        save_file(tensors, temporary, metadata=header)
    except SafetensorError as error:
        temporary.unlink(missing_ok=True)
        raise OSError(f"the checkpoint {path} cannot be written ({error})") from error
    temporary.replace(path)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a tree back.

    Raises:
        InvalidInput: The file is missing, damaged, or of another layout.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        if header.get("format") not in (FORMAT, WITHOUT_HASH):
            raise InvalidInput("checkpoint", header.get("format"), f"of format {FORMAT}")
        hashed = header["format"] == FORMAT or header.keys() != {"format", "tree"}
        if hashed and header.get("sha256") != _hash(header["tree"], tensors):
            raise InvalidInput("checkpoint", str(path), "with the bits that a run wrote")
        return _fill(json.loads(header["tree"]), tensors)  # type: ignore[no-any-return]
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput("checkpoint", str(path), f"a whole checkpoint file ({error})") from error


def _hash(text: str, tensors: Mapping[str, Tensor]) -> str:
    """Hash of a stripped tree and of the name, type, shape and bits of each of its tensors."""
    found = hashlib.sha256(text.encode())
    for name, tensor in sorted(tensors.items()):
        found.update(repr((name, str(tensor.dtype), tuple(tensor.shape))).encode())
        found.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def _strip(node: Any, path: str, tensors: dict[str, Tensor], stored: dict[int, str]) -> Any:
    """The tree with tensors moved into `tensors`, their paths left behind.

    `stored` says where each tensor, by identity, has been put; the tree keeps them all alive.
    """
    if isinstance(node, Tensor):
        if id(node) not in stored:
            tensors[path] = node.detach().to("cpu").contiguous().clone()
            stored[id(node)] = path
        return {_TENSOR: stored[id(node)]}
    if isinstance(node, Mapping):
        return {key: _strip(value, f"{path}/{key}", tensors, stored) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [
            _strip(value, f"{path}/{index}", tensors, stored) for index, value in enumerate(node)
        ]
    return node


def _fill(node: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The tree with its tensors back in place."""
    if isinstance(node, dict) and node.keys() == {_TENSOR}:
        return tensors[node[_TENSOR]]
    if isinstance(node, dict):
        return {key: _fill(value, tensors) for key, value in node.items()}
    if isinstance(node, list):
        return [_fill(value, tensors) for value in node]
    return node


def to_device(node: Any, device: torch.device) -> Any:
    """The tree with all tensors on a device; one that occurs at several places stays one."""
    return _moved(node, device, {})


def _moved(node: Any, device: torch.device, done: dict[int, Tensor]) -> Any:
    """`to_device`, with the tensors that have been moved already."""
    if isinstance(node, Tensor):
        return done.setdefault(id(node), node.to(device))
    if isinstance(node, dict):
        return {key: _moved(value, device, done) for key, value in node.items()}
    if isinstance(node, list):
        return [_moved(value, device, done) for value in node]
    return node
