"""What every report says of a search, whichever host kept it: best outputs, best-of-N, Pareto front, recipes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
import scipy  # loads its submodules when they are first used
from torch import Tensor

from surrogate_ax.arrays import Array
from surrogate_ax.generation.protocols import Generator, Timed
from surrogate_ax.generation.recipe import Recipe, render
from surrogate_ax.latents.seeds import Draw
from surrogate_ax.media.previews import save_preview
from surrogate_ax.report.page import ITEMS, Section, embedded, table
from surrogate_ax.report.plots import Series, plot
from surrogate_ax.scoring.objective import Metric, Objective

PLAIN, SEARCH, FRONT, OUT = "#8a8f98", "#1f6fd6", "#d9480f", "#b9bec6"
ENOUGH = 5  # plain draws that say what more of them would bring
RECIPES = 10  # shown in full


@dataclass(frozen=True)
class Entry:
    """One ended trial.

    Args:
        name: as the host calls it.
        values: of every metric, NaN where there is none.
        recipe: what remakes its output.
        preview: file of its output, if one was kept.
        nfe: network function evaluations spent.
        seconds: of evaluation.
    """

    name: str
    values: dict[str, float]
    recipe: Recipe
    preview: Path | None = None
    nfe: float = 0.0
    seconds: float = 0.0

    @property
    def plain(self) -> bool:
        """Whether it is a plain draw from the prior."""
        return len(self.recipe.terms) == 1 and isinstance(self.recipe.terms[0][0], Draw)


def facts(entries: Sequence[Entry], objective: Objective) -> list[tuple[str, str]]:
    """What stands at the top of a report."""
    done = sum(all(np.isfinite(value) for value in entry.values.values()) for entry in entries)
    spent = f"{sum(entry.nfe for entry in entries):,.0f} network evaluations, "
    spent += f"{sum(entry.seconds for entry in entries):,.1f} s of generation"
    return [
        ("Metrics", "; ".join(_goal(metric) for metric in objective.metrics)),
        ("Trials", f"{len(entries)} ended, {done} with a result, {sum(entry.plain for entry in entries)} plain draws"),
        ("Spent", spent),
    ]


def common_sections(entries: Sequence[Entry], objective: Objective, *, items: int = 12) -> list[Section]:
    """Best outputs, best-of-N, the Pareto front of two metrics or more, and recipes.

    Args:
        entries: ended trials, in the order of ending.
        objective: ranks them.
        items: outputs shown, at most 30.
    """
    if not entries:
        return [Section("Trials", "<p>No trial has ended yet.</p>")]
    values, ranked = _columns(entries, objective), ranking(entries, objective)
    sections = [_best(entries, ranked[: min(items, ITEMS)], objective)]
    if len(objective.optimised) == 1:
        sections.append(_best_of_n(entries, values, objective))
    else:
        sections.append(_front(entries, values, objective))
    return [*sections, _recipes(entries, ranked[:RECIPES], objective)]


def ranking(entries: Sequence[Entry], objective: Objective) -> list[int]:
    """Numbers of the entries with a result, best first."""
    values = _columns(entries, objective)
    finite = np.isfinite(objective.losses(values)).all(axis=1)
    return [int(i) for i in objective.rank(values) if finite[i]]


def with_outputs(
    entries: Sequence[Entry],
    objective: Objective,
    generator: Generator,
    folder: Path,
    *,
    items: int = 12,
    seeds: Mapping[str, Tensor] | None = None,
) -> list[Entry]:
    """Entries with the outputs of the best remade, in one generator call, where no file of them was kept.

    Args:
        entries: ended trials.
        objective: ranks them.
        generator: the one that they were made with.
        folder: where files are written.
        items: how many are the best.
        seeds: inner rows (D,) of stored seeds, by SHA-256.

    Raises:
        MismatchError: another generator.
        GenerationError: it failed for an item.
    """
    made = list(entries)
    lacking = [i for i in ranking(entries, objective)[: min(items, ITEMS)] if entries[i].preview is None]
    if not lacking:
        return made
    outputs, _ = render([entries[i].recipe for i in lacking], generator, seeds=seeds)
    rate = generator.rate if isinstance(generator, Timed) else None
    for i, output in zip(lacking, outputs, strict=True):
        made[i] = dataclasses.replace(made[i], preview=save_preview(output, folder / f"output{i}", rate=rate))
    return made


def _columns(entries: Sequence[Entry], objective: Objective) -> dict[str, Array]:
    names = [metric.name for metric in objective.metrics]
    return {name: np.array([entry.values.get(name, np.nan) for entry in entries]) for name in names}


def _best(entries: Sequence[Entry], best: Sequence[int], objective: Objective) -> Section:
    shown, media = list[str](), 0
    for place, i in enumerate(best, start=1):
        entry = entries[i]
        picture = None if entry.preview is None else embedded(entry.preview)
        media += len(picture or "")
        numbers = "<br>".join(f"{escape(m.name)} <b>{entry.values[m.name]:.4g}</b>" for m in objective.metrics)
        called = "<br>".join(f"{escape(k)} = {escape(str(v))}" for k, v in entry.recipe.condition.items())
        caption = f"{place}. {escape(entry.name)}<br>{numbers}" + (f"<br>{called}" if called else "")
        shown.append(f"<figure>{picture or ''}<figcaption>{caption}</figcaption></figure>")
    body = f'<div class="gallery">{"".join(shown)}</div>' if shown else "<p>No trial has a result yet.</p>"
    return Section("Best outputs", body, media=media)


def _best_of_n(entries: Sequence[Entry], values: dict[str, Array], objective: Objective) -> Section:
    """The best so far against what as many plain draws give on average, as far as the search's own draws can tell."""
    (metric,) = objective.optimised
    sign = 1.0 if metric.goal == "maximize" else -1.0
    score = np.where(objective.violation(values) == 0, sign * values[metric.name], np.nan)
    n = np.arange(1, len(entries) + 1)
    best = np.fmax.accumulate(score)
    lines = [
        Series("trials", n, sign * score, SEARCH, dashed=True, names=[entry.name for entry in entries]),
        Series("best so far", n, sign * best, SEARCH, line=True),
    ]
    drawn = np.sort(score[[entry.plain for entry in entries]])
    drawn = drawn[np.isfinite(drawn)]
    note = ""
    if len(drawn) >= ENOUGH:
        known, rest = n[: len(drawn)], n[len(drawn) - 1 :]
        lines.append(Series("best of N plain draws", known, sign * expected_best(drawn, known), PLAIN, line=True))
        # Where the draws end, as if their scores were normal, joined to what they have shown.
        beyond = drawn.mean() + drawn.std(ddof=1) * _normal_best(rest)
        beyond += expected_best(drawn, rest[:1])[0] - beyond[0]
        lines.append(Series("the same, if normal", rest, sign * beyond, PLAIN, line=True, dashed=True))
        note = (
            f"<p>Grey: the best of N plain draws on average, by the {len(drawn)} draws of this search; dashed beyond "
            "them, if their scores follow a normal law.</p>"
        )
    return Section("Best so far", note + plot(lines, x="trials ended", y=metric.name))


