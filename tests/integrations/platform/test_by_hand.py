"""Loops by hand on Ax: `get_next_trials`, `trial_function` and `complete_trial` are the search of `optimize`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ax.api.client import Client
from ax.api.configs import StorageConfig
from ax.exceptions.core import DataRequiredError
from ax.utils.testing.mock import mock_botorch_optimize_context_manager

from surrogate_ax import Choice, Metric, Objective, Range, SurrogateSpace
from surrogate_ax.errors import ArgumentError, MismatchError
from surrogate_ax_platform import load_client, optimize, parameters, records, save_client, trial_function
from tests.processes import Forked

K = 4


def go_on(client: Client, evaluate: Any, total: int, n: int = 4) -> None:
    """Ax's own loop, n trials at a time."""
    while len(client._experiment.trials) < total:
        for index, values in evaluate(client.get_next_trials(n)).items():
            client.complete_trial(index, raw_data=values)


def until(ended: int) -> Any:
    return lambda batch: batch.ended == ended


def recipes(client: Client) -> list[Any]:
    return [records.read_recipe(trial) for trial in records.trials(client._experiment)]


def test_a_loop_by_hand_is_the_search_of_optimize(make_client, make_generator, objective, tmp_path):
    whole, client = (make_client(model=None, total_trials=12) for _ in range(2))
    optimize(whole, make_generator(), objective, total_trials=12, batch_size=4)
    generator = make_generator()
    go_on(client, trial_function(client, generator, objective), 8)
    save_client(client, tmp_path / "client.json")
    client = load_client(tmp_path / "client.json")  # as another process does
    waiting = client.get_next_trials(4)  # which needs no generator to ask
    for index, values in trial_function(client, generator, objective)(waiting).items():
        client.complete_trial(index, raw_data=values)
    assert recipes(client) == recipes(whole)
    assert generator.sizes == [4] * 3
    one, two = (found.get_best_parameterization(use_model_predictions=False) for found in (client, whole))
    assert (one[0], one[2]) == (two[0], two[2])


def test_a_model_in_moving_boxes_is_the_same_by_hand(make_client, make_generator, objective):
    clients = [make_client(model="coefficients", total_trials=16) for _ in range(2)]
    with mock_botorch_optimize_context_manager(force=True):
        go_on(clients[0], trial_function(clients[0], make_generator(), objective), 13)
        optimize(clients[1], make_generator(), objective, total_trials=16, batch_size=4, callbacks=[until(13)])
    one, two = ([t.arm.parameters for t in records.trials(c._experiment)] for c in clients)
    for a, b in zip(one, two, strict=True):
        assert a == pytest.approx(b, abs=1e-6)
    trials = records.trials(clients[1]._experiment)
    assert [trial.generator_run._generation_node_name for trial in trials] == ["draws"] * 5 + ["model"] * 8
    assert [records.round_of(trial) for trial in trials] == [0] * 5 + [1] * 4 + [2] * 4
    fresh = [clients[1]._experiment._properties[records.SPACES][str(n)]["fresh"] for n in range(3)]
    assert fresh[0] == 1 > fresh[1] > fresh[2] > 0
    with pytest.raises(ArgumentError, match="the search is in box 3, got round = 1"):
        clients[1].get_next_trials(1, fixed_parameters={"round": 1})


def test_what_the_search_chooses_cannot_be_fixed_and_conditions_can(make_client):
    client = make_client(model=None, conditions={"g": Range(1.0, 4.0), "p": Choice(["a", "b"])})
    for name, value in (("round", 7), ("u0", 0.2)):
        with pytest.raises(ArgumentError, match=rf"fixed_parameters: expected conditions only .* got \['{name}'\]"):
            client.get_next_trials(1, fixed_parameters={name: value})
    asked = client.get_next_trials(4, fixed_parameters={"p": "b"})
    assert [params["p"] for params in asked.values()] == ["b"] * 4
    assert len({params["g"] for params in asked.values()}) == 4


def test_a_round_has_so_many_places(make_client, make_generator, objective):
    client = make_client(model=None, total_trials=12)
    asked = client.get_next_trials(20)
    assert len(asked) == 4
    with pytest.raises(DataRequiredError, match=r"round 0 \(4 trials\) is taken.*complete its running trials"):
        client.get_next_trials(1)
    client.mark_trial_failed(2)  # its place is free
    assert list(client.get_next_trials(20)) == [4]
    evaluate = trial_function(client, make_generator(), objective)
    for index, values in evaluate({i: p for i, p in asked.items() if i != 2}).items():
        client.complete_trial(index, raw_data=values)
    client.mark_trial_abandoned(4)  # it counts, as a failure
    assert {params["round"] for params in client.get_next_trials(20).values()} == {1}


