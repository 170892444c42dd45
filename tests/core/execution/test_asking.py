"""The objective of a search by choices."""

from __future__ import annotations

import numpy as np
import pytest

from surrogate_ax import Metric, Objective
from surrogate_ax.errors import ArgumentError, ScoreError
from surrogate_ax.execution import person


def left(outputs, conditions):
    return outputs[:, 0]


def both(outputs, conditions):
    return {"left": outputs[:, 0], "right": outputs[:, 1]}


OUTPUTS = np.arange(6.0).reshape(3, 2)


def test_what_is_measured_beside_what_is_liked():
    plain, one = person(), person(Metric("left", "at_least", 1.0), score=left)
    several = person(Metric("left", "at_most", 3.0), Metric("right", "track"), score=both)
    assert plain.describe() == [["liking", "maximize", None]]
    assert one.describe() == [["liking", "maximize", None], ["left", "at_least", 1.0]]
    measured = one.measure(OUTPUTS, [{}] * 3)
    np.testing.assert_array_equal(measured["left"], [0, 2, 4])
    np.testing.assert_array_equal(measured["liking"], [0, 0, 0])
    np.testing.assert_array_equal(several.measure(OUTPUTS, [{}] * 3)["right"], [1, 3, 5])


@pytest.mark.parametrize(
    ("metrics", "score", "got"),
    [
        ([Metric("left")], left, r"\['left'\]"),
        ([Metric("liking", "track")], left, r"\['liking'\]"),
        ([Metric("left", "at_least", 1.0)], None, r"\['left'\] without a score"),
        ([], left, r"\[\]"),
    ],
)
def test_metrics_to_optimise_and_metrics_without_a_score_are_refused(metrics, score, got):
    with pytest.raises(ArgumentError, match=f"metrics: expected a score, and metrics that it measures.* got {got}"):
        person(*metrics, score=score)


def test_a_score_of_several_metrics_names_them():
    several = person(Metric("left", "track"), Metric("right", "track"), score=left)
    with pytest.raises(ScoreError, match=r"expected a mapping of the metrics \['left', 'right'\], got ndarray"):
        several.measure(OUTPUTS, [{}] * 3)
    missing = person(Metric("up", "track"), Metric("right", "track"), score=both)
    with pytest.raises(ScoreError, match="expected exactly the declared metrics"):
        missing.measure(OUTPUTS, [{}] * 3)
    assert isinstance(several, Objective)
