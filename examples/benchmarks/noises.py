"""Stochastic samplers with their noise in the latent: do they repeat, and does a batch equal its items?

The embedded avatar model under schedulers that draw noise, and a small protein pipeline. Differences are largest
differences of a value, of pixels in [0, 1] or of coordinates in nanometres. Plain calls differ; these must not:

    <kind>_plain          between two plain calls of the pipeline from the same initial noise
    <kind>_repeat         between two runs of a batch
    <kind>_batch          between items of a batch and the same items one at a time, in float32
    <kind>_batch_float64  the same in float64

Items of a batch do not depend on each other, so in float64 nothing is left. In float32 the rounding, which differs
between batch sizes, grows on the way through many noisy steps, in single items by more than in others.
"""

from __future__ import annotations

import argparse
import runpy
import sys
import warnings
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch

from surrogate_ax import Generator
from surrogate_ax_diffusers import PipelineGenerator, ProteinGenerator, load_avatars, pipeline_generator, unconditional


def _epsilon(scheduler: Any) -> Callable[[Any], Any]:
    """These schedulers know no flow models; `as_noise` turns the network's answer into the noise that they expect."""
    betas = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    return lambda config: scheduler.from_config(config, prediction_type="epsilon", clip_sample=False, **betas)


def as_noise(pipe: Any) -> None:
    """Let a flow model's network answer with the noise of a variance-preserving process.

    x = a x0 + s ε with a² + s² = 1 is, divided by a + s, a point (1 - σ) x0 + σ ε of the flow at σ = s / (a + s), where
    the network gives v = ε - x0; so ε = x / (a + s) + (1 - σ) v.
    """
    forward, alphas = pipe.unet.forward, pipe.scheduler.alphas_cumprod

    @wraps(forward)
    def noise(x: torch.Tensor, t: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        a2 = alphas[t.long()].to(x)
        a, s = a2.sqrt(), (1 - a2).sqrt()
        sigma, point = s / (a + s), x / (a + s)
        velocity = forward(point, 1000 * sigma, *args, **kwargs)[0]
        return (point + (1 - sigma) * velocity,)

    pipe.unet.forward = noise


KINDS: dict[str, tuple[Callable[[Any], Any], dict[str, Any]]] = {
    "ancestral": (_epsilon(diffusers.EulerAncestralDiscreteScheduler), {}),
    "sde": (
        lambda config: diffusers.DPMSolverMultistepScheduler.from_config(config, algorithm_type="sde-dpmsolver++"),
        {},
    ),
    "ddpm": (_epsilon(diffusers.DDPMScheduler), {}),
    "ddim_eta1": (_epsilon(diffusers.DDIMScheduler), {"eta": 1.0}),
}
BATCH_GOAL, VISIBLE = 1e-5, 0.02


def draw(generator: Generator, n: int) -> dict[str, torch.Tensor]:
    return dict(
        generator.prior.from_inner(torch.randn(n, generator.prior.dim, generator=torch.Generator().manual_seed(0)))
    )


def numbers(outputs: Any) -> np.ndarray:
    return np.stack([np.asarray(output, dtype=np.float64) for output in outputs])


def report(name: str, value: float, goal: float, good: bool) -> bool:
    print(f"RESULT noises_{name} {value:.3g} {goal:g} {'ok' if good else 'short'}", flush=True)
    return good


def apart(generator: Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Outputs of n items at once, and one at a time."""
    z = draw(generator, n)
    together = numbers(generator.generate(z, [{}] * n).outputs)
    rows = [{part: x[i : i + 1] for part, x in z.items()} for i in range(n)]
    return together, np.concatenate([numbers(generator.generate(row, [{}]).outputs) for row in rows])


def measure(name: str, generator: Generator, plain: Callable[[Any], np.ndarray], n: int, unit: float = 1.0) -> bool:
    """Repeats, n at once against one at a time, and plain calls from the same initial noise."""
    together, alone = apart(generator, n)
    again = numbers(generator.generate(draw(generator, n), [{}] * n).outputs)
    first, second = (plain({part: x[:1] for part, x in draw(generator, n).items()}) for _ in range(2))
    differs = float(np.abs(first - second).max())
    repeat, batch = (float(np.abs(each - together).max()) / unit for each in (again, alone))
    return all(
        [
            report(f"{name}_plain", differs, VISIBLE, differs >= VISIBLE),
            report(f"{name}_repeat", repeat, 0, repeat == 0),
            report(f"{name}_batch", batch, BATCH_GOAL, batch <= BATCH_GOAL),
        ]
    )


def avatars(kind: str, n: int, steps: int) -> bool:
    make, options = KINDS[kind]
    call = {"prompt": "red hat", "num_inference_steps": steps, "guidance_scale": 1.5, "output_type": "np", **options}

    def made(dtype: torch.dtype) -> tuple[Any, PipelineGenerator]:
        pipe = load_avatars(dtype)
        pipe.scheduler = make(pipe.scheduler.config)
        if pipe.scheduler.config.prediction_type == "epsilon":
            as_noise(pipe)
        return pipe, pipeline_generator(pipe, step_noise=True, revision="avatars", **call)

    pipe, generator = made(torch.float32)
    kept = measure(kind, generator, lambda z: pipe(**call, latents=z["latents"].clone())[0], n)
    together, alone = apart(made(torch.float64)[1], n)
    batch = float(np.abs(alone - together).max())
    return report(f"{kind}_batch_float64", batch, BATCH_GOAL, batch <= BATCH_GOAL) and kept


def proteins(n: int) -> bool:
    """A small RFD4-Proteina pipeline with random weights; its structures are in ångström."""
    example = runpy.run_path(str(Path(__file__).parents[1] / "proteins.py"))
    pipe, features = example["random_pipeline"](), unconditional(32)
    generator = ProteinGenerator(pipe, features)

    def plain(z: Any) -> np.ndarray:
        masks = {name: features[name] for name in list(features)[:4]}
        others = {name: tensor for name, tensor in features.items() if name not in masks}
        start = {name: z[name] for name in ("latents_bb_ca", "latents_local_latents")}
        return np.asarray(pipe(**masks, conditioning_features=others, **start, output_type="np").coords_nm)

    pipe.set_progress_bar_config(disable=True)
    return measure("protein", generator, plain, n, unit=10.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="4 items in 6 steps, in place of 16 in 24")
    n, steps = (4, 6) if parser.parse_args().quick else (16, 24)
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message="__array_", category=DeprecationWarning)
    sys.exit(not min([*(avatars(kind, n, steps) for kind in KINDS), proteins(n)]))


if __name__ == "__main__":
    main()
