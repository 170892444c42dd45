"""Errors of the user's code keep their file and line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from surrogate_ax import Evaluator, FunctionGenerator, Metric, Objective, SubprocessScore
from surrogate_ax.scoring.traces import origin, trace_of

FOLDER = Path(__file__).parent


def broken(outputs, conditions):
    raise ValueError("bad pose")


def within_a_library(outputs, conditions):
    return json.loads("{")


def line_of(function):
    return f"{__file__}, line {function.__code__.co_firstlineno + 1}"


@pytest.mark.parametrize("score", [broken, within_a_library])
def test_a_score_that_raises_is_named_by_file_and_line(score):
    evaluate = Evaluator(FunctionGenerator(lambda z: z, (2,)), Objective(Metric("m"), score=score))
    made = evaluate(torch.zeros(3, 2))
    assert set(made.reasons) == set(made.traces) == {0, 1, 2}
    assert made.traces[2].startswith("Traceback")
    assert made.reasons[2] in made.traces[2]
    assert origin(made.traces[2]) == line_of(score)


def test_a_generator_that_raises_is_named_by_file_and_line():
    def fail(z):
        raise RuntimeError("out of paint")

    made = Evaluator(FunctionGenerator(fail, (2,)), Objective(Metric("m"), score=broken))(torch.zeros(2, 2))
    assert made.reasons == dict.fromkeys(range(2), "RuntimeError: out of paint")
    assert origin(made.traces[0]) == line_of(fail)


def test_a_score_in_another_process_too():
    with SubprocessScore("scores_of_tests:faulty", folder=FOLDER) as score:
        generator = FunctionGenerator(lambda z, conditions: z.numpy(), (2,), conditional=True)
        made = Evaluator(generator, Objective(Metric("m"), score=score))(torch.zeros(1, 2), [{"fault": "raise"}])
    assert made.reasons == {0: "ScoreProcessError: ValueError: bad pose"}
    file, _, line = origin(made.traces[0]).rpartition(", line ")
    assert Path(file) == FOLDER / "scores_of_tests.py"
    assert "bad pose" in Path(file).read_text().splitlines()[int(line) - 1]


def test_values_that_are_no_numbers_have_no_traceback():
    score = Objective(Metric("m"), score=lambda outputs, conditions: [float("nan")] * len(outputs))
    made = Evaluator(FunctionGenerator(lambda z: z, (2,)), score)(torch.zeros(2, 2))
    assert made.reasons == dict.fromkeys(range(2), "score returned m = nan")
    assert made.traces == {}
    assert origin("") == ""


def test_where_there_is_no_code_of_the_users_the_librarys_is_named():
    try:
        json.loads("{")
    except ValueError as error:
        frames = trace_of(error).replace(__file__, json.__file__)
    assert "json" in origin(frames)
