"""What a search has found: diagnostics of latents and generators, the use of seeds, the best that differ."""

from surrogate_ax.analysis.diagnostics import Determinism, Stationarity, determinism, stationarity
from surrogate_ax.analysis.portfolio import choose
from surrogate_ax.analysis.seed_utility import SeedUtility, effective_seeds, seed_utility

__all__ = [
    "Determinism",
    "SeedUtility",
    "Stationarity",
    "choose",
    "determinism",
    "effective_seeds",
    "seed_utility",
    "stationarity",
]
