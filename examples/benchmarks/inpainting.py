"""A hat painted into a hole: is the rest exactly kept, is the hat there, and is there a seam?

    python examples/benchmarks/inpainting.py METHOD [--items A:B] [--seed S] [--out CSV]     # rows that the CSV lacks
    python examples/benchmarks/inpainting.py report [CSV ...]                                # puts them together

64 held-out avatars without a hat; the hole is the six rows in which the renderer draws hats. T = 10 Euler steps,
guidance 1.5. `known` is the RMS difference where nothing should change, on the scale of [-1, 1], for `flowopt` before
the known part is pasted back; `seam` the mean difference of neighbours across the edge of the hole, then.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))

import shards
from avatar_items import caption, logits, other_items, rendered
from torch import Tensor

from surrogate_ax.editing import FlowOpt, invert, replace_latents
from surrogate_ax.editing.rows import flat, noise_levels, one_step, parts
from surrogate_ax_diffusers import avatar_generator

STEPS, ROWS, HAT = 10, 6, 1  # rows of the hole; the judge's number of hats
OUT = Path(__file__).parent / "results" / "inpainting.csv"


class Hole:
    """Some of the avatars without a hat, and what the methods share."""

    def __init__(self, items: Any, seed: int, raw: Path | None = None) -> None:
        images, labels = rendered(256, 0) if raw is None else other_items(96, raw)
        bare = [i for i, label in enumerate(labels) if label["hat"] == "no hat"]
        self.items, self.seed = list(items), seed
        at = [bare[i] for i in self.items]
        self.images, hole = images[at], np.zeros((16, 16), bool)
        hole[:ROWS] = True
        self.g: Any = avatar_generator("", steps=STEPS, guidance=1.5, check_determinism=False)
        self.before = [{"prompt": caption(labels[i])} for i in at]
        self.after = [{"prompt": caption({**labels[i], "hat": "red hat"})} for i in at]
        self.x, self.mask = self.g.encode(self.images), flat(self.g.latent_mask(hole))

    def noise(self, step: int, again: int = 0) -> Tensor:
        rows = [np.random.default_rng([13, self.seed, i, step, again]) for i in self.items]
        return torch.from_numpy(np.stack([r.standard_normal(self.mask.shape[1], dtype=np.float32) for r in rows]))

    def noised(self, step: int, noise: Tensor) -> Tensor:
        return flat(self.g.noised(self.x, parts(noise, self.g.prior.shapes), step))


def replacement(h: Hole) -> tuple[Tensor, Any]:
    z = parts(h.noise(0), h.g.prior.shapes)
    return replace_latents(h.g, flat(h.x), z, h.after, h.mask)


def repaint(h: Hole, passes: int = 5) -> tuple[Tensor, Any]:
    """Latent replacement in which each step is noised again and repeated (arXiv 2201.09865)."""
    levels, rows, nfe = noise_levels(h.g), h.noise(0), np.zeros(len(h.items))
    for s in range(STEPS):
        for k in range(passes):
            rows = h.mask * rows + (1 - h.mask) * h.noised(s, h.noise(s, 1 + k))
            after, cost = one_step(h.g, rows, h.after, s)
            nfe = nfe + cost
            if k == passes - 1:
                rows = after
                continue
            a = float(levels.a[s] / levels.a[s + 1]) if levels.a[s + 1] else 1.0
            spread = float(np.sqrt(max(levels.b[s] ** 2 - (a * levels.b[s + 1]) ** 2, 0.0)))
            rows = a * after + spread * h.noise(s, 100 + k)
    return h.mask * rows + (1 - h.mask) * flat(h.x), nfe


def flowopt(
    h: Hole, *, iterates: int = 18, guidance: float = 1.0, eta: float = 1.0, depth: int = 5
) -> tuple[Tensor, Any]:
    """Masked FlowOpt from Uni-Inv: only what is known pulls."""
    before, after = ([{**c, "guidance_scale": guidance} for c in side] for side in (h.before, h.after))
    begin = invert(h.g, h.x, before, method="uni-inv")
    mask = parts(h.mask, h.g.prior.shapes)
    better = bool(depth)
    search = FlowOpt(
        h.g, h.x, iterates=iterates, eta=eta, depth=depth, backtrack=better, keep_best=better, mask=mask
    )  # fmt: skip
    state = search.advance(search.start(begin.latents, after), iterates)
    assert state.made is not None
    return (state.best_made if better else state.made), state.nfe + begin.nfe


METHODS: dict[str, Callable[[Hole], tuple[Tensor, Any]]] = {
    "replacement": replacement, "repaint": repaint, "flowopt": flowopt,
}  # fmt: skip


def measure(method: str, h: Hole, rows: Tensor, nfe: Any) -> list[dict[str, Any]]:
    made = np.asarray(h.g.decode(parts(rows, h.g.prior.shapes)))
    true = h.images / 255
    known = 2 * np.sqrt(np.square(made[:, ROWS:] - true[:, ROWS:]).mean(axis=(1, 2, 3)))
    pasted = np.concatenate([made[:, :ROWS], true[:, ROWS:]], axis=1)
    seam = 2 * np.abs(pasted[:, ROWS - 1] - pasted[:, ROWS]).mean(axis=(1, 2))
    there = logits(pasted)[:, HAT] > 0
    return [
        {"method": method, "seed": h.seed, "item": i, "nfe": float(nfe[k]), "success": float(there[k]),
         "known": float(known[k]), "seam": float(seam[k])}
        for k, i in enumerate(h.items)
    ]  # fmt: skip


def report(files: list[Path], out: Path) -> None:
    rows = shards.merge(files or [out], out)
    figures: dict[tuple[str, str], float] = {}
    for method in (m for m in METHODS if any(key[0] == m for key in rows)):
        mine = [row for key, row in rows.items() if key[0] == method]
        for name in ("nfe", "success", "known", "seam"):
            figures[method, name] = float(np.mean([row[name] for row in mine]))
        shards.result(f"inpainting/{method}/n", len(mine))
        shards.result(f"inpainting/{method}/nfe", figures[method, "nfe"])
        asked = 0.95 if method == "replacement" else None
        shards.result(f"inpainting/{method}/success", figures[method, "success"], asked, at_least=True)
        limit = {"replacement": 1e-6, "flowopt": 0.05}.get(method)
        shards.result(f"inpainting/{method}/known", figures[method, "known"], limit)
        shards.result(f"inpainting/{method}/seam", figures[method, "seam"])
    if ("repaint", "seam") in figures and ("replacement", "seam") in figures:
        for name, goal in (("seam", 1.15), ("nfe", 0.2)):
            ratio = figures["replacement", name] / figures["repaint", name]
            shards.result(f"inpainting/replacement over repaint/{name}", ratio, goal)
    shards.compare(rows, "replacement", "repaint", "seam", "inpainting", goal=None)


def tune(raw: Path) -> None:
    """Masked FlowOpt on renderings of the training side, 200 NFE each."""
    h = Hole(range(16), 0, raw)
    for guidance, iterates in ((1.0, 18), (1.5, 8)):
        for eta, depth in ((0.1, 0), (0.5, 5), (1.0, 5), (1.0, 10)):
            rows = measure("", h, *flowopt(h, iterates=iterates, guidance=guidance, eta=eta, depth=depth))
            means = {name: float(np.mean([r[name] for r in rows])) for name in ("nfe", "success", "known", "seam")}
            print(f"guidance {guidance} eta {eta} depth {depth}:", means, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=[*METHODS, "report", "tune"])
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--items", type=shards.span, default=range(64))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--raw", type=Path, help="folder with the renderings `tune` (see avatar_items)")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.what == "report":
        report(options.files, options.out)
    elif options.what == "tune":
        tune(options.raw / "tune")
    elif items := shards.missing(options.out, options.what, options.seed, options.items):
        h = Hole(items, options.seed)
        shards.append(options.out, measure(options.what, h, *METHODS[options.what](h)))


if __name__ == "__main__":
    main()
