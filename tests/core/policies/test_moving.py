"""Policies that learn from everything told: pure, norm held, and better than plain draws where they can be."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch

from surrogate_ax import Gaussian, Metric, Objective, SurrogateSpace, chain, draws, moving_boxes, plan, spherical_bo
from surrogate_ax.errors import ArgumentError
from surrogate_ax.latents.charts import Cap, chart_named
from surrogate_ax.latents.seeds import Draw
from surrogate_ax.latents.typicality import bank_support
from surrogate_ax.policies.evolution import evolve, reseed, trust_region
from surrogate_ax.policies.fresh_noise import ODD, mix_until_typical
from surrogate_ax.policies.gaussian_process import Kernel, fit, maximize_acquisition, unit
from surrogate_ax.policies.history import History
from surrogate_ax.policies.plan import Plan, survivors
from surrogate_ax.policies.spherical_bo import gp_targets, normal_scores, select_diverse

D = 64
PRIOR = Gaussian((D,))
SINGLE = Objective(Metric("best"), score=lambda outputs, _: outputs)
MOVING = {
    "sphere": spherical_bo(PRIOR, axes=4, size=6),
    "evolve": evolve(PRIOR, axes=4, size=6),
    "reseed": reseed(PRIOR, axes=4, size=6),
    "caps": trust_region(PRIOR, axes=4, size=6),
    "boxes": moving_boxes(PRIOR, axes=4, size=6),
}


def search(policy, total, score, *, rng=0, objective=SINGLE):
    """What a run tells: a host in memory that draws evenly from the box. Also every turn, by round."""
    random, terms, rounds, turns = np.random.default_rng(rng), [], [], {}
    values = {metric.name: np.zeros(0) for metric in objective.metrics}
    while len(terms) < total:
        history = History(objective, list(terms), values, np.array(rounds, dtype=int))
        round = policy(history, total - len(terms), rng)
        turns[round.number] = round
        n = min(history.open(round), total - len(terms), 5)
        done = history.ended(round.number)
        asked = list(round.terms[done : done + n])
        u = random.random((n - len(asked), round.space.axes - 1))
        asked += [round.point(params(point), Draw(99, len(terms) + i)) for i, point in enumerate(u)]
        bank = round.space.bank.extend([seed for row in asked for seed, _ in row])
        got = score(bank.inner(bank.rows(asked)).double().numpy())
        values = {name: np.concatenate([column, got[name]]) for name, column in values.items()}
        terms, rounds = terms + asked, rounds + [round.number] * n
    return History(objective, terms, values, np.array(rounds)), turns


def params(u):
    return {f"u{k}": float(x) for k, x in enumerate(u)}


def first_entry(x):
    return {"best": x[:, 0]}


@pytest.fixture(scope="module")
def begun():
    return search(draws(PRIOR, 12, axes=4), 12, first_entry)[0]


# --- the contract of every moving policy


@pytest.mark.parametrize("name", MOVING)
def test_the_same_turn_is_proposed_by_whoever_asks_until_the_round_closes(begun, name):
    policy = chain(draws(PRIOR, 12, axes=4), MOVING[name])
    round = policy(begun, 20, 7)
    assert (round.number, round.size, round.space.axes) == (1, 6, 4)
    more = [*begun.terms, *begun.terms[:3]]
    values = {"best": np.concatenate([begun.values["best"], [9.0, np.nan, 8.0]])}
    later = History(SINGLE, more, values, np.concatenate([begun.round, [1, 1, 1]]), (1,))
    again = policy(later, 4, 7)
    assert again.number == 1
    assert again.terms == round.terms
    assert again.space.fingerprint == round.space.fingerprint
    other = policy(begun, 20, 8)
    assert other.space.fingerprint != round.space.fingerprint


@pytest.mark.parametrize("name", MOVING)
def test_rounds_follow_each_other_and_latents_keep_their_norm(name):
    history, turns = search(chain(draws(PRIOR, 12, axes=4), MOVING[name]), 40, first_entry)
    assert history.round.tolist() == [0] * 12 + [1 + i // 6 for i in range(28)]
    bank = history.bank(PRIOR)
    assert np.diag(bank.gram(bank.rows(history.terms))) == pytest.approx(1)
    assert {round.space.axes for round in turns.values()} == {4}


@pytest.mark.parametrize("name", MOVING)
def test_nothing_but_failures_gives_more_draws(name):
    failed = History(SINGLE, [((Draw(1, i), 1.0),) for i in range(4)], {"best": np.full(4, np.nan)}, np.zeros(4, int))
    round = chain(draws(PRIOR, 4, axes=4), MOVING[name])(failed, 20, 0)
    assert (round.number, round.space.fresh, round.terms) == (1, 1.0, [])


@pytest.mark.parametrize("name", MOVING)
def test_a_law_that_scores_say_nothing_about_is_kept(name):
    noise = np.random.default_rng(3)
    history, _ = search(
        chain(draws(PRIOR, 12, axes=4), MOVING[name]), 40, lambda x: {"best": noise.standard_normal(len(x))}
    )
    bank = history.bank(PRIOR)
    x = bank.inner(bank.rows(history.terms[12:])).numpy()
    assert np.abs(x.mean()) < 0.25
    assert 0.7 < x.var() < 1.3


def test_failed_rows_are_left_behind():
    history, _ = search(
        chain(draws(PRIOR, 12, axes=4), MOVING["sphere"]),
        60,
        lambda x: {"best": np.where(x[:, 0] > 1.2, np.nan, x[:, 0])},
    )
    late = history.values["best"][-18:]
    assert np.isfinite(late).mean() > 0.3


@pytest.mark.parametrize("moving", [spherical_bo, moving_boxes])
def test_points_stay_on_the_support_of_an_objective_that_leaves_it(moving):
    prior = Gaussian((1, 8, 8))
    policy = chain(draws(prior, 12, axes=4), moving(prior, axes=4, size=6, fresh=(0.1, 0.3)))
    history, _ = search(policy, 72, lambda x: {"best": x.mean(axis=1)})
    bank = history.bank(prior)
    assert (bank_support(bank, bank.rows(history.terms)).joint < 0.001).mean() <= 0.03
    first, others = bank.rows(history.terms[:3]).toarray(), bank.rows(history.terms[3:6]).toarray()
    assert mix_until_typical(bank, first, others, np.zeros(3)) == pytest.approx(first)  # draws need no more noise


def test_a_child_gets_as_much_noise_as_it_takes_to_look_like_a_draw():
    prior = Gaussian((1, 8, 8))
    bank = SurrogateSpace.sample(prior, seeds=40, rng=0).bank
    mean = bank.inner(np.eye(40)).numpy().mean(axis=1)
    smooth = bank.normalise((mean * (mean > 0))[None]).toarray()  # draws of a high mean add up to what no draw has
    combined = np.vstack([smooth, np.eye(40)[:1]])
    fresh = np.eye(40)[[20, 21]]
    made = mix_until_typical(bank, combined, fresh, np.array([0.2, 0.2]))
    noise = made[:, [20, 21]].diagonal()
    assert noise[1] == pytest.approx(0.2)
    assert 0.3 < noise[0] < 0.99
    assert bank_support(bank, made).joint.min() >= ODD
    less = noise[0] - 0.1
    nearer = np.sqrt(1 - less**2) * smooth + less * fresh[:1]
    assert bank_support(bank, nearer).joint[0] < ODD


def parents_and_noise(round):
    """Of the exact rows: their directions without fresh draws, and the share of these."""
    new = {draw for row in round.terms for draw, _ in row} - {Draw(5, i) for i in range(300)}
    shares = np.array([sum(c**2 for seed, c in row if seed in new) ** 0.5 for row in round.terms])
    old = np.array([[dict(row).get(Draw(5, i), 0.0) for i in range(300)] for row in round.terms])
    return old / np.linalg.norm(old, axis=1, keepdims=True), shares


@pytest.mark.parametrize(("rows", "alike", "share"), [(8, 1, 0.48), (60, 4, 0.35), (270, 8, 0.2)])
def test_children_of_the_best_take_over_and_noise_falls(rows, alike, share):
    values = {"best": np.random.default_rng(4).standard_normal(rows)}
    rounds = np.minimum(np.arange(rows) // 8, 3)  # the last has the best, so that nothing has stalled
    values["best"][-1] = 5.0
    history = History(SINGLE, [((Draw(5, i), 1.0),) for i in range(rows)], values, rounds)
    directions, shares = parents_and_noise(spherical_bo(PRIOR, axes=4, size=8, anneal_over=120)(history, 9, 0))
    assert (directions @ directions[-1] > 1 - 1e-9).sum() >= alike
    assert shares.min() == pytest.approx(share)  # a child that looks unlike a draw takes more
    values["best"][0] = 6.0  # three rounds ago
    shares = parents_and_noise(spherical_bo(PRIOR, axes=4, size=8, anneal_over=120)(history, 9, 0))[1]
    assert (shares[::4].min() >= 0.5) == (rows > 12)


def test_a_box_is_over_proposals_as_they_are_and_its_noise_falls(begun):
    policy = moving_boxes(PRIOR, axes=4, size=6, fresh=(0.1, 0.5), anneal_over=40)
    round = policy(begun, 9, 7)
    assert (round.proposals, round.size) == ((), 6)
    assert round.space.fresh == pytest.approx(0.5 - 0.4 * 12 / 40)
    assert policy(search(draws(PRIOR, 48, axes=4), 48, first_entry)[0], 9, 7).space.fresh == pytest.approx(0.1)
    assert {seed for row in round.space.bank.terms(round.space.frame) for seed, _ in row} <= {
        seed for row in begun.terms for seed, _ in row
    }
    gains = round.space.bank.inner(round.space.frame).numpy()[:, 0]
    assert gains.mean() > np.sort(begun.values["best"])[-4:].mean()  # better than the best axes so far would be
    shares = {moving_boxes(PRIOR, axes=4, size=6, fresh=(0.1, 0.5))(begun, 9, rng).space.fresh for rng in range(5)}
    assert len(shares) == 5
    assert all(0.1 <= share <= 0.5 for share in shares)


@pytest.mark.parametrize("rows", [60, 270])
@pytest.mark.parametrize("axes", [4, 12])
def test_axes_of_late_boxes_recombine_the_best_and_differ(rows, axes):
    values = {"best": np.random.default_rng(4).standard_normal(rows)}
    history = History(SINGLE, [((Draw(5, i), 1.0),) for i in range(rows)], values, np.zeros(rows, int))
    space = moving_boxes(PRIOR, axes=axes, size=6)(history, 9, 0).space
    late = space.frame[axes // 2 :] if rows < 250 else space.frame
    parents = [np.count_nonzero(np.abs(row) > 1e-9) for row in late]
    assert parents[:2] == [6, 3]
    assert len(set(parents)) == len(parents)
    best = {history.terms[i][0][0] for i in history.order[:6]}
    assert {seed for seed, _ in space.bank.terms(late[:1])[0]} == best
    assert np.linalg.matrix_rank(late) == len(late)


# --- then


def test_then_goes_on_where_the_first_ends():
    policy = chain(
        draws(PRIOR, 12, axes=4),
        chain(spherical_bo(PRIOR, axes=4, size=6, max_trials=24), evolve(PRIOR, axes=4, size=8)),
    )
    history, _ = search(policy, 44, first_entry)
    assert history.round.tolist() == [0] * 12 + [1] * 6 + [2] * 6 + [3] * 8 + [4] * 8 + [5] * 4


def test_a_short_last_round_of_the_first_is_closed():
    history, _ = search(chain(draws(PRIOR, 3, axes=3), spherical_bo(PRIOR, axes=3, size=8)), 20, first_entry)
    assert history.round.tolist() == [0] * 3 + [1] * 8 + [2] * 8 + [3]


# --- what they are good for


@pytest.mark.parametrize(("name", "gain"), [("sphere", 2.0), ("boxes", 1.5), ("evolve", 1.0)])
def test_learning_beats_drawing(name, gain):
    moving = {"sphere": spherical_bo, "boxes": moving_boxes, "evolve": evolve}[name]
    policy = chain(draws(PRIOR, 12, axes=4), moving(PRIOR, axes=4, size=8))
    found = [search(policy, 80, first_entry, rng=rng)[0].values["best"].max() for rng in range(3)]
    drawn = [search(draws(PRIOR, 80, axes=4), 80, first_entry, rng=rng)[0].values["best"].max() for rng in range(3)]
    assert np.mean(found) > np.mean(drawn) + gain


def test_caps_narrow_without_a_new_best_and_reseed_keeps_the_best(begun):
    values = {"best": np.concatenate([begun.values["best"], np.full(12, -9.0)])}
    terms = [*begun.terms, *[((Draw(3, i), 1.0),) for i in range(12)]]
    after = History(SINGLE, terms, values, np.concatenate([begun.round, [1] * 6, [2] * 6]))
    angles = [
        trust_region(PRIOR, axes=4, size=6, theta=0.8)(history, 9, 0).space.chart.theta_max
        for history in (begun.before(1), after)
    ]
    assert angles == [0.8, 0.2]
    best = begun.terms[begun.order[0]][0][0]
    round = reseed(PRIOR, axes=4, size=6)(after, 9, 0)
    assert round.space.bank.terms(round.space.frame)[0] == ((best, 1.0),)
    assert sum(row[0][0] in {s for t in terms for s, _ in t} for row in round.space.bank.terms(round.space.frame)) == 1


# --- the process


def test_the_gradient_of_the_expected_improvement_is_that_of_its_values():
    rng = np.random.default_rng(0)
    rows = np.linalg.qr(rng.standard_normal((30, 12)))[0].T + 0.1
    gram = unit(np.eye(12), rows @ rows.T) @ (rows @ rows.T) @ unit(np.eye(12), rows @ rows.T).T
    posterior = fit(gram, rng.standard_normal(12))
    c = unit(rng.standard_normal((5, 12)), gram)
    value, gradient = posterior.improvement(c, 0.5)
    step = 1e-6 * rng.standard_normal((5, 12))
    change = posterior.improvement(c + step, 0.5)[0] - value
    np.testing.assert_allclose(change, np.einsum("mn,mn->m", gradient @ gram, step), rtol=1e-3)


def test_moves_climb_and_stay_on_the_sphere():
    rng = np.random.default_rng(1)
    gram, y = np.eye(16), rng.standard_normal(16)
    posterior = fit(gram, y)
    start = unit(np.abs(rng.standard_normal((8, 16))), gram)
    c, value = maximize_acquisition(posterior, start, y.max())
    assert np.einsum("mn,mn->m", c @ gram, c) == pytest.approx(1)
    assert (value >= posterior.improvement(start, y.max())[0]).all()


def test_told_rows_are_remembered_and_the_kernel_has_its_slope():
    y = np.random.default_rng(2).standard_normal(10)
    posterior = dataclasses.replace(fit(np.eye(10), y))
    mean, sd = posterior.at(np.eye(10))
    assert np.corrcoef(mean, y)[0, 1] > 0.99
    assert (sd >= 0).all()
    kernel, cosine = Kernel(0.5, 0.8), np.linspace(-1, 1, 9)
    np.testing.assert_allclose(kernel.slope(cosine), (kernel(cosine + 1e-6) - kernel(cosine - 1e-6)) / 2e-6, rtol=1e-5)
    assert kernel(np.ones(1))[0] == pytest.approx(kernel.peak)


def test_a_batch_is_spread_where_it_can_be():
    gram = np.eye(3)
    c = unit(np.array([[1, 0, 0], [1, 0.01, 0], [0, 1, 0], [0, 0, 1.0]]), gram)
    assert select_diverse(c, np.array([4, 3, 2, 1.0]), gram, 3).tolist() == [0, 2, 3]
    assert select_diverse(c, np.array([4, 3, 2, 1.0]), gram, 4).tolist() == [0, 2, 3, 1]


def test_scores_follow_the_ranking_also_under_constraints_and_failures():
    assert normal_scores(3)[1] == pytest.approx(0)
    metrics = (Metric("a"), Metric("b", "minimize"), Metric("c", "at_most", 0.0))
    objective = Objective(*metrics, score=lambda outputs, _: outputs)
    values = {"a": np.array([1, 2, np.nan, 0.0]), "b": np.array([0, 3, 1, 1.0]), "c": np.array([0, 1, 0, -1.0])}
    history = History(objective, [((Draw(0, i), 1.0),) for i in range(4)], values, np.zeros(4, int))
    assert np.argsort(-gp_targets(history)).tolist() == [0, 3, 1, 2]
    single = History(SINGLE, history.terms, {"best": np.array([1, 5, np.nan, 1.1])}, np.zeros(4, int))
    assert np.argsort(-gp_targets(single)).tolist() == [1, 3, 0, 2]


# --- caps as charts


@pytest.mark.parametrize("k", [2, 3, 8, 20])
@pytest.mark.parametrize("theta", [0.05, 0.6, np.pi / 2])
def test_a_cap_holds_its_angle_and_has_an_inverse(k, theta):
    chart, u = Cap(theta), np.random.default_rng(k).uniform(0.01, 0.99, (50, k - 1))
    w = chart.weights(u)
    assert np.linalg.norm(w, axis=1) == pytest.approx(1)
    assert (np.arccos(np.clip(w[:, 0], -1, 1)) <= theta + 1e-9).all()
    np.testing.assert_allclose(chart.coordinates(w), u, atol=1e-6)
    rim = chart.coordinates(np.eye(k)[-1:])
    assert rim[0, 0] == pytest.approx(1)


def test_a_cap_is_recorded_with_its_angle(tmp_path):
    assert chart_named("cap 0.25") == Cap(0.25)
    with pytest.raises(ArgumentError, match="theta_max: expected an angle"):
        Cap(0.0)
    with pytest.raises(ArgumentError, match="chart: expected one of"):
        chart_named("cap wide")
    space = SurrogateSpace.sample(PRIOR, seeds=4, rng=0, chart=Cap(0.3))
    space.save(tmp_path)
    assert SurrogateSpace.load(tmp_path, PRIOR).chart == Cap(0.3)
    assert space.fingerprint != SurrogateSpace.sample(PRIOR, seeds=4, rng=0, chart=Cap(0.4)).fingerprint


# --- plan


@pytest.mark.parametrize("budget", [1, 2, 5, 12, 50, 100, 400, 5000])
def test_a_plan_fits_its_budget(budget):
    planned = plan(budget, dim=D)
    assert 2 <= planned.axes <= planned.draws <= max(2, budget // 2)
    history, _ = search(planned.policy(PRIOR), min(budget, 60), first_entry)
    assert len(history.terms) == min(budget, 60)
    assert plan(budget, dim=D, axes=5).axes == 5


@pytest.mark.parametrize("budget", [1, 5, 50, 100, 400])
@pytest.mark.parametrize("steps", [None, 8])
def test_a_plan_for_a_sampler_that_proposes_leaves_every_point_to_it(budget, steps):
    planned = plan(budget, dim=D, steps=steps, proposes=True)
    assert planned.kind == "boxes"
    assert Plan.from_json(json.loads(json.dumps(planned.to_json()))) == planned
    history, turns = search(planned.policy(PRIOR), min(planned.trials(budget), 60), first_entry)
    assert [number for number, round in turns.items() if round.space.fresh == 1] == [0]
    assert not any(round.proposals for round in turns.values())
    assert len(history.terms) == min(planned.trials(budget), 60)


@pytest.mark.parametrize("budget", [1, 2, 5, 12, 50, 100, 400])
@pytest.mark.parametrize("steps", [4, 8, 28])
def test_stopped_trials_cost_no_more_than_the_budget(budget, steps):
    planned = plan(budget, dim=D, steps=steps)
    assert 0 < planned.checkpoint < steps
    n, spent, done = planned.trials(budget), 0, 0
    assert planned.anneal_over == n

    def cost(rows):
        return rows * planned.checkpoint + survivors(rows, planned.keep_fraction) * (steps - planned.checkpoint)

    while done < n:  # as the loop asks
        rows = min(planned.size if done else planned.draws, n - done)
        done, spent = done + rows, spent + cost(rows)
    assert spent <= budget * steps < spent + cost(1)
    assert n >= budget
    assert plan(budget, dim=D, steps=3) == plan(budget, dim=D)  # too few steps to stop between


def test_bad_arguments_are_refused():
    for wrong in (
        lambda: plan(0, dim=D),
        lambda: plan(9, dim=D, axes=1),
        lambda: spherical_bo(PRIOR, axes=3, fresh=(0.5, 0.2)),
        lambda: spherical_bo(PRIOR, axes=3, size=4, sampled=5),
        lambda: reseed(PRIOR, axes=3, kept=4),
        lambda: moving_boxes(PRIOR, axes=1),
        lambda: moving_boxes(PRIOR, size=0),
        lambda: moving_boxes(PRIOR, fresh=(0.0, 0.5)),
        lambda: moving_boxes(PRIOR, fresh=(0.2, 1.0)),
    ):
        with pytest.raises(ArgumentError):
            wrong()


def test_a_stopped_trials_estimate_is_learnt_from():
    terms = [((Draw(0, i), 1.0),) for i in range(6)]
    stopped = np.array([0.1, 0.2, 0.3, np.nan, 0.4, 0.5])
    blind = History(SINGLE, terms, {"best": stopped}, np.zeros(6, int))
    seen = dataclasses.replace(blind, estimates={"best": np.array([np.nan, np.nan, np.nan, 5.0, np.nan, np.nan])})
    turns = [spherical_bo(PRIOR, axes=3, size=4)(history, 9, 0) for history in (blind, seen)]
    weight = [dict(round.terms[0]).get(Draw(0, 3), 0.0) for round in turns]
    assert weight[1] > weight[0] + 0.1
    assert torch.isfinite(turns[1].space.bank.inner(turns[1].space.bank.rows(turns[1].terms))).all()
