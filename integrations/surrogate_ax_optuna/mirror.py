"""Any host's evaluations, written into an Optuna storage as they complete: optuna-dashboard shows them live.

A copy cannot be written together with what it copies: a process that is killed in between leaves a trial out, or one
half-written. `Mirror.rebuild` brings the copy to what the host holds before a search goes on.
"""

from __future__ import annotations

import datetime
import json
import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from surrogate_ax.errors import MismatchError
from surrogate_ax.execution.executor import Candidate
from surrogate_ax.execution.loop import Batch
from surrogate_ax.execution.records import TrialCopy
from surrogate_ax.generation.conditions import Choice, Range
from surrogate_ax.generation.recipe import Recipe
from surrogate_ax.latents.space import is_coordinate
from surrogate_ax.scoring.objective import Objective
from surrogate_ax_optuna.attributes import (
    METRICS_ATTR,
    PREVIEW_ATTR,
    REASON_ATTR,
    RECIPE_ATTR,
    RESULT_ATTR,
    ROUND_ATTR,
    TICKET_ATTR,
    attributes,
    set_attribute,
    set_study_attribute,
    study_attributes,
)
from surrogate_ax_optuna.previews import upload_preview
from surrogate_ax_optuna.search_space import distributions, objective_values, write_record, write_result
from surrogate_ax_optuna.trials import study_trials

_logger = logging.getLogger(f"surrogate_ax.{__name__}")


class Mirror:
    """A callback of the loop that keeps a study of what was evaluated elsewhere.

    Args:
        storage: where the study is kept.
        name: of the study.
        conditions: the searched call arguments, which become parameters; others are in the recipes.
        previews: an Optuna artifact store for pictures of the outputs; none are made without it.
    """

    def __init__(
        self,
        storage: BaseStorage | str,
        *,
        name: str = "mirror",
        conditions: Mapping[str, Range | Choice] | None = None,
        previews: Any = None,
    ) -> None:
        self._storage = storage
        self._name = name
        self._searched = distributions(2, conditions)
        del self._searched["u0"]
        self._previews = previews
        self._study: optuna.Study | None = None
        self._there: set[str] = set()

    def __call__(self, batch: Batch) -> None:
        """Record a batch; items that are there already are passed over.

        Raises:
            MismatchError: the study mirrors another objective.
        """
        if self._study is None:
            self._study = self._open(batch.evaluations.objective)
        with tempfile.TemporaryDirectory() as folder:
            for i, candidate in enumerate(batch.candidates):
                ticket = ticket_name(candidate.ticket)
                if ticket not in self._there:
                    self._there.add(ticket)
                    self._record(self._study, candidate, batch, i, Path(folder))

    def rebuild(self, copies: Sequence[TrialCopy], objective: Objective) -> None:
        """Bring the study to what its host holds, before a search goes on. Pictures that lack stay away.

        Trials that lack are added, those left running are ended as the host has them. A study that holds something
        else, as after the host went back to an earlier snapshot, is kept under another name and begun anew.

        Args:
            copies: the host's ended trials, as `surrogate_ax_platform.trial_copies(client)`.
            objective: what they were judged by.

        Raises:
            MismatchError: the study mirrors another objective, or is no mirror.
        """
        study, wanted = self._open(objective), {str(copy.trial.number): copy for copy in copies}
        present = study_trials(study)
        known = {str(attributes(trial).get(TICKET_ATTR)): trial for trial in present}
        if len(known) < len(present) or not all(_agrees(trial, wanted.get(ticket)) for ticket, trial in known.items()):
            study, known = self._begin_anew(study, objective), {}
        for ticket, copy in wanted.items():
            if ticket not in known:
                held = copy.trial
                trial = self._create(study, ticket, held.recipe, held.round, copy.params, held.seconds)
                _end(study, trial, copy, objective)
            elif not known[ticket].state.is_finished():
                _end(study, optuna.Trial(study, known[ticket]._trial_id), copy, objective)
        self._study, self._there = study, set(wanted)

    def _open(self, objective: Objective) -> optuna.Study:
        directions = [StudyDirection[metric.goal.upper()] for metric in objective.optimised]
        study = optuna.create_study(
            storage=self._storage, study_name=self._name, directions=directions, load_if_exists=True
        )
        described, present = objective.describe(), study_trials(study)
        recorded = study_attributes(study).get(METRICS_ATTR, None if present else described)
        if recorded != described or study.directions != directions:
            raise MismatchError(f"study {self._name!r}: it mirrors {recorded}, got {described}. Use another name.")
        set_study_attribute(study, METRICS_ATTR, described)
        self._there = {str(attributes(trial).get(TICKET_ATTR)) for trial in present}
        return study

    def _begin_anew(self, study: optuna.Study, objective: Objective) -> optuna.Study:
        """An empty study of the name; the one that holds something else gets another name."""
        other = f"{self._name} until {datetime.datetime.now():%Y-%m-%d %H:%M:%S.%f}"
        _logger.warning("study %r is no copy of the search that goes on; it is kept as %r.", self._name, other)
        storage = study._storage
        optuna.copy_study(from_study_name=self._name, from_storage=storage, to_storage=storage, to_study_name=other)
        optuna.delete_study(study_name=self._name, storage=storage)
        return self._open(objective)

    def _record(self, study: optuna.Study, candidate: Candidate[Any], batch: Batch, i: int, folder: Path) -> None:
        ev = batch.evaluations
        recipe = Recipe(candidate.terms, candidate.condition, ev.generator, len(batch.candidates))
        params, ticket = getattr(candidate.ticket, "params", {}), ticket_name(candidate.ticket)
        trial = self._create(study, ticket, recipe, candidate.round, params, float(np.nan_to_num(ev.seconds[i])))
        if self._previews is not None and ev.status[i] != "failed":
            set_attribute(trial, PREVIEW_ATTR, upload_preview(self._previews, trial, ev, i, folder))
        write_result(trial, ev, i)
        if ev.status[i] == "done":
            study.tell(trial, objective_values(ev, i))
        else:
            study.tell(trial, state=TrialState.PRUNED if ev.status[i] == "stopped" else TrialState.FAIL)

    def _create(
        self, study: optuna.Study, ticket: str, recipe: Recipe, round: int, found: Mapping[str, Any], seconds: float
    ) -> optuna.Trial:
        """A running trial that says what it copies."""
        params, kinds = self._parameters(found, recipe.condition)
        now = datetime.datetime.now()
        running = FrozenTrial(
            number=-1,
            trial_id=-1,
            state=TrialState.RUNNING,
            value=None,
            datetime_start=now - datetime.timedelta(seconds=seconds),
            datetime_complete=None,
            params=params,
            distributions=kinds,
            user_attrs={},
            system_attrs={RECIPE_ATTR: recipe.to_json(), ROUND_ATTR: round, TICKET_ATTR: ticket},
            intermediate_values={},
        )
        return optuna.Trial(study, study._storage.create_new_trial(study._study_id, template_trial=running))

    def _parameters(
        self, found: Mapping[str, Any], condition: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, BaseDistribution]]:
        """The point in the box, where there is one, and the searched conditions."""
        box = [name for name in found if is_coordinate(name)]
        params = {name: found[name] for name in box}
        params |= {name: condition[name] for name in self._searched if name in condition}
        unit: dict[str, BaseDistribution] = dict.fromkeys(box, FloatDistribution(0.0, 1.0))
        return params, unit | {name: kind for name, kind in self._searched.items() if name in params}


