"""How exactly, and at what cost, are existing items inverted?

    python examples/benchmarks/inversion.py METHOD [--items A:B] [--seed S] [--out CSV]     # rows that the CSV lacks
    python examples/benchmarks/inversion.py report [CSV ...]                                # puts them together
    python examples/benchmarks/inversion.py overhead                                        # time beside the generator
    python examples/benchmarks/inversion.py families                                        # every tiny pipeline
    python examples/benchmarks/inversion.py tune --raw FOLDER                               # how settings were chosen

64 held-out avatars a seed, other ones for each of three, under full captions, T = 10 Euler steps, guidance 1, or 3
where a method's name says so. The error is the RMS difference, on the scale of [-1, 1], between an item and what the
model makes of its inversion. `report` prints `RESULT inversion/METHOD/FIGURE value`, and what was asked of it.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))

import shards
from avatar_items import caption, other_items, quantiles, rendered, rmse

import surrogate_ax.editing.inversion as inversion
from surrogate_ax import Steppable
from surrogate_ax.editing import FlowOpt, invert
from surrogate_ax.editing.rows import flat, noise_levels, rms
from surrogate_ax.errors import UnsupportedError
from surrogate_ax.latents import Bank, Draw
from surrogate_ax_diffusers import avatar_generator, pipeline_generator

STEPS, ITEMS = 10, 64
OUT = Path(__file__).parent / "results" / "inversion.csv"
SOLVERS: dict[str, dict[str, Any]] = {
    "euler": {"method": "euler"},
    "uni-inv": {"method": "uni-inv"},
    "fixed-point-60": {"method": "fixed-point", "budget": 60},
    "fixed-point-100": {"method": "fixed-point", "budget": 100},
    "anderson-60": {"budget": 60},
    "anderson-100": {"budget": 100},
    "anderson-160": {"budget": 160},
}
ITERATES = 29  # of FlowOpt, of 10 NFE each, behind the 11 of Uni-Inv
FLOWOPT: dict[str, dict[str, Any]] = {
    "flowopt-plain": {"eta": 0.1},
    "flowopt-improved": {"eta": 1.0, "depth": 5, "backtrack": True, "keep_best": True},
}
GUIDED = "-guidance-3"
METHODS = [*SOLVERS, *FLOWOPT, *[f"{name}{GUIDED}" for name in SOLVERS]]
# (method, figure): the most that was asked
GOALS = {
    ("anderson-60", "median"): 5e-4,
    ("anderson-60", "p90"): 2e-3,
    ("anderson-100", "median"): 1e-4,
    ("anderson-100", "p90"): 1e-3,
    ("anderson-100", "worst"): 5e-3,
    ("anderson-160", "median"): 1e-5,
    ("anderson-160", "p90"): 3e-4,
}


class Items:
    """Some of a seed's 64 pictures, as latents and captions."""

    def __init__(self, items: Any, seed: int, guidance: float = 1.0, raw: Path | None = None) -> None:
        images, labels = rendered(ITEMS, seed) if raw is None else other_items(ITEMS, raw)
        self.items, self.seed = list(items), seed
        self.images = images[self.items]
        self.conditions = [{"prompt": caption(labels[i])} for i in self.items]
        self.g: Any = avatar_generator("", steps=STEPS, guidance=guidance, check_determinism=False)
        self.x = self.g.encode(self.images)

    def solved(self, **settings: Any) -> tuple[Any, Any, Any]:
        """Latents, their cost, and whether the search says that it has converged."""
        found = invert(self.g, self.x, self.conditions, **settings)
        return found.latents, found.nfe, found.converged

    def black_box(self, *, keep_best: bool = False, iterates: int = ITERATES, **settings: Any) -> tuple[Any, Any, Any]:
        """FlowOpt from Uni-Inv."""
        begin = invert(self.g, self.x, self.conditions, method="uni-inv")
        search = FlowOpt(self.g, self.x, iterates=iterates, keep_best=keep_best, **settings)
        state = search.advance(search.start(begin.latents, self.conditions), iterates)
        z = (state.best if keep_best else state.z).reshape(-1, *self.x["latents"].shape[1:])
        return {"latents": z}, state.nfe + begin.nfe, np.zeros(len(z), dtype=bool)

    def measure(self, method: str, found: tuple[Any, Any, Any], seconds: float) -> list[dict[str, Any]]:
        z, nfe, converged = found
        error = rmse(self.g.generate(z, self.conditions).outputs, self.images / 255)
        return [
            {"method": method, "seed": self.seed, "item": i, "nfe": float(nfe[k]), "rmse": float(error[k]),
             "converged": float(converged[k]), "seconds": seconds / len(self.items)}
            for k, i in enumerate(self.items)
        ]  # fmt: skip


def run(method: str, items: Any, seed: int) -> list[dict[str, Any]]:
    solver = method.removesuffix(GUIDED)
    these = Items(items, seed, 3.0 if method.endswith(GUIDED) else 1.0)
    clock = time.process_time()
    found = these.black_box(**FLOWOPT[solver]) if solver in FLOWOPT else these.solved(**SOLVERS[solver])
    return these.measure(method, found, time.process_time() - clock)


