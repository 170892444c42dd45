"""Few steps first: a search of outputs of 4 steps whose best go over to 24, against a search of 24 from the start.

    python fidelity.py                  cells that are in fidelity.csv are passed over: about an hour
    python fidelity.py --table          what is in the file
    python fidelity.py --quick          one cell again, compared with its row

The avatar model, six objectives of one metric. Each way ends with outputs of 24 steps, and its best among them counts:

    full        100 evaluations of 24 steps
    few         40 evaluations of 24 steps: what a user would do who has as much
    rendered    100 evaluations of 4 steps; the best 20 are made again with 24
    warm        100 evaluations of 4 steps; a search of 20 with 24, `warm=` of the first

in network evaluations 2,400, 960, 880 and 880. Differences are in standard deviations of 1,000 plain draws of 24 steps.
"""

from __future__ import annotations

import argparse
import csv
import os
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy and torch are imported

import numpy as np
import optuna
import torch
from embedded import PROMPT
from objectives import NAMES, task

from surrogate_ax.latents import Bank, Draw
from surrogate_ax_diffusers import PipelineGenerator, avatar_generator
from surrogate_ax_optuna import SurrogateSampler, create_study, optimize, read_record

FEW, ALL, N, LAST, AT_ONCE = 4, 24, 100, 20, 20
SEEDS, PLAIN, SHARE = range(200, 205), 1000, 0.4
TASKS = tuple(name for name in NAMES if len(task(name).objective.optimised) == 1 and name != "constrained")
ROWS = Path(__file__).parent / "fidelity.csv"
FIELDS = ("task", "repeat", "way", "best", "nfe", "seconds")


@cache
def generator(steps: int) -> PipelineGenerator:
    return avatar_generator(PROMPT, steps=steps, guidance=1.0, revision="benchmark")


def searched(name: str, steps: int, total: int, seed: int, warm: Any = ()) -> optuna.Study:
    """A planned search of whole outputs."""
    objective = task(name).objective
    study = create_study(objective, sampler=SurrogateSampler(seed=seed))
    options = {"total_trials": total, "batch_size": AT_ONCE, "rng": seed, "progress": False}
    optimize(study, generator(steps), objective, **options, **({"warm": list(warm)} if warm else {}))
    return study


def rendered(name: str, study: optuna.Study) -> float:
    """The best of what a search found, made again with all steps."""
    history = read_record(study).history
    losses = task(name).objective.losses({key: np.asarray(values) for key, values in history.values.items()})[:, 0]
    chosen = [history.terms[i] for i in np.argsort(losses)[:LAST]]
    bank = Bank(generator(ALL).prior).extend([seed for terms in chosen for seed, _ in terms])
    made = generator(ALL).generate(bank.latents(bank.rows(chosen)), [{}] * len(chosen))
    return float(task(name).worth(task(name).values(np.stack(list(made.outputs))))[-1])


def best(study: optuna.Study) -> float:
    values = [trial.value for trial in study.trials if trial.value is not None]
    return max(values)


def ways(name: str, seed: int) -> dict[str, tuple[float, int, float]]:
    """The best, network evaluations and seconds of each way."""
    found: dict[str, tuple[float, int, float]] = {}

    def timed(way: str, nfe: int, run: Callable[[], float], before: float = 0.0) -> None:
        clock = time.process_time()
        value = run()
        found[way] = (value, nfe, before + time.process_time() - clock)

    clock = time.process_time()
    first = searched(name, FEW, N, seed)
    spent = time.process_time() - clock
    timed("rendered", N * FEW + LAST * ALL, lambda: rendered(name, first), spent)
    timed("warm", N * FEW + LAST * ALL, lambda: best(searched(name, ALL, LAST, seed + 1000, [first])), spent)
    timed("few", round(SHARE * N) * ALL, lambda: best(searched(name, ALL, round(SHARE * N), seed)))
    timed("full", N * ALL, lambda: best(searched(name, ALL, N, seed)))
    return found


@cache
def spread() -> dict[str, float]:
    """Standard deviations of plain draws of 24 steps."""
    bank = Bank(generator(ALL).prior, [Draw(5, i) for i in range(PLAIN)])
    images = [
        output
        for at in range(0, PLAIN, AT_ONCE)
        for output in generator(ALL).generate(bank.latents(np.eye(PLAIN)[at : at + AT_ONCE]), [{}] * AT_ONCE).outputs
    ]
    return {name: float(next(iter(task(name).values(np.stack(images)).values())).std()) for name in TASKS}


def read() -> list[dict[str, str]]:
    if not ROWS.exists():
        return []
    with ROWS.open(newline="") as file:
        return list(csv.DictReader(file))


def measure() -> None:
    done = {(row["task"], int(row["repeat"])) for row in read()}
    if not any(row["way"] == "sd" for row in read()):
        append(
            [
                {"task": name, "repeat": -1, "way": "sd", "best": value, "nfe": "", "seconds": ""}
                for name, value in spread().items()
            ]
        )
    for seed in SEEDS:
        for name in TASKS:
            if (name, seed) not in done:
                append(
                    [
                        {
                            "task": name,
                            "repeat": seed,
                            "way": way,
                            "best": round(value, 6),
                            "nfe": nfe,
                            "seconds": round(s, 2),
                        }
                        for way, (value, nfe, s) in ways(name, seed).items()
                    ]
                )


def append(rows: list[dict[str, Any]]) -> None:
    new = not ROWS.exists()
    with ROWS.open("a", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerows(rows)


def table() -> None:
    rows = read()
    sd = {row["task"]: float(row["best"]) for row in rows if row["way"] == "sd"}
    found = {(row["way"], row["task"], row["repeat"]): float(row["best"]) for row in rows if row["way"] != "sd"}
    print("median over repeats of the best less that of the full search, in standard deviations of plain draws")
    print("way      ", *(f"{name:>12}" for name in TASKS), "    all cells")
    for way in ("few", "rendered", "warm"):
        gains = {
            name: [
                (value - found["full", name, repeat]) / sd[name]
                for (w, n, repeat), value in found.items()
                if (w, n) == (way, name)
            ]
            for name in TASKS
        }
        every = [gain for values in gains.values() for gain in values]
        shown = (f"{np.median(values):+12.2f}" if values else f"{'not run':>12}" for values in gains.values())
        print(f"{way:9}", *shown, f"{np.median(every):+10.2f}   n = {len(every)}")
        if way != "few":
            print(
                f"RESULT fidelity_{way}_median {np.median(every):.3f} >=0 {'ok' if np.median(every) >= 0 else 'short'}"
            )
    share = (N * FEW + LAST * ALL) / (N * ALL)
    print(f"RESULT fidelity_nfe_share {share:.3f} <={SHARE:g} {'ok' if share <= SHARE else 'short'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", action="store_true", help="print what is in the file")
    parser.add_argument("--quick", action="store_true", help="one cell anew, which has to come out as in the file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if arguments.quick:
        known = {
            row["way"]: float(row["best"])
            for row in read()
            if (row["task"], row["repeat"]) == (TASKS[0], str(SEEDS[0]))
        }
        sd = next(float(row["best"]) for row in read() if (row["way"], row["task"]) == ("sd", TASKS[0]))
        for way, (value, _, _) in ways(TASKS[0], SEEDS[0]).items():
            apart = abs(value - known[way]) / sd
            print(f"RESULT fidelity_again_{way} {apart:.3g} <=0.5 {'ok' if apart <= 0.5 else 'short'}")
        return
    if not arguments.table:
        measure()
    table()


if __name__ == "__main__":
    main()
