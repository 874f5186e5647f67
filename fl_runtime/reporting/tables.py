"""Summaries as tables a person reads."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import compress
from typing import Any

from rich.markup import escape
from rich.table import Table

from fl_runtime.history import EVERYONE
from fl_runtime.metrics.round_metrics import CLIENT_METRICS, COST_METRICS, SCORE_NAMES
from fl_runtime.reporting.intervals import as_interval

SPECS = {"min_task_acc": ".3f", "mean_task_acc": ".3f", "var_task_acc": ".4f"}
"""Columns of the tables across tasks, with their precision."""

ARROWS = {True: "↑", False: "↓"}
"""By whether higher is better."""

HEADERS = ("minimum", "mean", "variance")

SCALED = "Scaled test scores (1 is best)"
"""What is compared across tasks that are not all scored by accuracy: 1 - error."""

EMPTY = ("-", "nan", "+nan")
"""Cells without a figure; a column of nothing else is left out."""

LONGEST_SETTING = 40
"""Characters of a value of the configuration in a line."""

LINE = 88
"""Characters of a sentence in a table, which wraps also where a pipe is very wide."""

CLIENT_HEADERS = (
    "local",
    "bottom decile",
    "tasks held",
    "not held",
    "macro F1",
    "weighted F1",
    "compute",
    "traffic",
)
"""Of `CLIENT_METRICS` and `COST_METRICS`."""


def across(summary: Mapping[str, Any]) -> dict[str, str]:
    """Columns across tasks with their precision, as this summary names them."""
    if "scores" not in summary:
        return dict(SPECS)
    return {SCORE_NAMES[name]: spec for name, spec in SPECS.items()}


def fairness_table(summary: Mapping[str, Any]) -> Table:
    """One line per arm: figures across tasks with their intervals."""
    last = summary["last"]
    several = f"mean of the last {last} rounds (of all, in shorter runs)"
    when = "last round" if last == 1 else several
    what = SCALED if "scores" in summary else "Test accuracy"
    changed = any("delta_m" in figures for figures in summary["arms"].values())
    headers = (*HEADERS, "mean rank", *(["change from references"] if changed else []))
    rows = {}
    for arm, figures in summary["arms"].items():
        cells = [format(as_interval(figures[key]), spec) for key, spec in across(summary).items()]
        cells.append(format(as_interval(figures["mean_rank"]), ".2f"))
        if changed:
            cells.append(format(as_interval(figures["delta_m"]), "+.3f"))
        rows[arm] = cells
    table = _arm_table(f"{what} across tasks", headers, rows)
    table.caption = f"{when} ± 95 % interval over seeds"
    return table


def differing_lines(summary: Mapping[str, Any]) -> Iterator[str]:
    """What every further run has otherwise than the first one."""
    for label, keys in summary.get("differing", {}).items():
        told = (
            f"{key} ({_short(first)}, here {_short(here)})" for key, (first, here) in keys.items()
        )
        yield f"{label} differs from the first run in {', '.join(told) or 'no setting'}"


def _short(value: Any) -> str:
    """A setting in a few words."""
    text = "-" if value is None else value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= LONGEST_SETTING else text[: LONGEST_SETTING - 3] + "..."


def differences_table(summary: Mapping[str, Any]) -> Table | None:
    """One line per compared pair: paired differences with their intervals; None without pairs."""
    if not summary["differences"]:
        return None
    table = Table(title="Differences, paired by seed")
    table.add_column("arm", no_wrap=True)
    table.add_column("compared with", no_wrap=True)
    for header in (*HEADERS, "per-task change"):
        table.add_column(header, justify="right", no_wrap=True)
    specs = {**across(summary), "mean_task_change": ".3f"}
    for pair in summary["differences"]:
        cells = (_change(pair[metric], spec) for metric, spec in specs.items())
        table.add_row(escape(pair["arm"]), escape(pair["versus"]), *cells)
    notes = ["* the 95 % interval excludes zero; per-task change: mean of (a - b) / b"]
    table.caption = escape("\n".join([*notes, *_unlike(summary)]))
    return table


def _unlike(summary: Mapping[str, Any]) -> Iterator[str]:
    """A line for every compared pair that did unlike work, which its stars do not know."""
    for pair in summary["differences"]:
        work = pair.get("unlike_work")
        if work:
            mine, other = (
                f"{name} {jobs:.0f} answered jobs in virtual time {time:.3g}"
                for name, jobs, time in zip(
                    (pair["arm"], pair["versus"]), work["jobs"], work["virtual_time"], strict=True
                )
            )
            yield f"unlike work: {mine}, {other}; compare by time-limit, or by as many jobs"


def tasks_table(summary: Mapping[str, Any]) -> Table:
    """One line per arm: test score of each task, accuracy if nothing else is said."""
    scores = summary.get("scores")
    what, key = ("score", "score") if scores else ("accuracy", "accuracy")
    rows = {
        arm: [format(as_interval(figures[key][task]), ".3f") for task in summary["tasks"]]
        for arm, figures in summary["arms"].items()
    }
    return _arm_table(
        f"Test {what} per task", [_of_task(summary, t) for t in summary["tasks"]], rows
    )


def clients_table(summary: Mapping[str, Any]) -> Table | None:
    """One line per arm: figures about clients, compute, traffic; None where not measured."""
    if not any("clients" in figures for figures in summary["arms"].values()):
        return None
    rows = {
        arm: client_cells(figures)
        for arm, figures in summary["arms"].items()
        if "clients" in figures
    }
    table = _arm_table("Clients, classes, compute and traffic", CLIENT_HEADERS, rows)
    table.caption = "compute: parameters x examples; traffic: numbers sent; by stage in brackets"
    return table


def client_cells(figures: Mapping[str, Any]) -> list[str]:
    """Figures about clients, compute and traffic of one arm, as text; a dash if undefined."""
    found = figures["clients"]
    names = [name if name in found else name.replace("acc", "score") for name in CLIENT_METRICS]
    seen = [as_interval(found[name]) if name in found else None for name in names]
    cells = [
        format(each, ".3f") if each is not None and math.isfinite(each.mean) else "-"
        for each in seen
    ]
    return cells + [_total(figures["work"][metric]) for metric in COST_METRICS]


def targets_table(summary: Mapping[str, Any]) -> Table | None:
    """One line per arm: median round in which a task first reaches its target; None without any."""
    targets = {
        task: entry["target"]
        for figures in summary["arms"].values()
        for task, entry in figures["rounds_to_target"].items()
    }
    if not targets:
        return None
    what = "score" if "scores" in summary else "accuracy"
    title = f"Rounds to reach the target {what} (median over seeds; seeds that did)"
    signs = {task: "≥" if _rises(summary, task) else "≤" for task in targets}
    rows = {
        arm: [_reached(figures["rounds_to_target"].get(task)) for task in targets]
        for arm, figures in summary["arms"].items()
    }
    return _arm_table(title, [f"{task} {signs[task]} {t:g}" for task, t in targets.items()], rows)


def recruitment_table(summary: Mapping[str, Any]) -> Table:
    """One line per arm: recruited clients per task, money, and clients that trained per round.

    The least of the tasks and the money are left out where no arm recruits under a budget.
    """
    title = "Recruited clients per task, and clients that trained it per round"
    rows = {}
    for arm, figures in summary["arms"].items():
        pairs = (
            f"{figures['take_up'][task]['mean']:.1f} | "
            f"{figures['clients_per_round'][task]['mean']:.1f}"
            for task in summary["tasks"]
        )
        rows[arm] = [*pairs, *_money(figures)]
    headers = (*summary["tasks"], "min", "spend", "budget", "true cost")
    table = _arm_table(title, headers, rows)
    table.caption = "means over seeds of recruits per recruitment and of clients over all rounds"
    return table


def claims_table(summary: Mapping[str, Any]) -> Table | None:
    """One line per claim of the configuration: figure, expectation, result; None without any."""
    if not summary.get("claims"):
        return None
    table = Table(title="Claims", show_lines=True)
    for header in ("claim", "figure", "measured", "expected", "result"):
        whole = header in ("measured", "expected")
        table.add_column(header, no_wrap=whole, max_width=None if whole else LINE // 2)
    for claim in summary["claims"]:
        compared = claim["arm"] + (f" - {claim['versus']}" if claim["versus"] else "")
        result = claim["verdict"] + (f": {claim['reason']}" if claim["reason"] else "")
        cells = (claim["statement"], f"{claim['metric']}: {compared}")
        measured = format(as_interval(claim["found"]), "+.3f" if claim["versus"] else ".3f")
        table.add_row(*map(escape, (*cells, measured, claim["expected"], result)))
    table.caption = "± 95 % interval over seeds; a claim is held when all of it is as expected"
    return table


def signs_table(summary: Mapping[str, Any]) -> Table | None:
    """One line per sign that an algorithm does not do what it is meant to; None without any."""
    if not summary.get("signs"):
        return None
    table = Table(title="Worth a look")
    table.add_column("arm", no_wrap=True)
    table.add_column("sign", max_width=LINE)
    for sign in summary["signs"]:
        table.add_row(escape(sign["arm"]), escape(sign["sign"]))
    return table


def _rises(summary: Mapping[str, Any], task: str) -> bool:
    """Whether higher scores of a task are better."""
    return bool(summary.get("scores", {}).get(task, {}).get("higher_is_better", True))


def _of_task(summary: Mapping[str, Any], task: str) -> str:
    """A task with the metric and direction of its score, where they differ between tasks."""
    score = summary.get("scores", {}).get(task)
    return f"{task}, {score['metric']} {ARROWS[score['higher_is_better']]}" if score else task


def _arm_table(title: str, headers: Sequence[str], rows: Mapping[str, Sequence[str]]) -> Table:
    """A table with a row per arm and a column per header that some arm has something for."""
    table = Table(title=title)
    table.add_column("arm", no_wrap=True)
    filled = [
        any(cells[column].strip() not in EMPTY for cells in rows.values())
        for column in range(len(headers))
    ]
    for header in compress(headers, filled):
        table.add_column(escape(header), justify="right", no_wrap=True)
    for arm, cells in rows.items():
        table.add_row(escape(arm), *compress(cells, filled))
    return table


def _total(record: Mapping[str, Any]) -> str:
    """A total, and its shares by stage where there are stages."""
    shares = ", ".join(f"{stage}: {share:.1%}" for stage, share in record["shares"].items())
    return f"{record['total']['mean']:.3g}" + (f" ({shares})" if shares else "")


def _money(figures: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """Fewest recruits of a task, spend, budget and true cost; dashes where nothing is paid."""
    if figures["rule"] == EVERYONE:
        return "-", "-", "-", "-"
    least = format(as_interval(figures["min_take_up"]), ".1f")
    spend, cost = (format(as_interval(figures[key]), ".1f") for key in ("spend", "cost"))
    return least, spend, f"{figures['budget']['mean']:g}", cost


def _change(record: Mapping[str, Any], spec: str) -> str:
    """A signed difference, starred when its sign is established."""
    difference = as_interval(record)
    return f"{difference:+{spec}}{'*' if difference.excludes_zero else ' '}"


def _reached(entry: Mapping[str, Any] | None) -> str:
    """Median round and how many seeds got there."""
    if entry is None:
        return "-"
    middle = "never" if entry["median"] is None else f"{entry['median']:g}"
    return f"{middle} ({entry['reached']}/{entry['seeds']})"
