"""Run the cells of the benchmark: methods, tasks, budgets and repeats; a CSV row a cell, continued where it was left.

    python pool.py                                    once, about 12 minutes
    python run.py [--methods A B] [--tasks ...]       the matrix; cells that are in results.csv are passed over
    python run.py --quick                             two cells again, compared with their rows

A method that does not know its budget (evolution, hill climbing, ...) is run to 400 once and read off at 50 and 100.
Traces (latents, values) are kept in the cache, not in the repository.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import os
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import library
import numpy as np
import validity
from embedded import Model, key
from library import PRIOR, policy_cell
from lockstep import Asking, Images, Trace, run
from objectives import DEVELOPMENT, NAMES, Task, task
from peers import PEERS
from pool import CACHE

from surrogate_ax import plan

HERE = Path(__file__).parent
RESULTS, TIMES = HERE / "results.csv", HERE / "times.json"
BUDGETS, REPEATS = (50, 100, 400), {50: 10, 100: 10, 400: 5}
OURS = "surrogate-ax"
FIELDS = ("method", "task", "half", "budget", "repeat", "best", "best_inside", "best_by_wall", "planning", "generation",
          "outside", "far")  # fmt: skip


def ours(task: Task, repeat: int, n: int, **changes: Any) -> Asking:
    """The library's default: `plan(budget)`, with changes to it where settings are compared."""
    planned = dataclasses.replace(plan(n, dim=PRIOR.dim), **changes)
    yield from policy_cell(task, repeat, n, policy=planned.policy(PRIOR))


PLANNED: dict[str, Callable[..., Asking]] = {
    OURS: ours,
    "O3 + TPE": library.o3_tpe,
    "O3 + GP": library.o3_gp,
}
METHODS = {**PLANNED, **PEERS}


def cells(
    methods: Sequence[str], tasks: Sequence[str], budgets: Sequence[int], most: int
) -> Iterator[tuple[str, str, int, int]]:
    """(method, task, repeat, evaluations to run) of every cell wanted."""
    for name in methods:
        for where in tasks:
            for repeat in range(min(most, max(REPEATS[n] for n in budgets))):
                wanted = [n for n in budgets if repeat < REPEATS[n]]
                for n in wanted if name in PLANNED else [max(wanted)]:
                    yield name, where, repeat, n


def rows(name: str, where: str, repeat: int, ran: int, trace: Trace) -> list[dict[str, Any]]:
    """CSV rows of a cell, one a budget that it serves."""
    made = task(where)
    x, values = trace.joined()
    worth, out = made.worth(values), validity.outside(x)
    valid = made.worth(_penalty(made, values, out))
    budgets = [ran] if name in PLANNED else [n for n in BUDGETS if n <= ran]
    ends = np.cumsum(trace.sizes)
    planning = np.cumsum(trace.planning[: len(ends)])
    generation = np.cumsum([seconds(size) for size in trace.sizes])
    lines = []
    for n in budgets:
        allowed = n * seconds(16) / 16
        done = ends[(planning + generation <= allowed) & (ends <= n)]
        last = int(np.searchsorted(ends, n))
        lines.append({
            "method": name, "task": where, "half": "development" if where in DEVELOPMENT else "held out",
            "budget": n, "repeat": repeat, "best": round(float(worth[n - 1]), 6),
            "best_inside": round(float(valid[n - 1]), 6),
            "best_by_wall": round(float(worth[done[-1] - 1]), 6) if len(done) else "",
            "planning": round(float(planning[last]), 4), "generation": round(float(generation[last]), 4),
            "outside": round(float(out[:n].mean()), 5),
            "far": "",
        })  # fmt: skip
    return lines


def _penalty(made: Task, values: dict[str, Any], out: Any) -> dict[str, Any]:
    """Values that make rows outside the band worth nothing."""
    worst = {m.name: 1e9 if m.goal == "minimize" else -1e9 for m in made.objective.metrics}
    return {name: np.where(out, worst[name], column) for name, column in values.items()}


