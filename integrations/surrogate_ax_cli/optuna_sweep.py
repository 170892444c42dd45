"""A sweep whose trials an Optuna study keeps."""

from __future__ import annotations

from pathlib import Path

import optuna
from optuna.artifacts import FileSystemArtifactStore
from optuna.study import StudyDirection

from surrogate_ax_cli import storages
from surrogate_ax_cli.assembly import SweepComponents
from surrogate_ax_cli.named import make_pruner, make_sampler
from surrogate_ax_cli.sweep import SWEEP_ATTR, Record, check_sweep_record, sweep_record
from surrogate_ax_cli.sweep_file import SweepFile
from surrogate_ax_optuna import OptunaHost, optimize, status, write_report
from surrogate_ax_optuna.attributes import RESULT_ATTR
from surrogate_ax_optuna.trials import ended_trials, read_recipe


class OptunaSweep:
    """A study as the backend of a sweep.

    Args:
        sweep: the file.
        parts: what it names, built.

    Raises:
        ArgumentError: an unknown sampler or pruner, or arguments that they do not take.
    """

    def __init__(self, sweep: SweepFile, parts: SweepComponents) -> None:
        self._sweep = sweep
        self._parts = parts
        self._sampler = make_sampler(sweep.sampler, sweep.seed)
        self._pruner = make_pruner(sweep.pruner)

    def found(self) -> Record | None:
        """The trials of the study, if there is one.

        Raises:
            ArgumentError: a storage that cannot be reached, or is of something else.
            MismatchError: a study that this sweep did not begin.
        """
        storage = storages.find_storage(self._sweep)
        study = None if storage is None else storages.load_study(self._sweep, storage)
        if study is None or not self._begun(study):
            return None
        ended = ended_trials(study)
        recipes = [read_recipe(trial) for trial in ended]
        nfe = sum(float(trial.user_attrs.get(RESULT_ATTR, {}).get("nfe", 0.0)) for trial in ended)
        history = OptunaHost(study, self._parts.generator, self._parts.objective).history()
        return Record(history, recipes, [trial.number for trial in ended], nfe, status(study))

    def run(self) -> None:
        """Open or make the study and go on to the budget.

        Raises:
            SurrogateError: as `surrogate_ax_optuna.optimize`.
        """
        sweep, parts = self._sweep, self._parts
        planned = sweep.checkpoints is None
        storage = storages.make_storage(sweep)
        optimised = parts.objective.optimised
        study = optuna.create_study(
            study_name=sweep.name,
            storage=storage,
            sampler=self._sampler,
            pruner=self._pruner,
            directions=[StudyDirection[metric.goal.upper()] for metric in optimised],
            load_if_exists=True,
        )
        if not self._begun(study):
            study.set_user_attr(SWEEP_ATTR, sweep_record(sweep))
            study.set_metric_names([metric.name for metric in optimised])
        previews = None
        if sweep.previews:
            folder = storages.previews_folder(sweep)
            folder.mkdir(parents=True, exist_ok=True)
            previews = FileSystemArtifactStore(folder)
        optimize(
            study,
            parts.generator,
            parts.objective,
            total_trials=None if planned else sweep.budget,
            budget=sweep.budget if planned else None,
            batch_size=sweep.batch,
            rng=sweep.seed,
            policy=parts.policy,
            conditions=sweep.conditions,
            checkpoints=sweep.checkpoints or (),
            overlap=sweep.overlap,
            previews=previews,
            device=parts.device,
        )

    def report(self, path: Path, items: int) -> Path:
        """Write the study as one HTML file, with so many of the best outputs."""
        storage = storages.make_storage(self._sweep)
        study = optuna.load_study(study_name=self._sweep.name, storage=storage)
        folder = storages.previews_folder(self._sweep)
        previews = FileSystemArtifactStore(folder) if folder.is_dir() else None
        parts = self._parts
        return write_report(
            study, path, objective=parts.objective, generator=parts.generator, previews=previews, items=items
        )

    def _begun(self, study: optuna.Study) -> bool:
        """Whether the study has been begun by this sweep; an empty one without a mark may be taken."""
        recorded = study.user_attrs.get(SWEEP_ATTR)
        if recorded is None and not study.user_attrs and not study.get_trials(deepcopy=False):
            return False
        check_sweep_record(self._sweep, recorded, f"study {study.study_name!r} in {storages.shown(self._sweep)}")
        return True
