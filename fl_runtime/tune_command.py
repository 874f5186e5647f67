"""What `tune` does: the trial of every arm, a table of what came of it, and lines for the file."""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rich.markup import escape
from rich.table import Table

from fairopt.errors import InvalidInput
from fl_runtime.configuration.schema import Config
from fl_runtime.run_commands import AtWork, begin_or_resume, begin_run
from fl_runtime.running.experiment import resolved
from fl_runtime.running.preflight import check_all_arms
from fl_runtime.running.run_folder import RunFolder
from fl_runtime.running.tuning import Choice, Tuning, choice, covered, trials
from fl_runtime.validation_errors import kebab


def tuning_of(key: str, values: str, seeds: str, by: str, arms: Sequence[str]) -> Tuning:
    """What the command line asks for.

    Raises:
        InvalidInput: Values or seeds are no lists of such, or `Tuning` refuses something.

    Example:
        >>> tuning_of("algorithm.c", "0.1, 0.5", "7,8", "val_acc", ["*"]).values
        (0.1, 0.5)
    """
    numbers = _listed("--seeds", seeds)
    if not all(type(seed) is int and seed >= 0 for seed in numbers):
        raise InvalidInput("--seeds", seeds, "whole numbers with commas between, such as 100,101")
    return Tuning(key, tuple(_listed("--values", values)), tuple(numbers), by, tuple(arms))


def tune_arms(
    config: Config, tuning: Tuning, folder: Path, workers: AtWork, *, fresh: bool = False
) -> list[Choice]:
    """Run every trial to its end, each in a folder of its own, and choose.

    Raises:
        InvalidInput: `trials` refuses something, or there is a run of another trial at a place
            that is not to be replaced.
    """
    found, wanted = [], trials(config, tuning)
    for at_values in wanted.values():
        check_all_arms(resolved(next(iter(at_values.values()))))
    for arm, at_values in wanted.items():
        runs = {}
        for value, trial in at_values.items():
            place = folder / _words(arm) / _words(f"{tuning.key} {value}")
            if fresh:
                begin_run(trial, place, workers, fresh=True, quiet=True)
            else:
                begin_or_resume(trial, place, workers, quiet=True, remedy="give --fresh")
            run = RunFolder(place)
            runs[value] = run.history(run.config()), trial
        found.append(choice(arm, runs, tuning.by))
    return found


def choices_table(found: Sequence[Choice], tuning: Tuning) -> Table:
    """Arms by values: the mean over seeds, and half of the range over them."""
    caption = f"{tuning.by}, mean ± half the range over {len(tuning.seeds)} seeds; * chosen"
    table = Table("arm", *map(str, tuning.values), title=tuning.key, caption=caption)
    for one in found:
        cells = (_cell(one.figures[it], chosen=it == one.chosen) for it in tuning.values)
        table.add_row(escape(one.arm), *cells)
    return table


def chosen_lines(found: Sequence[Choice], config: Config, tuning: Tuning) -> Iterator[str]:
    """What to write into the file, and what to look at first."""
    given = {arm.name: arm.overrides for arm in config.arm}
    for one in found:
        if one.chosen is None:
            yield f"# {one.arm}: no value without a run that failed"
            continue
        replaced = map(kebab, covered(given.get(one.arm, {}), tuning.key))
        others = [key for key in replaced if key != tuning.key]
        notes = [f"in place of {', '.join(others)}"] if others else []
        notes += ["at the end of the grid: try beyond it"] if one.at_the_end else []
        note = f"  # {'; '.join(notes)}" if notes else ""
        yield f'[[arm]] {one.arm}: "{tuning.key}" = {json.dumps(one.chosen)}{note}'


def record(one: Choice) -> Mapping[str, Any]:
    """A choice as plain data; what is no number is null."""
    figures = [
        {"value": value, "figures": [it if math.isfinite(it) else None for it in numbers]}
        for value, numbers in one.figures.items()
    ]
    return {"arm": one.arm, "chosen": one.chosen, "at-the-end": one.at_the_end, "tried": figures}


def _listed(option: str, text: str) -> list[Any]:
    """The entries of a list in TOML without its brackets; words need no quotes."""
    try:
        return list(tomllib.loads(f"list = [{text}]")["list"])
    except tomllib.TOMLDecodeError:
        words = [word.strip() for word in text.split(",")]
    if not all(re.fullmatch(r"[\w.:-]+", word) for word in words):
        raise InvalidInput(option, text, "values with commas between, such as 0.01, 0.1")
    with suppress(ValueError):  # numbers that TOML does not write so, such as .1
        return [float(word) for word in words]
    return words


def _words(text: str) -> str:
    """A text as the name of a folder; different texts have different names.

    Example:
        >>> _words("task.*.learning-rate 0.1"), _words("a/b")
        ('task.%2A.learning-rate 0.1', 'a%2Fb')
    """
    return quote(text, safe=" ,+=()")


def _cell(numbers: Sequence[float], *, chosen: bool) -> str:
    """Mean and spread of one value."""
    if not all(map(math.isfinite, numbers)):
        return "failed"
    spread = (max(numbers) - min(numbers)) / 2.0
    return f"{sum(numbers) / len(numbers):.4g} ± {spread:.2g}{' *' if chosen else ''}"
