"""What stopping hopeless rows half-way saves, and what searching costs beside generation.

The avatar model, 8 steps, guidance 1; N = 100 full generations, 800 network evaluations (NFE). The default search runs
from the same seed with whole trajectories, `optimize(total_trials=100)`, and with the planned checkpoint,
`optimize(budget=100)`. Objectives: those of `search/objectives.py` with one metric to optimise. Step and share were
chosen on the development half.

A cell (objective, repeat, with checkpoints or whole) is a row of `results/checkpoints.csv`; cells that are there are
passed over. Overheads are processor seconds of `optimize` less those of generator and score, over those of the
generator. Every line `RESULT name value goal ok|short`:

    share              NFE at which the checkpoints' median best reaches the whole search's final one, over 800; median
                       of the objectives
    difference         the checkpoints' mean best at 800 NFE less the whole search's, in standard deviations of plain
                       draws; the worst objective
    overhead_*         of the default search at N = 100 and 400, and with checkpoints; `_1s`: where an output takes 1 s

    python examples/benchmarks/checkpoints.py            # about 25 minutes of one idle core
    python examples/benchmarks/checkpoints.py --quick    # two cells again, compared with their rows; overheads at 100
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy and torch are imported

import numpy as np
import optuna
import torch

from surrogate_ax import Generated, Objective
from surrogate_ax.latents.bank import Bank
from surrogate_ax.latents.seeds import Draw
from surrogate_ax_diffusers import avatar_generator
from surrogate_ax_optuna import OptunaHost, SurrogateSampler, optimize

sys.path.insert(0, str(Path(__file__).parent / "search"))
from objectives import DEVELOPMENT, NAMES, Task, task

Array = np.ndarray
RESULTS = Path(__file__).parent / "results" / "checkpoints.csv"
FIELDS = ("objective", "repeat", "kind", "trials", "stopped", "best", "trace")
N, STEPS, BATCH, REPEATS = 100, 8, 16, 5
BUDGET = N * STEPS
GRID = np.arange(0.05, 1.001, 0.05) * BUDGET  # NFE of a trace


class Counted:
    """A generator that counts what it spends, and the processor time of it.

    Args:
        generator: can stop between steps.
    """

    def __init__(self, generator: Any) -> None:
        self._generator = generator
        self.spent, self.seconds = 0.0, 0.0
        self.prior, self.fingerprint, self.steps = generator.prior, generator.fingerprint, generator.steps

    def start(self, z: Any, conditions: Any, *, step: int = 0) -> Any:
        return self._generator.start(z, conditions, step=step)

    def select(self, states: Any, rows: Any) -> Any:
        return self._generator.select(states, rows)

    def latents(self, state: Any) -> Any:
        return self._generator.latents(state)

    def estimate(self, state: Any) -> Any:
        return self._generator.estimate(state)

    def nfe(self, state: Any) -> Array:
        return self._generator.nfe(state)

    def advance(self, state: Any, to: int) -> Any:
        clock = time.process_time()
        ahead = self._generator.advance(state, to)
        self.seconds += time.process_time() - clock
        self.spent += float((self._generator.nfe(ahead) - self._generator.nfe(state)).sum())
        return ahead

    def finish(self, state: Any) -> Generated:
        clock = time.process_time()
        generated = self._generator.finish(state)
        self.seconds += time.process_time() - clock
        self.spent += float((generated.nfe - self._generator.nfe(state)).sum())
        return generated

    def generate(self, z: Any, conditions: Any) -> Generated:
        return self.finish(self.start(z, conditions))


def new_study() -> optuna.Study:
    return optuna.create_study(direction="maximize", sampler=SurrogateSampler())


def wanted(n: int, *, stops: bool) -> dict[str, int]:
    """How much `optimize` is asked for."""
    return {"budget": n} if stops else {"total_trials": n}


def cell(name: str, repeat: int, kind: str, generator: Counted) -> dict[str, Any]:
    """A search until N full generations are spent, as a row of the CSV."""
    made, stops = task(name), kind == "checkpoints"
    study, trace = new_study(), list[tuple[float, float]]()
    generator.spent = 0.0

    def note(study: optuna.Study, _: Any) -> None:
        if trace and trace[-1][0] == generator.spent:  # called for every trial of a batch
            return
        history = OptunaHost(study, generator, made.objective).history()
        done = np.isfinite(made.objective.losses(history.values)).all(axis=1)  # the others were stopped
        worth = made.worth({metric: column[done] for metric, column in history.values.items()})
        trace.append((generator.spent, float(worth[-1]) if len(worth) else -np.inf))

    optimize(
        study, generator, made.objective, **wanted(N, stops=stops), rng=repeat, batch_size=BATCH, callbacks=[note],
        progress=False,
    )  # fmt: skip
    spent, best = np.array(trace).T
    at = [best[max(int(np.searchsorted(spent, nfe, side="right")) - 1, 0)] for nfe in GRID]
    stopped = np.mean([trial.state == optuna.trial.TrialState.PRUNED for trial in study.get_trials(deepcopy=False)])
    return {"objective": name, "repeat": repeat, "kind": kind, "trials": len(study.trials),
            "stopped": round(float(stopped), 3), "best": round(float(at[-1]), 6),
            "trace": " ".join(f"{value:.6g}" for value in at)}  # fmt: skip


def cells(repeats: int) -> Iterator[tuple[str, int, str]]:
    single = [name for name in NAMES if len(task(name).objective.optimised) == 1]
    for repeat in range(repeats):
        for name in single:
            yield from ((name, repeat, kind) for kind in ("checkpoints", "whole"))


def read(path: Path) -> dict[tuple[str, int, str], dict[str, str]]:
    """Rows by cell."""
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        return {(row["objective"], int(row["repeat"]), row["kind"]): row for row in csv.DictReader(file)}


def append(path: Path, row: dict[str, Any]) -> None:
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)


def spread(made: Task, images: Array) -> float:
    """Standard deviation of what plain draws are worth."""
    (metric,) = made.objective.optimised
    return float(made.values(images)[metric.name].std())


def plain(generator: Counted, n: int = 256) -> Array:
    """Images of n plain draws."""
    bank = Bank(generator.prior, [Draw(2**40, k) for k in range(n)])
    return np.concatenate(
        [generator.generate(bank.latents(np.eye(n)[k : k + 32]), [{}] * 32).outputs for k in range(0, n, 32)]
    )


def summarise(rows: dict[tuple[str, int, str], dict[str, str]], images: Array) -> None:
    """Lines for every objective, and the results."""
    shares, differences = dict[str, float](), dict[str, float]()
    for name in dict.fromkeys(name for name, _, _ in rows):
        pairs = [(row, rows[name, r, "whole"]) for (which, r, kind), row in rows.items()
                 if which == name and kind == "checkpoints" and (name, r, "whole") in rows]  # fmt: skip
        if not pairs:
            continue
        traces = np.array([[float(value) for value in row["trace"].split()] for row, _ in pairs])
        whole = np.array([float(row["best"]) for _, row in pairs])
        reached = GRID[np.median(traces, axis=0) >= np.median(whole)]
        shares[name] = float(reached[0] / BUDGET) if len(reached) else np.inf
        differences[name] = float((traces[:, -1].mean() - whole.mean()) / spread(task(name), images))
        stopped = np.mean([float(row["stopped"]) for row, _ in pairs])
        half = "development" if name in DEVELOPMENT else "held out"
        print(f"{name:12} {half:12} {len(pairs)} repeats: share {shares[name]:.2f}, difference "
              f"{differences[name]:+.2f}, stopped {stopped:.0%}", flush=True)  # fmt: skip
    report("share", float(np.median(list(shares.values()))), 0.6)
    report("difference", min(differences.values()), -0.1, at_least=True)


def overhead(n: int, generator: Counted, *, stops: bool) -> tuple[float, float]:
    """Processor seconds beside generator and score, and those of the generator."""
    base, scoring = task("symmetry").objective, [0.0]

    def score(images: Any, conditions: Sequence[Any]) -> Any:
        clock = time.process_time()
        values = base.score(images, conditions)
        scoring[0] += time.process_time() - clock
        return values

    objective, generator.seconds, clock = Objective(*base.metrics, score=score), 0.0, time.process_time()
    optimize(new_study(), generator, objective, **wanted(n, stops=stops), rng=0, batch_size=BATCH, progress=False)
    return time.process_time() - clock - generator.seconds - scoring[0], generator.seconds


def report_overhead(generator: Counted, *, quick: bool) -> None:
    generator.generate(Bank(generator.prior, [Draw(0, 0)]).latents(np.eye(1)), [{}])  # the first call is slower
    runs = ("100", N, False, 0.1), ("100_checkpoints", N, True, 0.1)
    for name, n, stops, goal in (*runs, ("400", 400, False, 0.15), ("400_checkpoints", 400, True, 0.15)):
        if quick and n > N:
            continue
        beside, generating = overhead(n, generator, stops=stops)
        report(f"overhead_{name}", beside / generating, goal)
        if n == N:
            report(f"overhead_{name}_1s", beside / n, 0.01)


def report(name: str, value: float, goal: float, *, at_least: bool = False) -> None:
    met = value >= goal if at_least else value <= goal
    print(f"RESULT {name} {value:.4g} {'>=' if at_least else '<='}{goal:g} {'ok' if met else 'short'}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--only", choices=("cells", "overheads"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    generator = Counted(avatar_generator("happy mouth", steps=STEPS, guidance=1.0, revision="benchmark"))
    done = read(arguments.results)
    if arguments.quick:
        for key in [("symmetry", 0, kind) for kind in ("checkpoints", "whole")]:
            again, was = cell(*key, generator)["best"], float(done[key]["best"])
            near = "ok" if abs(again - was) < 0.02 * abs(was) else "short"
            print(f"RESULT {' '.join(map(str, key))} {again} committed:{was} {near}", flush=True)
    elif arguments.only != "overheads":
        for key in cells(arguments.repeats):
            if key not in done:
                append(arguments.results, cell(*key, generator))
                print("done", *key, flush=True)
        summarise(read(arguments.results), plain(generator))
    if arguments.only != "cells":
        report_overhead(generator, quick=arguments.quick)


if __name__ == "__main__":
    main()
