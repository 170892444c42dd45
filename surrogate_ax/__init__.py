"""Search the outputs of any diffusion or flow-matching model with the optimiser you know.

The core: surrogate latent spaces, recipes, objectives, policies and the one loop. It imports no optimiser and no
diffusers; `surrogate_ax_optuna` and `surrogate_ax_diffusers` beside it do.
"""

from surrogate_ax.errors import (
    ArgumentError,
    GenerationError,
    MismatchError,
    MissingExtraError,
    ScoreError,
    ScoreProcessError,
    ScoreTimeoutError,
    SeedError,
    ShapeError,
    StorageError,
    SurrogateError,
    UnsupportedError,
)
from surrogate_ax.execution.early_stopping import Checkpoints
from surrogate_ax.execution.executor import Candidate, Direct, Line
from surrogate_ax.execution.loop import Batch, Host, run
from surrogate_ax.execution.pipelined import Overlapped
from surrogate_ax.generation.conditions import Choice, Range
from surrogate_ax.generation.function_generator import FunctionGenerator
from surrogate_ax.generation.multi_condition import UnderEach
from surrogate_ax.generation.protocols import FromTerms, Generated, Generator, Invertible, Steppable
from surrogate_ax.generation.recipe import Recipe, render
from surrogate_ax.latents.bank import Bank
from surrogate_ax.latents.charts import Angular, Cap, Chart, KnotheRosenblatt
from surrogate_ax.latents.laws import Elementwise, Law, Normal, Rotations, ZeroCentre
from surrogate_ax.latents.priors import Gaussian, Latents, Prior, Product
from surrogate_ax.latents.seeds import Draw, Seed, Stored, Terms
from surrogate_ax.latents.space import SurrogateSpace
from surrogate_ax.policies.basic import draws, fixed, o3, o3_seeds, then
from surrogate_ax.policies.evolution import caps, evolve, reseed
from surrogate_ax.policies.history import Policy, Told, Turn
from surrogate_ax.policies.plan import Plan, plan
from surrogate_ax.policies.spherical_bo import sphere
from surrogate_ax.scoring.evaluator import Evaluations, Evaluator
from surrogate_ax.scoring.objective import Metric, Objective
from surrogate_ax.scoring.process import SubprocessScore

__version__ = "0.1.0"

__all__ = [
    "Angular",
    "ArgumentError",
    "Bank",
    "Batch",
    "Candidate",
    "Cap",
    "Chart",
    "Checkpoints",
    "Choice",
    "Direct",
    "Draw",
    "Elementwise",
    "Evaluations",
    "Evaluator",
    "FromTerms",
    "FunctionGenerator",
    "Gaussian",
    "Generated",
    "GenerationError",
    "Generator",
    "Host",
    "Invertible",
    "KnotheRosenblatt",
    "Latents",
    "Law",
    "Line",
    "Metric",
    "MismatchError",
    "MissingExtraError",
    "Normal",
    "Objective",
    "Overlapped",
    "Plan",
    "Policy",
    "Prior",
    "Product",
    "Range",
    "Recipe",
    "Rotations",
    "ScoreError",
    "ScoreProcessError",
    "ScoreTimeoutError",
    "Seed",
    "SeedError",
    "ShapeError",
    "Steppable",
    "StorageError",
    "Stored",
    "SubprocessScore",
    "SurrogateError",
    "SurrogateSpace",
    "Terms",
    "Told",
    "Turn",
    "UnderEach",
    "UnsupportedError",
    "ZeroCentre",
    "caps",
    "draws",
    "evolve",
    "fixed",
    "o3",
    "o3_seeds",
    "plan",
    "render",
    "reseed",
    "run",
    "sphere",
    "then",
]
