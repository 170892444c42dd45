"""The plan that a study has recorded: every kind is read, and what nobody has planned is refused."""

from __future__ import annotations

import pytest

from surrogate_ax import plan
from surrogate_ax.errors import MismatchError
from surrogate_ax.execution.recorded_search import read_plan
from surrogate_ax.policies.plan import Plan

KINDS = [(proposes, endless) for proposes in (True, False) for endless in (True, False)]
PLANS = [plan(40, dim=16, proposes=proposes, endless=endless) for proposes, endless in KINDS]


@pytest.mark.parametrize("planned", [*PLANS, plan(40, dim=16, steps=8), Plan("o3", 20, 6, 0, 0, 0)])
def test_every_plan_is_read(planned: Plan) -> None:
    assert read_plan(planned.to_json(), "study") == planned


@pytest.mark.parametrize("altered", [{"kind": "cube"}, {"axes": 1}, {"size": -1}, {"narrow": "soon"}, {"more": 1}])
def test_an_altered_plan_is_refused(altered: dict[str, object]) -> None:
    with pytest.raises(MismatchError, match="study: its recorded plan cannot be read"):
        read_plan(PLANS[0].to_json() | altered, "study")
