"""What autograd recorded: which leaves a loss reaches, and where all losses come together.

Read from the graph that starts at the losses, without running it. Edges are (node, number of its
output), as autograd's own `GradientEdge`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge

ACCUMULATE = "torch::autograd::AccumulateGrad"

Node = Any
Edge = tuple[Node, int]


def edge_of(tensor: Tensor) -> Edge:
    """The edge into which the gradient of a tensor flows."""
    edge = get_gradient_edge(tensor)
    return edge.node, edge.output_nr


class Branch(NamedTuple):
    """The part of a graph that belongs to one loss.

    Attributes:
        leaves: Leaf tensors there.
        mouths: (node, place among what it feeds, edge) where the branch ends in a meeting point.
    """

    leaves: list[Tensor]
    mouths: list[tuple[Node, int, Edge]]


@dataclass(frozen=True)
class Graph:
    """Everything behind some losses.

    Attributes:
        order: Its nodes, every one before those that it feeds in a backward pass.
        edges: All edges met, the losses' own included.
        roots: The edges of the losses; losses that need no gradient have none.
        feeding: For each edge into a node without successors the nodes that feed it.
    """

    order: list[Node]
    edges: set[Edge]
    roots: list[Edge]
    feeding: dict[Edge, list[Node]]

    @classmethod
    def of(cls, losses: Iterable[Tensor]) -> Graph:
        """Everything behind these losses."""
        return cls.behind([edge_of(loss) for loss in losses if loss.requires_grad])

    @classmethod
    def behind(cls, roots: list[Edge]) -> Graph:
        """Walk back from some edges; a recursion by hand, as graphs are thousands of nodes deep."""
        edges, seen, done = set(roots), set[Node](), list[Node]()
        feeding: dict[Edge, list[Node]] = {root: [] for root in roots}
        for root, _ in roots:
            if root in seen:
                continue
            seen.add(root)
            stack = [(root, iter(root.next_functions))]
            while stack:
                node, rest = stack[-1]
                for edge in rest:
                    target = edge[0]
                    if target is None:
                        continue
                    edges.add(edge)
                    further = target.next_functions
                    if not further:
                        feeding.setdefault(edge, []).append(node)
                    if target not in seen:
                        seen.add(target)
                        stack.append((target, iter(further)))
                        break
                else:
                    done.append(node)
                    stack.pop()
        return cls(done[::-1], edges, roots, feeding)

    @property
    def leaves(self) -> list[Tensor]:
        """The leaf tensors whose `.grad` a backward pass fills, in the order of the graph."""
        ends = {node for node, _ in self.feeding}
        found = (node for node in self.order if node in ends and node.name() == ACCUMULATE)
        return [node.variable for node in found]

    def branches(self, losses: Sequence[Tensor], stop: Sequence[Edge]) -> list[Branch] | None:
        """What each loss has of its own on its way to `stop`; None if two losses share something.

        Two losses share a node, such as a common reduction, or a leaf, such as a common head.
        """
        ends, taken, found = set(stop), set[Node](), []
        for loss in losses:
            branch = Branch([], [])
            stack = [edge_of(loss)[0]] if loss.requires_grad else []
            mine = set(stack)
            while stack:
                node = stack.pop()
                if node in taken:
                    return None
                if not node.next_functions and node.name() == ACCUMULATE:
                    branch.leaves.append(node.variable)
                for place, edge in enumerate(node.next_functions):
                    if edge in ends:
                        branch.mouths.append((node, place, edge))
                    elif edge[0] is not None and edge[0] not in mine:
                        mine.add(edge[0])
                        stack.append(edge[0])
            taken |= mine
            found.append(branch)
        return found

    def sparse(self, tensor: Tensor) -> bool:
        """Whether an embedding gives this parameter sparse gradients."""
        nodes = self.feeding.get(edge_of(tensor), ())
        return any(getattr(node, "_saved_sparse", False) for node in nodes)

    def reaches(self, tensor: Tensor) -> bool:
        """Whether some loss depends on this tensor."""
        return edge_of(tensor) in self.edges

    def between(self, targets: Sequence[Tensor]) -> list[Node]:
        """The nodes on the way from the losses to the targets, in order, targets excluded."""
        ends = {edge_of(target) for target in targets}
        leading = set[Node]()
        for node in reversed(self.order):
            if any(edge in ends or edge[0] in leading for edge in node.next_functions):
                leading.add(node)
        return [node for node in self.order if node in leading]

    def meeting_point(self, targets: Sequence[Tensor]) -> list[Edge]:
        """The first edge through which every loss reaches the targets, as a list of one, or none.

        A node is one iff no way from an earlier node leads past it; ways end at the targets.
        """
        nodes = self.between(targets)
        place = {node: i for i, node in enumerate(nodes)}
        ends = {edge_of(target) for target in targets}
        furthest, outputs = -1, dict[Node, set[int]]()
        if any(root in ends for root in self.roots):
            return []
        for node, number in self.roots:
            if node in place:
                furthest = max(furthest, place[node])
                outputs.setdefault(node, set()).add(-1 - number)  # a loss itself is no feature
        for i, node in enumerate(nodes):
            found = outputs.get(node, set())
            if furthest == i and len(found) == 1 and min(found) >= 0:
                return [(node, min(found))]
            for edge in node.next_functions:
                if edge in ends:
                    furthest = len(nodes)  # a target ahead of what follows
                elif edge[0] in place:
                    furthest = max(furthest, place[edge[0]])
                    outputs.setdefault(edge[0], set()).add(edge[1])
            if furthest == len(nodes):
                return []
        return []

    def misses(self, features: Sequence[Tensor], targets: Sequence[Tensor]) -> bool:
        """Whether a loss reaches a target by a way that avoids the features."""
        blocked = {edge_of(feature) for feature in features}
        ends = {edge_of(target) for target in targets}
        stack = [edge for edge in self.roots if edge not in blocked]
        seen = set(stack)
        while stack:
            edge = stack.pop()
            if edge in ends:
                return True
            for further in edge[0].next_functions:
                if further[0] is not None and further not in blocked and further not in seen:
                    seen.add(further)
                    stack.append(further)
        return False


def largest_output(nodes: Iterable[Node]) -> int:
    """Bytes of the largest tensor that flows into one of these nodes; 0 if they do not tell."""
    largest = 0
    for node in nodes:
        for entry in getattr(node, "_input_metadata", ()):
            try:
                size = math.prod(int(n) for n in entry.shape) * entry.dtype.itemsize
            except (TypeError, AttributeError):  # sizes of a nested tensor are no numbers
                continue
            largest = max(largest, size)
    return largest


def names(nodes: Iterable[Node]) -> frozenset[str]:
    """The kinds of operations among these nodes."""
    return frozenset(node.name() for node in nodes)


def gradient_edge(edge: Edge) -> GradientEdge:
    """The same as autograd takes it for an input or output."""
    return GradientEdge(*edge)
