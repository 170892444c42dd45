"""Which of several workers a new trial belongs to, and what it is for.

Workers share nothing but the study. Each leaves to those that take before it (`peers`) what these are about to take,
puts a trial into the study that says what it is for (its round; a proposal, or the trial that it repeats) and then
looks whether an earlier trial has the same purpose or the last free place. Numbers are given in order and trials are
seen in order, so of two workers at least the later one sees the other and gives way.

Nothing has to happen between failing a lost trial (see `trials`) and asking for its child: whoever asks next finds it
without a child, after a crash as well. The link is Optuna's own `retry_history`, so its retry callback makes children
too.
"""

from __future__ import annotations

import datetime
import secrets
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from surrogate_ax.generation.recipe import Recipe
from surrogate_ax.latents.space import coordinate_names
from surrogate_ax.policies.history import Round
from surrogate_ax_optuna.attributes import (
    BOX_ATTR,
    LEASE_ATTR,
    PREVIEW_ATTR,
    PROPOSAL_ATTR,
    RECIPE_ATTR,
    ROUND_ATTR,
    attributes,
)
from surrogate_ax_optuna.trials import RETRIES, box_of, is_awaiting, is_gone, is_leased, is_lost, parent_of, round_of

FIXED = "fixed_params"  # of Optuna: values that its samplers are not asked for
FIRST = "failed_trial"  # the first of the numbers in the history
OWN = 2**31  # numbers of proposals of workers' own rounds
ALONE = 2  # at so many lost tries a trial is run alone: one of its batch kills the process, and may be any of them
_OF_A_RESULT = ("artifacts:", "constraints", "surrogate:", PREVIEW_ATTR)  # not the sampler's, and not its parent's


@dataclass(frozen=True)
class Claim:
    """What a new trial is for.

    Args:
        round: its round.
        proposal: number of a proposal of its round.
        repeats: the lost trial that it repeats.
        box: number of the box of its round that its point lies in.
        fixed: values of parameters that its proposal wants.
        parameters: their distributions, where all of them are fixed from the start.
        recipe: what the trial evaluates, where that is known from the start.
    """

    round: int
    proposal: int | None = None
    repeats: FrozenTrial | None = None
    box: int = 0
    fixed: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, BaseDistribution] = field(default_factory=dict)
    recipe: Recipe | None = None

    @property
    def alone(self) -> bool:
        """Whether the trial is not to be run together with others: its process was killed again and again."""
        return self.repeats is not None and tries(self.repeats) >= ALONE

    def trial(self, lease: Mapping[str, Any]) -> FrozenTrial:
        """A running trial that says so, for a storage to make in one step.

        Args:
            lease: whose it is.
        """
        ours = {LEASE_ATTR: dict(lease), ROUND_ATTR: self.round}
        ours |= {} if self.proposal is None else {PROPOSAL_ATTR: self.proposal}
        ours |= {BOX_ATTR: self.box} if self.box else {}
        ours |= {RECIPE_ATTR: self.recipe.to_json()} if self.recipe else {}
        old = self.repeats
        return FrozenTrial(
            number=-1,
            trial_id=-1,
            state=TrialState.RUNNING,
            value=None,
            datetime_start=datetime.datetime.now(),
            datetime_complete=None,
            params=dict(old.params) if old else {name: self.fixed[name] for name in self.parameters},
            distributions=dict(old.distributions if old else self.parameters),
            user_attrs={},
            system_attrs=ours | (_inherited(old) if old else {FIXED: dict(self.fixed)} if self.fixed else {}),
            intermediate_values={},
        )


def exact(round: Round, i: int) -> Claim:
    """The claim of a proposal of a round: a corner of one of its boxes, with the condition that it wants.

    A proposal of a worker's own round has a number below 0 that is nobody else's.
    """
    box, u = round.place(i)
    point = dict(zip(coordinate_names(round.space.axes), u.tolist(), strict=True))
    number = i if round.shared else -1 - secrets.randbelow(OWN)
    return Claim(round.number, number, box=box, fixed=point | dict(round.proposals[i].condition))


