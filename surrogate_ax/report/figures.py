"""The plots of a study that no host's library has, as Plotly draws them; the page and the dashboard show the same.

A figure here is data alone, so that nothing has to be installed to make one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from surrogate_ax.analysis.seed_utility import SeedUtility
from surrogate_ax.arrays import Array
from surrogate_ax.report.best_of_n import ENOUGH, expected_best, pareto
from surrogate_ax.report.shown_study import Figure, ShownStudy
from surrogate_ax.scoring.objective import Metric

SEARCH, PLAIN, FRONT, REPLACE = "#2f7fe0", "#8a919c", "#e0592a", "#a45bb5"  # seen on white and on near black
MOST = 400  # counts at which a curve of best-of-N is computed


def study_figures(study: ShownStudy) -> list[Figure]:
    """Best so far against plain draws, or the Pareto front of two metrics or more; nothing before the first result.

    Args:
        study: as a source reads it.
    """
    if not study.ranking:
        return []
    return [best_so_far(study)] if len(study.objective.optimised) == 1 else [pareto_front(study)]


def best_so_far(study: ShownStudy) -> Figure:
    """The best so far against what as many plain draws give on average, as far as the search's own draws can tell.

    Args:
        study: of one metric to optimise.
    """
    (metric,) = study.objective.optimised
    sign = 1.0 if metric.goal == "maximize" else -1.0
    feasible = study.objective.violation(study.values) == 0
    ended = [i for i, trial in enumerate(study.trials) if trial.state != "running"]
    score = np.where(feasible, sign * study.values[metric.name], np.nan)[ended]
    n, names = np.arange(1, len(ended) + 1), [f"trial {study.trials[i].number}" for i in ended]
    plain = np.array([study.trials[i].plain for i in ended], dtype=bool)
    data = [
        _dots("searched", n[~plain], sign * score[~plain], SEARCH, [names[i] for i in np.flatnonzero(~plain)]),
        _dots("plain draws", n[plain], sign * score[plain], PLAIN, [names[i] for i in np.flatnonzero(plain)]),
        _line("best so far", n, sign * np.fmax.accumulate(score), SEARCH, shape="hv"),
    ]
    drawn = score[plain & np.isfinite(score)]
    note = ""
    if len(drawn) >= ENOUGH:
        counts = np.unique(np.concatenate([np.geomspace(1, len(n), MOST).astype(int), [min(len(drawn), len(n))]]))
        best = sign * expected_best(drawn, counts)
        split = int(np.searchsorted(counts, len(drawn)))
        data.append(_line("best of N plain draws", counts[: split + 1], best[: split + 1], PLAIN))
        if len(n) > len(drawn):
            data.append(_line("the same, if normal", counts[split:], best[split:], PLAIN, dash="dash"))
        note = (
            f"Grey: the best of N plain draws on average, by the {len(drawn)} draws of this search; dashed beyond "
            "them, if their scores follow a normal law."
        )
    return Figure("Best so far", note, _drawing(data, x="trials ended", y=_axis(metric)))


def pareto_front(study: ShownStudy) -> Figure:
    """Trials by the first two metrics to optimise, with those that nothing beats in all metrics.

    Args:
        study: of two metrics to optimise, or more.
    """
    x, y = study.objective.optimised[:2]
    values, names = study.values, [f"trial {trial.number}" for trial in study.trials]
    finite = np.isfinite(study.objective.losses(values)).all(axis=1)
    within = finite & (study.objective.violation(values) == 0)
    front = np.flatnonzero(within)[pareto(study.objective.losses(values)[within])]
    front = front[np.argsort(values[x.name][front])]
    shown = [("searched", np.flatnonzero(within), SEARCH), ("outside a bound", np.flatnonzero(finite & ~within), PLAIN)]
    data = [
        _dots(label, values[x.name][rows], values[y.name][rows], colour, [names[i] for i in rows])
        for label, rows, colour in shown
        if len(rows)
    ]
    data.append(_dots("Pareto front", values[x.name][front], values[y.name][front], FRONT, [names[i] for i in front]))
    return Figure("Pareto front", "", _drawing(data, x=_axis(x), y=_axis(y)))


def seed_figure(utility: SeedUtility, names: Sequence[str]) -> Figure:
    """What each seed adds to the ranking, the best first.

    Args:
        utility: of M seeds.
        names: of these seeds.
    """
    order = np.argsort(-utility.slope)
    colours = [SEARCH if m in utility.carrying else REPLACE if m in utility.replaceable else PLAIN for m in order]
    data = [
        {
            "type": "bar",
            "x": [names[m] for m in order],
            "y": _numbers(utility.slope[order]),
            "error_y": {"type": "data", "array": _numbers(utility.error[order])},
            "marker": {"color": colours},
        }
    ]
    note = (
        f"Standard deviations of the ranking for a whole unit of a seed; together the seeds explain "
        f"{max(utility.r2, 0):.0%} of it. Blue carries the score, purple is to be replaced."
    )
    drawing = _drawing(data, x="seed", y="adds to the ranking")
    drawing["layout"] |= {"showlegend": False}
    return Figure("What each seed adds", note, drawing)


def _axis(metric: Metric) -> str:
    better = {"maximize": "higher is better", "minimize": "lower is better"}[metric.goal]
    return f"{metric.name} ({better})"


def _dots(label: str, x: Array, y: Array, colour: str, names: Sequence[str]) -> dict[str, Any]:
    mark = {"color": colour, "size": 6, "opacity": 0.7}
    kind = "scattergl" if len(x) > 2000 else "scatter"
    return {
        "type": kind,
        "mode": "markers",
        "name": label,
        "x": _numbers(x),
        "y": _numbers(y),
        "text": list(names),
        "marker": mark,
    }


def _line(label: str, x: Array, y: Array, colour: str, *, dash: str = "solid", shape: str = "linear") -> dict[str, Any]:
    line = {"color": colour, "width": 2, "dash": dash, "shape": shape}
    return {"type": "scatter", "mode": "lines", "name": label, "x": _numbers(x), "y": _numbers(y), "line": line}


def _numbers(values: Array) -> list[float | None]:
    """As JSON has them, six digits each, None where there is none."""
    return [float(f"{value:.6g}") if np.isfinite(value) else None for value in values]


def _drawing(data: list[dict[str, Any]], *, x: str, y: str) -> dict[str, Any]:
    layout = {
        "xaxis": {"title": {"text": x}},
        "yaxis": {"title": {"text": y}},
        "legend": {"orientation": "h", "y": 1.12, "x": 0},
        "margin": {"l": 64, "r": 16, "t": 16, "b": 48},
        "hovermode": "closest",
    }
    return {"data": data, "layout": layout}
