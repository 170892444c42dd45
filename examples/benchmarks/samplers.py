"""Does confining a sampler to a round cost it anything? Wrapped against bare on a known function.

The function is a quadratic with a cosine ripple on [0, 1]^7, its minimum of 0 off the centre. Trials are asked and told
in batches, as a generator wants them. "Bare" is the sampler as a user makes it, "wrapped" is
`RoundSampler(for_batches(sampler, batch), ...)`, both with the same seeds. The ratio of their median best values is to
be at most 1.10.

The last numbers are the processor time of one ask in memory, wrapped over bare, in a study of 500 trials in one round.

    python examples/benchmarks/samplers.py            # 10 seeds, 64 trials in batches of 8: minutes
    python examples/benchmarks/samplers.py --quick    # fewer seeds where a sampler is slow, under a minute
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import optuna
import torch
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, NSGAIISampler, QMCSampler, RandomSampler, TPESampler
from optuna.trial import TrialState

from surrogate_ax_optuna.attributes import ROUND_ATTR
from surrogate_ax_optuna.sampler import RoundSampler, for_batches

DIM = 7
BATCH = 8
LIMIT = 1.10
SPACE: dict[str, BaseDistribution] = {f"u{i}": FloatDistribution(0, 1) for i in range(DIM)}
OPTIMUM = [0.30, 0.62, 0.71, 0.38, 0.55, 0.26, 0.68]


@dataclass(frozen=True)
class Case:
    """A sampler, the seeds it runs on and the trials of each run."""

    name: str
    make: Callable[[int], BaseSampler]
    trials: int
    quick_trials: int
    seeds: int = 10
    quick_seeds: int = 5


def botorch(seed: int) -> BaseSampler:
    """Make Optuna's BoTorchSampler, whose import takes seconds."""
    from optuna_integration import BoTorchSampler

    sampler: BaseSampler = BoTorchSampler(seed=seed)
    return sampler


CASES = (
    Case("cma_es", lambda seed: CmaEsSampler(seed=seed), 64, 64, quick_seeds=10),
    Case("tpe", lambda seed: TPESampler(seed=seed), 64, 64, quick_seeds=10),
    Case("independent_tpe", lambda seed: TPESampler(seed=seed, multivariate=False), 64, 64),
    Case("gp", lambda seed: GPSampler(seed=seed), 40, 16, quick_seeds=3),
    Case("botorch", botorch, 24, 24, quick_seeds=0),
    Case("nsga_ii", lambda seed: NSGAIISampler(seed=seed, population_size=BATCH), 64, 64, quick_seeds=10),
    Case("qmc", lambda seed: QMCSampler(seed=seed, scramble=True), 64, 64, quick_seeds=10),
    Case("random", lambda seed: RandomSampler(seed=seed), 64, 64, quick_seeds=10),
)


def rippled_quadratic(u: list[float]) -> float:
    """Score a point of [0, 1]^7; the minimum is 0 at `OPTIMUM`."""
    squares = sum((x - o) ** 2 for x, o in zip(u, OPTIMUM, strict=True))
    ripple = sum(1 - math.cos(6 * math.pi * (x - o)) for x, o in zip(u, OPTIMUM, strict=True))
    return squares + 0.02 * ripple


def best(sampler: BaseSampler, trials: int) -> float:
    """Return the lowest value of one study, asked and told in batches."""
    study = optuna.create_study(sampler=sampler)
    for _ in range(trials // BATCH):
        batch = [study.ask(SPACE) for _ in range(BATCH)]
        for trial in batch:
            study.tell(trial, rippled_quadratic([trial.params[name] for name in SPACE]))
    return study.best_value


def verdict(ratio: float) -> str:
    """Say whether a ratio is within the limit."""
    return "ok" if ratio <= LIMIT else "short"


def compare(case: Case, *, quick: bool) -> float:
    """Print and return the ratio of median best values, wrapped over bare."""
    trials, seeds = (case.quick_trials, case.quick_seeds) if quick else (case.trials, case.seeds)
    if seeds == 0:
        print(f"{case.name}: left out of --quick")
        return math.nan
    bare, wrapped = [], []
    for seed in range(seeds):
        bare.append(best(case.make(seed), trials))
        wrapped.append(best(RoundSampler(for_batches(case.make(seed), BATCH), SPACE, round=1), trials))
    ratio = statistics.median(wrapped) / statistics.median(bare)
    print(
        f"{case.name}: {trials} trials, {seeds} seeds, median best "
        f"wrapped {statistics.median(wrapped):.4f}, bare {statistics.median(bare):.4f}"
    )
    print(f"RESULT sampler_{case.name}_ratio {ratio:.3f} <={LIMIT:.2f} {verdict(ratio)}")
    return ratio


def ask_overhead(name: str, make: Callable[[], BaseSampler], history: int = 500, asks: int = 20) -> float:
    """Print and return the processor time of one ask, wrapped over bare, medians of interleaved asks."""
    studies = [optuna.create_study(sampler=make()), optuna.create_study(sampler=RoundSampler(make(), SPACE, round=1))]
    points = np.random.default_rng(0).random((history, DIM)).tolist()
    for study in studies:
        for point in points:
            params = dict(zip(SPACE, point, strict=True))
            value = rippled_quadratic(point)
            study.add_trial(
                optuna.create_trial(params=params, distributions=SPACE, value=value, user_attrs={ROUND_ATTR: 1})
            )
    seconds: list[list[float]] = [[], []]
    for _ in range(asks):
        for study, spent in zip(studies, seconds, strict=True):
            start = time.process_time()
            trial = study.ask(SPACE)
            spent.append(time.process_time() - start)
            study.tell(trial, state=TrialState.FAIL)
    bare, wrapped = (statistics.median(spent) for spent in seconds)
    print(f"{name}: one ask after {history} trials, wrapped {wrapped * 1e3:.2f} ms, bare {bare * 1e3:.2f} ms")
    print(f"RESULT sampler_{name}_ask_ratio {wrapped / bare:.3f} <={LIMIT:.2f} {verdict(wrapped / bare)}")
    return wrapped / bare


def main() -> None:
    """Run all comparisons."""
    parser = argparse.ArgumentParser(description="Samplers wrapped for rounds against the same samplers bare.")
    parser.add_argument("--quick", action="store_true", help="fewer seeds and trials, under a minute")
    parser.add_argument("--only", choices=[case.name for case in CASES], help="run one sampler")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    warnings.filterwarnings("ignore", "qExpectedImprovement has known numerical issues")  # BoTorchSampler's default
    for case in CASES:
        if arguments.only in (None, case.name):
            compare(case, quick=arguments.quick)
    if arguments.only is None:
        ask_overhead("tpe", lambda: TPESampler(seed=0))
        ask_overhead("independent_tpe", lambda: TPESampler(seed=0, multivariate=False))
        ask_overhead("random", lambda: RandomSampler(seed=0))


if __name__ == "__main__":
    main()
