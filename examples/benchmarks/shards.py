"""Benchmarks in pieces: each run does some items of one method and appends its rows to a CSV, those that miss there.

Runs do not depend on each other, so any number of them may run at once, each with a file of its own; `read` puts files
together. A row is known by its method, seed and item.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Row = dict[str, Any]
Key = tuple[str, int, int]
KEY = ("method", "seed", "item")
RESAMPLED = 4000


def key(row: Row) -> Key:
    return str(row["method"]), int(row["seed"]), int(row["item"])


def span(text: str) -> range:
    """`A:B` as a range."""
    first, last = text.split(":")
    return range(int(first), int(last))


def read(paths: Sequence[Path]) -> dict[Key, Row]:
    """The rows of files, numbers as numbers, NaN where a cell is empty."""
    rows: dict[Key, Row] = {}
    for path in paths:
        if path.exists():
            with path.open(newline="") as file:
                for row in csv.DictReader(file):
                    rows[key(row)] = {name: text if name == "method" else _number(text) for name, text in row.items()}
    return rows


def _number(text: str) -> Any:
    try:
        return float(text or "nan")
    except ValueError:
        return text


def missing(out: Path, method: str, seed: int, items: range) -> list[int]:
    """The items that a file lacks."""
    done = read([out])
    return [i for i in items if (method, seed, i) not in done]


def append(out: Path, rows: Sequence[Row]) -> None:
    """Rows behind those of a file."""
    if not rows:
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    new = not out.exists()
    with out.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerows({name: _text(value) for name, value in row.items()} for row in rows)


def _text(value: Any) -> Any:
    if not isinstance(value, float | np.floating):
        return value
    return "" if np.isnan(value) else f"{value:.5g}"


def merge(sources: Sequence[Path], out: Path) -> dict[Key, Row]:
    """The rows of all files, also written to one of them in order."""
    rows = dict(sorted(read(sources).items()))
    if rows:
        out.unlink(missing_ok=True)
        whole = {"seed", "item"}
        append(out, [{k: int(v) if k in whole else v for k, v in row.items()} for row in rows.values()])
    return rows


def interval(values: Mapping[int, Sequence[float]]) -> tuple[float, float, float]:
    """The mean over items of their means, and a bootstrap interval of 95% that resamples items."""
    means = np.array([np.mean(v) for v in values.values()])
    drawn = np.random.default_rng(0).choice(means, size=(RESAMPLED, len(means))).mean(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(means.mean()), float(low), float(high)


def by_item(rows: Mapping[Key, Row], method: str, figure: str) -> dict[tuple[int, int], float]:
    """A figure of a method by seed and item, where it has one."""
    found = {(s, i): float(row[figure]) for (m, s, i), row in rows.items() if m == method}
    return {at: value for at, value in found.items() if not np.isnan(value)}


def grouped(values: Mapping[tuple[int, int], float]) -> dict[int, list[float]]:
    """By item, over its seeds."""
    groups: dict[int, list[float]] = {}
    for (_, i), value in values.items():
        groups.setdefault(i, []).append(value)
    return groups


def result(name: str, value: float, goal: float | None = None, *, at_least: bool = False, more: str = "") -> None:
    """One line; without a goal the number is only shown."""
    verdict = ""
    if goal is not None:
        met = value >= goal if at_least else value <= goal
        verdict = f" {'>=' if at_least else '<='}{goal:g} {'ok' if met else 'short'}"
    print(f"RESULT {name} {value:.4g}{verdict}{more}", flush=True)


def compare(rows: Mapping[Key, Row], a: str, b: str, figure: str, name: str, *, goal: float | None = 0.0) -> None:
    """The mean paired difference a - b with its interval; with a goal its upper end has to be below that."""
    left, right = by_item(rows, a, figure), by_item(rows, b, figure)
    both = sorted(left.keys() & right.keys())
    if not both:
        return
    mean, low, high = interval(grouped({at: left[at] - right[at] for at in both}))
    more = f" mean {mean:.4g} [{low:.4g}, {high:.4g}] n {len(both)}"
    result(f"{name}/{a} less {b}/{figure} upper", high, goal, more=more)