class Ledger:
    """What the trials of a study claim, kept up to date: trials that have ended are read once.

    Args:
        total: trials wanted in the study.
        counts: whether a trial that ended is one of them; every one is if it is left out.
        note: called with every trial that has ended, once.
    """

    def __init__(
        self,
        total: float,
        counts: Callable[[FrozenTrial], bool] | None = None,
        note: Callable[[FrozenTrial], None] = lambda trial: None,
    ) -> None:
        self._total, self._counts, self._ended_also = total, counts, note
        self._settled = 0  # so many first trials have ended, and been read
        self._read: set[int] = set()  # of those behind
        self._ended: Counter[int] = Counter()  # by round
        self._lost: dict[int, FrozenTrial] = {}
        self._repeated: set[int | None] = set()  # numbers of trials that an ended one repeats
        self._proposals: set[tuple[int, int | None]] = set()  # (round, number in it)
        self._open: list[FrozenTrial] = []

    def read(self, trials: Sequence[FrozenTrial]) -> None:
        """Note all trials of the study, in the order of their numbers."""
        unsettled = trials[self._settled :]
        self._open = [trial for trial in unsettled if not trial.state.is_finished()]
        for trial in unsettled:
            if trial.state.is_finished() and trial.number not in self._read:
                self._read.add(trial.number)
                self._note(trial)
                self._ended_also(trial)
        self._settled = self._open[0].number if self._open else len(trials)
        self._read = {number for number in self._read if number >= self._settled}

    def _note(self, trial: FrozenTrial) -> None:
        """Count a trial that has ended."""
        if is_gone(trial) or (self._counts is not None and not self._counts(trial)):
            return
        if is_lost(trial):
            self._lost[trial.number] = trial
        else:
            self._ended[round_of(trial)] += 1
        self._repeated.add(parent_of(trial))
        self._proposals.add(_proposal(trial))

    @property
    def waiting(self) -> bool:
        """Whether trials wait in Optuna's queue."""
        return any(trial.state == TrialState.WAITING for trial in self._open)

    @property
    def unended(self) -> Sequence[FrozenTrial]:
        """Trials that have not ended, as of the last `read`."""
        return self._open

    def claims(self, round: Round, n: int, *, after: int = 0) -> list[Claim]:
        """What the next trials should be for: lost trials, then proposals of a round, then points of its box.

        Args:
            round: where to search.
            n: how many, at most.
            after: so many are left to other workers.

        Returns:
            The claims; none when other workers hold all that is left, or are about to. One that is to be run alone is
            the only one.
        """
        places = max(0.0, min(n, self._places(self._open) - after))
        repeated = set(map(parent_of, self._open))
        lost = sorted(
            (tries(trial) >= ALONE, number, trial)
            for number, trial in self._lost.items()
            if number not in self._repeated and number not in repeated
        )
        again = [Claim(round_of(t), attributes(t).get(PROPOSAL_ATTR), t, box_of(t)) for _, _, t in lost]
        found = again[after : after + int(places)]
        if found and found[0].alone:
            return found[:1]
        found = [claim for claim in found if not claim.alone]
        left = max(0, after - len(again))  # of the round, to other workers
        taken = set(map(_proposal, self._open))
        places_of = [(round.number, i) for i in range(len(round.proposals))]
        waiting = [i for i, of in enumerate(places_of) if of not in self._proposals and of not in taken]
        if round.shared:
            free = self._places(self._open, round) - left - sum(claim.round == round.number for claim in found)
            waiting = waiting[left:]
        else:
            free = len(waiting)
        count = max(0, int(min(places - len(found), free)))
        found += [exact(round, i) for i in waiting[:count]]
        return found + [Claim(round.number)] * (count - len(waiting[:count]))

    @property
    def all_made(self) -> bool:
        """Whether every trial that is wanted has ended, or has an output that waits for its score."""
        return self._places([trial for trial in self._open if is_awaiting(trial)]) <= 0

    def undisputed(self, claims: Sequence[Claim], round: Round, others: int) -> bool:
        """Whether claims stand whatever other workers claim at the same time.

        Args:
            claims: of a round.
            round: where they search.
            others: trials that all workers make at the same time, at most.
        """
        if round.shared or any(claim.repeats is not None for claim in claims):
            return False
        return self._places(self._open) >= 2 * others + len(claims)

    def stands(self, claim: Claim, number: int, round: Round) -> bool:
        """Whether a trial keeps what it claims, judged by what was read after it was made.

        Trials that have ended gave way to it if they had to, whatever their number.

        Args:
            claim: what the trial is for.
            number: of the trial.
            round: where it searches.
        """
        earlier = [trial for trial in self._open if trial.number < number]
        if self._places(earlier) <= 0:
            return False
        if claim.repeats is not None:
            number = claim.repeats.number
            return number not in self._repeated and number not in map(parent_of, earlier)
        if round.shared and self._places(earlier, round) <= 0:
            return False
        purpose = claim.round, claim.proposal
        return claim.proposal is None or not (purpose in self._proposals or purpose in map(_proposal, earlier))

    def _places(self, open: Sequence[FrozenTrial], round: Round | None = None) -> float:
        """How many trials are still wanted, beside the running ones among some that have not ended."""
        rounds = [round_of(trial) for trial in open if is_leased(trial)]
        if round is None:
            return self._total - self._ended.total() - len(rounds)
        return round.size - self._ended[round.number] - rounds.count(round.number)


def tries(trial: FrozenTrial) -> int:
    """How many processes were killed that ran a lost trial, or one that it repeats."""
    return 1 + len(trial.system_attrs.get(RETRIES, ()))


def _inherited(old: FrozenTrial) -> dict[str, Any]:
    """System attributes of a child: what the sampler keeps on the trial that it repeats, and the link to that."""
    kept = {key: value for key, value in old.system_attrs.items() if not key.startswith(_OF_A_RESULT)}
    history = [*kept.get(RETRIES, ()), old.number]
    return {**kept, FIRST: history[0], RETRIES: history}


def _proposal(trial: FrozenTrial) -> tuple[int, int | None]:
    return round_of(trial), attributes(trial).get(PROPOSAL_ATTR)
