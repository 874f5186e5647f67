"""Before a run writes anything: everything is built and tried once."""

from __future__ import annotations

import logging
import math
import random
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
import torch

from fairopt.choices import suggestion
from fairopt.errors import InvalidInput, Unshown
from fairopt.user_objects import said
from fl_runtime.algorithms.fed_ast import FedAST
from fl_runtime.algorithms.fed_async import FedAsync
from fl_runtime.algorithms.fed_buff import FedBuff
from fl_runtime.algorithms.fed_ram import FedRAM
from fl_runtime.configuration.schema import Config
from fl_runtime.configuration.toml_files import arm_configs, of_arm
from fl_runtime.execution.pool import PoolExecutor, WorkerPool
from fl_runtime.history import EVERYONE
from fl_runtime.metrics.round_metrics import (
    COST_TO_TARGETS,
    DELTA_M,
    MEAN_RANK,
    MEAN_TASK_CHANGE,
    NO_FIGURES,
    PERCENT_WORSE,
    TIME_TO_TARGETS,
    column_among,
)
from fl_runtime.metrics.run_figures import run_figure_names
from fl_runtime.random_streams import stream, torch_seed
from fl_runtime.running.build import Assembler, Parts, assemble
from fl_runtime.running.history_rows import round_columns
from fl_runtime.running.stopping import check_early_stop
from fl_runtime.simulation.sync_policies import NextArrival
from fl_runtime.training.examples import Shards
from fl_runtime.training.local_training import Client, train_locally
from fl_runtime.training.measuring import is_whole
from fl_runtime.training.task import Task
from fl_runtime.training.task_from_data import initially
from fl_runtime.training.trainers import called, check_options, train_by

_log = logging.getLogger(__name__)

LONGEST_JOB = 1e200
"""Mean duration, so that times stay finite however many jobs follow each other."""

MOST_ROUNDS = 1e7
"""Of a run that ends by virtual time alone; more is a typing error in the delays or the limit."""


def check_all_arms(config: Config, assembled: Assembler = assemble) -> None:
    """Build every arm once, so that what is wrong is found before anything is written.

    Warnings say where the order of answers in an asynchronous arm is nothing but drawn, where a run
    ends before the models that are reported are trained, and where arms are compared by rounds that
    are unlike.

    Args:
        config: A resolved configuration.
        assembled: Makes the parts of an arm and seed.

    Raises:
        InvalidInput: Parts do not fit, a model cannot train on a client's batch or gives no finite
            loss, the time limit is out of proportion to the delays, or a claim is about what is no
            figure.
    """
    check_early_stop(config)
    _check_claims(config)
    with WorkerPool(config.run.workers, config.run.device) as pool:
        _check_arms(config, assembled, pool)


def _check_arms(config: Config, assembled: Assembler, pool: WorkerPool) -> None:
    """Build every arm, and try its parts."""
    seed, arms = config.run.seeds[0], arm_configs(config)
    rounds: dict[str, str | None] = {}
    for name, arm in arms.items():
        try:
            parts = assembled(arm, seed, pool)
            if name == next(iter(arms)):
                _say_what_is_missing(parts)
            _check_time_limit(arm, parts)
            _check_targets(parts)
            _check_client_metrics(parts)
            _check_dispatch(parts, seed)
            _check_claimed(config, name, parts)
            _warn_of_ties(name, parts)
            _warn_of_first_stages(name, arm, parts)
            rounds[name] = _own_rounds(parts, seed)
            for task in (*parts.federation.tasks, *parts.federation.companions):
                check_trains(task, config.run.workers)
            if isinstance(parts.executor, PoolExecutor):
                parts.executor.check()
        except InvalidInput as error:
            raise (of_arm(name, error) if config.arm else error) from None
    if config.run.num_server_rounds is not None and config.run.time_limit is None:
        _warn_of_unlike_rounds(config, rounds)


def _own_rounds(parts: Parts, seed: int) -> str | None:
    """What a round of an asynchronous algorithm is; None for one whose rounds are of all jobs."""
    algorithm, federation = parts.algorithm, parts.federation
    if not isinstance(algorithm.sync_policy(federation), NextArrival):
        return None
    if isinstance(algorithm, FedAST):
        requests = algorithm.init(federation, seed).requests.values()
        return _of_answers(map(algorithm.capacity, requests))
    if isinstance(algorithm, FedBuff):
        sizes = algorithm.buffer_size
        return _of_answers(sizes if isinstance(sizes, tuple) else (sizes,))
    return _of_answers((1,)) if isinstance(algorithm, FedAsync) else "one aggregation"


