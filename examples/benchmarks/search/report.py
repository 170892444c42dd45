"""The table, the tests and the plot of results.csv, as RESULT lines, results.md and results.png.

    python report.py

Best-of-N equivalent: how many plain draws it takes for their median best to reach a method's median, divided by N; from
the pool of 20,000, so at most 20,000 / N. Pool standard deviations are counted from the pool's mean, where there is a
single metric.
"""

from __future__ import annotations

from collections import defaultdict
from functools import cache
from pathlib import Path

import numpy as np
import pool
import published
import validity
from drives import EVERY
from objectives import DEVELOPMENT, NAMES, Task, task
from run import BUDGETS, HERE, METHODS, OURS, REPEATS, RESULTS, WHOLE, ours, read
from scipy import stats

from surrogate_ax import Metric, Objective

Array = np.ndarray
BASE = "best-of-N"
SCORES = pool.CACHE / "scores"
RESAMPLES = 200
REFERENCE = "O3 + TPE"
PERFECT = {"palette": 0.0, "symmetry": 0.0, "target": 0.0}  # no image is worth more
HEAD = """# What searches find at equal cost

Made by `python pool.py`, `python run.py`, `python run.py --judge`, `python report.py` in this folder. Embedded model
at 8 steps without guidance; larger values are better. A best counts when its latent is inside the joint band of plain
draws and its image has a plain draw near it; a method whose best does not is reported by the next one that does.
N is a budget of N x 8 network evaluations. "surrogate-ax" is `optimize(budget=N)`, "no checkpoints" is
`optimize(total_trials=N)`; RESULT lines are of the first where they do not say otherwise.
Objectives palette, symmetry, target and constrained were developed on, the other four were held out.
Settings: [tuning.md](tuning.md); checkpoints and shares: [stopping.md](stopping.md); what lost:
[variants.md](variants.md).

![best against budget](results.png)
"""


@cache
def scores(name: str) -> dict[str, Array]:
    """Values (20,000,) by metric of the pool, computed once."""
    file = SCORES / f"{name}.npz"
    if not file.exists():
        SCORES.mkdir(exist_ok=True)
        np.savez(file, **task(name).values(pool.read("a")))
    return dict(np.load(file))


