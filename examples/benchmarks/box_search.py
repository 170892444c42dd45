"""One box searched by three Bayesian optimisers from the same points: ours, a plain Ax client, Optuna's GPSampler."""

import math
from collections.abc import Callable

import numpy as np
import optuna
from ax.api.client import Client
from ax.api.configs import RangeParameterConfig

from surrogate_ax import Generator, Metric, Objective, Policy, SurrogateSpace
from surrogate_ax.policies.history import Round, as_proposals
from surrogate_ax_platform import configure_experiment, optimize, records

Array = np.ndarray
Score = Callable[[Array], Array]
BUDGET, BATCH = 60, 4


def images(generator: Generator, space: SurrogateSpace, u: Array) -> Array:
    parts = np.array_split(u, -(-len(u) // 32))
    return np.concatenate([np.asarray(generator.generate(space.latents(p), [{}] * len(p)).outputs) for p in parts])


def fixed_turn(round: Round) -> Policy:
    return lambda *_: round


def box_client(d: int, rng: int) -> Client:
    """A client as Ax makes it, with its default strategy, for the box alone."""
    client = Client(random_seed=rng)
    u = [RangeParameterConfig(name=f"u{j}", parameter_type="float", bounds=(0.0, 1.0)) for j in range(d)]
    client.configure_experiment(parameters=u)
    client.configure_optimization(objective="score")
    client.configure_generation_strategy(initialize_with_center=False, initialization_random_seed=rng)
    return client


def tell_box(client: Client, u: Array, values: Array) -> None:
    for row, value in zip(u, values, strict=True):
        params = {f"u{j}": float(x) for j, x in enumerate(row)}
        client.complete_trial(client.attach_trial(parameters=params), raw_data={"score": float(value)})


def with_coefficients(
    generator: Generator, score: Score, space: SurrogateSpace, begin: Array, rng: int, total: int
) -> tuple[Client, Array]:
    """A client of ours after `total` evaluations, the given points first, and their values."""
    client = Client(random_seed=rng)
    objective = Objective(Metric("score"), score=lambda outputs, _: score(outputs))
    configure_experiment(client, generator, objective, space=space, model="coefficients", rng=rng)
    policy = fixed_turn(Round(space, 0, total, as_proposals(space.bank, space.coefficients(begin))))
    optimize(client, generator, objective, total_trials=total, batch_size=BATCH, rng=rng, policy=policy)
    results = [trial.run_metadata.get(records.RESULT, {}) for trial in records.trials(client._experiment)]
    return client, np.array([result.get("values", {}).get("score", math.nan) for result in results])


def with_ax(generator: Generator, score: Score, space: SurrogateSpace, begin: Array, rng: int) -> Array:
    client, values = box_client(space.axes - 1, rng), list(score(images(generator, space, begin)))
    tell_box(client, begin, np.array(values))
    while len(values) < BUDGET:
        asked = client.get_next_trials(max_trials=BATCH)
        u = np.array([[params[f"u{j}"] for j in range(space.axes - 1)] for params in asked.values()])
        found = score(images(generator, space, u))
        for index, value in zip(asked, found, strict=True):
            client.complete_trial(index, raw_data={"score": float(value)})
        values += list(found)
    return np.array(values)


def with_gpsampler(generator: Generator, score: Score, space: SurrogateSpace, begin: Array, rng: int) -> Array:
    sampler = optuna.samplers.GPSampler(seed=rng, deterministic_objective=True, n_startup_trials=0)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    box = {f"u{j}": optuna.distributions.FloatDistribution(0, 1) for j in range(space.axes - 1)}
    values = list(score(images(generator, space, begin)))
    for u, value in zip(begin, values, strict=True):
        params = {name: float(x) for name, x in zip(box, u, strict=True)}
        study.add_trial(optuna.create_trial(params=params, distributions=box, value=float(value)))
    while len(values) < BUDGET:
        asked = [study.ask(box) for _ in range(BATCH)]
        u = np.array([[trial.params[name] for name in box] for trial in asked])
        found = score(images(generator, space, u))
        for trial, value in zip(asked, found, strict=True):
            study.tell(trial, float(value))
        values += list(found)
    return np.array(values)
