"""Search the outputs of any diffusion or flow-matching model with the optimiser you know.

The core: surrogate latent spaces, recipes, objectives, policies and the one loop. It imports no optimiser and no
diffusers; `surrogate_ax_optuna` and `surrogate_ax_diffusers` beside it do.
"""

from surrogate_ax.bank import Bank, Draw, Seed, Stored, Terms
from surrogate_ax.charts import Angular, Cap, Chart, KnotheRosenblatt
from surrogate_ax.checkpoints import Checkpoints
from surrogate_ax.conditions import Choice, Range
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
from surrogate_ax.evaluation import Evaluations, Evaluator
from surrogate_ax.evolve import caps, evolve, reseed
from surrogate_ax.generator import FromTerms, FunctionGenerator, Generated, Generator, Invertible, Steppable
from surrogate_ax.laws import Elementwise, Law, Normal, Rotations, ZeroCentre
from surrogate_ax.loop import Batch, Candidate, Direct, Host, Line, run
from surrogate_ax.objective import Metric, Objective
from surrogate_ax.overlap import Overlapped
from surrogate_ax.plan import Plan, plan
from surrogate_ax.policies import Policy, Told, Turn, draws, fixed, o3, o3_seeds, then
from surrogate_ax.priors import Gaussian, Latents, Prior, Product
from surrogate_ax.recipe import Recipe, render
from surrogate_ax.space import SurrogateSpace
from surrogate_ax.sphere import sphere
from surrogate_ax.subprocess_score import SubprocessScore
from surrogate_ax.under_each import UnderEach

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
