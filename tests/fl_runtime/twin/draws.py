"""Random small configurations of every algorithm, each a function of its number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tests.fl_runtime.twin.algorithms import TRUNKS, TWINS

Tree = dict[str, Any]

NAMES = tuple(TWINS)
PERSONAL = ("local", "fed-per", "ditto", "fed-hca2")
BY_ARRIVAL = ("fed-buff", "fed-async", "fed-ast", "fed-ast-no-buffer")
TRACE = Path(__file__).with_name("trace.csv")
"""Times at which the first four clients are there."""

TOYS = ("three", "two", "four")


class Drawer:
    """Draws of one configuration."""

    def __init__(self, number: int) -> None:
        self.rng = np.random.default_rng((20261130, number))
        self.algorithm = NAMES[number % len(NAMES)]

    def maybe(self, chance: float) -> bool:
        """Yes, with that chance."""
        return bool(self.rng.random() < chance)

    def one(self, *values: Any) -> Any:
        """One of them."""
        return values[int(self.rng.integers(len(values)))]

    def between(self, low: float, high: float) -> float:
        """A number of three digits."""
        return round(float(self.rng.uniform(low, high)), 3)

    def tree(self) -> Tree:
        """The whole configuration."""
        self.options = self.algorithm_options()
        self.joint = bool(
            self.options.get("share_trunk", self.algorithm == "fed-hca2")
            or self.algorithm in TRUNKS
        )
        self.S = (
            self.one(2, 2, 3) if self.algorithm in TRUNKS or self.joint else self.one(1, 2, 2, 3)
        )
        for key in ("priority", "split"):
            if self.options.get(key):
                self.options[key] = [self.between(0.5, 2.0) for _ in range(self.S)]
        if self.options.get("buffer_size") == "each":
            self.options["buffer_size"] = [self.one(1, 2, 3) for _ in range(self.S)]
        self.N = self.one(4, 5, 6, 8, 9)
        clients = self.clients()
        if self.options.get("aggregation") == "importance" and self.unknown_chance(clients):
            self.options["aggregation"] = "data-weighted"
        if self.algorithm in BY_ARRIVAL:
            self.concurrency()
        tasks = self.tasks()
        return {
            "run": self.run(tasks),
            "task": tasks,
            "clients": clients,
            "algorithm": self.options,
            "recruitment": self.recruitment(),
        }

    def unknown_chance(self, clients: Tree) -> bool:
        """Whether only the first answers count, not all equally likely, or some have no chance."""
        if self.options.get("alpha") == float("inf") and self.algorithm == "fed-fair-mmfl":
            return True
        if clients.get("over_selection", 1.0) == 1.0 and not self.options.get("first"):
            return False
        many = self.algorithm in (*TRUNKS, "fed-avg", "fed-prox")
        several = many and self.options.get("tasks_per_client") != "one"
        by_task = clients.get("task_delays") and self.algorithm != "sync-st"
        uneven = clients.get("speeds") or clients.get("speed_changes")
        return bool(several or by_task or uneven)

    def run(self, tasks: list[Tree]) -> Tree:
        """How long."""
        run: Tree = {
            "algorithm": self.algorithm,
            "seeds": [int(self.rng.integers(1000))],
            "num_server_rounds": self.one(3, 4, 5, 6),
            "executor": self.one("sequential", "stacked", "dense"),
        }
        if self.maybe(0.15):
            run["time_limit"] = self.between(2.0, 6.0)
        apart = not self.joint and not self.options.get("share_trunk")
        if self.maybe(0.2) and apart:
            run["stop_at_targets"] = True
            for task in tasks:
                task["target_accuracy"] = self.between(0.3, 0.8)
        return run

    def tasks(self) -> list[Tree]:
        """Models of one shape where they are to share a trunk."""
        narrow = [f"tests.fl_runtime.twin.toy:{name}" for name in TOYS] + ["iris"]
        wide = [*narrow, "wine"]
        data = self.rng.choice(narrow if self.joint else wide, self.S, replace=False).tolist()
        if self.maybe(0.15) and self.S > 1:
            data[:2] = [f"tests.fl_runtime.twin.toy:{name}" for name in ("kind", "side")]
        needs_trunk = self.joint or self.algorithm == "fed-per"
        deep = [self.one(3, 4), self.one(3, 5)]
        same = deep if self.options.get("shared_layers") else self.one([4], deep)
        settings = self.settings()
        tasks = []
        for s in range(self.S):
            hidden = same if self.joint else self.one([3], [4, 3])
            linear = not needs_trunk and self.maybe(0.4)
            if self.options.get("shared_layers"):
                hidden = same
            task = {
                "name": "abc"[s],
                "data": data[s],
                "model": "linear" if linear else "mlp",
                **({} if linear else {"hidden": hidden}),
                **(settings if self.joint else self.settings()),
            }
            tasks.append(task)
        return tasks

    def settings(self) -> Tree:
        """A local optimiser."""
        found: Tree = {"learning_rate": self.between(0.05, 0.4)}
        kind = self.one("plain", "momentum", "nesterov", "adamw")
        if kind == "adamw":
            found |= {"optimizer": "adamw", "learning_rate": self.between(0.005, 0.05)}
        elif kind != "plain":
            found |= {"momentum": self.between(0.3, 0.9), "learning_rate": self.between(0.02, 0.1)}
            found |= {"nesterov": kind == "nesterov"}
        if self.maybe(0.4):
            found["weight_decay"] = self.between(0.001, 0.1)
        if kind != "plain" and self.maybe(0.6):
            found["persist_optimizer"] = True
        return found

    def clients(self) -> Tree:
        """The population."""
        found: Tree = {
            "num_clients": self.N,
            "fraction_train": self.one(1.0, 1.0, 0.5, 0.7, 0.3),
            "partition": self.one("iid", "dirichlet", "missing-classes"),
            "local_epochs": self.one(1, 1, 2, 3),
            "batch_size": self.one(3, 5, 8, 32),
            "delay": self.delay(),
        }
        if self.maybe(0.35):
            found["dropout"] = self.between(0.1, 0.4)
        if self.maybe(0.35):
            found["failures"] = self.between(0.1, 0.4)
        if self.maybe(0.3):
            found["speeds"] = self.one(
                {"shares": [0.25, 0.5, 0.25], "factors": [1.3, 1.0, 0.7]},
                {"shares": [0.5, 0.5], "factors": [2.0, 1.0]},
            )
        if self.maybe(0.2):
            found["speed_changes"] = [
                {"at": self.between(0.3, 3.0), "shares": [0.5, 0.5], "factors": [1.0, 4.0]}
            ]
        if self.maybe(0.3):
            found["task_delays"] = [self.one(0.5, 1.0, 2.0, 3.0) for _ in range(self.S)]
        if self.maybe(0.25):
            found["availability"] = {
                "model": "on-off",
                "on": self.between(0.5, 4.0),
                "off": self.between(0.3, 2.0),
            }
        rounds = self.algorithm not in BY_ARRIVAL and self.algorithm != "sync-st"
        if rounds and self.maybe(0.3):
            found["over_selection"] = self.one(1.3, 1.5, 2.0)
        if self.maybe(0.35) and self.S > 1:
            found["task_sets"] = self.task_sets()
        return found

    def task_sets(self) -> list[list[str]]:
        """Some tasks for every client, and every task for some client."""
        names = list("abc"[: self.S])
        sets = [
            sorted(self.rng.choice(names, int(self.rng.integers(1, self.S + 1)), replace=False))
            for _ in range(self.N)
        ]
        sets[0] = names
        return [[str(name) for name in held] for held in sets]

    def delay(self) -> Tree:
        """Any law."""
        return self.one(
            {"model": "constant"},
            {"model": "constant", "mean": 0.5},
            {"model": "exponential"},
            {"model": "shifted-exponential", "shift": 0.5, "mean": 1.0},
            {"model": "uniform", "low": 0.5, "high": 1.5},
            {"model": "lognormal", "sigma": 0.7},
            {"model": "pareto", "index": 1.6},
        )

    def concurrency(self) -> None:
        """Jobs in flight, of idle clients or not."""
        queues = self.algorithm.startswith("fed-ast")
        if queues and self.maybe(0.4):
            self.options["concurrency"] = [self.one(1, 2, 3, 5) for _ in range(self.S)]
        elif self.maybe(0.7):
            most = 2 * self.N if queues else self.N
            self.options["concurrency"] = int(self.rng.integers(self.S, most + 1))

    def recruitment(self) -> Tree:
        """Who holds what, and changes of it in mid-run."""
        if self.maybe(0.55):
            return {}
        found: Tree = {
            "rule": self.one("max-min-fair", "budget-fair", "random-recruitment", "cheapest-first"),
            "budget": self.between(0.15, 0.5) * self.N * self.S,
        }
        if self.maybe(0.7):
            found["every"] = self.one(1, 2)
            found["drift"] = {"model": "geometric-walk", "sigma": 0.6}
        return found

    def aggregation(self) -> Tree:
        """Of a task's updates."""
        allowed = ["data-weighted", "plain", "importance"]
        if self.algorithm in (*PERSONAL, "round-robin", "q-ffl", "fed-ram"):
            allowed = allowed[:2]
        return {"aggregation": self.one(*allowed)} if self.maybe(0.7) else {}

    def algorithm_options(self) -> Tree:
        """Keys of the algorithm."""
        name = self.algorithm
        if name in TRUNKS:
            return self.trunk_options()
        if name in PERSONAL:
            return self.personal_options()
        makers = {
            "fed-fair-mmfl": lambda: {
                **self.aggregation(),
                "alpha": self.one(1.0, 2.0, 3.0, float("inf")),
                "signal": self.one("loss", "error", "progress"),
                **({"priority": True} if self.maybe(0.3) else {}),
            },
            "fed-avg": lambda: {**self.aggregation(), "tasks_per_client": self.one("all", "one")},
            "fed-prox": lambda: {**self.aggregation(), "mu": self.between(0.0, 1.0)},
            "q-ffl": lambda: {**self.aggregation(), "q": self.one(0.0, 0.5, 1.0, 3.0)},
            "q-ffl-released": lambda: {"alpha": self.one(1.0, 2.0, 3.0)},
            "sync-st": lambda: {
                **self.aggregation(),
                **({"first": self.one(1, 2, 3)} if self.maybe(0.6) else {}),
                **({"split": True} if self.maybe(0.4) else {}),
                "server_learning_rate": self.between(0.3, 1.2),
            },
            "fed-ram": self.ram_options,
        }
        if name in BY_ARRIVAL:
            return self.arrival_options()
        return makers.get(name, self.aggregation)()

    def trunk_options(self) -> Tree:
        """Of a shared trunk."""
        where = self.one("server", "client")
        found: Tree = {**self.aggregation(), "where": where, "length": self.one("mean", "own")}
        if where == "server" and self.maybe(0.3):
            found["tasks_per_client"] = "one"
        if self.algorithm == "fair-grad":
            found["alpha"] = self.one(0.5, 1.0, 2.0, 5.0, float("inf"))
            if self.maybe(0.3):
                found["priority"] = True
        if self.maybe(0.3):
            found |= {"loss_alpha": self.one(0.5, 1.0, 2.0), "loss_floor": self.one(1e-8, 1.0)}
        if self.algorithm == "cagrad":
            found["c"] = self.between(0.0, 0.9)
        if self.maybe(0.3):
            found["shared_layers"] = self.one(["1"], ["1", "3"])
        return found

    def personal_options(self) -> Tree:
        """Of clients with models of their own."""
        found: Tree = self.aggregation()
        if self.algorithm == "fed-hca2":
            return {**found, **self.hca_options()}
        if self.maybe(0.6):
            found["share_trunk"] = True
            if self.maybe(0.3):
                found["shared_layers"] = ["1"]
        if self.algorithm == "ditto":
            found["pull"] = self.one(0.0, 0.1, 1.0)
        return found

    def hca_options(self) -> Tree:
        """Of FedHCA2."""
        found = {
            "encoder": self.one("conflict-averse", "conflict-averse", "own"),
            "decoder": self.one("cross-attention", "cross-attention", "own"),
            "c": self.between(0.0, 0.9),
            "rescale": self.one("1+c2", "none"),
            "attention": self.one("released", "scale-free"),
            "temperature": self.between(0.2, 2.0),
            "alike": self.one("share", "own"),
            "initial_weight": self.between(0.0, 1.0),
            "rate": self.one(0.0, 0.01, 1.0),
            "momentum": self.between(0.0, 0.9),
            "decay": self.between(0.0, 0.1),
            "project": self.maybe(0.5),
            "normalise": self.maybe(0.5),
        }
        if found["decoder"] != "own" or self.maybe(0.3):
            found["shared_layers"] = ["1"]
        return found

    def arrival_options(self) -> Tree:
        """Of asynchronous algorithms."""
        found: Tree = {}
        if self.maybe(0.3):
            found["max_staleness"] = self.one(0, 1, 2)
        if self.algorithm in ("fed-buff", "fed-async"):
            if self.maybe(0.4):
                found |= {"allocation": "fair", "alpha": self.one(1.0, 2.0, 4.0)}
                found["signal"] = self.one("loss", "error")
            if self.algorithm == "fed-buff":
                found["buffer_size"] = self.one(1, 2, 3, "each")
                found["exponent"] = self.between(0.0, 1.5)
                found["server_learning_rate"] = self.between(0.3, 1.2)
            else:
                found["mixing"] = self.between(0.2, 1.0)
                found["weighting"] = self.one("constant", "polynomial", "hinge")
                found |= {"exponent": self.between(0.1, 1.5), "slope": self.between(0.5, 10.0)}
                found["grace"] = self.one(0, 1, 2)
            return found
        found["ratio"] = self.one(1.0, 1.5, 2.0, 0.7, 4.0)
        found["server_learning_rate"] = self.between(0.3, 1.2)
        if self.maybe(0.5):
            found["allocation"] = "dynamic"
            found["objective"] = self.one("equal-error", "sum-of-variances", "sum-of-deviations")
            found["estimator"] = self.one("gradient-variance", "relative-variance")
            found |= {"window": self.one(2, 3), "period": self.one(3, 4, 6)}
        return found

    def ram_options(self) -> Tree:
        """Of FedRAM: short stages."""
        found = {
            **self.aggregation(),
            "reference_rounds": self.one(0, 1, 2),
            "proxy_rounds": self.one(0, 1, 2, 2),
            "proxy_hidden": self.one([], [2], [3]),
            "task_rate": self.between(0.0, 0.5),
            "client_rate": self.between(-0.5, 0.5),
            "smoothing": self.between(0.0, 0.5),
            "differential": self.one("global", "reference"),
            "absent": self.one("frozen", "renormalise"),
            "mu": self.one(0.0, 0.3),
        }
        found["clip_gradient"] = self.maybe(0.6)
        found["proxy_delay"] = 0.25  # no other draw of the same number
        found["agent"] = self.maybe(0.75)
        if self.maybe(0.4):
            found["share_trunk"] = True
            found["proxy_hidden"] = [3]
        return found


def drawn(number: int) -> Tree:
    """The configuration of that number; algorithms take turns."""
    tree = Drawer(number).tree()
    rng = np.random.default_rng((20261130, number, 1))
    if rng.random() < 0.3:
        tree["run"]["client_metrics"] = True
    if rng.random() < 0.15:
        metric = ("mean_task_acc", "a/val_loss", "min_task_acc")[int(rng.integers(3))]
        mode = "min" if metric.endswith("loss") else "max"
        tree["run"]["early_stop"] = {"metric": metric, "mode": mode, "patience": 1}
    if rng.random() < 0.06:
        period = {"period": 6.0} if rng.random() < 0.7 else {}
        tree["clients"]["availability"] = {"file": str(TRACE), **period}
    return tree
