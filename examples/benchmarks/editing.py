"""Are edits of one thing there, and is the rest of the picture kept?

    python examples/benchmarks/editing.py [--n 32] [--searched 12] [--hats 12] [--tune FOLDER] [--out CSV]

Held-out pairs of avatars that differ in one of five attributes; each method is given the first and both captions.
T = 10 Euler steps. Figures of a method, on the scale of [-1, 1]:

    success   share in which the judge sees what the second one shows
    outside   RMS difference to the source where the pair does not differ: median and 90th percentile
    target    RMS difference to the second one of the pair, which is not the only right answer

The score that picks among draws and steers searches is a ridge regression on other renderings, not the judge. `--tune`
takes sources from other renderings (see `avatar_items`), whose folder the ridge needs in any case: `--ridge FOLDER`.
Inpainting: a hat in a hole where the renderer draws hats; `seam` is the mean difference of neighbours across its edge.
Prints `RESULT editing/METHOD/FIGURE value`; the CSV has every item.
"""

from __future__ import annotations

import argparse
import copy
import csv
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch

sys.path.insert(0, str(Path(__file__).parent))

from avatar_items import KEYS, caption, logits, other_items, rendered, rendered_pairs, rmse, shows

from surrogate_ax import Metric, Objective, chain, draws
from surrogate_ax.editing import Edit, FlowOpt, invert, replace_latents, straight_edit
from surrogate_ax.editing.rows import flat, noise_levels, one_step, parts
from surrogate_ax.policies.evolution import evolve
from surrogate_ax_diffusers import avatar_generator
from surrogate_ax_optuna import optimize

STEPS, WEIGHT, DRAWS, EVALUATIONS = 10, 4.0, 8, 16
NAMES = tuple(KEYS)
Row = tuple[str, int, int, str, float, float, float, float]


class Ridge:
    """Attributes of pictures by ridge regression on pixels: the score, which is another network than the judge."""

    def __init__(self, images: np.ndarray, labels: list[dict[str, str]]) -> None:
        truth = np.array([[1.0 if shows(label, name) else -1.0 for name in NAMES] for label in labels])
        x = self._features(images / 255)
        self._w = np.linalg.solve(x.T @ x + 20.0 * np.eye(x.shape[1]), x.T @ truth)

    @staticmethod
    def _features(images: np.ndarray) -> np.ndarray:
        flat_ = images.reshape(len(images), -1) - 0.5
        return np.hstack([flat_, np.ones((len(images), 1))])

    def __call__(self, images: Any, name: str, wanted: bool) -> np.ndarray:
        value = (self._features(np.asarray(images, dtype=float)) @ self._w)[:, NAMES.index(name)]
        return value if wanted else -value


class Pairs:
    """n sources, their targets, and what the methods share: final latents, captions, masks of what may change."""

    def __init__(self, n: int, raw: Path | None) -> None:
        self.source, self.target, self.before, self.after, self.names = rendered_pairs(n, 0, raw)
        self.n = len(self.names)
        self.g: Any = avatar_generator("", steps=STEPS, guidance=1.0, check_determinism=False)
        self.x = self.g.encode(self.source)
        self.source_text = [{"prompt": caption(label)} for label in self.before]
        self.target_text = [{"prompt": caption(label)} for label in self.after]
        self.wanted = [shows(label, name) for label, name in zip(self.after, self.names, strict=True)]
        self.same = (self.source == self.target).all(axis=-1)  # pixels that an edit should leave alone

    def first(self, n: int) -> Pairs:
        """The first n of these pairs."""
        fewer = copy.copy(self)
        fewer.n, fewer.x = min(n, self.n), {name: part[:n] for name, part in self.x.items()}
        for name in ("source", "target", "before", "after", "names", "source_text", "target_text", "wanted", "same"):
            setattr(fewer, name, getattr(self, name)[:n])
        return fewer

    def guided(self, scale: float) -> list[dict[str, Any]]:
        return [{**text, "guidance_scale": scale} for text in self.target_text]

    def measure(self, method: str, seed: int, outputs: Any, nfe: Any) -> list[Row]:
        made = np.asarray(outputs)
        seen = logits(made)
        square = np.square(2 * (made - self.source[: len(made)] / 255)).mean(axis=-1)
        rows = []
        for i in range(len(made)):
            success = float((seen[i, NAMES.index(self.names[i])] > 0) == self.wanted[i])
            outside = float(np.sqrt(square[i][self.same[i]].mean()))
            to_target = float(rmse(made[[i]], self.target[[i]] / 255)[0])
            rows.append(
                (method, seed, i, self.names[i], float(np.broadcast_to(nfe, len(made))[i]), success, outside, to_target)
            )
        _report(method, rows)
        return rows


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng([11, seed]).standard_normal(shape, dtype=np.float32))


