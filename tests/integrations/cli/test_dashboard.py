"""Optuna's dashboard with notes, plots and seeds, in a browser; the storage stays as it was."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from wsgiref.simple_server import make_server

import numpy as np
import optuna
import pytest
from optuna.artifacts import FileSystemArtifactStore
from optuna_dashboard import get_note, save_note, wsgi

from surrogate_ax import FunctionGenerator, Metric, Objective
from surrogate_ax_cli.annotated_storage import AnnotatedStorage
from surrogate_ax_cli.dashboard import _Quiet, _Server
from surrogate_ax_optuna import optimize, sqlite, study_source

if TYPE_CHECKING:
    from playwright.sync_api import Page

LONG = "<b>long</b> " * 40


def _picture(z):
    return z.reshape(-1, 8, 8).clamp(0, 1)


@pytest.fixture
def study(tmp_path: Path) -> optuna.Study:
    (tmp_path / "previews").mkdir()
    store = FileSystemArtifactStore(tmp_path / "previews")
    study = optuna.create_study(study_name="s", direction="maximize", storage=sqlite(tmp_path / "s.db"))
    study.set_user_attr("notes", {"text": LONG})
    objective = Objective(Metric("light"), score=lambda outputs, _: [float(np.mean(one.numpy())) for one in outputs])
    generator = FunctionGenerator(_picture, (64,))
    optimize(study, generator, objective, total_trials=24, rng=0, batch_size=8, previews=store, progress=False)
    return study


@pytest.fixture
def annotated(study: optuna.Study, tmp_path: Path) -> AnnotatedStorage:
    source = study_source(study, previews=FileSystemArtifactStore(tmp_path / "previews"))
    return AnnotatedStorage(study._storage, study._study_id, source)


@pytest.fixture
def address(annotated: AnnotatedStorage, tmp_path: Path) -> Iterator[str]:
    application = wsgi(annotated, artifact_store=FileSystemArtifactStore(tmp_path / "previews"))
    with make_server("127.0.0.1", 0, application, _Server, _Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/dashboard/studies"
        server.shutdown()
        thread.join(10)


def _is_ours(key: str) -> bool:
    return key.startswith(("dashboard:", "artifacts:"))


def test_notes_are_shown_and_not_written(study: optuna.Study, annotated: AnnotatedStorage) -> None:
    shown = optuna.load_study(study_name="s", storage=annotated)
    best = shown.best_trial
    text = get_note(optuna.Trial(shown, best._trial_id))
    assert f"| light | {best.value:.6g} |" in text
    assert "proposed by the search; most like trial" in text
    assert "| seed | share | weight |" in text
    assert f"/artifacts/{study._study_id}/{best._trial_id}/{best.system_attrs['preview']}" in text
    assert "plain draw" in get_note(optuna.Trial(shown, shown.trials[0]._trial_id))
    assert "Best light" in get_note(shown)
    assert shown.metric_names == ["light"]
    assert not [key for key in study._storage.get_study_system_attrs(study._study_id) if _is_ours(key)]


def test_a_note_of_somebody_stands_in_place_of_ours(study: optuna.Study, annotated: AnnotatedStorage) -> None:
    shown = optuna.load_study(study_name="s", storage=annotated)
    trial = optuna.Trial(shown, shown.trials[3]._trial_id)
    save_note(trial, "mine")
    assert get_note(trial) == "mine"
    assert get_note(optuna.Trial(study, trial._trial_id)) == "mine"
    assert "plain draw" in get_note(optuna.Trial(shown, shown.trials[0]._trial_id))


def test_a_browser_shows_picture_note_plot_and_seeds(study: optuna.Study, address: str, browser_page: Page) -> None:
    page = browser_page
    page.goto(f"{address}/{study._study_id}/trials?numbers={study.best_trial.number}")
    page.wait_for_selector("text=proposed by the search")
    page.wait_for_timeout(500)
    assert page.evaluate("[...document.images].filter((image) => image.naturalWidth === 128).length") >= 1
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.goto(f"{address}/{study._study_id}")
    page.wait_for_selector("text=best of N plain draws")
    page.wait_for_selector("text=seed trial0.png")
    page.wait_for_timeout(500)
    assert page.evaluate("[...document.images].filter((image) => image.naturalWidth === 128).length") >= 8
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
