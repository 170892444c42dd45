"""What a sampler finds in a box that moved, when it sees the trials of all rounds or those of its own round only.

A quadratic on [0, 1]^5 whose optimum is in one corner for 40 trials and in the opposite one for the next 40, as when a
box moves and u means something else. Trials are asked and told in batches of 8, through `RoundSampler`: once with one
number for both rounds, so that all trials are seen, once with two. Prints the median over seeds of the second round's
best, which is 0 at the optimum:

    RESULT moved_<sampler>_all <best> - ok
    RESULT moved_<sampler>_own <best> <=<best with all> ok|short

    python examples/benchmarks/moved_optimum.py            # 10 seeds, 3 for GPSampler: 4 minutes
    python examples/benchmarks/moved_optimum.py --quick    # without GPSampler: under a minute
"""

from __future__ import annotations

import argparse
import statistics
import warnings
from collections.abc import Callable

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, TPESampler

from surrogate_ax_optuna.sampler import RoundSampler, for_batches

BATCH, TRIALS = 8, 40
OPTIMA = np.full(5, 0.8), np.array([0.2, 0.3, 0.25, 0.35, 0.2])
SPACE: dict[str, BaseDistribution] = {f"u{i}": FloatDistribution(0, 1) for i in range(5)}
SAMPLERS: dict[str, tuple[int, Callable[[int], BaseSampler]]] = {
    "TPE": (10, lambda seed: TPESampler(seed=seed, multivariate=True)),
    "CmaEs": (10, lambda seed: CmaEsSampler(seed=seed)),
    "GP": (3, lambda seed: GPSampler(seed=seed, deterministic_objective=True)),
}


def second_best(sampler: BaseSampler, *, own: bool) -> float:
    """The best value of the second round."""
    study, inner = optuna.create_study(sampler=sampler), for_batches(sampler, BATCH)
    values: list[float] = []
    for number, optimum in enumerate(OPTIMA):
        study.sampler, values = RoundSampler(inner, SPACE, number if own else 0), []
        for _ in range(TRIALS // BATCH):
            for trial in [study.ask(SPACE) for _ in range(BATCH)]:
                u = np.array([trial.params[name] for name in SPACE])
                values.append(float(((u - optimum) ** 2).sum()))
                study.tell(trial, values[-1])
    return min(values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    for name, (seeds, make) in SAMPLERS.items():
        if quick and name == "GP":
            continue
        every, own = (statistics.median(second_best(make(s), own=only) for s in range(seeds)) for only in (False, True))
        print(f"RESULT moved_{name}_all {every:.2g} - ok")
        print(f"RESULT moved_{name}_own {own:.2g} <={every:.2g} {'ok' if own <= every else 'short'}", flush=True)


if __name__ == "__main__":
    main()
