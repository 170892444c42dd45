"""What a trial records, and remaking its output from that.

A recipe is one normalised coefficient row over base seeds, the condition, and the fingerprint of the generator: JSON of
about 50 bytes a seed, the same form for points of a box, draws, children and stored items.

Version 2 is `Bank`'s rule: a row combines unit seeds, and stored seeds keep their radius. In version 1 a row combined
seeds as they are, and every latent had a draw's radius. Over draws both are one; a recipe of version 1 that names
stored seeds keeps its version, and is remade as it was.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import scipy  # loads its submodules when they are first used
import torch
from torch import Tensor

from surrogate_ax.checks import mapping, number, show, whole
from surrogate_ax.errors import ArgumentError, GenerationError, MismatchError
from surrogate_ax.generation.identity import compare
from surrogate_ax.latents.bank import Bank
from surrogate_ax.latents.priors import Latents, Prior
from surrogate_ax.latents.seed_store import FolderSeedStore
from surrogate_ax.latents.seeds import Stored, Terms, seed_from_json, seed_name, seed_to_json
from surrogate_ax.markup import card, mixture, one_line

if TYPE_CHECKING:
    from surrogate_ax.generation.conditions import Condition
    from surrogate_ax.generation.protocols import Generator, Outputs

VERSION = 2
_EXPECTED = "recipe: expected what `Recipe.to_json` wrote"
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recipe:
    """Everything needed to remake one output.

    Args:
        terms: (seed, coefficient) pairs, of unit norm together.
        condition: the item's call arguments.
        generator: fingerprint of the generator, by named part.
        batch: size of the batch in which the item was made; kernels differ in the last bits between sizes.
        overrides: call arguments that were changed when it was rendered again.
        version: rule by which the terms make a latent; 1 for recipes of old that name stored seeds.
    """

    terms: Terms
    condition: Condition
    generator: Mapping[str, str]
    batch: int
    overrides: Condition | None = None
    version: int = VERSION

    def __repr__(self) -> str:
        changed = {**self.condition, **(self.overrides or {})}
        call = (f"{name}={show(value)}" for name, value in changed.items())
        return one_line("Recipe", f"{len(self.terms)} seed{'s' if len(self.terms) > 1 else ''}", *call)

    def _repr_html_(self) -> str:
        facts = {
            "seeds": len(self.terms),
            "call arguments": ", ".join(f"{name} = {value}" for name, value in self.condition.items()),
            "changed since": ", ".join(f"{name} = {value}" for name, value in (self.overrides or {}).items()),
            **{f"generator's {name}": value for name, value in self.generator.items()},
        }
        bar = mixture([(seed_name(seed), coefficient) for seed, coefficient in self.terms])
        return card("Recipe", facts, bar)

    def to_json(self) -> dict[str, Any]:
        """A JSON-able mapping."""
        record: dict[str, Any] = {
            "version": self.version,
            "terms": [[*seed_to_json(seed), coefficient] for seed, coefficient in self.terms],
            "condition": dict(self.condition),
            "generator": dict(self.generator),
            "batch": self.batch,
        }
        return {**record, "overrides": dict(self.overrides)} if self.overrides else record

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Recipe:
        """The inverse of `to_json`.

        Args:
            record: what `to_json` gave.

        Raises:
            ArgumentError: a version that this release does not know, or a record that is not a recipe.
        """
        try:
            if whole(record["version"], f"{_EXPECTED}; version") not in (1, VERSION):
                raise ArgumentError(f"recipe: version {record['version']} given, this release reads 1 and {VERSION}.")
            terms = tuple(
                (seed_from_json(term[:-1]), number(term[-1], f"{_EXPECTED}; a term")) for term in record["terms"]
            )
            version = record["version"] if any(isinstance(seed, Stored) for seed, _ in terms) else VERSION
            condition, generator = (mapping(record[key], f"{_EXPECTED}; {key}") for key in ("condition", "generator"))
            overrides = record.get("overrides")
            if overrides is not None:
                mapping(overrides, f"{_EXPECTED}; overrides")
            batch = whole(record["batch"], f"{_EXPECTED}; batch", least=1)
            return cls(terms, condition, generator, batch, overrides, version)
        except ArgumentError:
            raise
        except (KeyError, TypeError, IndexError, ValueError, AttributeError) as error:
            raise ArgumentError(f"{_EXPECTED}, got {show(record)}.") from error


def check_fingerprint(recorded: Mapping[str, str], generator: Generator, *, what: str) -> None:
    """Refuse a generator that is not the one recorded, naming the parts that differ.

    Parts that a record of an earlier release lacks, or that cannot be compared, are warned of.

    Args:
        recorded: fingerprint by named part.
        generator: the one at hand.
        what: what holds the record, for the message ("recipe", "study").

    Raises:
        MismatchError: some part differs.
    """
    present = generator.fingerprint
    changed, unknown = compare(recorded, present)
    if changed:
        changes = "; ".join(
            f"{part}: {recorded.get(part, 'absent')} -> {present.get(part, 'absent')}" for part in changed
        )
        raise MismatchError(f"generator: the {what} was made with another one ({changes}). Use the recorded generator.")
    if unknown:
        _logger.warning(
            "generator: the %s says nothing of %s that could be compared, so a change there goes unnoticed.",
            what,
            ", ".join(unknown),
        )


def recipe_latents(
    recipes: Sequence[Recipe],
    prior: Prior,
    *,
    seeds: Mapping[str, Tensor] | Path | str | None = None,
    device: torch.device | str = "cpu",
) -> Latents:
    """Named parts (n, *shape) of n recipes' latents, each by the rule of its version.

    Args:
        recipes: n recipes.
        prior: the law of the generator that they name.
        seeds: stored seeds: inner rows (D,) by SHA-256, such as a seed store, or its folder.
        device: where latents are made.

    Raises:
        SeedError: a stored seed has no tensor.
    """
    tensors = FolderSeedStore(seeds) if isinstance(seeds, str | Path) else seeds
    bank = Bank(prior, tensors=tensors, device=device).extend([s for recipe in recipes for s, _ in recipe.terms])
    rows = bank.rows(recipe.terms for recipe in recipes)
    inner = bank.inner(rows)
    old = [i for i, recipe in enumerate(recipes) if recipe.version == 1]
    if old:
        inner[old] = _version_1(bank, rows[old])
    return prior.from_inner(inner)


def _version_1(bank: Bank, rows: scipy.sparse.csr_array) -> Tensor:
    """Σ c_m ξ_m / √(c G cᵀ) (n, D) with G = ξ_m·ξ_l / D: the direction of coefficients c_m ρ_m over unit seeds."""
    rho = bank.radius(scipy.sparse.eye_array(len(bank.seeds), format="csr"))
    return bank.directions(rows.multiply(rho[None]).tocsr())


def render(
    recipes: Recipe | Sequence[Recipe],
    generator: Generator,
    *,
    seeds: Mapping[str, Tensor] | Path | str | None = None,
    device: torch.device | str = "cpu",
    **overrides: Any,
) -> tuple[Outputs, list[Recipe]]:
    """Remake outputs from their recipes, in one call.

    Args:
        recipes: one recipe, or several.
        generator: the generator that they name.
        seeds: stored seeds: inner rows (D,) by SHA-256, such as a seed store, or its folder.
        device: where latents are made.
        **overrides: call arguments to change, such as more steps; recorded in the recipes returned.

    Returns:
        The outputs, in order, and the recipes that remake them.

    Raises:
        MismatchError: a recipe names another generator; the differing parts are given.
        SeedError: a stored seed has no tensor.
        GenerationError: the generator failed for an item.
    """
    recipes = [recipes] if isinstance(recipes, Recipe) else list(recipes)
    for fingerprint in {repr(sorted(recipe.generator.items())): recipe.generator for recipe in recipes}.values():
        check_fingerprint(fingerprint, generator, what="recipe")
    z = recipe_latents(recipes, generator.prior, seeds=seeds, device=device)
    conditions = [{**recipe.condition, **(recipe.overrides or {}), **overrides} for recipe in recipes]
    generated = generator.generate(z, conditions)
    if generated.failed:
        item, reason = next(iter(generated.failed.items()))
        raise GenerationError(f"item {item} could not be rendered again: {reason}")
    made = [
        replace(recipe, batch=len(recipes), overrides={**(recipe.overrides or {}), **overrides} or None)
        for recipe in recipes
    ]
    return generated.outputs, made
