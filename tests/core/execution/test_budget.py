"""Why a budget is spent on whole outputs, said by whoever cannot stop any."""

from __future__ import annotations

import pytest

from surrogate_ax import FunctionGenerator, Metric, Objective
from surrogate_ax.execution.budget import stoppable_steps, why_whole
from tests.contracts.euler_flow import EulerFlow

ONE = Objective(Metric("a"), score=lambda x, _: x[:, 0])
TWO = Objective(Metric("a"), Metric("b"), score=lambda x, _: {"a": x[:, 0], "b": x[:, 1]})
PLAIN = FunctionGenerator(lambda z: z, (4,))


class Scheduled(EulerFlow):
    schedule_arguments = frozenset({"steps"})


@pytest.mark.parametrize(
    ("generator", "objective", "options", "why"),
    [
        (EulerFlow(8, 16), ONE, {}, ""),
        (PLAIN, ONE, {}, "the generator cannot stop between steps"),
        (EulerFlow(3, 16), ONE, {}, "a trajectory of 3 steps is too short to be stopped"),
        (EulerFlow(8, 16), TWO, {}, "several metrics are optimised, whose best are a front of finished outputs"),
        (EulerFlow(8, 16), ONE, {"overlap": True}, "scores come later, by overlap"),
        (Scheduled(8, 16), ONE, {"conditions": ["steps"]}, "steps is searched and changes the steps"),
        (Scheduled(8, 16), ONE, {"conditions": ["scale"]}, ""),
    ],
)
def test_what_keeps_a_budget_from_stopping_anything_is_named(generator, objective, options, why):
    assert why_whole(generator, objective, **options) == why
    if "overlap" not in options:
        assert stoppable_steps(generator, objective, **options) == (None if why else 8)
