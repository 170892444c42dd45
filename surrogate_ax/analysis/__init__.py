"""What a search has found: diagnostics of latents and generators, the use of seeds, the best that differ, a table."""

from surrogate_ax.analysis.diagnostics import Determinism, Stationarity, determinism, stationarity
from surrogate_ax.analysis.frame import trials_frame
from surrogate_ax.analysis.picks import Pick, Portfolio, remake
from surrogate_ax.analysis.portfolio import choose
from surrogate_ax.analysis.seed_utility import SeedUtility, effective_seeds, seed_utility
from surrogate_ax.analysis.summary import Summary

__all__ = [
    "Determinism",
    "Pick",
    "Portfolio",
    "SeedUtility",
    "Stationarity",
    "Summary",
    "choose",
    "determinism",
    "effective_seeds",
    "remake",
    "seed_utility",
    "stationarity",
    "trials_frame",
]
