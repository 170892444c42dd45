"""Searched conditions: what Range and Choice take and refuse."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from surrogate_ax import Choice, Range
from surrogate_ax.errors import ArgumentError
from surrogate_ax.generation.conditions import check_searched

finite = st.floats(allow_nan=False, allow_infinity=False, width=32)


tenths = st.integers(-30, 30)


@given(tenths, tenths, st.none() | tenths, st.booleans())
@example(1, 3, 2, False)  # 0.3 - 0.1 is less than 0.2 in binary
def test_a_range_is_made_exactly_when_its_parts_fit(low, high, step, log):
    fits = low < high
    fits &= step is None or (0 < step <= high - low and (high - low) % step == 0)
    fits &= not log or (low > 0 and step is None)
    parts = {"low": low / 10, "high": high / 10, "step": None if step is None else step / 10, "log": log}
    if fits:
        made = Range(**parts)
        assert parts == {name: getattr(made, name) for name in parts}
    else:
        with pytest.raises(ArgumentError, match=r"Range: "):
            Range(**parts)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"low": 2, "high": 1}, "expected finite low < high, got low=2, high=1"),
        ({"low": 1, "high": 1}, "expected finite low < high"),
        ({"low": math.nan, "high": 1}, "expected finite low < high, got low=nan"),
        ({"low": 0, "high": math.inf}, "high=inf"),
        ({"low": 0, "high": 1, "step": 0}, "expected 0 < step <= high - low, got step=0"),
        ({"low": 0, "high": 1, "step": 2}, "got step=2"),
        ({"low": 0, "high": 1, "step": math.nan}, "got step=nan"),
        ({"low": 1, "high": 8, "step": 2}, "the values end at 7. Take high=7"),
        (
            {"low": 1, "high": 7.2, "step": 0.5},
            "expected a step that divides high - low, got low=1, high=7.2, step=0.5",
        ),
        ({"low": 1, "high": 7, "step": 4}, "the values end at 5. Take high=5, or another step"),
        ({"low": 0, "high": 1, "log": True}, "log needs low > 0 and no step, got low=0"),
        ({"low": 1, "high": 3, "step": 1, "log": True}, "got low=1, step=1"),
    ],
)
def test_a_range_that_does_not_fit_says_why(arguments, message):
    with pytest.raises(ArgumentError) as error:
        Range(**arguments)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("low", "high", "step"), [(0, 0.3, 0.1), (1.1, 2.3, 0.4), (-0.7, 0.7, 0.2), (1, 7, 2), (1e-3, 1, 1e-3)]
)
def test_a_step_divides_as_it_is_written_in_decimals(low, high, step):
    assert Range(low, high, step=step).step == step


@pytest.mark.parametrize(
    ("made", "integer"),
    [
        (Range(1, 7), True),
        (Range(1, 7, step=2), True),
        (Range(1, 7, log=True), True),
        (Range(1.0, 7), False),
        (Range(1, 7.0), False),
        (Range(1, 7, step=0.5), False),
    ],
)
def test_whole_limits_and_step_make_an_integer_range(made, integer):
    assert made.integer is integer


plain = st.none() | st.booleans() | st.integers() | finite | st.text("ab", max_size=3)


@given(st.lists(plain, max_size=6))
def test_a_choice_is_made_exactly_of_two_or_more_distinct_values(values):
    if len(values) >= 2 and len(set(values)) == len(values):
        assert Choice(values).values == tuple(values)
    else:
        with pytest.raises(ArgumentError, match="Choice: expected a list of at least two distinct values"):
            Choice(values)


@pytest.mark.parametrize("values", ["two words", [], ["one"], ["a", "a"], [0, 0.0]])
def test_a_choice_that_leaves_none_is_refused_with_its_values(values):
    with pytest.raises(ArgumentError) as error:
        Choice(values)
    assert repr(values) in str(error.value)


def test_a_value_that_no_record_can_hold_is_named():
    with pytest.raises(ArgumentError, match=r"Choice: expected strings, numbers, booleans or None, got \(1, 2\)"):
        Choice(["a", (1, 2)])


def test_searched_conditions_come_back_as_given():
    searched = {"guidance_scale": Range(1, 7), "prompt": Choice(["a", "b"]), "u": Range(0, 1), "upscale": Range(1, 2)}
    assert check_searched(searched) is searched


def test_a_fixed_value_among_searched_conditions_is_named():
    with pytest.raises(ArgumentError, match=r"conditions\['steps'\]: expected Range or Choice, got 12"):
        check_searched({"steps": 12})


@pytest.mark.parametrize("name", ["u0", "u17"])
def test_names_of_the_box_are_refused(name):
    with pytest.raises(ArgumentError, match=rf"conditions\['{name}'\]: the names u0, u1, ... belong to the box"):
        check_searched({name: Range(0, 1)})


@pytest.mark.parametrize("values", [[[1], [2]], [{"a": 1}, "b"]])
def test_a_value_that_cannot_be_compared_is_refused_like_any_other(values):
    with pytest.raises(ArgumentError, match="Choice: expected strings, numbers, booleans or None, got"):
        Choice(values)


@pytest.mark.parametrize("values", [3, None])
def test_what_is_no_list_is_refused(values):
    with pytest.raises(ArgumentError, match=f"Choice: expected a list of at least two distinct values, got {values}"):
        Choice(values)
