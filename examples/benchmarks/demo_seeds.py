"""Does the demo's search beat plain draws? Twenty seeds, both sides at the same NFE, with the demo's own settings.

Run `python examples/benchmarks/demo_seeds.py`. Finished seeds are kept in results/demo_seeds.csv and passed over, so it
goes on where it was stopped; the committed file holds all twenty. Prints a table and

    RESULT demo_wins <seeds on which the search's best is nearer to the palette> 16 ok|short

With --quick it computes two of the committed seeds again and compares them:

    RESULT demo_seeds_repeat <greatest difference of a best distance> 0.001 ok|short
"""

import argparse
import csv
import statistics
import sys
from pathlib import Path

from surrogate_ax_cli.demo import PLAIN, SEARCH, Settings, portraits, run, summarise
from surrogate_ax_cli.terminal import optuna_quiet

SEEDS, GOAL = range(20), 16
QUICK, TOLERANCE = (3, 14), 1e-3
RESULTS = Path(__file__).with_name("results") / "demo_seeds.csv"
COLUMNS = ("seed", "weights", *(f"{side}_{what}" for side in ("search", "plain") for what in ("best", "median", "nfe")))


def measure(generator, seed: int) -> dict[str, str]:
    """One row of the results."""
    studies = run(generator, Settings(seed=seed))
    row = {"seed": str(seed), "weights": generator.fingerprint["weights"]}
    for side, study in zip(("search", "plain"), studies, strict=True):
        summary = summarise(study)
        row |= {f"{side}_best": f"{summary.best:.6f}", f"{side}_median": f"{summary.median:.6f}"}
        row[f"{side}_nfe"] = str(summary.nfe)
    return row


def read(path: Path, weights: str) -> dict[int, dict[str, str]]:
    """Finished rows by seed; none may come from another model."""
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        rows = {int(row["seed"]): row for row in csv.DictReader(file)}
    other = sorted(seed for seed, row in rows.items() if row["weights"] != weights)
    if other:
        sys.exit(f"{path}: seeds {other} were measured on other weights. Delete the file to measure them again.")
    return rows


def write(path: Path, rows: dict[int, dict[str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows[seed] for seed in sorted(rows))


def show(rows: dict[int, dict[str, str]]) -> int:
    """Print the table; how many seeds the search won."""
    print(f"{'seed':>6}{SEARCH:>10}{PLAIN:>13}{'closer by':>11}")
    gains = []
    for seed, row in sorted(rows.items()):
        search, plain = float(row["search_best"]), float(row["plain_best"])
        gains.append(1 - search / plain)
        print(f"{seed:6}{search:10.4f}{plain:13.4f}{gains[-1]:11.1%}")
    best = [statistics.median(float(row[f"{side}_best"]) for row in rows.values()) for side in ("search", "plain")]
    print(f"median{best[0]:10.4f}{best[1]:13.4f}{statistics.median(gains):11.1%}")
    return sum(gain > 0 for gain in gains)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="compute two committed seeds again and compare")
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    generator = portraits(Settings().prompt)
    rows = read(arguments.results, generator.fingerprint["weights"])
    with optuna_quiet():
        if arguments.quick:
            again = [measure(generator, seed) for seed in QUICK]
            keys = ("search_best", "plain_best")
            worst = max(abs(float(row[key]) - float(rows[int(row["seed"])][key])) for row in again for key in keys)
            verdict = "ok" if worst <= TOLERANCE else "short"
            print(f"RESULT demo_seeds_repeat {worst:.6f} {TOLERANCE} {verdict}")
        else:
            for seed in (seed for seed in SEEDS if seed not in rows):
                rows[seed] = measure(generator, seed)
                write(arguments.results, rows)
                print(f"seed {seed} done", file=sys.stderr)
            wins = show(rows)
            verdict = "ok" if wins >= GOAL else "short"
            print(f"RESULT demo_wins {wins} {GOAL} {verdict}")
    sys.exit(verdict != "ok")


if __name__ == "__main__":
    main()
