"""One of several processes on a study: `worker.py DATABASE TOTAL LOG` notes the size of each batch that it makes."""

from __future__ import annotations

import json
import os
import sys
import time

import torch
from optuna.samplers import RandomSampler

from surrogate_ax import FunctionGenerator, Metric, Objective
from surrogate_ax_optuna import open_study, optimize, sqlite


def main(path: str, total: int, log: str) -> None:
    def generate(z: torch.Tensor) -> torch.Tensor:
        with open(log, "a") as notes:
            notes.write(json.dumps({"process": os.getpid(), "n": len(z)}) + "\n")
        time.sleep(0.02)
        return z

    objective = Objective(Metric("first"), score=lambda outputs, _: outputs[:, 0])
    study = open_study(sqlite(path), "shared", objective, sampler=RandomSampler())
    generator = FunctionGenerator(generate, (16,), revision="1")
    optimize(study, generator, objective, total_trials=total, batch_size=3, rng=0, progress=False)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
