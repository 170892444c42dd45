"""The columns by which trials are filtered and exported."""

from __future__ import annotations

import dataclasses

from surrogate_ax import Metric
from surrogate_ax.report.trial_table import trial_table
from surrogate_ax.report.where import read_where
from tests.core.report.shown import objective, study, trials


def test_a_column_for_everything_that_can_be_asked_for() -> None:
    shown = trials(9, colours=("red", "blue"))
    shown[1] = dataclasses.replace(shown[1], file="")
    bounded = objective(Metric("score"), Metric("round", "at_most", 3.0), Metric("colour", "track"))
    shown = [
        dataclasses.replace(trial, values={"score": 5.0, "round": float(trial.number), "colour": 0.5})
        if trial.state == "done"
        else trial
        for trial in shown
    ]
    table = trial_table(study(shown, bounded), {"prompt": "a cat", "steps": 30})
    assert table == {
        "trial": [0, 1, 2, 3, 4, 5, 6, 7, 8],
        "score": [5.0] * 7 + [None] * 2,
        "metric round": [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, None, None],
        "metric colour": [0.5] * 7 + [None] * 2,
        "prompt": ["a cat"] * 9,
        "steps": [4] * 9,
        "argument colour": ["red", "blue"] * 4 + ["red"],
        "state": ["done"] * 7 + ["failed", "running"],
        "round": [0, 0, 0, 0, 1, 1, 1, 1, 2],
        "rank": [1, 2, 3, 4, 5, 6, 7, None, None],
        "feasible": [True] * 4 + [False] * 3 + [None] * 2,
        "plain": [True] * 6 + [False] * 3,
        "seeds": [1] * 6 + [4] * 3,
        "nfe": [2.0] * 9,
        "seconds": [0.5] * 9,
        "kept": [True, False, True, True, True, True, True, False, False],
    }


def test_an_expression_finds_trials_by_them() -> None:
    table = trial_table(study(trials(9, colours=("red", "blue"))))
    where = read_where("colour == 'red' and round > 0 and state == 'done' and nfe >= 2 and feasible", table)
    rows = [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
    assert [row["trial"] for row in rows if where.keeps(row)] == [4, 6]


def test_a_study_without_trials_has_the_columns() -> None:
    table = trial_table(study([]))
    assert not any(table.values())
    assert list(table)[:2] == ["trial", "score"]
