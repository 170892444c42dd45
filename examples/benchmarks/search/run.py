"""Run the cells of the benchmark: methods, tasks, budgets and repeats; a CSV row a cell, continued where it was left.

    python pool.py                                    once, about 12 minutes
    python run.py [--methods A B] [--tasks ...]       the matrix; cells that are in results.csv are passed over
    python run.py --judge                             rows again from all traces, where validity is judged anew
    python run.py --quick                             three cells again, compared with their rows; needs no pool

A method that does not know its budget (evolution, hill climbing, ...) is run to 400 once and read off at 50 and 100.
Traces (latents, values) are kept in the cache, not in the repository.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import drives
import library
import numpy as np
import validity
from embedded import STEPS, Model
from library import PRIOR, policy_cell
from lockstep import Asking, Images, Trace, run, seconds
from objectives import DEVELOPMENT, NAMES, Task, task
from peers import PEERS
from pool import CACHE, has

from surrogate_ax import plan

HERE = Path(__file__).parent
RESULTS = HERE / "results.csv"
BUDGETS, REPEATS = (50, 100, 400), {50: 10, 100: 10, 400: 5}
OURS, WHOLE = "surrogate-ax", "surrogate-ax, no checkpoints"
BATCH = 16
LOOKED = 3  # best rows whose images are made in full batches when traces are judged
FIELDS = ("method", "task", "half", "budget", "repeat", "best", "best_inside", "best_by_wall", "planning", "generation",
          "outside", "far")  # fmt: skip


def ours(task: Task, repeat: int, n: int, **changes: Any) -> Asking:
    """The library's default for a budget, `optimize(budget=n)`, with changes to it where settings are compared."""
    steps = STEPS if len(task.objective.optimised) == 1 else None
    planned = plan(n, dim=PRIOR.dim, steps=steps)
    planned = dataclasses.replace(planned, **changes)
    yield from policy_cell(
        task,
        repeat,
        planned.trials(n),
        policy=planned.policy(PRIOR),
        batch=BATCH,
        checkpoint=planned.checkpoint,
        kept=planned.keep_fraction,
    )


def whole(task: Task, repeat: int, n: int) -> Asking:
    """The library's default without checkpoints, `optimize(total_trials=n)`."""
    yield from policy_cell(task, repeat, n, policy=plan(n, dim=PRIOR.dim).policy(PRIOR), batch=BATCH)


PLANNED: dict[str, Callable[..., Asking]] = {
    OURS: ours,
    WHOLE: whole,
    "O3 + TPE": library.o3_tpe,
    "O3 + GP": library.o3_gp,
    **drives.DRIVEN,
}
AX = ("Ax drives", "Ax coefficients drives")  # made by ax_drives.py
METRICS = {metric.name for name in NAMES for metric in task(name).objective.metrics}
METHODS = {**PLANNED, **PEERS, **drives.ANYTIME}
QUICK = (OURS, "symmetry"), ("recombination ES", "contrast"), ("CMA-ES drives", "palette")


def cells(
    methods: Sequence[str], tasks: Sequence[str], budgets: Sequence[int], most: int
) -> Iterator[tuple[str, str, int, int]]:
    """(method, task, repeat, evaluations to run) of every cell wanted."""
    for name in methods:
        for where in tasks:
            if not drives.takes(name, task(where)):
                continue
            for repeat in range(min(most, max(REPEATS[n] for n in budgets))):
                wanted = [n for n in budgets if repeat < REPEATS[n]]
                for n in wanted if name in PLANNED else [max(wanted)]:
                    yield name, where, repeat, n


def rows(name: str, where: str, repeat: int, ran: int, trace: Trace, images: Images) -> list[dict[str, Any]]:
    """CSV rows of a cell, one a budget that it serves.

    Best values are of rows whose network evaluations fit the budget and which are valid: latents in the band of plain
    draws, and a best image that has a plain draw near it (`validity`).
    """
    x, values = trace.joined()
    out = validity.outside(x)
    ends = np.cumsum(trace.sizes)
    planning, generation = np.cumsum(trace.planning), np.cumsum(trace.seconds)
    lines = []
    for n, most, in_time in prefixes(name, ran, trace):
        last = int(np.searchsorted(ends, most))
        best, far = best_valid(task(where), x, values, out, most, images)
        by_wall = best_valid(task(where), x, values, out, in_time, images)[0] if in_time else ""
        lines.append({
            "method": name, "task": where, "half": "development" if where in DEVELOPMENT else "held out",
            "budget": n, "repeat": repeat, "best": round(float(worth_of(task(where), values, most)), 6),
            "best_inside": best, "best_by_wall": by_wall,
            "planning": round(float(planning[last]), 4), "generation": round(float(generation[last]), 4),
            "outside": round(float(out[:most].mean()), 5), "far": far,
        })  # fmt: skip
    return lines


