"""The loop with what most tests leave out: a proposer of a policy, and the executor that evaluates at once."""

from __future__ import annotations

from typing import Any

from surrogate_ax.execution import loop
from surrogate_ax.execution.executor import Executor, Synchronous
from surrogate_ax.policies.history import Policy
from surrogate_ax.policies.proposer import Proposer
from surrogate_ax.scoring.evaluator import Evaluator


def run(
    host: Any,
    policy: Policy,
    evaluator: Evaluator,
    *,
    total_trials: int,
    rng: int,
    executor: Executor | None = None,
    **options: Any,
) -> None:
    loop.run(host, Proposer(policy, total_trials, rng), executor or Synchronous(evaluator), **options)
