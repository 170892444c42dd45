"""Trials that somebody told without our loops: taken into the search where the record says what latent they have.

A trial that our nodes proposed has a known latent, and so has a point of a box without fresh noise. What lies in a box
of draws or of fresh noise has a latent of its own, which only an evaluation of ours can have used; such a trial, one
outside every box and one without all metrics are passed over with a word, and the search goes on without them.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

from ax.core.experiment import Experiment
from ax.core.trial import Trial
from ax.core.trial_status import TrialStatus
from torch import Tensor

from surrogate_ax.errors import ArgumentError
from surrogate_ax.generation.recipe import Recipe
from surrogate_ax.latents.priors import Prior
from surrogate_ax.latents.seeds import Draw
from surrogate_ax_platform import records
from surrogate_ax_platform.boxes import opened, terms_at
from surrogate_ax_platform.search_space import ROUND, searched_names

_logger = logging.getLogger(f"surrogate_ax.{__name__}")
SAID = "_surrogate_said"  # attribute of an experiment in memory: trials that a word was said about


def adopt(
    experiment: Experiment, record: Mapping[str, Any], prior: Prior, tensors: Mapping[str, Tensor] | None
) -> list[Trial]:
    """Give ended trials that have no recipe or no result what the search reads of a trial.

    Args:
        experiment: of ours.
        record: what its search was begun with.
        prior: the law of the latents; its record will do.
        tensors: inner rows (D,) of stored seeds.

    Returns:
        The trials that were taken in.
    """
    waiting = [trial for trial in records.trials(experiment) if trial.status in records.ENDED and not _is_read(trial)]
    taken = []
    for trial in waiting:
        try:
            written = _read(experiment, trial, record, prior, tensors)
        except ArgumentError as error:
            pass_over(experiment, trial, str(error))
            continue
        trial.update_run_metadata({records.ORDER: records.next_order(experiment), **trial.run_metadata, **written})
        taken.append(trial)
    return taken


def pass_over(experiment: Experiment, trial: Trial, why: str) -> None:
    """Say once a process that the search goes on without a trial."""
    said: set[int] = vars(experiment).setdefault(SAID, set())
    if trial.index not in said:
        _logger.warning("The search goes on without trial %d: %s", trial.index, why)
        said.add(trial.index)


def _is_read(trial: Trial) -> bool:
    kept = trial.run_metadata
    ended_badly = trial.status == TrialStatus.ABANDONED
    return records.RECIPE in kept and records.ORDER in kept and (ended_badly or records.RESULT in kept)


def _read(
    experiment: Experiment,
    trial: Trial,
    record: Mapping[str, Any],
    prior: Prior,
    tensors: Mapping[str, Tensor] | None,
) -> dict[str, Any]:
    """What is noted of a trial: where it lies, and what was told.

    Raises:
        ArgumentError: its latent is not known, or a metric was not told.
    """
    recipe, number = records.noted(trial, records.RECIPE), records.round_of(trial)
    if recipe is None:
        params = records.parameters_of(trial)
        box = opened(experiment).get(int(params.get(ROUND, -1)))
        if box is not None and box["fresh"] > 0:
            raise ArgumentError(
                f"box {params[ROUND]} gives every trial a latent of its own, and it was told without having been "
                "evaluated by it. Evaluate attached trials with `trial_function`, or leave them running for `optimize`."
            )
        terms, number = terms_at(experiment, params, Draw(0, 0), prior, tensors=tensors)
        condition = {name: params[name] for name in searched_names(experiment.search_space)}
        recipe = Recipe(terms, condition, record["generator"], 1).to_json()
    written = {records.RECIPE: recipe, records.TRIAL_ROUND: number}
    if trial.status == TrialStatus.ABANDONED:
        return written
    return written | {records.RESULT: trial.run_metadata.get(records.RESULT) or _told(experiment, trial, record)}


def _told(experiment: Experiment, trial: Trial, record: Mapping[str, Any]) -> dict[str, Any]:
    """A result of what was told; a trial that was stopped has estimates."""
    known: dict[str, float] = {}
    step = 0
    for row in experiment.lookup_data(trial_indices=[trial.index]).df.itertuples():
        known[row.metric_name] = float(row.mean)
        progression = getattr(row, "step", math.nan)
        step = step if math.isnan(progression) else max(step, int(progression))
    names = [str(metric[0]) for metric in record["metrics"]]
    absent = [name for name in names if not math.isfinite(known.get(name, math.nan))]
    if absent:
        raise ArgumentError(f"it was told no {', '.join(absent)}; every metric of the objective is needed.")
    stopped = {"stopped": step} if trial.status == TrialStatus.EARLY_STOPPED else {}
    return {"values": {name: known[name] for name in names}, "nfe": 0.0, "seconds": 0.0, **stopped}