def renoised(p: Pairs, seed: int, step: int = 4) -> tuple[Any, Any]:
    made = p.g.finish(
        p.g.start(p.g.noised(p.x, {"latents": normal(seed, *p.x["latents"].shape)}, step), p.guided(3.0), step=step)
    )
    return made.outputs, made.nfe


def swapped(p: Pairs, scale: float, **settings: Any) -> tuple[Any, Any]:
    found = invert(p.g, p.x, p.source_text, **settings)
    made = p.g.generate(found.latents, p.guided(scale))
    return made.outputs, found.nfe + made.nfe


def straight(p: Pairs, seed: int, *, start: int = 1, scale: float = 1.0) -> tuple[Any, Any]:
    noises = [{"latents": normal(1000 * seed + s, *p.x["latents"].shape)} for s in range(start, STEPS)]
    rows, nfe = straight_edit(p.g, flat(p.x), noises, p.source_text, p.guided(scale), start=start)
    return p.g.decode(parts(rows, p.g.prior.shapes)), nfe


def published_flowopt(p: Pairs, eta: float, iterates: int) -> tuple[Any, Any]:
    start = invert(p.g, p.x, p.source_text, method="uni-inv")
    search = FlowOpt(p.g, p.x, iterates=iterates, eta=eta)
    made = search.generate(start.latents, p.guided(3.0))
    return made.outputs, start.nfe + made.nfe


def value(p: Pairs, ridge: Ridge, i: int, outputs: Any) -> np.ndarray:
    distance = np.sqrt(np.square(np.asarray(outputs) - p.source[i] / 255).mean(axis=(1, 2, 3)))
    return np.minimum(ridge(outputs, p.names[i], p.wanted[i]), 0.5) - WEIGHT * distance


def best_of(p: Pairs, ridge: Ridge, count: int) -> tuple[Any, Any]:
    made = [np.asarray(straight(p, 100 + k)[0]) for k in range(count)]
    values = np.stack([[float(value(p, ridge, i, m[[i]])[0]) for i in range(len(m))] for m in made])
    return np.stack([made[k][i] for i, k in enumerate(values.argmax(axis=0))]), count * 2 * (STEPS - 1)


