"""Two objectives, a constraint, and call arguments searched beside the latent.

Avatars that are bright and mirror themselves, yet do not lose their contrast; prompt and guidance are part of the
search. Run `python examples/multi_objective.py --trials 128`; it prints the Pareto front.
"""

import argparse

import numpy as np

from surrogate_ax import Choice, Metric, Objective, Range
from surrogate_ax_diffusers import avatar_generator
from surrogate_ax_optuna import create_study, optimize

PROMPTS = ["red hat, happy mouth", "dark glasses, long brown hair", "beard, short black hair"]


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
    parser.add_argument("--trials", type=int, default=128)
    parser.add_argument("--steps", type=int, default=12)
    arguments = parser.parse_args()

    objective = Objective(
        Metric("brightness", "maximize"),
        Metric("asymmetry", "minimize"),
        Metric("contrast", "at_least", 0.2),
        score=measure,
    )
    conditions = {"prompt": Choice(PROMPTS), "guidance_scale": Range(1.0, 3.0, step=0.5)}
    study = create_study(objective)
    generator = avatar_generator(steps=arguments.steps)
    optimize(study, generator, objective, total_trials=arguments.trials, conditions=conditions, rng=0)

    print("brightness  asymmetry  guidance  prompt")
    for trial in sorted(study.best_trials, key=lambda trial: -trial.values[0]):
        guidance, prompt = trial.params["guidance_scale"], trial.params["prompt"]
        print(f"{trial.values[0]:10.3f}  {trial.values[1]:9.4f}  {guidance:8.1f}  {prompt}")


if __name__ == "__main__":
    main()
