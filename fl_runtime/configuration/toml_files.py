"""From a TOML file and overrides to checked records, and back to a file.

All of it works on plain nested dictionaries with snake_case keys until the very end, when pydantic
checks types and ranges and a validation error becomes one line with the key as the file spells it.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import BaseModel, ValidationError

from fairopt.choices import choose, suggestion
from fairopt.errors import InvalidInput
from fairopt.user_objects import loaded
from fl_runtime.algorithms import ALGORITHM, ALGORITHMS
from fl_runtime.configuration.schema import (
    LONGEST_LABEL,
    ArmSection,
    ClaimSection,
    ClientsSection,
    Config,
    EarlyStopTable,
    RecruitmentSection,
    RunSection,
    ServerSection,
    SpeedChangeTable,
    SpeedsTable,
    TaskSection,
)
from fl_runtime.extensions import taken_apart
from fl_runtime.shipped_experiments import experiments, file_of
from fl_runtime.validation_errors import first_validation_error, kebab

Tree = dict[str, Any]

ARM_MAY_CHANGE = ("algorithm.", "recruitment.", "clients.", "server.", "run.algorithm")
"""Keys an arm may override; seeds, rounds and data are common, or arms could not be compared."""

ARM_MAY_CHANGE_OF_A_TASK = (
    "optimizer",
    "learning_rate",
    "momentum",
    "nesterov",
    "weight_decay",
    "persist_optimizer",
    "schedule",
    "clip_gradient",
    "loss",
)
"""Keys of `task.NAME` that it may override: how a task is trained, not what it is."""

ALL_TASKS = "task.*."
"""The beginning of a key that is set in every task."""

VERBATIM = ("versions", "inputs", "executor")
"""Tables whose keys are names of other things and stay as they are."""

LISTS = ("task", "arm", "claim")
"""Arrays of tables."""

OF_NO_HISTORY = (
    "title",
    "checkpoint_every",
    "callbacks",
    "keep_models",
    "extended_from",
    "shard_cache",
    "workers",
)
"""Keys of ``[run]`` that no history depends on."""

YOUNG_SWITCHES = ("stop_at_targets", "client_metrics")
"""Switches of ``[run]`` that early histories did not know, and which they had off."""

YOUNG_OF_CLIENTS = ("task_sets", "sampling", "min_examples", "speed_changes")
"""The same of ``[clients]``."""

YOUNG_OF_A_TASK = (
    "schedule",
    "clip_gradient",
    "initial",
    "initial_partial",
    "split",
    "trainable",
    "weight_by",
    "trainer",
)
"""Keys of a task that early histories did not know, and which count where they are set."""

YOUNG_OF_THE_SERVER = ("aggregation",)
"""The same of ``[server]``."""

YOUNG_OF_RECRUITMENT = ("unit", "capacity", "weights")
"""The same of ``[recruitment]``."""

YOUNG_SCORES = ("loss", "metrics", "range", "reference", "reference_score", "target")
"""The same, but set to zero counts as well."""

_SECTIONS: Mapping[str, type[BaseModel]] = {
    "run": RunSection,
    "task": TaskSection,
    "claim": ClaimSection,
    "clients": ClientsSection,
    "recruitment": RecruitmentSection,
    "server": ServerSection,
}


def read_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read and check a configuration file.

    Args:
        path: A TOML file, or the name of a shipped experiment, such as `demo`.
        overrides: ``key=value`` with a dotted path or a leaf name that occurs once; the value is
            read as TOML, and as plain text where that fails.

    Raises:
        InvalidInput: The file is missing or is not TOML, or any key or value is wrong.
    """
    tree = snake_keys(read_toml(file_of(Path(path))))
    for override in overrides:
        set_key(tree, *_parse_override(override))
    return check_config(tree)


