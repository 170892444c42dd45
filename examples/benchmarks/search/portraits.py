"""Two objectives on the embedded portraits that nothing was tuned on, with a pool of plain draws of their own.

    python portraits.py [--draws 2000] [--repeats 3] [--quick]

- "brand": minus the distance of shirt and background, the lower edge and the upper corners, to two colours.
- "person": the least of the judge's log odds of curly hair, glasses, a beard and a smile.

A cell is what a user would run, `optimize` with a budget of 100 outputs, 8 steps each, whole or with early stopping.
Its best is compared with the best of as many plain draws, and with the pool: how many draws reach it in the median,
over 100, at most as many as the pool has. portraits.csv keeps the cells and is passed over; --quick makes two cells
again and compares them. Prints `RESULT <name> <value> <goal> ok|short`.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import optuna
import torch

from surrogate_ax import Metric, Objective
from surrogate_ax_diffusers import portrait_generator
from surrogate_ax_optuna import create_study, optimize

HERE = Path(__file__).parent
TRAINING = HERE.parents[1] / "train_portraits"
RESULTS, POOL = HERE / "portraits.csv", HERE / "portraits_pool.csv"
BUDGET, BATCH, STEPS, GOAL = 100, 16, 8, 15.0
SHIRT, BACKGROUND = np.array([0.95, 0.45, 0.24]), np.array([0.12, 0.62, 0.59])
WANTED = {"hair": "curly", "accessory": "glasses", "facialHair": "beard", "face": "smile"}
FIELDS = ("objective", "stopping", "repeat", "best")
Array = np.ndarray


def judge() -> Any:
    """The committed judge of portraits, with the words of its answers."""
    sys.path.insert(0, str(TRAINING))
    try:
        module = _module("portrait_classifier", TRAINING / "classifier.py")
    finally:
        sys.path.remove(str(TRAINING))
    return module, module.load()


def _module(name: str, path: Path) -> ModuleType:
    for other in ("captions", "dataset", "classifier"):  # other folders have modules of these names
        sys.modules.pop(other, None)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def brand(images: Array) -> Array:
    """Minus the mean distance of shirt and background to their colours (n,)."""
    x = np.asarray(images, dtype=np.float64)
    corners = np.concatenate([x[:, :20, :10], x[:, :20, -10:]], axis=2)
    shirt = x[:, -6:, 14:26]
    return -sum(
        np.linalg.norm(part - to, axis=-1).mean(axis=(1, 2)) for part, to in ((corners, BACKGROUND), (shirt, SHIRT))
    )


class Person:
    """The least of the judge's log odds of what is wanted."""

    def __init__(self) -> None:
        self._module, self._judge = judge()

    @torch.no_grad()
    def __call__(self, images: Array) -> Array:
        """(n,) of images (n, 64, 64, 3) in [0, 1]."""
        answers = self._judge(self._module.scaled((np.asarray(images) * 255).round().astype(np.uint8)))
        odds = []
        for logits, (name, words) in zip(answers, self._module.ATTRIBUTES.items(), strict=True):
            if name in WANTED:
                k = words.index(WANTED[name])
                others = torch.cat([logits[:, :k], logits[:, k + 1 :]], dim=1)
                odds.append((logits[:, k] - others.logsumexp(dim=1)).numpy())
        return np.min(odds, axis=0).astype(np.float64)


SCORES = {"brand": brand, "person": Person()}


def pool(draws: int) -> dict[str, Array]:
    """Values of plain draws, made once."""
    if not POOL.exists():
        generator, rng, rows = portrait_generator(steps=STEPS), torch.Generator().manual_seed(99), []
        for _ in range(0, draws, 50):
            z = {"latents": torch.randn(50, 4, 16, 16, generator=rng)}
            images = generator.generate(z, [{}] * 50).outputs
            rows += zip(*(score(images).round(5) for score in SCORES.values()), strict=True)
        with POOL.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([tuple(SCORES), *rows])
    with POOL.open(newline="") as file:
        kept = list(csv.DictReader(file))
    return {name: np.array([float(row[name]) for row in kept]) for name in SCORES}


def cell(name: str, stopping: bool, repeat: int) -> float:
    """The best of one search."""
    objective = Objective(Metric(name, "maximize"), score=lambda outputs, _: SCORES[name](np.asarray(outputs)))
    study = create_study(objective)
    costs = {"budget": BUDGET} if stopping else {"total_trials": BUDGET}
    optimize(study, portrait_generator(steps=STEPS), objective, rng=repeat, batch_size=BATCH, progress=False, **costs)
    return float(study.best_value)


def equivalent(draws: Array, best: float) -> float:
    """How many draws have a median best of at least `best`, over the budget; at most as many as there are."""
    share = (draws >= best).mean()
    needed = np.log(0.5) / np.log1p(-share) if share else len(draws)
    return float(min(needed, len(draws)) / BUDGET)


def read() -> dict[tuple[str, str, int], float]:
    if not RESULTS.exists():
        return {}
    with RESULTS.open(newline="") as file:
        return {(r["objective"], r["stopping"], int(r["repeat"])): float(r["best"]) for r in csv.DictReader(file)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    known = read()
    if arguments.quick:
        for key in (("brand", "no", 0), ("person", "yes", 1)):
            best = cell(key[0], key[1] == "yes", key[2])
            near = "ok" if abs(best - known[key]) < 0.02 * abs(known[key]) else "short"
            print(f"RESULT portraits_again_{key[0]} {best:.5f} {known[key]:.5f} {near}")
        return
    draws = pool(arguments.draws)
    for repeat in range(arguments.repeats):
        for name in SCORES:
            for stopping in ("no", "yes"):
                if (name, stopping, repeat) not in known:
                    known[name, stopping, repeat] = best = cell(name, stopping == "yes", repeat)
                    new = not RESULTS.exists()
                    with RESULTS.open("a", newline="") as file:
                        csv.writer(file, lineterminator="\n").writerows(
                            [*([FIELDS] if new else []), (name, stopping, repeat, round(best, 5))]
                        )
                    print(f"{name}, stopping {stopping}, repeat {repeat}: {best:.4f}", flush=True)
    for name, values in draws.items():
        plain = np.median([values[k : k + BUDGET].max() for k in range(0, len(values), BUDGET)])
        for stopping, said in (("no", "whole"), ("yes", "early_stopping")):
            best = np.array([v for (n, s, _), v in known.items() if (n, s) == (name, stopping)])
            middle = float(np.median([equivalent(values, v) for v in best]))
            ahead = float((np.median(best) - plain) / values.std())
            ok = "ok" if middle >= GOAL else "short"
            print(f"RESULT portraits_{name}_{said}_equivalent {middle:.1f} {GOAL} {ok}")
            print(f"# {name}, {said}: {ahead:.2f} deviations of plain draws ahead of the best of {BUDGET}")


if __name__ == "__main__":
    main()
