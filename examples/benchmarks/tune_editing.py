"""Settings of the methods in `edit_methods.py`, compared on pairs of the training side.

    python examples/benchmarks/tune_editing.py FOLDER [--items 0:24] [--only NAME] [--out CSV]

`FOLDER/tunepairs` is what `node render.mjs pairs FOLDER/tunepairs 96 trainpair` writes in `examples/train_avatars`.
Rows that the CSV has are not made again. Thresholds of regions, and which draws a score prefers, were compared on draws
of the same pairs, `--regions`, with nothing generated anew.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import optuna
import torch

sys.path.insert(0, str(Path(__file__).parent))

import edit_methods as methods
import shards

from surrogate_ax.editing import changed_region

OUT = Path(__file__).parent / "results" / "tuning_editing.csv"
VARIANTS: dict[str, Callable[[methods.Pairs], methods.Made]] = {
    **{
        f"straight from {start}, guidance {scale}": lambda p, start=start, scale=scale: methods.straight(
            p, start=start, scale=scale
        )
        for start, scale in ((0, 1.0), (1, 1.0), (2, 1.0), (3, 1.0), (0, 1.5), (1, 1.5), (2, 1.5))
    },
    **{
        f"flowalign from {start}, scale {scale}, zeta {zeta}": lambda p, start=start, scale=scale, zeta=zeta: (
            methods.flowalign(p, start=start, scale=scale, zeta=zeta)
        )
        for start, scale, zeta in (
            (0, 1.0, 0.01), (0, 1.5, 0.01), (0, 3.0, 0.01), (0, 1.0, 0.05), (0, 1.5, 0.05), (1, 1.0, 0.05)
        )
    },
    **{
        f"searched, {total} in all, {first} draws, rounds of {size}, start to {last}": (
            lambda p, total=total, first=first, size=size, last=last: methods.searched(
                p, total=total, first=first, size=size, last=last
            )
        )
        for total, first, size, last in ((16, 8, 4, 1),)
    },
    **{f"edit-1, enough {enough}": lambda p, enough=enough: one_edit(p, enough) for enough in (0.5, 0.2)},
}  # fmt: skip


def one_edit(p: methods.Pairs, enough: float) -> methods.Made:
    """One edit by `edit`, with another score that is enough."""
    methods.ENOUGH = enough
    return methods.edited(p)


def regions(p: methods.Pairs, draws: int = 8) -> None:
    """What regions leave out, by their draws and threshold; all from the same draws, so they cost nothing more."""
    made = np.stack([np.asarray(methods.straight(p, draw=k)[0]) for k in range(draws)], axis=1)
    for count in (1, 2, 4, 8):
        for threshold in (0.1, 0.15, 0.2):
            first = made[:, 0].copy()
            for i, source in enumerate(p.source / 255):
                region = changed_region(made[i, :count], source, threshold=threshold)
                first[i] = first[i] if region is None else np.where(region[..., None], first[i], source)
            rows = p.measure("", (first, 0, {}))
            outside, success = (np.array([row[name] for row in rows]) for name in ("outside", "success"))
            print(
                f"region of {count}, {threshold}: success {success.mean():.3f} outside {np.median(outside):.4f} mean "
                f"{outside.mean():.4f}",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--items", type=shards.span, default=range(24))
    parser.add_argument("--only", default="")
    parser.add_argument("--regions", action="store_true", help="thresholds of `changed_region` instead")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if options.regions:
        regions(methods.Pairs(options.items, 0, options.folder / "tunepairs"))
        return
    for name, method in VARIANTS.items():
        items = shards.missing(options.out, name, 0, options.items)
        if items and name.startswith(options.only):
            p = methods.Pairs(items, 0, options.folder / "tunepairs")
            shards.append(options.out, p.measure(name, method(p)))
    for name in VARIANTS:
        rows = [row for (method, _, _), row in shards.read([options.out]).items() if method == name]
        if rows:
            nfe, success, outside = (np.array([row[k] for row in rows]) for k in ("nfe", "success", "outside"))
            print(
                f"{name}: n {len(rows)} NFE {nfe.mean():.0f} success {success.mean():.3f} outside mean "
                f"{outside.mean():.4f} median {np.median(outside):.4f} p90 {np.quantile(outside, 0.9):.4f}"
            )


if __name__ == "__main__":
    main()