def read_toml(path: Path) -> Tree:
    """The file's tables as nested dictionaries."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        near = suggestion(str(path), experiments())
        requirement = f"a readable file ({error.strerror}){near}"
        raise InvalidInput("CONFIG", str(path), requirement) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput("CONFIG", str(path), f"a TOML file ({error})") from error


def check_config(tree: Tree) -> Config:
    """Records from nested dictionaries.

    Raises:
        InvalidInput: With the dotted key, its value, and what it must be.

    Example:
        >>> check_config({"run": {"algorithm": "random", "rounds": 3}})
        Traceback (most recent call last):
        ...
        fairopt.errors.InvalidInput: run.rounds = 3, but it must be a known key of [run]...
    """
    plain = snake_keys(tree)
    try:
        return Config.model_validate(_with_algorithm(plain))
    except ValidationError as error:
        raise _by_name(first_validation_error(error, _known_keys), plain) from None


def _by_name(error: InvalidInput, tree: Tree) -> InvalidInput:
    """The same error with a task or an arm by its name, where it has one of its own."""

    def named(found: re.Match[str]) -> str:
        table, index = found[1], int(found[2])
        entries = tree.get(table, ())
        names = [entry.get("name") for entry in entries if isinstance(entry, dict)]
        name = names[index] if index < len(names) == len(entries) else None
        if not isinstance(name, str) or not name.strip() or names.count(name) > 1:
            return found[0]
        return f"task.{name}" if table == "task" else f'arm "{name}"'

    argument = re.sub(r"^(task|arm)\.(\d+)(?=\.)(?!\.name$)", named, error.argument)
    requirement = re.sub(r"(?<=\[)(task|arm)\.(\d+)(?=[].])", named, error.requirement)
    return InvalidInput(argument, error.value, requirement)


def _with_algorithm(tree: Tree) -> Tree:
    """The tree in which the fields of ``run.algorithm`` stand in ``[algorithm]``."""
    run = tree.get("run")
    if not isinstance(run, dict) or not isinstance(run.get("algorithm"), dict):
        return tree
    name, fields = taken_apart(run["algorithm"], ALGORITHM.key)
    if fields and tree.get("algorithm"):
        raise InvalidInput(ALGORITHM.key, run["algorithm"], "a name beside a table [algorithm]")
    algorithm = {"algorithm": fields} if fields else {}
    return {**tree, "run": {**run, "algorithm": name}, **algorithm}


def arm_configs(config: Config) -> dict[str, Config]:
    """One complete configuration per arm, in order.

    The configuration as it stands is an arm too: an arm without overrides gives it a name and a
    place; where there is none it comes first, under the name of its algorithm. An arm that changes
    ``run.algorithm`` starts from that algorithm's defaults, since the common hyper-parameters
    belong to another one.

    Raises:
        InvalidInput: Two arms have one name, or an arm overrides a key it may not or that is wrong.
    """
    arms = list(config.arm)
    if all(arm.overrides for arm in arms):
        arms.insert(0, ArmSection(name=_short(config.run.algorithm)))
    names = [arm.name for arm in arms]
    if len(set(names)) < len(names):
        raise InvalidInput("arm", names, "arms with different names")
    _check_names(config, arms, dict.fromkeys(names))
    return {arm.name: _arm_config(config, arm.name, arm.overrides) for arm in arms}


def base_arm(config: Config) -> str:
    """Name of the arm that is the configuration as it stands.

    Example:
        >>> from fl_runtime.configuration.toml_files import read_config
        >>> base_arm(read_config("demo"))
        'fair'
    """
    named = (arm.name for arm in config.arm if not arm.overrides)
    return next(named, _short(config.run.algorithm))


def _short(algorithm: str) -> str:
    """The name of an algorithm as that of an arm; of a long path the object alone."""
    return algorithm if len(algorithm) <= LONGEST_LABEL else algorithm.rpartition(":")[2]


def _check_names(config: Config, arms: Sequence[ArmSection], names: Mapping[str, object]) -> None:
    """Arms and claims name arms that exist."""
    for arm in arms:
        for other in arm.versus:
            if other == arm.name:
                raise InvalidInput(f'arm "{arm.name}".versus', other, "another arm")
            choose(f'arm "{arm.name}".versus', other, names)
    for index, claim in enumerate(config.claim):
        choose(f"claim.{index}.arm", claim.arm, names)
        if claim.versus is not None:
            choose(f"claim.{index}.versus", claim.versus, names)
        if claim.alone is not None:
            choose(f"claim.{index}.alone", claim.alone, names)


def set_key(tree: Tree, key: str, value: Any) -> None:
    """Set a dotted key, or a leaf name that occurs exactly once; `task.*` stands for all tasks.

    Raises:
        InvalidInput: The leaf is not found or not unique, or the path leads through a value.

    Example:
        >>> tree = {"run": {"seeds": [0]}, "algorithm": {"alpha": 1.0}}
        >>> set_key(tree, "alpha", 3.0)
        >>> tree["algorithm"]
        {'alpha': 3.0}
    """
    if key.startswith(ALL_TASKS):
        for index in range(len(tree.get("task", ()))):
            set_key(tree, f"task.{index}.{key.removeprefix(ALL_TASKS)}", value)
        return
    parts = [part.replace("-", "_") for part in key.split(".")]
    if len(parts) == 1:
        parts = _unique_leaf(tree, parts[0])
    node: Any = tree
    for part in parts[:-1]:
        node = node.setdefault(part, {}) if isinstance(node, dict) else _item(node, part, key)
    if not isinstance(node, dict):
        raise InvalidInput("--set", key, "a path to a key of a table")
    node[parts[-1]] = value


def dump_toml(config: Config) -> str:
    """The configuration as TOML in the spelling of files, without empty values."""
    tree = config.model_dump(by_alias=True, exclude_none=True)
    tree["arm"] = [_arm_table(arm) for arm in config.arm]
    return tomli_w.dumps(_kebab_tree({key: value for key, value in tree.items() if value}))


def digest(config: Config) -> str:
    """A fingerprint of everything that decides the history, but for versions."""
    tree = history_tree(config)
    return hashlib.sha256(json.dumps(tree, sort_keys=True, default=str).encode()).hexdigest()


def history_tree(config: Config) -> Tree:
    """Everything that decides the history, but for versions.

    A switch or key that is younger than the first fingerprints counts when it is set. A run that
    was extended has the fingerprint of the configuration that it began with.
    """
    off = {switch for switch in YOUNG_SWITCHES if not getattr(config.run, switch)}
    off |= {"evaluate_every"} if config.run.evaluate_every == 1 else set()
    off |= {"clients_per_stack"} if config.run.clients_per_stack is None else set()
    run = {*OF_NO_HISTORY, *off}
    clients = {key for key in YOUNG_OF_CLIENTS if not getattr(config.clients, key)}
    server: Any = {key for key in YOUNG_OF_THE_SERVER if not getattr(config.server, key, None)}
    young = {"server": server if config.server else True}
    money = {key for key in YOUNG_OF_RECRUITMENT if getattr(config.recruitment, key) is None}
    unset = {
        index: {key for key in YOUNG_OF_A_TASK if not getattr(task, key)}
        for index, task in enumerate(config.task)
    }
    tree = config.model_dump(
        exclude={
            "versions": True,
            "claim": True,
            "run": run,
            "clients": clients,
            "recruitment": money,
            "task": unset,
            **young,
        }
    )
    if config.run.extended_from:
        tree["run"]["num_server_rounds"] = config.run.extended_from[0]
    tree["task"] = [
        {key: value for key, value in task.items() if value is not None or key not in YOUNG_SCORES}
        for task in tree["task"]
    ]
    return tree


def snake_keys(tree: Any) -> Any:
    """The same nested value with snake_case keys; dotted keys of arms keep their dots.

    Raises:
        InvalidInput: A table holds one key in both spellings.

    Example:
        >>> snake_keys({"run": {"num-server-rounds": 3}})
        {'run': {'num_server_rounds': 3}}
    """
    if isinstance(tree, list):
        return [snake_keys(item) for item in tree]
    if not isinstance(tree, dict):
        return tree
    renamed = {
        key.replace("-", "_"): value if key in VERBATIM else snake_keys(value)
        for key, value in tree.items()
    }
    if len(renamed) < len(tree):
        raise InvalidInput("CONFIG", sorted(tree), "a table with every key in one spelling only")
    return renamed


def _kebab_tree(tree: Any) -> Any:
    """The same nested value with kebab-case keys."""
    if isinstance(tree, Mapping):
        return {
            kebab(key): value if key in VERBATIM else _kebab_tree(value)
            for key, value in tree.items()
        }
    return [_kebab_tree(item) for item in tree] if isinstance(tree, list | tuple) else tree


def _arm_table(arm: ArmSection) -> Tree:
    """An arm in the spelling of files."""
    versus = {"versus": list(arm.versus)} if arm.versus else {}
    return {"name": arm.name, **versus, **_kebab_tree(arm.overrides)}


def _arm_config(config: Config, name: str, overrides: Mapping[str, Any]) -> Config:
    """The base configuration with one arm's overrides applied."""
    young = set() if config.server else {"server"}
    tree = config.model_dump(exclude={"arm", "claim", "versions", *young})
    if overrides.get("run.algorithm", config.run.algorithm) != config.run.algorithm:
        tree["algorithm"] = {}
    try:
        for key, value in overrides.items():
            if not _may_change(key):
                raise InvalidInput(kebab(key), value, _changeable(key))
            _set_in_arm(tree, key, copy.deepcopy(value))
        return check_config(tree)
    except InvalidInput as error:
        raise of_arm(name, error) from None


