"""The K gradients of a step: one pass per loss through its head, then through the trunk at once.

Where all losses come together in one tensor, each head is differentiated on its own down to that
tensor, and the trunk takes several gradients in one pass (a vmapped vector-Jacobian product) as
long as their intermediate results fit a memory budget. Where a trunk cannot be vmapped (custom
functions, random recomputation), or would gain nothing (large ones on a processor), it is passed
once per task.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from fairopt.errors import InvalidInput
from fairopt.torch.step.autograd_graph import (
    Branch,
    Edge,
    Graph,
    edge_of,
    gradient_edge,
    largest_output,
    names,
)
from fairopt.torch.step.gradient_rows import Gradient, Rows

BATCH_BYTES = 1 << 26  # intermediate results of several gradients at once
SMALL_BYTES = 1 << 20  # of one gradient: beyond it a processor is busy with one at a time
FEW_TASKS = 16  # below it convolutions gain nothing by passing several gradients at once
CONVOLUTION = "Convolution"


@dataclass
class Heads:
    """Gradients of everything that is not shared, task by task.

    Attributes:
        parameters: Leaves that the losses reach beside the shared parameters.
        rows: For each task (number of the parameter, gradient) where it has one.
    """

    parameters: list[Tensor]
    rows: list[list[tuple[int, Tensor]]] = field(default_factory=list)

    def add(self, numbers: Sequence[int], gradients: Sequence[Gradient]) -> None:
        """The gradients of one more task for these parameters."""
        pairs = zip(numbers, gradients, strict=True)
        self.rows.append([(i, g) for i, g in pairs if g is not None])

    def total(self, weights: Sequence[float] | None) -> list[tuple[Tensor, Tensor]]:
        """Their weighted sums over the tasks, None for weights of one; what no task reaches not."""
        sums: dict[int, Tensor] = {}
        for k, row in enumerate(self.rows):
            for i, g in row:
                part = g if weights is None else g * weights[k]
                sums[i] = sums[i] + part if i in sums else part
        return [(self.parameters[i], sums[i]) for i in sorted(sums)]


@dataclass(frozen=True)
class Way:
    """The way from the losses to the shared parameters.

    Attributes:
        losses: Those that count.
        parameters: Shared ones that some loss reaches, in the order of the rows.
        heads: Other leaves that some loss reaches.
        branches: What each loss has of its own above the meeting point, if nothing is shared there.
        sparse: Those of the parameters whose gradients may be sparse.
        meeting: Edges through which all losses reach the shared parameters, if there are such.
        given: Whether the caller named them.
        kinds: Operations between there (or the losses) and the shared parameters.
        largest: Bytes of the largest tensor on that way.
    """

    losses: list[Tensor]
    parameters: list[Tensor]
    heads: list[Tensor]
    branches: list[Branch] | None
    sparse: list[Tensor]
    meeting: list[Edge]
    given: bool
    kinds: frozenset[str]
    largest: int

    @classmethod
    def of(
        cls,
        graph: Graph,
        losses: list[Tensor],
        parameters: list[Tensor],
        shared: Sequence[Tensor],
        features: Sequence[Tensor] = (),
    ) -> Way:
        """Through the features, or else through the first meeting point there is.

        One that other leaves lie behind too would be passed twice, and is not used.

        Raises:
            InvalidInput: for features that some loss goes round.
        """
        mine = {id(p) for p in shared}
        heads = [leaf for leaf in graph.leaves if id(leaf) not in mine]
        sparse = [p for p in parameters if graph.sparse(p)]
        meeting = [edge_of(z) for z in features] if features else graph.meeting_point(parameters)
        branches = graph.branches(losses, meeting) if meeting else None
        if features and _goes_round(graph, branches, features, parameters):
            what = f"{len(features)} tensors that a loss goes round on its way to `shared`"
            raise InvalidInput("features", what, "tensors through which all losses reach `shared`")
        behind = Graph.behind(meeting) if meeting else graph
        if meeting and any(id(leaf) not in mine for leaf in behind.leaves):
            meeting, behind = [], graph
        nodes = behind.between(parameters)
        return cls(
            losses,
            parameters,
            heads,
            branches if meeting else None,
            sparse,
            meeting,
            bool(features) and bool(meeting),
            names(nodes),
            largest_output(nodes),
        )

    @property
    def outputs(self) -> list[GradientEdge]:
        """The meeting point as autograd takes it."""
        return [gradient_edge(edge) for edge in self.meeting]

    def at_once(self, K: int) -> int:
        """Gradients to pass at a time; 1 is a loop."""
        convolutions = any(CONVOLUTION in kind for kind in self.kinds)
        if K < FEW_TASKS and (not self.meeting or convolutions):
            return 1
        hooked = any(getattr(p, "_backward_hooks", None) for p in self.parameters)
        if self.kinds in _refused or self.sparse or hooked:
            return 1
        whole = sum(p.numel() * p.element_size() for p in self.parameters)
        each = whole + 2 * self.largest + 1
        if each > SMALL_BYTES and self.parameters[0].device.type == "cpu":
            return 1
        return even_parts(K, max(BATCH_BYTES // each, 1))


def _goes_round(
    graph: Graph,
    branches: list[Branch] | None,
    features: Sequence[Tensor],
    parameters: Sequence[Tensor],
) -> bool:
    """Whether a loss reaches a parameter by a way that avoids the features."""
    if branches is None or not all(p.is_leaf for p in parameters):
        return graph.misses(features, parameters)
    shared = {id(p) for p in parameters}
    return any(id(leaf) in shared for branch in branches for leaf in branch.leaves)


def even_parts(K: int, most: int) -> int:
    """The size of equal parts of K, at most `most` each."""
    return -(-K // -(-K // most))


def differentiate(way: Way, rows: Rows, retain_graph: bool) -> Heads:
    """Fill the rows; return the gradients of the heads. The last pass may free the graph."""
    if way.meeting:
        heads, features = down_to(way)
        _pass_trunk(way, way.outputs, features, rows, retain_graph)
        return heads
    known, heads = [loss for loss in way.losses if loss.requires_grad], Heads(way.heads)
    numbers = range(len(way.heads))
    if way.at_once(rows.K) > 1:
        for loss in way.losses:
            heads.add(numbers, _gradients(loss, way.heads, True))
        chosen = [[float(loss is one) for loss in way.losses] for one in known]
        pairs = zip(chosen, known, strict=True)
        outer = [torch.tensor(c, dtype=x.dtype, device=x.device) for c, x in pairs]
        _pass_trunk(way, known, outer, rows, retain_graph)
        return heads
    for k, loss in enumerate(way.losses):
        retain = retain_graph or not known or loss is not known[-1]
        found = _gradients(loss, [*rows.inputs, *way.heads], retain)
        rows.set(k, found[: len(way.parameters)])
        heads.add(numbers, found[len(way.parameters) :])
    return heads


def _gradients(loss: Tensor, inputs: Sequence[Any], retain_graph: bool) -> list[Gradient]:
    """Gradients of one loss, None where it does not reach."""
    if not loss.requires_grad or not inputs:
        return [None] * len(inputs)
    return list(
        torch.autograd.grad(loss, list(inputs), retain_graph=retain_graph, allow_unused=True)
    )


def down_to(way: Way) -> tuple[Heads, list[Tensor]]:
    """Gradients of the heads, and those of every loss at the meeting point, (K, ...) each."""
    found = _loss_by_loss(way) if way.branches is None else _in_one_pass(way, way.branches)
    heads, features = found
    stacks = []
    for column in zip(*features, strict=True):
        some = next(z for z in column if z is not None)
        stacks.append(torch.stack([torch.zeros_like(some) if z is None else z for z in column]))
    return heads, stacks


def _loss_by_loss(way: Way) -> tuple[Heads, list[list[Gradient]]]:
    """One pass per loss."""
    inputs, heads = [*way.outputs, *way.heads], Heads(way.heads)
    features: list[list[Gradient]] = []
    for loss in way.losses:
        found = _gradients(loss, inputs, True)
        features.append(found[: len(way.meeting)])
        heads.add(range(len(way.heads)), found[len(way.meeting) :])
    return heads, features


def _in_one_pass(way: Way, branches: list[Branch]) -> tuple[Heads, list[list[Gradient]]]:
    """One pass for all losses: what flows out of each branch is seen by hooks on its last nodes."""
    features: list[list[Gradient]] = [[None] * len(way.meeting) for _ in branches]
    handles = [
        node.register_hook(_catcher(row, way.meeting.index(edge), place))
        for row, branch in zip(features, branches, strict=True)
        for node, place, edge in branch.mouths
    ]
    try:
        inputs: list[Any] = [*way.outputs, *way.heads]
        found = torch.autograd.grad(
            _total(way.losses), inputs, retain_graph=True, allow_unused=True
        )
    finally:
        for handle in handles:
            handle.remove()
    number, heads = {id(p): i for i, p in enumerate(way.heads)}, Heads(way.heads)
    for branch in branches:
        own = [number[id(p)] for p in branch.leaves]
        heads.add(own, [found[len(way.meeting) + i] for i in own])
    return heads, features


def _total(losses: Sequence[Tensor]) -> Tensor | list[Tensor]:
    """Something whose gradient is that of the sum: one number if they are alike."""
    known = [loss for loss in losses if loss.requires_grad]
    alike = len({(loss.dtype, loss.device) for loss in known}) == 1
    return torch.stack(known).sum() if alike else known


def _catcher(row: list[Gradient], at: int, place: int) -> Callable[..., None]:
    """A hook that adds what a node sends to one place."""

    def catch(sent: Sequence[Gradient], _: Any) -> None:
        g = sent[place]
        if g is not None:
            known = row[at]
            row[at] = g if known is None else known + g

    return catch


def _pass_trunk(
    way: Way, outputs: Sequence[Any], outer: Sequence[Tensor], rows: Rows, retain_graph: bool
) -> None:
    """Fill the rows from gradients at the outputs that have the tasks as first dimension.

    The last row has a pass of its own, which may free the graph: until then a loop can still take
    over from several at once.
    """
    size = way.at_once(rows.K)
    several = size > 1 and _several_at_once(way, outputs, outer, rows, size)
    for k in range(0 if several is False else rows.K - 1, rows.K):
        part, retain = [g[k] for g in outer], retain_graph or k + 1 < rows.K
        found = torch.autograd.grad(
            outputs, rows.inputs, part, retain_graph=retain, allow_unused=True
        )
        if isinstance(several, tuple):
            rows.set_all(several, found)
        else:
            rows.set(k, found)
    if size > 1 and several is False:
        _refused.add(way.kinds)


def _several_at_once(
    way: Way, outputs: Sequence[Any], outer: Sequence[Tensor], rows: Rows, size: int
) -> bool | tuple[Gradient, ...]:
    """All rows but the last: filled, or as they came; False if these operations cannot."""
    most = rows.K - 1
    size = even_parts(most, size)
    try:
        with nullcontext() if way.kinds in _proven else _warnings_raised():
            for begin in range(0, most, size):
                end = min(begin + size, most)
                found = torch.autograd.grad(
                    outputs,
                    rows.inputs,
                    [g[begin:end] for g in outer],
                    retain_graph=True,
                    allow_unused=True,
                    is_grads_batched=True,
                )
                if size < most:
                    rows.set_several(begin, end - begin, found)
    except (RuntimeError, ValueError, Warning):
        return False
    _proven.add(way.kinds)
    return found if size == most else True


@contextmanager
def _warnings_raised() -> Iterator[None]:
    """Inside, a slow substitute for an operation, which announces itself by a warning, is refused.

    Filters of warnings belong to the process, so this is for the first step of a kind only.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


_proven: set[frozenset[str]] = set()
_refused: set[frozenset[str]] = set()
"""Operations that could and could not take several gradients at once in this process."""
