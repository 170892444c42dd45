"""Ax's models as the proposers of a search, through the client that a user has: `optimize` with a `model`.

    python ax_drives.py [--methods ...] [--tasks ...] [--budgets 50 100] [--repeats 2]

Rows go to ax_drives.csv; cells that are there are passed over. Every cell is a client of its own
and makes its images with the stock generator, so no cells run in lockstep here. "Ax drives" is Ax's own choice of model
in boxes that move, "Ax coefficients drives" the model that knows where points of every round lie.
"""

from __future__ import annotations

import argparse
import logging
import os
import time
from itertools import product
from pathlib import Path

import numpy as np
from ax.api.client import Client
from drives import BATCH
from embedded import STEPS, Model, stock
from library import PRIOR
from lockstep import Images, Trace, seconds
from objectives import NAMES, Task, task
from run import AX, RESULTS, append, keep, read, rows

from surrogate_ax import FunctionGenerator
from surrogate_ax_platform import configure_experiment, optimize

MODELS = dict(zip(AX, ("ax", "coefficients"), strict=True))


def cell(task: Task, repeat: int, n: int, model: str) -> Trace:
    """A search of n trials with one client."""
    trace, pipeline, clock = Trace(), stock(), time.process_time()

    def images(z: object) -> object:
        nonlocal clock
        trace.planning.append(time.process_time() - clock)
        made = np.asarray(pipeline.generate(z, [{}] * len(z)).outputs)
        trace.latents.append(np.asarray(z).reshape(len(z), -1))
        trace.values.append(task.values(made))
        trace.sizes.append(len(z))
        trace.nfe.append(STEPS * len(z))
        trace.seconds.append(seconds(len(z)))
        clock = time.process_time()
        return made

    generator = FunctionGenerator(images, PRIOR, nfe=STEPS, revision="benchmark")
    client = Client(random_seed=repeat)
    configure_experiment(client, generator, task.objective, model=model)
    optimize(client, generator, task.objective, total_trials=n, batch_size=BATCH, rng=repeat, progress=False)
    trace.planning.append(time.process_time() - clock)
    return trace


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="*", default=list(MODELS))
    parser.add_argument("--tasks", nargs="*", default=list(NAMES))
    parser.add_argument("--budgets", nargs="*", type=int, default=[50, 100])
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--results", type=Path, default=RESULTS.with_name("ax_drives.csv"))
    arguments = parser.parse_args()
    os.nice(5)
    logging.disable(logging.WARNING)
    images = Images(Model(compiled=False))  # of the best rows only, where there is a pool to compare them with
    cells = product(arguments.budgets, range(arguments.repeats), arguments.tasks, arguments.methods)
    for n, repeat, name, method in cells:
        known = {(r["method"], r["task"], int(r["budget"]), int(r["repeat"])) for r in read(arguments.results)}
        if (method, name, n, repeat) in known:
            continue
        trace = cell(task(name), repeat, n, MODELS[method])
        append(arguments.results, rows(method, name, repeat, n, trace, images))
        keep(method, name, repeat, n, trace)
        print(f"{method}, {name}, N={n}, repeat {repeat}: {sum(trace.planning):.0f} s of planning", flush=True)


if __name__ == "__main__":
    main()
