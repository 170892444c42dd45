"""The model on coefficients inside Ax: real and mocked optimisation, several objectives, conditions, saving."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from ax.utils.testing.mock import mock_botorch_optimize_context_manager

from surrogate_ax import Choice, Metric, Objective, Range, SurrogateSpace
from surrogate_ax.errors import ArgumentError
from surrogate_ax_botorch import CoefficientKernel
from surrogate_ax_platform import generation_strategy, load_client, optimize, records
from surrogate_ax_platform.coefficients import geometry
from tests.integrations.platform.values import values_of

K = 4


def _kernels(client: Any) -> list[Any]:
    adapter = client._generation_strategy._curr._fitted_adapter
    models = adapter.generator.surrogate.model
    return [model.covar_module for model in getattr(models, "models", [models])]


def test_a_real_optimisation_learns_from_the_draws(make_client, make_generator, objective, tmp_path):
    client = make_client(model="coefficients")
    file = tmp_path / "client.json"
    optimize(client, make_generator(), objective, total_trials=12, batch_size=4, rng=0, snapshot=file)
    names = [
        trial.generator_run._generation_node_name if trial.generator_run else None
        for trial in records.trials(client._experiment)
    ]
    assert names == ["draws"] * 5 + ["model"] * 7
    (kernel,) = _kernels(client)
    assert isinstance(kernel, CoefficientKernel)
    assert kernel.geometry.size > K
    values = [values_of(trial, ["first"])[0] for trial in records.trials(client._experiment)]
    assert np.mean(values[5:]) > np.mean(values[:5])
    assert max(values[5:]) > max(values[:5])
    loaded = load_client(file)
    optimize(loaded, make_generator(), objective, total_trials=14, batch_size=2, rng=0)
    (kernel,) = _kernels(loaded)
    assert isinstance(kernel, CoefficientKernel)
    u = {f"u{k}": 0.5 for k in range(K - 1)}
    assert np.isfinite(loaded.predict([{**u, "round": 1}])[0]["first"]).all()


def test_several_objectives_a_constraint_and_conditions(make_client, make_generator, several):
    conditions = {
        "scale": Range(1.0, 3.0, step=0.5),
        "rate": Range(1, 64, log=True),
        "prompt": Choice(["a", "b", "c"]),
        "flag": Choice([True, False]),
    }
    client = make_client(several, conditions=conditions, model="coefficients")
    space = SurrogateSpace.sample(make_generator().prior, seeds=K, rng=0)
    with mock_botorch_optimize_context_manager():
        generator = make_generator(conditional=True)
        optimize(client, generator, several, total_trials=10, batch_size=3, rng=0, space=space)
    assert len(client._experiment.trials) == 10
    kernels = _kernels(client)
    assert len(kernels) == 3
    features = client._generation_strategy._curr._fitted_adapter.parameters
    for kernel in kernels:
        assert [features[i] for i in kernel._categorical] == ["prompt"]
        assert {features[i]: scale for i, scale in kernel._ordered.items()} == {
            "scale": (1.0, 3.0),
            "rate": (0.0, pytest.approx(np.log10(64))),
            "flag": (0.0, 1.0),
        }


def test_a_bound_that_nothing_keeps_does_not_end_the_run(make_client, make_generator):
    def score(outputs: Any, _: Any) -> dict[str, np.ndarray]:
        rows = outputs.double().numpy()
        return {"first": rows[:, 0], "second": rows[:, 1], "third": rows[:, 2] + 100}

    goal = Objective(Metric("first"), Metric("second"), Metric("third", "at_most", 0.0), score=score)
    client = make_client(goal, model="coefficients")
    space = SurrogateSpace.sample(make_generator().prior, seeds=K, rng=0)
    with mock_botorch_optimize_context_manager(force=True):
        optimize(client, make_generator(), goal, total_trials=12, batch_size=4, rng=0, space=space)
    assert len(client._experiment.trials) == 12


def test_the_geometry_is_read_back_from_the_experiment(make_client, make_generator, objective):
    client = make_client(model="coefficients")
    generator = make_generator()
    with mock_botorch_optimize_context_manager():
        optimize(client, generator, objective, total_trials=12, batch_size=4, rng=0)
    found = geometry(client._experiment)
    trials = records.trials(client._experiment)
    rows = [[trial.arm.parameters[f"u{k}"] for k in range(K - 1)] for trial in trials]
    u = torch.tensor(rows, dtype=torch.float64)
    rounds = torch.tensor([trial.arm.parameters["round"] for trial in trials])
    phi = found.features(u, rounds).numpy()
    terms = [records.read_recipe(trial).terms for trial in trials]
    bank = SurrogateSpace.sample(generator.prior, seeds=2, rng=5).bank.extend(
        [seed for row in terms for seed, _ in row]
    )
    np.testing.assert_allclose(phi @ phi.T, bank.gram(bank.rows(terms)), atol=1e-6)


def test_an_unknown_model_is_refused():
    with pytest.raises(ArgumentError, match="expected 'coefficients', 'ax'"):
        generation_strategy("saas")  # type: ignore[arg-type]
