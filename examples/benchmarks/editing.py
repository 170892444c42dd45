"""Are edits of one thing there, and is the rest of the picture kept?

    python examples/benchmarks/editing.py METHOD [--items A:B] [--seed S] [--out CSV]     # rows that the CSV lacks
    python examples/benchmarks/editing.py report [CSV ...]                                # puts them together

Held-out pairs of avatars that differ in one attribute that can be judged, 86 of the 128; a seed also says which of a
pair is the source. Each method is given the source and both captions. T = 10 Euler steps. On the scale of [-1, 1]:

    success   share in which the judge sees what the target shows; for two attributes, both
    outside   RMS difference to the source where the pair does not differ
    target    RMS difference to the other one of the pair, which is not the only right answer
    kept      of the best four variants of a search: how many show the target, and how much they differ

The score that picks among draws and steers searches is a ridge regression on other renderings (`edit_score.py`).
Intervals are bootstraps over pairs. `report` prints `RESULT editing/METHOD/FIGURE value`, and what was asked of it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import optuna
import torch

sys.path.insert(0, str(Path(__file__).parent))

import shards
from edit_methods import METHODS, Pairs

OUT = Path(__file__).parent / "results" / "editing.csv"
PEERS = ("sdedit", "swap", "swap-uni-inv", "flowopt", "flowedit-authors", "flowalign")


def run(method: str, items: list[int], seed: int) -> list[dict[str, object]]:
    p = Pairs(items, seed)
    return p.measure(method, METHODS[method](p))


def report(files: list[Path], out: Path) -> None:
    rows = shards.merge(files or [out], out)
    for method in (m for m in METHODS if any(key[0] == m for key in rows)):
        mine = [row for key, row in rows.items() if key[0] == method]
        success, low, high = shards.interval(shards.grouped(shards.by_item(rows, method, "success")))
        asked = 0.95 if method in ("edit-1", "edit-4-search-8") else None
        name, outside = f"editing/{method}", [row["outside"] for row in mine]
        shards.result(f"{name}/n", len(mine))
        shards.result(f"{name}/nfe", float(np.mean([row["nfe"] for row in mine])))
        shards.result(f"{name}/success", success, asked, at_least=True, more=f" [{low:.3g}, {high:.3g}]")
        shards.result(f"{name}/outside", float(np.median(outside)))
        shards.result(f"{name}/outside_p90", float(np.quantile(outside, 0.9)))
        shards.result(f"{name}/target", float(np.median([row["target"] for row in mine])))
    for peer in PEERS:
        shards.compare(rows, "straight", peer, "outside", "editing", goal=0.0 if peer == "swap" else None)
    for other in ("swap", "straight"):
        shards.compare(rows, "edit-1", other, "outside", "editing", goal=0.0 if other == "swap" else None)
    for figure in ("outside", "target"):
        goal = 0.0 if figure == "outside" else None
        shards.compare(rows, "edit-4-search-8", "best-of-16", figure, "editing", goal=goal)
        shards.compare(rows, "searched", "best-of-16", figure, "editing", goal=None)
        shards.compare(rows, "searched", "straight", figure, "editing", goal=None)
        shards.compare(rows, "best-of-16", "straight", figure, "editing", goal=None)
        shards.compare(rows, "searched", "searched-without-evolving", figure, "editing", goal=None)
    for kind in ("two", "short", "wrong"):
        shards.compare(rows, f"straight-{kind}", f"swap-{kind}", "outside", "editing", goal=None)
    report_evolution(rows)


def report_evolution(rows: dict[shards.Key, shards.Row]) -> None:
    """Residual evolution: where the plain swap failed, and how different its variants are at equal success."""
    swap, evolved = (shards.by_item(rows, name, "success") for name in ("swap", "residuals"))
    failed = [at for at, there in swap.items() if not there and at in evolved]
    shards.result("editing/items where swap failed", len(failed))
    for name in ("residuals", "straight", "best-of-16", "searched"):
        seen = shards.by_item(rows, name, "success")
        there = [seen[at] for at in failed if at in seen]
        if there:
            shards.result(f"editing/{name}/success where swap failed", float(np.mean(there)), more=f" n {len(there)}")
    share = {name: shards.by_item(rows, name, "kept_success") for name in ("residuals", "best-of-16")}
    both = [at for at in share["residuals"] if share["best-of-16"].get(at) == share["residuals"][at] == 1]
    apart = {name: shards.by_item(rows, name, "diversity") for name in share}
    common = [at for at in both if all(at in found for found in apart.values())]
    if common:
        for name in share:
            shards.result(
                f"editing/{name}/diversity where all four show it", np.mean([apart[name][at] for at in common])
            )
        shared = {key: row for key, row in rows.items() if key[1:] in common}
        shards.compare(shared, "best-of-16", "residuals", "diversity", "editing")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=[*METHODS, "report"])
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--items", type=shards.span, default=range(86))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if options.what == "report":
        report(options.files, options.out)
    elif items := shards.missing(options.out, options.what, options.seed, options.items):
        shards.append(options.out, run(options.what, items, options.seed))


if __name__ == "__main__":
    main()
