"""Search FLUX for the image a judge likes best, with guidance searched along.

Download black-forest-labs/FLUX.1-dev (or -schnell, Flux 2, Qwen-Image, Z-Image), then
`python examples/flux.py path/to/FLUX.1-dev --offload --trials 100`. With --offload only the part that computes is on
the device: 24 GB of memory suffice.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from surrogate_ax import Metric, Objective, Range
from surrogate_ax.media.previews import save_preview
from surrogate_ax_diffusers import load_pipeline, pipeline_generator
from surrogate_ax_optuna import create_study, optimize, portfolio


def colour(images: np.ndarray, conditions: object) -> list[float]:
    """Mean distance of pixels from grey; put your own judge here: an aesthetic score, likeness to a photograph, you."""
    return [float(np.asarray(image).std(axis=2).mean()) for image in images]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder with model_index.json")
    parser.add_argument("--prompt", default="a red vintage car on a coastal road, late light")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--offload", action="store_true", help="move parts to the device in turn")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--out", type=Path, default=Path("flux-out"))
    arguments = parser.parse_args()

    pipe = load_pipeline(arguments.folder, dtype=torch.float32 if arguments.device == "cpu" else torch.bfloat16)
    if arguments.offload:
        pipe.enable_model_cpu_offload(device=arguments.device)
    generator = pipeline_generator(
        pipe,
        device=None if arguments.offload else arguments.device,
        prompt=arguments.prompt,
        height=arguments.size,
        width=arguments.size,
        num_inference_steps=arguments.steps,
        output_type="np",
    )
    objective = Objective(Metric("colour", "maximize"), score=colour)
    study = create_study(objective)
    optimize(
        study,
        generator,
        objective,
        total_trials=arguments.trials,
        batch_size=arguments.batch,
        rng=0,
        conditions={"guidance_scale": Range(2.0, 5.0, step=1.5)},  # a coarse step: equal values share a call
    )
    arguments.out.mkdir(parents=True, exist_ok=True)
    for i, pick in enumerate(portfolio(study, generator, k=4)):
        path = save_preview(pick.output, arguments.out / f"{i}.png", full=True)
        print(f"{path}: colour {pick.trial.value:.4f}, guidance {pick.trial.params['guidance_scale']}")


if __name__ == "__main__":
    main()
