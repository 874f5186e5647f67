"""Where one run stands between two rounds, and the same as a tree for a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch

from fl_runtime.algorithms.base import ServerState
from fl_runtime.running.checkpoint import to_device
from fl_runtime.running.stopping import Patience
from fl_runtime.simulation.clock import Flight, Flights
from fl_runtime.training.job import Job, Update


@dataclass(frozen=True)
class Moment:
    """Everything that decides how a run goes on.

    Attributes:
        state: The algorithm's own state, with models and buffers.
        now: Virtual time.
        waves: Dispatches so far.
        sent: Jobs so far.
        flights: Jobs in flight, with the results that have been computed ahead.
        patience: What early stopping remembers.
        finished: Tasks that have reached their targets, in a run that stops at them.
    """

    state: ServerState
    now: float = 0.0
    waves: int = 0
    sent: int = 0
    flights: Flights = ()
    patience: Patience = Patience()  # noqa: RUF009
    finished: tuple[str, ...] = ()

    def tree(self) -> dict[str, Any]:
        """Plain values and tensors; a tensor that several jobs share stays one object."""
        return {
            "state": self.state.tree(),
            "now": self.now,
            "waves": self.waves,
            "sent": self.sent,
            "flights": [_flight_tree(flight) for flight in self.flights],
            "patience": _plain(self.patience),
            "finished": list(self.finished),
        }

    @classmethod
    def from_tree(
        cls, tree: Mapping[str, Any], kind: type[ServerState], device: torch.device
    ) -> Moment:
        """The moment that `tree` described.

        Args:
            tree: What a checkpoint holds.
            kind: The algorithm's kind of state.
            device: Where tensors go.
        """
        tree = to_device(tree, device)
        return cls(
            state=kind.from_tree(tree["state"]),
            now=tree["now"],
            waves=tree["waves"],
            sent=tree["sent"],
            flights=tuple(_flight(each) for each in tree["flights"]),
            patience=Patience(**tree["patience"]),
            finished=tuple(tree.get("finished", ())),
        )


def _flight_tree(flight: Flight) -> dict[str, Any]:
    """A job in flight as plain values."""
    update = None if flight.update is None else _plain(flight.update)
    return {**_plain(flight), "job": _plain(flight.job), "update": update}


def _flight(tree: Mapping[str, Any]) -> Flight:
    """The job in flight that a tree describes."""
    update = None if tree["update"] is None else Update(**tree["update"])
    return Flight(**{**tree, "job": Job(**tree["job"]), "update": update})


def _plain(record: Any) -> dict[str, Any]:
    """The fields of a record, one level deep."""
    return {each.name: getattr(record, each.name) for each in fields(record)}
