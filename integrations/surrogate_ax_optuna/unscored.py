"""Trials whose scores take longer than a generator should wait: made by some processes, scored by others.

    made, not scored    its output is in the folder, `surrogate:awaiting` is written, and no process runs it
    scored              it is told, as any trial; what its output has cost is added

The attribute is what counts: a maker that is killed before it has left a trial that is run again, and one that is
killed behind it has left a trial that waits. A scorer that is killed leaves a trial that another one takes.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from surrogate_ax.checks import mapping, number
from surrogate_ax.errors import ArgumentError, UnsupportedError
from surrogate_ax.execution.loop import POLL
from surrogate_ax.execution.stops import check_stop, stoppable
from surrogate_ax.generation.conditions import Condition
from surrogate_ax.generation.protocols import Generated
from surrogate_ax.latents.priors import Latents, RecordedPrior
from surrogate_ax.scoring.evaluator import Evaluations, Evaluator
from surrogate_ax.scoring.objective import Objective
from surrogate_ax_optuna.attributes import AWAITING_ATTR, REASON_ATTR, attributes, set_attribute
from surrogate_ax_optuna.lease import TRIES, Leases
from surrogate_ax_optuna.output_folder import OutputFolder
from surrogate_ax_optuna.results import tell_results
from surrogate_ax_optuna.trials import is_awaiting, is_told, read_recipe, study_trials

_logger = logging.getLogger(f"surrogate_ax.{__name__}")


def without_score(objective: Objective) -> Objective:
    """The metrics of an objective, for a process that makes outputs and scores none."""
    names = [metric.name for metric in objective.metrics]
    return Objective(*objective.metrics, score=lambda outputs, conditions: dict.fromkeys(names, np.zeros(len(outputs))))


def check_unscored(budget: int | None, checkpoints: Sequence[int]) -> None:
    """Refuse to leave the scores to others in a search that needs them while it makes outputs."""
    if budget is not None or checkpoints:
        raise ArgumentError(
            "unscored: expected total_trials and no checkpoints: estimates are scored while outputs are made."
        )


def keep_unscored(
    trials: Sequence[optuna.Trial], evaluations: Evaluations, folder: OutputFolder, *, done: Callable[[int], None]
) -> tuple[list[optuna.Trial], Evaluations]:
    """Keep outputs that were made, and have their trials wait.

    Args:
        trials: n that this process runs.
        evaluations: of them, whose values say nothing.
        folder: for the outputs.
        done: called with the id of each trial that waits.

    Returns:
        The other trials, which have failed, and what came of them.

    Raises:
        StorageError: an output cannot be written.
        UnsupportedError: it is of a kind that cannot be kept.
    """
    for i, trial in enumerate(trials):
        if evaluations.status[i] != "failed":
            folder.keep(trial.number, evaluations.outputs[i])
            cost = {"nfe": float(evaluations.nfe[i]), "seconds": float(evaluations.seconds[i])}
            try:
                set_attribute(trial, AWAITING_ATTR, {**cost, "rate": evaluations.rate})
            except UpdateFinishedTrialError:  # taken away from a process that had been stopped for long
                folder.done(trial.number)
            done(trial._trial_id)
    failed = [i for i in range(len(trials)) if evaluations.status[i] == "failed"]
    return [trials[i] for i in failed], _rows(evaluations, failed)


def score_kept(
    study: optuna.Study,
    objective: Objective,
    folder: OutputFolder,
    *,
    total_trials: int,
    catch: tuple[type[Exception], ...] = (Exception,),
    previews: Any = None,
) -> int:
    """Score outputs that others make, until the study has as many ended trials as are wanted.

    Args:
        study: of `optimize(..., unscored=folder)`, here or in another process.
        objective: judges the outputs.
        folder: where they are kept.
        total_trials: ended trials wanted in the study.
        catch: exceptions of the score that fail single trials.
        previews: an Optuna artifact store for pictures of the outputs.

    Returns:
        How many trials this process has told.

    Raises:
        StorageError: an output cannot be read.
        KeyboardInterrupt: passed on; the trial that was being scored is free again.
    """
    told, patient, owner = 0, POLL[0], Leases(study._storage).owner

    def score(trial: FrozenTrial) -> bool:
        return is_awaiting(trial) and _scored(study, trial, objective, folder, owner, catch, previews)

    try:
        with stoppable():
            while True:
                check_stop()
                trials = study_trials(study)
                if sum(map(is_told, trials)) >= total_trials:
                    return told
                scored = any(map(score, trials))
                told, patient = told + scored, POLL[0] if scored else min(2 * patient, POLL[1])
                if not scored:
                    time.sleep(patient)
    finally:
        folder.close()


def _scored(
    study: optuna.Study,
    trial: FrozenTrial,
    objective: Objective,
    folder: OutputFolder,
    owner: str,
    catch: tuple[type[Exception], ...],
    previews: Any,
) -> bool:
    """Score and tell a trial, unless another process has it."""
    tries = folder.claim(trial.number, owner)
    if not tries:
        return False
    if study._storage.get_trial(trial._trial_id).state.is_finished():  # told since it was read
        folder.done(trial.number)
        return False
    if tries > TRIES:
        study._storage.set_trial_system_attr(
            trial._trial_id, REASON_ATTR, f"its score was killed at each of {TRIES} tries"
        )
        study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
        folder.done(trial.number)
        return True
    recipe, kept = (
        read_recipe(trial),
        mapping(attributes(trial)[AWAITING_ATTR], f"trial {trial.number}, {AWAITING_ATTR}"),
    )
    made = {
        name: number(kept.get(name), f"trial {trial.number}, {AWAITING_ATTR}: {name}") for name in ("nfe", "seconds")
    }
    evaluator = Evaluator(_Elsewhere(recipe.generator, kept.get("rate")), objective, catch=catch)
    generated = Generated([folder.read(trial.number)], np.array([made["nfe"]]), made["seconds"])
    evaluations = evaluator.score(generated, [dict(recipe.condition)])
    tell_results(
        [optuna.Trial(study, trial._trial_id)], evaluations, previews, told=lambda _: folder.done(trial.number)
    )
    return True


class _Elsewhere:
    """The generator of outputs that were made by another process."""

    def __init__(self, fingerprint: Mapping[str, str], rate: float | None) -> None:
        self.prior = RecordedPrior({}, 0, fingerprint.get("prior", ""))
        self.fingerprint, self.rate, self.check_rows = dict(fingerprint), rate, False

    def generate(self, z: Latents, conditions: Sequence[Condition]) -> Generated:
        """Refused: the model is not here."""
        raise UnsupportedError("generator: this process scores what others make. Make outputs with another worker.")


def _rows(evaluations: Evaluations, kept: Sequence[int]) -> Evaluations:
    """Some items of evaluations."""
    at = list(kept)
    return dataclasses.replace(
        evaluations,
        outputs=[evaluations.outputs[i] for i in at],
        values={name: column[at] for name, column in evaluations.values.items()},
        nfe=evaluations.nfe[at],
        seconds=evaluations.seconds[at],
        status=[evaluations.status[i] for i in at],
        reasons={k: evaluations.reasons[i] for k, i in enumerate(at) if i in evaluations.reasons},
        step=evaluations.step[at],
        conditions=[evaluations.conditions[i] for i in at],
        traces={k: evaluations.traces[i] for k, i in enumerate(at) if i in evaluations.traces},
    )
