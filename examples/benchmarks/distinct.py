"""Whether the twelve best that pages show look different, and what that costs: the demo and the two example sweeps.

    distinct_NAME_least   the least distance of any two of the twelve, 1 being that of two plain draws
    distinct_NAME_loss    by how much their mean score is worse than the 80th percentile of the best twelve by score,
                          in standard deviations of the plain draws

Beside them stand the distances among the twelve best by score alone. FOLDER gets a picture a study: the best by score
above, those that differ below.

    python examples/benchmarks/distinct.py FOLDER            # about six minutes
    python examples/benchmarks/distinct.py FOLDER --quick    # the demo only
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import subprocess
import sys
from itertools import combinations
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy and torch are imported

import numpy as np
import optuna
from optuna.artifacts import FileSystemArtifactStore
from PIL import Image

from surrogate_ax.analysis.looks import looks
from surrogate_ax.analysis.portfolio import MIN_DISTANCE
from surrogate_ax_optuna import sqlite, study_source
from surrogate_ax_web.distinct import Compared

SWEEPS = Path(__file__).parents[1] / "sweeps"
COMMAND = [sys.executable, "-c", "from surrogate_ax_cli.main import app; app()"]
ITEMS, SIDE = 12, 96


def report(name: str, value: float, goal: float, *, at_least: bool = False) -> None:
    met = value >= goal if at_least else value <= goal
    print(f"RESULT {name} {value:.3f} {'>=' if at_least else '<='}{goal:g} {'ok' if met else 'short'}", flush=True)


def measure(name: str, database: Path, study_name: str, previews: Path, sheet: Path) -> None:
    study = optuna.load_study(study_name=study_name, storage=sqlite(database))
    source = study_source(study, previews=FileSystemArtifactStore(previews))
    shown = source.read()
    metric = shown.objective.optimised[0]
    losses = shown.values[metric.name] * (-1 if metric.goal == "maximize" else 1)
    top, chosen = shown.ranking[:ITEMS], Compared(source, ITEMS).best(shown)[0]
    draws = [i for i in shown.ranking if shown.trials[i].plain]
    pictures = {i: picture(source, shown.trials[i].number) for i in {*top, *chosen, *draws}}
    features = dict(zip(pictures, looks(list(pictures.values())), strict=True))

    def distances(places: list[int]) -> list[float]:
        return [float(np.linalg.norm(features[a] - features[b])) for a, b in combinations(places, 2)]

    unit, spread = float(np.median(distances(draws))), float(losses[draws].std())
    nearest = min(distances(top)) / unit
    print(f"# {name}: {len(shown.ranking)} trials; nearest two of the best by score alone {nearest:.3f}")
    report(f"distinct_{name}_items", len(chosen), ITEMS, at_least=True)
    report(f"distinct_{name}_least", min(distances(chosen)) / unit, MIN_DISTANCE, at_least=True)
    report(f"distinct_{name}_loss", (losses[chosen].mean() - np.quantile(losses[top], 0.8)) / spread, 0)
    page = Image.new("RGB", (ITEMS * (SIDE + 4), 2 * (SIDE + 4)), "white")
    for row, places in enumerate((top, chosen)):
        for column, i in enumerate(places):
            page.paste(pictures[i].resize((SIDE, SIDE)), (column * (SIDE + 4), row * (SIDE + 4)))
    page.save(sheet)


def picture(source: object, number: int) -> Image.Image:
    return Image.open(io.BytesIO(source.preview(number).content)).convert("RGB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="for the studies and the pictures; studies in it are taken")
    parser.add_argument("--quick", action="store_true", help="the demo only")
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    subprocess.run([*COMMAND, "demo", "--out", str(folder / "demo")], check=True, stdout=subprocess.DEVNULL)
    measure("demo", folder / "demo" / "study.db", "search", folder / "demo" / "previews", folder / "demo.png")
    for name in () if arguments.quick else ("avatars", "hills"):
        for file in SWEEPS.glob("*.*"):
            shutil.copy(file, folder)
        subprocess.run([*COMMAND, "sweep", f"{name}.yaml"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        measure(name, folder / f"{name}.db", name, folder / f"{name}-previews", folder / f"{name}.png")


if __name__ == "__main__":
    main()
