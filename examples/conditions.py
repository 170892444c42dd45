"""Mixed hyper-parameters: noise, guidance, steps and prompt in one search.

Avatars with as much contrast as few steps allow. The noise is a box [0, 1]^7 to Optuna; guidance, steps and prompt are
ordinary parameters beside it, so samplers, plots and dashboards treat them all alike.

python examples/conditions.py --trials 128
"""

import argparse
from pathlib import Path

import numpy as np
import optuna

from surrogate_ax import Choice, Metric, Objective, Range, SurrogateSpace
from surrogate_ax.media.previews import save_preview
from surrogate_ax_diffusers import avatar_generator
from surrogate_ax_optuna import optimize, portfolio

PROMPTS = ["red hat, happy mouth", "dark glasses, long brown hair", "beard, short black hair"]


def contrast(images: np.ndarray, conditions: list) -> np.ndarray:
    """Spread of each image's brightness (n,), less a hundredth for each step that it took."""
    steps = np.array([condition["num_inference_steps"] for condition in conditions])
    return np.asarray(images).mean(axis=3).std(axis=(1, 2)) - 0.01 * steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=128)
    parser.add_argument("--out", type=Path, default=Path("conditions-out"))
    arguments = parser.parse_args()

    generator = avatar_generator()
    conditions = {
        "guidance_scale": Range(1.0, 3.0, step=0.5),
        "num_inference_steps": Range(2, 8, step=2),
        "prompt": Choice(PROMPTS),
    }
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0, multivariate=True))
    optimize(
        study,
        generator,
        Objective(Metric("contrast", "maximize"), score=contrast),
        total_trials=arguments.trials,
        space=SurrogateSpace.sample(generator.prior, seeds=8, rng=0),  # K = 8 seeds span the box
        conditions=conditions,
        rng=0,
    )
    arguments.out.mkdir(parents=True, exist_ok=True)
    for i, pick in enumerate(portfolio(study, generator, k=4)):
        save_preview(pick.output, arguments.out / f"{i}.png")
        found = ", ".join(f"{name} {pick.trial.params[name]}" for name in conditions)
        print(f"{arguments.out / f'{i}.png'}: contrast {pick.trial.value:.4f}, {found}")


if __name__ == "__main__":
    main()
