"""Two models of an ordinary Flower app, trained fairly: one Strategy of Flower's Message API.

Every round, each client is sent to one task by the alpha-fair rule of its losses
(`fairopt.client_task_probabilities`), so the task with the larger loss has more of the clients. The
updates of a task's clients are then combined by FairGrad or conflict-averse weights of their Gram
matrix (`fairopt.fairgrad`, `fairopt.conflict_averse`) instead of by their mean: a client whose data
differ from those of the others keeps its share of the progress.

The strategy is `FairTasks`; the rest is an ordinary app with linear softmax models in NumPy.
Nothing of it needs PyTorch or the runtime of this repository.

Run with: python examples/flower_strategy.py FOLDER, which writes the app, then flwr run
FOLDER. Nodes say which part of the data is theirs: --node-config "partition-id=0 num-partitions=3".
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from logging import INFO, WARNING
from pathlib import Path

import numpy as np
from flwr.app import (
    Array,
    ArrayRecord,
    ConfigRecord,
    Context,
    Message,
    MessageType,
    MetricRecord,
    RecordDict,
)
from flwr.clientapp import ClientApp
from flwr.common.logger import log
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from numpy.typing import NDArray
from sklearn.datasets import load_digits, load_wine

from fairopt import Solution, client_task_probabilities, conflict_averse, fairgrad

Values = NDArray[np.float64]
Weigh = Callable[[Values], Solution]
TASKS = ("digits", "wine")


def fair(gram: Values) -> Solution:
    """FairGrad at alpha 2: every client's share of the progress, weighed."""
    return fairgrad(gram, 2.0)


def averse(gram: Values) -> Solution:
    """The conflict-averse direction at c = 0.4: near the mean, best for the worst client."""
    return conflict_averse(gram, 0.4)


class FairTasks(FedAvg):
    """A client trains one task a round, drawn alpha-fairly; updates are combined by their Gram.

    The record of arrays holds those of all tasks, named TASK/ARRAY. A client receives those of its
    task without the prefix, and `task` in the configuration; it replies with the arrays it trained
    and with `loss`, that of the received model on its data.

    Args:
        tasks: Names of the tasks.
        rng: Draws the task of every client.
        alpha: Power of the losses in the draw: 1 ignores them, infinity sends all to the worst.
        weigh: From the Gram matrix of the updates to their weights.
        rate: Length of the step over that of the mean update.
        options: Those of FedAvg.
    """

    def __init__(
        self,
        tasks: Sequence[str],
        rng: np.random.Generator,
        alpha: float = 3.0,
        weigh: Weigh = fair,
        rate: float = 1.0,
        **options: float | str,
    ) -> None:
        super().__init__(**{"fraction_evaluate": 0.0, **options})
        self.tasks, self.rng, self.alpha = tuple(tasks), rng, alpha
        self.weigh, self.rate = weigh, rate
        self.losses = np.ones(len(tasks))
        self._sent = ArrayRecord()
        self._task_of: dict[int, str] = {}

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """FedAvg's messages to FedAvg's choice of clients, each with the arrays of one task."""
        chosen = super().configure_train(server_round, arrays, config, grid)
        nodes = [message.metadata.dst_node_id for message in chosen]
        chances = client_task_probabilities(self.losses, self.alpha)
        drawn = self.rng.choice(self.tasks, size=len(nodes), p=chances).tolist()
        self._sent, self._task_of = arrays, dict(zip(nodes, drawn, strict=True))
        messages: list[Message] = []
        for node, task in self._task_of.items():
            said = ConfigRecord({**config, "task": task})
            record = {self.arrayrecord_key: part(arrays, task), self.configrecord_key: said}
            messages += self._construct_messages(RecordDict(record), [node], MessageType.TRAIN)
        return messages

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """A step of every task that had clients; the others stay where they are."""
        valid, _ = self._check_and_log_replies(replies, is_train=True, validate=False)
        arrays = ArrayRecord(dict(self._sent))
        for s, task in enumerate(self.tasks):
            mine = self._of(task, valid)
            if mine:
                arrays.update(self._step(task, mine))
                losses = [float(reply["metrics"]["loss"]) for reply in mine]
                self.losses[s] = np.mean(losses)
        return arrays, MetricRecord(dict(zip(self.tasks, self.losses.tolist(), strict=True)))

    def _of(self, task: str, replies: Iterable[Message]) -> list[RecordDict]:
        """The replies of a task's clients, without those that hold no such model."""
        sent, found = part(self._sent, task), []
        for reply in replies:
            node = reply.metadata.src_node_id
            if self._task_of[node] != task:
                continue
            if objection := why_not(reply.content, sent, self.arrayrecord_key):
                log(WARNING, "%s: the reply of node %d is left out, %s", task, node, objection)
            else:
                found.append(reply.content)
        return found

    def _step(self, task: str, replies: Sequence[RecordDict]) -> dict[str, Array]:
        """The arrays of a task after a step along the combined update of its clients."""
        sent = part(self._sent, task)
        start = flat(sent)
        updates = np.stack([flat(reply[self.arrayrecord_key]) - start for reply in replies])
        step = updates.mean(axis=0)
        found = self.weigh(updates @ updates.T)
        if found.ok:
            direction = found.weights @ updates
            step = direction * (np.linalg.norm(step) / np.linalg.norm(direction))
        else:
            log(WARNING, "%s: the mean update is used, %s", task, found.sentence)
        return {f"{task}/{name}": a for name, a in filled(sent, start + self.rate * step).items()}


