"""Row by row and model by model: how far the runtime and its twin are apart, and where."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from fl_runtime.configuration.schema import Config
from tests.fl_runtime.twin.algorithms import TWINS
from tests.fl_runtime.twin.loop import Row, Run
from tests.fl_runtime.twin.product import Ran

TOLERANCE = 1e-7
"""Both sides compute in float64; a few hundred steps of small networks lose six digits at most."""

ABSENT_MEANS_ZERO = ("num-failed", "num-discarded", "num-stale")
"""Columns that the runtime leaves out where a setting is off."""

NAMES = ("event", "arm", "seed")

NOT_HERE = ("local_acc", "bottom_decile_acc", "id_acc", "ood_acc", "macro_f1", "weighted_f1")
"""Figures of predictions, which have tests of their own."""


@dataclass
class Agreement:
    """What a comparison found.

    Attributes:
        worst: The largest relative gap.
        where: The first place where one is above the tolerance; empty if they agree.
        rows: Rounds that were compared.
        close_call: Whether rounding decided something: the class of an example, or the answer of a
            method near a Pareto stationary point. Then nobody is wrong if both differ.
    """

    worst: float = 0.0
    where: str = ""
    rows: int = 0
    close_call: bool = False

    @property
    def agrees(self) -> bool:
        """Whether all is within rounding."""
        return not self.where

    def see(self, place: str, ours: Any, theirs: Any) -> None:
        """Compare one value."""
        gap = _gap(ours, theirs)
        self.worst = max(self.worst, gap)
        if gap > TOLERANCE and not self.where:
            self.where = f"{place}: twin {ours}, runtime {theirs}"


def compared(config: Config, twins: Any = TWINS) -> Agreement:
    """Run both sides of a configuration with one arm and one seed."""
    seed = config.run.seeds[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of nobody recruited, say
        ran = Ran(config)
        twin = Run(config, seed, ran.initial, twins)
        rows = twin.run()
    found = Agreement(close_call=twin.world.close_call)
    _rows(found, rows, ran.rows)
    _models(found, twin, ran)
    return found


def _rows(found: Agreement, ours: list[Row], theirs: list[Row]) -> None:
    """All rows."""
    mine, other = _of("round", ours), _of("round", theirs)
    found.see("number of rounds", len(mine), len(other))
    found.rows = len(mine)
    for one, two in zip(mine, other, strict=False):
        place = f"round {one['server_round']}"
        for key in sorted({*one, *two} - {*NAMES, *NOT_HERE}, key=_order(one)):
            if key.endswith(("/eval_f1", "/selection_skew")) or (
                key in ABSENT_MEANS_ZERO and key not in two
            ):
                continue
            once = two.get(key.replace("num-updates", "num-clients"), "absent")
            found.see(f"{place} {key}", one.get(key, "absent"), two.get(key, once))
    incidents = [sorted(map(_incident, _of("incident", rows))) for rows in (ours, theirs)]
    found.see("incidents", *incidents)
    for event in ("stop", "account"):
        ends = _of(event, ours), _of(event, theirs)
        found.see(f"rows of event {event}", *map(len, ends))
        for one, two in zip(*ends, strict=False):
            for key in one:
                found.see(f"{event}: {key}", one[key], two.get(key, "absent"))


def _of(event: str, rows: list[Row]) -> list[Row]:
    """The rows of an event."""
    return [row for row in rows if row["event"] == event]


def _order(row: Row) -> Any:
    """Causes before effects: in the order of the twin's columns."""
    place = {key: i for i, key in enumerate(row)}
    return lambda key: place.get(key, len(place))


def _incident(row: Row) -> tuple[Any, ...]:
    """What is compared of it: all but its time, which is that of the server's next step."""
    return tuple(row[key] for key in ("server_round", "task", "client", "version"))


def _models(found: Agreement, twin: Run, ran: Ran) -> None:
    """What every client would be sent next, and the models that are reported."""
    w = twin.world
    for s, name in enumerate(w.names):
        judged, seen = twin.algorithm.judged()[s], list(ran.evaluated(s))
        found.see(f"{name}: number of models", len(judged), len(seen))
        payload = getattr(twin.algorithm, "payload", lambda s, k: w.models[w.names[s]])
        for k in np.flatnonzero(w.eligible[:, s]):
            ours, theirs = payload(s, int(k)), ran.payload(name, int(k))
            for key in theirs:
                found.see(f"model {name} of client {k}, {key}", ours[key], theirs[key])
    for p in w.beside:
        for key, value in ran.state.models[p.name].items():
            found.see(f"model {p.name}, {key}", w.models[p.name][key], value.numpy())


def _gap(ours: Any, theirs: Any) -> float:
    """Relative to one or the value; infinite where kinds differ."""
    if isinstance(ours, np.ndarray):
        size = max(1.0, float(np.abs(theirs).max()))
        gap = float(np.abs(ours - theirs).max()) / size
        return gap if np.isfinite(gap) else np.inf
    if isinstance(ours, str | list | None) or isinstance(theirs, str | list | None):
        return 0.0 if ours == theirs else np.inf
    return float(abs(ours - theirs) / max(1.0, abs(theirs)))
