"""`write_report`: an Optuna study as one HTML file, with Optuna's own plots and what the outputs are."""

from __future__ import annotations

import logging
import tempfile
import warnings
from pathlib import Path
from typing import Any

import optuna
from optuna.artifacts import download_artifact, get_all_artifact_meta
from optuna.trial import FrozenTrial, TrialState

from surrogate_ax.execution.records import EndedTrial
from surrogate_ax.generation.protocols import Generator
from surrogate_ax.latents.space import is_coordinate
from surrogate_ax.report.page import Figure, Section, write_page
from surrogate_ax.report.sections import Entry, common_sections, facts, ranking, with_outputs
from surrogate_ax.scoring.objective import Objective
from surrogate_ax_optuna.attributes import PREVIEW_ATTR, attributes
from surrogate_ax_optuna.record import read_record, study_objective
from surrogate_ax_optuna.seeds import Seeds, study_seeds

_logger = logging.getLogger(f"surrogate_ax.{__name__}")


def write_report(
    study: optuna.Study,
    path: Path | str,
    *,
    objective: Objective | None = None,
    generator: Generator | None = None,
    previews: Any = None,
    items: int = 12,
    title: str | None = None,
    seeds: Seeds = None,
) -> Path:
    """Write a study as one self-contained HTML file: at most 6 MB beside the embedded outputs.

    Args:
        study: of `optimize`, of `mirror`, or of trials with `suggest_latents` and `record`.
        path: where to.
        objective: ranks what was measured; left out, the one that the study has recorded.
        generator: remakes the best outputs where no preview of them was kept.
        previews: the artifact store that the pictures were uploaded to.
        items: outputs shown, at most 30.
        title: of the page; the study's name if left out.
        seeds: where stored seeds are kept, if not where the study keeps them.

    Returns:
        The file.

    Raises:
        MismatchError: the study has no record of its metrics, or was made with another generator.
        ArgumentError: the file cannot be written.
    """
    objective = objective or study_objective(study)
    ended, trials = read_record(study, objective, seeds=seeds).trials, study.get_trials(deepcopy=False)
    entries = [_entry(trial, objective) for trial in ended]
    with tempfile.TemporaryDirectory() as folder:
        if previews is not None:
            for i in ranking(entries, objective)[:items]:
                entries[i] = _with_preview(entries[i], trials[ended[i].number], study, previews, Path(folder))
        if generator is not None:
            entries = with_outputs(
                entries, objective, generator, Path(folder), items=items, seeds=study_seeds(study, seeds)
            )
        sections = common_sections(entries, objective, items=items)
    sections.insert(-1, _plots(study, objective))
    known = [("Study", study.study_name), ("Sampler", type(study.sampler).__name__), *facts(entries, objective)]
    return write_page(path, title=title or study.study_name, facts=known, sections=sections, plotly=_plotly())


def _entry(trial: EndedTrial, objective: Objective) -> Entry:
    names = [metric.name for metric in objective.metrics]
    values = dict(zip(names, trial.values(names), strict=True))
    return Entry(f"trial {trial.number}", values, trial.recipe, nfe=trial.nfe, seconds=trial.seconds)


def _with_preview(entry: Entry, trial: FrozenTrial, study: optuna.Study, store: Any, folder: Path) -> Entry:
    """The entry with the file of its preview, which may have been deleted: the output is remade then, or not shown."""
    artifact = attributes(trial).get(PREVIEW_ATTR)
    metas = get_all_artifact_meta(trial, storage=study._storage)
    names = {meta.artifact_id: meta.filename for meta in metas}
    if artifact not in names:
        return entry
    file = folder / f"trial{trial.number}{Path(names[artifact]).suffix}"
    try:
        download_artifact(artifact_store=store, artifact_id=artifact, file_path=str(file))
    except Exception as error:  # noqa: BLE001  each kind of store has errors of its own
        _logger.warning("%s: its preview is gone (%s: %s).", entry.name, type(error).__name__, error)
        return entry
    return Entry(entry.name, entry.values, entry.recipe, file, entry.nfe, entry.seconds)


def _plots(study: optuna.Study, objective: Objective) -> Section:
    """Optuna's figures, where Plotly is there to draw them."""
    if not optuna.visualization.is_available():
        return Section("Optuna's plots", "<p>They need Plotly: pip install plotly.</p>")
    plots = optuna.visualization
    done = [trial for trial in study.get_trials(deepcopy=False) if trial.state == TrialState.COMPLETE]
    searched = sorted({name for trial in done for name in trial.params if not is_coordinate(name)})
    figures = list[Figure]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        figures.append(_figure("When trials ran", plots.plot_timeline(study)))
        for i, metric in enumerate(objective.optimised if done else ()):
            chosen: dict[str, Any] = {"target": _value(i), "target_name": metric.name}
            figures.append(_figure(f"History of {metric.name}", plots.plot_optimization_history(study, **chosen)))
            if searched:
                drawn = plots.plot_slice(study, params=searched, **chosen)
                figures.append(_figure(f"{metric.name} by call arguments", drawn))
    return Section("Optuna's plots", figures=figures)


def _figure(title: str, figure: Any) -> Figure:
    return Figure(title, "", figure.update_layout(title=None).to_json())


def _value(i: int) -> Any:
    return lambda trial: trial.values[i]


def _plotly() -> str:
    if not optuna.visualization.is_available():
        return ""
    from plotly.offline import get_plotlyjs

    source: str = get_plotlyjs()
    return source
