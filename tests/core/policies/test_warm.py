"""Earlier searches as evidence: how much they are worth is learnt, and what is taken over survives its record."""

from __future__ import annotations

import json

import numpy as np
import pytest

from surrogate_ax import Choice, Gaussian, Metric, Objective, Range, plan
from surrogate_ax.errors import MismatchError
from surrogate_ax.latents.seeds import Draw
from surrogate_ax.policies.condition_kernel import ConditionRows
from surrogate_ax.policies.gaussian_process import condition_on
from surrogate_ax.policies.history import History
from surrogate_ax.policies.process import _condition_on, _hyper, fit_rows, informed, with_sources
from surrogate_ax.policies.sources import Source
from surrogate_ax.policies.warm import TAKEN, taken

D = 48
PRIOR = Gaussian((D,))
OBJECTIVE = Objective(Metric("gain"), score=lambda outputs, _: outputs)
NOTHING = ConditionRows({})


def drawn(n, entropy, score, conditions=()):
    """Combinations of 24 draws, so that they have something in common: draws alone are taken to have nothing."""
    random = np.random.default_rng(entropy)
    c = random.standard_normal((n, 24)) / np.sqrt(24)
    c /= np.linalg.norm(c, axis=1, keepdims=True)
    terms = [tuple((Draw(7, i), float(x)) for i, x in enumerate(row)) for row in c]
    bank = History(OBJECTIVE, terms, {}, np.zeros(n)).bank(PRIOR)
    values = score(bank.inner(bank.rows(terms)).double().numpy())
    return History(OBJECTIVE, terms, {"gain": values}, np.zeros(n, dtype=int), conditions=conditions)


def standard(x):
    return (x - x.mean()) / x.std()


def direction(rng):
    return np.random.default_rng(rng).standard_normal(D) / np.sqrt(D)


def pair(rho, own=24, old=80, rng=1):
    """A search and a source whose scores correlate by rho."""
    a, b = direction(0), direction(1)
    b -= a * (a @ b) / (a @ a)
    mixed = rho * a + np.sqrt(1 - rho**2) * b * np.linalg.norm(a) / np.linalg.norm(b)
    now = drawn(own, rng, lambda x: standard(x @ mixed))
    before = drawn(old, 2, lambda x: standard(x @ a))
    return now, Source("old", before.terms, before.values["gain"])


def rows_of(now, *sources, searched=NOTHING, t=None):
    terms = [*now.terms, *(row for source in sources for row in source.terms)]
    bank = now.bank(PRIOR).extend([seed for row in terms for seed, _ in row])
    t = np.zeros((len(now.terms), 0)) if t is None else t
    return with_sources(bank.gram(bank.rows(terms)), now.values["gain"], t, sources, searched)


def test_how_much_a_source_is_worth_is_learnt():
    assert fit_rows(rows_of(*pair(0.95)))[1].rho[0] >= 0.7
    assert fit_rows(rows_of(*pair(0.0)))[1].rho[0] <= 0.3
    now, old = pair(0.95)
    _, other = pair(0.0)
    upside_down = Source("upside down", other.terms, -old.scores)
    near, far = fit_rows(rows_of(now, old, upside_down))[1].rho
    assert near >= 0.7 > 0.3 >= far


def test_without_a_source_the_process_is_the_plain_one_but_for_its_mean():
    now, _ = pair(0.5)
    rows = rows_of(now)
    hyper = _hyper((fit_rows(rows)[1].kernel, 0.0), 0)
    mine, plain = _condition_on(hyper, 0.03, rows), condition_on(hyper.kernel, 0.03, rows.gram, rows.y)
    ones = np.ones(len(rows.y))
    inverse = np.linalg.inv(mine.factor @ mine.factor.T)
    assert mine.centre == pytest.approx(ones @ inverse @ rows.y / (ones @ inverse @ ones))
    np.testing.assert_allclose(mine.factor, plain.factor)
    np.testing.assert_allclose(mine.alpha, inverse @ (rows.y - mine.centre))


def test_a_source_that_is_worth_nothing_changes_no_prediction():
    now, old = pair(0.0)
    both, alone = rows_of(now, old), rows_of(now)
    kernel = fit_rows(alone)[1].kernel
    with_it, without = (
        _condition_on(_hyper((kernel, 0.0, 0.0), 0), 0.03, both),
        _condition_on(_hyper((kernel, 0.0), 0), 0.03, alone),
    )
    n, few = len(both.y), np.random.default_rng(0).standard_normal((5, len(alone.y)))
    c = np.hstack([few, np.zeros((5, n - few.shape[1]))])
    r = np.where(both.tasks == 0, 1.0, 0.0)[None]
    np.testing.assert_allclose(with_it.at(c, r)[0], without.at(few)[0], atol=1e-8)


