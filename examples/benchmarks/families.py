"""Every named kind of pipeline, driven through its own class: exactness of batches, and what the adapter costs.

The pipelines are the tiny ones of the tests, with random weights, so that only the code around the networks is
measured; one thread; n = 4 items under two prompts. Times are processor time, so that other work on the machine does
not count. For each kind, and for the embedded model:

    <kind>_batch       largest difference between items of a batch and the same items one at a time; images and clips in
                       [0, 1], sound in [-1, 1], structures in nanometres, as their pipeline has them
    <kind>_repeat      largest difference between two runs of a batch
    <kind>_adapter_ms  time of `generate` beyond the pipeline's own call that it makes, a batch, median
    <kind>_seconds     time of making the pipeline and its generator, and of a first batch
    <kind>_stop_ms     what a stop between steps costs: a batch advanced in three parts over the whole batch, runs
                       interleaved, a stop, median; decoding is not in it
    <kind>_survivors   largest difference between two survivors of a stop and the same items of the whole batch

    python examples/benchmarks/families.py              # about a minute
    python examples/benchmarks/families.py --quick      # half of one
    python examples/benchmarks/families.py --only Wan
"""

from __future__ import annotations

import argparse
import os
import runpy
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy and torch are imported
sys.path.insert(0, str(Path(__file__).parents[2]))  # the tiny pipelines are those of the tests

import diffusers
import numpy as np
import torch
import transformers

from surrogate_ax import Steppable
from surrogate_ax_diffusers import (
    PipelineGenerator,
    ProteinGenerator,
    avatar_generator,
    pipeline_generator,
    unconditional,
)
from tests.integrations.diffusers import tiny, tiny_families

N = 4
Prompts = tuple[str, ...]
PROTEINS = "RFD4Proteina"


def report(name: str, value: float, goal: float) -> None:
    print(f"RESULT {name} {value:.3g} <={goal:g} {'ok' if value <= goal else 'short'}", flush=True)


def largest(a: Any, b: Any) -> float:
    return float(np.abs(np.asarray(a, dtype=float) - np.asarray(b, dtype=float)).max())


def seconds(run: Callable[[], object]) -> float:
    clock = time.process_time()
    run()
    return time.process_time() - clock


def latents(generator: Any) -> dict[str, torch.Tensor]:
    xi = torch.randn(N, generator.prior.dim, generator=torch.Generator().manual_seed(0))
    return dict(generator.prior.from_inner(xi))


def adapter(generator: Any, z: Any, conditions: Any, runs: int) -> float:
    """Median seconds of `generate` outside the pipeline's calls."""
    kind = type(generator._pipe)
    inside = [0.0]
    own = kind.__call__

    def timed(*args: Any, **kwargs: Any) -> Any:
        clock = time.process_time()
        result = own(*args, **kwargs)
        inside[0] += time.process_time() - clock
        return result

    kind.__call__ = timed
    try:
        outside = []
        for _ in range(runs):
            inside[0] = 0.0
            outside.append(seconds(lambda: generator.generate(z, conditions)) - inside[0])
    finally:
        kind.__call__ = own
    return statistics.median(outside)


def stopping(generator: Any, z: Any, conditions: Any, runs: int) -> tuple[float, float]:
    """Median seconds of a stop, and the largest difference that it makes to survivors."""
    steps = generator.steps
    stops = [max(1, steps // 3), max(2, 2 * steps // 3)]

    def stepped() -> Any:
        state = generator.start(z, conditions)
        for to in stops:
            state = generator.advance(state, to)
        return generator.finish(state).outputs

    whole = generator.generate(z, conditions).outputs
    state = generator.advance(generator.start(z, conditions), stops[0])
    kept = generator.finish(generator.select([state], [(0, 2), (0, 0)])).outputs
    extra = [seconds(stepped) - seconds(lambda: generator.generate(z, conditions)) for _ in range(runs)]
    return statistics.median(extra) / len(stops), largest(kept, np.asarray(whole)[[2, 0]])


def measure(name: str, make: Callable[[], Any], prompts: Prompts, runs: int) -> None:
    clock, unit = time.process_time(), 10.0 if name == PROTEINS else 1.0  # an ångström's nanometre
    generator = make()
    z, conditions = latents(generator), [{"prompt": prompts[i % 2]} if prompts else {} for i in range(N)]
    first = generator.generate(z, conditions).outputs
    report(f"{name}_seconds", time.process_time() - clock, 1.0)
    alone = [
        np.asarray(generator.generate({k: part[[i]] for k, part in z.items()}, [conditions[i]]).outputs)
        for i in range(N)
    ]
    report(f"{name}_batch", largest(np.concatenate(alone), first) / unit, 1e-5)
    report(f"{name}_repeat", largest(generator.generate(z, conditions).outputs, first), 0)
    report(f"{name}_adapter_ms", 1e3 * adapter(generator, z, conditions, runs), 2.0)
    if isinstance(generator, Steppable):
        stop, difference = stopping(generator, z, conditions, runs)
        report(f"{name}_stop_ms", 1e3 * stop, 5.0)
        report(f"{name}_survivors", difference, 1e-5)


def kinds() -> dict[str, tuple[Callable[[], Any], Prompts]]:
    """What makes a generator, and the prompts of its items, by name."""
    texts, calls = ("a red car", "a blue cat"), dict(tiny_families.CALLS)
    for scheduler in ("ddim", "euler"):  # that of the first row is DPM++
        calls[f"StableDiffusion_{scheduler}"] = (lambda scheduler=scheduler: tiny.stable_diffusion(scheduler), {})

    def made(make: Callable[[], Any], call: dict[str, Any]) -> PipelineGenerator:
        settings = {"prompt": "a cat", "num_inference_steps": 3, "output_type": "np", **call}
        return pipeline_generator(make(), **settings)

    found: dict[str, tuple[Callable[[], Any], Prompts]] = {
        name.removesuffix("Pipeline"): (lambda make=make, call=call: made(make, call), texts)
        for name, (make, call) in calls.items()
    }
    example = runpy.run_path(str(Path(__file__).parents[1] / "proteins.py"))
    found[PROTEINS] = (lambda: ProteinGenerator(example["random_pipeline"](), unconditional(24)), ())
    found["Avatars"] = (lambda: avatar_generator(steps=6), ("red hat", "dark glasses"))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer runs")
    parser.add_argument("--only", default="", help="part of the names to measure")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    diffusers.utils.logging.set_verbosity_error()
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    runs = 5 if arguments.quick else 25
    for name, (make, prompts) in kinds().items():
        if arguments.only in name:
            measure(name, make, prompts, runs)


if __name__ == "__main__":
    main()