def _set_in_arm(tree: Tree, key: str, value: Any) -> None:
    """Set an arm's key, by which errors are named."""
    try:
        set_key(tree, key, value)
    except InvalidInput as error:
        raise InvalidInput(kebab(key), value, error.requirement) from None


def _may_change(key: str) -> bool:
    """Whether a key may differ between arms."""
    table, _, leaf = key.rpartition(".")
    of_a_task = table.startswith("task.") and leaf.replace("-", "_") in ARM_MAY_CHANGE_OF_A_TASK
    return of_a_task or key.startswith(ARM_MAY_CHANGE)


def _changeable(key: str) -> str:
    """The keys that may differ between arms, in words, and the one that may be meant."""
    if key.replace("-", "_") in ARM_MAY_CHANGE_OF_A_TASK:
        return f"a dotted path: {ALL_TASKS}{kebab(key)} in all tasks, or task.NAME.{kebab(key)}"
    names = list(map(kebab, ARM_MAY_CHANGE_OF_A_TASK))
    near = suggestion(kebab(key).rpartition(".")[2], names) if key.startswith("task.") else ""
    tables = ", ".join(ARM_MAY_CHANGE)
    return f"a key an arm may change{near}: {tables}, or {', '.join(names)} of task.NAME"


def of_arm(name: str, error: InvalidInput) -> InvalidInput:
    """The same error with the name of the arm it is about."""
    argument = f'arm "{name}", {error.argument}'
    return InvalidInput(argument, error.value, error.requirement)


