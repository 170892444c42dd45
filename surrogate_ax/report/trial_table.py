"""The trials of a study as columns that can be filtered and written: metrics, call arguments, state, cost, rank.

What is called like a column of every table, or like each other, has its kind before its name: "metric round", "argument
seconds". Metrics of a trial that was stopped are estimates, as its state says. n trials.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from surrogate_ax.analysis.frame import column_names
from surrogate_ax.report.shown_study import ShownStudy, ShownTrial

OWN = ("trial", "state", "round", "rank", "feasible", "plain", "seeds", "nfe", "seconds", "kept")
WRITTEN = (
    "file_name",
    "image",
    "video",
    "audio",
    "file",
    "recipe",
    "version",
    "licence",
)  # beside, of what is exported
Columns = dict[str, list[Any]]


def trial_table(study: ShownStudy, call: Mapping[str, Any] | None = None) -> Columns:
    """Columns (n,) by their names; None where a trial has no such value.

    Args:
        study: at this moment.
        call: arguments that were the same for every trial, beside those that were searched.

    Returns:
        `trial` the host's number, the metrics, the call arguments, then `state`, `round`, `rank` (1 is the best),
            `feasible` (whether it keeps the bounds), `plain` (whether it is a plain draw), `seeds` (how many it
            combines), `nfe`, `seconds`, and `kept` (whether a file of its output is named).
    """
    trials, same = study.trials, dict(call or {})
    searched = [trial.recipe.condition if trial.recipe is not None else {} for trial in trials]
    metrics = [metric.name for metric in study.objective.metrics]
    arguments = list(dict.fromkeys([*same, *(name for one in searched for name in one)]))
    of_metrics, of_arguments = column_names(metrics, arguments, (*OWN, *WRITTEN))
    columns: Columns = {"trial": [trial.number for trial in trials]}
    for name, column in of_metrics.items():
        columns[column] = [trial.values.get(name) for trial in trials]
    for name, column in of_arguments.items():
        columns[column] = [one.get(name, same.get(name)) for one in searched]
    ranks = {place: rank for rank, place in enumerate(study.ranking, start=1)}
    feasible = study.objective.violation(study.values) == 0 if trials else np.zeros(0, dtype=bool)
    for i, trial in enumerate(trials):
        own = {"rank": ranks.get(i), "feasible": bool(feasible[i]) if i in ranks else None, **_own(trial)}
        for name in OWN[1:]:
            columns.setdefault(name, []).append(own[name])
    return columns


def _own(trial: ShownTrial) -> dict[str, Any]:
    return {
        "state": trial.state,
        "round": trial.round,
        "plain": trial.plain,
        "seeds": None if trial.recipe is None else len(trial.recipe.terms),
        "nfe": trial.nfe,
        "seconds": trial.seconds,
        "kept": bool(trial.file),
    }
