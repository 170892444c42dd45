"""Remake the best outputs whose latents differ from each other, from their recipes, often with more steps.

The folder holds `1-trial97.png` and so on, the best first, and beside each its recipe as JSON, with the arguments that
were changed and the values before and after; `best.json` lists them, and `sheet.png` shows pictures side by side.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image

from surrogate_ax.analysis.distinct import distinct
from surrogate_ax.errors import ArgumentError, UnsupportedError
from surrogate_ax.execution.records import refuse_old_seeds
from surrogate_ax.generation.protocols import Generated
from surrogate_ax.generation.recipe import Recipe, render
from surrogate_ax.generation.saved_picture import SavedPicture
from surrogate_ax.media.contact_sheet import contact_sheet, wrapped
from surrogate_ax.media.previews import save_preview
from surrogate_ax.scoring.evaluator import Evaluator
from surrogate_ax_cli.makers import Maker
from surrogate_ax_cli.sources import kept_of
from surrogate_ax_cli.targets import Searched

INDEX, SHEET = "best.json", "sheet.png"


@dataclass(frozen=True)
class Rendered:
    """One output made again.

    Args:
        trial: its number.
        recipe: what it was made from, with the arguments that were changed.
        searched: values of the metrics in the search.
        rendered: values of the output made now; a metric is left out where its score failed or is not known.
        output: what was made.
    """

    trial: int
    recipe: Recipe
    searched: Mapping[str, float]
    rendered: Mapping[str, float]
    output: Any


def make_best(
    maker: Maker, searched: Searched, *, k: int, max_cosine: float, min_distance: float, overrides: Mapping[str, Any]
) -> list[Rendered]:
    """The best k trials whose latents and outputs differ pairwise, made again.

    Args:
        maker: generator of the study, and the objective where it is known.
        searched: the study; files of its outputs tell them apart, where it has some.
        k: how many, at most.
        max_cosine: limit on the cosine of any two latents.
        min_distance: limit on the distance of what is seen of any two outputs.
        overrides: call arguments to change, such as more steps.

    Raises:
        ArgumentError: no trial has succeeded, k or the limit out of range, or overrides that cannot be changed.
        GenerationError: the generator failed for one of them.
    """
    record = searched.record()
    refuse_old_seeds(record.trials)
    limits: dict[str, Any] = {"max_cosine": max_cosine, "min_distance": min_distance}
    rows = distinct(record, maker.generator, k=k, kept=kept_of(searched), device=maker.device, **limits)
    recipes = [record.trials[row].recipe for row in rows]
    try:
        outputs, recipes = render(
            recipes, maker.generator, seeds=record.history.tensors, device=maker.device, **overrides
        )
    except ArgumentError as error:
        if not overrides:
            raise
        raise ArgumentError(f"--steps, --set: {overrides} cannot be set. {error}") from error
    conditions = [{**recipe.condition, **(recipe.overrides or {})} for recipe in recipes]
    scored: Mapping[str, Any] = {}
    if maker.objective is not None:
        evaluator = Evaluator(maker.generator, maker.objective)
        scored = evaluator.score(Generated(outputs, np.zeros(len(rows)), 0.0), conditions).values
    return [
        Rendered(
            trial=record.trials[row].number,
            recipe=recipe,
            searched={name: float(column[row]) for name, column in record.history.values.items()},
            rendered={name: float(column[i]) for name, column in scored.items() if np.isfinite(column[i])},
            output=outputs[i],
        )
        for i, (row, recipe) in enumerate(zip(rows, recipes, strict=True))
    ]


def read_overrides(given: Sequence[str], steps: int | None) -> dict[str, Any]:
    """Call arguments to change.

    Args:
        given: "name=value" each, the value as in a sweep file.
        steps: for `num_inference_steps`, if any.

    Raises:
        ArgumentError: not of this form.
    """
    overrides: dict[str, Any] = {} if steps is None else {"num_inference_steps": steps}
    for text in given:
        name, equals, value = text.partition("=")
        try:
            read = yaml.safe_load(value)
        except yaml.YAMLError:
            equals, read = "", None
        if not (name.isidentifier() and equals) or not isinstance(read, str | int | float | bool | None):
            raise ArgumentError(f"--set: expected name=value, as guidance_scale=3.0, got {text!r}.")
        overrides[name] = read
    return overrides


def save(portfolio: list[Rendered], out: Path, *, title: str, rate: float | None = None) -> list[dict[str, Any]]:
    """Write outputs, recipes and, of pictures, a contact sheet, in place of an earlier portfolio in the folder.

    Args:
        portfolio: best first.
        out: a folder that `outputs.check_replaced` allows.
        title: of the contact sheet.
        rate: of sound and clips.

    Returns:
        What `best.json` holds: file, trial, values and recipe of each.
    """
    out.mkdir(parents=True, exist_ok=True)
    _remove_earlier(out)
    rows: list[dict[str, Any]] = []
    for rank, item in enumerate(portfolio, start=1):
        file = save_output(item.output, out / f"{rank}-trial{item.trial}", SavedPicture(item.recipe), rate=rate)
        values = {"searched": dict(item.searched), "rendered": dict(item.rendered)}
        row = {"trial": item.trial, "values": values, "recipe": item.recipe.to_json()}
        file.with_suffix(".json").write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8")
        rows.append({"file": file.name, **row})
    (out / INDEX).write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    if all(Path(row["file"]).suffix == ".png" for row in rows):
        _sheet(portfolio, title).save(out / SHEET, optimize=True)
    return rows


def lines(rows: list[dict[str, Any]], out: Path) -> list[str]:
    """A portfolio as text."""
    text = []
    for row in rows:
        searched, rendered = row["values"]["searched"], row["values"]["rendered"]
        changes = [
            f"{name} {value:.4g}" + (f" -> {rendered[name]:.4g}" if name in rendered else "")
            for name, value in searched.items()
        ]
        text.append(f"{out / row['file']}: {', '.join(changes)}")
    return [*text, *([str(out / SHEET)] if (out / SHEET).is_file() else [])]


def _sheet(portfolio: Sequence[Rendered], title: str) -> Image.Image:
    """The outputs side by side, each with its values."""
    shown = [item.rendered or item.searched for item in portfolio]
    captions = [
        f"trial {item.trial}: " + ", ".join(f"{value:.4g}" for value in values.values())
        for item, values in zip(portfolio, shown, strict=True)
    ]
    return contact_sheet(title, {"Numbers": ", ".join(shown[0])}, wrapped([i.output for i in portfolio], captions))


def save_output(output: Any, path: Path, saved: SavedPicture, *, rate: float | None = None) -> Path:
    """Write an output at its own size; arrays that show nothing are kept as they are.

    Args:
        output: of a generator.
        path: without the suffix.
        saved: what a PNG is to carry.
        rate: of sound and clips.

    Returns:
        The file.

    Raises:
        UnsupportedError: neither to be shown nor an array of numbers.
    """
    try:
        return save_preview(output, path, rate=rate, full=True, note=saved.note)
    except UnsupportedError:
        array = output.detach().cpu().numpy() if isinstance(output, torch.Tensor) else np.asarray(output)
        if array.dtype.kind not in "biufc":
            raise
        path = path.with_suffix(".npy")
        np.save(path, array, allow_pickle=False)
        return path


def _remove_earlier(out: Path) -> None:
    """Remove the files that an earlier `best` wrote, since the new ones may have other names."""
    if not (out / INDEX).is_file():
        return
    try:
        names = [str(row["file"]) for row in json.loads((out / INDEX).read_text(encoding="utf-8"))]
    except (ValueError, TypeError, KeyError) as error:
        raise ArgumentError(f"--out: {out / INDEX} is not what `best` writes. Choose another folder.") from error
    (out / SHEET).unlink(missing_ok=True)
    for name in names:
        file = out / Path(name).name
        file.unlink(missing_ok=True)
        file.with_suffix(".json").unlink(missing_ok=True)
