"""What Ray's actors gain: two of them against one, and one against the plain loop in this process.

The avatar model, 8 steps, rounds of plain draws in batches of 16, one thread of torch in each process, on a cluster of
this machine. Searches in this process, with one actor and with two take turns, so that a busy machine slows all alike.
Each gain is the median over turns. Every line `RESULT name value goal ok|short`:

    ray_gain         trials a second with two actors over one actor
    ray_cost         trials a second with one actor over this process alone
    ray_difference   the largest difference between a value with actors and the same trial's without

    python examples/benchmarks/ray_actors.py            # 9 turns, some minutes on two idle cores
    python examples/benchmarks/ray_actors.py --quick    # 3 turns

Lines that begin with `#` give each turn, with the load of the machine.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy and torch are imported

import numpy as np
import optuna
import torch

from surrogate_ax import Metric, Objective
from surrogate_ax.policies.basic import draws
from surrogate_ax_diffusers import avatar_generator
from surrogate_ax_optuna import create_study, optimize
from surrogate_ax_ray import RayGenerator

GAIN, COST, DIFFERENCE = 1.6, 0.85, 1e-4
STEPS, BATCH, BATCHES = 8, 16, 3
CALL = {"prompt": "happy mouth", "steps": STEPS}


def warmth(images: Any, conditions: Any) -> Any:
    pixels = np.asarray(images)
    return (pixels[..., 0] - pixels[..., 2]).mean(axis=(1, 2))


def searched(generator: Any, batches: int) -> tuple[float, list[float]]:
    """Trials a second of a search, and their values."""
    objective = Objective(Metric("warmth", "maximize"), score=warmth)
    study = create_study(objective)
    policy = draws(generator.prior, batches * BATCH, axes=4)
    began = time.perf_counter()
    optimize(
        study,
        generator,
        objective,
        total_trials=batches * BATCH,
        batch_size=BATCH,
        policy=policy,
        rng=0,
        progress=False,
    )
    return batches * BATCH / (time.perf_counter() - began), [trial.value for trial in study.trials]


def result(name: str, value: float, goal: float, *, at_most: bool = False) -> bool:
    good = value <= goal if at_most else value >= goal
    print(f"RESULT {name} {value:.3g} {'<=' if at_most else '>='}{goal:g} {'ok' if good else 'short'}", flush=True)
    return good


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="3 turns")
    turns = 3 if parser.parse_args().quick else 9
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    gains, costs, differences = list[float](), list[float](), list[float]()
    options = {"arguments": CALL, "resources": {"num_cpus": 1}}
    factory = "surrogate_ax_diffusers:avatar_generator"
    # Two first: the cluster of this machine is as large as they ask for, and the third actor asks for no processor.
    with (
        RayGenerator(factory, num_actors=2, **options) as two,
        RayGenerator(factory, arguments=CALL, resources={"num_cpus": 0}) as one,
    ):
        generators = {"here": avatar_generator(**CALL), "one": one, "two": two}
        for generator in generators.values():
            searched(generator, 1)  # the first call of a process is slower
        for turn in range(turns):
            found = {name: searched(generator, BATCHES) for name, generator in generators.items()}
            rate = {name: each[0] for name, each in found.items()}
            gains.append(rate["two"] / rate["one"])
            costs.append(rate["one"] / rate["here"])
            here = np.array(found["here"][1])
            differences += [float(np.abs(np.array(found[name][1]) - here).max()) for name in ("one", "two")]
            rates = ", ".join(f"{name} {value:.2f}/s" for name, value in rate.items())
            print(f"# turn {turn}: {rates}, load {os.getloadavg()[0]:.1f}", flush=True)
    result("ray_gain", statistics.median(gains), GAIN)
    result("ray_cost", statistics.median(costs), COST)
    result("ray_difference", max(differences), DIFFERENCE, at_most=True)


if __name__ == "__main__":
    main()
