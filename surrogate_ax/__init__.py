"""Search the outputs of any diffusion or flow-matching model with the optimiser you know.

Here is what most programs need; the rest is in the folders, from the bottom up: `latents` and `media`, `generation`,
`scoring`, `policies`, `editing`, `execution`, `analysis` and `report`. The core imports no optimiser and no diffusers;
`surrogate_ax_optuna`, `surrogate_ax_platform` (Ax) and `surrogate_ax_diffusers` beside it do.
"""

from surrogate_ax.errors import SurrogateError
from surrogate_ax.generation.conditions import Choice, Range
from surrogate_ax.generation.function_generator import FunctionGenerator
from surrogate_ax.generation.multi_condition import MultiCondition
from surrogate_ax.generation.protocols import Generated, Generator, Steppable
from surrogate_ax.generation.recipe import Recipe, render
from surrogate_ax.latents.laws import Rotations, ZeroCentre
from surrogate_ax.latents.priors import Gaussian, Product
from surrogate_ax.latents.space import SurrogateSpace
from surrogate_ax.media.contact_sheet import contact_sheet
from surrogate_ax.media.previews import save_preview
from surrogate_ax.policies.basic import chain, draws, fixed, o3
from surrogate_ax.policies.history import Policy
from surrogate_ax.policies.moving_boxes import moving_boxes
from surrogate_ax.policies.plan import Plan, plan
from surrogate_ax.policies.spherical_bo import spherical_bo
from surrogate_ax.scoring.evaluator import Evaluator
from surrogate_ax.scoring.objective import Metric, Objective
from surrogate_ax.scoring.process import SubprocessScore

__version__ = "0.1.0"

__all__ = [
    "Choice",
    "Evaluator",
    "FunctionGenerator",
    "Gaussian",
    "Generated",
    "Generator",
    "Metric",
    "MultiCondition",
    "Objective",
    "Plan",
    "Policy",
    "Product",
    "Range",
    "Recipe",
    "Rotations",
    "Steppable",
    "SubprocessScore",
    "SurrogateError",
    "SurrogateSpace",
    "ZeroCentre",
    "chain",
    "contact_sheet",
    "draws",
    "fixed",
    "moving_boxes",
    "o3",
    "plan",
    "render",
    "save_preview",
    "spherical_bo",
]