def evolved(p: Pairs, ridge: Ridge, count: int, budget: int) -> tuple[Any, Any]:
    """Step noises of one item at a time, by a study."""
    best = []
    for i in range(count):
        x = {"latents": p.x["latents"][[i]]}
        edit = Edit(p.g, x, source=p.source_text[i], target=p.target_text[i])
        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=i))
        objective = Objective(Metric("value"), score=lambda outputs, conditions, i=i: value(p, ridge, i, outputs))
        policy = chain(draws(edit.prior, budget // 2, axes=4), evolve(edit.prior, axes=4, size=budget // 4))
        optimize(study, edit, objective, rng=i, total_trials=budget, batch_size=8, policy=policy, progress=False)
        from surrogate_ax_optuna import portfolio

        best.append(portfolio(study, edit, k=1)[0].output)
    return np.stack(best), budget * 2 * (STEPS - 1)


def repaint(
    g: Any, x: torch.Tensor, z: dict[str, torch.Tensor], text: list[Any], mask: torch.Tensor, passes: int
) -> tuple[torch.Tensor, Any]:
    """Latent replacement in which each step is noised again and repeated (arXiv 2201.09865)."""
    levels, shapes = noise_levels(g), g.prior.shapes
    item = parts(x, shapes)
    rows, nfe = flat(z), np.zeros(len(x))
    for s in range(STEPS):
        for k in range(passes):
            known = flat(g.noised(item, {"latents": normal(100 * s + k, *item["latents"].shape)}, s))
            rows = mask * rows + (1 - mask) * known
            after, cost = one_step(g, rows, text, s)
            nfe = nfe + cost
            if k == passes - 1:
                rows = after
                continue
            a = levels.a[s] / levels.a[s + 1]
            spread = float(np.sqrt(max(levels.b[s] ** 2 - (a * levels.b[s + 1]) ** 2, 0.0)))
            rows = float(a) * after + spread * normal(7000 + 100 * s + k, *after.shape)
    return mask * rows + (1 - mask) * x, nfe


def hats(count: int, passes: int = 5) -> None:
    """A hat in a hole: known region, success by the judge, and the seam."""
    images, labels = rendered(200, 0)
    at = [i for i, label in enumerate(labels) if label["hat"] == "no hat"][:count]
    g: Any = avatar_generator("", steps=STEPS, guidance=1.5, check_determinism=False)
    text = [{"prompt": caption({**labels[i], "hat": "red hat"})} for i in at]
    hole = np.zeros((16, 16), bool)
    hole[:6] = True
    x, mask = g.encode(images[at]), flat(g.latent_mask(hole))
    z = {"latents": normal(0, *x["latents"].shape)}
    methods: dict[str, Callable[[], tuple[torch.Tensor, Any]]] = {
        "replacement": lambda: replace_latents(g, flat(x), z, text, mask),
        "repaint": lambda: repaint(g, flat(x), z, text, mask, passes),
    }
    for name, method in methods.items():
        rows, nfe = method()
        outputs = np.asarray(g.decode(parts(rows, g.prior.shapes)))
        known = np.abs(outputs[:, 6:] - images[at][:, 6:] / 255).max()
        seam = 2 * np.abs(outputs[:, 5] - outputs[:, 6]).mean()
        figures = {
            "n": len(at),
            "nfe": nfe.mean(),
            "success": (logits(outputs)[:, 1] > 0).mean(),
            "known": known,
            "seam": seam,
        }
        for figure, number in figures.items():
            print(f"RESULT inpainting/{name}/{figure} {number:.4g}", flush=True)


def _report(method: str, rows: list[Row]) -> None:
    outside, target = [row[6] for row in rows], [row[7] for row in rows]
    print(
        f"{method}: n {len(rows)} NFE {np.mean([r[4] for r in rows]):.0f} success {np.mean([r[5] for r in rows]):.3f} "
        f"outside {np.median(outside):.3f} p90 {np.quantile(outside, 0.9):.3f} target {np.median(target):.3f}",
        flush=True,
    )


def paired(rows: list[Row], a: str, b: str) -> None:
    """The mean paired difference outside, a less b, with a bootstrap interval of 95%."""
    mean = {m: {} for m in (a, b)}  # type: ignore[var-annotated]
    for row in rows:
        if row[0] in mean:
            mean[row[0]].setdefault(row[2], []).append(row[6])
    both = sorted(mean[a].keys() & mean[b].keys())
    d = np.array([np.mean(mean[a][i]) - np.mean(mean[b][i]) for i in both])
    means = np.random.default_rng(0).choice(d, size=(4000, len(d))).mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    print(f"RESULT editing/{a} less {b}/outside {d.mean():.4f} [{low:.4f}, {high:.4f}] n {len(d)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=32, help="pairs, at most")
    parser.add_argument("--seeds", type=int, default=3, help="draws of methods that draw once")
    parser.add_argument("--searched", type=int, default=12, help="pairs whose step noises are searched")
    parser.add_argument("--hats", type=int, default=12)
    parser.add_argument("--ridge", type=Path, required=True, help="folder of other renderings, 2,000 images 'ridge'")
    parser.add_argument("--tune", type=Path, help="folder of other pairs, in place of the held-out ones")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "editing.csv")
    options = parser.parse_args()
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    ridge = Ridge(*other_items(2000, options.ridge / "ridge"))
    p = Pairs(options.n, None if options.tune is None else options.tune / "tunepairs")
    rows: list[Row] = []
    if options.tune is not None:
        for start in (0, 1, 2, 3):
            for scale in (1.0, 1.5, 3.0):
                rows += p.measure(
                    f"straight from {start}, guidance {scale}", 0, *straight(p, 0, start=start, scale=scale)
                )
        return

    def add(method: str, seed: int, made: tuple[Any, Any]) -> None:
        rows.extend(p.measure(method, seed, *made))
        _write(rows, options.out)  # after each method, so that what was measured is kept

    for seed in range(options.seeds):
        add("sdedit-g3", seed, renoised(p, seed))
        add("straight", seed, straight(p, seed))
    add("swap-uni-inv", 0, swapped(p, 1.0, method="uni-inv"))
    add("swap-anderson-60", 0, swapped(p, 1.0, budget=60))
    add("flowopt-published-3", 0, published_flowopt(p, 0.1, 3))
    add("straight-best-of-8", 0, best_of(p, ridge, DRAWS))
    hats(options.hats)
    p = p.first(options.searched)
    add("straight-evolved-16", 0, evolved(p, ridge, p.n, EVALUATIONS))
    add("straight-best-of-16", 0, best_of(p, ridge, EVALUATIONS))
    for name in dict.fromkeys(row[0] for row in rows):
        mine = [row for row in rows if row[0] == name]
        outside = [row[6] for row in mine]
        figures = {"n": len(mine), "nfe": np.mean([r[4] for r in mine]), "success": np.mean([r[5] for r in mine])}
        figures |= {
            "outside": np.median(outside),
            "outside_p90": np.quantile(outside, 0.9),
            "target": np.median([r[7] for r in mine]),
        }
        for figure, number in figures.items():
            print(f"RESULT editing/{name}/{figure} {number:.4g}")
    paired(rows, "straight", "swap-anderson-60")
    paired(rows, "straight", "sdedit-g3")
    paired(rows, "straight-best-of-8", "straight")
    paired(rows, "straight-evolved-16", "straight-best-of-16")


def _write(rows: list[Row], out: Path) -> None:
    out.parent.mkdir(exist_ok=True)
    with out.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["method", "seed", "item", "attribute", "nfe", "success", "outside", "target"])
        writer.writerows(
            [(*row[:4], f"{row[4]:.0f}", f"{row[5]:.0f}", f"{row[6]:.4g}", f"{row[7]:.4g}") for row in rows]
        )


if __name__ == "__main__":
    main()