def _state(copy: TrialCopy) -> TrialState:
    if copy.reason is not None:
        return TrialState.FAIL
    return TrialState.PRUNED if copy.trial.stopped else TrialState.COMPLETE


def _end(study: optuna.Study, trial: optuna.Trial, copy: TrialCopy, objective: Objective) -> None:
    """End a running trial as the host has it."""
    write_record(trial, objective, copy.trial.result, copy.reason)
    state = _state(copy)
    done = state == TrialState.COMPLETE
    values = copy.trial.values([metric.name for metric in objective.optimised]) if done else None
    study.tell(trial, values, state=None if done else state)


def _agrees(trial: FrozenTrial, copy: TrialCopy | None) -> bool:
    """Whether a trial of the study copies one of the host's, as far as it was written."""
    if copy is None:
        return False
    known, wanted = attributes(trial), copy.trial.recipe.to_json()
    recorded = known.get(RECIPE_ATTR, {})
    if not isinstance(recorded, dict) or any(recorded.get(key) != wanted[key] for key in ("terms", "condition")):
        return False
    if not trial.state.is_finished():
        return True
    written = known.get(RESULT_ATTR, {}), known.get(REASON_ATTR)
    held = ({}, copy.reason) if copy.reason is not None else (dict(copy.trial.result), None)
    # As JSON, in which NaN is NaN.
    return trial.state == _state(copy) and json.dumps(written, sort_keys=True) == json.dumps(held, sort_keys=True)


def mirror(
    storage: BaseStorage | str,
    *,
    name: str = "mirror",
    conditions: Mapping[str, Range | Choice] | None = None,
    previews: Any = None,
) -> Mirror:
    """A callback for any host's `optimize` that shows its evaluations in optuna-dashboard as they complete.

    Args:
        storage: an Optuna storage, as `sqlite("ax.db")`.
        name: of the study.
        conditions: the searched call arguments, which become parameters; others are in the recipes.
        previews: an Optuna artifact store for pictures of the outputs; none are made without it.

    Returns:
        A callback of the loop: `callbacks=[mirror(sqlite("ax.db"))]`.
    """
    return Mirror(storage, name=name, conditions=conditions, previews=previews)


def ticket_name(ticket: Any) -> str:
    """What a host tells a candidate by, in words: an Ax trial's index, an Optuna trial's number."""
    for attribute in ("index", "number"):
        if isinstance(found := getattr(ticket, attribute, None), int):
            return str(found)
    return str(ticket)
