"""What follows from an answer to a page: what is then known, and the next round. Pure, and remembered.

The same is asked of it ahead of time, for answers that are likely, and when the answer is there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from surrogate_ax.arrays import Array
from surrogate_ax.errors import ArgumentError
from surrogate_ax.execution.answers import Answer, Answers
from surrogate_ax.execution.asking import LIKING
from surrogate_ax.execution.executor import Candidate
from surrogate_ax.latents.priors import Prior
from surrogate_ax.latents.seeds import Terms
from surrogate_ax.policies.history import History, Policy, Round
from surrogate_ax.policies.taste import by_liking, liked_rounds, variations

Measured = Mapping[int, Mapping[str, float]]  # by trial and metric


@dataclass(frozen=True)
class Known:
    """A history whose rows have names.

    Args:
        trials: numbers of the rows' trials.
        history: of them.
    """

    trials: tuple[int, ...]
    history: History

    def terms(self, trial: int) -> Terms:
        """The coefficient row of a trial.

        Raises:
            ArgumentError: no such trial.
        """
        if trial not in self.trials:
            raise ArgumentError(f"trial: expected one of this search, got {trial}.")
        return self.history.terms[self.trials.index(trial)]

    def extended(self, asked: Mapping[int, Candidate[object]], measured: Measured) -> Known:
        """With trials that are not told yet, by their numbers, and what was measured of them."""
        history = self.history
        rounds = np.array([candidate.round for candidate in asked.values()], dtype=np.int64)
        conditions = history.conditions and [*history.conditions, *(each.condition for each in asked.values())]
        longer = replace(
            history,
            terms=[*history.terms, *(candidate.terms for candidate in asked.values())],
            values={name: np.append(column, _column(name, asked, measured)) for name, column in history.values.items()},
            round=np.append(history.round, rounds),
            conditions=conditions,
            running=(),
        )
        return Known((*self.trials, *asked), longer)


@dataclass(frozen=True)
class Rules:
    """How rounds follow from what is known.

    Args:
        prior: the law of the latents.
        rng: seed of draws and proposals.
        items: of a page.
        favourite: whether the best so far is one of them.
        device: where latents are made.
    """

    prior: Prior
    rng: int
    items: int = 8
    favourite: bool = False
    device: torch.device | str = "cpu"

    def liked(self, known: Known, answers: Answers) -> Known:
        """With what the answers say of it as its values."""
        history = replace(known.history, preferences=answers.preferences(known.trials))
        return replace(known, history=by_liking(history, self.prior, device=self.device))

    def new_items(self, answers: Answers) -> int:
        """How many items of the next page are new."""
        return self.items - (self.favourite_of(answers) is not None)

    def favourite_of(self, answers: Answers) -> int | None:
        """The trial that is shown again on the next page."""
        return answers.favourite if self.favourite else None

    def next_round(self, liked: Known, answers: Answers) -> Round | None:
        """The round of the page behind some answers, of what `liked` gives."""
        more = answers.pages[-1].more if answers.pages else None
        size = self.new_items(answers)
        if more is None:
            return self.round(liked, liked_rounds(self.prior, size=size, device=self.device), size)
        return self.round(liked, variations(liked.terms(more), self.prior, size=size, device=self.device), size)

    def round(self, known: Known, policy: Policy, size: int) -> Round | None:
        """A new round of a policy's, whatever size the rounds before it had."""
        return policy(replace(known.history, begin=known.history.last + 1), size, self.rng)


def _column(name: str, asked: Mapping[int, Candidate[object]], measured: Measured) -> Array:
    """A metric's values of trials; what a person likes is found out later, what is not measured yet is unknown."""
    unknown = 0.0 if name == LIKING else np.nan
    return np.array([measured.get(trial, {}).get(name, unknown) for trial in asked])


class Foresight:
    """The consequences of answers to one page.

    Args:
        rules: of the search.
        known: before the page.
        asked: the page's new items, by trial.
        answers: before the page.
        measured: what is known of an item beside how it is liked, by metric; nothing while it is being made.
    """

    def __init__(
        self,
        rules: Rules,
        known: Known,
        asked: Mapping[int, Candidate[object]],
        answers: Answers,
        *,
        measured: Callable[[Candidate[object]], Mapping[str, float]] = lambda candidate: {},
    ) -> None:
        self._rules, self._known, self._asked, self._answers = rules, known, dict(asked), answers
        self._measure = measured
        self._after: dict[tuple[Answer, frozenset[int]], tuple[Known, Round | None]] = {}

    def after(self, answer: Answer) -> tuple[Known, Round | None]:
        """What is known after an answer, with what is liked as its values, and the round that follows."""
        told = {trial: candidate for trial, candidate in self._asked.items() if trial in answer.shown}
        measured = self._measured(told)
        key = answer, frozenset(measured)
        if key not in self._after:
            answers = self._answers.with_page(answer)
            liked = self._rules.liked(self._known.extended(told, measured), answers)
            self._after[key] = liked, self._rules.next_round(liked, answers)
        return self._after[key]

    def likely(self, shown: Sequence[int], count: int) -> list[Answer]:
        """Answers that like one item, the likeliest first."""
        if not self._answers.pages:
            return [Answer(tuple(shown), (trial,)) for trial in shown[:count]]
        known = self._known.extended(self._asked, self._measured(self._asked))
        liked = self._rules.liked(known, self._answers)
        value = dict(zip(liked.trials, liked.history.values[LIKING], strict=True))
        order = sorted(shown, key=lambda trial: -np.nan_to_num(value[trial]))
        return [Answer(tuple(shown), (trial,)) for trial in order[:count]]

    def _measured(self, asked: Mapping[int, Candidate[object]]) -> Measured:
        return {trial: found for trial, candidate in asked.items() if (found := self._measure(candidate))}
