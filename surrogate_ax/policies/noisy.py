"""Scores that vary: how much, and what is expected of what was measured.

A metric may say how much its score of one and the same output varies; equal recipes that were evaluated more than once
tell it too. What is expected of a row is the posterior mean of a Gaussian process of the metric's own values: rows are
ordered by it, the best is the one of which most is expected, and an improvement is one over that (noisy expected
improvement with the plug-in best).

Notation as in `gaussian_process`; σ standard deviation of the noise of a metric, in its units.

Source: Picheny et al. 2013, A benchmark of kriging-based infill criteria for noisy optimization, section 3.1.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch

from surrogate_ax.arrays import Array
from surrogate_ax.generation.conditions import Choice, Range, Searched
from surrogate_ax.latents.priors import Prior, RecordedPrior
from surrogate_ax.latents.seeds import Stored
from surrogate_ax.policies.condition_kernel import ConditionRows
from surrogate_ax.policies.history import History
from surrogate_ax.policies.process import Rows, fit_rows
from surrogate_ax.scoring.objective import Metric

Noise = float | Literal["unknown"] | None
REPEATS = 3  # repetitions of equal recipes from which noise is told
QUIET = 1e-3  # noise in deviations of the values that is none


def noise_of(history: History, metric: Metric) -> Noise:
    """σ of a metric, as it says or as repetitions tell; None where its score is always the same.

    Args:
        history: ended trials.
        metric: one of its objective.
    """
    if isinstance(metric.noise, int | float):
        return float(metric.noise)
    values, again = history.values[metric.name], list[Array]()
    conditions = history.conditions or [{}] * len(history.terms)
    alike = defaultdict[object, list[int]](list)  # by what costs nothing: whole rows of a long search are long
    for i in np.flatnonzero(np.isfinite(values)).tolist():
        row = history.terms[i]
        alike[len(row), row[0][1] if row else 0.0, row[-1][1] if row else 0.0].append(i)
    for some in alike.values():
        groups = defaultdict[object, list[int]](list)
        for i in some if len(some) > 1 else ():
            groups[history.terms[i], repr(sorted(conditions[i].items()))].append(i)
        again += [values[rows] for rows in groups.values() if len(rows) > 1]
    freedom = sum(len(each) - 1 for each in again)
    if freedom < REPEATS:
        return metric.noise
    within = float(np.sqrt(sum(((each - each.mean()) ** 2).sum() for each in again) / freedom))
    return within if within > QUIET * float(np.nanstd(values)) else None


def score_noise(history: History) -> Noise:
    """The noise of the scores that the process is fitted to, as a variance: known for one metric, else unknown."""
    noises = [noise_of(history, metric) for metric in history.objective.metrics if metric.goal != "track"]
    if all(noise is None for noise in noises):
        return None
    spread = float(np.nanstd(history.values[history.objective.optimised[0].name]))
    known = noises[0] if len(noises) == 1 else "unknown"
    return (known / spread) ** 2 if isinstance(known, float) and spread > 0 else "unknown"


def settled(history: History, prior: Prior, searched: ConditionRows, device: torch.device | str = "cpu") -> History:
    """A history whose rows are ordered by what is expected of them, where scores vary.

    Args:
        history: ended trials.
        prior: the law of the latents.
        searched: conditions.
        device: where latents are made.
    """
    noises = {m.name: noise_of(history, m) for m in history.objective.metrics if m.goal != "track"}
    if all(noise is None for noise in noises.values()) or len(history.terms) < 2:
        return history
    bank = history.bank(prior, device)
    gram = bank.gram(bank.rows(history.terms))
    conditions = history.conditions or [{}] * len(history.terms)
    t = searched.encode(conditions) if len(searched) else np.zeros((len(gram), 0))
    values = {
        name: column if noises.get(name) is None else _smooth(gram, column, t, searched, noises[name])
        for name, column in history.values.items()
    }
    return dataclasses.replace(history, expected=values)


def settled_record(history: History) -> History:
    """The history of a study that is read, ordered by what is expected where scores vary; no latent is made.

    Args:
        history: ended trials. Where call arguments were searched and one of them is no number, texts and switches
            count as choices.
    """
    if len(history.terms) < 2 or all(noise_of(history, metric) is None for metric in history.objective.metrics):
        return history
    stored = next((seed.sha256 for row in history.terms for seed, _ in row if isinstance(seed, Stored)), None)
    dim = 1 if stored is None else len(history.tensors[stored])  # cosines of draws need no latent
    return settled(history, RecordedPrior({}, dim, "of a study"), ConditionRows(seen_conditions(history.conditions)))


def seen_conditions(conditions: Sequence[Mapping[str, Any]]) -> Searched:
    """The conditions that trials differ in, with the range or the values that were seen."""
    found: dict[str, Range | Choice] = {}
    names = dict.fromkeys(name for condition in conditions for name in condition)
    for name in names:
        values = [condition[name] for condition in conditions if name in condition]
        distinct = list(dict.fromkeys(map(repr, values)))
        if len(values) < len(conditions) or len(distinct) < 2:
            continue
        if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
            found[name] = Range(float(min(values)), float(max(values)))
        else:
            found[name] = Choice([next(v for v in values if repr(v) == each) for each in distinct])
    return found


def _smooth(gram: Array, values: Array, t: Array, searched: ConditionRows, noise: Noise) -> Array:
    """Posterior means of a metric at the rows, NaN where it has no value."""
    known = np.flatnonzero(np.isfinite(values) & np.isfinite(t).all(axis=1))
    if len(known) < 2 or not (spread := float(np.std(values[known]))) > 0:
        return values
    centre = float(values[known].mean())
    y, variance = (values[known] - centre) / spread, (noise / spread) ** 2 if isinstance(noise, float) else noise
    rows = Rows(gram[np.ix_(known, known)], y, np.zeros(len(known), dtype=np.int64), t[known], searched, variance)
    product, _ = fit_rows(rows)
    expected = values.copy()
    mean, _ = product.posterior.at(np.eye(len(known)), product.correlations(t[known]))
    expected[known] = centre + spread * mean
    return expected
