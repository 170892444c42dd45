"""What scoring a batch while the next one is generated gains, over the plain loop.

The avatar model, 8 steps, 12 batches of 8 in a fixed box, one thread of torch, and scores that take as long as
generation: one in pure Python, which needs a process of its own (`SubprocessScore`), and one that leaves the
interpreter to others while it works (zlib), for which the thread of `optimize(overlap=True)` suffices. How much work a
score does is fitted first, on this machine. Then plain and overlapped searches take turns, so that a busy machine slows
both alike.
Of m batches m + 1 steps remain of 2m: the most that can be gained is 1.85, on two cores that have nothing else to do.
Every line `RESULT name value goal ok|short`:

    overlap_process_gain        trials a second with overlap and a process over the plain loop, the score pure Python
    overlap_thread_gain         the same with overlap alone, the score outside of the interpreter
    overlap_<part>_difference   the largest difference between a value of one and the same trial's of the other

    python examples/benchmarks/overlap.py            # 9 pairs of each; goes on with results/overlap.csv: some minutes
    python examples/benchmarks/overlap.py --quick    # 3 pairs of each: a minute

Lines that begin with `#` give each pair, with the load of the machine.
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy and torch are imported

import numpy as np

GOAL, STEPS, BATCH, BATCHES = 1.5, 8, 8, 12
WORK = "OVERLAP_WORK"  # how often the scores repeat themselves, in the environment of their process
RESULTS = Path(__file__).parent / "results" / "overlap.csv"
Score = Callable[[Any, Sequence[Any]], list[float]]
Row = dict[str, Any]


def bright_rows(images: Any, conditions: Sequence[Any]) -> list[float]:
    """The largest brightness of a row less the least, in pure Python."""
    values = []
    for rows in np.asarray(images).mean(axis=3).tolist():
        for _ in range(int(os.environ[WORK])):
            sums = []
            for row in rows:
                total = 0.0
                for pixel in row:
                    total += pixel
                sums.append(total / len(row))
        values.append(max(sums) - min(sums))
    return values


def simplicity(images: Any, conditions: Sequence[Any]) -> list[float]:
    """How well a picture can be compressed, which zlib does without holding the interpreter."""
    values = []
    for image in (np.asarray(images) * 255).astype(np.uint8):
        large = image.repeat(16, axis=0).repeat(16, axis=1).tobytes()
        for _ in range(int(os.environ[WORK])):
            packed = zlib.compress(large, 6)
        values.append(-float(len(packed)))
    return values


def seconds(run: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    start = clock()
    run()
    return clock() - start


def fit(generator: Any, score: Score) -> None:
    """Let the score of a batch take as long as its generation: in processor time, which a busy machine leaves alone."""
    import torch

    z, conditions = {"latents": torch.randn(BATCH, *generator.prior.shapes["latents"])}, [{}] * BATCH
    images = generator.generate(z, conditions).outputs  # the first call of a process is slower than the others
    runs: tuple[Callable[[], object], ...]
    runs = (lambda: generator.generate(z, conditions), lambda: score(images, conditions))
    work = 4.0
    for _ in range(3):  # again with what was found: a short score is mostly what does not repeat itself
        os.environ[WORK] = str(max(1, round(work)))
        pairs = [[seconds(run, time.process_time) for run in runs] for _ in range(5)]
        made, scored = (statistics.median(column) for column in zip(*pairs, strict=True))
        work *= made / scored
    print(f"# a batch takes {made:.3f} s of processor time to generate, {scored:.3f} s to score", flush=True)


def search(generator: Any, score: Any, *, overlap: bool) -> tuple[float, list[float]]:
    """Seconds a trial, and the values."""
    import optuna

    from surrogate_ax import Metric, Objective, SurrogateSpace
    from surrogate_ax_optuna import optimize

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    space = SurrogateSpace.sample(generator.prior, seeds=8, rng=0)
    objective, trials = Objective(Metric("score", "maximize"), score=score), BATCH * BATCHES
    options: dict[str, Any] = {"space": space, "batch_size": BATCH, "rng": 0, "progress": False}
    spent = seconds(lambda: optimize(study, generator, objective, total_trials=trials, overlap=overlap, **options))
    return spent / trials, [trial.value for trial in study.trials]


def compare(
    name: str,
    generator: Any,
    score: Score,
    apart: Callable[[], AbstractContextManager[Any]],
    pairs: int,
    rows: list[Row],
) -> Iterator[Row]:
    """Plain and overlapped searches in turn, until there are `pairs` of them; each as it is done."""
    fit(generator, score)
    for pair in range(sum(row["part"] == name for row in rows), pairs):
        plain, values = search(generator, score, overlap=False)
        with apart() as theirs:
            ours, same = search(generator, theirs, overlap=True)
        load, difference = os.getloadavg()[0], float(np.abs(np.subtract(values, same)).max())
        print(f"# {name} {pair}: {plain * 1e3:.1f} and {ours * 1e3:.1f} ms a trial, load {load:.1f}", flush=True)
        yield {"part": name, "plain_ms": plain * 1e3, "overlap_ms": ours * 1e3, "load": load, "difference": difference}


def report(name: str, rows: Sequence[Row]) -> None:
    rows = [row for row in rows if row["part"] == name]
    gain = statistics.median(row["plain_ms"] / row["overlap_ms"] for row in rows)
    print(f"RESULT overlap_{name}_gain {gain:.3f} >={GOAL:g} {'ok' if gain >= GOAL else 'short'}", flush=True)
    worst = max(row["difference"] for row in rows)
    print(f"RESULT overlap_{name}_difference {worst:.1e} <=1e-06 {'ok' if worst <= 1e-6 else 'short'}", flush=True)


def read() -> list[Row]:
    """Pairs of earlier runs."""
    if not RESULTS.exists():
        return []
    with RESULTS.open(newline="") as file:
        return [{k: v if k == "part" else float(v) for k, v in row.items()} for row in csv.DictReader(file)]


def append(row: Row) -> None:
    new = not RESULTS.exists()
    with RESULTS.open("a", newline="") as file:
        writer = csv.DictWriter(file, row.keys())
        if new:
            writer.writeheader()
        writer.writerow({k: v if k == "part" else f"{v:.3g}" for k, v in row.items()})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer pairs, and no file")
    parser.add_argument("--only", choices=("process", "thread"), help="one part")
    arguments = parser.parse_args()

    import optuna
    import torch

    from surrogate_ax import SubprocessScore
    from surrogate_ax_diffusers import avatar_generator

    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    print(f"# {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, torch {torch.__version__}, one thread")
    generator = avatar_generator(prompt="red hat, dark glasses", steps=STEPS)
    folder = Path(__file__).parent
    parts: dict[str, tuple[Score, Callable[[], AbstractContextManager[Any]]]] = {
        "process": (bright_rows, lambda: SubprocessScore("overlap:bright_rows", folder=folder)),
        "thread": (simplicity, lambda: nullcontext(simplicity)),
    }
    pairs, rows = (3, []) if arguments.quick else (9, read())
    for name, (score, apart) in parts.items():
        if arguments.only not in (None, name):
            continue
        for row in compare(name, generator, score, apart, pairs, rows):
            rows.append(row)
            if not arguments.quick:
                append(row)
        report(name, rows)


if __name__ == "__main__":
    main()