def tune(raw: Path) -> None:
    """Settings on other renderings than the held-out ones: eight of the search by steps, six of FlowOpt."""
    these = Items(range(24), 0, raw=raw)
    for budget in (60, 100):
        for reserve, depth in ((3, 5), (4, 5), (6, 5), (4, 8)):
            inversion.RESERVE = reserve
            rows = these.measure("", these.solved(budget=budget, depth=depth), 0.0)
            print(f"budget {budget} reserve {reserve} depth {depth}:", *quantiles([row["rmse"] for row in rows]))
    for eta, depth in ((0.05, 0), (0.1, 0), (0.2, 0), (1.0, 5), (0.5, 5), (1.0, 10)):
        better = bool(depth)
        found = these.black_box(eta=eta, depth=depth, backtrack=better, keep_best=better)
        print(f"FlowOpt eta {eta} depth {depth}:", *quantiles([r["rmse"] for r in these.measure("", found, 0.0)]))


def overhead() -> None:
    """Processor seconds of 64 inversions that are not the generator's, and how full its batches are."""
    these = Items(range(ITEMS), 0)
    seconds, sizes = [0.0], []
    whole = {name: getattr(these.g, name) for name in ("start", "advance", "latents")}

    def timed(name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            clock = time.process_time()
            made = whole[name](*args, **kwargs)
            seconds[0] += time.process_time() - clock
            if name == "advance":
                sizes.append(len(these.g.nfe(made)))
            return made

        return call

    for name in whole:
        setattr(these.g, name, timed(name))
    for name, search in (
        ("invert", lambda: these.solved(budget=40)),
        ("flowopt", lambda: these.black_box(iterates=4, **FLOWOPT["flowopt-improved"])),
    ):
        seconds[0], clock = 0.0, time.process_time()
        sizes.clear()
        search()
        spent = time.process_time() - clock
        shards.result(f"inversion/overhead {name}", (spent - seconds[0]) / seconds[0], 0.02)
        shards.result(f"inversion/mean batch of 64 {name}", float(np.mean(sizes)))
        shards.result(f"inversion/first batch of 64 {name}", sizes[0], ITEMS, at_least=True)


def families() -> None:
    """Every kind of tiny pipeline inverts what it made in four steps, relative to its size, or says why not.

    Two steps of a network with random weights can fold, so that some items have no inverse; `converged` says so.
    """
    sys.path.insert(0, str(Path(__file__).parents[2]))  # the tiny pipelines are those of the tests
    from tests.integrations.diffusers import tiny, tiny_families

    solvers = {f"StableDiffusionPipeline {name}": tiny.stable_diffusion(name) for name in ("ddim", "euler")}
    for name in [*sorted(tiny_families.CALLS), *solvers]:
        kind, own = name.split()[0], name in solvers
        pipe = solvers[name] if own else tiny_families.CALLS[kind][0]()
        steps, n = 4, 4
        call = tiny_families.generator_call(kind, num_inference_steps=steps, guidance_scale=1.0)
        made: Any = pipeline_generator(pipe, check_determinism=False, **call)
        z = Bank(made.prior, [Draw(0, k) for k in range(n)]).latents(np.eye(n))
        try:
            x = made.latents(made.advance(made.start(z, [{}] * n), steps)) if isinstance(made, Steppable) else z
            error = invert(made, x, {}).error / rms(flat(x)).cpu().double().numpy()
        except UnsupportedError as refused:
            print(f"RESULT inversion/family {name} refused: {str(refused)[:100]}", flush=True)
            continue
        levels = noise_levels(made)
        shards.result(f"inversion/family {name}", float(error.max()), 1e-5 if levels and levels.flow else 1e-4)


def report(files: list[Path], out: Path) -> None:
    rows = shards.merge(files or [out], out)
    figures: dict[tuple[str, str], float] = {}
    for method in (m for m in METHODS if any(key[0] == m for key in rows)):
        mine = [row for key, row in rows.items() if key[0] == method]
        found = dict(zip(("median", "p90", "worst"), quantiles([row["rmse"] for row in mine]), strict=True))
        shown = {"n": len(mine), "nfe": float(np.median([row["nfe"] for row in mine])), **found}
        shown |= {"converged": float(np.mean([row["converged"] for row in mine]))}
        for name, value in shown.items():
            figures[method, name] = value
            shards.result(f"inversion/{method}/{name}", value, GOALS.get((method, name)))
    for figure, goal in (("median", 5.0), ("p90", 3.0)):
        names = [(name, figure) for name in FLOWOPT]
        if all(name in figures for name in names):
            ratio = figures[names[0]] / figures[names[1]]
            shards.result(f"inversion/flowopt plain over improved/{figure}", ratio, goal, at_least=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=[*METHODS, "report", "overhead", "families", "tune"])
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--items", type=shards.span, default=range(ITEMS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--raw", type=Path, help="folder with the renderings `tune` (see avatar_items)")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.what == "report":
        report(options.files, options.out)
    elif options.what == "overhead":
        overhead()
    elif options.what == "families":
        families()
    elif options.what == "tune":
        tune(options.raw / "tune")
    elif items := shards.missing(options.out, options.what, options.seed, options.items):
        shards.append(options.out, run(options.what, items, options.seed))


if __name__ == "__main__":
    main()
