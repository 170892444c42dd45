"""Outputs as files to look at: pictures, clips, sound, structures, and a sheet of several."""

from surrogate_ax.media.contact_sheet import Row, contact_sheet
from surrogate_ax.media.previews import save_preview, to_image
from surrogate_ax.media.structures import Structure

__all__ = [
    "Row",
    "Structure",
    "contact_sheet",
    "save_preview",
    "to_image",
]
