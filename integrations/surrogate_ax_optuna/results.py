"""Telling a study what came of a batch: pictures first, then values, constraints and reasons."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.study._tell import _tell_with_warning
from optuna.trial import TrialState

from surrogate_ax.errors import StorageError, SurrogateError
from surrogate_ax.scoring.evaluator import Evaluations
from surrogate_ax_optuna.attributes import PREVIEW_ATTR, set_attribute
from surrogate_ax_optuna.previews import encoding, upload
from surrogate_ax_optuna.search_space import objective_values, write_result


def tell_results(
    trials: Sequence[optuna.Trial],
    evaluations: Evaluations,
    previews: Any,
    *,
    told: Callable[[int], None],
) -> None:
    """Record n evaluations; a trial that has ended already, or was taken away, is left as it is.

    Args:
        trials: n; each is told to its own study, whose sampler knows it.
        evaluations: of them.
        previews: an Optuna artifact store for pictures of the outputs, or None.
        told: called with the id of each trial that is done with.

    Raises:
        StorageError: a preview could not be stored; the values of all trials have been told.
    """
    shown = [i for i in range(len(trials)) if previews is not None and evaluations.status[i] != "failed"]
    failed: tuple[int, Exception] | None = None
    with encoding(evaluations, {i: trials[i] for i in shown}) as pictures:
        for i, trial in enumerate(trials):
            with contextlib.suppress(UpdateFinishedTrialError):
                error = _upload(previews, trial, pictures[i]) if i in pictures else None
                if error is not None and failed is None:
                    failed = trial.number, error
                _tell_one(trial, evaluations, i)
            told(trial._trial_id)
    if failed is not None:
        raise StorageError(
            f"previews: the picture of trial {failed[0]} could not be stored ({failed[1]}). The values of its "
            "batch are kept. Make room or look after the artifact store, then run again: the study goes on."
        ) from failed[1]


def _upload(previews: Any, trial: optuna.Trial, picture: Future[Path]) -> Exception | None:
    """Upload a picture; what a disk or a store raises is handed back, as a value is worth more than its picture."""
    try:
        artifact = upload(previews, trial, picture.result())
    except (SurrogateError, UpdateFinishedTrialError):
        raise
    except Exception as error:  # noqa: BLE001  each kind of store has errors of its own
        return error
    set_attribute(trial, PREVIEW_ATTR, artifact)
    return None


def _tell_one(trial: optuna.Trial, evaluations: Evaluations, i: int) -> None:
    status = evaluations.status[i]
    write_result(trial, evaluations, i)
    values = objective_values(evaluations, i) if status == "done" else None
    state = {"done": None, "stopped": TrialState.PRUNED}.get(status, TrialState.FAIL)
    # As `Study.tell`, which copies the trial besides: with its recipe that takes longer than all else here.
    _tell_with_warning(trial.study, trial, values, state, skip_if_finished=True)
