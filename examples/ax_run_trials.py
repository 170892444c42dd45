"""Ax's own drive: `client.run_trials` makes the planned search, and a runner evaluates each batch in one call.

Run `python examples/ax_run_trials.py`.
"""

import argparse

import numpy as np
from ax.api.client import Client

from surrogate_ax import Metric, Objective
from surrogate_ax_diffusers import avatar_generator
from surrogate_ax_platform import configure_experiment, configure_runner


def symmetry(images: np.ndarray, conditions: object) -> np.ndarray:
    """How well images (n, 16, 16, 3) mirror themselves (n,): 0 is best."""
    images = np.asarray(images)
    return -np.abs(images - images[:, :, ::-1]).mean(axis=(1, 2, 3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--parallelism", type=int, default=8)
    parser.add_argument("--steps", type=int, default=8)
    arguments = parser.parse_args()

    generator = avatar_generator("beard, long brown hair", steps=arguments.steps)
    objective = Objective(Metric("symmetry", "maximize"), score=symmetry)
    client = Client(random_seed=0)
    configure_experiment(client, generator, objective, total_trials=arguments.trials)
    configure_runner(client, generator, objective)
    client.run_trials(arguments.trials, parallelism=arguments.parallelism)

    _, values, trial, _ = client.get_best_parameterization(use_model_predictions=False)
    print(f"best: trial {trial}, symmetry {values['symmetry'][0]:.4f}")


if __name__ == "__main__":
    main()
