"""Edits of one thing in held-out portraits, which have a real encoder: is it there, and is the rest kept?

    python examples/benchmarks/editing_portraits.py [--n 96] [--out CSV]

Pairs of `examples/train_portraits/heldout` that differ in one attribute which the committed judge of portraits sees;
T = 10 Euler steps, settings as chosen on the avatars' training side, none on portraits. Methods:

    straight    the straight path, one draw a step, from step 1 (arXiv 2412.08629)
    edit        `edit` with its defaults and one draw: what its draws change little stays as it is
    swap        inverted under the source, made again under the target (70 evaluations)
    SDEdit      noised to step 2, made anew under the target with guidance 3

Prints, on the scale of [-1, 1], `RESULT <name> <value> <goal> ok|short`: the share in which the judge sees what the
other one of the pair shows, and the RMS difference to the source where the pair does not differ, with an interval of
95% (paired bootstrap) against swap.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "train_portraits"))

from captions import phrases
from classifier import ATTRIBUTES, load, predict
from dataset import pairs

from surrogate_ax.editing import edit, invert, straight_edit
from surrogate_ax.editing.rows import flat, parts
from surrogate_ax_diffusers import portrait_generator

STEPS, RENOISED, GUIDANCE = 10, 2, 3.0
NAMES = tuple(ATTRIBUTES)
Array = np.ndarray


class Pairs:
    """n pairs, evenly of the attributes that the judge sees: the first is the source, the second says the target."""

    def __init__(self, n: int) -> None:
        images, labels = pairs()
        judged = [i for i in range(0, len(images), 2) if labels[i]["differs"] in NAMES]
        order = sorted(judged, key=lambda i: (judged.index(i) * 7919) % len(judged))[:n]
        self.source, self.target = images[order], images[[i + 1 for i in order]]
        self.names = [labels[i]["differs"] for i in order]
        self.wanted = np.array([ATTRIBUTES[k].index(labels[i + 1][k]) for i, k in zip(order, self.names, strict=True)])
        texts = [[", ".join(phrases(labels[i + side]).values()) for i in order] for side in (0, 1)]
        self.before, self.after = ([{"prompt": text} for text in side] for side in texts)
        self.same = (self.source == self.target).all(axis=-1)

    def measured(self, method: str, outputs: Any, nfe: Any) -> list[dict[str, Any]]:
        """A row an item."""
        made = np.asarray(outputs, dtype=float)
        seen = predict(JUDGE, (made * 255).round().astype(np.uint8))
        far = np.square(2 * (made - self.source / 255)).mean(axis=-1)
        costs = np.broadcast_to(nfe, len(made))
        return [
            {
                "method": method,
                "item": i,
                "attribute": name,
                "nfe": float(costs[i]),
                "success": float(seen[i, NAMES.index(name)] == self.wanted[i]),
                "outside": round(float(np.sqrt(far[i][self.same[i]].mean())), 5),
            }
            for i, name in enumerate(self.names)
        ]


def noise(n: int, step: int) -> dict[str, torch.Tensor]:
    rng = np.random.default_rng([3, step])
    return {"latents": torch.from_numpy(rng.standard_normal((n, 4, 16, 16), dtype=np.float32))}


def rows(some: Pairs) -> list[dict[str, Any]]:
    """What every method makes of the pairs."""
    g: Any = portrait_generator("", steps=STEPS, guidance=1.0, check_determinism=False)
    n, x = len(some.names), g.encode(some.source)
    back = np.asarray(g.decode(x))
    found = some.measured("encoded and decoded", back, 0.0)
    noises = [noise(n, step) for step in range(1, STEPS)]
    edited, nfe = straight_edit(g, flat(x), noises, some.before, some.after, start=1)
    found += some.measured("straight", g.decode(parts(edited, g.prior.shapes)), nfe)
    each = [
        edit(g, picture, before, after, rng=i, draws=1)
        for i, (picture, before, after) in enumerate(zip(some.source, some.before, some.after, strict=True))
    ]
    found += some.measured("edit", [one.outputs[0] for one in each], np.array([one.nfe for one in each]))
    inverted = invert(g, x, some.before, budget=60)
    again = g.generate(inverted.latents, some.after)
    found += some.measured("swap", again.outputs, inverted.nfe + again.nfe)
    strong = [{**after, "guidance_scale": GUIDANCE} for after in some.after]
    renoised = g.finish(g.start(g.noised(x, noise(n, 0), RENOISED), strong, step=RENOISED))
    return found + some.measured("SDEdit", renoised.outputs, renoised.nfe)


def report(found: list[dict[str, Any]]) -> None:
    """Shares and differences of every method."""
    columns: dict[str, dict[str, Array]] = {}
    for method in dict.fromkeys(row["method"] for row in found):
        mine = [row for row in found if row["method"] == method]
        columns[method] = {key: np.array([row[key] for row in mine]) for key in ("nfe", "success", "outside")}
    rng = np.random.default_rng(0)
    for method, of in columns.items():
        print(f"# {method}: {of['nfe'].mean():.0f} evaluations, outside {of['outside'].mean():.4f} in the mean")
        if method in ("straight", "edit"):
            share, gain = of["success"].mean(), of["outside"] - columns["swap"]["outside"]
            print(f"RESULT portraits_{method}_success {share:.3f} 0.95 {'ok' if share >= 0.95 else 'short'}")
            means = gain[rng.integers(len(gain), size=(2000, len(gain)))].mean(axis=1)
            low, high = np.quantile(means, [0.025, 0.975])
            told = f"{gain.mean():.4f} below 0, from {low:.4f} to {high:.4f}"
            print(f"RESULT portraits_{method}_outside_less_swap {told} {'ok' if high < 0 else 'short'}")
        else:
            print(f"# {method}: success {of['success'].mean():.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=96)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("results") / "editing_portraits.csv")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found = rows(Pairs(arguments.n))
    with arguments.out.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(found[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(found)
    report(found)


JUDGE = load()

if __name__ == "__main__":
    main()
