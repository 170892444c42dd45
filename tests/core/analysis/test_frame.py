"""The table of trials: one row a trial, what failed and what was stopped among them."""

from __future__ import annotations

import math

from surrogate_ax import Metric, Objective, Recipe
from surrogate_ax.analysis import trials_frame
from surrogate_ax.analysis.summary import Summary
from surrogate_ax.execution.records import EndedTrial, HistoryBuilder, SearchRecord, SearchStatus
from surrogate_ax.latents.seeds import Draw

OBJECTIVE = Objective(Metric("warmth"), Metric("round", "track"), score=lambda outputs, conditions: {})


def trial(number: int, round: int, result: dict, condition: dict, seeds: int = 1) -> EndedTrial:
    terms = tuple((Draw(0, i), seeds**-0.5) for i in range(seeds))
    return EndedTrial(number, Recipe(terms, condition, {}, 1), round, result)


TRIALS = [
    trial(0, 0, {"values": {"warmth": 1.0, "round": 7.0}, "nfe": 4.0, "seconds": 0.5}, {"prompt": "a", "warmth": 3}),
    trial(2, 1, {"values": {"warmth": 0.5, "round": 8.0}, "nfe": 2.0, "stopped": 3}, {"prompt": "b", "warmth": 4}, 2),
    trial(5, 1, {}, {"prompt": "a", "warmth": 3}),
]


def record(trials: list[EndedTrial]) -> SearchRecord:
    builder = HistoryBuilder(OBJECTIVE)
    builder.extend([(float(i), each) for i, each in enumerate(trials)])
    return SearchRecord(trials, builder.build(), SearchStatus(len(trials), 1, 0, 0))


def test_a_row_a_trial_with_what_it_was_called_with_and_cost():
    frame = trials_frame(record(TRIALS), {2: "pictures/2"})
    assert frame.index.tolist() == [0, 2, 5]
    assert frame.index.name == "trial"
    assert frame["state"].tolist() == ["done", "stopped", "failed"]
    assert frame["round"].tolist() == [0, 1, 1]
    assert frame["metric round"].tolist()[:2] == [7.0, 8.0]
    assert frame["metric warmth"].tolist()[:2] == [1.0, 0.5]  # of a stopped trial, the estimate
    assert math.isnan(frame["metric warmth"][5])
    assert frame["argument warmth"].tolist() == [3, 4, 3]
    assert frame["prompt"].tolist() == ["a", "b", "a"]
    assert frame["seeds"].tolist() == [1, 2, 1]
    assert frame["nfe"].tolist() == [4.0, 2.0, 0.0]
    assert frame["stopped_at"].isna().tolist() == [True, False, True]
    assert frame["stopped_at"][2] == 3
    assert frame["picture"][2] == "pictures/2"
    assert frame["picture"].isna().tolist() == [True, False, True]


def test_a_study_without_trials_has_the_columns():
    frame = trials_frame(record([]))
    assert len(frame) == 0
    assert frame.columns.tolist() == ["warmth", "metric round", *frame.columns[2:]]
    assert {"state", "round", "nfe", "picture"} <= set(frame.columns)


def test_a_summary_is_a_line_and_shows_the_best(tmp_path):
    from PIL import Image

    Image.new("RGB", (4, 4), "red").save(tmp_path / "0.png")
    summary = Summary("cars", record(TRIALS), {0: str(tmp_path / "0.png")})
    assert repr(summary) == ("Summary('cars', 3 trials ended, 1 of them failed, trial 0: warmth 1, round 7, 6 NFE)")
    html = summary._repr_html_()
    assert html.count("data:image/png") == 1
    assert "trial 0: warmth 1" in html
    without = Summary("cars", record(TRIALS))._repr_html_()
    assert "data:image" not in without
    assert "trial 0: warmth 1" in without
