"""The laws of an algorithm, tried in a few rounds of the runtime's own loop."""

from __future__ import annotations

import dataclasses
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fairopt.errors import InvalidInput
from fairopt.user_objects import said
from fl_runtime.algorithms import ALGORITHM, Algorithm
from fl_runtime.algorithms.exchange import traffic
from fl_runtime.algorithms.hooks import ignored_hooks
from fl_runtime.conformance.broken import Broken, Law, other_dice, tried
from fl_runtime.conformance.stage import Noted, played
from fl_runtime.conformance.trees import differences, plain, tensors
from fl_runtime.execution.sequential import SequentialExecutor
from fl_runtime.execution.stacked import StackedExecutor
from fl_runtime.extensions import resolve
from fl_runtime.running.build import Parts
from fl_runtime.running.checkpoint import load_checkpoint, save_checkpoint
from fl_runtime.simulation.sync_policies import NextArrival
from fl_runtime.training.job import Job, Update
from fl_runtime.validation_errors import record_from_table

ROUNDING = 1e-4
"""Share by which sums in another order, or another executor, may differ in float32."""

TRAINED_ROUNDS = 4
COUNTED_ROUNDS = 150

STANDARD_ERRORS = 5.0
"""That a frequency may be off: one in a million by chance."""


def check_algorithm(
    algorithm: str | type[Any], settings: Mapping[str, Any] | None = None
) -> list[Broken]:
    """The laws that an algorithm breaks.

    It is played for a few rounds on a small federation with ragged shards, clients that may not
    train everything, absences and losses; then its functions are called again, alone.

    Laws: it is a frozen record; what it overrides is called; it runs with losses and absences, and
    stays finite; dispatching and aggregating are pure (nothing that they are given changes, and no
    hidden memory or global generator plays a part); only clients that agreed and are there get
    jobs, which clients understand; in rounds the order of answers matters up to rounding only;
    nothing changes without answers; a state goes through a checkpoint unchanged; both executors
    agree; `inclusion` is right in frequency, `exchange` names what travels, `own_figures` all
    figures, `answers_once` and `may_refuse` what happens.

    Args:
        algorithm: A class, the name of a built-in one, or ``package.module:object``.
        settings: Its hyper-parameters.

    Returns:
        What is broken, each law once; nothing if all laws hold.

    Raises:
        InvalidInput: There is no such algorithm, or it refuses these settings.

    Example:
        >>> check_algorithm("fed-avg", {"tasks_per_client": "one"})
        []
    """
    made = _made(algorithm, dict(settings or {}))
    frozen = tried(
        {
            "is a frozen record": partial(_is_frozen, made),
            "what it overrides is called": lambda: map(str, ignored_hooks(type(made))),
        }
    )
    try:
        with other_dice(0):
            parts, noted = played(made, TRAINED_ROUNDS)
    except Exception as error:  # noqa: BLE001 - whatever the algorithm does
        unknown = isinstance(error, InvalidInput) and error.argument.startswith("job config")
        law = "jobs that clients understand" if unknown else "runs with losses and absences"
        return [*frozen, Broken(law, said(error))]
    return [*frozen, *tried(_laws(parts, noted))]


def _made(algorithm: str | type[Any], settings: dict[str, Any]) -> Any:
    """The record."""
    if isinstance(algorithm, str):
        return resolve(ALGORITHM, algorithm, key="algorithm", fields=settings)
    if not dataclasses.is_dataclass(algorithm):
        return algorithm(**settings)
    return record_from_table("algorithm", algorithm, settings)


def _laws(parts: Parts, noted: Noted) -> dict[str, Law]:
    """All laws about how it plays."""
    algorithm: Algorithm = noted.algorithm
    return {
        "stays finite": lambda: _not_finite(noted),
        "dispatch is pure": lambda: _impure_dispatch(noted),
        "aggregation is pure": lambda: _impure_aggregation(noted),
        "only clients that agreed and are there": lambda: _uninvited(noted),
        "answers in any order, up to rounding": lambda: _order(parts, noted),
        "nothing changes without answers": lambda: _without_answers(noted),
        "the same after a checkpoint": lambda: _after_checkpoint(noted),
        "both executors agree": lambda: _executors(parts, noted),
        "inclusion is right in frequency": lambda: _inclusion(algorithm),
        "exchange names what travels": lambda: _exchange(noted),
        "own figures are announced": lambda: _figures(parts, noted),
        "answers once where it says so": lambda: _answers(noted),
        "refuses only where it says so": lambda: _refusals(noted),
    }


def _is_frozen(algorithm: object) -> Iterator[str]:
    """Nobody can change a record in passing."""
    kind = type(algorithm)
    if not dataclasses.is_dataclass(algorithm) or not kind.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        yield f"{kind.__name__} is no frozen dataclass"