def why_not(reply: RecordDict, sent: ArrayRecord, key: str) -> str:
    """Why a reply is no trained model; empty if it is one."""
    arrays, metrics = reply.get(key, {}), reply.get("metrics", {})
    if list(arrays) != list(sent):
        return f"its arrays are {list(arrays)}, not {list(sent)}"
    for name, array in arrays.items():
        values = array.numpy()
        if values.shape != sent[name].numpy().shape:
            return f"{name} has the shape {values.shape}"
        if not np.isfinite(values).all():
            return f"{name} is not finite"
    loss = metrics.get("loss", -1.0)
    return "" if 0.0 <= loss < np.inf else "its metrics have no loss of 0 or more"


def part(arrays: ArrayRecord, task: str) -> ArrayRecord:
    """The arrays of one task, by their names within it."""
    prefix = f"{task}/"
    return ArrayRecord(
        {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}
    )


def flat(arrays: ArrayRecord) -> Values:
    """All numbers of a record in a row."""
    return np.concatenate([a.numpy().ravel() for a in arrays.values()]).astype(np.float64)


def filled(like: ArrayRecord, numbers: Values) -> dict[str, Array]:
    """Arrays of the same names and shapes, of these numbers."""
    olds = {name: array.numpy() for name, array in like.items()}
    ends = np.cumsum([old.size for old in olds.values()])
    parts = np.split(numbers, ends[:-1])
    pairs = zip(olds.items(), parts, strict=True)
    return {name: Array(new.reshape(old.shape).astype(old.dtype)) for (name, old), new in pairs}


server_app = ServerApp()
client_app = ClientApp()


@server_app.main()
def train_two_models(grid: Grid, context: Context) -> None:
    """Both models start at zero; the losses of every round are logged."""
    config = context.run_config
    rng = np.random.default_rng(int(config.get("seed", 0)))
    weigh = averse if config.get("weigh", "fair") == "averse" else fair
    strategy = FairTasks(TASKS, rng, alpha=float(config.get("alpha", 3.0)), weigh=weigh)
    result = strategy.start(grid, initial(), num_rounds=int(config.get("rounds", 20)))
    for number, losses in result.train_metrics_clientapp.items():
        log(INFO, "round %d: %s", number, dict(losses))


def initial() -> ArrayRecord:
    """Linear softmax models of zeros."""
    arrays = ArrayRecord()
    for task in TASKS:
        x, y = examples(task)
        arrays[f"{task}/W"] = Array(np.zeros((x.shape[1], int(y.max()) + 1)))
    return arrays


@client_app.train()
def train(message: Message, context: Context) -> Message:
    """Ten gradient steps of a linear softmax model on this client's part of the task's data."""
    x, y = shard(str(message.content["config"]["task"]), context.node_config)
    W = message.content["arrays"]["W"].numpy()
    loss = cross_entropy(W, x, y)[0]
    for _ in range(10):
        W = W - 0.5 * cross_entropy(W, x, y)[1]
    metrics = MetricRecord({"loss": loss, "num-examples": len(y)})
    content = RecordDict({"arrays": ArrayRecord({"W": Array(W)}), "metrics": metrics})
    return Message(content=content, reply_to=message)


def cross_entropy(W: Values, x: Values, y: NDArray[np.int64]) -> tuple[float, Values]:
    """The mean loss and its gradient."""
    z = x @ W
    p = np.exp(z - z.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    rows = np.arange(len(y))
    loss = float(-np.log(np.maximum(p[rows, y], 1e-300)).mean())
    p[rows, y] -= 1.0
    return loss, x.T @ p / len(y)


def examples(task: str) -> tuple[Values, NDArray[np.int64]]:
    """Standardised inputs with a constant, and labels."""
    x, y = (load_digits if task == "digits" else load_wine)(return_X_y=True)
    x = (x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-9)
    return np.column_stack([x, np.ones(len(x))]) / np.sqrt(x.shape[1]), y


def shard(task: str, node: Mapping[str, object]) -> tuple[Values, NDArray[np.int64]]:
    """Client k of K has every K-th example."""
    x, y = examples(task)
    k, clients = int(str(node["partition-id"])), int(str(node["num-partitions"]))
    return x[k::clients], y[k::clients]


PROJECT = """\
[project]
name = "fair-tasks"
version = "1.0.0"
description = "Two models, trained fairly"
license = "Apache-2.0"
dependencies = ["flwr", "fairopt", "scikit-learn"]

[tool.flwr.app]
publisher = "you"

[tool.flwr.app.components]
serverapp = "flower_strategy:server_app"
clientapp = "flower_strategy:client_app"

[tool.flwr.app.config]
alpha = 3.0
weigh = "fair"
rounds = 20
seed = 0
"""


def main(folder: Path) -> None:
    """Write this file as an app of Flower."""
    if folder.exists():
        sys.exit(f"{folder} is there already: name a new folder")
    folder.mkdir(parents=True)
    (folder / "pyproject.toml").write_text(PROJECT, encoding="utf-8")
    shutil.copy(__file__, folder / "flower_strategy.py")
    print(f"flwr run {folder} --stream")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "fair-tasks"))
