"""Search a diffusers pipeline from a local folder; the embedded avatar model where none is given.

Run `python examples/own_pipeline.py path/to/pipeline --prompt "a red vintage car" --device cuda`. The study
is kept: run it again with more --trials and it goes on.
"""

import argparse
from pathlib import Path

import numpy as np

from surrogate_ax import Metric, Objective
from surrogate_ax.media.previews import save_preview
from surrogate_ax_diffusers import load_avatars, load_pipeline, pipeline_generator
from surrogate_ax_optuna import create_study, optimize, portfolio, sqlite


def contrast(images: np.ndarray, conditions: object) -> list[float]:
    """Spread of each image's brightness; put your own judge here."""
    return [float(np.asarray(image).mean(axis=2).std()) for image in images]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, help="folder with model_index.json")
    parser.add_argument("--prompt", default="dark glasses, purple background")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--guidance", type=float, default=1.5)
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path("pipeline-out"))
    arguments = parser.parse_args()

    generator = pipeline_generator(
        load_pipeline(arguments.folder) if arguments.folder else load_avatars(),
        device=arguments.device,
        prompt=arguments.prompt,
        num_inference_steps=arguments.steps,
        guidance_scale=arguments.guidance,
        output_type="np",
    )
    objective = Objective(Metric("contrast", "maximize"), score=contrast)
    study = create_study(objective, study_name=arguments.prompt, storage=sqlite(arguments.out / "study.db"))
    optimize(study, generator, objective, total_trials=arguments.trials, batch_size=arguments.batch, rng=0)
    for i, pick in enumerate(portfolio(study, generator, k=4)):
        path = save_preview(pick.output, arguments.out / f"{i}.png", full=True)
        print(f"{path}: trial {pick.trial.number}, contrast {pick.trial.value:.4f}")


if __name__ == "__main__":
    main()
