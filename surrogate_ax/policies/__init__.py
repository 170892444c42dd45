"""Where to search next: the history of a search, and policies that propose the next round from it."""

from surrogate_ax.policies.basic import chain, draws, fixed, o3, o3_seeds
from surrogate_ax.policies.evolution import evolve, reseed, trust_region
from surrogate_ax.policies.history import History, Policy, Proposal, Round, as_proposals
from surrogate_ax.policies.moving_boxes import moving_boxes
from surrogate_ax.policies.plan import Plan, plan
from surrogate_ax.policies.preference import Preference
from surrogate_ax.policies.proposer import Proposer
from surrogate_ax.policies.spherical_bo import spherical_bo
from surrogate_ax.policies.taste import taste, variations

__all__ = [
    "History",
    "Plan",
    "Policy",
    "Preference",
    "Proposal",
    "Proposer",
    "Round",
    "as_proposals",
    "chain",
    "draws",
    "evolve",
    "fixed",
    "moving_boxes",
    "o3",
    "o3_seeds",
    "plan",
    "reseed",
    "spherical_bo",
    "taste",
    "trust_region",
    "variations",
]