def seconds(size: int) -> float:
    """How long the stock generator takes for a batch, from the measured table."""
    table = {int(n): float(s) for n, s in json.loads(TIMES.read_text()).items()}
    return float(np.interp(size, sorted(table), [table[n] for n in sorted(table)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="*", default=list(METHODS))
    parser.add_argument("--tasks", nargs="*", default=list(NAMES))
    parser.add_argument("--budgets", nargs="*", type=int, default=list(BUDGETS))
    parser.add_argument("--repeats", type=int, default=max(REPEATS.values()))
    parser.add_argument("--far", action="store_true", help="fill the column of nearest neighbours from the cache")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    os.nice(5)
    if arguments.quick:
        quick(arguments.results)
        return
    if arguments.far:
        fill_far(arguments.results)
        return
    images = Images(Model())
    for n, some in product(arguments.budgets, batched(arguments.tasks)):
        done = {(r["method"], r["task"], int(r["repeat"]), int(r["budget"])) for r in read(arguments.results)}
        wanted = [c for c in cells(arguments.methods, some, arguments.budgets, arguments.repeats) if c[3] == n]
        wanted = [c for c in wanted if c not in done]
        made = run([(task(t), METHODS[m](task(t), r, n)) for m, t, r, n in wanted], images)
        lines = [row for cell, trace in zip(wanted, made, strict=True) for row in rows(*cell, trace)]
        for (m, t, r, n), trace in zip(wanted, made, strict=True):
            keep(m, t, r, n, trace, images)
        append(arguments.results, lines)
        print(f"N={n}, {', '.join(some)}: {len(wanted)} cells, {len(lines)} rows", flush=True)


def batched(names: Sequence[str], size: int = 4) -> list[Sequence[str]]:
    """Tasks that are run together: more cells wait at once, so that fewer of the model's batches are part empty."""
    return [names[k : k + size] for k in range(0, len(names), size)]


def keep(m: str, t: str, r: int, n: int, trace: Trace, images: Images) -> None:
    """Leave a trace in the cache, with the image of the best for every budget."""
    x, values = trace.joined()
    folder = CACHE / "traces"
    folder.mkdir(exist_ok=True)
    served = [b for b in BUDGETS if b <= n]
    best = {f"best {b}": images.kept[key(x[_best(task(t), values, b)])] for b in served}
    np.savez(folder / f"{m}-{t}-{n}-{r}.npz", x=x, sizes=trace.sizes, planning=trace.planning, **values, **best)


def _best(where: Task, values: dict[str, Any], n: int) -> int:
    """Which of the first n rows stands first."""
    return int(where.objective.rank({name: column[:n] for name, column in values.items()})[0])


def fill_far(path: Path) -> None:
    """Say of every row whether its best image is farther from plain draws than they are from each other."""
    found = dict[tuple[str, ...], str]()
    for row in read(path):
        name, n = row["method"], int(row["budget"])
        tried = [n] if name in PLANNED else [b for b in sorted(BUDGETS, reverse=True) if b >= n]
        stems = [CACHE / "traces" / f"{name}-{row['task']}-{b}-{row['repeat']}.npz" for b in tried]
        stem = next((stem for stem in stems if stem.exists()), None)
        if stem is not None:
            found[cell(row)] = str(int(validity.far(np.load(stem)[f"best {n}"][None])[0]))
    latest = {cell(row): row for row in read(path)}  # again: others may have added cells meanwhile
    path.unlink()
    append(path, [{**row, "far": found.get(cell(row), row["far"])} for row in latest.values()])


def cell(row: dict[str, str]) -> tuple[str, ...]:
    """What a row is known by."""
    return row["method"], row["task"], row["budget"], row["repeat"]


def read(path: Path) -> list[dict[str, str]]:
    """Rows of the CSV, none when it is not there."""
    if not path.exists():
        return []
    with path.open(newline="") as handle:
        return list(csv.DictReader(handle))


def append(path: Path, lines: Sequence[dict[str, Any]]) -> None:
    """Add rows; the latest of a cell is the one that counts."""
    new = not path.exists()
    with path.open("a", newline="") as handle:
        writer = csv.DictWriter(handle, FIELDS, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerows(lines)


def quick(path: Path) -> None:
    """Two cells again: the same best values as in the CSV."""
    known = {(r["method"], r["task"], int(r["budget"]), int(r["repeat"])): float(r["best"]) for r in read(path)}
    images = Images(Model())
    for name, where in ((OURS, "symmetry"), ("recombination ES", "contrast")):
        made = run([(task(where), METHODS[name](task(where), 0, 50))], images)[0]
        best, was = float(task(where).worth(made.joined()[1])[49]), known[name, where, 50, 0]
        near = "ok" if abs(best - was) < 0.02 * abs(was) else "short"
        print(f"RESULT {name} on {where}, N=50, repeat 0: {best:.5f} committed:{was:.5f} {near}")


if __name__ == "__main__":
    main()
