"""A search as pages show it: what its trials are, the plots of them, and what is said of it, for every host."""

from surrogate_ax.media.preview_files import Preview
from surrogate_ax.report.facts import gain_text, study_facts
from surrogate_ax.report.figures import best_so_far, pareto_front, seed_figure, study_figures
from surrogate_ax.report.remade import Remade
from surrogate_ax.report.shown_study import Figure, ShownStudy, ShownTrial, StudySource

__all__ = [
    "Figure",
    "Preview",
    "Remade",
    "ShownStudy",
    "ShownTrial",
    "StudySource",
    "best_so_far",
    "gain_text",
    "pareto_front",
    "seed_figure",
    "study_facts",
    "study_figures",
]
