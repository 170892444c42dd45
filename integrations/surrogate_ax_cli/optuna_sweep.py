"""A sweep whose trials an Optuna study keeps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import optuna
from optuna.study import StudyDirection

from surrogate_ax.execution.records import SearchRecord
from surrogate_ax.execution.warm_start import Earlier
from surrogate_ax_cli import storages
from surrogate_ax_cli.assembly import SweepComponents
from surrogate_ax_cli.components import make_pruner, make_sampler
from surrogate_ax_cli.sweep import FILE_ATTR, SWEEP_ATTR, check_sweep_record, sweep_record
from surrogate_ax_cli.sweep_file import SweepFile
from surrogate_ax_optuna import optimize, read_record
from surrogate_ax_optuna.attributes import STUDY_ATTR, set_study_attribute, study_attributes
from surrogate_ax_optuna.storage import reachable


class OptunaSweep:
    """A sweep's trials in a study.

    Args:
        sweep: the file.
        components: what it names, built.
        workers: how many work on it at once, if more than are seen.
        unscored: a folder where outputs are kept for others to score; None scores them here.

    Raises:
        ArgumentError: an unknown sampler or pruner, or arguments that they do not take.
    """

    def __init__(
        self, sweep: SweepFile, components: SweepComponents, *, workers: int = 1, unscored: Path | None = None
    ) -> None:
        self._sweep = sweep
        self._components = components
        self._workers, self._unscored = workers, unscored
        self._sampler = make_sampler(sweep.sampler, sweep.seed, planned=components.planned)
        self._pruner = make_pruner(sweep.pruner)

    def load_record(self) -> SearchRecord | None:
        """The trials of the study, if there is one.

        Raises:
            ArgumentError: a storage that cannot be reached, or is of something else.
            MismatchError: a study that this sweep did not begin.
        """
        storage = storages.find_storage(self._sweep)
        study = None if storage is None else storages.load_study(self._sweep, storage)
        with storages.reading(self._sweep):
            if study is None or not self._has_record(study):
                return None
            return read_record(study, self._components.objective)

    def run(self, earlier: Sequence[Earlier]) -> None:
        """Open or make the study and go on to the budget.

        Args:
            earlier: searches that a new study learns from.

        Raises:
            SurrogateError: as `surrogate_ax_optuna.optimize`.
        """
        sweep, components = self._sweep, self._components
        planned = sweep.checkpoints is None
        with reachable():
            study = self._begin()
        optimize(
            study,
            components.generator,
            components.objective,
            total_trials=None if planned else sweep.budget,
            budget=sweep.budget if planned else None,
            batch_size=sweep.batch,
            rng=sweep.seed,
            policy=components.policy,
            conditions=sweep.conditions,
            checkpoints=sweep.checkpoints or (),
            overlap=sweep.overlap,
            previews=storages.make_previews(sweep),
            device=components.device,
            workers=self._workers,
            unscored=self._unscored,
            warm=earlier,
        )

    def _begin(self) -> optuna.Study:
        """The study, made if it is not there."""
        sweep, optimised = self._sweep, self._components.objective.optimised
        study = optuna.create_study(
            study_name=sweep.name,
            storage=storages.make_storage(sweep),
            sampler=self._sampler,
            pruner=self._pruner,
            directions=[StudyDirection[metric.goal.upper()] for metric in optimised],
            load_if_exists=True,
        )
        begun = study_attributes(study).get(STUDY_ATTR, {}).get("plan", {})
        if begun.get("kind") == "o3" and sweep.sampler is None:  # by a release that took TPE for call arguments
            study.sampler = make_sampler(None, sweep.seed, planned=False)
        if not self._has_record(study):
            study.set_user_attr(SWEEP_ATTR, sweep_record(sweep))
            study.set_metric_names([metric.name for metric in optimised])
        set_study_attribute(study, FILE_ATTR, str(sweep.path.resolve()))
        return study

    def _has_record(self, study: optuna.Study) -> bool:
        """Whether this sweep began the study. One that is empty and has no record may be used; any other is refused."""
        attributes = study.user_attrs  # read once: another worker may be about to write it
        recorded = attributes.get(SWEEP_ATTR)
        if recorded is None and not attributes and not study.get_trials(deepcopy=False):
            return False
        check_sweep_record(self._sweep, recorded, f"study {study.study_name!r} in {storages.display_name(self._sweep)}")
        return True