def _of_answers(sizes: Iterable[int]) -> str:
    """An aggregation of so many answers.

    Example:
        >>> _of_answers((1, 1)), _of_answers((2, 5))
        ('one aggregation of 1 answer', 'one aggregation of 2 to 5 answers')
    """
    found = sorted(sizes)
    least, most = found[0], found[-1]
    several = f"{least} to {most}" if least < most else f"{most}"
    return f"one aggregation of {several} answer{'s' if most > 1 else ''}"


def _warn_of_unlike_rounds(config: Config, rounds: Mapping[str, str | None]) -> None:
    """An arm that aggregates at answers does other work in a round than one that waits for all."""
    names = list(rounds)
    versus = {arm.name: arm.versus for arm in config.arm}
    for name in names:
        for other in versus.get(name) or names[:1]:
            mine, theirs = rounds[name], rounds[other]
            if (mine is None) != (theirs is None):
                quick, slow = (name, other) if theirs is None else (other, name)
                warnings.warn(
                    f'a round of arm "{quick}" is {mine or theirs}, one of "{slow}" is of all its '
                    "jobs: as many rounds are unlike work (compare by time-limit in place of "
                    "num-server-rounds)",
                    stacklevel=4,
                )


def _check_claims(config: Config) -> None:
    """A claim is about one number per seed."""
    arms = arm_configs(config)
    for index, claim in enumerate(config.claim):
        where, metric = f"claim.{index}.metric", claim.metric
        if metric in NO_FIGURES:
            raise InvalidInput(where, metric, "a figure of the history: a number")
        towards = metric == TIME_TO_TARGETS or metric in COST_TO_TARGETS
        if metric in COST_TO_TARGETS and not config.run.client_metrics:
            raise InvalidInput(where, metric, "used with client-metrics = true")
        if towards and all(t.goal is None for t in config.task):
            raise InvalidInput(where, metric, "used with a target of some task")
        rules = (arms[name].recruitment.rule for name in (claim.arm, claim.versus) if name)
        if metric == DELTA_M and any(t.reference is None for t in config.task):
            raise InvalidInput(where, metric, "used with a reference of every task")
        if metric == "budget" and EVERYONE in rules:
            requirement = f"used for arms that have one, not those with rule = {EVERYONE}"
            raise InvalidInput(where, metric, requirement)


def _check_claimed(config: Config, name: str, parts: Parts) -> None:
    """An arm has the figures that claims about it are about."""
    figures = [*round_columns(parts), *run_figure_names([t.name for t in parts.federation.tasks])]
    of_all = (
        TIME_TO_TARGETS,
        *COST_TO_TARGETS,
        MEAN_TASK_CHANGE,
        DELTA_M,
        PERCENT_WORSE,
        MEAN_RANK,
    )
    known = dict.fromkeys([*figures, *of_all])
    for index, claim in enumerate(config.claim):
        found = column_among(claim.metric, known)
        if name in (claim.arm, claim.versus) and found not in known:
            near = suggestion(claim.metric, known)
            requirement = f'a figure of arm "{name}"{near}'
            raise InvalidInput(f"claim.{index}.metric", claim.metric, requirement)


def _check_time_limit(config: Config, parts: Parts) -> None:
    """Times must be numbers to the end, and a run by virtual time must be able to get there."""
    longest = parts.timing.longest
    if not longest < LONGEST_JOB:
        raise InvalidInput("clients.delay", longest, f"a mean duration below {LONGEST_JOB:g}")
    limit, mean = config.run.time_limit, parts.timing.mean
    if limit is not None and config.run.num_server_rounds is None and limit / mean > MOST_ROUNDS:
        requirement = f"at most {MOST_ROUNDS:g} times the mean delay {mean:g}"
        raise InvalidInput("run.time-limit", limit, requirement)


def _warn_of_ties(arm: str, parts: Parts) -> None:
    """Constant delays and equal speeds: everything an asynchronous server waits for ends at once.

    Times that differ between tasks leave the answers of one task together.
    """
    if parts.wall is not None:
        return
    asynchronous = isinstance(parts.algorithm.sync_policy(parts.federation), NextArrival)
    lengths = parts.timing.delay.draw(stream(0, "probe"), 8)  # any law may be of no spread
    together = bool((lengths == lengths[0]).all()) and parts.timing.equal_speeds
    jobs = getattr(parts.algorithm, "concurrency", None) or parts.federation.num_clients
    if asynchronous and together and jobs != 1:
        warnings.warn(
            f'arm "{arm}" is asynchronous, but delays are constant and clients equally fast: '
            "their jobs end at the same moments, in an order that is drawn (set clients.delay)",
            stacklevel=3,
        )


