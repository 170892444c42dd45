"""Remake the best outputs whose latents differ from each other, from their recipes, often with more steps.

The folder holds `1-trial97.png` and so on, the best first, and beside each its recipe as JSON, with the arguments that
were changed and the values before and after; `best.json` lists them.
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

from surrogate_ax.analysis.portfolio import choose
from surrogate_ax.errors import ArgumentError, UnsupportedError
from surrogate_ax.execution.records import SearchRecord, refuse_old_seeds
from surrogate_ax.generation.protocols import Generated, Timed
from surrogate_ax.generation.recipe import Recipe, render
from surrogate_ax.media.previews import save_preview
from surrogate_ax_cli.assembly import SweepComponents

INDEX = "best.json"


@dataclass(frozen=True)
class Rendered:
    """One output made again.

    Args:
        trial: its number.
        recipe: what it was made from, with the arguments that were changed.
        searched: values of the metrics in the search.
        rendered: values of the output made now; a metric is left out where its score failed.
        output: what was made.
    """

    trial: int
    recipe: Recipe
    searched: Mapping[str, float]
    rendered: Mapping[str, float]
    output: Any


def make_best(
    components: SweepComponents, record: SearchRecord, *, k: int, max_cosine: float, overrides: Mapping[str, Any]
) -> list[Rendered]:
    """The best k trials whose latents differ pairwise, made again.

    Args:
        components: the sweep's generator and objective.
        record: its trials.
        k: how many, at most.
        max_cosine: limit on the cosine of any two latents.
        overrides: call arguments to change, such as more steps.

    Raises:
        ArgumentError: no trial has succeeded, k or the limit out of range, or overrides that cannot be changed.
        GenerationError: the generator failed for one of them.
    """
    refuse_old_seeds(record.trials)
    rows = choose(record.history, components.generator.prior, k=k, max_cosine=max_cosine)
    recipes = [record.trials[row].recipe for row in rows]
    try:
        outputs, recipes = render(
            recipes, components.generator, seeds=record.history.tensors, device=components.device, **overrides
        )
    except ArgumentError as error:
        if not overrides:
            raise
        raise ArgumentError(f"--steps, --set: {overrides} cannot be set. {error}") from error
    conditions = [{**recipe.condition, **(recipe.overrides or {})} for recipe in recipes]
    evaluations = components.evaluator.score(Generated(outputs, np.zeros(len(rows)), 0.0), conditions)
    return [
        Rendered(
            trial=record.trials[row].number,
            recipe=recipe,
            searched={name: float(column[row]) for name, column in record.history.values.items()},
            rendered={name: float(column[i]) for name, column in evaluations.values.items() if np.isfinite(column[i])},
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


def check_out(out: Path) -> None:
    """Refuse a folder that holds anything but an earlier `best`.

    Raises:
        ArgumentError: a file, or a folder with files and no `best.json`.
    """
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / INDEX).is_file())):
        raise ArgumentError(f"--out: expected a new folder, or one of an earlier `best`, got {out}. Choose another.")


def save(portfolio: list[Rendered], out: Path, components: SweepComponents) -> list[dict[str, Any]]:
    """Write outputs and recipes, in place of an earlier portfolio in the folder.

    Args:
        portfolio: best first.
        out: a folder that `check_out` allows.
        components: for the rate of sound and clips.

    Returns:
        What `best.json` holds: file, trial, values and recipe of each.
    """
    generator = components.generator
    rate = generator.rate if isinstance(generator, Timed) else None
    out.mkdir(parents=True, exist_ok=True)
    _remove_earlier(out)
    rows: list[dict[str, Any]] = []
    for rank, item in enumerate(portfolio, start=1):
        file = _save_output(item.output, out / f"{rank}-trial{item.trial}", rate)
        values = {"searched": dict(item.searched), "rendered": dict(item.rendered)}
        row = {"trial": item.trial, "values": values, "recipe": item.recipe.to_json()}
        file.with_suffix(".json").write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8")
        rows.append({"file": file.name, **row})
    (out / INDEX).write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return rows


def lines(rows: list[dict[str, Any]], out: Path) -> list[str]:
    """A portfolio as text."""
    text = []
    for row in rows:
        searched, rendered = row["values"]["searched"], row["values"]["rendered"]
        changes = [f"{name} {value:.4g} -> {rendered.get(name, float('nan')):.4g}" for name, value in searched.items()]
        text.append(f"{out / row['file']}: {', '.join(changes)}")
    return text


def _save_output(output: Any, path: Path, rate: float | None) -> Path:
    try:
        return save_preview(output, path, rate=rate, full=True)
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
    for name in names:
        file = out / Path(name).name
        file.unlink(missing_ok=True)
        file.with_suffix(".json").unlink(missing_ok=True)
