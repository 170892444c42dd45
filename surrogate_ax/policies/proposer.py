"""What a search evaluates next: from its history and what is pending to a round, its proposals and points of its box.

A proposer is pure: equal histories give equal rounds, on resume and in every worker. It holds no generator, and a
planned one is JSON, so that a process without the model can propose: it reads the JSON, and the study's history. What
proposes so are the samplers of an Optuna study and the generation nodes of an Ax client.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from surrogate_ax.errors import UnsupportedError
from surrogate_ax.generation.conditions import Searched, searched_from_json, searched_to_json
from surrogate_ax.latents.priors import Prior, RecordedPrior
from surrogate_ax.latents.typicality import recorded_prior
from surrogate_ax.policies.history import History, Policy, Round
from surrogate_ax.policies.plan import Plan
from surrogate_ax.policies.sources import Source


@dataclass(frozen=True)
class Proposer:
    """A policy, how far it goes, and its seed.

    Args:
        policy: where to search next.
        total_trials: ended trials wanted in the study, earlier ones and failed ones included.
        rng: seed of the policy.
        plan: what the policy was made from, where it was planned.
        prior: what it was planned for.
        conditions: searched call arguments.
        done: whether nothing more is wanted, asked before every round.
    """

    policy: Policy
    total_trials: int
    rng: int
    plan: Plan | None = field(default=None, compare=False)
    prior: Prior | None = field(default=None, compare=False)
    conditions: Searched = field(default_factory=dict, compare=False)
    done: Callable[[], bool] | None = field(default=None, compare=False)

    @classmethod
    def planned(
        cls,
        plan: Plan,
        prior: Prior,
        *,
        total_trials: int,
        rng: int,
        conditions: Searched | None = None,
        sources: Sequence[Source] = (),
        device: torch.device | str = "cpu",
    ) -> Proposer:
        """The proposer of a plan.

        Args:
            plan: how to spend the budget.
            prior: the law of the latents.
            total_trials: ended trials wanted.
            rng: seed of the policy.
            conditions: searched call arguments.
            sources: earlier searches; hosts record them apart.
            device: where latents are made.
        """
        policy = plan.policy(prior, conditions=conditions, sources=sources, device=device)
        return cls(policy, total_trials, rng, plan, prior, dict(conditions or {}))

    def round(self, history: History, current: Round | None = None) -> Round | None:
        """The round to run now: the current one until it closes, then the policy's next; None when nothing is proposed.

        Args:
            history: ended trials, and the rounds of all that are running.
            current: the round that this worker ran last; one that is shared goes on until it closes.
        """
        if self.done is not None and self.done():
            return None
        if current is not None and current.shared and history.ended(current.number) < current.size:
            return current
        return self.policy(history, self.remaining(history), self.rng)

    def until(self, done: Callable[[], bool]) -> Proposer:
        """The same, but that it proposes nothing more once that is said.

        Args:
            done: whether nothing more is wanted.
        """
        return dataclasses.replace(self, done=done)

    def remaining(self, history: History) -> int:
        """How many trials are still to be asked, beside those that are running.

        Args:
            history: what has been found and what is running.
        """
        return self.total_trials - len(history.terms) - len(history.running)

    def open(self, history: History, round: Round) -> int:
        """How many trials of a round are still to be asked.

        Args:
            history: what has been found and what is running.
            round: the round in question.
        """
        return min(self.remaining(history), history.open(round))

    def to_json(self) -> dict[str, Any]:
        """What `from_json` needs: all that a process without the model has to know in order to propose.

        Raises:
            UnsupportedError: the policy is a function of the user's.
        """
        if self.plan is None or self.prior is None:
            raise UnsupportedError("proposer: a policy of your own cannot be written as JSON; a planned one can.")
        return {
            "plan": self.plan.to_json(),
            "total_trials": self.total_trials,
            "rng": self.rng,
            "prior": recorded_prior(self.prior).to_json(),
            "conditions": searched_to_json(self.conditions),
        }

    @classmethod
    def from_json(
        cls,
        record: Mapping[str, Any],
        prior: Prior | None = None,
        *,
        sources: Sequence[Source] = (),
        device: torch.device | str = "cpu",
    ) -> Proposer:
        """The inverse of `to_json`.

        Args:
            record: what it gave.
            prior: of the study; left out, what is recorded of it, with which no latents can be made.
            sources: earlier searches, which the host has recorded.
            device: where latents are made.
        """
        return cls.planned(
            Plan.from_json(record["plan"]),
            prior or RecordedPrior.from_json(record["prior"]),
            total_trials=record["total_trials"],
            rng=record["rng"],
            conditions=searched_from_json(record["conditions"]),
            sources=sources,
            device=device,
        )
