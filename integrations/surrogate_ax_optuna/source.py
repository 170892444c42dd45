"""`study_source`: an Optuna study as pages show it, with the artifacts of its trials."""

from __future__ import annotations

import json
import logging
import math
import threading
import warnings
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.artifacts._upload import ARTIFACTS_ATTR_PREFIX
from optuna.trial import FrozenTrial, TrialState

from surrogate_ax.execution.records import EndedTrial
from surrogate_ax.latents.space import is_coordinate
from surrogate_ax.media.preview_files import Preview
from surrogate_ax.policies.noisy import settled_record
from surrogate_ax.report.shown_study import Figure, ShownStudy, ShownTrial, State
from surrogate_ax.scoring.objective import Objective
from surrogate_ax_optuna.attributes import (
    PREVIEW_ATTR,
    REASON_ATTR,
    RECIPE_ATTR,
    STUDY_ATTR,
    attributes,
    study_attributes,
)
from surrogate_ax_optuna.record import StudyReader, study_objective
from surrogate_ax_optuna.seeds import Seeds, study_seeds
from surrogate_ax_optuna.trials import is_gone, is_lost, read_recipe, round_of, study_trials

STATES: dict[TrialState, State] = {
    TrialState.COMPLETE: "done",
    TrialState.PRUNED: "stopped",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
}
_logger = logging.getLogger(__name__)


def study_source(
    study: optuna.Study, *, objective: Objective | None = None, previews: Any = None, seeds: Seeds = None
) -> OptunaSource:
    """A study for the pages of `surrogate_ax_web`: `write_report(study_source(study), "report.html")`.

    Args:
        study: of `optimize`, of `mirror`, or of trials with `suggest_latents` and `record`.
        objective: ranks what was measured; left out, the one that the study has recorded.
        previews: the artifact store that outputs were uploaded to.
        seeds: where stored seeds are kept, if not where the study keeps them.

    Raises:
        MismatchError: the study has no record of its metrics.
    """
    return OptunaSource(study, objective or study_objective(study), previews, seeds)


class OptunaSource:
    """A `StudySource` of the core's over an Optuna study. Arguments as for `study_source`."""

    def __init__(self, study: optuna.Study, objective: Objective, previews: Any, seeds: Seeds) -> None:
        self._study, self._objective, self._store = study, objective, previews
        self._seeds = study_seeds(study, seeds)
        self._reader = StudyReader(objective, self._seeds, tells=objective, decode=lambda trial: None)
        self._shown: dict[int, ShownTrial] = {}  # ended trials, which do not change any more
        self._artifacts: dict[int, tuple[str, str]] = {}  # ids and file names
        self._lock = threading.Lock()  # pages ask from several threads

    def state(self) -> str:
        """How many trials are in which state, and when the last one ended."""
        trials = study_trials(self._study)
        ended = [trial.datetime_complete for trial in trials if trial.datetime_complete is not None]
        counts = [sum(trial.state == state for trial in trials) for state in TrialState]
        return f"{'-'.join(map(str, counts))}-{max(ended).timestamp() if ended else 0:.6f}"

    def read(self) -> ShownStudy:
        """The study as it is now."""
        with self._lock:
            trials = study_trials(self._study)
            self._reader.read(trials)
            ended = {trial.number: trial for trial in self._reader.ended}
            shown = [self._show(trial, ended.get(trial.number)) for trial in trials if _counts(trial)]
            recorded = study_attributes(self._study).get(STUDY_ATTR, {})
            search = recorded if isinstance(recorded, dict) else {}
            name, history = self._study.study_name, settled_record(self._reader.history())
            return ShownStudy(name, "Optuna", self._objective, shown, history, search, self._seeds, list(ended))

    def preview(self, number: int) -> Preview | None:
        """The artifact of a trial's output; a warning where it is gone."""
        if self._store is not None and number not in self._artifacts:
            self.read()
        artifact, name = self._artifacts.get(number, ("", ""))
        if self._store is None or not name:
            return None
        try:
            with self._store.open_reader(artifact) as reader:
                return Preview(name, reader.read())
        except Exception as error:  # noqa: BLE001  each kind of store has errors of its own
            _logger.warning("trial %d: its preview is gone (%s: %s).", number, type(error).__name__, error)
            return None

    def artifact(self, number: int) -> str:
        """The id of the artifact of a trial's output as of the last `read`, empty where there is none."""
        return self._artifacts.get(number, ("", ""))[0]

    def figures(self) -> Sequence[Figure]:
        """Optuna's plots of the searched conditions, where Plotly is there to draw them."""
        plots, found = optuna.visualization, list[Figure]()
        done = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if not done or not plots.is_available():
            return found
        searched = sorted({name for trial in done for name in trial.params if not is_coordinate(name)})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            for i, metric in enumerate(self._objective.optimised if searched else ()):
                chosen: dict[str, Any] = {"target": _value(i), "target_name": metric.name}
                drawn = plots.plot_slice(self._study, params=searched, **chosen)
                found.append(_figure(f"{metric.name} by conditions", drawn))
        return found

    def _show(self, trial: FrozenTrial, ended: EndedTrial | None) -> ShownTrial:
        known = self._shown.get(trial.number)
        if known is not None:
            return known
        artifact, file = _artifact(trial)
        shown = _shown(trial, ended, [metric.name for metric in self._objective.metrics], file)
        if file:
            self._artifacts[trial.number] = artifact, file
        if trial.state.is_finished():
            self._shown[trial.number] = shown
        return shown


def _counts(trial: FrozenTrial) -> bool:
    """Whether a trial is one of the search's: not waiting, broken off, or repeated by another."""
    return trial.state in STATES and not is_gone(trial) and not is_lost(trial)


def _shown(trial: FrozenTrial, ended: EndedTrial | None, names: Sequence[str], file: str) -> ShownTrial:
    known, state = attributes(trial), STATES[trial.state]
    if ended is None:
        recipe = read_recipe(trial) if RECIPE_ATTR in known else None
        return ShownTrial(trial.number, state, round_of(trial), {}, recipe, file)
    values = ended.estimates(names) if ended.stopped else ended.values(names)
    return ShownTrial(
        trial.number,
        state,
        ended.round,
        {name: value for name, value in zip(names, values, strict=True) if math.isfinite(value)},
        ended.recipe,
        file,
        ended.nfe,
        ended.seconds,
        trial.datetime_complete.timestamp() if trial.datetime_complete else None,
        str(known.get(REASON_ATTR, "")),
    )


def _artifact(trial: FrozenTrial) -> tuple[str, str]:
    """Id and file name of what was uploaded for a trial's output, empty where there is none."""
    known = attributes(trial)
    artifact = known.get(PREVIEW_ATTR)
    uploaded = known.get(f"{ARTIFACTS_ATTR_PREFIX}{artifact}")
    try:
        return (str(artifact), str(json.loads(uploaded)["filename"])) if isinstance(uploaded, str) else ("", "")
    except (ValueError, KeyError, TypeError):
        return "", ""


def _figure(title: str, figure: Any) -> Figure:
    return Figure(title, "", json.loads(figure.update_layout(title=None).to_json()))


def _value(i: int) -> Any:
    return lambda trial: trial.values[i]
