"""Check a pipeline on the device you have: that it keeps the rules a search relies on, how fast and how big it is.

Run `python examples/gpu_check.py path/to/pipeline --device cuda --dtype bfloat16 --call height=512 --call width=512`.
Without a folder the embedded avatar model is checked. Prints `RESULT name value goal ok|short` for every rule, then
outputs a second and peak memory by batch size, until memory runs out. The exit code is 1 if a rule is not kept.
"""

import argparse
import ast
from pathlib import Path

import numpy as np
import torch

from surrogate_ax import Steppable
from surrogate_ax.execution.batch_size import timings
from surrogate_ax_diffusers import PipelineGenerator, load_avatars, load_pipeline, pipeline_generator

# Of outputs in [0, 1]. CUDA's convolutions round float32 to TF32 where torch allows them to, as it does by default.
TOLERANCE = {"float32": 1e-5, "float16": 2e-2, "bfloat16": 1e-1}
TOLERANCE_CUDA = {**TOLERANCE, "float32": 1e-3}


def numbers(outputs: object) -> np.ndarray:
    return np.stack([np.asarray(output, dtype=float) for output in outputs])


def literal(value: str) -> object:
    """A number, list or the like as Python writes it; anything else is a text."""
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return value


def check(name: str, value: float, goal: float) -> bool:
    print(f"RESULT {name} {value:.3g} <={goal:g} {'ok' if value <= goal else 'short'}", flush=True)
    return value <= goal


def draw(generator: PipelineGenerator, n: int) -> dict[str, torch.Tensor]:
    xi = torch.randn(n, generator.prior.dim, generator=torch.Generator().manual_seed(0))
    return {name: part.to(generator.device) for name, part in generator.prior.from_inner(xi).items()}


def rules(generator: PipelineGenerator, tolerance: float) -> bool:
    """The rows of the contract that hang on the device: every one is printed."""
    z, none = draw(generator, 4), [{}] * 4
    before = {name: part.clone() for name, part in z.items()}
    batch = numbers(generator.generate(z, none).outputs)
    again = numbers(generator.generate(z, none).outputs)
    alone = [generator.generate({k: part[[i]] for k, part in z.items()}, [{}]).outputs for i in range(4)]
    turned = generator.generate({k: part.flip(0) for k, part in z.items()}, none).outputs
    moved = generator.generate({k: part.cpu().double() for k, part in z.items()}, none).outputs
    apart = np.abs(numbers([one[0] for one in alone]) - batch).max()
    rows = min(np.abs(batch[i] - batch[i - 1]).max() for i in range(4))
    kept = [
        check("repeat", np.abs(again - batch).max(), 0 if tolerance <= 1e-5 else tolerance),
        check("batch_against_alone", apart, tolerance),
        check("batch_against_alone_over_difference_of_rows", apart / rows, 0.1),
        check("rows_in_order", np.abs(numbers(turned)[::-1] - batch).max(), tolerance),
        check("latents_from_the_cpu", np.abs(numbers(moved) - batch).max(), tolerance),
        check("latents_changed", sum(float(not torch.equal(z[k], before[k])) for k in z), 0),
    ]
    if isinstance(generator, Steppable):
        state = generator.advance(generator.start(z, none), max(1, generator.steps // 2))
        survivors = generator.finish(generator.select([state], [(0, 3), (0, 1)])).outputs
        kept.append(check("survivors_of_a_stop", np.abs(numbers(survivors) - batch[[3, 1]]).max(), tolerance))
    else:
        print("no stops between steps")
    return all(kept)


def throughput(generator: PipelineGenerator, most: int) -> None:
    """Outputs a second and peak memory, for batches of 1, 2, 4, ...; `batch_size="auto"` measures the same."""
    tried = 1
    for timing in timings(generator, most, rng=0, device=generator.device):
        memory = f", {timing.memory / 2**30:.2f} GiB" if timing.memory else ""
        print(f"batch {timing.size}: {timing.rate:.3g} outputs a second{memory}", flush=True)
        tried = 2 * timing.size
    if tried <= most:
        print(f"batch {tried}: out of memory")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, help="folder with model_index.json")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", default="float32", choices=list(TOLERANCE))
    parser.add_argument("--offload", action="store_true", help="keep on the device only the part that computes")
    parser.add_argument("--prompt", default="red hat")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--largest", type=int, default=64, help="largest batch tried")
    parser.add_argument("--call", action="append", default=[], help="further call arguments, as height=512")
    arguments = parser.parse_args()

    dtype: torch.dtype = getattr(torch, arguments.dtype)
    pipe = load_pipeline(arguments.folder, dtype=dtype) if arguments.folder else load_avatars(dtype)
    if arguments.offload:
        pipe.enable_model_cpu_offload(device=arguments.device)
    call = {} if arguments.folder else {"guidance_scale": 1.5}
    call |= {name: literal(value) for name, _, value in (pair.partition("=") for pair in arguments.call)}
    generator = pipeline_generator(
        pipe,
        device=None if arguments.offload else arguments.device,
        prompt=arguments.prompt,
        num_inference_steps=arguments.steps,
        output_type="np",
        **call,
    )
    print(f"{type(pipe).__name__} on {generator.device}, {arguments.dtype}, latents {dict(generator.prior.shapes)}")
    tolerance = TOLERANCE_CUDA if generator.device.type == "cuda" else TOLERANCE
    kept = rules(generator, tolerance[arguments.dtype])
    throughput(generator, arguments.largest)
    raise SystemExit(0 if kept else 1)


if __name__ == "__main__":
    main()
