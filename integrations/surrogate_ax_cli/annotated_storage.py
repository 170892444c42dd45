"""A storage as optuna-dashboard is shown it: a note on every trial, our plots, and seeds as artifacts of the study.

Nothing is written: the notes are worked out when the dashboard asks, so that they are there for searches that run, too.
What somebody writes into a note in the dashboard is kept in the storage as always, and stands in the place of ours.
"""

from __future__ import annotations

import json
import mimetypes
import threading
from collections.abc import Mapping
from typing import Any

from optuna.artifacts._upload import ARTIFACTS_ATTR_PREFIX
from optuna.storages import BaseStorage
from optuna.study._frozen import FrozenStudy
from optuna_dashboard._custom_plot_data import SYSTEM_ATTR_PLOT_DATA, split_plot_data
from optuna_dashboard._named_objectives import SYSTEM_ATTR_METRIC_NAMES
from optuna_dashboard._note import note_ver_key, split_body

from surrogate_ax.report.figures import study_figures
from surrogate_ax.report.notes import study_note, trial_note
from surrogate_ax.report.shown_study import ShownStudy
from surrogate_ax_optuna.source import OptunaSource

SEEDS = 24  # shown as artifacts, the first
MARGIN = {"l": 64, "r": 16, "t": 120, "b": 48}  # with room for a title above the legend
MOST = 300  # notes: of the best trials; the dashboard looks for each among all of them


def _delegate(name: str) -> Any:
    def call(self: Any, *args: Any, **options: Any) -> Any:
        return getattr(self._inner, name)(*args, **options)

    call.__name__ = name
    return call


_Delegating: Any = type(
    "_Delegating", (BaseStorage,), {name: _delegate(name) for name in sorted(BaseStorage.__abstractmethods__)}
)


class AnnotatedStorage(_Delegating):  # type: ignore[misc]
    """A storage in which one study has notes, plots and seeds.

    Args:
        inner: the storage.
        study: the id of the study there.
        source: reads that study.
    """

    def __init__(self, inner: BaseStorage, study: int, source: OptunaSource) -> None:
        self._inner, self._study, self._source = inner, study, source
        self._lock = threading.Lock()
        self._state, self._known = "", dict[str, Any]()

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """The attributes that are stored, with ours where there are none of that name."""
        return self._joined(study_id, self._inner.get_study_system_attrs(study_id))

    def get_all_studies(self) -> list[FrozenStudy]:
        """The studies, with their attributes as above."""
        studies = self._inner.get_all_studies()
        for study in studies:
            study.system_attrs = self._joined(study._study_id, study.system_attrs)
        return studies

    def _joined(self, study: int, stored: Mapping[str, Any]) -> dict[str, Any]:
        if study != self._study:
            return dict(stored)
        with self._lock:
            state = self._source.state()
            if state != self._state:
                ids = {trial.number: trial._trial_id for trial in self._inner.get_all_trials(study, deepcopy=False)}
                self._state, self._known = state, _annotations(self._source.read(), study, ids, self._source)
            written = {key.split(":")[1] for key in stored if key.startswith("dashboard:") and ":note_" in key}
            ours = {key: value for key, value in self._known.items() if key.split(":")[1] not in written}
            return {**ours, **stored}


def _annotations(shown: ShownStudy, study: int, ids: Mapping[int, int], source: OptunaSource) -> dict[str, Any]:
    """System attributes that the dashboard reads as notes, plots, artifacts and names of metrics."""
    found: dict[str, Any] = {
        SYSTEM_ATTR_METRIC_NAMES: [metric.name for metric in shown.objective.optimised],
        note_ver_key(None): 1,
        **split_body(study_note(shown), None),
    }
    noted = dict.fromkeys([*shown.ranking, *range(len(shown.trials) - 1, -1, -1)])
    for place in list(noted)[:MOST]:
        trial = shown.trials[place]
        identity, artifact = ids[trial.number], source.artifact(trial.number)
        picture = f"/artifacts/{study}/{identity}/{artifact}" if artifact else ""
        found[note_ver_key(identity)] = 1
        found |= split_body(trial_note(shown, place, picture=picture), identity)
    for i, figure in enumerate(study_figures(shown)):
        drawing = {
            "data": figure.drawing["data"],
            "layout": {**figure.drawing["layout"], "title": {"text": figure.title}},
        }
        found |= split_plot_data(json.dumps(drawing), f"{SYSTEM_ATTR_PLOT_DATA}{_identifier(figure.title, i)}:")
    for number in sorted(shown.alone.values())[:SEEDS]:
        artifact, file = source.artifact(number), shown.trials_by_number[number].file
        if artifact and shown.trials_by_number[number].state == "done":
            mime = mimetypes.guess_type(file, strict=False)[0] or "application/octet-stream"
            meta = {"artifact_id": artifact, "filename": f"seed {file}", "mimetype": mime, "encoding": ""}
            found[f"{ARTIFACTS_ATTR_PREFIX}{artifact}"] = json.dumps(meta)
    return found


def _identifier(title: str, i: int) -> str:
    return f"{title.lower().replace(' ', '-')}-{i}"
