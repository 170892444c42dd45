"""The report of an Optuna study."""

from __future__ import annotations

import optuna
import pytest
from optuna.artifacts import FileSystemArtifactStore

from surrogate_ax import Choice, Metric, Objective
from surrogate_ax.errors import MismatchError
from surrogate_ax_optuna import optimize, write_report
from surrogate_ax_optuna.attributes import attributes


def _two(outputs, _):
    return {"bright": outputs.mean(dim=(1, 2)), "even": outputs.std(dim=(1, 2))}


def test_a_study_is_reported_with_its_artifacts(make_generator, tmp_path, caplog):
    goal = Objective(Metric("bright"), Metric("even", "minimize"), score=_two)
    generator = make_generator(prior=(8, 4), conditional=True)
    study = optuna.create_study(directions=["maximize", "minimize"], study_name="a <b>")
    (tmp_path / "store").mkdir()
    store = FileSystemArtifactStore(str(tmp_path / "store"))
    conditions = {"prompt": Choice(["x", "y"])}
    optimize(
        study,
        generator,
        goal,
        total_trials=12,
        batch_size=6,
        rng=0,
        conditions=conditions,
        previews=store,
        progress=False,
    )
    path = write_report(study, tmp_path / "report.html", previews=store, items=4)
    page = path.read_text()
    assert page.count("<img") == 4
    assert "<h1>a &lt;b&gt;</h1>" in page
    assert "bright by call arguments" in page
    assert page.count('class="plotly"') == 5
    assert path.stat().st_size < 6_000_000
    assert write_report(study, path, generator=generator, items=2).read_text().count("<img") == 2
    best = attributes(study.best_trials[0])["preview"]
    (tmp_path / "store" / best).unlink()
    assert write_report(study, path, previews=store, items=12).read_text().count("<img") == 11
    assert f"trial {study.best_trials[0].number}: its preview is gone" in caplog.text
    assert write_report(study, path, previews=store, generator=generator, items=12).read_text().count("<img") == 12


def test_a_study_without_metrics_is_refused(tmp_path):
    with pytest.raises(MismatchError, match="pass `objective`"):
        write_report(optuna.create_study(), tmp_path / "report.html")