def test_failures_are_abandoned_and_left_out(make_client, make_generator):
    def score(outputs: Any, _: Any) -> Any:
        rows = outputs[:, 0].double().numpy()
        return np.where(np.arange(len(rows)) == 1, np.nan, rows)

    goal = Objective(Metric("first"), score=score)
    client = make_client(goal, model=None, total_trials=8)
    evaluate = trial_function(client, make_generator(), goal)
    assert list(evaluate(client.get_next_trials(4))) == [0, 2, 3]
    assert client._experiment.trials[1].status.is_abandoned
    assert "nan" in client._experiment.trials[1].run_metadata[records.REASON]
    with pytest.raises(ArgumentError, match="expected running ones, got trial 1, which is ABANDONED"):
        evaluate({1: {}})
    with pytest.raises(ArgumentError, match="no trial 9"):
        evaluate({9: {}})


def test_points_of_ones_own_are_evaluated_where_they_lie(make_client, make_generator, objective):
    space = SurrogateSpace.sample(make_generator().prior, seeds=K, rng=1)
    client = make_client(model="coefficients", space=space)
    evaluate = trial_function(client, make_generator(), objective)
    asked = client.get_next_trials(2)  # the first seeds of the box
    mine = {"u0": 0.25, "u1": 0.5, "u2": 0.75, "round": 0}
    asked[client.attach_baseline(mine)] = mine
    for index, values in evaluate(asked).items():
        client.complete_trial(index, raw_data=values)
    terms = [recipe.terms for recipe in recipes(client)]
    assert terms == [*space.bank.terms(np.eye(K)[:2]), *space.terms(np.array([[0.25, 0.5, 0.75]]))]
    optimize(client, make_generator(), objective, total_trials=5)
    assert [recipe.terms for recipe in recipes(client)][3:] == space.bank.terms(np.eye(K)[2:])
    far = {**mine, "round": 3}
    index = client.attach_trial(far)
    with pytest.raises(ArgumentError, match="expected the number of a box that the search has opened"):
        evaluate({index: far})
    values = [trial.run_metadata[records.RESULT]["values"]["first"] for trial in records.trials(client._experiment)[:5]]
    assert client.get_best_parameterization(use_model_predictions=False)[2] == int(np.argmax(values))


def test_a_client_without_a_search_says_so(make_client, make_generator, objective):
    client = Client(random_seed=0)
    client.configure_experiment(parameters=parameters(K), name="mine")
    client.configure_optimization(objective="first")
    client.set_generation_strategy(make_client()._generation_strategy.clone_reset())
    with pytest.raises(MismatchError, match="no search on record"):
        client.get_next_trials(1)
    evaluate = trial_function(client, make_generator(), objective)
    assert len(evaluate(client.get_next_trials(2))) == 2
    with pytest.raises(MismatchError, match="revision: 1 -> 2"):
        trial_function(client, make_generator(revision="2"), objective)


@pytest.mark.filterwarnings("ignore::ax.exceptions.core.AxParameterWarning", "ignore::sqlalchemy.exc.SAWarning")
def test_a_second_process_goes_on_from_a_database(make_client, make_generator, objective, tmp_path):
    from ax.storage.sqa_store.db import create_all_tables, get_engine, init_engine_and_session_factory

    url = f"sqlite:///{tmp_path / 'ax.db'}"
    init_engine_and_session_factory(url=url, force_init=True)
    create_all_tables(get_engine())
    config = StorageConfig(url=url)
    client = make_client(model=None, total_trials=12, storage_config=config)
    go_on(client, trial_function(client, make_generator(), objective), 4)
    client.get_next_trials(2)  # of the second round, which nobody has evaluated
    code = (
        "from ax.api.client import Client; from ax.api.configs import StorageConfig; import surrogate_ax_platform\n"
        f"client = Client.load_from_database('surrogate', storage_config=StorageConfig(url={url!r}))\n"
        "client._random_seed = 0; print(list(client.get_next_trials(4)))"
    )
    with Forked(code) as second:
        stdout, stderr = second.communicate()
    assert stdout.strip() == "[6, 7]", stderr
    client = Client.load_from_database("surrogate", storage_config=config)
    evaluate = trial_function(client, make_generator(), objective)
    running = [trial for trial in records.trials(client._experiment) if trial.status.is_running]
    for index, values in evaluate({trial.index: records.parameters_of(trial) for trial in running}).items():
        client.complete_trial(index, raw_data=values)
    go_on(client, evaluate, 12)
    whole = make_client(model=None, total_trials=12)
    optimize(whole, make_generator(), objective, total_trials=12, batch_size=4)
    assert recipes(client) == recipes(whole)
    get_engine().dispose()
