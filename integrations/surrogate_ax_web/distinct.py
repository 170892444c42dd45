"""The best outputs of a study that do not look alike."""

from __future__ import annotations

from surrogate_ax.report.shown_study import ShownStudy, StudySource


def distinct_best(study: ShownStudy, source: StudySource, items: int) -> list[int]:
    """Places of the best trials, best first."""
    return study.ranking[:items]
