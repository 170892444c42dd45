"""Conditions beside latents: values that hosts have, a kernel that is one, and proposals under the right ones."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surrogate_ax import Choice, Gaussian, Metric, Objective, Range, chain, draws, plan, spherical_bo
from surrogate_ax.latents.seeds import Draw
from surrogate_ax.policies.condition_kernel import LENGTHS, SHARED, ConditionKernel, ConditionRows, fit_product
from surrogate_ax.policies.gaussian_process import NOISES, Kernel, condition_on, fit, unit
from surrogate_ax.policies.history import History
from surrogate_ax.policies.plan import Plan
from surrogate_ax.policies.proposer import Proposer

D = 48
PRIOR = Gaussian((D,))
OBJECTIVE = Objective(Metric("gain"), score=lambda outputs, conditions: None)
EVERY_KIND = {
    "guidance": Range(1.0, 3.0, step=0.1),
    "tenths": Range(0.0, 0.3, step=0.1),
    "strength": Range(0.1, 10.0, log=True),
    "steps": Range(2, 9),
    "pairs": Range(2, 8, step=2),
    "frames": Range(1, 1000, log=True),
    "eta": Range(0.0, 1.0),
    "prompt": Choice(["a cat", "a dog", "a hen"]),
    "tiled": Choice([True, False]),
    "mixed": Choice([None, 1, 2.5]),
}
TWO = {"prompt": Choice(["a", "b", "c", "d"]), "scale": Range(0.0, 4.0, step=0.5)}
ROWS, PAIR = ConditionRows(EVERY_KIND), ConditionRows(TWO)


def _fits(of, value):
    if isinstance(of, Choice):
        return value in of.values
    if not of.low <= value <= of.high or isinstance(value, int) != of.integer:
        return False
    return of.step is None or value in [round(of.low + i * of.step, 10) for i in range(100)]


def _history(terms, values, rounds, conditions):
    return History(OBJECTIVE, list(terms), {"gain": np.asarray(values)}, np.array(rounds, int), conditions=conditions)


def search(policy, total, score, *, searched=TWO, rng=0):
    """What a run tells, by a host in memory which draws conditions of points that are no proposals."""
    rows, random = ConditionRows(searched), np.random.default_rng(rng)
    history = _history([], np.zeros(0), [], [])
    while (done := len(history.terms)) < total:
        round = policy(history, total - done, rng)
        n, first = min(history.open(round), total - done), history.ended(round.number)
        asked = list(round.proposals[first : first + n])
        terms = [proposal.terms for proposal in asked]
        conditions = [dict(proposal.condition) for proposal in asked]
        terms += [((Draw(99 + rng, done + i), 1.0),) for i in range(n - len(asked))]
        conditions += [rows.decode(t) for t in rows.sample(n - len(asked), random)]
        bank = round.space.bank.extend([seed for row in terms for seed, _ in row])
        got = score(bank.inner(bank.rows(terms)).double().numpy(), conditions)
        history = _history(
            [*history.terms, *terms],
            np.append(history.values["gain"], got),
            [*history.round, *[round.number] * n],
            [*history.conditions, *conditions],
        )
    return history


def opposed(x, conditions):
    """Latents that are good under b are bad under the others, and the scale matters most."""
    sign = np.array([1.0 if c["prompt"] == "b" else -1.0 for c in conditions])
    scale = np.array([c["scale"] for c in conditions])
    return sign * (x[:, 0] + 0.5) - 0.5 * (scale - 3.0) ** 2


@pytest.fixture(scope="module")
def found():
    return search(plan(72, dim=D).policy(PRIOR, conditions=TWO), 72, opposed)


# --- values


@given(st.integers(0, 10_000))
def test_values_are_those_of_the_searched_conditions_and_come_back(seed):
    t = ROWS.sample(8, np.random.default_rng(seed))
    for row in t:
        condition = json.loads(json.dumps(ROWS.decode(row)))
        assert all(_fits(EVERY_KIND[name], value) for name, value in condition.items())
        again = ROWS.decode(ROWS.encode([condition])[0])
        assert again == pytest.approx(condition, abs=1e-9) if not any(map(_is_text, condition.values())) else True
        assert {name: again[name] for name in ("prompt", "tiled", "mixed", "steps", "frames", "tenths")} == {
            name: condition[name] for name in ("prompt", "tiled", "mixed", "steps", "frames", "tenths")
        }


def _is_text(value):
    return isinstance(value, str)


def test_every_value_is_sampled_alike():
    t = PAIR.sample(9000, np.random.default_rng(0))
    for j, count in enumerate((4, 9)):
        _, found = np.unique(t[:, j], return_counts=True)
        assert len(found) == count
        assert found / 9000 == pytest.approx(1 / count, rel=0.15)
    log = ConditionRows({"strength": Range(0.1, 10.0, log=True)}).sample(9000, np.random.default_rng(0))
    assert np.mean(log < 0.5) == pytest.approx(0.5, abs=0.02)  # as many below 1 as above


def test_values_to_try_begin_with_the_present_one_and_are_values():
    t = ROWS.sample(5, np.random.default_rng(1))
    for j, (name, of) in enumerate(EVERY_KIND.items()):
        tried = ROWS.nearby(j, t)
        np.testing.assert_array_equal(tried[:, 0], t[:, j])
        for row, values in zip(t, tried, strict=True):
            for value in values:
                changed = row.copy()
                changed[j] = value
                assert _fits(of, ROWS.decode(changed)[name])
    assert PAIR.nearby(1, np.array([[0.0, 0.5]]))[0].tolist() == [0.5, *np.arange(9) / 8]


def test_trials_without_a_searched_value_are_passed_over():
    terms = [((Draw(0, i), 1.0),) for i in range(6)]
    conditions = [{"prompt": "b", "scale": 1.0}, {"prompt": "b"}, {}, {"prompt": "z", "scale": 1.0},
                  {"prompt": "c", "scale": "2"}, {"prompt": "d", "scale": 9.0}]  # fmt: skip
    history = _history(terms, np.arange(6.0), [0] * 6, conditions)
    kept = PAIR.placed(history)
    assert kept.terms == [terms[0], terms[5]]  # 9.0 lies outside, and says something all the same
    assert ConditionRows({}).placed(history) is history
    assert len(PAIR.placed(_history(terms, np.arange(6.0), [0] * 6, ())).terms) == 0
    round = spherical_bo(PRIOR, axes=2, size=4, conditions=TWO)(_history(terms, np.arange(6.0), [0] * 6, ()), 9, 0)
    assert round.space.fresh == 1  # nothing to learn from: draws again


# --- the kernel


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("shared", SHARED)
@pytest.mark.parametrize("kernel", [Kernel(0.5, 0.5, 1.0), Kernel(1.0, 0.35), Kernel(0.0, 1.6, 8.0)])
def test_the_product_is_a_kernel(length, shared, kernel):
    rng = np.random.default_rng(0)
    x, t = rng.standard_normal((30, 12)), PAIR.sample(30, rng)
    x /= np.linalg.norm(x, axis=1)[:, None]
    r = ConditionKernel((True, False), (shared, length))(t, t)
    np.testing.assert_allclose(r, r.T)
    np.testing.assert_array_equal(r.diagonal(), 1)
    assert (r > 0).all()
    assert (r <= 1).all()
    assert np.linalg.eigvalsh(kernel(x @ x.T) * r).min() > -1e-9


def test_correlations_fall_with_distance_and_with_another_choice():
    kernel = ConditionKernel((True, False), (0.4, 0.5))
    r = kernel(np.array([[0, 0.0]]), np.array([[0, 0.0], [1, 0.0], [2, 0.0], [0, 0.5], [0, 1.0], [1, 0.5]]))[0]
    assert r == pytest.approx([1, 0.4, 0.4, np.exp(-0.5), np.exp(-2), 0.4 * np.exp(-0.5)])
    none = ConditionKernel((True, False), (1.0, np.inf))(*PAIR.sample(14, np.random.default_rng(0)).reshape(2, 7, 2))
    np.testing.assert_array_equal(none, np.ones((7, 7)))


def test_conditions_without_correlation_beside_them_are_the_plain_process():
    rng = np.random.default_rng(2)
    x, y, c = rng.standard_normal((20, 30)), rng.standard_normal(20), rng.standard_normal((5, 20))
    x /= np.linalg.norm(x, axis=1)[:, None]
    plain = fit(x @ x.T, y)
    noise = next(n for n in NOISES if np.array_equal(condition_on(plain.kernel, n, x @ x.T, y).alpha, plain.alpha))
    beside = condition_on(plain.kernel, noise, x @ x.T, y, np.ones((20, 20)))
    np.testing.assert_array_equal(beside.factor, plain.factor)
    for mine, theirs in zip(beside.improvement(c, 1.0, np.ones((5, 20))), plain.improvement(c, 1.0), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_a_search_without_conditions_is_the_plain_search():
    history = search(draws(PRIOR, 12, axes=4), 12, lambda x, _: x[:, 0], searched={})
    plain, none = (spherical_bo(PRIOR, axes=4, size=6, conditions=of)(history, 9, 3) for of in (None, {}))
    assert plain.proposals == none.proposals
    assert all(not proposal.condition for proposal in plain.proposals)


def test_the_gradient_keeps_conditions():
    rng = np.random.default_rng(5)
    x, t = rng.standard_normal((14, 30)), PAIR.sample(14, rng)
    x /= np.linalg.norm(x, axis=1)[:, None]
    y, kernel = x[:, 0] - (t[:, 1] - 0.7) ** 2, ConditionKernel((True, False), (0.4, 0.5))
    posterior = condition_on(Kernel(0.5, 0.8, 2.0), 0.03, x @ x.T, y, kernel(t, t))
    c, step = unit(rng.standard_normal((4, 14)), x @ x.T), 1e-6 * rng.standard_normal((4, 14))
    r = kernel(PAIR.sample(4, rng), t)
    value, gradient = posterior.improvement(c, 0.3, r)
    change = posterior.improvement(c + step, 0.3, r)[0] - value
    ratio = np.einsum("mn,nk,mk->m", gradient, x @ x.T, step) / change
    assert (ratio > 0).all()  # up to a positive factor
    bare = posterior.improvement(c, 0.3)[0]
    assert (np.abs(value - bare) > 1e-3).all()  # conditions change it


def test_evidence_tells_what_matters():
    rng = np.random.default_rng(0)
    x, t = rng.standard_normal((90, 20)), PAIR.sample(90, rng)
    x /= np.linalg.norm(x, axis=1)[:, None]
    noise = 0.02 * rng.standard_normal(90)
    prompt, scale = fit_product(x @ x.T, 4 * x[:, 0] * np.where(t[:, 0] < 2, 1, -1) + noise, t, PAIR).kernel.scales
    assert prompt <= 0.4
    assert scale >= 1.0
    prompt, scale = fit_product(x @ x.T, 4 * x[:, 0] - 8 * (t[:, 1] - 0.5) ** 2 + noise, t, PAIR).kernel.scales
    assert prompt >= 0.9
    assert scale <= 1.0
    prompt, scale = fit_product(x @ x.T, 4 * x[:, 0] + noise, t, PAIR).kernel.scales
    assert prompt >= 0.9
    assert scale >= 1.0


def test_conditions_are_improved_for_given_latents():
    rng = np.random.default_rng(1)
    x, t = rng.standard_normal((60, 20)), PAIR.sample(60, rng)
    x /= np.linalg.norm(x, axis=1)[:, None]
    y = 2 * (t[:, 0] == 2) - 8 * (t[:, 1] - 0.75) ** 2 + 0.1 * x[:, 0]
    product = fit_product(x @ x.T, y, t, PAIR)
    better = product.improve(np.eye(60)[:6], np.zeros((6, 2)), float(y.max()))
    assert (better[:, 0] == 2).all()
    assert better[:, 1] == pytest.approx(0.75, abs=0.13)


# --- proposals


def test_the_right_condition_is_found(found):
    late = found.conditions[-24:]
    assert np.mean([condition["prompt"] == "b" for condition in late]) > 0.6
    assert np.mean([2.0 <= condition["scale"] <= 4.0 for condition in late]) > 0.8
    best = found.conditions[int(found.order[0])]
    assert best["prompt"] == "b"
    assert 2.0 <= best["scale"] <= 4.0
    drawn = search(draws(PRIOR, 72, axes=4), 72, opposed)
    assert found.values["gain"].max() > drawn.values["gain"].max() + 1


def test_every_proposal_has_values_of_the_searched_conditions(found):
    assert all(set(condition) == set(TWO) for condition in found.conditions)
    assert all(_fits(TWO[name], value) for condition in found.conditions for name, value in condition.items())
    assert len({condition["prompt"] for condition in found.conditions[16:]}) > 1  # some stay fresh


@pytest.mark.parametrize("rows", [16, 60, 260])  # the process's proposals, half children, all children
def test_equal_histories_give_equal_proposals(rows):
    history = search(draws(PRIOR, rows, axes=4), rows, opposed)
    policy = chain(draws(PRIOR, rows, axes=4), spherical_bo(PRIOR, axes=4, size=8, conditions=TWO))
    one, other = policy(history, 20, 7), policy(history, 20, 7)
    assert one.proposals == other.proposals
    assert one.proposals != policy(history, 20, 8).proposals
    later = _history(
        [*history.terms, *one.terms[:3]],
        np.append(history.values["gain"], [9.0, np.nan, 8.0]),
        [*history.round, 1, 1, 1],
        [*history.conditions, *(proposal.condition for proposal in one.proposals[:3])],
    )
    assert policy(later, 17, 7).proposals == one.proposals
    assert all(set(proposal.condition) == set(TWO) for proposal in one.proposals)


def test_a_condition_that_does_not_matter_costs_little():
    gains = np.array(
        [
            [
                search(plan(56, dim=D).policy(PRIOR, conditions=of), 56, lambda x, _: x[:, 0], searched=of, rng=rng)
                .values["gain"]
                .max()
                for of in ({}, TWO)
            ]
            for rng in range(3)
        ]
    )
    assert gains[:, 1].mean() > gains[:, 0].mean() - 0.8


# --- plan and proposer


def test_a_proposer_with_conditions_goes_through_json_and_proposes_the_same(found):
    one = Proposer.planned(plan(72, dim=D), PRIOR, total_trials=90, rng=0, conditions=TWO)
    other = Proposer.from_json(json.loads(json.dumps(one.to_json())), PRIOR)
    assert other.conditions == TWO
    assert other.round(found).proposals == one.round(found).proposals
    plain = Proposer.planned(plan(72, dim=D), PRIOR, total_trials=90, rng=0)
    assert plain.to_json()["conditions"] == {}


def test_a_plan_of_an_earlier_release_leaves_conditions_to_the_host():
    record = {"kind": "o3", "draws": 8, "axes": 3, "size": 0, "sampled": 0, "narrow": 0, "checkpoint": 0, "kept": 1.0}
    policy = Plan.from_json(record).policy(PRIOR, conditions=TWO)
    history = search(draws(PRIOR, 8, axes=3), 8, opposed)
    round = policy(history, 8, 0)
    assert (round.number, round.size, round.proposals, round.space.fresh) == (1, 8, (), 0)
