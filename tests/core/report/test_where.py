"""Expressions about trials: what they keep, and that nothing else is read."""

from __future__ import annotations

import ast
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surrogate_ax.errors import ArgumentError
from surrogate_ax.report.where import LONGEST, read_where, written

COLUMNS: dict[str, list[Any]] = {
    "redness": [0.1, 0.3, 0.9, None],
    "prompt": ["a cat", "a dog", 'say "hi"', "a cat"],
    "round": [0, 0, 1, 2],
    "feasible": [True, False, True, True],
    "left is darker": [-1.0, 2.0, 0.5, 0.0],
    "state": ["done", "done", "stopped", "done"],
    "shape": [3, "wide", None, 4],
    "lambda": [1, 2, 3, 4],
}


def kept(text: str) -> list[int]:
    where = read_where(text, COLUMNS)
    return [i for i in range(4) if where.keeps({name: column[i] for name, column in COLUMNS.items()})]


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ('redness>=0.3 and prompt=="a dog"', [1]),
        ("redness >= 0.3", [1, 2]),
        ("not redness >= 0.3", [0, 3]),
        ("redness < 1e9", [0, 1, 2]),
        ("redness == None", [3]),
        ("redness != None and feasible", [0, 2]),
        ("0.1 < redness <= 0.9", [1, 2]),
        ("round in [0, 2]", [0, 1, 3]),
        ("prompt not in ('a cat', 'a dog')", [2]),
        ("prompt in []", []),
        ("prompt == 'say \"hi\"'", [2]),
        ("`left is darker` > -0.5 and `lambda` < 4", [1, 2]),
        ("prompt == '`left is darker`'", []),
        ("`redness` > 0.2", [1, 2]),
        ("redness > 0.2 or round == 2 and state == 'done'", [1, 2, 3]),
        ("(redness > 0.2 or round == 2) and state == 'done'", [1, 3]),
        ("not (feasible or round == 0)", []),
        ("not feasible", [1]),
        ("round == -0", [0, 1]),
        ("`left is darker` == -1", [0]),
        ("redness > `left is darker`", [0, 2]),
        ("shape == 3", [0]),
        ("shape == 'wide'", [1]),
        ("shape > 2", [0, 3]),
        ("True", [0, 1, 2, 3]),
        ("feasible == False", [1]),
        (r"prompt != '\d'", [0, 1, 2, 3]),
    ],
)
def test_it_keeps_the_rows_that_it_says(text: str, rows: list[int]) -> None:
    assert kept(text) == rows


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("rednes > 1", "there is no 'rednes'"),
        ("`rednes s` > 1", "there is no 'rednes s'"),
        ("redness = 0.3", "it cannot be read (invalid syntax"),
        ("", "it cannot be read"),
        ("redness > ", "it cannot be read"),
        ("`redness > 1", "it cannot be read"),
        ("redness", "redness holds numbers; compare it with something"),
        ("`left is darker`", "`left is darker` holds numbers"),
        ("redness > 0.3 & round < 2", "0.3 & round is neither a column, a number nor a text; write and, or in place"),
        ("redness > 'much'", "redness holds numbers and 'much' is of texts, which are never equal"),
        ("`left is darker` == '1'", "`left is darker` holds numbers and '1' is of texts"),
        ("round in ['0']", "round holds numbers and '0' is of texts"),
        ("feasible == 1", "feasible holds true or false and 1 is of numbers"),
        ("round in 3", "after `in` a list is expected, as [1, 2], not 3"),
        ("redness is None", "`is` compares nothing here; write =="),
        ("redness + 1 > 2", "redness + 1 is neither a column"),
        ("1", "1 is no comparison"),
        ("round == 1j", "1j is neither"),
        ("round == b'a'", "b'a' is neither"),
        ("prompt == f'{round}'", "is neither a column"),
        ("__import__('os').system('touch gone')", "there is no '__import__'"),
        ("redness.__class__ == 1", "redness.__class__ is neither"),
        ("(lambda: redness)() > 1", "(lambda: redness)() is neither"),
        ("[redness for redness in prompt]", "is no comparison"),
        ("(redness := 3) > 2", "is neither a column"),
        ("not " * 100 + "feasible", "it is nested too deeply"),
        ("(" * 3000 + "feasible" + ")" * 3000, "it cannot be read"),
        ("feasible\0", "expected at most 10,000 characters without zero bytes"),
        ("feasible or " * LONGEST + "feasible", "expected at most 10,000 characters"),
    ],
)
def test_anything_else_is_refused(text: str, why: str) -> None:
    with pytest.raises(ArgumentError) as error:
        read_where(text, COLUMNS)
    message = str(error.value)
    assert why in message
    if "characters" not in why:
        assert message.endswith("Names are redness, prompt, round, feasible, `left is darker`, state, shape, `lambda`.")


def test_the_names_that_it_asks_for() -> None:
    assert read_where("redness > 0.1 or `left is darker` == 0 and 'state' == prompt", COLUMNS).names == {
        "redness",
        "left is darker",
        "prompt",
    }
    assert [written(name) for name in ("redness", "left is darker", "in")] == ["redness", "`left is darker`", "`in`"]


NUMBERS = st.integers(-3, 3).map(str)
ATOMS = st.one_of(
    st.tuples(st.sampled_from("abc"), st.sampled_from(["<", "<=", "==", "!=", ">", ">="]), NUMBERS).map(" ".join),
    st.tuples(NUMBERS, st.just("< a <="), NUMBERS).map(" ".join),
    st.tuples(st.sampled_from("abc"), st.sampled_from(["in", "not in"]), st.just("[0, 2, -1]")).map(" ".join),
)
TEXTS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(" ".join),
        inner.map(lambda text: f"not ({text})"),
        inner.map(lambda text: f"({text})"),
    ),
    max_leaves=8,
)


@given(text=TEXTS, row=st.fixed_dictionaries({name: st.integers(-3, 3) for name in "abc"}))
def test_it_means_what_python_means(text: str, row: dict[str, int]) -> None:
    where = read_where(text, {name: [value] for name, value in row.items()})
    assert where.keeps(row) is eval(compile(ast.parse(text, mode="eval"), "text", "eval"), {}, dict(row))
