"""`configure_experiment` and `optimize` on Ax: runs, resumes, storages, and what is refused."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from ax.api.client import Client
from ax.api.configs import RangeParameterConfig, StorageConfig
from ax.core.data import Data
from ax.core.trial_status import TrialStatus
from ax.utils.testing.mock import mock_botorch_optimize_context_manager

from surrogate_ax import Choice, FunctionGenerator, Gaussian, Metric, Objective, Range, SurrogateSpace, draws, o3, plan
from surrogate_ax.errors import ArgumentError, GenerationError, MismatchError, UnsupportedError
from surrogate_ax_platform import (
    AxHost,
    configure_experiment,
    load_client,
    optimize,
    parameters,
    records,
    save_client,
    snapshot,
)
from surrogate_ax_platform.conditions import searched_conditions
from tests.contracts.euler_flow import EulerFlow
from tests.integrations.platform.values import values_of

K = 4


@pytest.fixture
def run(make_generator, objective):
    def run(client: Client, goal: Objective | None = None, **options: Any) -> Any:
        generator = options.pop("generator", None) or make_generator()
        optimize(client, generator, goal or objective, **{"total_trials": 12, "batch_size": 4, "rng": 0} | options)
        return generator

    return run


def _statuses(client: Client) -> list[str]:
    return [trial.status.name for trial in records.trials(client._experiment)]


def test_a_real_optimisation_improves_on_the_draws(make_client, run):
    client = make_client()
    generator = run(client, total_trials=16, policy=o3(Gaussian((32,)), 8, seeds=K))
    assert generator.sizes == [4] * 4
    trials = records.trials(client._experiment)
    rounds = [trial.arm.parameters["round"] for trial in trials]
    assert rounds == [0] * 8 + [1] * 8
    names = [trial.generator_run._generation_node_name for trial in trials]
    assert names == ["draws"] * 12 + ["model"] * 4
    values = [values_of(trial, ["first"])[0] for trial in trials]
    assert max(values[8:]) > max(values[:8])
    best = client.get_best_parameterization(use_model_predictions=False)
    assert best[2] == int(np.argmax(values))


def test_a_save_is_axs_own_and_makes_no_table_of_a_trial_that_was_saved_before(
    make_client, make_generator, objective, tmp_path, monkeypatch
):
    client, made = make_client(model=None), list[Data]()
    table = Data.full_df.func
    monkeypatch.setattr(Data, "full_df", property(lambda data: made.append(data) or table(data)))
    snapshot._table.cache_clear()
    counts = []
    for total in (8, 12):
        optimize(client, make_generator(), objective, total_trials=total, batch_size=4, rng=0)
        counts.append(0)
        for _ in range(2):
            made.clear()
            save_client(client, tmp_path / "client.json")
            counts.append(len([data for data in made if len(data._data_rows) == 1]))
        client.save_to_json_file(str(tmp_path / "theirs.json"))
        assert (tmp_path / "client.json").read_text() == (tmp_path / "theirs.json").read_text()
    assert counts == [0, 8, 0, 0, 4, 0]  # tables of single trials: at the first save of each, and at no other


def test_without_a_model_the_plan_proposes_and_the_strategy_is_left_ready(make_client, make_generator, run, tmp_path):
    client, file = make_client(model=None, seeds=8), tmp_path / "client.json"
    generator = run(client, total_trials=24, snapshot=file)
    trials = records.trials(client._experiment)
    assert client._experiment._properties[records.EXPERIMENT]["plan"]["kind"] == "sphere"
    assert [records.round_of(trial) for trial in trials] == [0] * 8 + [r for r in (1, 2, 3, 4) for _ in range(4)]
    assert [trial.arm.parameters["round"] for trial in trials] == [records.round_of(trial) for trial in trials]
    for values in (client.get_best_parameterization(use_model_predictions=p) for p in (False, True)):
        assert values[2] == int(np.argmax([values_of(trial, ["first"])[0] for trial in trials]))
    assert len(client.summarize()) == 24
    assert [trial.generator_run._generation_node_name for trial in trials] == ["draws"] * 8 + ["plan"] * 16
    assert generator.sizes == [4] * 6
    values = [values_of(trial, ["first"])[0] for trial in trials]
    assert np.mean(values[8:]) > max(np.mean(values[:8]), 0.5)
    loaded = load_client(file)
    run(loaded, total_trials=28)
    assert [records.read_recipe(a).terms for a in records.trials(loaded._experiment)[:24]] == [
        records.read_recipe(b).terms for b in trials
    ]
    (params,) = loaded.get_next_trials(1).values()  # Ax's user goes on by hand, with the plan's next round
    assert params["round"] == 6


def test_a_strategy_of_the_users_own_proposes(make_client, run):
    client = Client(random_seed=0)
    client.configure_experiment(parameters=parameters(K), name="mine")
    client.configure_optimization(objective="first")
    client.configure_generation_strategy(method="random_search")
    run(client, total_trials=12)
    assert client._experiment._properties[records.EXPERIMENT]["plan"]["kind"] == "boxes"
    assert [records.round_of(trial) for trial in records.trials(client._experiment)] == [0] * 4 + [1] * 4 + [2] * 4


def test_several_objectives_a_constraint_and_conditions(make_client, make_generator, several, run):
    conditions = {"scale": Range(1, 3, step=1), "prompt": Choice(["a", "b"])}
    client = make_client(several, conditions=conditions)
    config = client._experiment.optimization_config
    assert config.objective.expression == "first, -second"
    space = SurrogateSpace.sample(make_generator().prior, seeds=K, rng=0)
    with mock_botorch_optimize_context_manager():
        run(client, several, space=space, generator=make_generator(conditional=True), total_trials=10)
    assert _statuses(client) == ["COMPLETED"] * 10
    assert set(client._experiment.lookup_data().df["metric_name"]) == {"first", "second", "third"}


def test_searched_arguments_are_planned_too_and_older_searches_go_on(make_client, make_generator, run, tmp_path):
    conditions = {"scale": Range(1.0, 3.0, step=0.1), "prompt": Choice(["a", "b"])}
    client, file = make_client(conditions=conditions, model=None), tmp_path / "client.json"
    run(client, generator=make_generator(conditional=True), total_trials=8, snapshot=file)
    kept = client._experiment._properties[records.EXPERIMENT]
    assert kept["plan"]["kind"] == "sphere"
    assert kept["conditions"] == {name: repr(of) for name, of in conditions.items()}
    older = load_client(file)
    older._experiment._properties[records.EXPERIMENT]["conditions"] = {}  # as earlier releases wrote
    run(older, generator=make_generator(conditional=True), total_trials=16)
    trials = records.trials(older._experiment)
    assert len({records.round_of(trial) for trial in trials}) > 2
    values = {float(f"{1 + i / 10:.1f}") for i in range(21)}
    for trial in trials:
        condition = records.read_recipe(trial).condition
        assert condition["prompt"] in ("a", "b")
        assert condition["scale"] in values


def test_conditions_are_read_off_a_clients_parameters(make_client):
    conditions = {
        "guidance": Range(1.0, 3.0, step=0.1),
        "steps": Range(2, 9),
        "pairs": Range(2, 8, step=2),
        "strength": Range(0.1, 10.0, log=True),
        "frames": Range(1, 1000, log=True),
        "prompt": Choice(["a", "b", "c"]),
    }
    sorted_by_ax = {"tiled": Choice([True, False]), "layers": Choice([3, 1, 2])}
    found = searched_conditions(make_client(conditions=conditions | sorted_by_ax))
    assert found == conditions | {"tiled": Choice([False, True]), "layers": Choice([1, 2, 3])}
    assert searched_conditions(make_client()) == {}


def test_a_resumed_run_goes_on_from_a_snapshot(make_client, run, tmp_path):
    file = tmp_path / "deep" / "client.json"
    client = make_client()
    run(client, total_trials=4, policy=_draws(run, 12), snapshot=file)
    loaded = load_client(file)
    run(loaded, total_trials=12, policy=_draws(run, 12), snapshot=file)
    whole = make_client()
    run(whole, total_trials=12, policy=_draws(run, 12))
    recipes = [[records.read_recipe(t).terms for t in records.trials(c._experiment)] for c in (loaded, whole)]
    assert recipes[0] == recipes[1]
    assert file.with_name("client.json.previous").exists()
    assert len(load_client(file)._experiment.trials) == 12


def _draws(run: Any, n: int) -> Any:
    from surrogate_ax import Gaussian

    return draws(Gaussian((32,)), n, axes=K)


def test_a_killed_run_is_gone_on_with_from_its_snapshot(make_client, make_generator, run, tmp_path):
    file = tmp_path / "client.json"
    calls: list[int] = []

    def watch(z: Any) -> None:
        calls.append(len(z))
        if len(calls) == 2:
            file.with_name("at_death.json").write_bytes(file.read_bytes())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(make_client(), generator=make_generator(watch=watch), policy=_draws(run, 12), snapshot=file)
    client = load_client(file.with_name("at_death.json"))
    assert _statuses(client) == ["COMPLETED"] * 4 + ["RUNNING"] * 4
    before = [records.read_recipe(trial).terms for trial in records.trials(client._experiment)]
    run(client, policy=_draws(run, 12))
    assert _statuses(client) == ["COMPLETED"] * 12
    after = [records.read_recipe(trial).terms for trial in records.trials(client._experiment)]
    assert after[:8] == before


@pytest.mark.filterwarnings("ignore::ax.exceptions.core.AxParameterWarning", "ignore::sqlalchemy.exc.SAWarning")
def test_a_database_keeps_the_experiment(make_client, make_generator, objective, run, tmp_path):
    from ax.storage.sqa_store.db import create_all_tables, get_engine, init_engine_and_session_factory

    config = StorageConfig(url=f"sqlite:///{tmp_path / 'ax.db'}")
    init_engine_and_session_factory(url=config.url, force_init=True)  # Ax has one a process
    create_all_tables(get_engine())
    run(make_client(storage_config=config), total_trials=4)
    client = Client.load_from_database("surrogate", storage_config=config)
    run(client, total_trials=12)
    again = Client.load_from_database("surrogate", storage_config=config)
    assert _statuses(again) == ["COMPLETED"] * 12
    history = AxHost(again, make_generator(), objective).history()
    assert len(history.terms) == 12
    assert np.isfinite(history.values["first"]).all()
    get_engine().dispose()


def test_failing_items_are_abandoned_and_the_others_go_on(make_client, run):
    def score(outputs: Any, _: Any) -> list[float]:
        return [math.nan if row[0] < 0 else float(row[0]) for row in outputs]

    client = make_client()
    run(client, Objective(Metric("first"), score=score), policy=_draws(run, 12))
    statuses = _statuses(client)
    assert set(statuses) == {"COMPLETED", "ABANDONED"}
    assert not client._experiment.lookup_data().df["mean"].isna().any()


def test_a_score_that_always_fails_ends_the_run(make_client, run):
    def score(outputs: Any, _: Any) -> list[float]:
        raise RuntimeError("no judge")

    with pytest.raises(GenerationError, match="no judge"):
        run(make_client(), Objective(Metric("first"), score=score), policy=_draws(run, 12))


def test_a_client_configured_differently_is_refused(make_client, make_generator, objective, several, run):
    with pytest.raises(MismatchError, match="no experiment yet"):
        run(Client())
    bare = Client()
    bare.configure_experiment(parameters=[RangeParameterConfig(name="x", bounds=(0, 1), parameter_type="float")])
    with pytest.raises(MismatchError, match=r"expected the parameters u0, u1, ..., round, got \['x'\]"):
        run(bare)
    wide = Client()
    wide.configure_experiment(
        parameters=[RangeParameterConfig(name="u0", bounds=(0, 2), parameter_type="float"), *parameters(3)[1:]]
    )
    with pytest.raises(MismatchError, match="expected u0 in"):
        run(wide)
    with pytest.raises(MismatchError, match="the objective given is"):
        run(make_client(), several)
    with pytest.raises(MismatchError, match="has the experiment 'surrogate' already"):
        configure_experiment(make_client(), make_generator(), objective)


def test_a_client_configured_by_hand_with_our_parameters_is_taken(run):
    client = Client(random_seed=0)
    client.configure_experiment(parameters=parameters(K), name="mine")
    client.configure_optimization(objective="first")
    run(client, total_trials=4)
    assert _statuses(client) == ["COMPLETED"] * 4


def test_another_generator_space_or_prior_is_refused(make_client, make_generator, run):
    client = make_client()
    run(client, total_trials=4)
    with pytest.raises(MismatchError, match="revision: 1 -> 2"):
        run(client, generator=make_generator(revision="2"))
    with pytest.raises(MismatchError, match="space: planned -> space-"):
        run(client, space=SurrogateSpace.sample(make_generator().prior, seeds=K, rng=0))
    with pytest.raises(MismatchError, match="made under prior"):
        run(client, space=SurrogateSpace.sample(make_generator(prior=(5,)).prior, seeds=K, rng=0))
    assert len(client._experiment.trials) == 4


def test_nan_told_by_somebody_is_refused(make_client, run):
    client = make_client()
    run(client, total_trials=4)
    client.attach_data(0, {"first": math.nan})
    with pytest.raises(MismatchError, match="has first = nan"):
        run(client)


def test_an_unknown_metric_is_refused(make_client, run):
    from surrogate_ax.errors import ScoreError

    with pytest.raises(ScoreError, match="exactly the declared metrics"):
        run(make_client(), Objective(Metric("first"), score=lambda outputs, _: {"other": np.zeros(len(outputs))}))
    with pytest.raises(ArgumentError, match="cannot read the metric names"):
        make_client(Objective(Metric("beta"), score=lambda *_: []))


def test_a_snapshot_cut_in_half_is_named_and_left(make_client, run, tmp_path):
    file = tmp_path / "client.json"
    client = make_client()
    run(client, total_trials=4, snapshot=file)
    half = file.read_text()[: file.stat().st_size // 2]
    file.write_text(half)
    with pytest.raises(ArgumentError, match=r"expected a snapshot.*The one before it is .*previous"):
        load_client(file)
    with pytest.raises(ArgumentError, match="expected a snapshot"):
        run(client, snapshot=file)
    assert file.read_text() == half
    load_client(file.with_name("client.json.previous"))


def test_a_snapshot_of_another_experiment_is_not_written_over(make_client, run, tmp_path):
    file = tmp_path / "client.json"
    save_client(make_client(name="other"), file)
    content = file.read_text()
    with pytest.raises(MismatchError, match="holds experiment 'other'"):
        run(make_client(), snapshot=file)
    assert file.read_text() == content
    assert json.loads(content)["experiment"]["name"] == "other"


def test_parameters_describe_box_round_and_conditions():
    found = parameters(3, {"g": Range(1.0, 4.0, log=True), "n": Range(2, 8, step=2), "p": Choice([True, False])})
    assert [parameter.name for parameter in found] == ["u0", "u1", "round", "g", "n", "p"]
    with pytest.raises(ArgumentError, match="choices of one type"):
        parameters(3, {"p": Choice(["a", None])})
    with pytest.raises(ArgumentError, match="belongs to the rounds"):
        parameters(3, {"round": Range(0, 1)})
    with pytest.raises(ArgumentError, match="at least 2 axes"):
        parameters(1)


def test_callbacks_see_batches_and_end_the_run(make_client, run):
    seen = []

    def callback(batch: Any) -> bool:
        seen.append((batch.ended, [candidate.ticket.index for candidate in batch.candidates]))
        return len(seen) == 2

    client = make_client()
    run(client, policy=_draws(run, 12), callbacks=[callback])
    assert seen == [(4, [0, 1, 2, 3]), (8, [4, 5, 6, 7])]
    assert client._experiment.trials[7].status == TrialStatus.COMPLETED


def test_early_stopping_ends_rows_at_a_checkpoint():
    from ax.early_stopping.strategies import PercentileEarlyStoppingStrategy

    flow = EulerFlow()
    goal = Objective(Metric("total"), score=lambda outputs, _: outputs.sum(dim=1))
    client = Client(random_seed=0)
    configure_experiment(client, flow, goal, seeds=K)
    stopping = PercentileEarlyStoppingStrategy(percentile_threshold=50, min_progression=1, min_curves=3)
    client.set_early_stopping_strategy(stopping)
    policy = draws(flow.prior, 16, axes=K)
    optimize(client, flow, goal, total_trials=16, batch_size=4, rng=0, policy=policy, checkpoints=(3,))
    statuses = _statuses(client)
    assert {"COMPLETED", "EARLY_STOPPED"} == set(statuses)
    history = AxHost(client, flow, goal).history()
    assert np.isnan(history.values["total"]).sum() == statuses.count("EARLY_STOPPED")
    assert np.isfinite(history.estimates["total"]).sum() == statuses.count("EARLY_STOPPED")
    simple = FunctionGenerator(lambda z: z, (32,))
    client = Client()
    configure_experiment(client, simple, goal)
    with pytest.raises(UnsupportedError):
        optimize(client, simple, goal, total_trials=4, rng=0, checkpoints=(3,))


def test_a_budget_is_spent_in_more_trials_most_of_them_stopped():
    flow = EulerFlow()
    goal = Objective(Metric("total"), score=lambda outputs, _: outputs.sum(dim=1))
    client = Client(random_seed=0)
    configure_experiment(client, flow, goal, seeds=K)
    optimize(client, flow, goal, budget=16, batch_size=8, rng=0)
    statuses = _statuses(client)
    assert set(statuses) == {"COMPLETED", "EARLY_STOPPED"}
    assert len(statuses) == plan(16, dim=flow.prior.dim, axes=K, steps=8).trials(16) > 24
    assert 16 * 8 - 8 < sum(flow.sizes) <= 16 * 8
    history = AxHost(client, flow, goal).history()
    assert np.isfinite(history.estimates["total"]).sum() == statuses.count("EARLY_STOPPED") > len(statuses) / 2
    with pytest.raises(ArgumentError, match="total_trials, budget: expected one of them"):
        optimize(client, flow, goal, rng=0)