def expected_best(scores: Array, n: Array) -> Array:
    """Mean of the largest of n scores drawn without replacement, n (k,) up to their number.

    Args:
        scores: (m,) in ascending order.
        n: counts.
    """
    m, order = len(scores), np.arange(1, len(scores) + 1)
    log_choose = scipy.special.gammaln
    found = []
    for count in n:
        place = order[order >= count]  # the j-th smallest is the largest of C(j-1, n-1) of C(m, n) subsets
        ways = log_choose(place) - log_choose(place - count + 1) - log_choose(count)
        total = log_choose(m + 1) - log_choose(count + 1) - log_choose(m - count + 1)
        found.append(float(np.exp(ways - total) @ scores[place - 1]))
    return np.array(found)


def _normal_best(n: Array) -> Array:
    """Mean of the largest of n standard normal numbers, to a few per cent."""
    return np.asarray(scipy.special.ndtri((n - 0.375) / (n + 0.25)))  # Blom's approximation


def _front(entries: Sequence[Entry], values: dict[str, Array], objective: Objective) -> Section:
    x, y = objective.optimised[:2]
    keeps = np.isfinite(objective.losses(values)).all(axis=1) & (objective.violation(values) == 0)
    front = np.flatnonzero(keeps)[pareto(objective.losses(values)[keeps])]
    front = front[np.argsort(values[x.name][front])]
    names = [entry.name for entry in entries]
    dots = [
        Series("trials", np.where(keeps, values[x.name], np.nan), values[y.name], SEARCH, names=names),
        Series(
            "outside a bound", np.where(keeps, np.nan, values[x.name]), values[y.name], OUT, dashed=True, names=names
        ),
        Series("Pareto front", values[x.name][front], values[y.name][front], FRONT, names=[names[i] for i in front]),
    ]
    header = ["trial", *(metric.name for metric in objective.metrics)]
    rows = [[names[i], *(f"{values[metric.name][i]:.4g}" for metric in objective.metrics)] for i in front]
    drawn = plot(dots, x=f"{x.name} ({x.goal})", y=f"{y.name} ({y.goal})")
    return Section("Pareto front", drawn + table(header, rows))


def pareto(losses: Array) -> Array:
    """Numbers of rows that no other row beats or equals everywhere and beats somewhere.

    Args:
        losses: (n, m), smaller is better.
    """
    no_better, worse = losses[:, None] >= losses[None], losses[:, None] > losses[None]
    beaten: Array = np.all(no_better, axis=2) & np.any(worse, axis=2)
    return np.flatnonzero(~beaten.any(axis=1))


def _recipes(entries: Sequence[Entry], best: Sequence[int], objective: Objective) -> Section:
    how = "<code>render(Recipe.from_json(record), generator)</code>"
    parts = [f"<p>Each remakes its output with the same generator: {how}.</p>"]
    for i in best:
        entry = entries[i]
        text = json.dumps(entry.recipe.to_json(), indent=1, ensure_ascii=False)
        numbers = ", ".join(f"{metric.name} {entry.values[metric.name]:.4g}" for metric in objective.metrics)
        parts.append(
            f"<details><summary>{escape(entry.name)}: {escape(numbers)}</summary><pre>{escape(text)}</pre></details>"
        )
    return Section("Recipes of the best", "".join(parts))


def _goal(metric: Metric) -> str:
    bound = "" if metric.bound is None else f" {metric.bound:g}"
    return f"{metric.name} ({metric.goal.replace('_', ' ')}{bound})"
