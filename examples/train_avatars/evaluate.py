"""Measure an exported avatar model: does it obey its prompts, and does a latent stay the same person?

    python evaluate.py --model FOLDER [--log LOG] [--images 500] [--latents 200] [--steps 12] [--guidance 1.5]

Prints `RESULT <name> <value> <goal> ok|short` lines and ends with status 1 where one is short. The judge is the
committed classifier of rendered images (`classifier.py`), so five binary attributes count. Beards are measured beside
them and printed without a goal: many are drawn too faintly to be judged (README.md).

- classifier/A: balanced accuracy of the judge on the 256 held-out renderings; goal at least 0.98.
- agreement/A: share of images, half prompted with A and half without, in which the judge sees what the prompt says. Two
  or three phrases of a random held-out label about other attributes complete each prompt; goal at least 0.90.
- same_latent: share of attributes that no prompt names and that agree when one latent is rendered under two prompts,
  which differ in one named attribute only; goal at least 0.70.
- same_latent_gain: that share minus the same under two different latents; goal at least 0.20.
- loss_fall: relative fall of the held-out loss over the last 2,000 steps; goal at most 0.01.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from captions import BINARY, FAINT, phrases
from classifier import ATTRIBUTES, Classifier, balanced_accuracy, load, predict, truths
from dataset import held_out
from diffusers import StableDiffusionPipeline
from tqdm import tqdm

PHRASE = {
    "glasses": "glasses",
    "hat": "hat",
    "long hair": "hair",
    "dark skin": "skin",
    "red clothes": "clothes",
    "beard": "beard",
}  # A -> its key
UNJUDGED = ("background", "mouth")  # phrases that say nothing about the attributes
LAST = 2000  # steps over which convergence is read
Result = tuple[str, float, float, bool]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How every image is generated: solver steps, guidance scale, images a batch."""

    steps: int
    guidance: float
    batch: int


def latents(count: int, *, seed: int) -> torch.Tensor:
    """Standard normal latents (count, 3, 16, 16) that depend on the seed only."""
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(seed))


def generate(
    pipe: StableDiffusionPipeline, prompts: Sequence[str], z: torch.Tensor, settings: Settings, bar: tqdm
) -> np.ndarray:
    """One uint8 image a prompt and latent, (n, 16, 16, 3)."""
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
    for a, name in enumerate(ATTRIBUTES):
        rng = np.random.default_rng([1, a])
        wanted = np.arange(count) % 2 == 0
        prompts = []
        for present in wanted:
            label = labels[rng.integers(len(labels))]
            others = {key: phrase for key, phrase in label.items() if key != PHRASE[name]}
            prompts.append(prompt(BINARY[name][0 if present else 1], others, int(rng.integers(2, 4)), rng))
        seen = predict(judge, generate(pipe, prompts, latents(count, seed=1000 + a), settings, bar))[:, a]
        bar.write(f"# {name}: seen in {seen[wanted].mean():.3f} with it, {seen[~wanted].mean():.3f} without it")
        agreed = float((seen == wanted).mean())
        if name in FAINT:
            bar.write(f"# {name}, on top of the five: agreement {agreed:.4f}")
        else:
            yield f"agreement/{name.replace(' ', '_')}", agreed, 0.90, True


def same_latent(
    pipe: StableDiffusionPipeline, judge: Classifier, count: int, settings: Settings, bar: tqdm
) -> Iterator[Result]:
    """How far unnamed attributes stay when only a named one changes, against the same with another latent."""
    labels, rng = [phrases(label) for label in held_out()[1]], np.random.default_rng(2)
    judged = [a for a, name in enumerate(ATTRIBUTES) if name not in FAINT]
    named = np.array(judged)[np.arange(count) % len(judged)]
    prompts: tuple[list[str], list[str]] = ([], [])
    for a in named:
        label = labels[rng.integers(len(labels))]
        context = ", ".join(label[key] for key in UNJUDGED)
        for side, phrase in zip(prompts, BINARY[ATTRIBUTES[a]], strict=True):
            side.append(f"{phrase}, {context}")
    z, others = latents(count, seed=2000), latents(count, seed=2001)
    first, second, third = (
        predict(judge, generate(pipe, texts, noise, settings, bar))
        for texts, noise in ((prompts[0], z), (prompts[1], z), (prompts[1], others))
    )
    unnamed = (named[:, None] != np.arange(len(ATTRIBUTES))) & np.isin(np.arange(len(ATTRIBUTES)), judged)
    same, different = (first == second)[unnamed], (first == third)[unnamed]
    for a in judged:
        bar.write(f"# same latent, {ATTRIBUTES[a]} unnamed: {(first == second)[unnamed[:, a], a].mean():.3f} agree")
    bar.write(f"# different latents: {different.mean():.3f} agree")
    yield "same_latent", float(same.mean()), 0.70, True
    yield "same_latent_gain", float(same.mean() - different.mean()), 0.20, True


def convergence(log: Path) -> Result:
    """The relative fall of the held-out loss over the last 2,000 steps of the log, infinite where it is shorter."""
    records = [json.loads(line) for line in log.read_text().splitlines()]
    losses = {record["step"]: record["held_out"] for record in records}
    last = max(losses)
    before = losses.get(last - LAST, float("inf"))
    return "loss_fall", 1 - losses[last] / before if np.isfinite(before) else before, 0.01, False


def results(
    pipe: StableDiffusionPipeline, log: Path, images: int, count: int, settings: Settings, bar: tqdm
) -> Iterator[Result]:
    """Every result as (name, value, goal, whether more is better)."""
    judge = load()
    rendered, labels = held_out()
    scores = balanced_accuracy(predict(judge, rendered), truths(labels))
    for name, score in zip(ATTRIBUTES, scores, strict=True):
        if name in FAINT:
            bar.write(f"# {name}, on top of the five: balanced accuracy of the judge {score:.4f}")
        else:
            yield f"classifier/{name.replace(' ', '_')}", float(score), 0.98, True
    yield from agreement(pipe, judge, images, settings, bar)
    yield from same_latent(pipe, judge, count, settings, bar)
    yield convergence(log)


def main() -> int:
    """Print every result; the exit status is 1 where one falls short."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="a StableDiffusionPipeline folder")
    parser.add_argument("--log", type=Path, default=Path(__file__).parent / "log.jsonl", help="the training log")
    parser.add_argument("--images", type=int, default=500, help="images an attribute")
    parser.add_argument("--latents", type=int, default=200, help="latents rendered under two prompts")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--guidance", type=float, default=1.5)
    parser.add_argument("--batch", type=int, default=50)
    options = parser.parse_args()
    torch.set_num_threads(1)
    settings = Settings(steps=options.steps, guidance=options.guidance, batch=options.batch)
    pipe = StableDiffusionPipeline.from_pretrained(
        options.model, local_files_only=True, use_safetensors=True, dtype=torch.float32
    )
    pipe.set_progress_bar_config(disable=True)
    short = False
    with tqdm(total=len(ATTRIBUTES) * options.images + 3 * options.latents, unit="image", desc="evaluate") as bar:
        for name, value, goal, more in results(pipe, options.log, options.images, options.latents, settings, bar):
            reached = value >= goal if more else value <= goal
            short |= not reached
            bar.write(f"RESULT {name} {value:.4f} {goal:.2f} {'ok' if reached else 'short'}")
    return int(short)


if __name__ == "__main__":
    sys.exit(main())
