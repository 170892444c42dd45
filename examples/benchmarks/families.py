"""Every named kind of pipeline, driven through its own class: exactness of batches, and what the adapter costs.

The pipelines are the tiny ones of the tests, with random weights, so that only the code around the networks is
measured; one thread; n = 4 items under two prompts. For each kind, and for the embedded model:

    <kind>_batch       largest difference between items of a batch and the same items one at a time, outputs in [0, 1]
    <kind>_repeat      largest difference between two runs of a batch
    <kind>_adapter_ms  time of `generate` beyond the pipeline's own call that it makes, a batch, median
    <kind>_seconds     processor time of making the pipeline and its generator, and of a first batch
    <kind>_stop_ms     what a stop between steps costs: a batch advanced in three parts over the whole batch, runs
                       interleaved, a stop, median; decoding is not in it
    <kind>_survivors   largest difference between two survivors of a stop and the same items of the whole batch

    python examples/benchmarks/families.py              # about three minutes
    python examples/benchmarks/families.py --quick      # under one
    python examples/benchmarks/families.py --only Wan
"""

from __future__ import annotations

import argparse
import os
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
from surrogate_ax_diffusers import PipelineGenerator, avatar_generator
from tests.integrations.diffusers import tiny_families

N = 4


def report(name: str, value: float, goal: float) -> None:
    print(f"RESULT {name} {value:.3g} <={goal:g} {'ok' if value <= goal else 'short'}", flush=True)


def largest(a: Any, b: Any) -> float:
    return float(np.abs(np.asarray(a, dtype=float) - np.asarray(b, dtype=float)).max())


def seconds(run: Callable[[], object]) -> float:
    clock = time.perf_counter()
    run()
    return time.perf_counter() - clock


def latents(generator: PipelineGenerator) -> dict[str, torch.Tensor]:
    xi = torch.randn(N, generator.prior.dim, generator=torch.Generator().manual_seed(0))
    return dict(generator.prior.from_inner(xi))


def adapter(generator: PipelineGenerator, z: Any, conditions: Any, runs: int) -> float:
    """Median seconds of `generate` outside the pipeline's calls."""
    kind = type(generator._pipe)
    inside = [0.0]
    own = kind.__call__

    def timed(*args: Any, **kwargs: Any) -> Any:
        clock = time.perf_counter()
        result = own(*args, **kwargs)
        inside[0] += time.perf_counter() - clock
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


def measure(name: str, make: Callable[[], PipelineGenerator], prompts: tuple[str, str], runs: int) -> None:
    clock = time.process_time()
    generator = make()
    z, conditions = latents(generator), [{"prompt": prompts[i % 2]} for i in range(N)]
    first = generator.generate(z, conditions).outputs
    report(f"{name}_seconds", time.process_time() - clock, 1.0)
    alone = [
        np.asarray(generator.generate({k: part[[i]] for k, part in z.items()}, [conditions[i]]).outputs)
        for i in range(N)
    ]
    report(f"{name}_batch", largest(np.concatenate(alone), first), 1e-5)
    report(f"{name}_repeat", largest(generator.generate(z, conditions).outputs, first), 0)
    report(f"{name}_adapter_ms", 1e3 * adapter(generator, z, conditions, runs), 2.0)
    if isinstance(generator, Steppable):
        stop, difference = stopping(generator, z, conditions, runs)
        report(f"{name}_stop_ms", 1e3 * stop, 5.0)
        report(f"{name}_survivors", difference, 1e-5)


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
    kinds = {
        name.removesuffix("Pipeline"): (
            lambda name=name: PipelineGenerator(
                tiny_families.CALLS[name][0](), **tiny_families.generator_call(name, num_inference_steps=3)
            ),
            ("a red car", "a blue cat"),
        )
        for name in tiny_families.CALLS
    }
    kinds["Avatars"] = (lambda: avatar_generator(steps=6), ("red hat", "dark glasses"))
    for name, (make, prompts) in kinds.items():
        if arguments.only in name:
            measure(name, make, prompts, runs)


if __name__ == "__main__":
    main()
