"""What stopping hopeless rows mid-trajectory saves, and what it costs.

The avatar model, 8 steps, guidance 1, batches of 8; N = 100 full generations, 800 network evaluations (NFE). Each
search runs twice from the same seed, with whole trajectories and with checkpoints after steps 2 and 4, where Optuna's
pruner stops rows; the second goes on until it has spent the same NFE, rows in flight included. Searches: plain draws,
and the default of `optimize`. Objectives: those of `search/objectives.py` with one metric to optimise. Every line
`RESULT name value goal ok|short`:

    <search>_share        NFE at which the checkpoints' median best reaches the other's final one, over 800; median of
                          the objectives
    <search>_difference   the checkpoints' mean best at 800 NFE less the other's, in standard deviations of plain draws;
                          the worst objective
    <search>_stopped      share of the trials that were stopped
    overhead_ratio        time in checkpoints (estimates, scores, pruner, selection) over time in generation

    python examples/benchmarks/checkpoints.py            # 10 repeats: about 40 minutes
    python examples/benchmarks/checkpoints.py --quick    # 2 repeats of 3 objectives: under 5 minutes
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy and torch are imported

import numpy as np
import optuna
import torch
from optuna.pruners import BasePruner, PercentilePruner

from surrogate_ax import Bank, Checkpoints, Draw, Generated, draws
from surrogate_ax_diffusers import avatar_generator
from surrogate_ax_optuna import OptunaHost, optimize

sys.path.insert(0, str(Path(__file__).parent / "search"))
from objectives import Task, task

Array = np.ndarray
N, STEPS, BATCH, CHECKPOINTS = 100, 8, 8, (2, 4)
NAMES = ("palette", "symmetry", "target", "constrained", "contrast", "attribute", "conjunction")
QUICK = ("symmetry", "target", "contrast")

KEEP = 50.0  # percentile of the finished trials that a row must reach to go on


class Counted:
    """A generator that counts what it spends, and the time of it.

    Args:
        generator: can stop between steps.
    """

    def __init__(self, generator: Any) -> None:
        self._generator = generator
        self.spent, self.seconds = 0.0, 0.0
        self.prior, self.fingerprint, self.steps = generator.prior, generator.fingerprint, generator.steps

    def __getattr__(self, name: str) -> Any:
        return getattr(self._generator, name)

    def start(self, z: Any, conditions: Any, *, step: int = 0) -> Any:
        return self._generator.start(z, conditions, step=step)

    def select(self, states: Any, rows: Any) -> Any:
        return self._generator.select(states, rows)

    def estimate(self, state: Any) -> Any:
        return self._generator.estimate(state)

    def nfe(self, state: Any) -> Array:
        return self._generator.nfe(state)

    def advance(self, state: Any, to: int) -> Any:
        clock = time.perf_counter()
        ahead = self._generator.advance(state, to)
        self.seconds += time.perf_counter() - clock
        self.spent += float((self._generator.nfe(ahead) - self._generator.nfe(state)).sum())
        return ahead

    def finish(self, state: Any) -> Generated:
        clock = time.perf_counter()
        generated = self._generator.finish(state)
        self.seconds += time.perf_counter() - clock
        self.spent += float((generated.nfe - self._generator.nfe(state)).sum())
        return generated

    def generate(self, z: Any, conditions: Any) -> Generated:
        return self.finish(self.start(z, conditions))


class Replayed:
    """A generator whose trajectories are kept by latent: the same plain draws serve every objective.

    Args:
        generator: makes a trajectory when its latent is first seen.
    """

    def __init__(self, generator: Counted) -> None:
        self._generator = generator
        self._kept: dict[bytes, dict[int, Array]] = {}  # images at the checkpoints and at the end
        self.spent, self.seconds = 0.0, 0.0
        self.prior, self.fingerprint, self.steps = generator.prior, generator.fingerprint, generator.steps

    def start(self, z: Any, conditions: Any, *, step: int = 0) -> tuple[int, list[bytes]]:
        keys = [row.numpy().tobytes() for row in z["latents"]]
        new = [i for i, key in enumerate(keys) if key not in self._kept]
        if new:
            state, images = self._generator.start({"latents": z["latents"][new]}, [{}] * len(new)), {}
            for to in CHECKPOINTS:
                state = self._generator.advance(state, to)
                images[to] = self._generator.estimate(state)
            images[STEPS] = self._generator.finish(state).outputs
            for k, i in enumerate(new):
                self._kept[keys[i]] = {to: np.asarray(made[k]) for to, made in images.items()}
        return step, keys

    def advance(self, state: tuple[int, list[bytes]], to: int) -> tuple[int, list[bytes]]:
        self.spent += (to - state[0]) * len(state[1])
        return to, state[1]

    def select(self, states: Any, rows: Any) -> tuple[int, list[bytes]]:
        return states[0][0], [states[s][1][i] for s, i in rows]

    def estimate(self, state: tuple[int, list[bytes]]) -> Array:
        return np.stack([self._kept[key][state[0]] for key in state[1]])

    def nfe(self, state: tuple[int, list[bytes]]) -> Array:
        return np.full(len(state[1]), float(state[0]))

    def finish(self, state: tuple[int, list[bytes]]) -> Generated:
        done = self.advance(state, STEPS)
        return Generated(self.estimate(done), self.nfe(done), 0.0)

    def generate(self, z: Any, conditions: Any) -> Generated:
        return self.finish(self.start(z, conditions))


def search(
    made: Task, generator: Counted | Replayed, which: str, repeat: int, pruner: BasePruner | None
) -> tuple[Array, float]:
    """A search until N full generations are spent: (NFE, best) after every batch, and the share that was stopped."""
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=repeat),
        pruner=pruner or optuna.pruners.NopPruner(),
    )
    policy = draws(generator.prior, 100_000, axes=2) if which == "draws" else None
    trace, generator.spent = [], 0.0

    def note(study: optuna.Study, _: Any) -> None:
        told = OptunaHost(study, generator, made.objective).told()
        done = np.isfinite(made.objective.losses(told.values)).all(axis=1)  # the others were stopped
        worth = made.worth({name: column[done] for name, column in told.values.items()})
        trace.append((generator.spent, float(worth[-1]) if len(worth) else -np.inf))
        if generator.spent >= N * STEPS:
            study.stop()

    # With checkpoints the NFE end the search, so more trials are allowed than these can pay.
    trials = N if pruner is None else 4 * N
    options: dict[str, Any] = {"policy": policy} if policy else {}
    checkpoints = CHECKPOINTS if pruner else ()
    optimize(
        study, generator, made.objective, total_trials=trials, rng=repeat, batch_size=BATCH, checkpoints=checkpoints,
        callbacks=[note], progress=False, **options,
    )  # fmt: skip
    states = [trial.state == optuna.trial.TrialState.PRUNED for trial in study.get_trials(deepcopy=False)]
    return np.array(trace), float(np.mean(states))


def at(trace: Array, nfe: float) -> float:
    """The best within some NFE; the first batch's before that."""
    row = int(np.searchsorted(trace[:, 0], nfe, side="right")) - 1
    return float(trace[max(row, 0), 1])


