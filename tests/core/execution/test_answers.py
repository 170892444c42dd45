"""What a person has said: what it means for rows, and records that are refused."""

from __future__ import annotations

import json

import pytest

from surrogate_ax.errors import ArgumentError
from surrogate_ax.execution.answers import Answer, Answers
from surrogate_ax.policies.preference import Preference


def said(*pages: Answer) -> list[Preference]:
    return Answers(pages).preferences(range(10))


def test_what_is_liked_was_better_than_what_was_passed_over():
    assert said(Answer((0, 1, 2, 3), (1, 3))) == [Preference(1, (0, 2)), Preference(3, (0, 2))]


def test_what_is_disliked_was_worse_than_all():
    found = said(Answer((0, 1, 2, 3), (1,), (2,)))
    assert found == [Preference(1, (0, 3, 2)), Preference(0, (2,)), Preference(3, (2,))]


def test_the_one_to_have_more_of_was_the_best():
    assert said(Answer((0, 1, 2), (1, 2), more=2)) == [Preference(1, (0,)), Preference(2, (0,)), Preference(2, (1,))]


def test_a_page_without_likes_was_worse_than_what_was_liked_before():
    assert said(Answer((0, 1))) == []
    assert said(Answer((0, 1), (1,)), Answer((2, 3)), Answer((4, 1))) == [
        Preference(1, (0,)),
        Preference(1, (2, 3)),
        Preference(1, (4,)),
    ]
    assert Answers((Answer((0, 1), (1,)), Answer((2, 3)))).favourite == 1


def test_trials_that_are_gone_are_passed_over():
    assert Answers((Answer((0, 1, 2), (2,)), Answer((3, 4), (3,)))).preferences([2, 1, 4]) == [Preference(0, (1,))]


def test_a_record_is_read_back():
    answers = Answers((Answer((0, 1, 2), (2,), (0,), 2), Answer((3,))), kept=(2,), liking={0: -0.5, 2: 1.25})
    assert Answers.from_json(json.loads(json.dumps(answers.to_json()))) == answers


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "of version 2"),
        ({"pages": {}}, "a list of pages"),
        ({"pages": [3]}, "answer: expected values by name"),
        ({"pages": [{"shown": [0, 1], "liked": [2], "disliked": []}]}, "got liked .2."),
        ({"pages": [{"shown": [0, 1], "liked": [1], "disliked": [1]}]}, "liked, disliked or passed over"),
        ({"pages": [{"shown": [0, 0], "liked": [], "disliked": []}]}, "distinct trials"),
        ({"pages": [{"shown": [0, -1], "liked": [], "disliked": []}]}, "whole number of at least 0"),
        ({"pages": [{"shown": [0, 1], "liked": [], "disliked": [], "more": 1}]}, "`more` among the liked"),
        ({"pages": [{"shown": [0, True], "liked": [], "disliked": []}]}, "got True"),
        ({"pages": [{"shown": list(range(65)), "liked": [], "disliked": []}]}, "at most 64"),
        ({"kept": "1"}, "kept: expected a list"),
        ({"liking": {"1": "high"}}, "liking: expected a finite number"),
        ({"liking": {"one": 1.0}}, "numbers of trials"),
        ({"liking": [1]}, "liking: expected values by name"),
    ],
)
def test_a_record_that_was_altered_is_refused(change, message):
    with pytest.raises(ArgumentError, match=message):
        Answers.from_json({**Answers().to_json(), **change})
