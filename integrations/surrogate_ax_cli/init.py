"""`surrogate-ax init`: a commented sweep file, and beside it a score to begin with, which run as they are.

surrogate-ax init                       portraits.yaml, over the embedded model
surrogate-ax init models/sd             sd.yaml, over a diffusers pipeline
surrogate-ax init mymodule:make         mymodule.yaml, over what a function returns
"""

from __future__ import annotations

import inspect
import json
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from surrogate_ax.errors import ArgumentError
from surrogate_ax_cli import embedded
from surrogate_ax_cli.assembly import load_function
from surrogate_ax_cli.generator_source import FUNCTION, Source, is_repository
from surrogate_ax_cli.outputs import place
from surrogate_ax_cli.sweep_file import SweepFile, read_sweep

STEPS, BUDGET, BATCH = 12, 64, 8
PROMPTS = {
    "portraits": "smiling, glasses",
    "avatars": "happy mouth, red hat",
    "folder": "a lighthouse on a cliff, golden hour",
}
OFTEN = ("negative_prompt", "guidance_scale", "height", "width", "num_frames", "audio_end_in_s", "class_labels")
SWEEP = """\
# A search of outputs. See plan and cost, then search; the same command goes on after Ctrl-C.
#     surrogate-ax sweep {file} --dry-run
#     surrogate-ax sweep {file}
version: 1
generator: {generator}
{call}
# Your judgement: a function in {scores}, and what becomes of each number that it returns:
# maximize, minimize, track, {{at_most: 0.5}} or {{at_least: 0.5}}.
score: {module}:brightness
metrics:
  brightness: maximize

budget: {budget}  # outputs in all, each at the cost of one generation
batch: {batch}  # outputs of one call of the generator: as many as its memory holds
seed: 0  # another one searches other noise

# Left out, these are chosen for you (docs/sweeps.md has every key):
# checkpoints: auto  # stop unpromising outputs half-way; budget then counts whole outputs
# sampler: tpe  # one of Optuna's proposes, in place of the planned search
# storage: study.db  # a file, or the URL of an Optuna storage
# backend: ax  # Ax keeps the trials
"""
SCORES = '''\
"""How outputs of {file} are judged."""

import numpy as np


def brightness(outputs, conditions):
    """One number for each of n outputs. Put your own in its place: a classifier, a distance, a model of taste.

    `conditions` holds the n outputs' searched call arguments, such as their prompts.
    """
    return [np.asarray(output, dtype=float).mean() for output in outputs]
'''


@dataclass(frozen=True)
class Begun:
    """What `init` has written.

    Args:
        sweep: the sweep file.
        scores: the module with the score.
    """

    sweep: Path
    scores: Path


def write(generator: str, out: Path | None, *, replace: bool = False) -> Begun:
    """Write a sweep file and a score.

    Args:
        generator: an embedded model, a folder or repository of a diffusers pipeline, or "package.module:factory".
        out: the sweep file; named by the generator, in the current folder, if left out.
        replace: write over what is there.

    Raises:
        ArgumentError: no such folder or function, or a file that is there already.
    """
    kind = _kind(generator)
    file = place(out, Path(f"{_stem(generator, kind)}.yaml"), replace=replace)
    if file.suffix not in (".yaml", ".yml"):
        raise ArgumentError(f"--out: expected a sweep file NAME.yaml, got {file}.")
    module = re.sub(r"\W", "_", f"{file.stem}_scores")
    scores = file.with_name(f"{module}.py")
    if scores.exists() and not replace:
        raise ArgumentError(f"--out: {scores} is there already, and {file} needs it. Name another, or use --force.")
    where = generator if kind != "folder" or is_repository(generator) else os.path.relpath(generator, file.parent)
    text = SWEEP.format(
        file=file.name,
        generator=_yaml(where),
        call=_call(generator, kind, file),
        scores=scores.name,
        module=module,
        budget=BUDGET,
        batch=BATCH,
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    scores.write_text(SCORES.format(file=file.name), encoding="utf-8")
    file.write_text(text, encoding="utf-8")
    read_sweep(file)
    return Begun(file, scores)


def _kind(generator: str) -> str:
    if generator in embedded.NAMES:
        return "embedded"
    return "function" if FUNCTION.fullmatch(generator) else "folder"


def _stem(generator: str, kind: str) -> str:
    if kind == "embedded":
        return embedded.OLDER.get(generator, generator)
    name = generator.partition(":")[0].rpartition(".")[2] if kind == "function" else Path(generator).resolve().name
    return name or "sweep"


def _call(generator: str, kind: str, file: Path) -> str:
    """The key `call`, with what else may stand there."""
    if kind == "function":
        factory = load_function(_unfinished(generator, file), "generator", generator)
        return _factory_lines(factory, generator)
    call = {"prompt": PROMPTS.get(_stem(generator, kind), PROMPTS["folder"]), "num_inference_steps": STEPS}
    if kind == "embedded":
        return _pipeline_lines(call, "the embedded model", ("guidance_scale",))
    from surrogate_ax_diffusers.folder_checks import check_folder
    from surrogate_ax_diffusers.sources import local_folder

    root = check_folder(local_folder(generator))
    name = json.loads((root / "model_index.json").read_text(encoding="utf-8"))["_class_name"]
    import diffusers

    takes = inspect.signature(getattr(diffusers, name).__call__).parameters
    return _pipeline_lines({argument: value for argument, value in call.items() if argument in takes}, name, takes)


def _factory_lines(factory: Any, name: str) -> str:
    """The arguments of a factory, with their defaults."""
    try:
        takes = inspect.signature(factory).parameters.values()
    except ValueError:  # one written in C may not say
        return ""
    named = [p for p in takes if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    needed = [p.name for p in named if p.default is p.empty]
    if needed:
        raise ArgumentError(
            f"GENERATOR: {name} cannot be called without {', '.join(needed)}. Give them defaults, so that a sweep "
            "file may leave them out."
        )
    lines = [f"#   {p.name}: {p.default!r}" for p in named]
    return "\n".join([f"# Arguments of {name}, the same for every output:", "# call:", *lines, ""]) if named else ""


def _pipeline_lines(call: Mapping[str, Any], pipeline: str, takes: Collection[str]) -> str:
    """The call of a pipeline, with what else may stand there, and what may be searched."""
    others = [name for name in OFTEN if name in takes]
    lines = [f"# Call arguments of {pipeline}, the same for every output:"]
    lines += ["call:", *(f"  {name}: {_yaml(value)}" for name, value in call.items())] if call else []
    lines += [f"# also {', '.join(others)}"] if others else []
    if "guidance_scale" in takes:
        lines += ["# Call arguments that are searched too, each by its values or its range:", "# conditions:"]
        lines += ["#   guidance_scale: {low: 1.0, high: 7.0, step: 0.5}"]
    return "\n".join([*lines, ""])


def _yaml(value: Any) -> str:
    """A value on one line of YAML."""
    return yaml.safe_dump(value, allow_unicode=True, width=1000).partition("\n")[0]


def _unfinished(generator: str, file: Path) -> SweepFile:
    """As much of the sweep as it takes to find a function beside its file."""
    return SweepFile(file, file.stem, Source("function", generator), "", (), BUDGET)
