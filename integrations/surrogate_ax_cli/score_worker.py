"""`surrogate-ax worker --only score`: scores what other workers make. No model is loaded."""

from __future__ import annotations

import time

from surrogate_ax.errors import MismatchError
from surrogate_ax.execution.loop import POLL
from surrogate_ax.execution.records import SearchRecord
from surrogate_ax.execution.stops import check_stop
from surrogate_ax.scoring.objective import Objective
from surrogate_ax_cli import storages
from surrogate_ax_cli.assembly import error_context, load_score
from surrogate_ax_cli.sweep import SWEEP_ATTR, check_sweep_record
from surrogate_ax_cli.sweep_file import SweepFile
from surrogate_ax_cli.sweep_hosts import unscored_folder
from surrogate_ax_optuna import OutputFolder, read_record, score_kept
from surrogate_ax_optuna.attributes import STUDY_ATTR, study_attributes
from surrogate_ax_optuna.storage import reachable


def score_sweep(sweep: SweepFile) -> SearchRecord:
    """Score a sweep's outputs until its budget is spent; waits for a study that has not begun.

    Args:
        sweep: the file.

    Raises:
        ArgumentError: a sweep on Ax, or one that scores while it generates.
        MismatchError: a study that another sweep has begun.
    """
    if sweep.backend == "ax":
        raise sweep.error("backend", "an Ax client lives in one process; several workers share Optuna's studies.")
    if sweep.checkpoints is None or sweep.checkpoints:
        raise sweep.error("checkpoints", "estimates are scored while outputs are made; leave them out, or `--only`.")
    if sweep.generator.scores_there:
        raise sweep.error("generator", "its actors score; leave `score: true` out, or `--only`.")
    with error_context(sweep, "score"):
        objective = Objective(*sweep.metrics, score=load_score(sweep))
    wait = POLL[0]
    while True:
        check_stop()
        storage = storages.find_storage(sweep)
        study = None if storage is None else storages.load_study(sweep, storage)
        recorded = {} if study is None else study_attributes(study)
        if study is not None and {SWEEP_ATTR, STUDY_ATTR} <= recorded.keys():
            break
        time.sleep(wait)
        wait = min(2 * wait, POLL[1])
    where = f"study {study.study_name!r} in {storages.display_name(sweep)}"
    check_sweep_record(sweep, recorded[SWEEP_ATTR], where)
    if recorded[STUDY_ATTR].get("metrics") != objective.describe():
        raise MismatchError(sweep.at("metrics", f"{where} was begun with {recorded[STUDY_ATTR].get('metrics')}."))
    folder = OutputFolder(unscored_folder(sweep))
    with reachable():
        score_kept(study, objective, folder, total_trials=sweep.budget, previews=storages.make_previews(sweep))
    return read_record(study, objective)