def test_predictions_of_unseen_latents_gain_by_a_source():
    now, old = pair(0.9, own=10)
    unseen, _ = pair(0.9, own=200, rng=3)
    found = []
    for sources in ((), (old,)):
        terms = [*now.terms, *(row for source in sources for row in source.terms), *unseen.terms]
        bank = now.bank(PRIOR).extend([seed for row in terms for seed, _ in row])
        gram = bank.gram(bank.rows(terms))
        known = len(terms) - 200
        told = informed(
            with_sources(gram[:known, :known], now.values["gain"], np.zeros((10, 0)), sources, NOTHING)
        ).product
        mean, _ = told.posterior.moments(told.posterior.kernel(gram[known:, :known]) * told.factor)
        found.append(np.corrcoef(mean, unseen.values["gain"])[0, 1])
    assert found[1] > found[0] + 0.1
    assert found[1] > 0.6


def test_conditions_that_a_source_does_not_name_are_as_if_from_elsewhere():
    searched = ConditionRows({"prompt": Choice(["a", "b"]), "scale": Range(0.0, 4.0)})
    now, old = pair(0.5, own=8, old=10)
    t = np.tile([0.0, 0.25], (8, 1))
    unknown = rows_of(now, old, searched=searched, t=t)
    assert unknown.t[8:].tolist() == [[-1.0, 0.5]] * 10
    known = Source("old", old.terms, old.scores, [{"prompt": "b", "scale": 2.0}] * 9 + [{"prompt": "c", "scale": 4.0}])
    assert rows_of(now, known, searched=searched, t=t).t[8:].tolist() == [[-1.0, 0.5]] * 9 + [[-1.0, 1.0]]
    hyper = fit_rows(unknown)[1]
    covariance = hyper.raised(unknown.gram) * hyper.between(unknown)
    assert np.linalg.eigvalsh(covariance).min() > -1e-9


def test_the_best_and_the_whole_of_a_ranking_are_taken_over():
    history = drawn(300, 5, lambda x: x[:, 0])
    source = taken(history, standard(history.values["gain"]), "old")
    assert len(source.terms) == len(source.scores) == TAKEN
    assert (np.diff(source.scores) <= 0).all()
    ranked = np.sort(standard(history.values["gain"]))[::-1]
    np.testing.assert_allclose(source.scores[: TAKEN // 2], ranked[: TAKEN // 2])
    assert source.scores[-1] == pytest.approx(ranked[-1])


def test_a_source_survives_its_record_and_an_altered_one_is_refused():
    _, old = pair(0.5)
    source = Source("old", old.terms, old.scores.round(9), [{"prompt": "a"}] * len(old.terms))
    again = Source.from_json(json.loads(json.dumps(source.to_json())))
    assert (again.name, again.terms, again.conditions) == (source.name, source.terms, source.conditions)
    assert again.scores.tolist() == source.scores.tolist()
    for altered in ({}, {**source.to_json(), "scores": [1.0]}, {**source.to_json(), "rows": [[[999], [1.0]]]}, [1]):
        with pytest.raises(MismatchError, match="record of an earlier search was altered"):
            Source.from_json(altered)


def test_the_best_of_the_sources_take_places_of_draws():
    _, one = pair(0.5)
    order = np.argsort(-one.scores)
    best = Source("one", [one.terms[i] for i in order], one.scores[order])
    made = plan(60, dim=D)
    nothing = History(OBJECTIVE, [], {"gain": np.zeros(0)}, np.zeros(0, dtype=int))
    cold, warm = made.policy(PRIOR), made.policy(PRIOR, sources=[best])
    first = warm(nothing, 60, 3)
    assert (first.number, first.size, first.space.fresh) == (0, made.draws, 1.0)
    assert first.terms == list(best.terms[: made.draws // 2])
    assert cold(nothing, 60, 3).terms == []
    assert [place[0] for place in map(first.place, range(len(first.terms)))] == [1] * 8
    told = drawn(made.draws, 9, lambda x: x[:, 0])
    old, new = cold(told, 40, 3), warm(told, 40, 3)
    assert (old.number, new.number) == (1, 1)
    assert old.terms != new.terms
