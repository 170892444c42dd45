"""What turns latents into outputs: the protocols, generators of functions, conditions, and recipes."""

from surrogate_ax.generation.conditions import Choice, Condition, Range
from surrogate_ax.generation.function_generator import FunctionGenerator
from surrogate_ax.generation.multi_condition import MultiCondition
from surrogate_ax.generation.protocols import (
    Encodable,
    FromTerms,
    Generated,
    Generator,
    Masking,
    Noising,
    Outputs,
    Steppable,
    Timed,
)
from surrogate_ax.generation.recipe import Recipe, recipe_latents, render
from surrogate_ax.generation.scored import Scored

__all__ = [
    "Choice",
    "Condition",
    "Encodable",
    "FromTerms",
    "FunctionGenerator",
    "Generated",
    "Generator",
    "Masking",
    "MultiCondition",
    "Noising",
    "Outputs",
    "Range",
    "Recipe",
    "Scored",
    "Steppable",
    "Timed",
    "recipe_latents",
    "render",
]
