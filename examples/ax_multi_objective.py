"""Two objectives and a constraint with Ax: bright avatars that mirror themselves and keep their contrast.

After plain draws, a Gaussian process on coefficients proposes by expected hypervolume improvement, in the box over the
best of them. Run `python examples/ax_multi_objective.py`; it prints the Pareto front.
"""

import argparse

import numpy as np
from ax.api.client import Client

from surrogate_ax import Metric, Objective
from surrogate_ax_diffusers import avatar_generator
from surrogate_ax_platform import configure_experiment, optimize


def measure(images: np.ndarray, conditions: object) -> dict[str, np.ndarray]:
    """Values (n,) of each metric, of images (n, 16, 16, 3) in [0, 1]."""
    images = np.asarray(images)
    return {
        "brightness": images.mean(axis=(1, 2, 3)),
        "asymmetry": np.abs(images - images[:, :, ::-1]).mean(axis=(1, 2, 3)),
        "contrast": images.std(axis=(1, 2, 3)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=48)
    parser.add_argument("--steps", type=int, default=8)
    arguments = parser.parse_args()

    generator = avatar_generator("red hat, happy mouth", steps=arguments.steps)
    objective = Objective(
        Metric("brightness", "maximize"),
        Metric("asymmetry", "minimize"),
        Metric("contrast", "at_least", 0.2),
        score=measure,
    )
    client = Client(random_seed=0)
    configure_experiment(client, generator, objective, seeds=6, model="coefficients")
    optimize(client, generator, objective, total_trials=arguments.trials, batch_size=4, rng=0)

    print("trial  brightness  asymmetry  contrast")
    for _, values, trial, _ in client.get_pareto_frontier(use_model_predictions=False):
        numbers = [values[name][0] for name in ("brightness", "asymmetry", "contrast")]
        print(f"{trial:5d}  {numbers[0]:10.3f}  {numbers[1]:9.4f}  {numbers[2]:8.3f}")


if __name__ == "__main__":
    main()
