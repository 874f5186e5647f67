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

import tomli_w
from rich.markup import escape
from rich.table import Table

from fairopt.errors import InvalidInput
from fl_runtime.configuration.schema import ArmSection, Config
from fl_runtime.configuration.toml_files import base_arm
from fl_runtime.run_commands import AtWork, begin_or_resume, begin_run
from fl_runtime.running.experiment import resolved
from fl_runtime.running.preflight import check_all_arms
from fl_runtime.running.run_folder import RunFolder
from fl_runtime.running.tuning import Choice, Tuning, choice, covered, trials, tuned_arms
from fl_runtime.validation_errors import kebab

AT_THE_END = "at the end of the grid: try beyond it"
"""Of a value that is the first or last of several."""


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
            label = f"{tuning.key.rpartition('.')[2]} {value}"
            if fresh:
                begin_run(trial, place, workers, fresh=True, quiet=True, label=label)
            else:
                remedy = "give --fresh"
                begin_or_resume(trial, place, workers, quiet=True, remedy=remedy, label=label)
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
    """What to write into the file, as TOML: what it is for, and what to look at first, in comments.

    Arms that change something are whole tables, to be put in the place of those they are in the
    file. The arm that is the file as it stands gets its value in the tables of the file: an
    override would make it one arm more, and leave the file as it stands untuned.
    """
    given = {arm.name: arm for arm in config.arm}
    base = base_arm(config)
    for one in found:
        arm = given.get(one.arm, ArmSection(name=one.arm))
        yield ""
        if one.chosen is None:
            yield f"# {json.dumps(one.arm)}: no value without a run that failed"
        elif one.arm == base:
            yield from _of_base(one, config, tuning)
        else:
            yield f"# in place of the [[arm]] {json.dumps(one.arm)} of the file:"
            yield from _table(arm, one, tuning)


def _table(arm: ArmSection, one: Choice, tuning: Tuning) -> Iterator[str]:
    """An arm with its value, after all else that it has."""
    yield "[[arm]]"
    yield f"name = {inline(arm.name)}"
    if arm.versus:
        yield f"versus = {inline(list(arm.versus))}"
    replaced = covered(arm.overrides, tuning.key)
    for key, value in arm.overrides.items():
        if key not in replaced:
            yield f"{json.dumps(kebab(key))} = {inline(value)}"
    others = [key for key in map(kebab, replaced) if key != tuning.key]
    notes = [f"in place of {', '.join(others)}"] if others else []
    notes += [AT_THE_END] if one.at_the_end else []
    note = f"  # {'; '.join(notes)}" if notes else ""
    yield f"{json.dumps(kebab(tuning.key))} = {inline(one.chosen)}{note}"


def _of_base(one: Choice, config: Config, tuning: Tuning) -> Iterator[str]:
    """Where the value of the file as it stands belongs."""
    table, _, leaf = kebab(tuning.key).rpartition(".")
    where = f"[{table}]"
    if table.startswith("task."):
        name = table.removeprefix("task.")
        where = "every [[task]]" if name == "*" else f"the [[task]] {name}"
    yield f"# {json.dumps(one.arm)} is the file as it stands; in {where} of the file:"
    yield f"# {leaf} = {inline(one.chosen)}" + (f"  # {AT_THE_END}" if one.at_the_end else "")
    yield "# (an [[arm]] with this value would be one arm more, beside the file as it stands)"
    tuned = tuned_arms(config, tuning)
    untuned = [
        name
        for name, arm in ((arm.name, arm) for arm in config.arm)
        if name not in tuned and not covered(arm.overrides, tuning.key)
    ]
    if untuned:
        yield f"# it then holds for the arms that are not tuned, too: {', '.join(untuned)}"


def inline(value: Any) -> str:
    """A value as TOML in one line.

    Example:
        >>> inline({"model": "exponential", "mean": 2.0}), inline(["a", 1, True])
        ('{ model = "exponential", mean = 2.0 }', '["a", 1, true]')
    """
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(key)} = {inline(it)}" for key, it in value.items()) + " }"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(inline, value))}]"
    return tomli_w.dumps({"it": value}).strip().removeprefix("it = ")


def _key(key: str) -> str:
    """A key of a table, in quotes where it needs them."""
    plain = kebab(key)
    return plain if re.fullmatch(r"[A-Za-z0-9_-]+", plain) else json.dumps(plain)


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
