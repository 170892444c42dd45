"""What is said of a study in words and numbers: when, by what, with which plan, at what cost."""

from __future__ import annotations

import contextlib
import datetime
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from surrogate_ax.report.best_of_n import ENOUGH, expected_best
from surrogate_ax.report.shown_study import ShownStudy
from surrogate_ax.scoring.objective import Metric

KINDS = {
    "sphere": "a Gaussian process on the sphere of latents proposes every point",
    "boxes": "the host's sampler proposes in boxes that move to the best",
    "o3": "plain draws, then one box over the best of them",
}


def study_facts(study: ShownStudy) -> list[tuple[str, str]]:
    """Names and texts, the most wanted first.

    Args:
        study: as a source reads it.
    """
    trials = study.trials
    counts = {state: sum(trial.state == state for trial in trials) for state in ("stopped", "failed", "running")}
    said = [f"{len(trials)} asked", f"{len(study.ranking)} with a result"]
    said += [f"{count} {state}" for state, count in counts.items() if count]
    said.append(f"{sum(trial.plain for trial in trials)} plain draws")
    spent = f"{sum(trial.nfe for trial in trials):,.0f} network evaluations, "
    spent += f"{sum(trial.seconds for trial in trials):,.1f} s of generation"
    found = [
        ("Metrics", "; ".join(goal_text(metric) for metric in study.objective.metrics)),
        ("Trials", ", ".join(said)),
        ("Spent", spent),
    ]
    ended = [trial.ended for trial in trials if trial.ended is not None]
    if ended:
        found.append(("Time", f"{_when(min(ended))} to {_when(max(ended))}"))
    found += _plan(study.search.get("plan"))
    conditions = study.search.get("conditions")
    if isinstance(conditions, Mapping) and conditions:
        found.append(("Searched conditions", "; ".join(f"{name}: {value}" for name, value in conditions.items())))
    if "rng" in study.search:
        found.append(("Random seed", str(study.search["rng"])))
    return [*found, ("Kept by", study.host), *_generator(study)]


def goal_text(metric: Metric) -> str:
    """A metric and what is wanted of it."""
    bound = "" if metric.bound is None else f" {metric.bound:g}"
    return f"{metric.name} ({metric.goal.replace('_', ' ')}{bound})"


def gain_text(study: ShownStudy) -> str:
    """What the search has gained over plain draws, in a sentence; empty where that cannot be said.

    Args:
        study: as a source reads it.
    """
    if len(study.objective.optimised) != 1 or not study.ranking:
        return ""
    (metric,) = study.objective.optimised
    best = study.trials[study.ranking[0]]
    text = f"Best {metric.name}: {best.values[metric.name]:.4g} (trial {best.number})."
    if study.history.expected:
        value = study.expected[metric.name][study.ranking[0]]
        return f"{text[:-2]}; scores vary, and {value:.4g} is expected of it, the most of all)."
    plain = [i for i in study.ranking if study.trials[i].plain]
    if len(plain) < ENOUGH or len(plain) == len(study.ranking):
        return text
    sign = 1.0 if metric.goal == "maximize" else -1.0
    scores, n = sign * study.values[metric.name][plain], len(study.ranking)
    expected = sign * float(expected_best(scores, np.array([n]))[0])
    return (
        f"{text} The best of the {len(plain)} plain draws has {study.trials[plain[0]].values[metric.name]:.4g}; "
        f"{n} of them, as many as the search has tried, would come to about {expected:.4g}."
    )


def _plan(plan: Any) -> list[tuple[str, str]]:
    if not isinstance(plan, Mapping) or plan.get("kind") not in KINDS:
        return []
    text = f"{plan.get('draws')} plain draws, then {KINDS[plan['kind']]}"
    text += f"; {plan.get('axes')} seeds a box, {plan.get('size')} trials a round"
    if plan.get("checkpoint"):
        text += (
            f"; of each round {plan.get('kept', 1):.0%} go on after step {plan['checkpoint']} of {plan.get('steps')}"
        )
    return [("Plan", text)]


def _generator(study: ShownStudy) -> list[tuple[str, str]]:
    """The generator's fingerprint by part: calls in full, hashes cut."""
    recorded = study.search.get("generator")
    if not isinstance(recorded, Mapping):
        recorded = next((trial.recipe.generator for trial in study.trials if trial.recipe is not None), {})
    return [(f"Generator: {part}", _short(str(value))) for part, value in recorded.items() if value != "none"]


def _short(value: str, most: int = 400) -> str:
    with contextlib.suppress(ValueError, AttributeError):  # most are no JSON
        value = ", ".join(f"{name} = {given!r}" for name, given in json.loads(value).items())
    return value if len(value) <= most else f"{value[:most]}…"


def _when(seconds: float) -> str:
    return f"{datetime.datetime.fromtimestamp(seconds):%Y-%m-%d %H:%M:%S}"
