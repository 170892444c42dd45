"""Search Stable Audio for the take with the strongest beat.

Download stabilityai/stable-audio-open-1.0, then `python examples/audio.py path/to/folder --device cuda`. Its own
scheduler draws noise at every step, so that a latent would not determine the sound; one that does not takes its place.
"""

import argparse
from pathlib import Path

import diffusers
import numpy as np
import torch

from surrogate_ax import Metric, Objective
from surrogate_ax.media.previews import save_preview
from surrogate_ax_diffusers import load_pipeline, pipeline_generator
from surrogate_ax_optuna import create_study, optimize, portfolio


def beat(sounds: np.ndarray, conditions: object) -> list[float]:
    """Spread of loudness over time, relative to its mean, of sounds (channels, samples)."""
    scores = []
    for sound in sounds:
        mono = np.asarray(sound, dtype=float).mean(axis=0)
        loudness = np.array([np.sqrt((part**2).mean()) for part in np.array_split(mono, min(64, len(mono)))])
        scores.append(float(loudness.std() / max(loudness.mean(), 1e-9)))
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder with model_index.json")
    parser.add_argument("--prompt", default="a slow funk drum loop, 90 beats a minute")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--out", type=Path, default=Path("audio-out"))
    arguments = parser.parse_args()

    scheduler = diffusers.EDMDPMSolverMultistepScheduler.from_pretrained(arguments.folder / "scheduler")
    dtype = torch.float32 if arguments.device == "cpu" else torch.float16
    pipe = load_pipeline(arguments.folder, dtype=dtype, scheduler=scheduler)
    generator = pipeline_generator(
        pipe,
        device=arguments.device,
        prompt=arguments.prompt,
        audio_end_in_s=arguments.seconds,
        num_inference_steps=arguments.steps,
        output_type="np",
    )
    objective = Objective(Metric("beat", "maximize"), score=beat)
    study = create_study(objective)
    optimize(
        study,
        generator,
        objective,
        total_trials=arguments.trials,
        batch_size=arguments.batch,
        rng=0,
    )
    arguments.out.mkdir(parents=True, exist_ok=True)
    for i, pick in enumerate(portfolio(study, generator, k=4)):
        path = save_preview(pick.output, arguments.out / f"{i}.wav", rate=generator.rate, full=True)
        print(f"{path}: beat {pick.trial.value:.4f}")


if __name__ == "__main__":
    main()
