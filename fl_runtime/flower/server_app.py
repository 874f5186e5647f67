"""The ServerApp: a run of a configuration, or the rest of one that was stopped.

Its run configuration (``flwr run --run-config``) has `config`, the path of the experiment; `out`,
the folder of the run, which is taken up if there is one already; `gather`, the seconds in which all
clients have to be at nodes; `deadline`, the seconds until an answer is given up (0: by the answers
so far); and `largest`, the bytes of a message.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fairopt.errors import InvalidInput
from fl_runtime import runs
from fl_runtime.configuration.schema import Config
from fl_runtime.configuration.toml_files import arm_configs, digest, read_config
from fl_runtime.flower.federation import GATHERING, Federated, Limits
from fl_runtime.flower.messages import LARGEST
from fl_runtime.flower.wall_clock import Deadline
from fl_runtime.running.experiment import resolved
from fl_runtime.running.one_run import Event
from fl_runtime.running.run_folder import CONFIG, RunFolder
from fl_runtime.validation_errors import first_validation_error, kebab

_log = logging.getLogger(__name__)

app = ServerApp()


class Settings(BaseModel):
    """What a run configuration may say.

    Attributes:
        config: Path of the experiment.
        out: Folder of the run.
        gather: Seconds in which all clients have to be at nodes.
        deadline: Seconds until an answer is given up; 0 for three times the median so far.
        largest: Bytes of a message.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=kebab)

    config: str = Field(min_length=1)
    out: str = Field(min_length=1)
    gather: float = Field(GATHERING, gt=0.0)
    deadline: float = Field(0.0, ge=0.0)
    largest: int = Field(LARGEST, gt=0)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Settings:
        """The record of a run configuration.

        Raises:
            InvalidInput: A key or a value is wrong.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise first_validation_error(error, lambda _: list(cls.model_fields)) from None

    @property
    def limits(self) -> Limits:
        """What the federation waits for and takes."""
        fixed = partial(Deadline, times=0.0, first=self.deadline, least=self.deadline)
        return Limits(self.gather, fixed if self.deadline else Deadline, self.largest)


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run, or go on; what stops a run is said in one line, and it can be gone on with."""
    _speak()
    try:
        _train(grid, Settings.of(context.run_config))
    except InvalidInput as error:
        _log.error("stopped: %s", error)


def _train(grid: Grid, settings: Settings) -> None:
    """Run, or go on."""
    out = Path(settings.out)
    if (out / CONFIG).exists():
        config = RunFolder(out).config()
        _log.info("the run at %s is taken up", out)
        runs.resume(out, on_event=_say, assembled=_federated(grid, config, settings))
        return
    config = resolved(read_config(settings.config))
    runs.run(config, on_event=_say, out=out, assembled=_federated(grid, config, settings))


def _speak() -> None:
    """Show what the runtime says, of this process the run's log; Flower's HTTP client is quiet."""
    said = logging.getLogger("fl_runtime")
    said.setLevel(logging.INFO)
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(message)s"))
    said.addHandler(handler)


def _federated(grid: Grid, config: Config, settings: Settings) -> Federated:
    """What makes the parts of every arm."""
    arms = {digest(arm): name for name, arm in arm_configs(config).items()}
    return Federated(grid, arms, settings.limits)


def _say(event: Event) -> None:
    """A line for what somebody who watches wants to know."""
    row = event.row
    if event.kind == "round":
        _log.info("round %d after %.1f s", row["server_round"], row["virtual_time"])
    if event.kind == "incident":
        _log.warning("client %d, task %s: %s", row["client"], row["task"], row["reason"])
