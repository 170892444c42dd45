"""How exactly, and at what cost, are existing items inverted?

    python examples/benchmarks/inversion.py [--n 24] [--seeds 3] [--black-box 8] [--tune FOLDER] [--out CSV]

Held-out avatars under full captions, T = 10 Euler steps, guidance 1 and 3; every method starts from the same items.
The error is the RMS difference, on the scale of [-1, 1], between an item and what the model makes of its inversion.
`--tune` compares settings on other renderings instead (see `avatar_items`), which is how they were chosen.
Prints `RESULT inversion/METHOD/FIGURE value`; the CSV has every item.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))

from avatar_items import caption, other_items, quantiles, rendered, rmse

import surrogate_ax.editing.inversion as inversion
from surrogate_ax.editing import FlowOpt, invert
from surrogate_ax_diffusers import avatar_generator

STEPS = 10
METHODS: dict[str, dict[str, Any]] = {
    "euler": {"method": "euler"},
    "uni-inv": {"method": "uni-inv"},
    "fixed-point-60": {"method": "fixed-point", "budget": 60},
    "anderson-60": {"budget": 60},
    "anderson-100": {"budget": 100},
    "anderson-160": {"budget": 160},
}
ITERATES = 29  # of FlowOpt, of 10 NFE each, behind the 11 of Uni-Inv
Row = tuple[str, int, int, float, float]


def made_again(generator: Any, z: Any, conditions: list[Any], images: np.ndarray) -> np.ndarray:
    outputs = generator.generate(z, conditions).outputs
    return rmse(outputs, images / 255)


def per_step(
    name: str, generator: Any, images: np.ndarray, conditions: list[Any], seed: int, **settings: Any
) -> list[Row]:
    clock = time.process_time()
    found = invert(generator, generator.encode(images), conditions, **settings)
    seconds = time.process_time() - clock
    error = made_again(generator, found.latents, conditions, images)
    median, p90, worst = quantiles(error)
    nfe = float(np.median(found.nfe))
    print(f"{name} seed {seed}: NFE {nfe:.0f}, {median:.2e} {p90:.2e} {worst:.2e}, {seconds:.0f} s", flush=True)
    return [(name, seed, i, float(found.nfe[i]), float(error[i])) for i in range(len(images))]


def black_box(
    generator: Any, images: np.ndarray, conditions: list[Any], seed: int, settings: dict[str, dict[str, Any]]
) -> list[Row]:
    """FlowOpt from Uni-Inv: whole flows of 10 NFE, 29 of them."""
    y = generator.encode(images)
    start = invert(generator, y, conditions, method="uni-inv")
    rows = []
    for name, options in settings.items():
        search = FlowOpt(generator, y, iterates=ITERATES, **options)
        state = search.advance(search.start(start.latents, conditions), ITERATES)
        z = state.best if options.get("keep_best") else state.z
        error = made_again(generator, {"latents": z.reshape(-1, 3, 16, 16)}, conditions, images)
        nfe = state.nfe + start.nfe
        print(
            f"{name} seed {seed}: NFE {np.median(nfe):.0f}, " + " ".join(f"{v:.2e}" for v in quantiles(error)),
            flush=True,
        )
        rows += [(name, seed, i, float(nfe[i]), float(error[i])) for i in range(len(images))]
    return rows


FLOWOPT: dict[str, dict[str, Any]] = {
    "flowopt-plain": {"eta": 0.1},
    "flowopt-improved": {"eta": 1.0, "depth": 5, "backtrack": True, "keep_best": True},
}


def tune(n: int, folder: Path) -> None:
    """Settings on other renderings than the held-out ones."""
    images, labels = other_items(n, folder / "tune")
    conditions = [{"prompt": caption(label)} for label in labels]
    generator = avatar_generator("", steps=STEPS, guidance=1.0, check_determinism=False)
    for budget in (60, 100):
        for reserve, depth in ((3, 5), (4, 5), (6, 5), (4, 8)):
            inversion.RESERVE = reserve
            name = f"budget {budget} reserve {reserve} depth {depth}"
            per_step(name, generator, images, conditions, 0, budget=budget, depth=depth)
    options: dict[str, dict[str, Any]] = {f"eta {eta}": {"eta": eta} for eta in (0.05, 0.1, 0.2)}
    options |= {
        f"eta {eta} depth {depth}": {"eta": eta, "depth": depth, "backtrack": True, "keep_best": True}
        for eta, depth in ((1.0, 5), (0.5, 5), (1.0, 10))
    }
    black_box(generator, images, conditions, 0, options)


def write(rows: list[Row], out: Path) -> None:
    """Every item; after each method, so that what was measured is kept."""
    out.parent.mkdir(exist_ok=True)
    with out.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["method", "seed", "item", "nfe", "rmse"])
        writer.writerows([(*row[:3], f"{row[3]:.0f}", f"{row[4]:.4g}") for row in rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=24, help="items a seed")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--black-box", type=int, default=8, help="items for FlowOpt and for guidance 3")
    parser.add_argument("--tune", type=Path, help="folder of other renderings")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "inversion.csv")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.tune is not None:
        tune(options.n, options.tune)
        return
    rows: list[Row] = []
    plain = avatar_generator("", steps=STEPS, guidance=1.0, check_determinism=False)
    guided = avatar_generator("", steps=STEPS, guidance=3.0, check_determinism=False)
    for seed in range(options.seeds):
        images, labels = rendered(options.n, seed)
        conditions = [{"prompt": caption(label)} for label in labels]
        for name, settings in METHODS.items():
            rows += per_step(name, plain, images, conditions, seed, **settings)
            write(rows, options.out)
        if seed == 0:
            few = options.black_box
            rows += black_box(plain, images[:few], conditions[:few], seed, FLOWOPT)
            rows += per_step("guidance-3-anderson-120", guided, images[:few], conditions[:few], seed, budget=120)
        write(rows, options.out)
    for name in dict.fromkeys(row[0] for row in rows):
        mine = [row for row in rows if row[0] == name]
        figures = dict(zip(("median", "p90", "worst"), quantiles([row[4] for row in mine]), strict=True))
        for figure, value in {"n": len(mine), "nfe": float(np.median([row[3] for row in mine])), **figures}.items():
            print(f"RESULT inversion/{name}/{figure} {value:.4g}")


if __name__ == "__main__":
    main()
