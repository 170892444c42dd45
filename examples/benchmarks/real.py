"""Ways to spend the same network evaluations on a pipeline of your own: the protocol that this project publishes by.

    python examples/benchmarks/real.py --pipeline models/sd --score scores:likeness --prompt "a red car" --device cuda
    python examples/benchmarks/real.py                  # the embedded portraits, by their contrast
    python examples/benchmarks/real.py --quick          # the same, small

Each method has the NFE of N whole outputs, in each repeat, and all of them the same generator, score and batches. What
does not hang on the method is fixed: seeds are the repeats, latents typical draws, scores maximised.

    plain draws          the best of N draws
    by hand              an ask-and-tell loop with Optuna's TPE over one box of 8 random seeds
    TPE in moving boxes  `optimize` with the same sampler
    planned              `optimize(total_trials=N)`
    planned, stopping    `optimize(budget=N)`, where the pipeline can stop between steps

A row of the CSV is one search: its best value, mean and spread of its finished outputs, NFE and seconds; with device,
dtype, pipeline, digest of the fingerprint, call, and versions. Rows that are there are passed over, so that it goes on
after an interrupt. The median best of each method is told in spreads of plain draws above theirs. Prints
`RESULT <name> <value> <goal> ok|short`: no method may spend more than N outputs, and the planned search has to be above
all others.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import platform
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from optuna.samplers import TPESampler

from surrogate_ax import Generator, Metric, Objective, Steppable, SurrogateSpace, draws
from surrogate_ax.execution.batch_size import measure
from surrogate_ax_cli.best import read_overrides
from surrogate_ax_diffusers import load_pipeline, pipeline_generator, portrait_generator
from surrogate_ax_optuna import create_study, optimize, read_record, trial_function

RESULTS = Path(__file__).parent / "results" / "real.csv"
DRAWS, HAND, BOXES, PLANNED, STOPPING = "plain draws", "by hand", "TPE in moving boxes", "planned", "planned, stopping"
SEEDS = 8
CELL = ("fingerprint", "score", "budget", "method", "repeat")  # what a row is known by
FOUND = ("best", "mean", "spread", "trials", "nfe", "seconds")
MADE = ("pipeline", "device", "dtype", "batch", "call", "versions")


def contrast(images: Sequence[Any], conditions: object) -> list[float]:
    """Spread of each image's brightness."""
    return [float(np.asarray(image, dtype=float).mean(axis=-1).std()) for image in images]


def tpe(repeat: int) -> TPESampler:
    return TPESampler(seed=repeat, multivariate=True, constant_liar=True)


def by_hand(generator: Generator, objective: Objective, repeat: int, n: int, batch: int, device: str) -> optuna.Study:
    """What one writes without `optimize`: a box of random seeds, asked and told batch by batch."""
    study = create_study(objective, sampler=tpe(repeat))
    space = SurrogateSpace.sample(generator.prior, seeds=SEEDS, rng=repeat, device=device)
    function = trial_function(generator, objective, space=space, device=device)
    while (left := n - len(study.trials)) > 0:
        trials = [study.ask() for _ in range(min(batch, left))]
        for trial, value in zip(trials, function.evaluate(trials), strict=True):
            study.tell(trial, value)
    return study


def search(
    method: str, generator: Generator, objective: Objective, repeat: int, n: int, batch: int, device: str
) -> optuna.Study:
    """The study of one method, which has spent the NFE of n whole outputs at most."""
    if method == HAND:
        return by_hand(generator, objective, repeat, n, batch, device)
    study = create_study(objective, sampler=tpe(repeat) if method == BOXES else None)
    how: dict[str, Any] = {"budget": n} if method == STOPPING else {"total_trials": n}
    if method == DRAWS:
        how["policy"] = draws(generator.prior, n, axes=SEEDS, device=device)
    optimize(study, generator, objective, rng=repeat, batch_size=batch, device=device, progress=False, **how)
    return study


def cell(method: str, generator: Generator, objective: Objective, *how: Any) -> dict[str, Any]:
    """What a search has found, and what it has cost; arguments as for `search`."""
    clock = time.perf_counter()
    study = search(method, generator, objective, *how)
    seconds = time.perf_counter() - clock
    record = read_record(study, objective)
    values = record.history.values[objective.metrics[0].name]
    values = values[np.isfinite(values)]
    return {
        "best": round(float(values.max()), 6),
        "mean": round(float(values.mean()), 6),
        "spread": round(float(values.std()), 6),
        "trials": len(record.trials),
        "nfe": record.nfe,
        "seconds": round(seconds, 2),
    }


