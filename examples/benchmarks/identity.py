"""Every named kind of pipeline: what acts in it changes the fingerprint by name, and nothing else does.

The pipelines are the tiny ones of the tests. Each gets what users switch on after loading, one thing at a time, and is
compared with the same pipeline before it, with everything else equal. For each kind:

    <kind>_lora        parts that name a LoRA whose scale goes from 1 to 0.3 (PEFT's, on every attention layer)
    <kind>_scheduler   parts that name an attribute of the scheduler, such as what `set_shift` sets
    <kind>_cache       parts that name a step cache (TaylorSeer's)
    <kind>_dtype       parts that name a move to bfloat16
    <kind>_others      parts that changed with one of these though they had no reason to, the probe left out
    <kind>_processes   parts that differ in another process, with other hash seeds

    python examples/benchmarks/identity.py              # about two minutes
    python examples/benchmarks/identity.py --only Wan
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy and torch are imported
sys.path.insert(0, str(Path(__file__).parents[2]))  # the tiny pipelines are those of the tests

import diffusers
import peft
import torch
import transformers
from diffusers import hooks
from families import kinds

from surrogate_ax.generation.identity import PROBE, compare

LAYERS = r".*(attn\w*|attention\w*|self_attn|cross_attn)$"  # of whose names one belongs to every kind


def report(name: str, value: float, goal: float, *, at_least: bool = False) -> None:
    met = value >= goal if at_least else value <= goal
    print(f"RESULT {name} {value:g} {'>=' if at_least else '<='}{goal:g} {'ok' if met else 'short'}", flush=True)


def denoisers(pipe: Any) -> list[torch.nn.Module]:
    names = ("unet", "transformer", "denoiser")
    return [pipe.components[name] for name in names if isinstance(pipe.components.get(name), torch.nn.Module)]


def add_lora(pipe: Any) -> None:
    """A LoRA of random weights at scale 1, where it has linear layers of attention, else where it has any."""
    for module in denoisers(pipe):
        linear = [name for name, layer in module.named_modules() if isinstance(layer, torch.nn.Linear)]
        torch.manual_seed(0)
        config = peft.LoraConfig(
            r=2, target_modules=[n for n in linear if "att" in n] or linear, init_lora_weights=False
        )
        peft.inject_adapter_in_model(config, module, adapter_name="style")


def scale_lora(pipe: Any) -> None:
    for module in denoisers(pipe):
        for layer in module.modules():
            if isinstance(layer, peft.tuners.lora.LoraLayer):
                layer.set_scale("style", 0.3)


def set_scheduler(pipe: Any) -> None:
    """What users set: the shift of a flow, the noise levels of others."""
    for name, scheduler in pipe.components.items():
        if "scheduler" not in name:
            continue
        if hasattr(scheduler, "set_shift"):
            scheduler.set_shift(5.0)
        elif hasattr(scheduler, "alphas_cumprod"):
            scheduler.alphas_cumprod = scheduler.alphas_cumprod**1.1
        else:
            scheduler.precondition_inputs = lambda sample, sigma: sample


def add_cache(pipe: Any) -> None:
    config = hooks.TaylorSeerCacheConfig(
        cache_interval=2, disable_cache_before_step=1, cache_identifiers=[LAYERS, r".*(attentions|blocks|layers)\.\d+$"]
    )
    for module in denoisers(pipe):
        hooks.apply_taylorseer_cache(module, config)


def halve(pipe: Any) -> None:
    pipe.to(torch.bfloat16)


CHANGES: dict[str, tuple[Callable[[Any], None], Callable[[str], bool]]] = {  # and the parts that are to name it
    "lora": (scale_lora, lambda part: part == "adapters"),
    "scheduler": (set_scheduler, lambda part: part.startswith("settings.") and "scheduler" in part),
    "cache": (add_cache, lambda part: part == "caches"),
    "dtype": (halve, lambda part: part == "weights" or part.startswith("component.")),
}


def made(name: str, *changes: Callable[[Any], None]) -> dict[str, str]:
    """The fingerprint of a new generator of a kind, whose pipeline was changed."""
    generator = kinds()[name][0]()
    for change in changes:
        change(generator._pipe)
    return dict(generator.fingerprint)


def measure(name: str, elsewhere: dict[str, str]) -> None:
    first, others = made(name), set[str]()
    for what, (change, names) in CHANGES.items():
        before = (add_lora,) if change is scale_lora else ()
        changed, unknown = compare(made(name, *before) if before else first, made(name, *before, change))
        report(f"{name}_{what}", sum(map(names, changed)), 1, at_least=True)
        others |= {part for part in (*changed, *unknown) if not names(part) and part != PROBE}
    report(f"{name}_others", len(others), 0)
    changed, unknown = compare(first, elsewhere)
    report(f"{name}_processes", len(changed) + len(unknown), 0)
    if others or changed or unknown:
        print(f"# {name}: {sorted(others)}, in another process {changed + unknown}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="part of the names to look at")
    parser.add_argument("--print", action="store_true", help="fingerprints as JSON, for another process")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    diffusers.utils.logging.set_verbosity_error()
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    names = [name for name in kinds() if arguments.only in name]
    if arguments.print:
        print(json.dumps({name: made(name) for name in names}))
        return
    command = [sys.executable, __file__, "--print", "--only", arguments.only]
    other = {**os.environ, "PYTHONHASHSEED": "7"}
    printed = subprocess.run(command, env=other, check=True, capture_output=True, text=True).stdout
    elsewhere = json.loads(printed.splitlines()[-1])
    for name in names:
        measure(name, elsewhere[name])


if __name__ == "__main__":
    main()
