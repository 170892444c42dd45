"""An Optuna study as pages show it."""

from __future__ import annotations

import math

import optuna
import pytest
from optuna.artifacts import FileSystemArtifactStore

from surrogate_ax import Choice, Metric, Objective
from surrogate_ax.errors import MismatchError
from surrogate_ax_optuna import optimize, study_source


def _two(outputs, _):
    values = {"bright": outputs.mean(dim=(1, 2)).tolist(), "even": outputs.std(dim=(1, 2)).tolist()}
    values["bright"][0] = math.nan
    return values


def test_a_study_is_shown_with_its_artifacts(make_generator, tmp_path, caplog):
    goal = Objective(Metric("bright"), Metric("even", "minimize"), score=_two)
    study = optuna.create_study(directions=["maximize", "minimize"], study_name="a <b>")
    (tmp_path / "store").mkdir()
    store = FileSystemArtifactStore(str(tmp_path / "store"))
    search = {"conditions": {"prompt": Choice(["x", "y"])}, "previews": store, "progress": False, "rng": 0}
    generator = make_generator(prior=(8, 4), conditional=True)
    optimize(study, generator, goal, total_trials=12, batch_size=6, **search)
    study.ask()
    source = study_source(study, previews=store)
    before, shown = source.state(), source.read()
    assert (shown.name, shown.host) == ("a <b>", "Optuna")
    assert shown.objective.describe() == goal.describe()
    assert [trial.number for trial in shown.trials] == list(range(13))
    called = {"COMPLETE": "done", "FAIL": "failed", "RUNNING": "running"}
    assert [trial.state for trial in shown.trials] == [called[trial.state.name] for trial in study.get_trials()]
    assert {trial.state for trial in shown.trials} == {"done", "failed", "running"}
    done = study.get_trials()[1]
    assert [shown.trials[1].values[name] for name in ("bright", "even")] == done.values
    assert shown.trials[1].recipe.condition == {"prompt": done.params["prompt"]}
    assert shown.trials[1].ended == done.datetime_complete.timestamp()
    assert "nan" in shown.trials[0].reason
    assert shown.search["plan"]["kind"]
    assert {figure.title for figure in source.figures()} == {"bright by conditions", "even by conditions"}

    preview = source.preview(1)
    assert preview.name == shown.trials[1].file == "trial1.png"
    assert preview.content.startswith(b"\x89PNG")
    assert source.preview(0) is None
    assert source.preview(99) is None
    assert study_source(study).preview(1) is None
    for file in (tmp_path / "store").iterdir():
        file.unlink()
    assert source.preview(1) is None
    assert "trial 1: its preview is gone" in caplog.text

    optimize(study, generator, goal, total_trials=14, batch_size=2, **search)
    assert source.state() != before
    assert len(source.read().trials) == 15
    assert source.preview(14).content.startswith(b"\x89PNG")


def test_a_study_without_metrics_is_refused():
    with pytest.raises(MismatchError, match="pass `objective`"):
        study_source(optuna.create_study())