@cache
def plain(name: str, n: int) -> Array:
    """What n plain draws are worth, by resampling the pool (200,)."""
    rng = np.random.default_rng(n)
    found = np.empty(RESAMPLES if n <= 2_000 else RESAMPLES // 10)
    for i in range(len(found)):
        rows = rng.choice(pool.SIZE, n, replace=False)
        found[i] = task(name).worth({k: v[rows] for k, v in scores(name).items()})[-1]
    return found


@cache
def curve(name: str) -> tuple[Array, Array]:
    """Numbers of draws and their median best, up to the whole pool; as published where there is none."""
    if not pool.has("a"):
        return published.curve(name, pool.SIZE)
    counts = np.unique(np.round(np.geomspace(2, pool.SIZE, 40)).astype(int))
    return counts, np.maximum.accumulate([np.median(plain(name, int(n))) for n in counts])


def draws_to_match(name: str, worth: float) -> float:
    """Plain draws whose median best reaches a value; the pool's size when none does."""
    counts, best = curve(name)
    if worth >= best[-1]:
        return float(pool.SIZE)
    kept = np.isfinite(best)
    return float(np.exp(np.interp(worth, best[kept], np.log(counts[kept]))))


def deviations(name: str, worth: float) -> float:
    """A value in standard deviations of the pool from its mean; NaN where there is no single metric."""
    if len(task(name).objective.metrics) > 1:
        return float("nan")
    (values,) = scores(name).values()
    return float((worth - values.mean()) / values.std())


Table = dict[tuple[str, str, int], dict[int, dict[str, str]]]  # (method, task, budget) -> repeat -> row


def table() -> Table:
    """Rows by cell, the latest of each."""
    found: Table = defaultdict(dict)
    for row in read(RESULTS):
        found[row["method"], row["task"], int(row["budget"])][int(row["repeat"])] = row
    return found


def value(row: dict[str, str], column: str) -> float:
    """A number of a row; -inf where nothing was found in time, and where the best was no plain draw's neighbour."""
    return float(row[column]) if row[column] != "" else -np.inf


def cell_ranks(found: Table, budget: int, column: str, mine: str) -> tuple[list[str], Array]:
    """Methods and their ranks (cells, methods) over the cells that all of them have."""
    methods = sorted({m for m, _, n in found if n == budget and m not in {OURS, WHOLE} - {mine}})
    have = {m: {(t, r) for t in NAMES for r in found.get((m, t, budget), {})} for m in methods}
    most = have[mine]
    methods = [m for m in methods if have[m] >= most or len(have[m] & most) >= 0.5 * len(most)]
    cells = sorted(set.intersection(*(have[m] for m in methods)))
    values = np.array([[value(found[m, t, budget][r], column) for m in methods] for t, r in cells])
    base = np.array([plain(t, budget)[r] for t, r in cells])
    values = np.hstack([values, base[:, None]])
    return [*methods, BASE], np.array([stats.rankdata(-row) for row in values])


def paired(found: Table, budget: int, column: str, mine: str, rival: str) -> Array:
    """What `mine` is ahead in every cell that both have, in deviations of what plain draws are worth there."""
    differences = []
    for name in NAMES:
        own, theirs = found.get((mine, name, budget), {}), found.get((rival, name, budget), {})
        for repeat in sorted(set(own) & set(theirs)):
            ahead = (value(own[repeat], column) - value(theirs[repeat], column)) / _spread(name, budget)
            if not np.isnan(ahead):  # neither found anything
                differences.append(ahead)
    return np.array(differences)


def missing(found: Table) -> str:
    """Which cells were not run, by method and budget."""
    lines = []
    for budget in BUDGETS:
        for method in (name for name in METHODS if name not in EVERY):
            have = sum(len(found.get((method, name, budget), {})) for name in NAMES)
            wanted = len(NAMES) * REPEATS[budget]
            if have < wanted:
                lines.append(f"- N = {budget}, {method}: {have} of {wanted} cells run")
    return "\n".join(lines)


def say(name: str, number: float, goal: str, met: bool) -> str:
    """One RESULT line."""
    return f"RESULT {name} {number:.3g} {goal} {'ok' if met else 'short'}"


def compare(found: Table, budget: int, mine: str) -> list[str]:
    """Ranks and tests of one budget."""
    lines, of = [], suffix(mine)
    for column, what in (("best_inside", "NFE"), ("best_by_wall", "wall time")):
        methods, ranks = cell_ranks(found, budget, column, mine)
        mean = dict(zip(methods, ranks.mean(axis=0), strict=True))
        lines.append(
            f"N={budget}{of}, mean ranks by {what} over {len(ranks)} cells: "
            + ", ".join(f"{m} {mean[m]:.2f}" for m in sorted(mean, key=lambda m: mean[m]))
        )
        others = {m: v for m, v in mean.items() if m != mine}
        lines.append(say(f"mean rank N={budget}{of} by {what}", mean[mine], "best", mean[mine] < min(others.values())))
        strongest = min(set(others) - {BASE}, key=lambda m: others[m])
        for rival in dict.fromkeys([REFERENCE, strongest]) if budget > 50 else ():
            differences = paired(found, budget, column, mine, rival)
            if len(differences):
                p = stats.wilcoxon(differences, alternative="greater").pvalue
                what_of = f"Wilcoxon p N={budget}{of} by {what} against {rival}, {len(differences)} cells"
                lines.append(say(what_of, p, "<.05", p < 0.05))
    return lines


def limits() -> list[str]:
    """How far from the pool's mean a score can be, and how many plain draws stand for the neighbourhood of an image."""
    perfect = ", ".join(f"{name} {deviations(name, best):.2f}" for name, best in PERFECT.items())
    single = [name for name in NAMES if len(task(name).objective.metrics) == 1]
    best = ", ".join(f"{name} {deviations(name, max(next(iter(scores(name).values())))):.2f}" for name in single)
    return [
        f"pool standard deviations of a perfect score: {perfect}",
        f"pool standard deviations of the best of 20,000 draws: {best}",
        f"nearest neighbours are looked for among {len(pool.read('b')):,} draws of the second pool",
    ]


def law() -> list[str]:
    """Whether the law of latents is kept when scores say nothing about them; by round, as many tests as latents."""
    noise = Objective(Metric("noise"), score=lambda outputs, _: outputs)
    lines = []
    for budget, repeats in ((100, 40), (400, 20)):
        searches = (ours(Task("noise", noise), repeat, budget) for repeat in range(repeats))
        p = validity.indifferent(searches, budget)
        least = float(p.min() * len(p))  # Bonferroni
        share = float(np.mean(p < 0.05))
        what = f"indifferent scores N={budget}"
        lines.append(say(f"{what}, least KS p of {len(p)} latents, corrected", least, ">.01", least > 0.01))
        lines.append(say(f"{what}, share of p < .05", share, "<.07", share < 0.07))
    return lines


def _spread(name: str, budget: int) -> float:
    """Standard deviation of what plain draws are worth, where they found anything."""
    found = plain(name, budget)
    return float(found[np.isfinite(found)].std())


def suffix(mine: str) -> str:
    """What tells the lines of ours without checkpoints."""
    return "" if mine == OURS else " without checkpoints"


def worths(found: Table, budget: int, mine: str) -> list[str]:
    """Best-of-N equivalents and deviations of ours, overhead and validity."""
    equal, sd, lines, of = dict[str, float](), dict[str, float](), list[str](), f"N={budget}{suffix(mine)}"
    for name in NAMES:
        rows = found.get((mine, name, budget), {})
        if rows:
            median = float(np.median([value(row, "best_inside") for row in rows.values()]))
            equal[name] = draws_to_match(name, median) / budget
            sd[name] = deviations(name, median)
    cap = pool.SIZE / budget
    at_cap = np.mean([e >= 0.999 * cap for e in equal.values()])
    lines.append(f"{of} best-of-N equivalents (cap {cap:.0f}): " + ", ".join(f"{k} {v:.0f}" for k, v in equal.items()))
    lines.append(f"{of} pool standard deviations: " + ", ".join(f"{k} {v:.2f}" for k, v in sd.items() if v == v))
    if budget == 50:
        lines.append(say(f"median equivalent {of}", float(np.median(list(equal.values()))), ">=50",
                         np.median(list(equal.values())) >= 50))  # fmt: skip
    goal = {50: 0.0, 100: 0.75, 400: 1.0}[budget]
    if goal:
        lines.append(say(f"share of objectives at the cap {of}", float(at_cap), f">={goal}", at_cap >= goal))
    if budget == 100:
        lines.append(say(f"least equivalent {of}", min(equal.values()), ">=30", min(equal.values()) >= 30))
    if budget > 50:
        middle, wanted = float(np.nanmedian(list(sd.values()))), {100: 5.0, 400: 6.5}[budget]
        lines.append(say(f"median deviations {of}", middle, f">={wanted}", middle >= wanted))
    rows_of = [row for name in NAMES for row in found.get((mine, name, budget), {}).values()]
    share = float(np.mean([value(r, "planning") / value(r, "generation") for r in rows_of]))
    limit = {50: 0.1, 100: 0.1, 400: 0.15}[budget]
    lines.append(say(f"planning over generation {of}", share, f"<{limit}", share < limit))
    outside = float(np.mean([value(r, "outside") for r in rows_of]))
    lines.append(say(f"share outside the band {of}", outside, "<=0.005", outside <= 0.005))
    valid = float(np.mean([r["best_inside"] != "" for r in rows_of]))
    lines.append(say(f"share of reported bests that are valid {of}", valid, "1", valid == 1))
    return lines


def validity_of(found: Table, budget: int) -> list[str]:
    """Each method's validity: rows outside the band, and cells whose first best had no plain draw near it."""
    lines = []
    for method in dict.fromkeys(m for m, _, n in found if n == budget):
        its = [row for name in NAMES for row in found.get((method, name, budget), {}).values()]
        out, far = (float(np.mean([value(r, column) for r in its])) for column in ("outside", "far"))
        lines.append(f"validity N={budget} {method}: outside {out:.4f}, first bests that are far {far:.3f}")
    return lines


def markdown(found: Table) -> str:
    """Median best by method and task, with the equivalents, one table a budget."""
    parts = []
    for budget in BUDGETS:
        methods = list(dict.fromkeys(m for m, _, n in found if n == budget))
        if not methods:
            continue
        lines = [f"N = {budget}: median best (best-of-N equivalent; repeats)", ""]
        lines += ["| method | " + " | ".join(NAMES) + " |", "|---" * (len(NAMES) + 1) + "|"]
        base = [f"{np.median(plain(name, budget)):.3f} (1)" for name in NAMES]
        lines.append(f"| {BASE} | " + " | ".join(base) + " |")
        for method in methods:
            shown = []
            for name in NAMES:
                rows = found.get((method, name, budget), {})
                if not rows:
                    shown.append("not run")
                    continue
                median = float(np.median([value(row, "best_inside") for row in rows.values()]))
                times = draws_to_match(name, median) / budget
                plus = "+" if times >= 0.999 * pool.SIZE / budget else ""
                shown.append(f"{median:.3f} ({times:.0f}{plus}; {len(rows)})")
            lines.append(f"| {method} | " + " | ".join(shown) + " |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def plot(found: Table, path: Path) -> None:
    """Best against budget, a panel an objective: medians and bands from quartile to quartile."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(2, 4, figsize=(16, 7.5), layout="constrained")
    methods = [OURS, *sorted({m for m, _, _ in found} - {OURS})]
    for panel, name in zip(panels.flat, NAMES, strict=True):
        for i, method in enumerate([*methods, BASE]):
            at = [n for n in BUDGETS if method == BASE or found.get((method, name, n))]
            samples = [
                plain(name, n) if method == BASE
                else np.array([value(row, "best_inside") for row in found[method, name, n].values()])
                for n in at
            ]  # fmt: skip
            if not at:
                continue
            # A sample where nothing was found counts as the worst that was.
            found_some = [np.where(np.isfinite(s), s, s[np.isfinite(s)].min()) for s in samples]
            low, middle, high = np.array([np.percentile(s, [25, 50, 75]) for s in found_some]).T
            colour = "0.3" if method == BASE else f"C{i}"
            panel.plot(at, middle, color=colour, marker="o", ms=3, lw=3 if method == OURS else 1.2, label=method)
            panel.fill_between(at, low, high, color=colour, alpha=0.12, lw=0)
        panel.set(title=name + (" (development)" if name in DEVELOPMENT else " (held out)"), xscale="log")
        panel.set_xticks(BUDGETS, [str(n) for n in BUDGETS])
        panel.minorticks_off()
    panels[0, 0].set_ylabel("best, larger is better")
    panels[1, 0].set_ylabel("best, larger is better")
    for panel in panels[1]:
        panel.set_xlabel("evaluations")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=6, frameon=False)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def main() -> None:
    found = {key: of for key, of in table().items() if key[0] not in EVERY}  # which `report_drives` is about
    lines = limits() + law()
    for budget in BUDGETS:
        for mine in (OURS, WHOLE):
            if any(m == mine and n == budget for m, _, n in found):
                lines += worths(found, budget, mine) + compare(found, budget, mine)
        lines += validity_of(found, budget)
    print("\n".join(lines))
    gaps = missing(found)
    parts = [HEAD, markdown(found), "```\n" + "\n".join(lines) + "\n```\n"]
    (HERE / "results.md").write_text("\n".join([*parts, f"Not run:\n\n{gaps}\n"] if gaps else parts))
    plot(found, HERE / "results.png")


if __name__ == "__main__":
    main()
