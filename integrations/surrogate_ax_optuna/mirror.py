"""Any host's evaluations, written into an Optuna storage as they complete: optuna-dashboard shows them live."""

from __future__ import annotations

import datetime
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import TrialState

from surrogate_ax.errors import MismatchError
from surrogate_ax.execution.executor import Candidate
from surrogate_ax.execution.loop import Batch
from surrogate_ax.generation.conditions import Choice, Range
from surrogate_ax.generation.recipe import Recipe
from surrogate_ax.latents.space import is_coordinate
from surrogate_ax.scoring.evaluator import Evaluations
from surrogate_ax_optuna.attributes import (
    METRICS_ATTR,
    PREVIEW_ATTR,
    RECIPE_ATTR,
    ROUND_ATTR,
    TICKET_ATTR,
    attributes,
    set_attribute,
    set_study_attribute,
    study_attributes,
)
from surrogate_ax_optuna.previews import upload_preview
from surrogate_ax_optuna.search_space import distributions, objective_values, write_result


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
            self._study = self._open(batch.evaluations)
        with tempfile.TemporaryDirectory() as folder:
            for i, candidate in enumerate(batch.candidates):
                ticket = ticket_name(candidate.ticket)
                if ticket not in self._there:
                    self._there.add(ticket)
                    self._record(self._study, candidate, batch, i, Path(folder))

    def _open(self, ev: Evaluations) -> optuna.Study:
        directions = [StudyDirection[metric.goal.upper()] for metric in ev.objective.optimised]
        study = optuna.create_study(
            storage=self._storage, study_name=self._name, directions=directions, load_if_exists=True
        )
        described = ev.objective.describe()
        recorded = study_attributes(study).get(METRICS_ATTR, described)
        if recorded != described or study.directions != directions:
            raise MismatchError(f"study {self._name!r}: it mirrors {recorded}, got {described}. Use another name.")
        set_study_attribute(study, METRICS_ATTR, described)
        self._there = {str(attributes(trial).get(TICKET_ATTR)) for trial in study.get_trials(deepcopy=False)}
        return study

    def _record(self, study: optuna.Study, candidate: Candidate[Any], batch: Batch, i: int, folder: Path) -> None:
        ev = batch.evaluations
        params, kinds = self._parameters(candidate)
        recipe = Recipe(candidate.terms, candidate.condition, ev.generator, len(batch.candidates))
        record = {
            RECIPE_ATTR: recipe.to_json(),
            ROUND_ATTR: candidate.round,
            TICKET_ATTR: ticket_name(candidate.ticket),
        }
        now = datetime.datetime.now()
        running = optuna.trial.FrozenTrial(
            number=-1,
            trial_id=-1,
            state=TrialState.RUNNING,
            value=None,
            datetime_start=now - datetime.timedelta(seconds=float(np.nan_to_num(ev.seconds[i]))),
            datetime_complete=None,
            params=params,
            distributions=kinds,
            user_attrs={},
            system_attrs=record,
            intermediate_values={},
        )
        trial = optuna.Trial(study, study._storage.create_new_trial(study._study_id, template_trial=running))
        if self._previews is not None and ev.status[i] != "failed":
            set_attribute(trial, PREVIEW_ATTR, upload_preview(self._previews, trial, ev, i, folder))
        write_result(trial, ev, i)
        if ev.status[i] == "done":
            study.tell(trial, objective_values(ev, i))
        else:
            study.tell(trial, state=TrialState.PRUNED if ev.status[i] == "stopped" else TrialState.FAIL)

    def _parameters(self, candidate: Candidate[Any]) -> tuple[dict[str, Any], dict[str, BaseDistribution]]:
        """The point in the box, where the ticket has one, and the searched conditions."""
        found = dict(getattr(candidate.ticket, "params", {}))
        box = [name for name in found if is_coordinate(name)]
        params = {name: found[name] for name in box}
        params |= {name: candidate.condition[name] for name in self._searched if name in candidate.condition}
        unit: dict[str, BaseDistribution] = dict.fromkeys(box, FloatDistribution(0.0, 1.0))
        return params, unit | {name: kind for name, kind in self._searched.items() if name in params}


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
