"""What is recorded in the attributes of trials and studies; the names are stored, so they never change.

They are Optuna's *system* attributes, so that user attributes stay the user's. Earlier releases wrote user attributes
of the same names, and a user who enqueues a recipe does, so they are read where there is no system attribute.

Trials: the round is written before anything is sampled, the recipe as soon as the point is known. `surrogate:box` is
the number of the box of the round that the point lies in, if it is not the first, `surrogate:exact` the number of the
proposal that the trial evaluates. `surrogate:result` has the values of every metric, NFE and seconds, and the step
where the trial was stopped, if it was (its values are estimates then), `surrogate:reason` says why it failed,
`surrogate:estimates` has estimates that were reported otherwise to the pruner, `preview` is the artifact id of a
picture, `surrogate:lease` says whose a trial is while it runs, `surrogate:awaiting` that its output is made and kept,
and what it has cost: it runs on without a process, until somebody scores it.
Studies: `surrogate:study` is what `execution.session` records of the search, `surrogate:seeds` the folder of stored
seeds where the user has named one, `surrogate:warm` the names of the earlier searches that it learns from, and
`surrogate:warm:0` and so on what was taken over of each, `surrogate:answers` what a person has said (`explore`); a
mirror records its metrics.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from optuna import Study, Trial
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from surrogate_ax.errors import StorageError
from surrogate_ax_optuna.sqlite_storage import failures

RECIPE_ATTR = "surrogate:recipe"
ROUND_ATTR = "surrogate:round"
BOX_ATTR = "surrogate:box"
PROPOSAL_ATTR = "surrogate:exact"
RESULT_ATTR = "surrogate:result"
REASON_ATTR = "surrogate:reason"
ESTIMATES_ATTR = "surrogate:estimates"
LEASE_ATTR = "surrogate:lease"
AWAITING_ATTR = "surrogate:awaiting"
PREVIEW_ATTR = "preview"
TICKET_ATTR = "mirror:ticket"

STUDY_ATTR = "surrogate:study"
SEEDS_ATTR = "surrogate:seeds"
ANSWERS_ATTR = "surrogate:answers"
WARM_ATTR = "surrogate:warm"
METRICS_ATTR = "mirror:metrics"


def attributes(trial: FrozenTrial | Trial) -> Mapping[str, Any]:
    """The attributes of a trial as it was read, by name: the system's, behind them the user's."""
    frozen = trial._cached_frozen_trial if isinstance(trial, Trial) else trial
    return {**frozen.user_attrs, **frozen.system_attrs} if frozen.user_attrs else frozen.system_attrs


def set_attribute(trial: Trial, name: str, value: Any) -> None:
    """Write an attribute of a running trial.

    Raises:
        UpdateFinishedTrialError: the trial has ended.
    """
    trial.storage.set_trial_system_attr(trial._trial_id, name, value)
    trial._cached_frozen_trial.system_attrs[name] = value


def study_attributes(study: Study) -> Mapping[str, Any]:
    """The attributes of a study, by name: the system's, behind them the user's; of one in a pruner's bracket too.

    Raises:
        StorageError: Optuna cannot read them.
    """
    storage: BaseStorage = study._storage
    with readable(study):
        return {**storage.get_study_user_attrs(study._study_id), **storage.get_study_system_attrs(study._study_id)}


def set_study_attribute(study: Study, name: str, value: Any) -> None:
    """Write an attribute of a study."""
    study._storage.set_study_system_attr(study._study_id, name, value)


@contextlib.contextmanager
def readable(study: Study) -> Iterator[None]:
    """Say plainly that a study's storage cannot be read; nothing else than reading it may run inside."""
    try:
        yield
    except failures(ValueError, LookupError, TypeError, AttributeError) as error:  # of JSON, kinds and states
        raise StorageError(
            f"study {study.study_name!r}: Optuna cannot read its storage ({type(error).__name__}: {error}). Look after "
            "its file or server; where it was altered or damaged, put a copy in its place."
        ) from error