def _not_finite(noted: Noted) -> Iterator[str]:
    """Models are numbers."""
    for _, _, after in noted.aggregations:
        for task, model in after.models.items():
            if not all(bool(value.isfinite().all()) for value in tensors(plain(model))):
                yield f"the model of {task} after round {after.server_round}"


def _impure_dispatch(noted: Noted) -> Iterator[str]:
    """The same state dispatches the same jobs, whatever happened in between."""
    for state, federation, now, jobs in noted.dispatches:
        before, sent = plain(state.tree()), plain(jobs)
        again: list[Any] = []
        for seed in (1, 2):
            with other_dice(seed):
                after, others = noted.algorithm.dispatch(state, federation, now)
            again.append([plain(after.tree()), plain(others)])
        yield from _at(state, "changes its state at ", differences(before, plain(state.tree())))
        yield from _at(state, "sends other jobs: ", differences(sent, again[0][1]))
        yield from _at(state, "is another at every call: ", differences(again[0], again[1]))


def _impure_aggregation(noted: Noted) -> Iterator[str]:
    """The same updates lead to the same state, and stay what they are."""
    for state, updates, after in noted.aggregations:
        before, given = plain(state.tree()), plain(list(updates))
        again: list[Any] = []
        for seed in (1, 2):
            with other_dice(seed):
                again.append(plain(noted.algorithm.aggregate(state, list(updates)).tree()))
        yield from _at(state, "changes its state at ", differences(before, plain(state.tree())))
        yield from _at(state, "changes updates: ", differences(given, plain(list(updates))))
        yield from _at(state, "is another at every call: ", differences(again[0], again[1]))
        yield from _at(state, "is another later on: ", differences(plain(after.tree()), again[0]))


def _uninvited(noted: Noted) -> Iterator[str]:
    """Jobs are of tasks that a client agreed to, and it can be asked."""
    for state, federation, _, jobs in noted.dispatches:
        names = [task.name for task in federation.tasks]
        for job in jobs:
            mine = federation.eligible[job.client]
            agreed = mine[names.index(job.task)] if job.task in names else mine.any()
            if not agreed or not federation.reachable[job.client]:
                why = "is away" if agreed else "did not agree"
                yield from _at(state, f"client {job.client}, which {why}, has ", [job.task])


def _order(parts: Parts, noted: Noted) -> Iterator[str]:
    """In rounds answers come together; the order in which they are listed is nobody's choice."""
    if isinstance(noted.algorithm.sync_policy(parts.federation), NextArrival):
        return
    for state, updates, after in noted.aggregations:
        turned = noted.algorithm.aggregate(state, list(updates)[::-1])
        found = differences(plain(after.models), plain(turned.models), ROUNDING)
        yield from _at(state, "another model in reverse order: ", found)


def _without_answers(noted: Noted) -> Iterator[str]:
    """A server that waited in vain counts a round, and its models stay what they are."""
    for state in (*(before for before, _, _ in noted.aggregations), noted.aggregations[-1][2]):
        after = noted.algorithm.aggregate(state, [])
        yield from _at(state, "moves ", differences(plain(state.models), plain(after.models)))
        if after.server_round != state.server_round + 1:
            yield from _at(state, "counts ", [f"{after.server_round - state.server_round} rounds"])


def _after_checkpoint(noted: Noted) -> Iterator[str]:
    """What a state is made of is all in its tree."""
    pairs = zip(noted.aggregations, noted.dispatches, strict=False)
    for (before, updates, after), (state, federation, now, jobs) in pairs:
        again = noted.algorithm.aggregate(_reread(before), list(updates))
        found = differences(plain(after.tree()), plain(again.tree()))
        yield from _at(before, "aggregates to other ", found)
        _, others = noted.algorithm.dispatch(_reread(state), federation, now)
        yield from _at(state, "sends other jobs: ", differences(plain(jobs), plain(others)))