def prefixes(name: str, ran: int, trace: Trace) -> list[tuple[int, int, int]]:
    """(N, rows of which the network evaluations fit it, rows of which the time fits it) of every budget served."""
    ends, spent = np.cumsum(trace.sizes), np.cumsum(trace.nfe)
    clock = np.cumsum(trace.planning[: len(ends)]) + np.cumsum(trace.seconds)
    plain = bool(spent[-1] == STEPS * ends[-1])  # nothing was stopped, so a part of a batch can be counted
    found = []
    for n in [ran] if name in PLANNED or name in AX else [n for n in BUDGETS if n <= ran]:
        most = n if plain else int(ends[np.searchsorted(spent, n * STEPS, side="right") - 1])
        done = ends[(clock <= n * seconds(BATCH) / BATCH) & (ends <= most)]
        found.append((n, most, int(done[-1]) if len(done) else 0))
    return found


def worth_of(made: Task, values: Mapping[str, Any], n: int) -> float:
    """What the first n rows are worth; those that were stopped are worth nothing."""
    return float(
        made.worth({name: column[:n] for name, column in _penalty(made, values, _unknown(values)).items()})[-1]
    )


def best_valid(
    made: Task, x: Any, values: Mapping[str, Any], out: Any, n: int, images: Images
) -> tuple[float | str, int | str]:
    """What the valid of the first n rows are worth, and whether the best inside the band had no plain draw near it.

    Without a pool the band alone judges, and the second answer is empty until `--judge`.
    """
    bad = (out | _unknown(values))[:n]
    columns = {name: column[:n] for name, column in values.items()}
    if not has("b"):
        return round(float(made.worth(_penalty(made, columns, bad))[-1]), 6), ""
    order = [int(i) for i in made.objective.rank(_penalty(made, columns, bad)) if not bad[i]]
    looked = 0
    while looked < len(order):
        some = order[looked : looked + (LOOKED if looked == 0 else 32)]
        far = validity.far(images.of(x[some]))
        looked += len(some)
        if not far.all():
            first = looked - len(some) + int(np.argmin(far))
            bad[order[:first]] = True
            return round(float(made.worth(_penalty(made, columns, bad))[-1]), 6), int(first > 0)
    return "", int(len(order) > 0)


def _unknown(values: Mapping[str, Any]) -> Any:
    return ~np.isfinite(np.stack(list(values.values()))).all(axis=0)


def _penalty(made: Task, values: Mapping[str, Any], out: Any) -> dict[str, Any]:
    """Values that make some rows worth nothing."""
    worst = {m.name: 1e9 if m.goal == "minimize" else -1e9 for m in made.objective.metrics}
    return {name: np.where(out, worst[name], column) for name, column in values.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="*", default=list(METHODS))
    parser.add_argument("--tasks", nargs="*", default=list(NAMES))
    parser.add_argument("--budgets", nargs="*", type=int, default=list(BUDGETS))
    parser.add_argument("--repeats", type=int, default=max(REPEATS.values()))
    parser.add_argument("--judge", action="store_true", help="write all rows again from the traces in the cache")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    os.nice(5)
    if arguments.quick:
        quick(arguments.results)
        return
    if not has("b"):
        print("There is no pool: no image is compared with plain draws (`python pool.py`, then `--judge`).", flush=True)
    images = Images(Model())
    if arguments.judge:
        judge(arguments.results, images)
        return
    for n, some in product(arguments.budgets, batched(arguments.tasks)):
        done = {(r["method"], r["task"], int(r["repeat"]), int(r["budget"])) for r in read(arguments.results)}
        wanted = [c for c in cells(arguments.methods, some, arguments.budgets, arguments.repeats) if c[3] == n]
        wanted = [c for c in wanted if c not in done]
        made = run([(task(t), METHODS[m](task(t), r, n)) for m, t, r, n in wanted], images)
        lines = [row for cell, trace in zip(wanted, made, strict=True) for row in rows(*cell, trace, images)]
        for cell, trace in zip(wanted, made, strict=True):
            keep(*cell, trace)
        append(arguments.results, lines)
        print(f"N={n}, {', '.join(some)}: {len(wanted)} cells, {len(lines)} rows", flush=True)


