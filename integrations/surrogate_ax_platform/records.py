"""What an experiment of ours records, in the metadata of its trials and the properties of the experiment.

Trials (run metadata): `surrogate:recipe` (written as soon as the point is known), `surrogate:round`, `surrogate:exact`
(number of an exact row of its turn), `surrogate:result` (values of every metric, NFE,
seconds, the step where it was stopped, if it was), `surrogate:passed` (estimates of the metrics by checkpoint),
`surrogate:reason` (why it failed), `surrogate:order` (place among the ended trials), `preview` (file
name of its picture).
Experiment (properties): `surrogate:experiment` (what it was begun with), `surrogate:spaces` (the frame of each round),
`surrogate:round` (the round in play), `surrogate:gram` (inner products of stored seeds with the seeds of the frames),
`surrogate:chosen` (whether the user chose the generation strategy).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ax.core.experiment import Experiment
from ax.core.trial import Trial
from ax.core.trial_status import TrialStatus
from torch import Tensor

from surrogate_ax.errors import MismatchError
from surrogate_ax.generation.recipe import Recipe
from surrogate_ax.latents.bank import Bank
from surrogate_ax.latents.seeds import Draw, Seed, Stored, Terms, seed_from_json, seed_to_json
from surrogate_ax.latents.space import SurrogateSpace
from surrogate_ax.policies.history import History
from surrogate_ax.scoring.evaluator import Evaluations
from surrogate_ax.scoring.objective import Objective
from surrogate_ax_platform.search_space import ROUND

VERSION = 1
RECIPE, TRIAL_ROUND, EXACT = "surrogate:recipe", "surrogate:round", "surrogate:exact"
RESULT, REASON, ORDER = "surrogate:result", "surrogate:reason", "surrogate:order"
PASSED, PREVIEW = "surrogate:passed", "preview"
EXPERIMENT, SPACES, CURRENT = "surrogate:experiment", "surrogate:spaces", "surrogate:round"
GRAM, CHOSEN = "surrogate:gram", "surrogate:chosen"
ENDED = (TrialStatus.COMPLETED, TrialStatus.EARLY_STOPPED, TrialStatus.ABANDONED)


def trials(experiment: Experiment) -> list[Trial]:
    """Trials of one arm, by index.

    Raises:
        MismatchError: a batch trial, which has several arms.
    """
    rows = []
    for index, trial in sorted(experiment.trials.items()):
        if not isinstance(trial, Trial) or trial.arm is None:
            raise MismatchError(f"client: trial {index} has not one arm, so something else made it. Use a new Client.")
        rows.append(trial)
    return rows


def ended_trials(experiment: Experiment) -> list[Trial]:
    """Ended trials in the order in which they ended, without those that were broken off before they had a result."""
    ended = [trial for trial in trials(experiment) if trial.status in ENDED]
    return sorted(ended, key=lambda trial: (trial.run_metadata.get(ORDER, math.inf), trial.index))


def read_recipe(trial: Trial) -> Recipe:
    """The recipe of a trial.

    Raises:
        MismatchError: the trial has none, so something else made it.
    """
    if RECIPE not in trial.run_metadata:
        raise MismatchError(
            f"client: trial {trial.index} has no recipe, so something else made it. Use an experiment of its own."
        )
    return Recipe.from_json(trial.run_metadata[RECIPE])


def round_of(trial: Trial) -> int:
    """The round of a trial, whether or not its point lies in the round's box."""
    recorded = trial.run_metadata.get(TRIAL_ROUND)
    value = int(parameters_of(trial)[ROUND]) if recorded is None else int(recorded)
    return value if value >= 0 else -1 - value


def parameters_of(trial: Trial) -> dict[str, Any]:
    """The parameters of a trial's only arm."""
    return {} if trial.arm is None else dict(trial.arm.parameters)


@dataclass(frozen=True)
class Row:
    """What an ended trial has told.

    Args:
        terms: its coefficient row.
        values: of every metric, NaN where there is none.
        estimates: the same at the checkpoint where it was stopped.
        round: its number.
        checkpoint_estimates: estimates of the metrics, by the checkpoint.
    """

    terms: Terms
    values: Sequence[float]
    estimates: Sequence[float]
    round: int
    checkpoint_estimates: Mapping[int, Mapping[str, float]]


def read_row(trial: Trial, names: Sequence[str]) -> Row:
    """What an ended trial has told about metrics.

    Raises:
        MismatchError: the trial has no recipe, so something else made it.
    """
    values, estimates = metric_values(trial, names), metric_estimates(trial, names)
    checkpoint_estimates = {int(step): known for step, known in trial.run_metadata.get(PASSED, {}).items()}
    return Row(read_recipe(trial).terms, values, estimates, round_of(trial), checkpoint_estimates)


