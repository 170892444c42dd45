"""The demo of edits: eight avatars, each changed in one thing, and how the change grows from step to step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from surrogate_ax.arrays import Array
from surrogate_ax.editing.edits import straight_differences
from surrogate_ax.editing.item_distance import numbers, rms_distance
from surrogate_ax.editing.rows import flat, parts
from surrogate_ax.media.contact_sheet import Row, contact_sheet
from surrogate_ax.media.previews import to_image
from surrogate_ax_cli.edit import avatars

SHEET, ANIMATION = "edits.png", "edits.gif"
VARIANTS = 5  # edits of each avatar: the first, and four more
RENOISED = 4  # step from which the re-noised avatar is made anew
TILE, PAUSE = 96, (260, 1800)  # pixels of an avatar and milliseconds of a frame, of the last one
_FACE = ("background", "skin", "hair", "glasses", "hat", "beard", "clothes", "mouth")
# What each avatar shows, and what it should show in place of one phrase.
AVATARS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("blue", "pale", "short brown", "no", "no", "no", "red", "happy"), "dark glasses"),
    (("white", "dark", "long black", "no", "no", "no", "yellow", "happy"), "red hat"),
    (("green", "tan", "short blond", "dark", "no", "no", "blue", "sad"), "no glasses"),
    (("pink", "pale", "long auburn", "no", "blue", "no", "green", "happy"), "no hat"),
    (("yellow", "tan", "long brown", "no", "no", "no", "blue", "happy"), "short green hair"),
    (("purple", "pale", "short black", "light", "no", "no", "green", "sad"), "dark skin"),
    (("gray", "dark", "short black", "no", "green", "no", "yellow", "happy"), "red clothes"),
    (("orange", "pale", "long blond", "no", "no", "no", "blue", "happy"), "purple hat"),
)


@dataclass(frozen=True)
class Demo:
    """What the demo made of eight avatars.

    Args:
        sources: (8, 16, 16, 3) pictures in [0, 1].
        renoised: the same, noised and denoised under the target.
        edits: (8, 5, 16, 16, 3).
        frames: (T, 8, 16, 16, 3), the first edit after each step.
        changes: what was asked of each.
        nfe: of one edit, of one re-noised avatar.
    """

    sources: Array
    renoised: Array
    edits: Array
    frames: Array
    changes: tuple[str, ...]
    nfe: tuple[float, float]

    def distances(self, made: Array) -> Array:
        """RMS difference (8,) to the sources."""
        return rms_distance(made, self.sources)


def run(seed: int = 0) -> Demo:
    """Make eight avatars and edit them.

    Args:
        seed: of all draws.
    """
    g: Any = avatars()
    rng = np.random.default_rng([seed, 1])
    before = [_prompt(words) for words, _ in AVATARS]
    after = [_prompt(words, change) for words, change in AVATARS]
    source, target = ([{"prompt": text} for text in texts] for texts in (before, after))
    guided = [{**condition, "guidance_scale": 1.5} for condition in source]
    made = g.generate({"latents": _normal(rng, len(source), *g.prior.shapes["latents"])}, guided)
    pictures = np.round(np.asarray(made.outputs) * 255).astype(np.uint8)
    x = g.encode(pictures)
    noise = {"latents": _normal(rng, *x["latents"].shape)}
    strong = [{**condition, "guidance_scale": 3.0} for condition in target]
    renoised = g.finish(g.start(g.noised(x, noise, RENOISED), strong, step=RENOISED))
    edits, frames, cost = [], [], 0.0
    for k in range(VARIANTS):
        noises = [{"latents": _normal(rng, *x["latents"].shape)} for _ in range(1, g.steps)]
        rows = flat(x)
        steps = list(straight_differences(g, rows, noises, source, target, start=1))
        shown = [numbers(g.decode(parts(rows + d, g.prior.shapes))) for d, _ in steps]
        edits.append(shown[-1])
        if k == 0:
            frames = [pictures / 255.0, *shown]
            cost = float(sum(each[0] for _, each in steps))
    return Demo(
        pictures / 255.0,
        numbers(renoised.outputs),
        np.stack(edits, axis=1),
        np.stack(frames),
        tuple(change for _, change in AVATARS),
        (cost, float(renoised.nfe[0])),
    )


def draw(demo: Demo, out: Path) -> list[str]:
    """Write the sheet and the animation, and return their names."""
    out.mkdir(parents=True, exist_ok=True)
    labels = ["source", "re-noised", "edit", *(f"variant {k}" for k in range(1, VARIANTS))]
    rows = []
    for i, change in enumerate(demo.changes):
        images = [demo.sources[i], demo.renoised[i], *demo.edits[i]]
        far = [rms_distance(image[None], demo.sources[i][None])[0] for image in images]
        captions = [labels[0], *(f"{name}, {d:.2f}" for name, d in zip(labels[1:], far[1:], strict=True))]
        rows.append(Row(change, "", images, captions))
    facts = {
        "Re-noised": f"noised to step {RENOISED} of {len(demo.frames)}, made anew under the target, guidance 3, "
        f"{demo.nfe[1]:.0f} network evaluations",
        "Edit": f"straight path from step 1, guidance 1, {demo.nfe[0]:.0f} network evaluations; variants by noise",
        "Numbers": "RMS difference to the source, of a range of 1",
    }
    contact_sheet("One thing changed, the person kept", facts, rows).save(out / SHEET)
    shown = [_strip(frame) for frame in demo.frames]
    pauses = [PAUSE[0]] * (len(shown) - 1) + [PAUSE[1]]
    shown[0].save(out / ANIMATION, save_all=True, append_images=shown[1:], duration=pauses, loop=0)
    return [SHEET, ANIMATION]


def lines(demo: Demo) -> list[str]:
    """The result as text."""
    edits, renoised = float(demo.distances(demo.edits[:, 0]).mean()), float(demo.distances(demo.renoised).mean())
    return [
        f"Eight avatars, one thing changed in each: {', '.join(demo.changes)}.",
        f"Mean RMS difference to the source: {edits:.3f} edited, {renoised:.3f} noised and made anew.",
    ]


def _prompt(words: tuple[str, ...], change: str | None = None) -> str:
    phrases = {name: f"{word} {name}" for name, word in zip(_FACE, words, strict=True)}
    if change is not None:
        phrases[change.split()[-1]] = change
    return ", ".join(phrases.values())


def _strip(frame: Array) -> Image.Image:
    """Eight avatars side by side."""
    size = (TILE, TILE)
    tiles = [to_image(picture).resize(size, Image.Resampling.NEAREST) for picture in frame]
    strip = Image.new("RGB", (len(tiles) * TILE, TILE))
    for i, tile in enumerate(tiles):
        strip.paste(tile, (i * TILE, 0))
    return strip


def _normal(rng: np.random.Generator, *shape: int) -> Tensor:
    return torch.from_numpy(rng.standard_normal(shape, dtype=np.float32))
