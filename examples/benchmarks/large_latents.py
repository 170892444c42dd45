"""What a planned search costs beside the generator where latents are as large as those of FLUX or of video models.

Each run is a process of its own: N outputs of a fixed smooth function of latents of D entries, in rounds of 8, one
thread, latents made on the CPU. Every line `RESULT name value goal ok|short`:

    large_D_N_ms        processor time of a trial beyond the generator, in milliseconds
    large_D_share       the same at N = 100 over an output that takes a second
    large_D_growth      a trial at N = 200 over a trial at N = 50
    large_D_mb          peak memory of the process at N = 200, in MB

    python examples/benchmarks/large_latents.py            # D = 65,536 and 262,144: a minute
    python examples/benchmarks/large_latents.py --quick    # D = 65,536
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy and torch are imported

SIZES, TRIALS, BATCH = (65_536, 262_144), (50, 100, 200), 8
GOAL_MS, SHARE, GROWTH, MB = 10.0, 0.02, 1.5, 1000


def measure(dim: int, trials: int) -> None:
    """Print milliseconds a trial beyond the generator, and peak memory in MB."""
    import numpy as np
    import optuna
    import torch

    from surrogate_ax import FunctionGenerator, Metric, Objective
    from surrogate_ax_optuna import create_study, optimize

    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    generating = [0.0]

    def smooth(z: Any) -> Any:
        clock = time.process_time()
        parts = z.reshape(len(z), 16, -1)
        outputs = torch.tanh(parts.mean(dim=2) * parts.shape[2] ** 0.5)
        generating[0] += time.process_time() - clock
        return outputs

    wanted = np.random.default_rng(0).normal(size=16)
    objective = Objective(Metric("near", "maximize"), score=lambda y, _: y.double().numpy() @ wanted)
    generator = FunctionGenerator(smooth, (dim,), check_rows=False)
    study = create_study(objective)
    clock = time.process_time()
    optimize(study, generator, objective, total_trials=trials, batch_size=BATCH, rng=0, progress=False)
    spent = time.process_time() - clock - generating[0]
    unit = 1 if sys.platform == "darwin" else 1024
    print(1000 * spent / trials, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6)


def report(name: str, value: float, goal: float) -> None:
    print(f"RESULT {name} {value:.3g} <={goal:g} {'ok' if value <= goal else 'short'}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--measure", type=int, nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(*arguments.measure)
        return
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(part for part in sys.path if part)}
    for dim in SIZES[:1] if arguments.quick else SIZES:
        found, memory = dict[int, float](), 0.0
        for trials in TRIALS:
            command = [sys.executable, __file__, "--measure", str(dim), str(trials)]
            output = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
            found[trials], memory = map(float, output.split()[-2:])
            report(f"large_{dim}_{trials}_ms", found[trials], GOAL_MS)
        report(f"large_{dim}_share", found[100] / 1000, SHARE)
        report(f"large_{dim}_growth", found[200] / found[50], GROWTH)
        report(f"large_{dim}_mb", memory, MB)


if __name__ == "__main__":
    main()
