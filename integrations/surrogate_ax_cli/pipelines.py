"""The model that a command is given in words, and the pictures that carry what remakes them.

| what is given | the generator |
|---|---|
| portraits, avatars | an embedded model |
| a folder, or a repository in the Hugging Face cache | the diffusers pipeline in it |
| package.module:factory | what a function without arguments returns |

A saved picture says which call made it. Where an embedded model did, that is enough; else whoever has the picture says
where the pipeline is: nothing that a picture names is opened.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from surrogate_ax.errors import ArgumentError
from surrogate_ax.generation.protocols import Generator
from surrogate_ax.generation.recipe import Recipe, render
from surrogate_ax.generation.saved_picture import SavedPicture, save_picture
from surrogate_ax.latents.seed_store import FolderSeedStore
from surrogate_ax_cli import embedded
from surrogate_ax_cli.generator_source import is_repository
from surrogate_ax_cli.makers import call_factory

SEEDS = "seeds"  # the folder of stored seeds that `edit` writes beside its pictures
MOST_STEPS = 1000  # that a picture from elsewhere may ask for


def open_pipeline(
    where: str, call: Mapping[str, Any], *, device: str | None = None, dtype: str = "float32"
) -> Generator:
    """A generator.

    Args:
        where: an embedded model, a pipeline's folder or repository, or "package.module:factory".
        call: call arguments of a pipeline.
        device: of a folder's pipeline.
        dtype: of its weights.

    Raises:
        ArgumentError: nothing of that name, or call arguments that do not fit.
    """
    if where in embedded.NAMES:
        return embedded.generator(where, call)
    if Path(where).is_dir() or is_repository(where):
        from surrogate_ax_diffusers import load_pipeline, pipeline_generator

        return pipeline_generator(load_pipeline(where, dtype=getattr(torch, dtype)), device=device, **call)
    if ":" not in where:
        raise ArgumentError(
            f"PIPELINE: expected the folder of a pipeline, package.module:factory or a saved picture, got {where!r}."
        )
    if call:
        raise ArgumentError(f"--prompt, --steps, --set: {where} makes a generator of its own; give them there.")
    made = call_factory(where)
    if not isinstance(made, Generator):
        raise ArgumentError(f"PIPELINE: expected {where} to return a Generator, got {type(made).__name__}.")
    return made


def maker_of_saved(saved: SavedPicture, where: str) -> str:
    """What made a saved picture: `where`, but for one of an embedded model, which is known.

    Raises:
        ArgumentError: something else made it, and `where` names an embedded model.
    """
    if where not in embedded.NAMES:
        return where
    if saved.source and saved.source not in embedded.NAMES:
        raise ArgumentError(f"picture: {saved.source!r} made it. Say where that is, by the pipeline's folder.")
    return saved.source or embedded.recorded(saved.recipe.generator)


def call_of(saved: SavedPicture, where: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The call arguments under which a saved picture is made again.

    Args:
        saved: what it carries.
        where: the generator, as for `open_pipeline`.
        given: call arguments that go before those of the picture.

    Raises:
        ArgumentError: it asks for more steps than anybody would.
    """
    call = dict(given) if ":" in where else {**(saved.call or recorded_call(saved.recipe)), **given}
    steps = call.get("num_inference_steps", call.get("steps", 1))
    if isinstance(steps, int) and steps > MOST_STEPS:
        raise ArgumentError(f"picture: expected at most {MOST_STEPS:,} steps, got {steps:,}. Give --steps.")
    return call


def recorded_call(recipe: Recipe) -> dict[str, Any]:
    """The call arguments that the fingerprint of a pipeline in a recipe names; empty where it names none."""
    try:
        call = json.loads(recipe.generator.get("call", "{}"))
        return dict(SavedPicture.from_json({"recipe": recipe.to_json(), "call": call}).call)
    except (ValueError, RecursionError):  # another kind of generator, or arguments that are no texts and numbers
        return {}


def remake(
    saved: SavedPicture, path: Path, where: str = embedded.DEFAULT, **overrides: Any
) -> tuple[Any, SavedPicture]:
    """A saved picture's output, made again.

    Args:
        saved: what the picture carries.
        path: the picture, beside which stored seeds may be.
        where: the generator, as for `open_pipeline`.
        **overrides: call arguments to change.

    Returns:
        The output, and what its own file is to carry.

    Raises:
        MismatchError: the generator is another one than the picture was made with.
        SeedError: a stored seed is not beside the picture.
    """
    where = maker_of_saved(saved, where)
    generator = open_pipeline(where, call_of(saved, where, {}))
    seeds = FolderSeedStore(path.with_name(SEEDS)) if path.with_name(SEEDS).is_dir() else None
    outputs, (recipe,) = render(saved.recipe, generator, seeds=seeds, **overrides)
    return outputs[0], SavedPicture(recipe, saved.source, saved.call)


def write_remade(saved: SavedPicture, path: Path, out: Path, where: str = embedded.DEFAULT, **overrides: Any) -> Path:
    """Make a saved picture again and write it, with its recipe; arguments as for `remake`."""
    output, carried = remake(saved, path, where, **overrides)
    out.mkdir(parents=True, exist_ok=True)
    return save_picture(output, out / path.stem, carried)
