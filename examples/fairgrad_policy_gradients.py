"""FairGrad in reinforcement learning: six goals on one grid, rewards from 0.01 to 100.

A walker on a 5 x 5 grid has six tasks: a goal each, to be reached within eight moves. One trunk
sees the cell, a head per task gives the odds of the four moves, and REINFORCE with Adam trains them
all; the trunk takes the direction of a method. Rewards are in unlike units, so the mean of the
gradients belongs to the largest of them; with equal rewards (`--equal`, the control) there is less
to be fair about.

The score of a task is the share of the best discounted return that its policy earns, so it has no
unit. `dm` is how much worse it is than with a trunk of the task's own, per cent, mean over tasks;
`rank` is a method's mean rank over tasks. Intervals are 95 % of Student's t over repetitions, which
have initial weights and dice in common with those of the other methods. All repetitions are trained
side by side: the Gram matrices of a step are one stack, solved by one call.

Run with: python examples/fairgrad_policy_gradients.py [--seeds 10] [--steps 100] [--equal]
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from fairopt.torch import ConflictAverse, FairGrad, Mean, Method, MinNorm, UPGrad

Array = NDArray[np.float64]

SIDE, HORIZON, DISCOUNT = 5, 8, 0.9
GOALS = (0, 4, 20, 24, 12, 2)
MOVES = torch.tensor([(-1, 0), (1, 0), (0, -1), (0, 1)])
UNEQUAL = tuple(float(10.0**k) for k in np.linspace(-2.0, 2.0, len(GOALS)))
EQUAL = (1.0,) * len(GOALS)
WIDTH, BATCH = 6, 16
RATE = 0.03  # of Adam

METHODS: Mapping[str, Method] = {
    "linear": Mean(),
    "MGDA": MinNorm(),
    "CAGrad": ConflictAverse(0.4),
    "UPGrad": UPGrad(),
    "FairGrad 1": FairGrad(1.0),
    "FairGrad 2": FairGrad(2.0),
}


class Policy(torch.nn.Module):
    """Odds of the moves: R repetitions of K tasks that share a trunk.

    Args:
        start: Initial weights (R, ...) of the trunk's two layers, and (R, K, WIDTH, 4) of heads.
    """

    def __init__(self, start: Sequence[Tensor]) -> None:
        super().__init__()
        cells, mixing, heads = (torch.nn.Parameter(value.clone()) for value in start)
        self.cells, self.mixing, self.heads = cells, mixing, heads

    @property
    def trunk(self) -> list[Tensor]:
        """What all tasks share."""
        return [self.cells, self.mixing]

    def forward(self, cells: Tensor) -> Tensor:
        """(R, K, N) cells to (R, K, N, 4) logarithms of odds."""
        rows = torch.arange(len(cells))[:, None, None]
        features = torch.tanh(torch.tanh(self.cells[rows, cells]) @ self.mixing[:, None])
        return (features @ self.heads).log_softmax(dim=-1)


def walk(
    policy: Policy, goals: Tensor, count: int, dice: torch.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Walks from random cells, with a reward of one at the goals (R, K).

    Returns:
        (cells, moves, returns from there on, whether the walker was still on its way), each
        (HORIZON, R, K, count).
    """
    goals = goals[..., None]
    cells = torch.randint(SIDE**2 - 1, (*goals.shape[:2], count), generator=dice)
    cells = cells + (cells >= goals)  # anywhere but there
    walking, steps = torch.ones_like(cells, dtype=torch.bool), []
    for _ in range(HORIZON):
        odds = policy(cells).exp().flatten(0, 2)
        moves = torch.multinomial(odds, 1, generator=dice).reshape(cells.shape)
        place = torch.stack([cells // SIDE, cells % SIDE], dim=-1) + MOVES[moves]
        place = place.clamp(0, SIDE - 1)
        after = torch.where(walking, place[..., 0] * SIDE + place[..., 1], cells)
        steps.append((cells, moves, (after == goals) & walking, walking))
        cells, walking = after, walking & (after != goals)
    returns, later = [], torch.zeros(cells.shape)
    for _, _, arrived, _ in reversed(steps):
        later = arrived.float() + DISCOUNT * later
        returns.append(later)
    seen, moves, _, alive = (torch.stack(part) for part in zip(*steps, strict=True))
    return seen, moves, torch.stack(returns[::-1]), alive


def losses_of(policy: Policy, goals: Tensor, rewards: Tensor, dice: torch.Generator) -> Tensor:
    """(R, K) losses whose gradients are those of REINFORCE, with the mean return as baseline."""
    with torch.no_grad():
        cells, moves, returns, alive = walk(policy, goals, BATCH, dice)
    weights = alive.float()
    mean = (returns * weights).sum(-1, keepdim=True) / weights.sum(-1, keepdim=True).clamp(min=1.0)
    gain = (returns - mean) * weights * rewards[..., None]
    odds = policy(cells.permute(1, 2, 0, 3).flatten(2))
    chosen = odds.gather(-1, moves.permute(1, 2, 0, 3).flatten(2)[..., None])[..., 0]
    return -(chosen * gain.permute(1, 2, 0, 3).flatten(2)).sum(-1) / BATCH


def descend(losses: Tensor, policy: Policy, method: Method) -> None:
    """Gradients of the heads, and for every repetition the direction of the method.

    With a single repetition this is ``backward(losses[0], policy.trunk, method)``.
    """
    total = losses.sum(dim=0)  # repetitions have no parameter in common
    slopes = [torch.autograd.grad(loss, policy.trunk, retain_graph=True) for loss in total]
    total.sum().backward(inputs=[policy.heads])  # type: ignore[no-untyped-call]
    rows = torch.stack([torch.cat([g.flatten(1) for g in each], dim=1) for each in slopes], dim=1)
    gram = (rows.double() @ rows.double().mT).numpy()
    weights = torch.tensor(method.solve(gram).weights, dtype=rows.dtype)
    direction = (weights[:, None] @ rows)[:, 0]
    parts = direction.split([SIDE**2 * WIDTH, WIDTH**2], dim=1)
    for value, part in zip(policy.trunk, parts, strict=True):
        value.grad = part.reshape(value.shape)


def best_return(goal: int) -> float:
    """Mean over all starts of the discounted reward of a shortest way."""
    cells = [cell for cell in range(SIDE**2) if cell != goal]
    ways = [abs(c // SIDE - goal // SIDE) + abs(c % SIDE - goal % SIDE) for c in cells]
    return float(np.mean([DISCOUNT ** (way - 1) for way in ways]))


def initial(repetitions: int) -> list[Tensor]:
    """Initial weights of all repetitions, the same for every method."""
    generator = torch.Generator().manual_seed(0)
    shapes = ((SIDE**2, WIDTH), (WIDTH, WIDTH), (len(GOALS), WIDTH, 4))
    sizes = (1.0, WIDTH**-0.5, WIDTH**-0.5)
    return [
        size * torch.randn((repetitions, *shape), generator=generator)
        for shape, size in zip(shapes, sizes, strict=True)
    ]


def train(
    method: Method, start: Sequence[Tensor], goals: Tensor, rewards: Tensor, steps: int, rate: float
) -> Array:
    """(R, K) scores of tasks that are trained together: 1 is the best there is.

    Args:
        method: Of the common direction of the trunk.
        start: Initial weights.
        goals: (R, K) goals.
        rewards: (R, K) rewards there.
        steps: Of Adam.
        rate: Its step length.
    """
    policy, dice = Policy(start), torch.Generator().manual_seed(1)
    optimizer = torch.optim.Adam(policy.parameters(), lr=rate)
    for _ in range(steps):
        optimizer.zero_grad()
        descend(losses_of(policy, goals, rewards, dice), policy, method)
        optimizer.step()
    with torch.no_grad():
        returns = walk(policy, goals, 200, dice)[2][0].mean(-1)
    return returns.double().numpy() / [[best_return(g) for g in row] for row in goals.tolist()]


def compared(rewards: Sequence[float], repetitions: int, steps: int, rate: float) -> Array:
    """(methods + 1, repetitions, tasks) scores; the first rows are those of tasks on their own."""
    cells, mixing, heads = start = initial(repetitions)
    goals, K = torch.tensor(GOALS).repeat(repetitions, 1), len(GOALS)
    sizes = torch.tensor(rewards).repeat(repetitions, 1)
    own = [
        cells.repeat_interleave(K, 0),
        mixing.repeat_interleave(K, 0),
        heads.flatten(0, 1)[:, None],
    ]
    alone = train(Mean(), own, goals.reshape(-1, 1), sizes.reshape(-1, 1), steps, rate)
    together = [train(m, start, goals, sizes, steps, rate) for m in METHODS.values()]
    return np.array([alone.reshape(repetitions, K), *together])


def interval(values: Array) -> str:
    """Mean and half the width of its 95 % interval."""
    spread = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    return f"{values.mean():6.1f} +- {spread:4.1f}"


def table(scores: Array) -> str:
    """One line per method: dm, its difference from linear, mean rank, and the worst task."""
    alone, together = scores[0], scores[1:]
    dm = 100.0 * ((alone - together) / alone).mean(axis=-1)
    ranks = stats.rankdata(-together, axis=0).mean(axis=-1)
    lines = [f"{'':<11}{'dm, per cent':>16}{'less linear':>16}{'mean rank':>16}{'worst score':>13}"]
    for k, name in enumerate(METHODS):
        gain = interval(dm[k] - dm[0]) if k else ""
        worst = together[k].min(axis=-1).mean()
        lines.append(
            f"{name:<11}{interval(dm[k]):>16}{gain:>16}{interval(ranks[k]):>16}{worst:13.2f}"
        )
    return "\n".join(lines)


def plot(scores: Array, rewards: Sequence[float], file: str) -> None:
    """Mean scores of every task, by method."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axis = plt.subplots(figsize=(8.0, 3.2))
    places, names = np.arange(len(GOALS)), ["each alone", *METHODS]
    for k, (name, mean) in enumerate(zip(names, scores.mean(axis=1), strict=True)):
        axis.bar(places + 0.12 * (k - 3), mean, width=0.12, label=name)
    axis.set_xticks(places, [f"reward {reward:.3g}" for reward in rewards])
    axis.set_ylabel("share of the best return")
    axis.legend(ncols=4, fontsize=8, loc="lower right")
    figure.tight_layout()
    figure.savefig(file, dpi=110)


def main() -> None:
    """Train, print the table, draw."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=10, help="repetitions, at least two")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--rate", type=float, default=RATE)
    parser.add_argument("--equal", action="store_true", help="equal rewards, the control")
    parser.add_argument("--out", default="policy-gradients.png")
    arguments = parser.parse_args()
    rewards = EQUAL if arguments.equal else UNEQUAL
    scores = compared(rewards, arguments.seeds, arguments.steps, arguments.rate)
    print(table(scores))
    plot(scores, rewards, arguments.out)


if __name__ == "__main__":
    main()
