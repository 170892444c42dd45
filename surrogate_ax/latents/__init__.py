"""Latents: seeds, banks and coefficient rows, charts and boxes over them, priors and their laws."""

from surrogate_ax.latents.bank import Bank
from surrogate_ax.latents.charts import Angular, Cap, Chart, KnotheRosenblatt
from surrogate_ax.latents.deferred import Deferred
from surrogate_ax.latents.laws import Elementwise, Law, Normal, Rotations, ZeroCentre
from surrogate_ax.latents.priors import Gaussian, Latents, Prior, Product
from surrogate_ax.latents.seed_store import FolderSeedStore, MemorySeedStore, SeedStore
from surrogate_ax.latents.seeds import Draw, Seed, Stored, Terms
from surrogate_ax.latents.space import SurrogateSpace

__all__ = [
    "Angular",
    "Bank",
    "Cap",
    "Chart",
    "Deferred",
    "Draw",
    "Elementwise",
    "FolderSeedStore",
    "Gaussian",
    "KnotheRosenblatt",
    "Latents",
    "Law",
    "MemorySeedStore",
    "Normal",
    "Prior",
    "Product",
    "Rotations",
    "Seed",
    "SeedStore",
    "Stored",
    "SurrogateSpace",
    "Terms",
    "ZeroCentre",
]
