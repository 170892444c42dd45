"""Choose the settings of every method on the development half of the objectives: three configurations each, N = 100.

python tune.py                one row a cell in tuning.csv, continued where it was left
python tune.py --table        tuning.md: mean ranks of a method's configurations over the same cells
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from embedded import Model
from lockstep import Images, run
from objectives import DEVELOPMENT, task
from run import HERE, METHODS, OURS, RESULTS, append, read, rows
from scipy.stats import rankdata

N, REPEATS = 100, 2
TUNING, TABLE = HERE / "tuning.csv", HERE / "tuning.md"
HEAD = f"""# Settings, chosen on the development half at N = {N}

Made by `python tune.py` and `python tune.py --table`. Mean rank of a method's three configurations over the same cells,
1 for the best. "As written" is the default in `peers.py`, `library.py` and `surrogate_ax.plan`, and what results.md
reports. The policy behind ours was developed on the same objectives before this table, which does not count that. A
published recipe (half of O3's budget in draws) is kept unless another is better beyond doubt. Of ours about thirty
variants more were compared there (checkpoint, share, draws, round size, fresh noise, when recombination takes over,
scores, a second Gram matrix over coarse latents): differences beyond those to whole outputs were within the noise.

"""
CONFIGURATIONS: dict[str, list[dict[str, Any]]] = {
    OURS: [{}, {"draws": 8}, {"size": 4}],
    "recombination ES": [{}, {"start": 16}, {"b": 0.4}],
    "zero-order": [{}, {"size": 4}, {"b": 0.4}],
    "O3 + TPE": [{}, {"share": 0.3}, {"candidates": 100}],
    "sep-CMA-ES": [{}, {"size": 6}, {"size": 16}],
    "fixed seeds + CMA-ES": [{}, {"sigma": 0.2}, {"size": 8}],
    "EvoSearch": [{}, {"b": 0.35}, {"start": 16}],
    "hill climbing": [{}, {"size": 8}, {"start": 8}],
    "O3 + GP": [{}, {"share": 0.3}, {"batch": 4}],
}


def named(configuration: dict[str, Any]) -> str:
    """A configuration in words."""
    return ", ".join(f"{key} {value}" for key, value in configuration.items()) or "as written"


def take(method: str) -> None:
    """Copy the cells of a method as it is written from results.csv, where they were run."""
    key = _key(method, {})
    done = {(r["method"], r["task"], r["repeat"]) for r in read(TUNING)}
    latest = {(r["task"], r["repeat"]): r for r in read(RESULTS) if r["method"] == method and r["budget"] == str(N)}
    wanted = [(t, str(r)) for t in DEVELOPMENT for r in range(REPEATS) if (key, t, str(r)) not in done]
    append(TUNING, [{**latest[cell], "method": key} for cell in wanted if cell in latest])


def table() -> str:
    """Mean ranks, 1 for the best, of a method's configurations over the cells that all of them have."""
    lines = ["| method | configuration | mean rank | cells |", "|---|---|---|---|"]
    found = read(TUNING)
    for method, configurations in CONFIGURATIONS.items():
        values = [
            {(r["task"], r["repeat"]): float(r["best_inside"]) for r in found if r["method"] == _key(method, c)}
            for c in configurations
        ]
        cells = sorted(set.intersection(*(set(v) for v in values)))
        if not cells:
            continue
        mean = np.mean([rankdata([-v[cell] for v in values]) for cell in cells], axis=0)
        for configuration, rank in zip(configurations, mean, strict=True):
            mark = "**" if rank == mean.min() else ""
            lines.append(f"| {method} | {named(configuration)} | {mark}{rank:.2f}{mark} | {len(cells)} |")
    return "\n".join(lines) + "\n"


def _key(method: str, configuration: dict[str, Any]) -> str:
    return f"{method}: {named(configuration)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="*", default=list(CONFIGURATIONS))
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    if arguments.table:
        TABLE.write_text(HEAD + table())
        print(table())
        return
    images = Images(Model())
    for method in arguments.methods:
        take(method)
        done = {(r["method"], r["task"], int(r["repeat"])) for r in read(TUNING)}
        wanted = [
            (c, t, r)
            for c in CONFIGURATIONS[method]
            for t in DEVELOPMENT
            for r in range(REPEATS)
            if (_key(method, c), t, r) not in done
        ]
        traces = run([(task(t), METHODS[method](task(t), r, N, **c)) for c, t, r in wanted], images)
        lines = [
            {**row, "method": _key(method, c)}
            for (c, t, r), trace in zip(wanted, traces, strict=True)
            for row in rows(method, t, r, N, trace, images)
            if row["budget"] == N
        ]
        append(TUNING, lines)
        print(f"{method}: {len(wanted)} cells", flush=True)


if __name__ == "__main__":
    main()