def _parse_override(text: str) -> tuple[str, Any]:
    """``key=value`` taken apart; the value as TOML if it is TOML."""
    key, separator, value = text.partition("=")
    if not separator or not key.strip():
        raise InvalidInput("--set", text, "key=value")
    try:
        return key.strip(), snake_keys(tomllib.loads(f"value = {value}")["value"])
    except tomllib.TOMLDecodeError:
        return key.strip(), value.strip()


def _unique_leaf(tree: Tree, leaf: str) -> list[str]:
    """The path of the only key of that name, among keys present and keys of the sections."""
    paths = sorted(set(_leaf_paths(tree)) | set(_field_paths(tree)))
    found = [path for path in paths if path[-1] == leaf]
    of_a_task = leaf in TaskSection.model_fields and all(path[0] != "task" for path in found)
    if len(found) == 1 and not of_a_task:
        return list(found[0])
    if len(found) > 1:
        where = ", ".join(_spelled(path, tree) for path in found)
        raise InvalidInput("--set", kebab(leaf), f"a dotted path, since it occurs as {where}")
    if of_a_task:
        example = _spelled(("task", "0", leaf), tree)
        requirement = f"a dotted path such as {example}, or {ALL_TASKS}{kebab(leaf)} for all tasks"
        raise InvalidInput("--set", kebab(leaf), requirement)
    near = suggestion(kebab(leaf), {kebab(path[-1]) for path in paths})
    raise InvalidInput("--set", kebab(leaf), f"a known key{near}")


def _spelled(path: Sequence[str], tree: Tree) -> str:
    """A path as files spell it, with a task by its name."""
    plain = kebab(".".join(path))
    return _by_name(InvalidInput(plain, None, ""), tree).argument


def _leaf_paths(tree: Any, prefix: tuple[str, ...] = ()) -> Iterable[tuple[str, ...]]:
    """Paths of all values that are not tables."""
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(tree, dict):
        items = tree.items()
    elif isinstance(tree, list) and prefix == ("task",):
        items = enumerate(tree)
    for key, value in items:
        if isinstance(value, dict) or (prefix == () and key == "task"):
            yield from _leaf_paths(value, (*prefix, str(key)))
        elif not (prefix == () and key in LISTS):
            yield (*prefix, str(key))


def _field_paths(tree: Tree) -> Iterable[tuple[str, ...]]:
    """Paths of every key that a file may hold once."""
    for section, kind in _SECTIONS.items():
        if section not in LISTS:
            yield from ((section, leaf) for leaf in kind.model_fields)
    chosen = tree.get("run", {}).get("algorithm")
    own = [loaded(ALGORITHM.key, chosen)] if isinstance(chosen, str) and ":" in chosen else []
    for record in (*ALGORITHMS.values(), *filter(dataclasses.is_dataclass, own)):
        yield from (("algorithm", field.name) for field in dataclasses.fields(record))


def _item(node: Any, part: str, key: str) -> Any:
    """An entry of an array of tables, by index or by its name."""
    entries = node if isinstance(node, list | tuple) else []
    for index, entry in enumerate(entries):
        if part in (str(index), _name_of(entry)):
            return entry
    names = [str(entry["name"]) for entry in entries if _name_of(entry)]
    near = suggestion(part, names) or suggestion(kebab(part), names)
    listing = f" among {', '.join(names)}{near}" if names else ""
    raise InvalidInput("--set", key, f"a path that exists: there is no {kebab(part)}{listing}")


def _name_of(entry: Any) -> str:
    """The name of a table in snake_case, as keys of paths are; empty without one."""
    return str(entry.get("name", "")).replace("-", "_") if isinstance(entry, dict) else ""


def _known_keys(path: Sequence[str]) -> list[str]:
    """Keys of the file's top level, or of the table a path leads into."""
    if not path:
        return list(Config.model_fields)
    nested: Mapping[tuple[str, ...], type[BaseModel]] = {
        ("run", "early-stop"): EarlyStopTable,
        ("clients", "speeds"): SpeedsTable,
        ("clients", "speed-changes"): SpeedChangeTable,
    }
    kind = nested.get(tuple(map(kebab, path)), _SECTIONS[path[0]])
    return list(kind.model_fields)
