"""`surrogate-ax edit`: change a picture, and keep what remakes the change.

The folder gets the edits as PNG files, their recipes, the seeds that these need beside draws (the picture's latents by
their hash), and a sheet of pictures.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from PIL import Image

from surrogate_ax.editing import Edited
from surrogate_ax.editing import edit as edit_item
from surrogate_ax.errors import ArgumentError, SurrogateError, UnsupportedError
from surrogate_ax.generation.protocols import Generator
from surrogate_ax.generation.saved_picture import SavedPicture, read_saved
from surrogate_ax.latents.seed_store import FolderSeedStore
from surrogate_ax.latents.seeds import Terms
from surrogate_ax.media.contact_sheet import Row, contact_sheet
from surrogate_ax.media.previews import png_text, to_image
from surrogate_ax.policies.basic import chain, draws
from surrogate_ax.policies.evolution import evolve
from surrogate_ax.scoring.objective import Objective
from surrogate_ax_cli import embedded
from surrogate_ax_cli.makers import call_factory
from surrogate_ax_cli.pipelines import call_of, maker_of_saved, remake
from surrogate_ax_optuna import optimize
from surrogate_ax_optuna.record import read_record

SHEET, RECIPES, SEEDS = "edits.png", "recipes.json", "seeds"
STEPS = 10  # of an embedded model
AXES, ROUND = 4, 8  # of a search for step noises
MASK_LEVEL = 128  # of 255: brighter pixels of a mask may change


@dataclass(frozen=True)
class Request:
    """What is asked of a picture.

    Args:
        generator: an embedded model, or "package.module:factory".
        source: what the picture shows, a prompt.
        target: what it should show; None where the score steers alone.
        score: "package.module:function", `score(outputs, conditions)`: at least 0 where the target is there.
        mask: an image file, bright where the picture may change.
        draws: edits that are made.
        budget: edits that a search over the step noises makes; needs a score.
        seed: of the draws.
    """

    generator: str
    source: str
    target: str | None = None
    score: str | None = None
    mask: Path | None = None
    draws: int = 4
    budget: int | None = None
    seed: int = 0


def change(picture: Path, out: Path, request: Request) -> tuple[Edited, list[str]]:
    """Edit a picture file, and write what was made.

    Args:
        picture: an image file of the size that the generator makes.
        out: the folder.
        request: what is asked.

    Returns:
        What was made, and the names of the files.

    Raises:
        ArgumentError: files that are not pictures, names of functions that are not there, or what `edit` refuses.
    """
    pixels, request = _picture(picture, request)
    made_by = for_edits(request.generator) if request.generator in embedded.NAMES else call_factory(request.generator)
    region = None if request.mask is None else np.asarray(_read(request.mask, "L", "mask")) >= MASK_LEVEL
    found = edit_item(
        made_by,
        pixels,
        {"prompt": request.source},
        None if request.target is None else {"prompt": request.target},
        rng=request.seed,
        score=None if request.score is None else _function(request.score),
        mask=region,
        draws=request.draws,
        budget=request.budget,
        search=None if request.budget is None else search_noises,
    )
    return found, write(found, pixels, out, facts={"From": request.source, "To": request.target or str(request.score)})


def write(found: Edited, source: Any, out: Path, *, facts: dict[str, str]) -> list[str]:
    """The edits, recipes, seeds and a sheet, in a folder.

    Args:
        found: what was made.
        source: the picture.
        out: the folder.
        facts: short texts for the sheet.

    Returns:
        The names of the files.
    """
    if out.exists() and not out.is_dir():
        raise ArgumentError(f"out: expected a folder, or a name for a new one, got the file {out}.")
    out.mkdir(parents=True, exist_ok=True)
    names = [f"edit-{i + 1}.png" for i in range(len(found.outputs))]
    for name, output, recipe in zip(names, found.outputs, found.recipes, strict=True):
        to_image(output).save(out / name, pnginfo=png_text(*SavedPicture(recipe).note))
    (out / RECIPES).write_text(json.dumps([recipe.to_json() for recipe in found.recipes], indent=1))
    FolderSeedStore(out / SEEDS).add(found.seeds)
    captions = [f"{distance:.3f} away" for distance in found.distances]
    rows = [
        Row("Source", f"reconstructed to {found.reconstruction:.2g}", [source], [""]),
        Row("Edits", f"{found.nfe:.0f} network evaluations", found.outputs, captions),
    ]
    contact_sheet("An edit and its variants", facts, rows).save(out / SHEET)
    return [SHEET, *names, RECIPES, SEEDS]


def search_noises(edits: Generator, objective: Objective, budget: int, rng: int) -> Sequence[Terms]:
    """The step noises of the best edits that an in-memory study found: plain draws, then their recombination."""
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=rng))
    first = max(AXES, budget // 3)
    policy = draws(edits.prior, first, axes=AXES)
    if budget > first:
        policy = chain(policy, evolve(edits.prior, axes=AXES, size=min(ROUND, budget - first)))
    options: dict[str, Any] = {"total_trials": max(budget, first), "batch_size": ROUND, "policy": policy}
    optimize(study, edits, objective, rng=rng, progress=False, **options)
    record = read_record(study)
    return [record.history.terms[row] for row in record.history.order[: record.scored]]


def for_edits(name: str = embedded.DEFAULT) -> Generator:
    """An embedded model as edits want it: guidance is given by `edit`."""
    call = {"num_inference_steps": STEPS, "guidance_scale": 1.0, "check_determinism": False}
    return embedded.generator(name, call)


def lines(found: Edited, out: Path, names: Sequence[str]) -> list[str]:
    """The result as text."""
    told = [f"{note[0].upper()}{note[1:]}." for note in found.notes]
    return [*told, "", "Look at", *(f"  {out / name}" for name in names)]


def _picture(path: Path, request: Request) -> tuple[Image.Image, Request]:
    """The pixels of a picture, and what is asked of it: one that carries its recipe is made again, at its own size."""
    pixels = _read(path, "RGB", "picture")
    try:
        saved = read_saved(path)
        where = maker_of_saved(saved, request.generator)
        output, _ = remake(saved, path, where)
    except SurrogateError:  # a picture from elsewhere, or of another model: then it is what it looks like
        return pixels, request
    prompt = call_of(saved, where, {}).get("prompt", "")
    return to_image(output), replace(request, generator=where, source=request.source or str(prompt))


def _read(path: Path, mode: str, name: str) -> Image.Image:
    try:
        return Image.open(path).convert(mode)
    except OSError as error:
        raise ArgumentError(f"{name}: expected an image file, got {path} ({error}).") from error


def _function(spec: str) -> Any:
    """A function given as "package.module:function"."""
    import sys
    from importlib import import_module

    module, _, name = spec.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        found = getattr(import_module(module), name)
    except (ModuleNotFoundError, AttributeError, ValueError) as error:
        raise ArgumentError(f"score: found no {spec!r} ({error}). Give package.module:function.") from error
    if not callable(found):
        raise UnsupportedError(f"score: {spec!r} is no function.")
    return found
