"""What hosts' own samplers find where they propose, as RESULT lines and drives.md, from results.csv.

    python report_drives.py

A cell is an objective and a repeat; everything in a comparison began with the same draws and is compared in pairs.
Equivalents are those of `report`: plain draws whose median best reaches a value, over N, at most 20,000 / N.
"""

from __future__ import annotations

import numpy as np
import report
from drives import HOSTS, O3_BOX, RANDOM_BOX, STOPPING
from objectives import DEVELOPMENT, HELD_OUT, NAMES
from report import Table, say, value
from run import BUDGETS, HERE, OURS, WHOLE
from scipy import stats

Array = np.ndarray
Cell = tuple[str, int]  # (objective, repeat)
RUN_AS = {f"TPE{O3_BOX}": "O3 + TPE", f"GP{O3_BOX}": "O3 + GP"}  # the same, run under these names before
NO_WORSE = -0.4  # of the log ratio of equivalents
EVEN = "TPE drives"  # whose points are evenly drawn in rounds as short as these
HEAD = """# Who proposes: hosts' own samplers

Made by `python run.py` and `python report_drives.py`. The embedded model, objectives, validity and equivalents are
those of [results.md](results.md). "TPE drives" is Optuna's TPESampler in `moving_boxes`: the planned draws, then rounds
in a new box each, where the sampler begins anew. "In one O3 box" is the same sampler in the box over the best of N / 2
draws, "in one random box" in a box over 8 draws. "With early stopping" a quarter of each round goes on behind step 3 of
8. CmaEsSampler refuses two objectives, so it has seven of the eight.

A whole round is asked before any of it is told. So a sampler that begins anew in a box has nothing to learn from there.
TPE and GP draw evenly, since their `n_startup_trials` is 10 and a round has 8, and begun with one seed they draw the
same points: their rows are one and the same search. CMA-ES draws its first generation, around the middle of the box. So
these figures say what the boxes are worth, and whether it matters how points are spread in them.

Settings, on the development half with four other seeds and evenly drawn points, N = 50, geometric mean of 16 cells'
equivalents: as planned (16 draws, rounds of 8, K = 8) 31, the planned search 28, K = 4 20, 8 draws 16, 14 draws and
rounds of 6 22, half of each round exact proposals 40. The log ratios to the planned search have standard errors of .37
to .56, so none of the differences is sure, and the plan stayed as it was.

Cells of N = 400, early stopping at N = 100 and most random boxes were run on another machine than the rest; fourteen
cells run on both have the same bests to 4e-6, but their times are not comparable.
"""

JUDGED = "A best counts when it is valid, as in results.md.\n"
UNJUDGED = (
    "Bests of some rows were not compared with plain draws yet (`run.py --judge` does it), so all methods are compared "
    "by\ntheir best values as they are, whether valid or not; the share outside the band is of latents.\n"
)
PUBLISHED = "Equivalents are read off the tables of results.md, interpolated between their cells, not off a pool.\n"


def cells(found: Table, method: str, budget: int) -> dict[Cell, float]:
    """Best values by objective and repeat: of valid rows, or of all where some were not judged (`has_judged`)."""
    name, column = RUN_AS.get(method, method), "best_inside" if has_judged(found) else "best"
    return {
        (task, repeat): value(row, column)
        for task in NAMES
        for repeat, row in found.get((name, task, budget), {}).items()
    }


def has_judged(found: Table) -> bool:
    """Whether the bests of all rows were compared with plain draws."""
    return all(row["far"] != "" for rows in found.values() for row in rows.values())


def ahead(found: Table, budget: int, mine: str, rival: str) -> Array:
    """What `mine` is ahead in every cell that both have, in standard deviations of what both found there."""
    own, theirs = cells(found, mine, budget), cells(found, rival, budget)
    common, differences = own.keys() & theirs.keys(), list[float]()
    for name in NAMES:
        here = sorted(cell for cell in common if cell[0] == name)
        every = np.array([of[cell] for cell in here for of in (own, theirs)])
        spread = float(np.std(every[np.isfinite(every)])) if np.isfinite(every).any() else 1.0
        differences += [(own[cell] - theirs[cell]) / max(spread, 1e-12) for cell in here]
    return np.array([x for x in differences if not np.isnan(x)])  # NaN: neither found anything


def equivalents(found: Table, method: str, budget: int) -> dict[Cell, float]:
    """Best-of-N equivalents by objective and repeat; the least, 1 / N, where nothing valid was found."""
    return {
        cell: max(report.draws_to_match(cell[0], best), 1.0) / budget if np.isfinite(best) else 1.0 / budget
        for cell, best in cells(found, method, budget).items()
    }


def ranked(found: Table, budget: int, host: str) -> list[str]:
    """A host in boxes that move against the same in one box: ranks of the three, and a test against each other."""
    drives, peers = f"{host} drives", [f"{host}{O3_BOX}", f"{host}{RANDOM_BOX}"]
    every = {method: cells(found, method, budget) for method in (drives, *peers)}
    common = sorted(set.intersection(*(set(of) for of in every.values())))
    if not common:
        return []
    ranks = stats.rankdata([[-of[cell] for cell in common] for of in every.values()], axis=0)
    middle = np.median(ranks, axis=1)
    what = f"N={budget} median rank of {drives} among itself, one O3 box, one random box, {len(common)} cells"
    lines = [
        say(what, middle[0], f"best (others {middle[1]:.3g}, {middle[2]:.3g})", bool(middle[0] < middle[1:].min()))
    ]
    for peer in peers:
        gains = ahead(found, budget, drives, peer)
        p = float(stats.wilcoxon(gains, alternative="greater").pvalue)
        lines.append(say(f"N={budget} Wilcoxon p of {drives} against {peer}, {len(gains)} cells", p, "<.05", p < 0.05))
    return lines


