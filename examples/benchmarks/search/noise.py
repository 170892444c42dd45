"""What a search comes to when scores vary: the true value of what it reports, and how much it claims for it.

Objectives of `synthetic.py`, N = 100 evaluations, 24 runs a cell; noise and values in standard deviations of plain
draws. "declared" knows the noise (`Metric(noise=sd)`), "unknown" knows that there is some, "as if none" searches and
reports by what was measured, as other methods do. Runs are those of other seeds than settings were chosen on.

    python examples/benchmarks/search/noise.py            # noise 0, .5, 1, 2; goes on where it was broken off
    python examples/benchmarks/search/noise.py --quick    # noise 0 and 1, 4 runs, nothing kept
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from synthetic import KINDS, PRIOR, D, Score, latents, objective, search

from surrogate_ax import Metric, Objective, plan
from surrogate_ax.policies.noisy import settled_record

Array = np.ndarray
FILE, N, RUNS, FIRST = Path(__file__).parent / "noise.csv", 100, 24, 1000
FIELDS = ("noise", "method", "run", "reported", "best", "claimed")
SHARE, CLAIM = 0.8, 0.3  # of the noiseless gain; between claim and truth


def ours(score: Score, true: Score, run: int, metric: Metric) -> tuple[float, float, float]:
    """True value of the reported best, of the best row, and what is claimed."""
    policy = plan(N, dim=D, noisy=metric.noise is not None).policy(PRIOR)
    history = settled_record(search(policy, score, N, run, metric))
    values, best = true(latents(history.terms)), history.order[0]
    return float(values[best]), float(values.max()), float((history.expected or history.values)["score"][best])


def peer(name: str, score: Score, true: Score, run: int) -> tuple[float, float, float]:
    """The same of another method, which reports the best that it measured."""
    from objectives import Task
    from peers import PEERS, ask, starts

    task = Task("score", Objective(Metric("score"), score=lambda x, _: x))
    asking = ask(starts(run)[:N]) if name == "best of 100" else PEERS[name](task, run, N)
    x, measured, wanted = np.zeros((0, D)), np.zeros(0), next(asking, None)
    while wanted is not None and len(x) < N:
        found = score(wanted)
        x, measured = np.vstack([x, wanted]), np.append(measured, found)
        try:
            wanted = asking.send({"score": found})
        except StopIteration:
            wanted = None
    values, best = true(x[:N]), int(np.argmax(measured[:N]))
    return float(values[best]), float(values.max()), float(measured[best])


def methods(noise: float) -> dict[str, Callable[[Score, Score, int], tuple[float, float, float]]]:
    """What is compared at a level of noise."""
    found = {"as if none": lambda score, true, run: ours(score, true, run, Metric("score"))}
    if noise:
        found["declared"] = lambda score, true, run: ours(score, true, run, Metric("score", noise=noise))
        found["unknown"] = lambda score, true, run: ours(score, true, run, Metric("score", noise="unknown"))
    for name in ("recombination ES", "sep-CMA-ES", "best of 100"):
        found[name] = lambda score, true, run, name=name: peer(name, score, true, run)
    return found


def varying(true: Score, noise: float, run: int) -> Score:
    """Scores with noise."""
    random = np.random.default_rng([run, 1])
    return lambda x: true(x) + noise * random.standard_normal(len(x))


def measure(
    noise: float, runs: range, done: set[tuple[str, str, str]], keep: Callable[[dict[str, object]], None]
) -> None:
    """Run what is not there yet."""
    for run in runs:
        true = objective(run % KINDS, FIRST + run)
        for name, method in methods(noise).items():
            if (f"{noise:g}", name, str(run)) in done:
                continue
            found = method(varying(true, noise, run), true, FIRST + run)
            keep(dict(zip(FIELDS, (f"{noise:g}", name, run, *(f"{value:.4f}" for value in found)), strict=True)))


def report(rows: list[dict[str, str]]) -> None:
    """Tables, and whether the goals are met."""
    cells: dict[tuple[str, str], Array] = {}
    for noise, name in dict.fromkeys((row["noise"], row["method"]) for row in rows):
        picked = [row for row in rows if (row["noise"], row["method"]) == (noise, name)]
        cells[noise, name] = np.array([[float(row[key]) for key in FIELDS[3:]] for row in picked])
    print("# noise  method             reported  ± s.e.  best row  claimed")
    for (noise, name), found in cells.items():
        mean, error = found.mean(axis=0), float(found[:, 0].std() / np.sqrt(len(found)))
        print(f"# {noise:5}  {name:17} {mean[0]:9.2f} {error:7.2f} {mean[1]:9.2f} {mean[2]:8.2f}")
    declared, quiet = cells["1", "declared"], cells["0", "as if none"]
    share = float(declared[:, 0].mean() / quiet[:, 0].mean())
    claim = float(np.abs((declared[:, 2] - declared[:, 0]).mean()))
    print(f"RESULT noise_1_share_of_noiseless {share:.2f} {SHARE} {'ok' if share >= SHARE else 'short'}")
    print(f"RESULT noise_1_claim_off {claim:.2f} {CLAIM} {'ok' if claim <= CLAIM else 'short'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, str]] = []
    if options.quick:
        for noise in (0.0, 1.0):
            measure(noise, range(4), set(), lambda row: rows.append({k: str(v) for k, v in row.items()}))
        report(rows)
        return
    if FILE.exists():
        with FILE.open(newline="") as file:
            rows = list(csv.DictReader(file))
    done = {(row["noise"], row["method"], row["run"]) for row in rows}
    with FILE.open("a", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        if not rows:
            writer.writeheader()

        def keep(row: dict[str, object]) -> None:
            writer.writerow(row)
            file.flush()
            rows.append({k: str(v) for k, v in row.items()})

        for noise in (1.0, 0.0, 0.5, 2.0):
            measure(noise, range(RUNS), done, keep)
    report(rows)


if __name__ == "__main__":
    main()
