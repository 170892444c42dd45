"""The demo of edits: eight portraits, each changed in one thing, and how the change grows from step to step."""

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
from surrogate_ax_cli.edit import for_edits

SHEET, ANIMATION = "edits.png", "edits.gif"
VARIANTS = 5  # edits of each portrait: the first, and four more
RENOISED = 2  # step from which the re-noised portrait is made anew
TILE, PAUSE = 128, (260, 1800)  # pixels of a portrait and milliseconds of a frame, of the last one
# What each portrait shows, and which phrase of it becomes which.
PORTRAITS: tuple[tuple[str, str, str], ...] = (
    ("smiling, no glasses, no beard, short black hair, pale skin, red shirt, blue background", "no glasses", "glasses"),
    ("smiling, no glasses, no beard, medium black hair, dark skin, yellow shirt, white background", "smiling", "sad"),
    ("serious, glasses, no beard, short red hair, tan skin, blue shirt, green background", "glasses", "no glasses"),
    ("smiling, no glasses, beard, bald, pale skin, green shirt, pink background", "beard", "no beard"),
    ("smiling, no glasses, no beard, pink hair bun, tan skin, blue shirt, yellow background", "tan skin", "dark skin"),
    ("sad, glasses, no beard, curly black hair, dark skin, purple shirt, orange background", "curly black hair", "hat"),
    ("serious, no glasses, no beard, short blond hair, pale skin, yellow shirt, gray background", "no beard", "beard"),
    ("smiling, no glasses, beard, turban, dark skin, orange shirt, purple background", "orange shirt", "green shirt"),
)


@dataclass(frozen=True)
class Demo:
    """What the demo made of eight portraits.

    Args:
        sources: (8, 64, 64, 3) pictures in [0, 1].
        renoised: the same, noised and denoised under the target.
        edits: (8, 5, 64, 64, 3).
        frames: (T, 8, 64, 64, 3), the first edit after each step.
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
    """Make eight portraits and edit them.

    Args:
        seed: of all draws.
    """
    g: Any = for_edits()
    rng = np.random.default_rng([seed, 1])
    before = [text for text, _, _ in PORTRAITS]
    after = [", ".join(new if phrase == old else phrase for phrase in text.split(", ")) for text, old, new in PORTRAITS]
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
        tuple(new for _, _, new in PORTRAITS),
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
        f"Eight portraits, one thing changed in each: {', '.join(demo.changes)}.",
        f"Mean RMS difference to the source: {edits:.3f} edited, {renoised:.3f} noised and made anew.",
    ]


def _strip(frame: Array) -> Image.Image:
    """Eight portraits side by side."""
    size = (TILE, TILE)
    tiles = [to_image(picture).resize(size, Image.Resampling.LANCZOS) for picture in frame]
    strip = Image.new("RGB", (len(tiles) * TILE, TILE))
    for i, tile in enumerate(tiles):
        strip.paste(tile, (i * TILE, 0))
    return strip


def _normal(rng: np.random.Generator, *shape: int) -> Tensor:
    return torch.from_numpy(rng.standard_normal(shape, dtype=np.float32))
