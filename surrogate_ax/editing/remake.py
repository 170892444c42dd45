"""Edits from their recipes: the generator of edits is built again from what its fingerprint says."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from surrogate_ax.editing.edits import Edit
from surrogate_ax.editing.flowopt import FlowOpt
from surrogate_ax.editing.inpainting import Inpaint
from surrogate_ax.editing.rows import parts
from surrogate_ax.errors import ArgumentError
from surrogate_ax.generation.protocols import Generator, Outputs
from surrogate_ax.generation.recipe import Recipe, render
from surrogate_ax.latents.seed_store import FolderSeedStore


def remake(
    recipes: Recipe | Sequence[Recipe], generator: Any, *, seeds: Mapping[str, Tensor] | Path | str
) -> tuple[Outputs, list[Recipe]]:
    """Remake edits of one item from their recipes.

    Args:
        recipes: of one edit, such as `Edited.recipes`, read with `Recipe.from_json` in another process.
        generator: that the edits were made with, not the edit.
        seeds: rows by SHA-256, such as `Edited.seeds`, a seed store or its folder.

    Returns:
        The outputs, and the recipes, as of `render`.

    Raises:
        ArgumentError: recipes of something else than an edit.
        MismatchError: another generator than recorded.
        SeedError: a seed that is not there.
    """
    listed = [recipes] if isinstance(recipes, Recipe) else list(recipes)
    store = FolderSeedStore(seeds) if isinstance(seeds, str | Path) else seeds
    return render(listed, edit_of(listed[0].generator, generator, store), seeds=store)


def edit_of(fingerprint: Mapping[str, str], generator: Any, seeds: Mapping[str, Tensor]) -> Generator:
    """The generator of edits that a fingerprint names.

    Args:
        fingerprint: of an `Edit`, `Inpaint` or `FlowOpt`.
        generator: beneath it.
        seeds: the item's row, and those of mask and residual, by SHA-256.

    Raises:
        ArgumentError: a fingerprint of something else.
        SeedError: a seed that is not there.
    """

    def row(name: str | None) -> Any:
        return None if name is None else parts(seeds[name][None], generator.prior.shapes)

    if "flowopt" in fingerprint:
        options = json.loads(fingerprint["flowopt"])
        y, mask, keep_best = (options.pop(name) for name in ("y", "mask", "keep best"))
        return FlowOpt(generator, row(y), mask=row(mask), keep_best=keep_best, **options)
    if "edit" not in fingerprint:
        raise ArgumentError(f"recipe: expected one of an edit, got a generator of {sorted(fingerprint)}.")
    options = json.loads(fingerprint["edit"])
    x, mask, path = (row(options.pop("item")), row(options.pop("mask")), options.pop("path"))
    if path == "inpaint":
        return Inpaint(generator, x, mask, **options)
    return Edit(generator, x, mask=mask, residual=row(options.pop("residual")), path=path, **options)
