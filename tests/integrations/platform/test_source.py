"""An Ax experiment as pages show it."""

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
from surrogate_ax.report import Remade
from surrogate_ax_platform import client_source, load_client, optimize, trial_copies

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


def _bright(outputs, _):
    return outputs.mean(dim=(1, 2))


def test_a_snapshot_is_shown_with_its_pictures(make_client, make_generator, tmp_path):
    goal, generator = Objective(Metric("bright"), score=_bright), make_generator(prior=(8, 4))
    client = make_client(goal, generator=generator, model=None)
    folder, file = tmp_path / "pictures", tmp_path / "client.json"
    optimize(client, generator, goal, total_trials=8, rng=0, previews=folder, snapshot=file)
    source = client_source(file, previews=folder, analyses=[UtilityProgressionAnalysis()])
    before, shown = source.state(), source.read()
    assert (shown.host, shown.objective.describe()) == ("Ax", goal.describe())
    trials = client._experiment.trials
    assert [trial.number for trial in shown.trials] == list(trials)
    assert [trial.values["bright"] for trial in shown.trials] == [trial.objective_mean for trial in trials.values()]
    assert {trial.state for trial in shown.trials} == {"done"}
    assert shown.search["plan"]["kind"]
    assert shown.trials[0].ended == trials[0].time_completed.timestamp()
    assert source.preview(3).name == shown.trials[3].file == "trial3.png"
    assert source.preview(3).content == (folder / "trial3.png").read_bytes()
    assert source.preview(99) is None
    (figure,) = source.figures()
    assert "Utility Progression" in figure.title

    optimize(load_client(file), generator, goal, total_trials=10, rng=0, previews=folder, snapshot=file)
    assert source.state() != before
    assert len(source.read().trials) == 10
    for picture in folder.iterdir():
        picture.unlink()
    assert source.preview(3) is None
    assert Remade(source, generator).preview(3).content.startswith(b"\x89PNG")
    with pytest.raises(MismatchError, match="prior"):
        Remade(source, make_generator(prior=(8, 5)))
    copies = trial_copies(client)
    assert [copy.trial.number for copy in copies] == list(trials)
    assert {copy.reason for copy in copies} == {None}


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


def test_axs_results_and_diagnostics(make_client, make_generator, several):
    client = make_client(several, model=None)
    optimize(client, make_generator(), several, total_trials=12, rng=0)
    with mock_botorch_optimize_context_manager(force=True):
        figures = client_source(client).figures()
    assert len(figures) >= 3
    assert client_source(client, analyses=()).figures() == []


def test_a_client_without_an_experiment_of_ours_is_refused(make_client):
    other = Client()
    other.configure_experiment(parameters=[RangeParameterConfig(name="x", bounds=(0, 1), parameter_type="float")])
    for client in (Client(), other):
        with pytest.raises(MismatchError, match="no experiment"):
            client_source(client)
    assert client_source(make_client(), analyses=()).read().trials == []  # one that is not begun
