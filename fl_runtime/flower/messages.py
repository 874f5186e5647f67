"""What is in a message: jobs to a node, updates back, each as a text and tensors by path.

A message to a node carries all of its jobs. A model that several jobs start from is one set of
tensors in it, and Flower, which knows arrays by their content, stores and sends equal ones once
even if they are in messages to several nodes.

What comes back is judged here before anything is done with it: whose it is, which entries it has,
of which shapes. Whether its numbers are finite is asked by the loop, as of any update.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor

from fairopt.errors import InvalidInput, Unshown
from fl_runtime.running.checkpoint import packed, unpacked
from fl_runtime.training.job import Job, Update
from fl_runtime.training.job_options import JobOptions
from fl_runtime.training.stacks import alone

FORMAT = 1
"""Version of these messages; nodes of another one are refused by their version of fairopt too."""

LARGEST = 2**30
"""Bytes of a message unless somebody says otherwise; Flower takes less than 2 GiB per array."""


_WRONG = (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError)
"""What unpacking raises of something that was never packed."""


@dataclass(frozen=True)
class Packed:
    """A message without its envelope.

    Attributes:
        text: A tree as JSON.
        tensors: Those of the tree, by path.
    """

    text: str
    tensors: Mapping[str, Tensor]

    @property
    def size(self) -> int:
        """Bytes of text and tensors."""
        return len(self.text) + sum(t.numel() * t.element_size() for t in self.tensors.values())

    @property
    def tree(self) -> Any:
        """What was packed.

        Raises:
            InvalidInput: It is no message of this version.
        """
        try:
            tree = unpacked(self.text, self.tensors)
        except _WRONG as error:
            raise InvalidInput("message", str(error), "one that this version packs") from error
        if not isinstance(tree, dict) or tree.get("format") != FORMAT:
            raise InvalidInput("message", Unshown.ITSELF, f"of format {FORMAT}")
        return tree

    @classmethod
    def of(cls, tree: Mapping[str, Any]) -> Packed:
        """The message with that tree."""
        return cls(*packed({"format": FORMAT, **tree}))


def packed_jobs(numbered: Sequence[tuple[int, Job]], run: tuple[str, int]) -> Packed:
    """All jobs of a node.

    Args:
        numbered: Jobs with their numbers.
        run: Arm and seed.

    Example:
        >>> import torch
        >>> start = {"w": torch.zeros(1000)}
        >>> jobs = [(k, Job("a", k, 0, 0.0, start, seed=k)) for k in range(9)]
        >>> message = packed_jobs(jobs, ("fed-avg", 0))
        >>> len(message.tensors), [job.seed for _, job in unpacked_jobs(message.tree)][:3]
        (1, [0, 1, 2])
    """
    jobs = [{"number": number, **_fields(job)} for number, job in numbered]
    return Packed.of({"arm": run[0], "seed": run[1], "jobs": jobs})


def unpacked_jobs(tree: Mapping[str, Any]) -> list[tuple[int, Job]]:
    """The jobs of a message, with their numbers."""
    found = []
    for each in tree["jobs"]:
        values = {**each, "config": _tuples(each["config"])}
        found.append((int(values.pop("number")), Job(**values)))
    return found


def _tuples(config: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a job as they were: JSON knows no tuples."""
    return {key: tuple(v) if isinstance(v, list) else v for key, v in config.items()}


def packed_updates(numbered: Sequence[tuple[int, Update]]) -> Packed:
    """The answers of a node."""
    updates = []
    for number, update in numbered:
        values = _fields(update) | {"delta": alone(update.delta)}
        updates.append({"number": number, **{k: v for k, v in values.items() if k != "payload"}})
    return Packed.of({"updates": updates})


