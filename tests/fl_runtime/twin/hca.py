"""FedHCA2: shares of a conflict-averse direction for encoders, of attention for decoders."""

from __future__ import annotations

from typing import Any

import numpy as np

from fairopt import conflict_averse
from fairopt.arrays import GRAM_ERROR
from tests.fl_runtime.twin import nets
from tests.fl_runtime.twin.data import Array
from tests.fl_runtime.twin.nets import Model
from tests.fl_runtime.twin.personal import Local
from tests.fl_runtime.twin.world import Sent, World

Name = tuple[int, str, int]
"""Client, layer and task of a hyper weight; no layer and task -1 for an encoder."""


class FedHCA2(Local):
    """Own update, plus a learnt share of what the others learnt."""

    always_shares = True

    def __init__(self, world: World) -> None:
        super().__init__(world)
        model, o = world.problems[0].initial, world.options
        self.encoder = o.get("encoder", "conflict-averse") != "own"
        self.layers: dict[str, list[str]] = {}
        if o.get("decoder", "cross-attention") != "own":
            names = [key.rpartition(".")[0] for key in self.trunk]
            between = [n for n in nets.layers(model)[:-1] if n not in names]
            self.layers = {n: [f"{n}.weight", f"{n}.bias"] for n in between}
        self.hyper: dict[Name, tuple[float, float]] = {}
        self.before: dict[Name, Model] = {}

    def take(self, jobs: list[Sent]) -> None:
        """Hyper weights first, then encoders and decoders."""
        self.keep(jobs)
        if not jobs:
            return
        pieces = self.pieces(jobs)
        for name, delta in pieces.items():
            self.learn(name, delta)
        directions: dict[Name, Model] = {}
        figures: dict[str, float] = {}
        if self.encoder:
            mine = [name for name in pieces if not name[1]]
            common, undecided = self.conflict_averse([pieces[name] for name in mine])
            directions |= dict.fromkeys(mine, common)
            figures["num-undecided"] = int(undecided)
        seen = []
        for layer in self.layers:
            mine = [name for name in pieces if name[1] == layer]
            mixed, entropy, own = self.attend([pieces[name] for name in mine])
            directions |= dict(zip(mine, mixed, strict=True))
            seen.append((entropy, own))
        if seen:
            figures["attention_entropy"], figures["attention_own"] = np.mean(seen, axis=0)
        steps = self.own_updates(jobs)
        for name, direction in directions.items():
            share = min(max(self.hyper[name][0], 0.0), 1.0)
            for (task, client), step in steps.items():
                if client == name[0] and name[2] in (-1, task):
                    steps[task, client] = nets.plus(step, direction, share)
        self.step_own(steps)
        self.before |= directions
        self.world.figures = {**figures, **self.figures()}

    def pieces(self, jobs: list[Sent]) -> dict[Name, Model]:
        """Updates of encoders and of layers of decoders."""
        found: dict[Name, Model] = {}
        for job in jobs:
            if self.encoder:
                found[job.client, "", -1] = nets.part(job.answer.delta, self.trunk)
            for layer, keys in self.layers.items():
                found[job.client, layer, job.task] = nets.part(job.answer.delta, keys)
        return found

    def learn(self, name: Name, delta: Model) -> None:
        """A weight goes up where the client went on as it was sent."""
        o = self.world.options
        weight, speed = self.hyper.get(name, (o.get("initial_weight", 0.1), 0.0))
        rate = o.get("rate", 0.01)
        if name in self.before and rate:
            sent, slope = self.before[name], 0.0
            if 0.0 <= weight <= 1.0:
                slope = -nets.dot(delta, sent)
                if o.get("normalise", False) and slope:
                    slope /= (nets.dot(delta, delta) * nets.dot(sent, sent)) ** 0.5
            speed = o.get("momentum", 0.9) * speed + slope + o.get("decay", 1e-4) * weight
            weight -= rate * speed
            if o.get("project", False):
                weight = min(max(weight, 0.0), 1.0)
        self.hyper[name] = weight, speed

    def conflict_averse(self, deltas: list[Model]) -> tuple[Model, bool]:
        """Best worst progress in a ball around the mean; the mean where that is undecided."""
        o, N = self.world.options, len(deltas)
        gram = np.array([[nets.dot(a, b) for b in deltas] for a in deltas])
        c = o.get("c", 0.4)
        found = conflict_averse(gram, c, gram_error=GRAM_ERROR)
        if not found.ok:
            return nets.total(deltas, [1.0 / N] * N), True
        divisor = 1.0 + c * c if o.get("rescale", "1+c2") == "1+c2" else 1.0
        return nets.total(deltas, [w / divisor for w in found.weights]), False

    def attend(self, deltas: list[Model]) -> tuple[list[Model], float, float]:
        """softmax(X X' / T) X, tensor by tensor; the entropy of its weights, and the own one."""
        o, K = self.world.options, len(deltas)
        mixed: list[Model] = [{} for _ in deltas]
        entropies, owns = [], []
        for key in deltas[0]:
            X = np.array([delta[key].ravel() for delta in deltas])
            T = np.sqrt(X.shape[1])
            if o.get("attention", "released") == "scale-free":
                T = (X**2).sum() / K
            A = _softmax(X @ X.T / (T * o.get("temperature", 1.0) or 1.0))
            for k in range(K):
                mixed[k][key] = (A[k] @ X).reshape(deltas[k][key].shape)
            logs = np.log(np.where(A > 0.0, A, 1.0))
            entropies.append(-(A * logs).sum(axis=1).mean() / np.log(K) if K > 1 else 1.0)
            owns.append(np.diag(A).mean())
        return mixed, float(np.mean(entropies)), float(np.mean(owns))

    def own_updates(self, jobs: list[Sent]) -> dict[tuple[int, int], Model]:
        """Own updates; encoders of clients with the same tasks take the mean of theirs."""
        steps = {(job.task, job.client): dict(job.answer.delta) for job in jobs}
        if self.world.options.get("alike", "share") == "own" or not self.encoder:
            return steps
        kinds: dict[frozenset[int], list[int]] = {}
        for client in dict.fromkeys(job.client for job in jobs):
            kinds.setdefault(frozenset(t for t, k in steps if k == client), []).append(client)
        for tasks, clients in kinds.items():
            own = [nets.part(steps[min(tasks), k], self.trunk) for k in clients]
            mean = nets.total(own, [1.0 / len(own)] * len(own))
            for t in tasks:
                for k in clients:
                    steps[t, k] |= mean
        return steps

    def figures(self) -> dict[str, float]:
        """Means and ranges of the weights that are used."""
        found: dict[str, float] = {}
        for kind, decoder in (("encoder_weight", False), ("decoder_weight", True)):
            mine = [np.clip(w, 0, 1) for n, (w, _) in self.hyper.items() if bool(n[1]) == decoder]
            if mine:
                found[kind], found[f"min_{kind}"] = float(np.mean(mine)), float(min(mine))
                found[f"max_{kind}"] = float(max(mine))
        found["num-dead-weights"] = sum(not 0.0 <= w <= 1.0 for w, _ in self.hyper.values())
        return found


def _softmax(Z: Array) -> Any:
    """Row by row."""
    E = np.exp(Z - Z.max(axis=1, keepdims=True))
    return E / E.sum(axis=1, keepdims=True)