def _reread(state: Any) -> Any:
    """The state, written to a file and read again."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "state.safetensors")
        save_checkpoint(path, {"state": state.tree()})
        return type(state).from_tree(load_checkpoint(path)["state"])


def _executors(parts: Parts, noted: Noted) -> Iterator[str]:
    """Training one by one and as a stack, both from the same jobs."""
    tasks = (*parts.federation.tasks, *parts.federation.companions)
    made = SequentialExecutor(tasks), StackedExecutor(tasks)
    for before, federation, now, _ in noted.dispatches[:2]:
        state, jobs = noted.algorithm.dispatch(before, federation, now)
        one, other = (_polled(executor, jobs) for executor in made)
        deltas = [plain([update.delta for update in some]) for some in (one, other)]
        yield from _at(state, "updates differ: ", differences(deltas[0], deltas[1], ROUNDING))
        models = [plain(noted.algorithm.aggregate(state, some).models) for some in (one, other)]
        yield from _at(state, "models differ: ", differences(models[0], models[1], ROUNDING))


def _polled(executor: Any, jobs: Sequence[Job]) -> list[Update]:
    """The updates of these jobs, as the loop hands them on."""
    executor.submit(jobs)
    pairs = zip(executor.poll(), jobs, strict=True)
    return [dataclasses.replace(update, payload=job.payload) for update, job in pairs]


def _inclusion(algorithm: Algorithm) -> Iterator[str]:
    """Answers that were expected against those that came, over many rounds without training."""
    parts, noted = played(algorithm, COUNTED_ROUNDS, train=False)
    known = [chance for chance in noted.expected if chance is not None]
    if len(known) < len(noted.expected):
        return
    names = [task.name for task in parts.federation.tasks]
    kinds = 1 + max(len(noted.algorithm.companions(parts.federation.tasks, 0)) // len(names), 0)
    sent = np.zeros(parts.federation.eligible.shape)
    for _, _, _, jobs in noted.dispatches:
        seen = Counter((job.client, job.task.partition(".")[0]) for job in jobs)
        both = {job.task for job in jobs} - set(names) and {job.task for job in jobs} & set(names)
        for (client, task), count in seen.items():
            sent[client, names.index(task)] += count / (kinds if both else 1)
    expected = np.array(known)
    if expected.shape[1:] != sent.shape or bool((expected < 0.0).any()):
        yield f"of shape {expected.shape[1:]}, or negative"
        return
    answered = sent * parts.federation.answer_chance
    wanted = expected.sum(axis=0)
    off = np.abs(answered - wanted) / np.sqrt(wanted + 1.0)
    if off.max() > STANDARD_ERRORS:
        who, what = divmod(int(off.argmax()), len(names))
        yield (
            f"client {who}, task {names[what]}: {wanted[who, what]:.1f} answers expected, "
            f"{answered[who, what]:.1f} asked for"
        )
    if abs(answered.sum() - wanted.sum()) > STANDARD_ERRORS * (wanted.sum() + 1.0) ** 0.5:
        yield f"{wanted.sum():.1f} answers expected in all, {answered.sum():.1f} asked for"


def _exchange(noted: Noted) -> Iterator[str]:
    """What is declared to travel is in the updates, and what is sent once is the same."""
    for _, updates, after in noted.aggregations:
        traffic(updates, partial(noted.algorithm.exchange, after))
        for update in updates:
            what = noted.algorithm.exchange(after, update.task)
            absent = set(what.entries) - set(after.models[update.task])
            yield from _at(after, f"{update.task} exchanges unknown ", sorted(absent))
        yield from _at(after, "declared to be sent once, but unlike: ", _unlike(noted, after))


def _unlike(noted: Noted, after: Any) -> Iterator[str]:
    """Entries that a client is said to be sent once, but that differ between its jobs."""
    for _, _, _, jobs in noted.dispatches:
        first: dict[tuple[int, str], Any] = {}
        for job in jobs:
            for key in noted.algorithm.exchange(after, job.task).once_down:
                if key in job.payload:
                    value = first.setdefault((job.client, key), job.payload[key])
                    yield from (key for _ in differences(plain(value), plain(job.payload[key])))


def _figures(parts: Parts, noted: Noted) -> Iterator[str]:
    """Columns of the history are known before it is written."""
    known = set(noted.algorithm.own_figures([task.name for task in parts.federation.tasks]))
    for state, _, after in noted.aggregations:
        for found in (after, noted.algorithm.aggregate(state, [])):
            yield from _at(found, "not announced: ", sorted(set(found.figures) - known))


def _answers(noted: Noted) -> Iterator[str]:
    """A client has one job at a time where it answers once."""
    if not noted.algorithm.answers_once:
        return
    for state, _, _, jobs in noted.dispatches:
        for client, count in Counter(job.client for job in jobs).items():
            if count > 1:
                yield from _at(state, f"client {client} has ", [f"{count} jobs"])


def _refusals(noted: Noted) -> Iterator[str]:
    """Who may not refuse accepts everything."""
    for state, update in () if noted.algorithm.may_refuse else noted.refused:
        yield from _at(state, "refuses ", [f"client {update.client}, {update.task}"])


def _at(state: Any, what: str, found: Any) -> Iterator[str]:
    """The first of what was found, with its round."""
    for one in found:
        yield f"round {state.server_round}: {what}{one}"
        return
