"""Measure an exported portrait model: its pictures, its prompts, its latents, its cost.

    python evaluate.py --model FOLDER [--log LOG] [--images 180] [--latents 90] [--steps 8] [--guidance 1]

Prints `RESULT <name> <value> <goal> ok|short` lines and ends with status 1 where one is short. The judge is the
committed classifier of rendered images (`classifier.py`).

- classifier/A: balanced accuracy of the judge on the 512 held-out renderings; goal at least 0.95.
- vae_psnr: decibels between those and what the VAE makes of them; goal at least 28.
- agreement/A: share of images, prompted evenly with the words of `ASKED`, in which the judge sees what the prompt says.
  Two or three phrases of a random held-out label about other attributes complete each prompt; goal at least 0.90.
- same_latent: share of attributes that no prompt names and that agree when one latent is rendered under two prompts,
  which name two words of one attribute; goal at least 0.70.
- same_latent_gain: that share minus the same under two different latents; goal at least 0.20.
- batch_time: processor time of 16 images in 8 steps, as a multiple of the avatars'; goal at most 2.5.
- loss_fall: relative fall of the held-out loss over the last 128,000 images or more, as many as the avatars saw in
  their last 2,000 steps; goal at most 0.01.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from captions import BACKGROUNDS, CLOTHES, HAIR, phrases
from classifier import ATTRIBUTES, Classifier, balanced_accuracy, load, predict, truths
from dataset import held_out
from diffusers import StableDiffusionPipeline
from model import LATENT
from tqdm import tqdm
from train_vae import psnr, reconstructed

# attribute -> what a prompt asks for, and the word that the judge should see
ASKED = {
    "accessory": {"glasses": "glasses", "no glasses": "none"},
    "facialHair": {"beard": "beard", "no beard": "none"},
    "hair": {**{f"{word} hair": word for word in HAIR[:4]}, "hair bun": "bun", "bald": "bald"},
    "face": {"smiling": "smile", "frowning": "frown"},
    "clothes": {f"{word} shirt": word for word in CLOTHES},
    "background": {f"{word} background": word for word in BACKGROUNDS},
}
NAMES = tuple(ATTRIBUTES)
LAST = 128_000  # images over which convergence is read, at least
Result = tuple[str, float, float, bool]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How every image is generated: solver steps, guidance scale, images a batch."""

    steps: int
    guidance: float
    batch: int


def latents(count: int, *, seed: int) -> torch.Tensor:
    """Standard normal latents (count, 4, 16, 16) that depend on the seed only."""
    return torch.randn(count, *LATENT, generator=torch.Generator().manual_seed(seed))


def generate(
    pipe: StableDiffusionPipeline, prompts: Sequence[str], z: torch.Tensor, settings: Settings, bar: tqdm
) -> np.ndarray:
    """One uint8 image a prompt and latent, (n, 64, 64, 3)."""
    images = []
    for i in range(0, len(prompts), settings.batch):
        part = slice(i, i + settings.batch)
        out = pipe(
            list(prompts[part]),
            latents=z[part],
            num_inference_steps=settings.steps,
            guidance_scale=settings.guidance,
            output_type="np",
        )
        images.append((out.images * 255).round().astype(np.uint8))
        bar.update(len(out.images))
    return np.concatenate(images)


def prompt(named: str, others: dict[str, str], count: int, rng: np.random.Generator) -> str:
    """The phrase `named` and `count` of `others`, in random order."""
    parts = [named, *rng.choice(list(others.values()), size=count, replace=False)]
    return ", ".join(parts[i] for i in rng.permutation(len(parts)))


def agreement(
    pipe: StableDiffusionPipeline, judge: Classifier, count: int, settings: Settings, bar: tqdm
) -> Iterator[Result]:
    """The agreement of `count` images an attribute with their prompts."""
    labels = [phrases(label) for label in held_out()[1]]
    for a, (name, asked) in enumerate(ASKED.items()):
        rng = np.random.default_rng([1, a])
        named = [list(asked)[i % len(asked)] for i in range(count)]
        prompts = []
        for phrase in named:
            label = labels[rng.integers(len(labels))]
            others = {key: other for key, other in label.items() if key != name}
            prompts.append(prompt(phrase, others, int(rng.integers(2, 4)), rng))
        seen = predict(judge, generate(pipe, prompts, latents(count, seed=1000 + a), settings, bar))
        agreed = seen[:, NAMES.index(name)] == [ATTRIBUTES[name].index(asked[phrase]) for phrase in named]
        for i, phrase in enumerate(asked):
            bar.write(f"# {phrase}: {agreed[i :: len(asked)].mean():.3f} agree")
        yield f"agreement/{name}", float(agreed.mean()), 0.90, True


