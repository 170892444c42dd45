"""Reading a study whose records do not fit its trials."""

from __future__ import annotations

import optuna
import pytest

from surrogate_ax import Metric, Objective
from surrogate_ax.errors import MismatchError
from surrogate_ax_optuna import optimize, read_record
from surrogate_ax_optuna.attributes import STUDY_ATTR, study_attributes


def test_trials_with_fewer_values_than_the_record_has_metrics_are_refused(make_generator):
    study = optuna.create_study(direction="maximize")
    objective = Objective(Metric("a"), score=lambda outputs, _: outputs[:, 0])
    optimize(study, make_generator(), objective, total_trials=4, batch_size=4, rng=0)
    record = study_attributes(study)[STUDY_ATTR]
    altered = {**record, "metrics": [["a", "maximize", None], ["b", "minimize", None]]}
    study._storage.set_study_system_attr(study._study_id, STUDY_ATTR, altered)
    with pytest.raises(MismatchError, match=r"trial 0: expected a value for each of \['a', 'b'\].* got 1\."):
        read_record(study)