def facts(generator: Any, arguments: argparse.Namespace, batch: int) -> dict[str, Any]:
    """What a row says of the pipeline and of the machine."""
    pipe, device = generator._pipe, generator.device
    digest = hashlib.sha256(json.dumps(dict(generator.fingerprint), sort_keys=True).encode()).hexdigest()[:12]
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{platform.machine()} CPU"
    names = ("surrogate-ax", "torch", "diffusers", "transformers", "optuna")
    return {
        "fingerprint": digest,
        "score": arguments.score or "contrast",
        "budget": arguments.budget,
        "pipeline": type(pipe).__name__,
        "device": name,
        "dtype": str(pipe.dtype).removeprefix("torch."),
        "batch": batch,
        "call": generator.fingerprint["call"],
        "versions": " ".join([f"python={platform.python_version()}", *(f"{n}={version(n)}" for n in names)]),
    }


def read(path: Path) -> list[dict[str, str]]:
    """Rows of the CSV, none where it is not there."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def append(path: Path, row: Mapping[str, Any]) -> None:
    new = not path.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, [*CELL, *FOUND, *MADE], lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)


def report(rows: Sequence[Mapping[str, Any]], most: float) -> None:
    """What the rows of one pipeline, score and budget say."""
    of = {row["method"]: [other for other in rows if other["method"] == row["method"]] for row in rows}
    best = {method: float(np.median([float(row["best"]) for row in some])) for method, some in of.items()}
    spread = float(np.median([float(row["spread"]) for row in of[DRAWS]]))
    spent = max(float(row["nfe"]) for row in rows)
    print(f"RESULT real_nfe {spent:g} <={most:g} {'ok' if spent <= most else 'short'}")
    for method, value in best.items():
        print(f"# {method}: median best {value:.5g}, {(value - best[DRAWS]) / spread:.2f} spreads above plain draws")
    for ours in (PLANNED, STOPPING):
        for method in (DRAWS, HAND, BOXES) if ours in best else ():
            ahead = (best[ours] - best[method]) / spread
            name = f"{ours} over {method}".lower().replace(",", "").replace(" ", "_")
            print(f"RESULT real_{name} {ahead:.3g} >0 {'ok' if ahead > 0 else 'short'}")


def made(arguments: argparse.Namespace) -> Any:
    """The generator."""
    if arguments.pipeline is None:
        return portrait_generator(arguments.prompt or "smiling", steps=arguments.steps)
    pipe = load_pipeline(arguments.pipeline, dtype=getattr(torch, arguments.dtype))
    call = {"output_type": "np"} | read_overrides(arguments.set, arguments.steps)
    call |= {} if arguments.prompt is None else {"prompt": arguments.prompt}
    return pipeline_generator(pipe, device=arguments.device, **call)


def scored(name: str | None) -> Any:
    """The score, as "module:function" of the current folder or of an installed package."""
    if name is None:
        return contrast
    sys.path.insert(0, os.getcwd())
    module, _, function = name.partition(":")
    return getattr(import_module(module), function)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pipeline", help="what load_pipeline takes: a folder, or a repository in the cache")
    parser.add_argument("--score", help="module:function(outputs, conditions): n numbers, the higher the better")
    parser.add_argument("--prompt")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--set", action="append", default=[], help="further call arguments, as guidance_scale=5")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", default="float32", choices=["float32", "float16", "bfloat16"])
    parser.add_argument("--budget", type=int, default=100, help="N, in whole outputs")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--quick", action="store_true", help="24 outputs, 2 repeats, 4 steps; keeps no rows")
    arguments = parser.parse_args()
    if arguments.pipeline and not arguments.score:
        parser.error("--score: say how outputs of your pipeline are judged")
    if arguments.quick:
        arguments.budget, arguments.repeats, arguments.steps = 24, 2, 4
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    generator, objective = made(arguments), Objective(Metric("score"), score=scored(arguments.score))
    device = str(generator.device)
    found = measure(generator, 16, rng=0, device=device)
    print(f"{type(generator._pipe).__name__} on {device}, {found}", flush=True)
    known = facts(generator, arguments, found.size)
    methods = [DRAWS, HAND, BOXES, PLANNED, *([STOPPING] if isinstance(generator, Steppable) else [])]
    rows = [] if arguments.quick else read(arguments.results)
    rows = [row for row in rows if all(row[name] == str(known[name]) for name in ("fingerprint", "score", "budget"))]
    done = {(row["method"], int(row["repeat"])) for row in rows}
    for repeat in range(arguments.repeats):
        for method in methods:
            if (method, repeat) in done:
                continue
            row = known | {"method": method, "repeat": repeat}
            row |= cell(method, generator, objective, repeat, arguments.budget, found.size, device)
            rows.append(row)
            if not arguments.quick:
                append(arguments.results, row)
            print(f"{method}, repeat {repeat}: best {row['best']:.4f}, {row['seconds']:.0f} s", flush=True)
    whole = [row for row in rows if row["method"] == DRAWS]
    report(rows, max(float(row["nfe"]) for row in whole))


if __name__ == "__main__":
    main()