def ratio(found: Table, budget: int, mine: str, rival: str, names: tuple[str, ...] = NAMES) -> tuple[Array, str]:
    """Paired log ratio of equivalents: its mean and both ends of its 95% interval (t), and the cells it is over."""
    own, theirs = equivalents(found, mine, budget), equivalents(found, rival, budget)
    common = sorted(cell for cell in own.keys() & theirs.keys() if cell[0] in names)
    logs = np.log([own[cell] / theirs[cell] for cell in common])
    if len(logs) < 2:
        return np.full(3, np.nan), "0 cells"
    reach = stats.t.ppf(0.975, len(logs) - 1) * logs.std(ddof=1) / np.sqrt(len(logs))
    tied = int(np.count_nonzero(logs == 0))
    return logs.mean() + np.array([0, -reach, reach]), f"{len(logs)} cells" + (f", {tied} tied" * (tied > 0))


def against_plan(found: Table, budget: int, method: str) -> list[str]:
    """Equivalents of a method, and their ratio to the planned search that stops as it does."""
    by_cell = equivalents(found, method, budget)
    if not by_cell:
        return []
    of_task = {
        name: report.draws_to_match(
            name, float(np.median([v for c, v in cells(found, method, budget).items() if c[0] == name]))
        )
        / budget
        for name in NAMES
        if any(cell[0] == name for cell in by_cell)
    }
    middle = float(np.median(list(of_task.values())))
    shown = ", ".join(f"{name} {times:.0f}" for name, times in of_task.items())
    lines = [f"N={budget} {method}, equivalents (cap {report.pool.SIZE / budget:.0f}): {shown}"]
    what = f"N={budget} {method}, median equivalent of {len(of_task)} objectives, {len(by_cell)} cells"
    lines.append(say(what, middle, ">=30", middle >= 30) if budget == 100 else f"{what} {middle:.3g}")
    planned = OURS if method.endswith(STOPPING) else WHOLE
    (mean, low, high), over = ratio(found, budget, method, planned)
    interval = f"{mean:.2f}, 95% from {low:.2f} to {high:.2f}; lower end"
    what = f"N={budget} log ratio to {planned!r} of {method}, {over}: {interval}"
    lines.append(say(what, low, f">{NO_WORSE}", low > NO_WORSE) if budget == 100 else what.removesuffix("; lower end"))
    halves = [ratio(found, budget, method, planned, half)[0][0] for half in (DEVELOPMENT, HELD_OUT)]
    lines.append(f"N={budget} {method}, by half: development {halves[0]:.2f}, held out {halves[1]:.2f}")
    rows = [row for name in NAMES for row in found.get((method, name, budget), {}).values()]
    outside = float(np.mean([value(row, "outside") for row in rows]))
    lines.append(say(f"N={budget} share outside the band, {method}", outside, "<=0.005", outside <= 0.005))
    if has_judged(found):
        far = float(np.mean([value(row, "far") for row in rows]))
        lines.append(f"N={budget} {method}, first bests that are far {far:.3f}")
    return lines


def against_even(found: Table, budget: int, host: str) -> list[str]:
    """Whether it matters who proposes."""
    (mean, low, high), over = ratio(found, budget, f"{host} drives", EVEN)
    return [] if np.isnan(mean) else [
        f"N={budget} log ratio to {EVEN!r} of {host} drives, {over}: {mean:.2f}, 95% from {low:.2f} to {high:.2f}"
    ]  # fmt: skip


def markdown(found: Table) -> str:
    """Geometric means of equivalents and cells, a row a method, a column a budget."""
    methods = [WHOLE, OURS, *(f"{host} drives{stops}" for stops in ("", STOPPING) for host in HOSTS)]
    methods += [f"{host}{box}" for box in (O3_BOX, RANDOM_BOX) for host in HOSTS]
    lines = ["Geometric mean of the cells' equivalents (cells):", ""]
    lines += ["| who proposes | " + " | ".join(f"N = {n}" for n in BUDGETS) + " |", "|---" * (len(BUDGETS) + 1) + "|"]
    for method in (name for name in methods if any(cells(found, name, budget) for budget in BUDGETS)):
        of = [list(equivalents(found, method, budget).values()) for budget in BUDGETS]
        shown = [f"{np.exp(np.mean(np.log(some))):.3g} ({len(some)})" if some else "not run" for some in of]
        lines.append(f"| {method} | " + " | ".join(shown) + " |")
    missing = [name for name in methods if not any(cells(found, name, budget) for budget in BUDGETS)]
    return "\n".join([*lines, *(["", f"Not run: {', '.join(missing)}."] if missing else [])]) + "\n"


def main() -> None:
    found, lines = report.table(), list[str]()
    for budget in BUDGETS:
        for host in HOSTS:
            lines += ranked(found, budget, host)
            for stops in ("", STOPPING):
                lines += against_plan(found, budget, f"{host} drives{stops}")
            if f"{host} drives" != EVEN:
                lines += against_even(found, budget, host)
    print("\n".join(lines))
    judged = JUDGED if has_judged(found) else UNJUDGED
    curves = "" if report.pool.has("a") else PUBLISHED
    (HERE / "drives.md").write_text(
        f"{HEAD}\n{judged}{curves}\n{markdown(found)}\n```\n" + "\n".join(lines) + "\n```\n"
    )


if __name__ == "__main__":
    main()
