"""One latent scored under several prompts: noise that gives good avatars whatever the prompt asks for.

Each latent is generated under every prompt, and judged by the worst of its avatars.

python examples/several_prompts.py --trials 96
"""

import argparse
from pathlib import Path

import numpy as np

from surrogate_ax import Metric, MultiCondition, Objective
from surrogate_ax.media.previews import save_preview
from surrogate_ax_diffusers import avatar_generator
from surrogate_ax_optuna import create_study, optimize, portfolio

PROMPTS = ["red hat, happy mouth", "dark glasses, long brown hair", "beard, short black hair"]


def worst_contrast(images: np.ndarray, conditions: object) -> np.ndarray:
    """The least spread of brightness among the avatars of each latent (n,), of images (n, prompts, 16, 16, 3)."""
    return images.mean(axis=4).std(axis=(2, 3)).min(axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=96)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--out", type=Path, default=Path("prompts-out"))
    arguments = parser.parse_args()

    generator = MultiCondition(avatar_generator(steps=arguments.steps), [{"prompt": prompt} for prompt in PROMPTS])
    objective = Objective(Metric("worst contrast", "maximize"), score=worst_contrast)
    study = create_study(objective)
    optimize(study, generator, objective, total_trials=arguments.trials, batch_size=8, rng=0)

    arguments.out.mkdir(parents=True, exist_ok=True)
    for i, pick in enumerate(portfolio(study, generator, k=4)):
        save_preview(np.concatenate(pick.output, axis=1), arguments.out / f"{i}.png")  # side by side
        print(f"{arguments.out / f'{i}.png'}: trial {pick.trial.number}, worst contrast {pick.trial.value:.4f}")


if __name__ == "__main__":
    main()