def unpacked_updates(
    tree: Mapping[str, Any], jobs: Mapping[int, Job]
) -> dict[int, Update | InvalidInput]:
    """The answers of a message by number; what is none as the reason why.

    Args:
        tree: Of the message.
        jobs: What the node was sent, by number.

    Raises:
        InvalidInput: The message as a whole is none.
    """
    answers = tree.get("updates")
    if not isinstance(answers, list) or not all(isinstance(each, dict) for each in answers):
        raise InvalidInput("reply", Unshown.ITSELF, "a table with a list of updates")
    found: dict[int, Update | InvalidInput] = {}
    for each in answers:
        number = each.get("number")
        if number not in jobs:
            raise InvalidInput("reply", f"number {number}", "that of a job in the message")
        try:
            found[number] = _update(each, jobs[number])
        except InvalidInput as error:
            found[number] = error
    for number in jobs.keys() - found.keys():
        found[number] = InvalidInput("reply", Unshown.ITSELF, "one with an update of every job")
    return found


def _update(values: Mapping[str, Any], job: Job) -> Update:
    """An update that answers the job."""
    names = {each.name for each in fields(Update)} - {"payload"}
    if values.keys() - {"number"} != names:
        raise InvalidInput("reply", sorted(values), f"the fields {', '.join(sorted(names))}")
    for name in ("task", "client", "version"):
        if values[name] != getattr(job, name):
            raise InvalidInput(f"reply {name}", values[name], f"{getattr(job, name)!r}")
    _check_delta(values["delta"], job)
    for name in ("num_examples", "num_steps"):
        if type(values[name]) is not int or values[name] < 0:
            raise InvalidInput(f"reply {name}", values[name], "an integer >= 0")
    for name in ("metrics", "client_state"):
        if not isinstance(values[name], dict):
            raise InvalidInput(f"reply {name}", values[name], "a table")
    _check_metrics(values["metrics"], JobOptions.of(job.config))
    for name, kept in values["client_state"].items():
        if not isinstance(kept, Tensor):
            raise InvalidInput(f"reply client_state {name}", kept, "a tensor")
    return Update(**{name: values[name] for name in names})


def _check_metrics(metrics: Mapping[str, Any], options: JobOptions) -> None:
    """All figures that the job asked for are numbers, and what it wanted echoed is what it sent."""
    wanted = {"train_loss", "learning_rate", *options.echo}
    wanted |= {"start_loss"} if options.measure_start else set()
    wanted |= {"end_loss"} if options.measure_end else set()
    for name in sorted(wanted | metrics.keys()):
        figure = metrics.get(name)
        if not isinstance(figure, int | float) or not math.isfinite(figure):
            raise InvalidInput(f"reply metrics {name}", figure, "a finite number")
        if name in options.echo and figure != options.echo[name]:
            requirement = f"{options.echo[name]}, as the job wanted it echoed"
            raise InvalidInput(f"reply metrics {name}", figure, requirement)


def _check_delta(delta: Any, job: Job) -> None:
    """The difference has the entries that were sent, in their shapes and types."""
    if not isinstance(delta, dict) or delta.keys() != job.payload.keys():
        odd = sorted(set(delta or ()) ^ job.payload.keys())
        raise InvalidInput("reply delta", odd[:1] or delta, "the entries that were sent")
    for name, sent in job.payload.items():
        mine = delta[name]
        if not isinstance(mine, Tensor) or (mine.shape, mine.dtype) != (sent.shape, sent.dtype):
            kind = f"{mine.dtype} {tuple(mine.shape)}" if isinstance(mine, Tensor) else mine
            wanted = f"{sent.dtype} {tuple(sent.shape)}"
            raise InvalidInput(f"reply delta {name}", kind, f"{wanted} as it was sent")


def _fields(record: Job | Update) -> dict[str, Any]:
    """The fields of a record, one level deep."""
    return {each.name: getattr(record, each.name) for each in fields(record)}


def flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    """A nested table with one key for every value, dotted.

    Example:
        >>> flat({"run": {"seeds": [0, 1]}, "task": [{"name": "a"}]})
        {'run.seeds': '[0, 1]', 'task.0.name': '"a"'}
    """
    if isinstance(tree, Mapping):
        items = [(str(key), value) for key, value in tree.items()]
    elif isinstance(tree, list | tuple) and any(isinstance(item, Mapping) for item in tree):
        items = [(str(place), value) for place, value in enumerate(tree)]
    else:
        return {prefix: json.dumps(tree, default=str)}
    found: dict[str, Any] = {}
    for key, value in items:
        found |= flat(value, f"{prefix}.{key}" if prefix else key)
    return found
