"""One of several processes on a study: `worker.py DATABASE TOTAL LOG SAMPLER` notes the size of each of its batches."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import optuna
import torch
from optuna.samplers import RandomSampler

from surrogate_ax import FunctionGenerator, Metric, Objective
from surrogate_ax_optuna import SurrogateSampler, optimize, sqlite


def main(path: str, total: int, log: str, sampler: str) -> None:
    def generate(z: torch.Tensor) -> torch.Tensor:
        with open(log, "a") as notes:
            notes.write(json.dumps({"process": os.getpid(), "n": len(z)}) + "\n")
        while len({json.loads(line)["process"] for line in Path(log).read_text().splitlines()}) < 2:
            time.sleep(0.05)
        return z

    objective = Objective(Metric("first"), score=lambda outputs, _: outputs[:, 0])
    study = optuna.create_study(
        study_name="shared",
        storage=sqlite(path),
        sampler=SurrogateSampler() if sampler == "planned" else RandomSampler(seed=0),
        direction="maximize",
        load_if_exists=True,
    )
    generator = FunctionGenerator(generate, (16,), revision="1", check_rows=False)
    optimize(study, generator, objective, total_trials=total, batch_size=3, rng=0, progress=False)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
