"""What a person has said of the items that were shown, and what that means for a search.

An answer is about one page of items, by their trials. What is liked was better than what was passed over on its page;
where nothing was liked, the page was worse than what was liked before it. The record is JSON-able, and checked
when it is read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from surrogate_ax.checks import mapping, number, show, whole
from surrogate_ax.errors import ArgumentError
from surrogate_ax.policies.preference import Preference

VERSION = 1
MOST_SHOWN = 64  # items on a page


@dataclass(frozen=True)
class Answer:
    """What was said of one page.

    Args:
        shown: trials.
        liked: some of them.
        disliked: some of the others, worse than those that were passed over.
        more: the one that the next page is to be like, among the liked.

    Raises:
        ArgumentError: not some of those that were shown, or liked and disliked at once.
    """

    shown: tuple[int, ...]
    liked: tuple[int, ...] = ()
    disliked: tuple[int, ...] = ()
    more: int | None = None

    def __post_init__(self) -> None:
        said = [*self.liked, *self.disliked]
        if len(self.shown) > MOST_SHOWN or len(set(self.shown)) != len(self.shown):
            raise ArgumentError(f"answer: expected at most {MOST_SHOWN} distinct trials, got {show(self.shown)}.")
        if not set(said) <= set(self.shown) or len(set(said)) != len(said):
            raise ArgumentError(
                f"answer: expected each of the trials {list(self.shown)} liked, disliked or passed over, got liked "
                f"{list(self.liked)} and disliked {list(self.disliked)}."
            )
        if self.more is not None and self.more not in self.liked:
            raise ArgumentError(f"answer: expected `more` among the liked {list(self.liked)}, got {self.more}.")

    def to_json(self) -> dict[str, Any]:
        """A JSON-able mapping."""
        return {
            "shown": list(self.shown),
            "liked": list(self.liked),
            "disliked": list(self.disliked),
            "more": self.more,
        }

    @classmethod
    def from_json(cls, record: Any) -> Answer:
        """The inverse of `to_json`.

        Raises:
            ArgumentError: something else.
        """
        given = mapping(record, "answer")
        more = given.get("more")
        shown, liked, disliked = (_numbers(given.get(key), f"answer: {key}") for key in ("shown", "liked", "disliked"))
        return cls(shown, liked, disliked, None if more is None else whole(more, "answer: more", least=0))


@dataclass(frozen=True)
class Answers:
    """All that a person has said in a study.

    Args:
        pages: answers, the first one first.
        kept: trials that were put aside to keep.
        liking: utility of every trial by its number, as of the last answer: only its order means anything.
    """

    pages: tuple[Answer, ...] = ()
    kept: tuple[int, ...] = ()
    liking: Mapping[int, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """A JSON-able mapping."""
        return {
            "version": VERSION,
            "pages": [answer.to_json() for answer in self.pages],
            "kept": list(self.kept),
            "liking": {str(trial): round(value, 6) for trial, value in self.liking.items()},
        }

    @classmethod
    def from_json(cls, record: Any) -> Answers:
        """The inverse of `to_json`.

        Raises:
            ArgumentError: something else, or another version.
        """
        given = mapping(record, "answers")
        if given.get("version") != VERSION:
            raise ArgumentError(f"answers: of version {given.get('version')!r}, this release reads {VERSION}.")
        liking = mapping(given.get("liking", {}), "answers: liking")
        values = {_trial(trial): number(value, "answers: liking") for trial, value in liking.items()}
        pages = given.get("pages")
        if not isinstance(pages, list):
            raise ArgumentError(f"answers: expected a list of pages, got {show(pages)}.")
        return cls(tuple(map(Answer.from_json, pages)), _numbers(given.get("kept"), "answers: kept"), values)

    def with_page(self, answer: Answer) -> Answers:
        """Another answer behind the present ones."""
        return replace(self, pages=(*self.pages, answer))

    @property
    def favourite(self) -> int | None:
        """The trial that was liked last, None before that."""
        said = [favourite for page in self.pages if (favourite := _favourite(page)) is not None]
        return said[-1] if said else None

    def preferences(self, trials: Sequence[int]) -> list[Preference]:
        """What the answers say of the rows of a history.

        Args:
            trials: the rows' trials; what was said of others is passed over.
        """
        row, found, before = {trial: i for i, trial in enumerate(trials)}, list[Preference](), None
        for answer in self.pages:
            for winner, losers in _choices(answer, before):
                others = tuple(row[trial] for trial in losers if trial in row)
                if winner in row and others:
                    found.append(Preference(row[winner], others))
            before = before if (favourite := _favourite(answer)) is None else favourite
        return found


def _choices(answer: Answer, before: int | None) -> list[tuple[int, list[int]]]:
    """What was chosen over what on one page; `before` is what was liked before it."""
    passed = [trial for trial in answer.shown if trial not in (*answer.liked, *answer.disliked)]
    found = [(trial, [*passed, *answer.disliked]) for trial in answer.liked]
    if answer.more is not None:
        found.append((answer.more, [trial for trial in answer.liked if trial != answer.more]))
    found += [(trial, list(answer.disliked)) for trial in passed]
    if not answer.liked and before is not None:
        found.append((before, [trial for trial in answer.shown if trial != before]))
    return found


def _favourite(answer: Answer) -> int | None:
    """What was liked most on a page."""
    liked = answer.liked if answer.more is None else (answer.more,)
    return liked[0] if liked else None


def _numbers(value: Any, name: str) -> tuple[int, ...]:
    if not isinstance(value, list):
        raise ArgumentError(f"{name}: expected a list of trials, got {show(value)}.")
    return tuple(whole(each, name, least=0) for each in value)


def _trial(name: str) -> int:
    if not (name.isascii() and name.isdigit() and len(name) < 19):
        raise ArgumentError(f"answers: expected numbers of trials, got {show(name)}.")
    return int(name)
