"""Scores that vary: what is told of it, what is expected of rows, and how a search goes by that."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from surrogate_ax import Choice, Gaussian, Metric, Objective, Range, plan
from surrogate_ax.errors import ArgumentError
from surrogate_ax.latents.seeds import Draw
from surrogate_ax.policies.condition_kernel import ConditionRows
from surrogate_ax.policies.history import History
from surrogate_ax.policies.noisy import noise_of, score_noise, seen_conditions, settled, settled_record
from surrogate_ax.policies.process import Rows, fit_rows
from surrogate_ax.policies.spherical_bo import NOTHING
from surrogate_ax.scoring.objective import recorded_objective

D = 48
PRIOR = Gaussian((D,))


def rows(n, rng=0):
    """Combinations of 12 draws, which the process can learn from."""
    c = np.random.default_rng(rng).standard_normal((n, 12))
    c /= np.linalg.norm(c, axis=1, keepdims=True)
    return [tuple((Draw(7, i), float(x)) for i, x in enumerate(row)) for row in c], c


def history(n, sigma, noise, rng=0, more=()):
    terms, c = rows(n, rng)
    truth = 3 * c[:, 0]
    measured = truth + sigma * np.random.default_rng(rng + 1).standard_normal(n)
    objective = Objective(Metric("gain", noise=noise), *more, score=lambda x, _: x)
    values = {"gain": measured, **{metric.name: c[:, 1] for metric in more}}
    return History(objective, terms, values, np.zeros(n, dtype=int)), truth


@pytest.mark.parametrize("noise", [0.0, -1.0, np.nan, np.inf, "some", True])
def test_noise_that_is_no_deviation_is_refused(noise):
    with pytest.raises(ArgumentError, match="noise"):
        Metric("gain", noise=noise)


def test_noise_is_recorded_and_other_metrics_are_recorded_as_before():
    described = Objective(Metric("a", noise=0.5), Metric("b", "at_most", 1.0), score=lambda x, _: x).describe()
    assert described == [["a", "maximize", None, 0.5], ["b", "at_most", 1.0]]
    assert recorded_objective(described).metrics == (Metric("a", noise=0.5), Metric("b", "at_most", 1.0))


def test_repetitions_tell_the_noise_and_equal_values_that_there_is_none():
    told, _ = history(6, 0.0, None)
    again = [0, 1, 2, 3] * 10
    terms, values = [told.terms[i] for i in again], told.values["gain"][again]
    still = dataclasses.replace(told, terms=terms, values={"gain": values}, round=np.zeros(40, dtype=int))
    metric = told.objective.metrics[0]
    assert noise_of(still, metric) is None
    varying = dataclasses.replace(still, values={"gain": values + 0.5 * np.random.default_rng(0).standard_normal(40)})
    assert noise_of(varying, metric) == pytest.approx(0.5, rel=0.25)
    assert noise_of(varying, Metric("gain", noise=0.2)) == 0.2
    conditions = [{"scale": i} for i in range(40)]  # equal latents under other conditions are no repetitions
    assert noise_of(dataclasses.replace(varying, conditions=conditions), metric) is None
    assert noise_of(told, Metric("gain", noise="unknown")) == "unknown"


def test_repetitions_are_looked_for_without_reading_every_row_of_a_long_search():
    told, _ = history(200, 0.0, None)
    read = []

    class Row(tuple):
        def __hash__(self):
            read.append(self)
            return super().__hash__()

        __eq__ = tuple.__eq__

    terms = [Row(row) for row in told.terms]
    noise_of(dataclasses.replace(told, terms=terms), told.objective.metrics[0])
    assert read == []
    alike = dataclasses.replace(told, terms=[*terms[:-1], Row(terms[0])])
    noise_of(alike, told.objective.metrics[0])
    assert read
    assert all(row == terms[0] for row in read)


def test_the_noise_of_scores_is_known_for_one_metric_only():
    told, _ = history(30, 1.0, 0.7)
    assert score_noise(told) == pytest.approx((0.7 / np.std(told.values["gain"])) ** 2)
    assert score_noise(history(30, 0.0, None)[0]) is None
    assert score_noise(history(30, 1.0, 0.7, more=(Metric("other"),))[0]) == "unknown"
    assert score_noise(history(30, 1.0, 0.7, more=(Metric("other", "track"),))[0]) == pytest.approx(score_noise(told))


@pytest.mark.parametrize("noise", [1.0, "unknown"])
def test_what_is_expected_is_nearer_to_the_truth_than_what_was_measured(noise):
    errors = []
    for rng in range(6):
        told, truth = history(80, 1.0, noise, rng)
        known = settled(told, PRIOR, NOTHING)
        best = known.order[0]
        assert best == int(np.argmax(known.expected["gain"]))
        errors.append(
            [
                np.sqrt(np.mean((known.expected["gain"] - truth) ** 2)),
                np.sqrt(np.mean((told.values["gain"] - truth) ** 2)),
                known.expected["gain"][best] - truth[best],
                told.values["gain"].max() - truth[np.argmax(told.values["gain"])],
            ]
        )
    expected, measured, claim, raw = np.mean(errors, axis=0)
    assert expected < 0.6 * measured
    assert abs(claim) < 0.5 < 1.0 < raw


def test_a_known_noise_is_what_the_process_takes():
    told, _ = history(60, 1.0, 1.0)
    bank = told.bank(PRIOR)
    y = told.values["gain"] - told.values["gain"].mean()
    all_rows = Rows(bank.gram(bank.rows(told.terms)), y, np.zeros(60, dtype=int), np.zeros((60, 0)), NOTHING, 1.0)
    posterior = fit_rows(all_rows)[0].posterior
    noise = posterior.factor @ posterior.factor.T - posterior.kernel(posterior.gram)
    np.testing.assert_allclose(posterior.scale * noise, np.eye(60), atol=1e-6)


def test_without_noise_nothing_is_changed():
    told, _ = history(20, 0.0, None)
    assert settled(told, PRIOR, NOTHING) is told
    assert settled_record(told) is told
    assert plan(100, dim=D) == plan(100, dim=D, noisy=False)
    assert (plan(100, dim=D, noisy=True).draws, plan(40, dim=D, noisy=True).draws) == (48, 20)


def test_failed_rows_and_metrics_without_noise_keep_what_was_measured():
    told, _ = history(30, 1.0, 1.0, more=(Metric("size", "at_most", 0.0),))
    told.values["gain"][3] = np.nan
    known = settled(told, PRIOR, NOTHING)
    assert np.isnan(known.expected["gain"][3])
    assert known.expected["size"] is told.values["size"]
    assert known.order[-1] == 3
    assert known.values["size"][known.order[0]] <= 0
    some = known.rows(np.array([5, 7]))
    assert some.expected["gain"].tolist() == known.expected["gain"][[5, 7]].tolist()


def test_a_study_is_read_with_the_conditions_that_it_has_seen():
    seen = seen_conditions(
        [{"scale": 1.0, "prompt": "a", "fixed": 2, "some": 1}, {"scale": 2.0, "prompt": "b", "fixed": 2}]
    )
    assert seen == {"scale": Range(1.0, 2.0), "prompt": Choice(["a", "b"])}
    told, _ = history(40, 1.0, 1.0)
    apart = dataclasses.replace(told, conditions=[{"scale": float(i % 5)} for i in range(40)])
    here = settled(apart, PRIOR, ConditionRows({"scale": Range(0.0, 4.0)}))
    np.testing.assert_allclose(settled_record(apart).expected["gain"], here.expected["gain"])


def test_a_noisy_search_begins_with_more_draws_and_goes_by_what_is_expected():
    objective = Objective(Metric("gain", noise=1.0), score=lambda x, _: x)
    told, _ = history(48, 1.0, 1.0)
    policy, quiet = plan(100, dim=D, noisy=True).policy(PRIOR), plan(100, dim=D).policy(PRIOR)
    nothing = History(objective, [], {"gain": np.zeros(0)}, np.zeros(0, dtype=int))
    assert policy(nothing, 100, 3).size == 48
    first, again = policy(told, 52, 3), policy(told, 52, 3)
    assert first.terms == again.terms
    silent = dataclasses.replace(told, objective=Objective(Metric("gain"), score=lambda x, _: x))
    assert quiet(silent, 52, 3).terms != first.terms
