r"""FedHCA2: clients with different tasks learn from each other's encoders and decoders.

A model is an encoder (`shared_layers`), a decoder (the layers between it and the last), and a head
(the last layer). A client has one encoder, with one hyper weight, for all its tasks and a decoder
and head per task; heads and the state of optimisers never leave it. In a round every active client
trains; then the server

1. moves the hyper weights by what clients did with what they were sent (`Descent.gradient`);
2. *encoders*: adds to client i's encoder its own update and :math:`\alpha_i` times the
   conflict-averse direction of all (`shared_direction`);
3. *decoders*: adds to decoder k its own update and, layer by layer, :math:`\beta_{l,k}` times the
   mixture that its attention makes of all decoders' updates (`cross_attention`).

Nothing pulls models together: the shared parts come on top of the own update. With c = 0 and
identical updates an encoder moves :math:`1 + \alpha` times its update.

**Clients alike.** Released code replaces the own update of an encoder by the mean over clients with
the same tasks, if they stand side by side in its list; here their order does not matter (`alike`).
With one kind of client and hyper weights of zero, encoders are then FedAvg's, and with `alike =
"own"` every client trains alone.

**Clients that are not active** keep model and weights; their weights next move by what they were
last sent.

Source: FedHCA2 (arXiv 2311.13250) and its released code, whose order and number of clients are
restricted; partial participation, `project`, `normalise` and `scale-free` attention are ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

import numpy as np

from fairopt import InvalidInput
from fl_runtime.algorithms.aggregation import add, scaled, weighted_sum
from fl_runtime.algorithms.base import ServerState
from fl_runtime.algorithms.exchange import Exchange, everything
from fl_runtime.algorithms.fed_hca2_aggregation import (
    Attention,
    Mixed,
    Rescale,
    attention_figures,
    cross_attention,
    pair_figures,
    pair_name,
    shared_direction,
)
from fl_runtime.algorithms.fed_hca2_weights import (
    WEIGHTS,
    Descent,
    HyperState,
    clamp,
    joined,
    layers_of,
    of_clients,
    owner_of,
    weight_figures,
)
from fl_runtime.algorithms.personal import Local, PersonalState
from fl_runtime.algorithms.shared_trunk import trunk_entries
from fl_runtime.training.federation import Federation
from fl_runtime.training.job import Update
from fl_runtime.training.task import Params


@dataclass(frozen=True, kw_only=True)
class FedHCA2(Local):
    """Hyper conflict-averse and cross attention aggregation.

    Attributes:
        share_trunk: Always true here: a client has one encoder.
        encoder: `conflict-averse`, or `own` to leave encoders alone, those of clients alike too.
        decoder: `cross-attention`, or `own` to leave decoders alone.
        c: Radius of the conflict-averse direction, in [0, 1).
        rescale: Divide it by 1 + c^2 (`1+c2`, released) or not (`none`, the equation).
        attention: `released`, or `scale-free`.
        temperature: Factor of the attention's temperature, > 0.
        alike: Whether clients with the same tasks `share` their encoders' own updates.
        initial_weight: Of all hyper weights, in [0, 1].
        rate: Step length of the hyper weights; 0 keeps them fixed.
        momentum: Of their descent.
        decay: L2 penalty of their descent.
        project: Bring them back into [0, 1] after every step.
        normalise: Move them by cosines instead of inner products.
        decoder_layers: Layers that make up the decoder; all between the encoder and the last if
            empty. With names, models may differ in what is named neither here nor in
            `shared_layers`: clients of several architectures exchange what these have in common.
        attention_layers: Layers of the decoder whose attention between pairs of tasks goes into
            the history (`pair_figures`).
    """

    share_trunk: bool = True
    encoder: Literal["conflict-averse", "own"] = "conflict-averse"
    decoder: Literal["cross-attention", "own"] = "cross-attention"
    c: float = 0.4
    rescale: Rescale = "1+c2"
    attention: Attention = "released"
    temperature: float = 1.0
    alike: Literal["share", "own"] = "share"
    initial_weight: float = 0.1
    rate: float = 0.01
    momentum: float = 0.9
    decay: float = 1e-4
    project: bool = False
    normalise: bool = False
    decoder_layers: tuple[str, ...] = ()
    attention_layers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        checks: tuple[tuple[str, float | bool, bool, str], ...] = (
            ("share_trunk", self.share_trunk, self.share_trunk, "true"),
            ("c", self.c, 0.0 <= self.c < 1.0, "in [0, 1)"),
            ("temperature", self.temperature, 0.0 < self.temperature < np.inf, "finite and > 0"),
            ("initial_weight", self.initial_weight, 0.0 <= self.initial_weight <= 1.0, "in [0, 1]"),
            ("rate", self.rate, 0.0 <= self.rate < np.inf, "finite and >= 0"),
            ("momentum", self.momentum, 0.0 <= self.momentum < 1.0, "in [0, 1)"),
            ("decay", self.decay, 0.0 <= self.decay < np.inf, "finite and >= 0"),
        )
        for name, value, fine, requirement in checks:
            if not fine:
                raise InvalidInput(name, value, requirement)

    def own_figures(self, tasks: Sequence[str]) -> tuple[str, ...]:
        """Attention, hyper weights, and what came of the decisions about encoders."""
        weights = (f"{end}{kind}" for kind in WEIGHTS for end in ("", "min_", "max_"))
        counts = ("num-dead-weights", "num-undecided")
        pairs = (pair_name(*key) for key in product(self.attention_layers, tasks, tasks))
        return ("attention_entropy", "attention_own", *weights, *counts, *pairs)

    def init(self, federation: Federation, seed: int) -> HyperState:
        """Initial models; the weights begin when they are first used.

        Raises:
            InvalidInput: There is no decoder, or decoders differ, or a layer whose attention is
                asked for is none of theirs.
        """
        state = super().init(federation, seed)
        layers = () if self.decoder == "own" else tuple(self._decoder_layers(state.models))
        for layer in self.attention_layers:
            if layer not in layers:
                requirement = f"a layer of the decoder: {', '.join(layers) or 'none'}"
                raise InvalidInput("algorithm.attention-layers", layer, requirement)
        return HyperState.from_tree(state.tree())

    def exchange(self, state: ServerState, task: str) -> Exchange:
        """The encoder once per client, decoders; nothing of what is left alone, and no head."""
        encoder = () if self.encoder == "own" else trunk_entries(state.models, self.shared_layers)
        layers = {} if self.decoder == "own" else self._decoder_layers(state.models)
        decoder = [key for keys in layers.values() for key in keys]
        return everything((*encoder, *decoder), encoder, together=True)

    def moved(self, state: PersonalState, updates: Sequence[Update]) -> HyperState:
        """The state with models and weights after these updates."""
        assert isinstance(state, HyperState)
        pieces = self._pieces(state, updates)
        hyper = {**state.hyper, **self._learnt(state, pieces)}
        directions, figures = self._directions(pieces)
        shares = {name: scaled(clamp(hyper[name][0]), d) for name, d in directions.items()}
        mine = of_clients(shares)
        steps = {
            (task, client): add(step, joined(mine.get(client, {}), task, client))
            for (task, client), step in self._own_steps(updates).items()
        }
        return replace(
            self.stepped(state, steps),
            hyper=hyper,
            sent={**state.sent, **directions},
            figures={**figures, **weight_figures(hyper)},
        )

    def _pieces(self, state: HyperState, updates: Sequence[Update]) -> dict[str, Params]:
        """The updates by the name of the weight that concerns them."""
        encoder = trunk_entries(state.models, self.shared_layers)
        layers = {} if self.decoder == "own" else self._decoder_layers(state.models)
        found: dict[str, Params] = {}
        for u in updates:
            if self.encoder != "own":
                found[str(u.client)] = {key: u.delta[key] for key in encoder}
            for layer, keys in layers.items():
                found[f"{u.client} {layer} {u.task}"] = {key: u.delta[key] for key in keys}
        return found

    def _decoder_layers(self, models: Mapping[str, Params]) -> Mapping[str, tuple[str, ...]]:
        """Entries of the decoder, by layer."""
        encoder = set(trunk_entries(models, self.shared_layers))
        between = trunk_entries(models, self.decoder_layers)
        if self.decoder_layers and (both := encoder & set(between)):
            requirement = f"without entries of the encoder, {sorted(both)}"
            raise InvalidInput("algorithm.decoder-layers", list(self.decoder_layers), requirement)
        found = layers_of([key for key in between if key not in encoder])
        if not found:
            requirement = "layers of the encoder, with others between them and the last"
            raise InvalidInput("algorithm.shared-layers", list(self.shared_layers), requirement)
        return found

    def _learnt(self, state: HyperState, pieces: Mapping[str, Params]) -> dict[str, list[float]]:
        """Weights of what was trained, moved where the client had been sent something."""
        rule = Descent(self.rate, self.momentum, self.decay, self.project, self.normalise)
        moved: dict[str, list[float]] = {}
        for name, delta in pieces.items():
            weight, velocity = state.hyper.get(name, (self.initial_weight, 0.0))
            if name in state.sent and self.rate:
                slope = rule.gradient(weight, delta, state.sent[name])
                weight, velocity = rule.step(weight, velocity, slope)
            moved[name] = [weight, velocity]
        return moved

    def _directions(
        self, pieces: Mapping[str, Params]
    ) -> tuple[dict[str, Params], dict[str, float]]:
        """What every weight multiplies, and figures about it."""
        groups: dict[str, list[str]] = {}
        for name in pieces:
            groups.setdefault(owner_of(name)[1], []).append(name)
        found: dict[str, Params] = {}
        mixtures: list[Mixed] = []
        figures: dict[str, float] = {}
        for layer, names in groups.items():
            deltas = [pieces[name] for name in names]
            if layer:
                mixtures.append(cross_attention(deltas, self.attention, self.temperature))
                found |= zip(names, mixtures[-1].deltas, strict=True)
                if layer in self.attention_layers:
                    tasks = [owner_of(name)[2] for name in names]
                    figures |= pair_figures(layer, tasks, mixtures[-1].weights)
            else:
                direction, how = shared_direction(deltas, self.c, self.rescale)
                found |= dict.fromkeys(names, direction)
                figures["num-undecided"] = int(how != "decided")
        return found, {**figures, **attention_figures(mixtures)}

    def _own_steps(self, updates: Sequence[Update]) -> dict[tuple[str, int], Params]:
        """What every client's models move by themselves."""
        steps: dict[tuple[str, int], Params] = {(u.task, u.client): u.delta for u in updates}
        if "own" in (self.alike, self.encoder):
            return steps
        encoder = trunk_entries({u.task: u.delta for u in updates}, self.shared_layers)
        trained: dict[int, tuple[str, ...]] = {}
        for task, client in steps:
            trained[client] = (*trained.get(client, ()), task)
        for tasks in dict.fromkeys(trained.values()):
            group = [client for client, mine in trained.items() if mine == tasks]
            own = [{key: steps[tasks[0], client][key] for key in encoder} for client in group]
            common = weighted_sum(own, [1.0 / len(group)] * len(group))
            steps |= {
                (t, client): {**steps[t, client], **common} for t in tasks for client in group
            }
        return steps