def history(rows: Sequence[Row], objective: Objective, tensors: Mapping[str, Tensor]) -> History:
    """Ended trials as policies see them.

    Args:
        rows: in the order of ending.
        objective: ranks them.
        tensors: inner rows (D,) of stored seeds, by SHA-256.
    """
    names = [metric.name for metric in objective.metrics]
    values, estimates = (
        np.array([getattr(row, field) for row in rows], dtype=np.float64).reshape(len(rows), len(names))
        for field in ("values", "estimates")
    )
    optimised = [metric.name for metric in objective.optimised]
    steps = sorted({step for row in rows for step in row.checkpoint_estimates}) if len(optimised) == 1 else []
    return History(
        objective,
        [row.terms for row in rows],
        dict(zip(names, values.T, strict=True)),
        np.array([row.round for row in rows], dtype=np.int64),
        tensors=tensors,
        estimates={} if np.isnan(estimates).all() else dict(zip(names, estimates.T, strict=True)),
        checkpoint_estimates={
            s: np.array([row.checkpoint_estimates.get(s, {}).get(optimised[0], math.nan) for row in rows])
            for s in steps
        },
    )


def result(ev: Evaluations, i: int, *, order: int, preview: str | None) -> dict[str, Any]:
    """What is noted of an evaluated trial.

    Args:
        ev: of its batch.
        i: its place there.
        order: its place among the ended trials.
        preview: file name of its picture.
    """
    written: dict[str, Any] = {ORDER: order} | ({} if preview is None else {PREVIEW: preview})
    if ev.status[i] == "failed":
        return {**written, REASON: ev.reasons[i]}
    values = {name: float(column[i]) for name, column in ev.values.items()}
    costs: dict[str, Any] = {"nfe": float(ev.nfe[i]), "seconds": round(float(ev.seconds[i]), 6)}
    if ev.status[i] == "stopped":
        costs["stopped"] = int(ev.step[i])
    return {**written, RESULT: {"values": values, **costs}}


def note_estimate(trial: Trial, step: int, values: Mapping[str, float]) -> None:
    """Note what a running trial was estimated at a checkpoint; it is stored with the trial's result."""
    trial.update_run_metadata({PASSED: {**trial.run_metadata.get(PASSED, {}), str(step): dict(values)}})


def metric_values(trial: Trial, names: Sequence[str]) -> list[float]:
    """Values of metrics on an ended trial, NaN where it has none: an estimate at a checkpoint is no result."""
    return [math.nan] * len(names) if is_stopped(trial) else _recorded(trial, names)


def metric_estimates(trial: Trial, names: Sequence[str]) -> list[float]:
    """Values of metrics at the checkpoint where a trial was stopped, NaN for one that was not."""
    return _recorded(trial, names) if is_stopped(trial) else [math.nan] * len(names)


def is_stopped(trial: Trial) -> bool:
    """Whether a trial was stopped at a checkpoint."""
    return "stopped" in trial.run_metadata.get(RESULT, {})


def _recorded(trial: Trial, names: Sequence[str]) -> list[float]:
    values = trial.run_metadata.get(RESULT, {}).get("values", {})
    return [float(values.get(name, math.nan)) for name in names]


def space_to_json(space: SurrogateSpace) -> dict[str, Any]:
    """A round's frame as terms, with what says which space it is; latents are not needed to place points."""
    rows = [[[*seed_to_json(seed), c] for seed, c in terms] for terms in space.bank.terms(space.frame)]
    return {"fingerprint": space.fingerprint, "chart": space.chart.name, "fresh": space.fresh, "frame": rows}


def frame_terms(record: Mapping[str, Any]) -> list[Terms]:
    """The axes of a recorded space."""
    return [tuple((seed_from_json(term[:-1]), float(term[-1])) for term in row) for row in record["frame"]]


def seed_name(seed: Seed) -> str:
    """A seed in one word, as a key."""
    return f"{seed.entropy}/{seed.index}" if isinstance(seed, Draw) else seed.sha256


def measure_gram(gram: dict[str, dict[str, float]], bank: Bank) -> None:
    """Note the inner products of a bank's stored seeds with all its seeds: no client can measure them later.

    Args:
        gram: what is known, by seed; added to.
        bank: with tensors.
    """
    stored = [m for m, seed in enumerate(bank.seeds) if isinstance(seed, Stored)]
    if not stored:
        return
    names, measured = [seed_name(seed) for seed in bank.seeds], bank.gram(np.eye(len(bank.seeds)))
    for m in stored:
        for n, name in enumerate(names):
            gram.setdefault(names[m], {})[name] = gram.setdefault(name, {})[names[m]] = round(float(measured[m, n]), 9)
