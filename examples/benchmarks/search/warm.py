"""What earlier searches are worth: the best after 25 and 50 evaluations, begun cold and with what another search found.

The earlier search had 100 evaluations of an objective whose scores of plain draws correlate by ρ with the present one.
Each search is planned for its own budget. Values in standard deviations of plain draws; runs are those of other seeds
than settings were chosen on. `--avatars`: the embedded model, another prompt and objective than before.

    python examples/benchmarks/search/warm.py             # ρ .9, .7, .5, .3, 0, 24 runs each; goes on where broken off
    python examples/benchmarks/search/warm.py --avatars   # palette and symmetry under another prompt
    python examples/benchmarks/search/warm.py --quick     # 4 runs of ρ .7 and .3, nothing kept
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from synthetic import KINDS, PRIOR, D, Score, objective, related, search

from surrogate_ax import plan
from surrogate_ax.policies.targets import gp_targets
from surrogate_ax.policies.warm import taken

Array = np.ndarray
FILE, RUNS, FIRST, OLD = Path(__file__).parent / "warm.csv", 24, 1000, 100
BUDGETS = (25, 50)
FIELDS = ("objective", "rho", "run", "cold25", "cold50", "warm25", "warm50")
AVATARS, BEFORE, NOW = ("palette", "symmetry"), "happy mouth, black hair", "sad mouth, blond hair"
LOSS = -0.1  # that is not more than noise, for an earlier search that is worth little


def bests(old: Score, new: Score, run: int) -> list[float]:
    """Best of cold and of warm searches, by budget."""
    before = search(plan(OLD, dim=D).policy(PRIOR), old, OLD, run)
    source = taken(before, gp_targets(before), "before")
    found = []
    for sources in ([], [source]):
        for budget in BUDGETS:
            policy = plan(budget, dim=D).policy(PRIOR, sources=sources)
            found.append(float(search(policy, new, budget, run + 5000).values["score"].max()))
    return found


def synthetic_run(rho: float, run: int) -> list[float]:
    """One run of two objectives that correlate by ρ."""
    old = objective(run % KINDS, FIRST + run)
    return bests(old, related(old, run % KINDS, FIRST + run, rho), FIRST + run)


def avatar_scores(name: str) -> tuple[Score, Score, float]:
    """An objective under two prompts in deviations of 64 plain draws, and the correlation of the two over these."""
    import objectives

    from surrogate_ax_diffusers import avatar_generator

    judged, scores = objectives.task(name), []
    for prompt in (BEFORE, NOW):
        generator = avatar_generator(prompt, steps=8, guidance=1.0, revision="benchmark")

        def raw(x: Array, generator: object = generator) -> Array:
            z = generator.prior.from_inner(torch.from_numpy(np.asarray(x, dtype=np.float32)))  # type: ignore[attr-defined]
            images = generator.generate(z, [{}] * len(x)).outputs  # type: ignore[attr-defined]
            return np.asarray(judged.values(np.asarray(images))[name])

        scores.append(raw)
    draws = np.random.default_rng(0).standard_normal((64, D))
    plain = [raw(draws) for raw in scores]
    old, new = (
        lambda x, raw=raw, values=values: (raw(x) - values.mean()) / values.std()
        for raw, values in zip(scores, plain, strict=True)
    )
    return old, new, float(np.corrcoef(plain)[0, 1])


def report(rows: list[dict[str, str]]) -> None:
    """Tables, and whether the goals are met."""
    print("# objective  rho   runs  cold 25 / 50   warm 25 / 50   warm 25 - cold 50 ± s.e.")
    for name, rho in dict.fromkeys((row["objective"], row["rho"]) for row in rows):
        picked = [row for row in rows if (row["objective"], row["rho"]) == (name, rho)]
        found = np.array([[float(row[key]) for key in FIELDS[3:]] for row in picked])
        cold25, cold50, warm25, warm50 = found.mean(axis=0)
        ahead, error = found[:, 2] - found[:, 1], float((found[:, 2] - found[:, 1]).std() / np.sqrt(len(found)))
        print(
            f"# {name:10} {rho:>5} {len(found):5}  {cold25:5.2f} / {cold50:5.2f}  {warm25:5.2f} / {warm50:5.2f}"
            f"  {ahead.mean():.2f} ± {error:.2f}"
        )
        if name == "synthetic" and float(rho) >= 0.7:
            met = "ok" if ahead.mean() >= 0 else "short"
            print(f"RESULT warm_{rho}_25_over_cold_50 {ahead.mean():.2f} 0 {met}")
        if name == "synthetic" and float(rho) <= 0.3:
            least = min(warm25 - cold25, warm50 - cold50)
            print(f"RESULT warm_{rho}_over_cold {least:.2f} {LOSS} {'ok' if least >= LOSS else 'short'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--avatars", action="store_true")
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--rho", type=float, nargs="+", default=[0.7, 0.3, 0.9, 0.5, 0.0])
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, str]] = []
    if not options.quick and FILE.exists():
        with FILE.open(newline="") as file:
            rows = list(csv.DictReader(file))

    def keep(*row: object) -> None:
        rows.append(dict(zip(FIELDS, map(str, row), strict=True)))
        if not options.quick:
            new = not FILE.exists()
            with FILE.open("a", newline="") as file:
                writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
                if new:
                    writer.writeheader()
                writer.writerow(rows[-1])

    def run(name: str, rho: str, i: int, one: Callable[[int], list[float]]) -> None:
        if not any((row["objective"], row["rho"], row["run"]) == (name, rho, str(i)) for row in rows):
            keep(name, rho, i, *(f"{value:.4f}" for value in one(i)))

    if options.avatars:
        for name in AVATARS:
            old, new, rho = avatar_scores(name)
            for i in range(options.runs):
                run(name, f"{rho:.2f}", i, lambda i, old=old, new=new: bests(old, new, FIRST + i))
    else:
        for i in range(4 if options.quick else options.runs):
            for rho in (0.7, 0.3) if options.quick else options.rho:
                run("synthetic", f"{rho:g}", i, lambda i, rho=rho: synthetic_run(rho, i))
    report(rows)


if __name__ == "__main__":
    main()
