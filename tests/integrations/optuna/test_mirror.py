"""The mirror: what another host evaluates stands in an Optuna storage as it completes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.artifacts import FileSystemArtifactStore, get_all_artifact_meta
from optuna.trial import TrialState

from surrogate_ax import Choice, Evaluator, Metric, Objective, SurrogateSpace
from surrogate_ax.errors import MismatchError
from surrogate_ax.execution.executor import Candidate
from surrogate_ax.execution.loop import Batch
from surrogate_ax_optuna import mirror, sqlite
from surrogate_ax_optuna.trials import read_recipe


@dataclass(frozen=True)
class Ticket:
    index: int
    params: dict[str, Any] = field(default_factory=dict)


def _two(outputs: Any, _: Any) -> dict[str, Any]:
    rows = outputs.flatten(1).double().numpy()
    return {"first": [np.nan if row[0] > 1.3 else row[0] for row in rows], "low": rows[:, 1]}


OBJECTIVE = Objective(Metric("first"), Metric("low", "at_most", 0.5), score=_two)


@pytest.fixture
def make_batch(make_generator):
    def make(begin: int, objective: Objective = OBJECTIVE) -> Batch:
        generator = make_generator(prior=(4, 4), conditional=True)
        space = SurrogateSpace.sample(generator.prior, seeds=3, rng=0)
        u = np.random.default_rng(begin).uniform(size=(6, 2))
        conditions = [{"prompt": "ab"[i % 2]} for i in range(6)]
        evaluations = Evaluator(generator, objective)(space.latents(u), conditions)
        candidates = [
            Candidate(Ticket(begin + i, {"u0": u[i, 0], "u1": u[i, 1], "round": 0}), terms, conditions[i], 0)
            for i, terms in enumerate(space.terms(u))
        ]
        return Batch(candidates, evaluations, begin + 6, 12)

    return make


def test_batches_stand_in_the_storage_with_previews(make_batch, tmp_path):
    storage = sqlite(tmp_path / "ax.db")
    (tmp_path / "previews").mkdir()
    store = FileSystemArtifactStore(str(tmp_path / "previews"))
    show = mirror(storage, name="ax", conditions={"prompt": Choice(["a", "b"])}, previews=store)
    batches = [make_batch(0), make_batch(6)]
    for count, batch in zip((6, 12), batches, strict=True):
        show(batch)
        study = optuna.load_study(study_name="ax", storage=storage)
        assert len(study.trials) == count
    for trial, (batch, i) in zip(study.trials, [(b, i) for b in batches for i in range(6)], strict=True):
        failed = batch.evaluations.status[i] == "failed"
        assert trial.state == (TrialState.FAIL if failed else TrialState.COMPLETE)
        assert trial.params == {
            **{name: batch.candidates[i].ticket.params[name] for name in ("u0", "u1")},
            "prompt": batch.candidates[i].condition["prompt"],
        }
        assert read_recipe(trial).terms == batch.candidates[i].terms
        assert len(get_all_artifact_meta(trial, storage=storage)) == (0 if failed else 1)
        if not failed:
            assert trial.values == [batch.evaluations.values["first"][i]]
            assert trial.constraints == {"low": batch.evaluations.values["low"][i] - 0.5}


def test_what_is_there_is_not_written_again(make_batch):
    storage = optuna.storages.InMemoryStorage()
    mirror(storage)(make_batch(0))
    again = mirror(storage)
    again(make_batch(0))
    again(make_batch(6))
    again(make_batch(6))
    assert len(optuna.load_study(study_name="mirror", storage=storage).trials) == 12


def test_another_objective_is_refused(make_batch):
    storage = optuna.storages.InMemoryStorage()
    mirror(storage)(make_batch(0))
    other = Objective(Metric("first", "minimize"), Metric("low", "at_most", 0.5), score=_two)
    with pytest.raises(MismatchError, match="Use another name"):
        mirror(storage)(make_batch(6, other))
