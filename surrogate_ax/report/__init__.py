"""A search as one HTML page."""

from surrogate_ax.report.page import Figure, Section, write_page
from surrogate_ax.report.sections import Entry, common_sections

__all__ = [
    "Entry",
    "Figure",
    "Section",
    "common_sections",
    "write_page",
]
