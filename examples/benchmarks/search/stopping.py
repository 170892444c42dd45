"""Where to stop trajectories: checkpoints and shares against whole outputs at equal cost, on seeds of their own.

    python stopping.py                  cells that are in stopping.csv are passed over; then stopping.md
    python stopping.py --table          stopping.md alone
    python stopping.py --quick          two cells again, compared with their rows; needs no pool

A setting is the planned search with a checkpoint after some of 8 steps and the share of a round that goes on behind it;
share of fresh noise and trials follow the budget as in the plan. The measure is the best against the search with whole
outputs that has the same first draws, in standard deviations of plain draws. Validity is not judged here.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import published
from embedded import STEPS, Model
from library import PRIOR
from lockstep import Asking, Images, Trace, run
from objectives import NAMES, task
from run import HERE, batched, ours, prefixes, whole, worth_of
from scipy.stats import binomtest

from surrogate_ax import plan

N, SEEDS = 100, range(100, 105)
TASKS = tuple(name for name in NAMES if len(task(name).objective.optimised) == 1)  # two metrics stop nothing
SETTINGS = ((3, 0.25), (4, 0.25), (4, 0.5))
ROWS, TABLE = HERE / "stopping.csv", HERE / "stopping.md"
FIELDS = ("setting", "task", "repeat", "best", "planning", "generation")
LOSS = 0.15  # deviations that stopping may cost
POOL = 20_000
HEAD = f"""# Where trajectories are stopped

Made by `python stopping.py`: N = {N}, {len(SEEDS)} repeats whose seeds no other table has. Median over repeats of the
best less that of whole outputs at equal cost, in standard deviations of plain draws; in brackets the plain draws that
match the median best, over N. "constrained" has no single deviation. Differences below about .3 are noise.

"""


def setting(checkpoint: int, kept: float) -> str:
    """A setting in words."""
    return f"step {checkpoint}, {kept:g} kept" if checkpoint else "whole outputs"


def stopped(name: str, repeat: int, checkpoint: int, kept: float) -> Asking:
    """The planned search with a checkpoint, whose noise falls over the trials that the budget has then."""
    if not checkpoint:
        yield from whole(task(name), repeat, N)
        return
    planned = plan(N, dim=PRIOR.dim, steps=STEPS)
    trials = dataclasses.replace(planned, checkpoint=checkpoint, keep_fraction=kept).trials(N)
    yield from ours(task(name), repeat, N, checkpoint=checkpoint, keep_fraction=kept, anneal_over=trials)


def row(of: str, name: str, repeat: int, trace: Trace) -> dict[str, Any]:
    """What a cell came to: the best of the rows whose network evaluations fit the budget."""
    most = prefixes("surrogate-ax", N, trace)[0][1]
    best = worth_of(task(name), trace.joined()[1], most)
    spent = {"planning": round(sum(trace.planning), 3), "generation": round(sum(trace.seconds), 3)}
    return {"setting": of, "task": name, "repeat": repeat, "best": round(best, 6), **spent}


def measure(path: Path, settings: Sequence[tuple[int, float]]) -> None:
    """Run the cells that the file lacks."""
    images, done = Images(Model()), {(r["setting"], r["task"], int(r["repeat"])) for r in _read(path)}
    for some in batched(TASKS):
        wanted = [
            (s, name, repeat)
            for s in ((0, 1.0), *settings)
            for name in some
            for repeat in SEEDS
            if (setting(*s), name, repeat) not in done
        ]
        made = run([(task(name), stopped(name, repeat, *s)) for s, name, repeat in wanted], images)
        lines = [row(setting(*s), name, repeat, t) for (s, name, repeat), t in zip(wanted, made, strict=True)]
        new = not path.exists()
        with path.open("a", newline="") as handle:
            writer = csv.DictWriter(handle, FIELDS, lineterminator="\n")
            if new:
                writer.writeheader()
            writer.writerows(lines)
        print(f"{', '.join(some)}: {len(lines)} cells", flush=True)


def table(path: Path) -> list[str]:
    """The table and its RESULT lines."""
    found: dict[str, dict[tuple[str, str], float]] = {}
    for each in _read(path):
        found.setdefault(each["setting"], {})[each["task"], each["repeat"]] = float(each["best"])
    base = found[setting(0, 1.0)]
    lines = ["| setting | " + " | ".join(TASKS) + " |", "|---" * (len(TASKS) + 1) + "|"]
    results = list[str]()
    for of, cells in found.items():
        shown, losses = list[str](), dict[str, float]()
        for name in TASKS:
            ahead = [best - base[cell] for cell, best in cells.items() if cell[0] == name and cell in base]
            if not ahead:
                shown.append("not run")
                continue
            equal = _equivalent(name, float(np.median([best for cell, best in cells.items() if cell[0] == name])))
            sd = published.deviation(name)
            if sd is not None:
                losses[name] = float(np.median(ahead)) / sd
            shown.append(f"{losses[name]:+.2f} ({equal:.0f})" if sd is not None else f"({equal:.0f})")
        lines.append(f"| {of} | " + " | ".join(shown) + " |")
        if of != setting(0, 1.0) and losses:
            worst, won = min(losses.values()), float(np.mean([v > 0 for v in losses.values()]))
            apart = [cells[c] - base[c] for c in cells if c in base and cells[c] != base[c]]
            p = binomtest(sum(a > 0 for a in apart), len(apart), alternative="greater").pvalue
            results += [
                f"RESULT largest loss to whole outputs, {of} {-worst:.2f} <={LOSS} {_met(-worst <= LOSS)}",
                f"RESULT share of objectives won against whole outputs, {of} {won:.2f} >=0.5 {_met(won >= 0.5)}",
                f"{of}: better than whole outputs in {sum(a > 0 for a in apart)} of {len(apart)} cells, p = {p:.2g}",
            ]
    return [*lines, "", "```", *results, "```"]


def quick(path: Path) -> None:
    """Two cells again: within half a standard deviation of plain draws of the best values in the file."""
    known = {(r["setting"], r["task"], int(r["repeat"])): float(r["best"]) for r in _read(path)}
    images, repeat = Images(Model()), SEEDS[0]
    for s, name in (((0, 1.0), "symmetry"), (SETTINGS[0], "palette")):
        trace = run([(task(name), stopped(name, repeat, *s))], images)[0]
        best, was = row("", name, repeat, trace)["best"], known[setting(*s), name, repeat]
        # Last bits grow over a hundred trials, so that another processor ends near and not there.
        near = _met(abs(best - was) < 0.5 * (published.deviation(name) or np.inf))
        print(f"RESULT {setting(*s)} on {name} {best:.5f} committed:{was:.5f} {near}")


def _equivalent(name: str, worth: float) -> float:
    counts, best = published.curve(name, POOL)
    return float(np.exp(np.interp(worth, best, np.log(counts)))) / N


def _met(met: bool) -> str:
    return "ok" if met else "short"


def _read(path: Path) -> list[Mapping[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="") as handle:
        return list(csv.DictReader(handle))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", action="store_true", help="write stopping.md from the rows that are there")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    os.nice(5)
    if arguments.quick:
        quick(ROWS)
        return
    if not arguments.table:
        measure(ROWS, SETTINGS)
    lines = table(ROWS)
    TABLE.write_text(HEAD + "\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
