"""What autograd recorded: which leaves a loss reaches, and where all losses come together.

Read from the graph that starts at the losses, without running it. Edges are (node, number of its
output), as autograd's own `GradientEdge`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge

ACCUMULATE = "torch::autograd::AccumulateGrad"

Node = Any
Edge = tuple[Node, int]


def edge_of(tensor: Tensor) -> Edge:
    """The edge into which the gradient of a tensor flows."""
    edge = get_gradient_edge(tensor)
    return edge.node, edge.output_nr


@dataclass(frozen=True)
class Graph:
    """Everything behind some losses.

    Attributes:
        order: Its nodes, every one before those that it feeds in a backward pass.
        edges: All edges met, the losses' own included.
        roots: The edges of the losses; losses that need no gradient have none.
    """

    order: list[Node]
    edges: set[Edge]
    roots: list[Edge]

    @classmethod
    def of(cls, losses: Iterable[Tensor]) -> Graph:
        """Everything behind these losses."""
        return cls.behind([edge_of(loss) for loss in losses if loss.requires_grad])

    @classmethod
    def behind(cls, roots: list[Edge]) -> Graph:
        """Walk back from some edges; a recursion by hand, as graphs are thousands of nodes deep."""
        edges, seen, done = set(roots), set[Node](), list[Node]()
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
                    if target not in seen:
                        seen.add(target)
                        stack.append((target, iter(target.next_functions)))
                        break
                else:
                    done.append(node)
                    stack.pop()
        return cls(done[::-1], edges, roots)

    @property
    def leaves(self) -> list[Tensor]:
        """The leaf tensors whose `.grad` a backward pass fills, in the order of the graph."""
        return [node.variable for node in self.order if node.name() == ACCUMULATE]

    def leaves_before(self, root: Edge, stop: set[Edge]) -> list[Tensor]:
        """The leaves behind one edge that are reached without passing `stop`."""
        stack, seen, found = [root], {root}, []
        while stack:
            edge = stack.pop()
            if edge[0].name() == ACCUMULATE:
                found.append(edge[0].variable)
            for further in edge[0].next_functions:
                if further[0] is not None and further not in stop and further not in seen:
                    seen.add(further)
                    stack.append(further)
        return found

    def sparse(self, tensor: Tensor) -> bool:
        """Whether an embedding gives this parameter sparse gradients."""
        edge = edge_of(tensor)
        embeddings = (node for node in self.order if getattr(node, "_saved_sparse", False))
        return any(edge in node.next_functions for node in embeddings)

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
            size = math.prod(int(n) for n in entry.shape) * entry.dtype.itemsize
            largest = max(largest, size)
    return largest


def names(nodes: Iterable[Node]) -> frozenset[str]:
    """The kinds of operations among these nodes."""
    return frozenset(node.name() for node in nodes)


def gradient_edge(edge: Edge) -> GradientEdge:
    """The same as autograd takes it for an input or output."""
    return GradientEdge(*edge)
