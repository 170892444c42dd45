"""The progress bar: what it calls best, and how far it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from surrogate_ax import Evaluator, Metric, Objective
from surrogate_ax.execution.loop import Batch
from surrogate_ax.execution.progress import ProgressBar
from surrogate_ax.latents.seeds import Draw
from surrogate_ax.policies.history import History
from surrogate_ax_optuna import optimize


def _told(objective: Objective, **columns: list[float]) -> History:
    n = len(next(iter(columns.values()), []))
    values = {metric.name: np.array(columns.get(metric.name, []), dtype=float) for metric in objective.metrics}
    return History(objective, [((Draw(0, i), 1.0),) for i in range(n)], values, np.zeros(n, dtype=int))


def _bar(*metrics: Metric, **columns: list[float]) -> ProgressBar:
    objective = Objective(*metrics, score=lambda outputs, conditions: {})
    return ProgressBar(objective, _told(objective, **columns), 10)


@pytest.mark.parametrize(
    ("metrics", "columns", "best"),
    [
        ([Metric("a")], {"a": [1, 3, 2]}, "best a=3"),
        ([Metric("a", "minimize")], {"a": [1, 3, 2]}, "best a=1"),
        ([Metric("a")], {"a": [1, np.nan, 2]}, "best a=2"),
        ([Metric("a"), Metric("b", "at_most", 0)], {"a": [1, 3, 2], "b": [-1, 1, 0]}, "best a=2"),
        ([Metric("a"), Metric("b", "at_least", 0)], {"a": [1, 3, 2], "b": [-1, 1, 0]}, "best a=3"),
        ([Metric("a"), Metric("b", "track")], {"a": [1, 3, 2], "b": [-1, 1, 0]}, "best a=3"),
        (
            [Metric("b", "track"), Metric("a", "minimize"), Metric("c")],
            {"a": [2, 1], "b": [7, 8], "c": [3, 4]},
            "best a=1",
        ),
        ([Metric("a")], {"a": [0.123456789]}, "best a=0.1235"),
        ([Metric("a")], {"a": [np.nan, np.nan]}, ""),
        ([Metric("a")], {"a": []}, ""),
        ([Metric("a"), Metric("b", "at_most", 0)], {"a": [1, 3], "b": [1, 1]}, ""),
    ],
)
def test_the_best_is_feasible_finite_and_in_the_direction_of_its_metric(metrics, columns, best):
    bar = _bar(*metrics, **columns)
    with bar:
        assert bar._bar.postfix == (best or None)
        assert bar._bar.n == len(columns["a"])
        assert bar._bar.total == 10


@pytest.mark.parametrize(
    ("first", "second"),
    [([np.inf, 1.0], [0.0, 0.0]), ([5.0, 1.0], [np.nan, 0.0]), ([5.0, 1.0], [-np.inf, 0.0])],
    ids=["its own value", "a bound", "a bound without end"],
)
def test_an_item_that_failed_is_never_the_best(make_generator, first, second):
    metrics = Metric("a"), Metric("b", "at_most", 0)
    objective = Objective(*metrics, score=lambda outputs, conditions: {"a": first, "b": second})
    evaluations = Evaluator(make_generator(), objective)({"latents": torch.zeros(2, 32)})
    assert list(evaluations.status) == ["failed", "done"]
    with ProgressBar(objective, _told(objective), 10) as bar:
        bar(Batch([None, None], evaluations, 2, 10))
        assert bar._bar.postfix == "best a=1"
        assert bar._bar.n == 2


def test_the_best_so_far_stays(make_generator):
    values: list[list[float]] = [[1.0, 4.0], [3.0, 2.0], [np.nan, np.nan], [5.0, 0.0]]
    objective = Objective(Metric("a"), score=lambda outputs, conditions: values.pop(0))
    evaluate = Evaluator(make_generator(), objective)
    shown = []
    with ProgressBar(objective, _told(objective, a=[2.0]), 9) as bar:
        for ended in (3, 5, 7, 9):
            bar(Batch([None, None], evaluate({"latents": torch.zeros(2, 32)}), ended, 9))
            shown.append(bar._bar.postfix)
        assert bar._bar.n == 9
    assert shown == ["best a=4", "best a=4", "best a=4", "best a=5"]


def test_a_study_shows_its_progress_and_closes_the_bar(make_study, make_generator, objective, capsys):
    study = make_study()

    def run(**options: Any) -> str:
        optimize(study, make_generator(), objective, **{"total_trials": 8, "batch_size": 4, "rng": 0} | options)
        return capsys.readouterr().err

    shown = run()
    assert "8/8" in shown
    assert f"best first={study.best_value:.4g}" in shown
    assert "12/12" in run(total_trials=12)
    assert run(total_trials=16, progress=False) == ""


def test_the_bar_is_closed_by_an_exception(make_study, make_generator, objective, capsys):
    def interrupting(z: torch.Tensor) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        optimize(make_study(), make_generator(watch=interrupting), objective, total_trials=8, rng=0)
    assert capsys.readouterr().err.endswith("\n")
