"""Values from outside are taken for what they are, or refused with what was expected and what was given."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from surrogate_ax import FunctionGenerator, Metric, Objective, Range
from surrogate_ax.checks import MOST, is_storable, mapping, number, show, text, whole
from surrogate_ax.errors import ArgumentError, check_counts
from surrogate_ax.execution.session import Session
from surrogate_ax.latents.bank import Bank
from surrogate_ax.latents.seeds import Draw

HUGE = 10**5000  # which Python does not even print
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.booleans().map(lambda _: HUGE),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.integers(), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=30)
@given(ANYTHING)
def test_whatever_is_given_is_taken_or_refused(value):
    refusals = []
    for check in (whole, number, text, mapping):
        try:
            assert check(value, "it") == value
        except ArgumentError as error:
            refusals.append(str(error))
    assert len(refusals) >= 2  # no value is of three kinds
    assert all(refusal.startswith("it: expected ") and len(refusal) < 300 for refusal in refusals)


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3), torch.tensor(3)])
def test_whole_numbers_of_any_kind(value):
    assert whole(value, "n") == 3
    assert type(whole(value, "n")) is int


@pytest.mark.parametrize(
    ("value", "limits", "message"),
    [
        (2.5, {}, "n: expected a whole number, got 2.5."),
        (True, {}, "n: expected a whole number, got True."),
        ("3", {}, "n: expected a whole number, got '3'."),
        (0, {"least": 1}, "n: expected a whole number of at least 1, got 0."),
        (9, {"least": 1, "most": 8}, "n: expected a whole number of at least 1 and at most 8, got 9."),
        (HUGE, {}, f"n: expected a whole number of at most {MOST:,}, got a int that is too long to print."),
    ],
    ids=range(6),  # Python does not print all of them
)
def test_what_is_no_whole_number_says_so(value, limits, message):
    with pytest.raises(ArgumentError) as error:
        whole(value, "n", **limits)
    assert str(error.value) == message


def test_numbers_and_texts():
    assert number(np.float32(0.5), "x") == 0.5
    assert math.isnan(number(math.nan, "x", finite=False))
    for value in (math.nan, math.inf, HUGE, "1", True, None, [1.0]):
        with pytest.raises(ArgumentError, match="x: expected a finite number, got"):
            number(value, "x")
    assert is_storable("ключ 🖼")
    for given_text in ("\ud800", "a\0b"):
        with pytest.raises(ArgumentError, match="whole characters without zero bytes"):
            text(given_text, "x")
    assert show("a" * 1000) == f"'{'a' * 99}... (1002 characters)"


GENERATOR = FunctionGenerator(lambda z: z, (6,), revision="1")
OBJECTIVE = Objective(Metric("m"), score=lambda outputs, conditions: outputs.sum(dim=1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget": 2.5}, "budget: expected a whole number, got 2.5"),
        ({"total_trials": 10.5}, "total_trials: expected a whole number, got 10.5"),
        ({"total_trials": True}, "total_trials: expected a whole number, got True"),
        ({"total_trials": HUGE}, "total_trials: expected at most 10,000,000, got more"),
        ({"total_trials": 8, "batch_size": "4"}, "batch_size: expected a whole number or \"auto\", got '4'"),
        ({"total_trials": 8, "rng": 0.5}, "rng: expected a whole number, got 0.5"),
        ({"total_trials": 8, "conditions": [1]}, "conditions: expected values by name"),
        ({"total_trials": 8, "conditions": {"\ud800": Range(0, 1)}}, "conditions: expected a text of whole characters"),
    ],
    ids=range(8),
)
def test_a_search_refuses_what_it_cannot_count(options, message):
    with pytest.raises(ArgumentError) as error:
        Session(GENERATOR, OBJECTIVE, **{"rng": 0} | options)
    assert message in str(error.value)


@pytest.mark.parametrize("timeout", ["5", math.nan, [5]])
def test_a_time_is_seconds(list_host, timeout):
    session = Session(GENERATOR, OBJECTIVE, rng=0, total_trials=4)
    session.begin(None, study="study")
    with pytest.raises(ArgumentError, match="timeout: expected"):
        session.run(list_host(OBJECTIVE), timeout=timeout, progress=False)


@pytest.mark.parametrize(
    "limits", [(0, 10**400), (-1e308, 1e308), ("0", 1), (0, 2**60), (0, 1, 1e-300), (0, 1, "1"), (False, True)]
)
def test_ranges_that_no_float_tells_apart_are_refused(limits):
    with pytest.raises(ArgumentError, match=r"Range: (a limit: |step: )?expected"):
        Range(*limits)


def test_a_row_that_is_too_long_for_a_float_is_refused():
    bank = Bank(GENERATOR.prior, [Draw(0, 0), Draw(0, 1)])
    with pytest.raises(ArgumentError, match="c: row 1 is too large"):
        bank.normalise([[1.0, 0.0], [1e308, 1e308]])


def test_counts_of_numpy_are_counts():
    check_counts(n=np.int64(3))
