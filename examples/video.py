"""Search a text-to-video pipeline (Wan, HunyuanVideo, LTX) for the clip with most motion that does not flicker.

Download Wan-AI/Wan2.1-T2V-1.3B-Diffusers, then `python examples/video.py path/to/folder --offload`. The noise of a clip
is one latent (channels, frames, height, width), so the whole clip is searched at once. Clips are written as MP4, which
needs PyAV: pip install 'surrogate-ax[video]'.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from surrogate_ax import Metric, Objective
from surrogate_ax.media.previews import save_preview
from surrogate_ax_diffusers import load_pipeline, pipeline_generator
from surrogate_ax_optuna import create_study, optimize, portfolio


def judge(clips: np.ndarray, conditions: object) -> dict[str, list[float]]:
    """Change from frame to frame, and change of the whole picture's brightness, of clips (frames, H, W, 3)."""
    steps = [np.diff(np.asarray(clip), axis=0) for clip in clips]
    flicker = [np.abs(step.mean(axis=(1, 2, 3))).max() for step in steps]
    return {"motion": [float(np.abs(step).mean()) for step in steps], "flicker": [float(f) for f in flicker]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder with model_index.json")
    parser.add_argument("--prompt", default="a red kite over a windy beach")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--offload", action="store_true", help="move parts to the device in turn")
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--width", type=int, default=832)
    parser.add_argument("--frames", type=int, default=33, help="one more than a multiple of 4 (LTX: 8)")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--flicker", type=float, default=0.02, help="most change of brightness allowed")
    parser.add_argument("--trials", type=int, default=32)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("video-out"))
    arguments = parser.parse_args()

    pipe = load_pipeline(arguments.folder, dtype=torch.float32 if arguments.device == "cpu" else torch.bfloat16)
    if arguments.offload:
        pipe.enable_model_cpu_offload(device=arguments.device)
    generator = pipeline_generator(
        pipe,
        device=None if arguments.offload else arguments.device,
        prompt=arguments.prompt,
        height=arguments.height,
        width=arguments.width,
        num_frames=arguments.frames,
        num_inference_steps=arguments.steps,
        output_type="np",
    )
    objective = Objective(Metric("motion", "maximize"), Metric("flicker", "at_most", arguments.flicker), score=judge)
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
    for i, pick in enumerate(portfolio(study, generator, k=2)):
        path = save_preview(pick.output, arguments.out / f"{i}.mp4", rate=generator.rate, full=True)
        print(f"{path}: motion {pick.trial.value:.4f}")


if __name__ == "__main__":
    main()
