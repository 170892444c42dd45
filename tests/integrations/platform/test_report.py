"""The report of an Ax client."""

from __future__ import annotations

from functools import partial

import pytest
from ax.analysis.plotly import sensitivity
from ax.analysis.plotly.utility_progression import UtilityProgressionAnalysis
from ax.api.client import Client
from ax.api.configs import RangeParameterConfig
from ax.core.analysis_card import ErrorAnalysisCard
from ax.utils.testing.mock import mock_botorch_optimize_context_manager

from surrogate_ax import Metric, Objective
from surrogate_ax.errors import MismatchError
from surrogate_ax_platform import load_client, optimize, trial_copies, write_report

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


def _bright(outputs, _):
    return outputs.mean(dim=(1, 2))


def test_a_loaded_client_is_reported_with_its_pictures(make_client, make_generator, tmp_path):
    goal, generator = Objective(Metric("bright"), score=_bright), make_generator(prior=(8, 4))
    client = make_client(goal, generator=generator, model=None)
    folder, file = tmp_path / "pictures", tmp_path / "client.json"
    optimize(client, generator, goal, total_trials=12, rng=0, previews=folder, snapshot=file)
    path = write_report(
        load_client(file), tmp_path / "report.html", previews=folder, items=5, analyses=[UtilityProgressionAnalysis()]
    )
    page = path.read_text()
    assert page.count("<img") == 5
    assert "Utility Progression" in page
    assert page.count('type="application/json"') == 1
    assert page.count("plotly.js v") <= 1
    assert path.stat().st_size < 6_000_000
    again = write_report(client, tmp_path / "remade.html", generator=generator, items=3, analyses=())
    assert again.read_text().count("<img") == 3
    assert again.stat().st_size < 100_000
    for picture in folder.iterdir():
        picture.unlink()
    remade = write_report(client, tmp_path / "gone.html", generator=generator, previews=folder, items=3, analyses=())
    assert remade.read_text().count("<img") == 3
    copies = trial_copies(client)
    assert [copy.trial.number for copy in copies] == list(client._experiment.trials)
    assert [copy.trial.values(["bright"]) for copy in copies] == [
        [trial.objective_mean] for trial in client._experiment.trials.values()
    ]
    assert {copy.reason for copy in copies} == {None}
    with pytest.raises(MismatchError, match="prior"):
        write_report(client, tmp_path / "other.html", generator=make_generator(prior=(8, 5)), analyses=())
    assert not (tmp_path / "other.html").exists()


def test_axs_overview_of_a_planned_search_has_no_errors(make_client, make_generator, objective, monkeypatch):
    few = partial(sensitivity.ax_parameter_sens, num_mc_samples=64)  # of 10,000, which take half a minute
    monkeypatch.setattr(sensitivity, "ax_parameter_sens", few)
    client = make_client(model=None, seeds=3)
    optimize(client, make_generator(), objective, total_trials=10, batch_size=5)
    with mock_botorch_optimize_context_manager(force=True):
        groups = client.compute_analyses(display=False)
    cards = [card for group in groups for card in group.flatten()]
    assert [(card.title, card.subtitle) for card in cards if isinstance(card, ErrorAnalysisCard)] == []
    titles = " ".join(card.title for card in cards)
    for part in ("Modeled Arm Effects", "Sensitivity", "Cross Validation", "Best Trial"):
        assert part in titles


def test_axs_results_and_diagnostics(make_client, make_generator, several, tmp_path):
    client = make_client(several, model=None)
    optimize(client, make_generator(), several, total_trials=12, rng=0)
    with mock_botorch_optimize_context_manager(force=True):
        page = write_report(client, tmp_path / "report.html").read_text()
    assert "Could not be computed" not in page  # Ax logs an error for each such card
    assert page.count('class="plotly"') >= 3
    assert "Pareto front" in page
    assert "third (at most 1)" in page


def test_a_client_without_an_experiment_of_ours_is_refused(make_client, tmp_path):
    other = Client()
    other.configure_experiment(parameters=[RangeParameterConfig(name="x", bounds=(0, 1), parameter_type="float")])
    for client in (Client(), other):
        with pytest.raises(MismatchError, match="no experiment"):
            write_report(client, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()
    page = write_report(make_client(), tmp_path / "report.html", analyses=()).read_text()  # one that is not begun
    assert "No trial has ended yet" in page
