"""How good plain draws are, read from results.md and results.csv, for a machine that has no pool.

Every cell of the tables gives a median best and the plain draws that match it; a curve is interpolated between them.
Equivalents below 3 are left out, since the tables round them to integers.
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from functools import cache
from pathlib import Path

import numpy as np

Array = np.ndarray
HERE = Path(__file__).parent
BLOCK = re.compile(r"\nN = (\d+): median best.*?\n\n(.*?)\n(?=\n)", re.DOTALL)
CELL = re.compile(r"(-?[\d.]+) \((\d+)(\+?)")
DEVIATIONS = re.compile(r"^N=(\d+)( without checkpoints)? pool standard deviations: (.*)$", re.MULTILINE)
FEWEST = 3


def curve(name: str, most: int) -> tuple[Array, Array]:
    """Numbers of plain draws and their median best, up to `most` of them.

    Args:
        name: of the task.
        most: draws that the pool had.
    """
    found, capped = _cells()[name], [best for best, _ in _cells()[f"{name} at the cap"]]
    found = found + [(min(capped), most)] * bool(capped)
    best, counts = np.array(sorted(found)).T
    counts = np.maximum.accumulate(counts)
    last = np.append(counts[1:] != counts[:-1], True)  # of those that round to one number the best
    return counts[last], best[last]


@cache
def _cells() -> dict[str, list[tuple[float, int]]]:
    """(median best, draws that match it) of every cell, by task."""
    rows = defaultdict[tuple[str, str, str], dict[str, float]](dict)
    with (HERE / "results.csv").open(newline="") as handle:
        for row in csv.DictReader(handle):
            rows[row["method"], row["task"], row["budget"]][row["repeat"]] = float(row["best_inside"] or "-inf")
    found = defaultdict[str, list[tuple[float, int]]](list)
    text = (HERE / "results.md").read_text()
    tasks = [cell.strip() for cell in text.split("| method |", 1)[1].splitlines()[0].strip("| ").split("|")]
    for budget, block in BLOCK.findall(text):
        for line in block.splitlines()[2:]:
            method, *shown = [cell.strip() for cell in line.strip("|").split("|")]
            for task, cell in zip(tasks, shown, strict=True):
                match = CELL.match(cell)
                if match is None:
                    continue
                exact = rows.get((method, task, budget))  # the table rounds
                best = float(np.median(list(exact.values()))) if exact else float(match[1])
                if match[3]:
                    found[f"{task} at the cap"].append((best, 0))
                elif int(match[2]) >= FEWEST or not exact:
                    found[task].append((best, int(match[2]) * int(budget)))
    return dict(found)


@cache
def deviation(name: str) -> float | None:
    """One standard deviation of plain draws, from bests whose deviations results.md names; None where it has none.

    Args:
        name: of the task.
    """
    found = defaultdict[tuple[str, str], list[float]](list)
    with (HERE / "results.csv").open(newline="") as handle:
        for row in csv.DictReader(handle):
            if row["task"] == name:
                found[row["method"], row["budget"]].append(float(row["best_inside"] or "-inf"))
    bests, away = list[float](), list[float]()
    for budget, without, line in DEVIATIONS.findall((HERE / "results.md").read_text()):
        counted = dict(part.rsplit(" ", 1) for part in line.split(", "))
        if name in counted:
            method = "surrogate-ax, no checkpoints" if without else "surrogate-ax"
            bests.append(float(np.median(found[method, budget])))
            away.append(float(counted[name]))
    return 1 / float(np.polyfit(bests, away, 1)[0]) if bests else None
