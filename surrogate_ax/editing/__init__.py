"""Editing what exists: inversion, edits as generators, FlowOpt, inpainting, residual-space evolution."""

from surrogate_ax.editing.anderson import Memory, accelerate
from surrogate_ax.editing.edit import Edited, edit
from surrogate_ax.editing.edits import Edit, straight_edit, swap_condition
from surrogate_ax.editing.flowopt import FlowOpt, largest_step
from surrogate_ax.editing.inpainting import Inpaint, replace_latents
from surrogate_ax.editing.inversion import Inversion, invert
from surrogate_ax.editing.region import changed_region
from surrogate_ax.editing.remake import edit_of, remake
from surrogate_ax.editing.residuals import pollinate, residual_bank, residual_space

__all__ = [
    "Edit",
    "Edited",
    "FlowOpt",
    "Inpaint",
    "Inversion",
    "Memory",
    "accelerate",
    "changed_region",
    "edit",
    "edit_of",
    "invert",
    "largest_step",
    "pollinate",
    "remake",
    "replace_latents",
    "residual_bank",
    "residual_space",
    "straight_edit",
    "swap_condition",
]
