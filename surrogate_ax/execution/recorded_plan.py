"""The plan that a study has recorded, which may have been altered since."""

from __future__ import annotations

from typing import Any, get_args

from surrogate_ax.checks import whole
from surrogate_ax.errors import ArgumentError, MismatchError
from surrogate_ax.policies.plan import Kind, Plan


def read_plan(record: Any, study: str) -> Plan:
    """The plan of a record.

    Args:
        record: of `Plan.to_json`.
        study: what it is called, for messages.

    Raises:
        MismatchError: something else.
    """
    try:
        plan = Plan.from_json(record)
        counts = [plan.draws, plan.axes, plan.size, plan.sampled, plan.checkpoint, plan.steps]
        for count in counts if plan.anneal_over is None else [*counts, plan.anneal_over]:
            whole(count, "a count of it", least=0)
        if plan.kind not in get_args(Kind) or plan.axes < 2 or not 0 < plan.keep_fraction <= 1:
            raise ArgumentError(f"kind {plan.kind!r}, axes {plan.axes}, keep_fraction {plan.keep_fraction}")
    except (TypeError, AttributeError, ArgumentError) as error:
        raise MismatchError(f"{study}: its recorded plan cannot be read ({error}); it was altered.") from error
    return plan