def compare(whole: Sequence[Array], stopped: Sequence[Array], sd: float) -> tuple[float, float]:
    """Share of the NFE at which the median best is as good, and the difference of mean bests in standard deviations.

    Args:
        whole: traces of whole trajectories, one a repeat.
        stopped: traces with checkpoints.
        sd: of plain draws.
    """
    budget = N * STEPS
    goal = np.median([at(trace, budget) for trace in whole])
    grid = np.arange(0.1, 1.5, 0.01) * budget
    reached = [nfe for nfe in grid if np.median([at(trace, nfe) for trace in stopped]) >= goal]
    share = reached[0] / budget if reached else np.inf
    means = [np.mean([at(trace, budget) for trace in traces]) for traces in (stopped, whole)]
    return float(share), float((means[0] - means[1]) / sd)


def spread(made: Task, generator: Counted, n: int = 256) -> float:
    """Standard deviation of what plain draws are worth."""
    bank = Bank(generator.prior, [Draw(2**40, k) for k in range(n)])
    images = [generator.generate(bank.latents(np.eye(n)[k : k + 32]), [{}] * 32).outputs for k in range(0, n, 32)]
    values = made.values(np.concatenate(images))
    (metric,) = made.objective.optimised
    return float(values[metric.name].std())


def overhead(made: Task, generator: Counted) -> float:
    """Time in checkpoints over time in generation, for one search."""
    spent = [0.0]
    check: Callable[..., None] = Checkpoints._check

    def timed(self: Checkpoints, *args: Any) -> None:
        clock = time.perf_counter()
        check(self, *args)
        spent[0] += time.perf_counter() - clock

    Checkpoints._check = timed  # type: ignore[method-assign]
    try:
        generator.seconds = 0.0
        search(made, generator, "draws", 0, PercentilePruner(KEEP))
    finally:
        Checkpoints._check = check  # type: ignore[method-assign]
    return spent[0] / generator.seconds


def report(name: str, value: float, goal: float, *, at_least: bool = False) -> None:
    met = value >= goal if at_least else value <= goal
    print(f"RESULT {name} {value:.3f} {'>=' if at_least else '<='}{goal:g} {'ok' if met else 'short'}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--searches", nargs="*", default=["draws", "planned"])
    parser.add_argument("--objectives", nargs="*")
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--keep", type=float, default=KEEP)
    parser.add_argument("--results", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    names = arguments.objectives or (QUICK if arguments.quick else NAMES)
    repeats = arguments.repeats or (2 if arguments.quick else 10)
    generator = Counted(avatar_generator("happy mouth", steps=STEPS, guidance=1.0, revision="benchmark"))
    spreads = {name: spread(task(name), generator) for name in names}
    replayed, rows = Replayed(generator), list[dict[str, Any]]()
    for which in arguments.searches:
        shares, differences, stopped = [], [], []
        used = replayed if which == "draws" else generator
        for name in names:
            pairs = [
                [search(task(name), used, which, r, pruner) for pruner in (None, PercentilePruner(arguments.keep))]
                for r in range(repeats)
            ]
            share, difference = compare([w for (w, _), _ in pairs], [c for _, (c, _) in pairs], spreads[name])
            halted = float(np.mean([fraction for _, (_, fraction) in pairs]))
            print(
                f"{which:8} {name:12} share {share:.2f} difference {difference:+.2f} stopped {halted:.2f}", flush=True
            )
            rows.append({"search": which, "objective": name, "repeats": repeats, "share": round(share, 3),
                         "difference": round(difference, 3), "stopped": round(halted, 3)})  # fmt: skip
            shares, differences, stopped = [*shares, share], [*differences, difference], [*stopped, halted]
        report(f"{which}_share", float(np.median(shares)), 0.6)
        report(f"{which}_difference", min(differences), -0.1, at_least=True)
        print(f"{which}: {np.mean(stopped):.0%} of the trials were stopped", flush=True)
    report("overhead_ratio", overhead(task("symmetry"), generator), 0.1)
    if arguments.results:
        with arguments.results.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
