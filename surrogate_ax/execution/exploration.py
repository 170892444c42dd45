"""A search by a person's choices: a page of items, an answer, the next page.

    Exploration.page -> look, choose -> Exploration.answer(liked) -> the next page

It is the loop with a person as the score: a page is a round, its items are trials of a host like any other, told when
the page is answered. While a person looks, the pages that follow from the likeliest answers are computed and made, so
that the next one is there at once.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import numpy as np
import torch

from surrogate_ax.errors import ArgumentError, MismatchError
from surrogate_ax.execution.answers import Answer, Answers
from surrogate_ax.execution.asking import AGAIN, ITEMS, LIKING, AnswerBook, Mode, Page, person
from surrogate_ax.execution.executor import Candidate
from surrogate_ax.execution.foresight import Foresight, Known, Rules
from surrogate_ax.execution.loop import Host
from surrogate_ax.execution.making import Made, Maker, Point, judged
from surrogate_ax.generation.protocols import Generator, Timed
from surrogate_ax.generation.recipe import VERSION, Recipe, check_fingerprint
from surrogate_ax.latents.bank import Bank
from surrogate_ax.policies.history import Round
from surrogate_ax.policies.taste import variations
from surrogate_ax.scoring.evaluator import Evaluator
from surrogate_ax.scoring.objective import Objective

FORESEEN = 2  # likely answers whose pages are made ahead of time


class Exploration:
    """A person's search; every method may be called from any thread.

    Args:
        host: keeps the trials; its objective is this one.
        book: keeps the answers.
        generator: makes the items.
        objective: of `person`; without metrics beside what is liked if left out.
        rng: seed of draws and proposals.
        mode: how one answers at first: any number of eight, the best of four, the better of two.
        batch_size: items of one generator call, at most.
        device: where latents are made.

    Raises:
        ArgumentError: another mode, or a record of answers that was altered.
    """

    def __init__(
        self,
        host: Host[Any],
        book: AnswerBook[Any],
        generator: Generator,
        *,
        objective: Objective | None = None,
        rng: int = 0,
        mode: Mode = "eight",
        batch_size: int = 8,
        device: torch.device | str = "cpu",
    ) -> None:
        self._host, self._book, self._generator = host, book, generator
        self._evaluator = Evaluator(generator, objective or person())
        self._fingerprint = dict(generator.fingerprint)
        self._rules = Rules(generator.prior, rng, device=device)
        self._lock = threading.RLock()
        recorded = book.read()
        self._answers = Answers() if recorded is None else Answers.from_json(recorded)
        self._open: dict[int, Candidate[Any]] = {}  # asked, not told, by trial
        self._shown: tuple[int, ...] = ()
        self._set_rules(mode)
        host.reclaim()
        self._known = self._read()
        self._maker = Maker(self._evaluator, self._bank, batch_size=batch_size)
        self._turn(self._follow())

    @property
    def page(self) -> Page:
        """What is shown now."""
        with self._lock:
            favourite = self._rules.favourite_of(self._answers)
            favourite = favourite if favourite in self._shown else None
            return Page(len(self._answers.pages), self._mode, self._shown, favourite, self._answers.kept)

    def answer(
        self, number: int, liked: Sequence[int] = (), disliked: Sequence[int] = (), more: int | None = None
    ) -> Page:
        """Take an answer and turn the page.

        Args:
            number: of the page that is answered; an answer to another one, as the second of a double click, changes
                nothing.
            liked: trials that are liked, none or several.
            disliked: trials that are worse than those passed over.
            more: the trial that the next page is to be like; it counts as liked.

        Returns:
            The next page.

        Raises:
            ArgumentError: trials that are not on the page, or are liked and disliked at once.
            Exception: what the generator raised for everything.
        """
        self._maker.check()
        with self._lock:
            if number == len(self._answers.pages):
                answer = self._answered(liked, disliked, more)
                known, round = self._foresight.after(answer)
                values = dict(zip(known.trials, known.history.values[LIKING], strict=True))
                self._end({seen: float(np.nan_to_num(values[seen])) for seen in answer.shown})
                self._write(dataclasses.replace(self._answers.with_page(answer), liking=_likings(known)))
                self._turn(round)
            return self.page

    def undo(self) -> Page:
        """Take the last answer back, and show its page again."""
        with self._lock:
            if self._answers.pages:
                *before, last = self._answers.pages
                self._give_back()
                answers = dataclasses.replace(self._answers, pages=tuple(before))
                liked = self._rules.liked(self._known, answers)
                self._write(dataclasses.replace(answers, liking=_likings(liked)))
                self._show(last.shown)
            return self.page

    def keep(self, trial: int, kept: bool = True) -> Page:
        """Put the trial of number `trial` aside to keep, or back where `kept` is false.

        Raises:
            ArgumentError: no such trial.
        """
        with self._lock:
            self.point(trial)
            others = tuple(other for other in self._answers.kept if other != trial)
            self._write(dataclasses.replace(self._answers, kept=(*others, trial) if kept else others))
            return self.page

    def set_mode(self, mode: Mode) -> Page:
        """Answer in another `mode` from now on; a page of that way takes the place of this one."""
        with self._lock:
            if mode != self._mode:
                self._set_rules(mode)
                self._give_back()
                self._turn(self._follow())
            return self.page

    def look_around(self, recipe: Recipe) -> Page:
        """Show what `recipe` makes, and variations of it, in place of this page.

        Raises:
            MismatchError: made by another generator (the differing parts are named), or with conditions of its own.
            SeedError: it needs a stored seed that is not there.
        """
        check_fingerprint(recipe.generator, self._generator, what="picture")
        if recipe.condition or recipe.version != VERSION:
            raise MismatchError(
                f"picture: made with call arguments of its own, {dict(recipe.condition)}, by version {recipe.version} "
                f"of recipes; here all are made with the same call, by version {VERSION}."
            )
        with self._lock:
            self._bank.latents_of([recipe.terms])  # refused here where a seed is missing
            size, rules = self._rules.items, self._rules
            policy = variations(recipe.terms, rules.prior, size=size, itself=True, device=rules.device)
            self._give_back()
            self._turn(rules.round(self._known, policy, size), alone=True)
            return self.page

    def expect(self, number: int, liked: Sequence[int] = (), disliked: Sequence[int] = ()) -> None:
        """Prepare for an answer to page `number` that is being given, `liked` and `disliked`: its page is made first.

        Raises:
            ArgumentError: trials that are not on the page, or are liked and disliked at once.
        """
        with self._lock:
            if number == len(self._answers.pages):
                self._want([self._answered(liked, disliked, None)])

    def point(self, trial: int) -> Point:
        """What the trial of number `trial` is made from.

        Raises:
            ArgumentError: no such trial.
        """
        with self._lock:
            asked = self._open.get(trial)
            return Point(self._known.terms(trial) if asked is None else asked.terms, {})

    def made(self, trial: int, timeout: float | None = None) -> Made | None:
        """What came of the trial `trial`, made anew if need be; None if that takes more than `timeout` seconds."""
        return self._maker.wait(self.point(trial), timeout)

    def recipe(self, trial: int, made: Made) -> Recipe:
        """What remakes the output of `trial`, which came out as `made` says."""
        return Recipe(self.point(trial).terms, {}, self._fingerprint, made.batch)

    @property
    def objective(self) -> Objective:
        """What is searched: what is liked, and what is measured beside it."""
        return self._evaluator.objective

    @property
    def rate(self) -> float | None:
        """Samples or frames a second of outputs that last."""
        return self._generator.rate if isinstance(self._generator, Timed) else None

    def close(self) -> None:
        """Give the open page back, and end."""
        self._maker.stop()
        with self._lock:
            self._give_back()

    @property
    def _bank(self) -> Bank:
        return Bank(self._rules.prior, (), tensors=self._known.history.tensors, device=self._rules.device)

    def _set_rules(self, mode: Mode) -> None:
        if mode not in get_args(Mode):
            raise ArgumentError(f"mode: expected one of {list(get_args(Mode))}, got {mode!r}.")
        self._mode: Mode = mode
        self._rules = dataclasses.replace(self._rules, items=ITEMS[mode], favourite=mode in AGAIN)

    def _read(self) -> Known:
        history = self._host.history()
        return Known(tuple(self._book.numbers()), history)

    def _write(self, answers: Answers) -> None:
        self._book.write(answers.to_json())
        self._answers = answers

    def _follow(self) -> Round | None:
        """The round that follows from what is known."""
        return self._rules.next_round(self._rules.liked(self._known, self._answers), self._answers)

    def _turn(self, round: Round | None, *, alone: bool = False) -> None:
        """Ask for a round and show it: beside the best so far, or alone."""
        while round is not None and len(self._open) < round.size:
            asked = self._host.ask(round.size - len(self._open), round)
            if not asked:
                break
            self._open |= {self._book.number_of(candidate.ticket): candidate for candidate in asked}
        favourite = None if alone else self._rules.favourite_of(self._answers)
        self._show((*([] if favourite is None else [favourite]), *self._open))

    def _show(self, trials: Sequence[int]) -> None:
        self._shown = tuple(trials)
        self._foresight = Foresight(self._rules, self._known, self._open, self._answers, measured=self._measured)
        self._want([])

    def _measured(self, asked: Candidate[Any]) -> Mapping[str, float]:
        made = self._maker.find(Point(asked.terms, {}))
        return {} if made is None else made.values

    def _want(self, expected: Sequence[Answer]) -> None:
        """Have the page made, then the pages behind expected answers, then those behind likely ones."""
        foresight, shown = self._foresight, self._shown
        answers = list(expected)
        rest: list[Answer] | None = None

        def ahead() -> Sequence[Point]:
            nonlocal rest
            while True:
                if not answers:
                    if rest is not None:
                        return ()
                    rest = foresight.likely(shown, FORESEEN)
                    answers.extend(rest)
                _, round = foresight.after(answers.pop(0))
                if round is not None and round.proposals:
                    return [Point(proposal.terms, {}) for proposal in round.proposals]

        self._maker.want([self.point(trial) for trial in shown], ahead=ahead)

    def _answered(self, liked: Sequence[int], disliked: Sequence[int], more: int | None) -> Answer:
        """An answer to the page, of the items that are there to be seen."""
        shown = tuple(trial for trial in self._shown if trial not in self._open or self._is_seen(trial))
        said = dict.fromkeys([*liked, *([] if more is None else [more])])
        return Answer(shown, tuple(said), tuple(t for t in dict.fromkeys(disliked) if t != more), more)

    def _is_seen(self, trial: int) -> bool:
        made = self._maker.find(self.point(trial))
        return made is not None and made.reason is None

    def _end(self, values: Mapping[int, float]) -> None:
        """Tell the values of open items, and which have failed; the others are as if never asked."""
        made = {trial: self._maker.find(self.point(trial)) for trial in self._open}
        told = {t: each for t, each in made.items() if each is not None and (t in values or each.reason is not None)}
        self._host.give_back([candidate for trial, candidate in self._open.items() if trial not in told])
        if told:
            made_by = (self._evaluator.objective, self._fingerprint, self.rate)
            self._host.tell([self._open[trial] for trial in told], judged(told, values, *made_by))
        self._open = {}
        self._known = self._read()

    def _give_back(self) -> None:
        """Let the open page go, but for what is kept of it."""
        self._end(dict.fromkeys(self._answers.kept, 0.0))


def _likings(known: Known) -> dict[int, float]:
    """The liking of each trial, of those that have one."""
    return {n: float(v) for n, v in zip(known.trials, known.history.values[LIKING], strict=True) if np.isfinite(v)}
