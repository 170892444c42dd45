"""Ax's own drive: `client.run_trials` runs the generator in full batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ax.api.configs import StorageConfig
from ax.core.trial_status import TrialStatus
from ax.orchestration.orchestrator import OrchestratorInternalError
from ax.utils.testing.mock import mock_botorch_optimize_context_manager

from surrogate_ax import Gaussian, Metric, Objective, SurrogateSpace, draws
from surrogate_ax.errors import MismatchError, UnsupportedError
from surrogate_ax_platform import configure_runner, load_client, optimize, records, trial_function
from tests.integrations.platform.values import values_of

D, K = 32, 4
pytestmark = pytest.mark.filterwarnings("ignore::ax.exceptions.core.AxParameterWarning")


@pytest.fixture
def space(make_generator):
    return SurrogateSpace.sample(make_generator().prior, seeds=K, rng=0)


def _run(client: Any, n: int, parallelism: int = 4) -> None:
    client.run_trials(n, parallelism=parallelism, initial_seconds_between_polls=0)


def test_the_planned_search_in_full_batches(make_client, make_generator, objective, tmp_path):
    clients = [make_client(model=None, total_trials=12) for _ in range(2)]
    client, generator = clients[0], make_generator()
    configure_runner(client, generator, objective, snapshot=tmp_path / "client.json")
    _run(client, 12)
    optimize(clients[1], make_generator(), objective, total_trials=12, batch_size=4)
    one, two = ([records.read_recipe(trial) for trial in records.trials(c._experiment)] for c in clients)
    assert one == two
    assert generator.sizes == [4] * 3
    trials = records.trials(client._experiment)
    assert [trial.generator_run._generation_node_name for trial in trials] == ["draws"] * 4 + ["plan"] * 8
    assert [trial.run_metadata[records.ORDER] for trial in trials] == list(range(12))
    told = client._experiment.lookup_data().df.set_index("trial_index")["mean"]
    assert [told[i] for i in range(12)] == [values_of(trial, ["first"])[0] for trial in trials]


def test_a_loaded_client_needs_its_generator_and_goes_on(make_client, make_generator, objective, space, tmp_path):
    client, file = make_client(), tmp_path / "client.json"
    configure_runner(client, make_generator(), objective, rng=0, space=space, snapshot=file)
    with mock_botorch_optimize_context_manager():
        _run(client, 4)
        loaded = load_client(file)
        with pytest.raises(OrchestratorInternalError, match="Call `configure_runner"):
            _run(loaded, 2)
        configure_runner(loaded, make_generator(), objective, rng=0, space=space)
        _run(loaded, 4)
    done = [trial for trial in records.trials(loaded._experiment) if trial.status == TrialStatus.COMPLETED]
    assert len(done) >= 8
    assert {records.round_of(trial) for trial in done} == {0}


@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")
def test_a_database_keeps_runner_and_results(make_client, make_generator, several, space, tmp_path):
    from ax.api.client import Client
    from ax.storage.sqa_store.db import create_all_tables, get_engine, init_engine_and_session_factory

    url = f"sqlite:///{tmp_path / 'ax.db'}"
    init_engine_and_session_factory(url=url, force_init=True)
    create_all_tables(get_engine())
    client = make_client(several, storage_config=StorageConfig(url=url))
    configure_runner(client, make_generator(), several, rng=0, space=space)
    _run(client, 6, parallelism=2)
    loaded = Client.load_from_database("surrogate", storage_config=StorageConfig(url=url))
    generator = make_generator()
    configure_runner(loaded, generator, several, rng=0, space=space)
    with mock_botorch_optimize_context_manager():
        _run(loaded, 2, parallelism=2)
    assert generator.sizes == [2]
    assert set(loaded._experiment.lookup_data().df["metric_name"]) == {"first", "second", "third"}
    assert len(records.ended_trials(loaded._experiment)) == 8


def test_failed_evaluations_are_abandoned_with_their_reason(make_client, make_generator, space):
    def score(outputs: Any, _: Any) -> Any:
        rows = outputs[:, 0].double().numpy()
        return np.where(np.arange(len(rows)) == 1, np.nan, rows)

    goal = Objective(Metric("first"), score=score)
    client = make_client(goal)
    configure_runner(client, make_generator(), goal, rng=0, space=space)
    _run(client, 4)
    trials = records.trials(client._experiment)
    assert [trial.status.name for trial in trials] == ["COMPLETED", "ABANDONED", "COMPLETED", "COMPLETED"]
    assert "nan" in trials[1].run_metadata[records.REASON]
    assert np.isfinite(client._experiment.lookup_data().df["mean"]).all()


def test_what_a_killed_process_left_is_run_first(make_client, make_generator, objective, space):
    def stop(z: Any) -> None:
        raise KeyboardInterrupt

    client = make_client()
    configure_runner(client, make_generator(watch=stop), objective, rng=0, space=space)
    with pytest.raises(KeyboardInterrupt):
        _run(client, 4)
    asked = [records.read_recipe(trial).terms for trial in records.trials(client._experiment)]
    generator = make_generator()
    configure_runner(client, generator, objective, rng=0, space=space)
    _run(client, 2)
    trials = records.trials(client._experiment)
    assert [records.read_recipe(trial).terms for trial in trials[:4]] == asked
    assert {trial.status for trial in trials} == {TrialStatus.COMPLETED}


def test_what_is_no_single_trials_fault_ends_the_run(make_client, make_generator, objective, space):
    bad = Objective(Metric("first"), score=lambda outputs, _: {"other": np.zeros(len(outputs))})
    client = make_client()
    configure_runner(client, make_generator(), bad, rng=0, space=space)
    with pytest.raises(OrchestratorInternalError, match=r"ScoreError: .*exactly the declared metrics"):
        _run(client, 4)
    assert client._experiment.lookup_data().df.empty


def test_a_policy_of_ones_own_is_for_optimize(make_client, make_generator, objective):
    client = make_client(model=None)
    drawn = draws(Gaussian((D,)), 4, axes=K)
    optimize(client, make_generator(), objective, total_trials=4, rng=0, policy=drawn)
    for begin in (configure_runner, trial_function):
        with pytest.raises(UnsupportedError, match="policy of your own"):
            begin(client, make_generator(), objective)
    with pytest.raises(UnsupportedError, match="policy of your own"):
        client.get_next_trials(1)
    assert client._experiment.runner is None


def test_another_generator_is_refused(make_client, make_generator, objective, space):
    client = make_client()
    configure_runner(client, make_generator(), objective, rng=0, space=space)
    _run(client, 2, parallelism=2)
    with pytest.raises(MismatchError, match="revision: 1 -> 2"):
        configure_runner(client, make_generator(revision="2"), objective, rng=0, space=space)