def _warn_of_first_stages(name: str, arm: Config, parts: Parts) -> None:
    """A run may be over before `fed-ram` comes to the models that are reported."""
    algorithm, rounds = parts.algorithm, arm.run.num_server_rounds
    if not isinstance(algorithm, FedRAM) or rounds is None:
        return
    before, keys = algorithm.reference_rounds, "reference-rounds"
    if algorithm.agent:
        before, keys = before + algorithm.proxy_rounds, f"{keys} + proxy-rounds"
    if rounds <= before:
        warnings.warn(
            f'arm "{name}" trains no model that is reported: run.num-server-rounds = {rounds}, of '
            f"which the first {before} ({keys}) come before it (set at least {before + 1})",
            stacklevel=3,
        )


def _say_what_is_missing(parts: Parts) -> None:
    """Float targets that are NaN count nothing, whether that is meant or not."""
    for task in parts.federation.tasks:
        if isinstance(task.shards, Shards) and task.validation.targets.is_floating_point():
            sets = (task.shards.whole, task.validation, task.test)
            everything = sum(each.targets.numel() for each in sets)
            gone = everything - sum(each.num_targets for each in sets)
            if gone:
                said_ = "%d of %d targets of task %s are missing (NaN) and count nothing"
                _log.warning(said_, gone, everything, task.name)


def _check_targets(parts: Parts) -> None:
    """A task can only be finished alone if it has a model of its own."""
    if parts.targets and parts.algorithm.shares_parts:
        requirement = "false where tasks share a trunk: it would change under a finished task"
        raise InvalidInput("run.stop-at-targets", True, requirement)


def _check_client_metrics(parts: Parts) -> None:
    """The figures about clients need scores by statistics."""
    for task in parts.federation.tasks if parts.client_metrics else ():
        score, metric = next(iter(task.metrics.items()))
        if is_whole(metric):
            requirement = (
                f"false where a score needs all outputs at once, as {score} of {task.name}"
            )
            raise InvalidInput("run.client-metrics", True, requirement)


def _check_dispatch(parts: Parts, seed: int) -> None:
    """The algorithm takes the models; a trainer of the user's own does what its jobs ask for."""
    state = parts.algorithm.init(parts.federation, seed)
    _, jobs = parts.algorithm.dispatch(state, parts.federation, 0.0)
    later = getattr(parts.algorithm, "asks_later", ())
    for task in (*parts.federation.tasks, *parts.federation.companions):
        if task.trainer is not None:
            check_options(task, jobs, later)


def _unseeded_states() -> tuple[object, str]:
    """States of the generators that everybody has and no job's seed sets."""
    return random.getstate(), repr(np.random.get_state(legacy=True))  # noqa: NPY002


def _of_trainer(task: Task, error: Exception) -> InvalidInput:
    """What a trainer of the user's own did wrong, with its place."""
    if isinstance(error, InvalidInput):
        return error
    requirement = f"one that trains a client ({said(error)})"
    return InvalidInput(f"task.{task.name}.trainer", called(task.trainer), requirement)


def check_trains(task: Task, workers: int = 1) -> None:
    """Train once on the shard with the smallest batch, and look at the initial validation loss.

    With several workers, training may draw numbers only from generators that a job's seed sets.

    Raises:
        InvalidInput: The model cannot be trained, draws other numbers, or gives no finite figures.
    """
    size = task.training.batch_size
    sizes = task.sizes
    least = min(range(len(sizes)), key=lambda k: sizes[k] % size or min(sizes[k], size))
    shard = task.validation.at(slice(size)) if task.is_remote else task.shards[least]
    settings = replace(task.training, local_epochs=1)
    client = Client(shard, torch_seed(0, "probe"))
    before = _unseeded_states()
    try:
        with torch.random.fork_rng():
            start = task.complete(task.initial)
            if task.trainer is None:
                train_locally(task.model, start, client, settings, task.loss)
            else:
                train_by(task.trainer, task, start, client, task.training)
    except Exception as error:  # whatever the user's model does in training
        if task.trainer is not None:
            raise _of_trainer(task, error) from error
        reason = f"a model that trains on {len(shard)} examples ({error})"
        raise InvalidInput(f"task {task.name} model", Unshown.ITSELF, reason) from error
    if workers > 1 and before != _unseeded_states():
        requirement = f"1: training task {task.name} draws from random or numpy.random"
        raise InvalidInput("run.workers", workers, requirement)
    seen = initially(task, task.validation)
    if any(map(is_whole, task.metrics.values())):
        initially(task, task.test)
    if not math.isfinite(seen.loss):
        raise InvalidInput(f"task {task.name} initial loss", seen.loss, "finite")
    if not math.isfinite(seen.score):
        raise InvalidInput(f"task {task.name} initial {seen.metric}", seen.score, "finite")
    for name, figure in seen.figures.items():
        if math.isnan(figure):
            _log.warning("task %s: %s is not a number for the initial model", task.name, name)
