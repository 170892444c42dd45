"""Ax's own drive: `client.run_trials` proposes, and a runner generates and scores each batch in one call.

Plain draws come first, then Ax searches the box over the best of them. Run `python examples/ax_run_trials.py`.
"""

import argparse

import numpy as np
from ax.api.client import Client

from surrogate_ax import Metric, Objective, draws
from surrogate_ax_diffusers import avatar_generator
from surrogate_ax_platform import configure_experiment, configure_runner, optimize

AXES = 6


def symmetry(images: np.ndarray, conditions: object) -> np.ndarray:
    """How well images (n, 16, 16, 3) mirror themselves (n,): 0 is best."""
    images = np.asarray(images)
    return -np.abs(images - images[:, :, ::-1]).mean(axis=(1, 2, 3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=16)
    parser.add_argument("--trials", type=int, default=24, help="after the draws")
    parser.add_argument("--parallelism", type=int, default=4)
    parser.add_argument("--steps", type=int, default=8)
    arguments = parser.parse_args()

    generator = avatar_generator("beard, long brown hair", steps=arguments.steps)
    objective = Objective(Metric("symmetry", "maximize"), score=symmetry)
    client = Client(random_seed=0)
    configure_experiment(client, generator, objective, seeds=AXES, model="coefficients")
    first = draws(generator.prior, arguments.draws, axes=AXES)
    optimize(client, generator, objective, policy=first, total_trials=arguments.draws, batch_size=8, rng=0)
    configure_runner(client, generator, objective, rng=0)
    client.run_trials(arguments.trials, parallelism=arguments.parallelism)

    _, values, trial, _ = client.get_best_parameterization(use_model_predictions=False)
    print(f"best: trial {trial}, symmetry {values['symmetry'][0]:.4f}")


if __name__ == "__main__":
    main()