def same_latent(
    pipe: StableDiffusionPipeline, judge: Classifier, count: int, settings: Settings, bar: tqdm
) -> Iterator[Result]:
    """How far unnamed attributes stay when only a named one changes, against the same with another latent."""
    named = [NAMES[i % len(NAMES)] for i in range(count)]
    prompts = [[list(ASKED[name])[side] for name in named] for side in range(2)]
    z, others = latents(count, seed=2000), latents(count, seed=2001)
    first, second, third = (
        predict(judge, generate(pipe, texts, noise, settings, bar))
        for texts, noise in ((prompts[0], z), (prompts[1], z), (prompts[1], others))
    )
    unnamed = np.array(named)[:, None] != np.array(NAMES)
    same, different = (first == second)[unnamed], (first == third)[unnamed]
    for a, name in enumerate(NAMES):
        kept = [(first == seen)[unnamed[:, a], a].mean() for seen in (second, third)]
        bar.write(f"# {name} unnamed: {kept[0]:.3f} agree under one latent, {kept[1]:.3f} under two")
    yield "same_latent", float(same.mean()), 0.70, True
    yield "same_latent_gain", float(same.mean() - different.mean()), 0.20, True


def batch_time(pipe: StableDiffusionPipeline) -> Result:
    """Processor time of a batch as a multiple of the embedded avatars'; the better of three each, taken in turn."""
    from surrogate_ax_diffusers.avatars import load_avatars  # only here: nothing else needs the project

    pipes = {"avatars": load_avatars(), "portraits": pipe}
    taken = {name: float("inf") for name in pipes}
    for _ in range(3):
        for name, each in pipes.items():
            start = time.process_time()
            each([""] * 16, num_inference_steps=8, guidance_scale=1.5, output_type="np")
            taken[name] = min(taken[name], time.process_time() - start)
    return "batch_time", taken["portraits"] / taken["avatars"], 2.5, False


def convergence(log: Path) -> Result:
    """The relative fall of the held-out loss over the last 128,000 images of the log, infinite where it is shorter."""
    records = [json.loads(line) for line in log.read_text().splitlines()]
    before = [record for record in records if record["images"] <= records[-1]["images"] - LAST]
    fall = 1 - records[-1]["held_out"] / before[-1]["held_out"] if before else float("inf")
    return "loss_fall", fall, 0.01, False


def results(
    pipe: StableDiffusionPipeline, log: Path, images: int, count: int, settings: Settings, bar: tqdm
) -> Iterator[Result]:
    """Every result as (name, value, goal, whether more is better)."""
    judge = load()
    rendered, labels = held_out()
    scores = balanced_accuracy(predict(judge, rendered), truths(labels))
    for name, score in zip(NAMES, scores, strict=True):
        yield f"classifier/{name}", float(score), 0.95, True
    yield "vae_psnr", psnr(rendered, reconstructed(pipe.vae, rendered)), 28.0, True
    yield batch_time(pipe)
    yield from agreement(pipe, judge, images, settings, bar)
    yield from same_latent(pipe, judge, count, settings, bar)
    yield convergence(log)


def main() -> int:
    """Print every result; the exit status is 1 where one falls short."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="a StableDiffusionPipeline folder")
    parser.add_argument("--log", type=Path, default=Path(__file__).parent / "log.jsonl", help="the flow's training log")
    parser.add_argument("--images", type=int, default=180, help="images an attribute")
    parser.add_argument("--latents", type=int, default=90, help="latents rendered under two prompts")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--guidance", type=float, default=1.0)
    parser.add_argument("--batch", type=int, default=48)
    options = parser.parse_args()
    torch.set_num_threads(1)
    settings = Settings(steps=options.steps, guidance=options.guidance, batch=options.batch)
    pipe = StableDiffusionPipeline.from_pretrained(
        options.model, local_files_only=True, use_safetensors=True, dtype=torch.float32
    )
    pipe.set_progress_bar_config(disable=True)
    short = False
    with tqdm(total=len(ASKED) * options.images + 3 * options.latents, unit="image", desc="evaluate") as bar:
        for name, value, goal, more in results(pipe, options.log, options.images, options.latents, settings, bar):
            reached = value >= goal if more else value <= goal
            short |= not reached
            bar.write(f"RESULT {name} {value:.4f} {goal:.2f} {'ok' if reached else 'short'}")
    return int(short)


if __name__ == "__main__":
    sys.exit(main())
