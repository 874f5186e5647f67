"""What a node tells before it is given work, and why it may be refused.

A node owns the examples of some clients and tells their numbers alone. It trains by its own copy of
the configuration, which must be the server's in all that decides a history; and by its own
installation, which must have the same versions of the packages that decide numbers. What differs is
named, one line for each node.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any

from fairopt.errors import InvalidInput
from fl_runtime.configuration.schema import Config
from fl_runtime.configuration.toml_files import history_tree
from fl_runtime.flower.messages import flat

COMPARED = ("fairopt", "torch", "numpy", "flwr")
"""Packages whose versions must agree."""

OF_A_NODE = ("device", "executor", "threads", "workers")
"""Keys of ``[run]`` that every machine chooses for itself."""

SHOWN = 3
"""Differing keys that are named; more would be another file."""


@dataclass(frozen=True)
class Introduction:
    """What a node tells of itself.

    Attributes:
        clients: Numbers of the clients whose examples it has.
        examples: How many, by task, in the order of the clients.
        versions: Of packages.
        settings: Its configuration, one entry per key.
        name: What it is called in messages to people.
    """

    clients: tuple[int, ...]
    examples: Mapping[str, tuple[int, ...]]
    versions: Mapping[str, str]
    settings: Mapping[str, str]
    name: str = ""

    def tree(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_tree(cls, tree: Any) -> Introduction:
        """The record that `tree` described.

        Raises:
            InvalidInput: It describes none.
        """
        try:
            return cls(
                clients=tuple(int(client) for client in tree["clients"]),
                examples={
                    str(k): tuple(int(n) for n in some) for k, some in tree["examples"].items()
                },
                versions={str(k): str(v) for k, v in tree["versions"].items()},
                settings={str(k): str(v) for k, v in tree["settings"].items()},
                name=str(tree["name"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            requirement = "what a node of this version tells of itself"
            raise InvalidInput("introduction", str(error), requirement) from error


def settings_of(config: Config) -> dict[str, str]:
    """What decides a history, one entry per key; not where data lie, nor what a node may choose."""
    tree = history_tree(config)
    run = {key: value for key, value in tree["run"].items() if key not in OF_A_NODE}
    return flat({**{k: v for k, v in tree.items() if k != "inputs"}, "run": run})


def versions_here() -> dict[str, str]:
    """Of the packages that are compared, those that are installed.

    Example:
        >>> sorted({"fairopt", "torch", "numpy"} - versions_here().keys())
        []
    """
    found = {}
    for name in COMPARED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def why_refused(
    node: Introduction, versions: Mapping[str, str], settings: Mapping[str, str]
) -> str:
    """Why a node is given no work, in one line; empty if it is welcome.

    Args:
        node: What it told.
        versions: Of the server.
        settings: Of the server.

    Example:
        >>> here = {"fairopt": "1.0"}
        >>> node = Introduction((0,), {"a": (9,)}, {"fairopt": "0.9"}, {"run.seeds": "[1]"})
        >>> why_refused(node, here, {"run.seeds": "[1]"})
        'fairopt 0.9 (the server has 1.0)'
        >>> why_refused(node, {"fairopt": "0.9"}, {"run.seeds": "[0]"})
        'another configuration: run.seeds is [1] (at the server [0])'
    """
    for name, wanted in versions.items():
        if node.versions.get(name) != wanted:
            return f"{name} {node.versions.get(name, 'missing')} (the server has {wanted})"
    keys = sorted(node.settings.keys() | settings.keys())
    odd = [key for key in keys if node.settings.get(key) != settings.get(key)]
    if odd:
        told = (
            f"{key} is {node.settings.get(key, 'absent')}"
            f" (at the server {settings.get(key, 'absent')})"
            for key in odd[:SHOWN]
        )
        more = f", and {len(odd) - SHOWN} more" if len(odd) > SHOWN else ""
        return f"another configuration: {', '.join(told)}{more}"
    return _why_no_data(node)


def _why_no_data(node: Introduction) -> str:
    """What is missing of a node's examples."""
    if not node.clients:
        return "missing data: it has no client"
    for task, sizes in node.examples.items():
        if len(sizes) != len(node.clients):
            return f"missing data: {len(sizes)} numbers of examples for {len(node.clients)} clients"
        for client, size in zip(node.clients, sizes, strict=True):
            if size < 1:
                return f"missing data: client {client} has no examples of task {task}"
    return ""


def counts_of(
    nodes: Sequence[Introduction], tasks: Sequence[str], num_clients: int
) -> dict[str, tuple[int, ...]]:
    """Examples of every client by task, as the nodes told.

    Raises:
        InvalidInput: A client is at no node, or at two.

    Example:
        >>> nodes = [Introduction((k,), {"a": (n,)}, {}, {}) for k, n in ((1, 5), (0, 3))]
        >>> counts_of(nodes, ["a"], 2)
        {'a': (3, 5)}
    """
    places = [client for node in nodes for client in node.clients]
    for client in range(num_clients):
        if places.count(client) != 1:
            where = "no node" if client not in places else "several nodes"
            raise InvalidInput(f"client {client}", f"at {where}", "at exactly one")
    found = {}
    for task in tasks:
        known: dict[int, int] = {}
        for node in nodes:
            known |= zip(node.clients, node.examples.get(task, ()), strict=True)
        found[task] = tuple(known[client] for client in range(num_clients))
    return found