def batched(names: Sequence[str], size: int = 4) -> list[Sequence[str]]:
    """Tasks that are run together: more cells wait at once, so that fewer of the model's batches are part empty."""
    return [names[k : k + size] for k in range(0, len(names), size)]


def keep(name: str, where: str, repeat: int, n: int, trace: Trace) -> None:
    """Leave a trace in the cache."""
    x, values = trace.joined()
    (CACHE / "traces").mkdir(parents=True, exist_ok=True)
    file = CACHE / "traces" / f"{name}-{where}-{n}-{repeat}.npz"
    np.savez(file, x=x, sizes=trace.sizes, planning=trace.planning, nfe=trace.nfe, seconds=trace.seconds, **values)


def kept(file: Path) -> Trace:
    """A trace of the cache."""
    found = np.load(file)
    sizes, cuts = found["sizes"].tolist(), np.cumsum(found["sizes"])[:-1]
    names = [name for name in found.files if name in METRICS]
    columns = {name: np.split(found[name], cuts) for name in names}
    return Trace(
        np.split(found["x"], cuts),
        [{name: columns[name][i] for name in names} for i in range(len(sizes))],
        sizes,
        found["planning"].tolist(),
        found["nfe"].tolist() if "nfe" in found else [STEPS * size for size in sizes],
        found["seconds"].tolist() if "seconds" in found else [seconds(size) for size in sizes],
    )


def judge(path: Path, images: Images) -> None:
    """The rows of all traces in the cache, written again: which are valid, and what the bests are worth.

    Rows whose traces are not in the cache stay as they are.
    """
    files = [file for file in sorted((CACHE / "traces").glob("*.npz")) if file.stem.rsplit("-", 3)[0] in METHODS]
    latest: dict[tuple[str, ...], Mapping[str, Any]] = {_cell(row): row for row in read(path)}
    for start in range(0, len(files), 100):
        some = [(*file.stem.rsplit("-", 3), kept(file)) for file in files[start : start + 100]]
        images.of(np.concatenate([leading(name, where, int(n), trace) for name, where, n, _, trace in some]))
        for name, where, n, repeat, trace in some:
            latest |= {_cell(row): row for row in rows(name, where, int(repeat), int(n), trace, images)}
        images.kept.clear()
        print(f"{start + len(some)} of {len(files)} traces", flush=True)
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    append(new, list(latest.values()))
    new.replace(path)


def _cell(row: Mapping[str, Any]) -> tuple[str, ...]:
    """What a row is known by."""
    return tuple(str(row[name]) for name in ("method", "task", "budget", "repeat"))


def leading(name: str, where: str, ran: int, trace: Trace) -> Any:
    """Latents of the few rows that stand first at each budget, whose images are made in full batches."""
    made, (x, values) = task(where), trace.joined()
    bad = validity.outside(x) | _unknown(values)
    found = set[int]()
    for n in {n for _, *counts in prefixes(name, ran, trace) for n in counts if n}:
        judged = _penalty(made, {metric: column[:n] for metric, column in values.items()}, bad[:n])
        found |= set(made.objective.rank(judged)[:LOOKED].tolist())
    return x[sorted(found)]


def read(path: Path) -> list[dict[str, str]]:
    """Rows of the CSV, none when it is not there."""
    if not path.exists():
        return []
    with path.open(newline="") as handle:
        return list(csv.DictReader(handle))


def append(path: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    """Add rows; the latest of a cell is the one that counts."""
    new = not path.exists()
    with path.open("a", newline="") as handle:
        writer = csv.DictWriter(handle, FIELDS, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerows(lines)


def quick(path: Path) -> None:
    """Some cells again: the same best values as in the CSV. Needs no pool."""
    known = {(r["method"], r["task"], int(r["budget"]), int(r["repeat"])): float(r["best"]) for r in read(path)}
    images = Images(Model())
    for name, where in QUICK:
        made = run([(task(where), METHODS[name](task(where), 0, 50))], images)[0]
        best, was = worth_of(task(where), made.joined()[1], sum(made.sizes)), known[name, where, 50, 0]
        near = "ok" if abs(best - was) < 0.02 * abs(was) else "short"
        print(f"RESULT {name} on {where}, N=50, repeat 0: {best:.5f} committed:{was:.5f} {near}")


if __name__ == "__main__":
    main()
