"""What an experiment of ours records, in the metadata of its trials and the properties of the experiment.

Trials (run metadata): `surrogate:recipe` (written as soon as the point is known), `surrogate:round`, `surrogate:exact`
(number of an exact row of its turn), `surrogate:result` (values of every metric, NFE,
seconds, the step where it was stopped, if it was), `surrogate:reason` (why
it failed), `surrogate:order` (place among the ended trials), `preview` (file name of its picture).
Experiment (properties): `surrogate:experiment` (what it was begun with), `surrogate:spaces` (the frame of each round),
`surrogate:round` (the round in play), `surrogate:gram` (inner products of stored seeds with the seeds of the frames).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ax.core.experiment import Experiment
from ax.core.trial import Trial
from ax.core.trial_status import TrialStatus

from surrogate_ax.bank import Bank, Draw, Seed, Stored, Terms
from surrogate_ax.errors import MismatchError
from surrogate_ax.evaluation import INTERRUPTED
from surrogate_ax.recipe import Recipe, seed_from_json, seed_to_json
from surrogate_ax.space import SurrogateSpace
from surrogate_ax_platform.search_space import ROUND

VERSION = 1
RECIPE, TRIAL_ROUND, EXACT = "surrogate:recipe", "surrogate:round", "surrogate:exact"
RESULT, REASON, ORDER = "surrogate:result", "surrogate:reason", "surrogate:order"
PREVIEW = "preview"
EXPERIMENT, SPACES, CURRENT = "surrogate:experiment", "surrogate:spaces", "surrogate:round"
GRAM = "surrogate:gram"
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


def was_interrupted(trial: Trial) -> bool:
    """Whether a trial was broken off before it had a result."""
    return bool(trial.status == TrialStatus.FAILED and trial.run_metadata.get(REASON, INTERRUPTED) == INTERRUPTED)


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
