"""The best few outputs of a study, remade: as a list, in a notebook, and as a contact sheet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from surrogate_ax.analysis.distinct import Kept, distinct
from surrogate_ax.analysis.looks import Features
from surrogate_ax.analysis.portfolio import MIN_DISTANCE
from surrogate_ax.execution.records import SearchRecord, refuse_old_seeds
from surrogate_ax.generation.protocols import Generator
from surrogate_ax.generation.recipe import Recipe, render
from surrogate_ax.markup import card, one_line
from surrogate_ax.media.contact_sheet import contact_sheet, wrapped
from surrogate_ax.media.thumbnails import thumbnails

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Pick:
    """One chosen trial.

    Args:
        trial: as its host has it.
        recipe: what remakes `output`, overrides included.
        output: remade from the recipe.
        number: of the trial.
        values: what the search measured, by metric.
    """

    trial: Any
    recipe: Recipe
    output: Any
    number: int
    values: Mapping[str, float]

    def __repr__(self) -> str:
        return one_line("Pick", f"trial {self.number}", self.caption(), self.recipe)

    def _repr_html_(self) -> str:
        return thumbnails([self.output], [repr(self)])

    def caption(self) -> str:
        """Its values, in a few words."""
        return ", ".join(f"{name} {value:.4g}" for name, value in self.values.items())


class Portfolio(list[Pick]):
    """Picks, best first, of a study whose name is their title.

    Args:
        picks: in order.
        title: above them.
    """

    def __init__(self, picks: list[Pick], title: str) -> None:
        super().__init__(picks)
        self.title = title

    def _repr_html_(self) -> str:
        captions = [f"trial {pick.number}: {pick.caption()}" for pick in self]
        return card(self.title, {"picks": len(self)}, thumbnails([pick.output for pick in self], captions))

    def contact_sheet(self) -> Image:
        """The outputs side by side, each with its values.

        Raises:
            UnsupportedError: outputs that are no pictures.
            MissingExtraError: Pillow is not installed.
        """
        names = ", ".join(self[0].values) if self else ""
        captions = [f"trial {p.number}: " + ", ".join(f"{value:.4g}" for value in p.values.values()) for p in self]
        return contact_sheet(self.title, {"Numbers": names}, wrapped([pick.output for pick in self], captions))


def remake(
    record: SearchRecord,
    generator: Generator,
    *,
    title: str,
    k: int,
    max_cosine: float = 0.9,
    min_distance: float = MIN_DISTANCE,
    features: Features | None = None,
    kept: Kept | None = None,
    trials: Mapping[int, Any] | None = None,
    device: torch.device | str = "cpu",
    **overrides: Any,
) -> Portfolio:
    """The best k trials whose latents and outputs differ pairwise, remade in one generator call.

    Args:
        record: what a study holds.
        generator: the one that it was made with.
        title: of the portfolio.
        k: how many, at most.
        max_cosine: limit on the cosine of any two latents, in (0, 1].
        min_distance: limit on the distance of what is seen of any two outputs; see `distinct`.
        features: in which outputs are compared; see `distinct`.
        kept: files of outputs, to compare; see `distinct`.
        trials: the host's own trials by number; those of the record if left out.
        device: where latents are made.
        **overrides: call arguments to change, such as `num_inference_steps=50`; recorded in the recipes.

    Raises:
        MismatchError: the study was made with another generator.
        ArgumentError: k or the limit out of range, or no successful trial.
        SeedError: a stored seed is not where it should be.
    """
    refuse_old_seeds(record.trials)
    history = record.history
    limits: dict[str, Any] = {"max_cosine": max_cosine, "min_distance": min_distance}
    rows = distinct(record, generator, k=k, features=features, kept=kept, device=device, **limits)
    chosen = [record.trials[row] for row in rows]
    outputs, recipes = render(
        [trial.recipe for trial in chosen], generator, seeds=history.tensors, device=device, **overrides
    )
    values = [{name: float(column[row]) for name, column in history.values.items()} for row in rows]
    known = {trial.number: trial for trial in chosen} if trials is None else trials
    return Portfolio(
        [
            Pick(known[trial.number], recipe, output, trial.number, measured)
            for trial, recipe, output, measured in zip(chosen, recipes, outputs, values, strict=True)
        ],
        title,
    )
