"""Scores that come in while the next batch is generated, on Ax."""

from __future__ import annotations

import pytest
from ax.utils.testing.mock import mock_botorch_optimize_context_manager

from surrogate_ax import Gaussian, draws, o3
from surrogate_ax.errors import ArgumentError
from surrogate_ax_platform import load_client, optimize, records
from tests.contracts.euler_flow import EulerFlow
from tests.integrations.platform.values import values_of

K = 4
OPTIONS = {"batch_size": 4, "rng": 0}


def _values(client):
    return [values_of(trial, ["first"])[0] for trial in records.trials(client._experiment)]


def test_draws_come_to_the_same(make_client, make_generator, objective, tmp_path):
    seen, values = [], []
    for overlap in (True, False):
        client = make_client()
        policy, callbacks = draws(Gaussian((32,)), 10, axes=K), [lambda batch: seen.append(batch.ended)]
        file = tmp_path / f"{overlap}.json"
        optimize(
            client,
            make_generator(),
            objective,
            total_trials=10,
            policy=policy,
            overlap=overlap,
            callbacks=callbacks,
            snapshot=file,
            **OPTIONS,
        )
        values.append(_values(load_client(file)))
    assert seen == [4, 8, 10] * 2
    assert len(values[0]) == 10
    assert values[0] == values[1]


def test_ax_proposes_beside_what_is_not_told_yet(make_client, make_generator, objective):
    client, generator = make_client(), make_generator()
    policy = o3(Gaussian((32,)), 4, seeds=K)
    with mock_botorch_optimize_context_manager():
        optimize(client, generator, objective, total_trials=20, policy=policy, overlap=True, **OPTIONS)
    trials = records.trials(client._experiment)
    assert generator.sizes == [4] * 5
    assert [trial.status.name for trial in trials] == ["COMPLETED"] * 20
    arms = [tuple(trial.arm.parameters[f"u{k}"] for k in range(K - 1)) for trial in trials]
    assert len(set(arms)) == 20


def test_what_was_running_is_given_back(make_client, make_generator, objective):
    def watch(z):
        if len(generator.sizes) == 3:
            raise KeyboardInterrupt

    client, generator = make_client(), make_generator(watch=watch)
    policy = draws(Gaussian((32,)), 16, axes=K)
    with pytest.raises(KeyboardInterrupt):
        optimize(client, generator, objective, total_trials=16, policy=policy, overlap=True, **OPTIONS)
    statuses = [trial.status.name for trial in records.trials(client._experiment)]
    assert statuses == ["COMPLETED"] * 4 + ["FAILED"] * 8
    optimize(client, make_generator(), objective, total_trials=16, policy=policy, overlap=True, **OPTIONS)
    assert len(records.ended_trials(client._experiment)) == 16


def test_checkpoints_are_refused_beside_it(make_client, objective):
    flow = EulerFlow()
    client = make_client(generator=flow, seeds=3)
    with pytest.raises(ArgumentError, match=r"overlap, checkpoints: expected one of them"):
        optimize(client, flow, objective, total_trials=8, overlap=True, checkpoints=(3,), **OPTIONS)
    assert not records.trials(client._experiment)
