"""The loop over the smallest host: budgets, rounds, faults, interruptions and going on after them."""

from __future__ import annotations

import copy
import dataclasses
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from surrogate_ax import Evaluator, FunctionGenerator, Gaussian, Metric, Objective, SurrogateSpace, draws, fixed, o3
from surrogate_ax.errors import ArgumentError, GenerationError, ScoreError
from surrogate_ax.execution.executor import latents_of
from surrogate_ax.latents.seeds import Draw, draw_entropy, inner_row
from surrogate_ax.policies.history import Round
from tests.core.execution.run_search import run

D = 16
PRIOR = Gaussian((D,), mean=0.5)


class Model:
    """The sum of a latent's entries; may break off or fail at chosen calls."""

    def __init__(self, at=lambda call, z: None):
        self.at, self.sizes, self.seen = at, [], []

    def __call__(self, z, conditions):
        self.sizes.append(len(z))
        self.seen.append((z, conditions))
        self.at(len(self.sizes), z)
        return z.sum(dim=1)


OBJECTIVE = Objective(Metric("best"), score=lambda outputs, conditions: outputs)


def evaluator(model=None, objective=OBJECTIVE, **options):
    return Evaluator(
        FunctionGenerator(model or Model(), PRIOR, conditional=True, check_rows=False), objective, **options
    )


def space(k=4):
    return SurrogateSpace.sample(PRIOR, seeds=k, rng=3)


# --- budgets and batches


@pytest.mark.parametrize(("total", "batch"), [(1, 1), (20, 8), (24, 8), (5, 100)])
def test_everything_is_batched_and_counted(list_host, total, batch):
    host, model = list_host(OBJECTIVE), Model()
    run(host, fixed(space()), evaluator(model), total_trials=total, batch_size=batch, rng=0)
    assert len(host.history().terms) == total
    assert len(model.sizes) == math.ceil(total / batch)
    assert model.sizes == host.asked
    assert all(size == batch for size in model.sizes[:-1])


def test_latents_are_those_of_the_recorded_terms(list_host):
    host, model = list_host(OBJECTIVE, guidance=(1.0, 4.0)), Model()
    run(host, o3(PRIOR, 9, seeds=3), evaluator(model), total_trials=20, batch_size=4, rng=0)
    history = host.history()
    bank = history.bank(PRIOR)
    z = torch.cat([batch for batch, _ in model.seen])
    torch.testing.assert_close(bank.latents(bank.rows(history.terms))["latents"], z, rtol=0, atol=1e-5)
    np.testing.assert_allclose(history.values["best"], z.sum(dim=1).numpy(), rtol=0, atol=1e-5)
    conditions = [condition for _, batch in model.seen for condition in batch]
    assert conditions == [host.records[i].condition for i in host.ended]
    assert {condition["guidance"] for condition in conditions} == {1.0, 4.0}


def test_trials_told_before_count(list_host):
    host = list_host(OBJECTIVE)
    for total in (5, 12, 12, 3):
        model = Model()
        run(host, fixed(space()), evaluator(model), total_trials=total, batch_size=4, rng=0)
        assert sum(model.sizes) == {5: 5, 12: 7 if len(host.ended) == 12 and model.sizes else 0, 3: 0}[total]
    assert len(host.ended) == 12


def test_failed_trials_count(list_host):
    def at(call, z):
        if call == 1:
            raise RuntimeError("once")

    host, model = list_host(OBJECTIVE), Model(at)
    run(host, fixed(space()), evaluator(model), total_trials=6, batch_size=1, rng=0)
    assert sum(model.sizes) == 6
    assert np.isnan(host.history().values["best"]).tolist() == [True] + [False] * 5


@pytest.mark.parametrize(("argument", "count"), [("total_trials", 0), ("batch_size", 0), ("batch_size", -3)])
def test_counts_below_one_are_named(list_host, argument, count):
    counts = {"total_trials": 4, "batch_size": 2, argument: count}
    host = list_host(OBJECTIVE)
    with pytest.raises(ArgumentError, match=f"{argument}: expected at least 1, got {count}"):
        run(host, fixed(space()), evaluator(), **counts, rng=0)
    assert host.asked == []


def test_a_host_may_give_fewer_than_asked(list_host):
    class Reluctant(list_host):
        def ask(self, n, round):
            return super().ask(min(n, 2), round)

    host = Reluctant(OBJECTIVE)
    run(host, fixed(space()), evaluator(), total_trials=7, batch_size=4, rng=0)
    assert host.asked == [2, 2, 2, 1]
    assert len(host.ended) == 7


# --- rounds


def test_o3_draws_first_and_closes_its_round(list_host):
    host, model = list_host(OBJECTIVE, rng=7), Model()
    run(host, o3(PRIOR, 10, seeds=3), evaluator(model), total_trials=25, batch_size=4, rng=0)
    assert model.sizes == [4, 4, 2, 4, 4, 4, 3]
    history = host.history()
    assert history.round.tolist() == [0] * 10 + [1] * 15
    assert history.terms[:10] == [((Draw(draw_entropy(7, "trials"), i), 1.0),) for i in range(10)]
    order = np.argsort(-history.values["best"][:10])[:3]
    best = [history.terms[i][0][0] for i in order]
    last = host.turns[-1].space
    assert last.bank.terms(last.frame) == [((seed, 1.0),) for seed in best]
    assert all({seed for seed, _ in row} <= set(best) for row in history.terms[10:])
    rows = torch.stack([torch.from_numpy(inner_row(seed, D)) for seed in best])
    torch.testing.assert_close(last.bank.inner(last.frame), rows, rtol=0, atol=1e-5)


def test_draws_alone_end_when_they_are_drawn(list_host):
    host = list_host(OBJECTIVE)
    run(host, draws(PRIOR, 6, axes=3), evaluator(), total_trials=50, batch_size=4, rng=0)
    assert host.asked == [4, 2]


def test_exact_rows_run_first_and_never_twice(list_host):
    host = list_host(OBJECTIVE)
    policy = fixed(space(5))
    for total in (3, 12):
        run(host, policy, evaluator(), total_trials=total, batch_size=2, rng=0)
    axes = [((seed, 1.0),) for seed in space(5).bank.seeds]
    assert [record.exact for record in host.records] == [True] * 5 + [False] * 7
    assert host.history().terms[:5] == axes
    assert not any(terms in axes for terms in host.history().terms[5:])


def test_a_turn_is_asked_of_the_policy_once(list_host):
    calls = []

    def policy(history, left, rng):
        calls.append((len(history.terms), left, rng))
        return None if len(calls) > 2 else Round(space(), len(calls) - 1, 6)

    host = list_host(OBJECTIVE)
    run(host, policy, evaluator(), total_trials=30, batch_size=4, rng=11)
    assert calls == [(0, 30, 11), (6, 24, 11), (12, 18, 11)]
    assert host.asked == [4, 2, 4, 2]


# --- ends


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(seconds=0.0)

    def sleep(seconds):
        now.seconds += seconds

    fake = SimpleNamespace(monotonic=lambda: now.seconds, sleep=sleep)
    monkeypatch.setattr("surrogate_ax.execution.loop.time", fake)
    return now


def test_no_batch_begins_after_the_timeout(list_host, clock):
    def at(call, z):
        clock.seconds += 10

    host = list_host(OBJECTIVE)
    run(host, fixed(space()), evaluator(Model(at)), total_trials=40, batch_size=4, rng=0, timeout=25)
    assert host.asked == [4, 4, 4]
    assert len(host.ended) == 12
    run(host, fixed(space()), evaluator(), total_trials=40, batch_size=4, rng=0, timeout=0)
    assert len(host.ended) == 12


def test_callbacks_see_every_batch_and_may_end_the_run(list_host):
    seen, also = [], []

    def callback(batch):
        seen.append((len(batch.candidates), batch.ended, batch.total, list(batch.evaluations.status)))
        return batch.ended >= 8

    host = list_host(OBJECTIVE)
    callbacks = [callback, lambda batch: also.append(batch.ended)]
    run(host, fixed(space()), evaluator(), total_trials=40, batch_size=4, rng=0, callbacks=callbacks)
    assert seen == [(4, 4, 40, ["done"] * 4), (4, 8, 40, ["done"] * 4)]
    assert also == [4, 8]
    assert len(host.ended) == 8


@pytest.mark.parametrize(("total", "batch", "expected"), [(100, 3, 9), (100, 16, 16), (5, 2, 5), (4, 16, 4)])
def test_when_everything_fails_the_first_reason_is_given(own_host, total, batch, expected):
    def at(call, z):
        raise RuntimeError(f"broken at call {call}")

    host = own_host(OBJECTIVE)
    with pytest.raises(GenerationError) as error:
        run(host, fixed(space()), evaluator(Model(at)), total_trials=total, batch_size=batch, rng=0)
    assert f"the last {expected} trials all failed" in str(error.value)
    assert "the first reason: RuntimeError: broken at call" in str(error.value)
    line = at.__code__.co_firstlineno + 1
    assert str(error.value).endswith(f"({__file__}, line {line})")
    assert 'raise RuntimeError(f"broken at call {call}")' in str(error.value.__cause__)
    assert host.ended == []  # the points are not to blame
    assert [record.state for record in host.records] == ["waiting"] * expected


def test_what_failed_before_it_was_mended_does_not_count(own_host):
    def at(call, z):
        if call > 2:
            raise RuntimeError("the disk is full")

    host, whole = own_host(OBJECTIVE), own_host(OBJECTIVE)
    with pytest.raises(GenerationError, match="the disk is full"):
        run(host, fixed(space()), evaluator(Model(at)), total_trials=20, batch_size=4, rng=0)
    assert [record.state for record in host.records] == ["ended"] * 8 + ["waiting"] * 8
    run(host, fixed(space()), evaluator(), total_trials=20, batch_size=4, rng=0)
    run(whole, fixed(space()), evaluator(), total_trials=20, batch_size=4, rng=0)
    assert [record.terms for record in host.records] == [record.terms for record in whole.records]
    assert host.ended == whole.ended == list(range(20))


def test_batches_that_fail_before_others_succeed_are_told_in_order(own_host):
    def at(call, z):
        if (len(z) == 4 and call == 1) or len(z) < 4:
            raise RuntimeError("unlucky")

    host, told = own_host(OBJECTIVE), []
    callbacks = [lambda batch: told.append([candidate.ticket for candidate in batch.candidates])]
    run(host, fixed(space()), evaluator(Model(at)), total_trials=12, batch_size=4, rng=0, callbacks=callbacks)
    assert told == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert np.isnan(host.history().values["best"]).tolist() == [True] * 4 + [False] * 8


def test_a_round_that_needs_them_is_told_of_its_failures(own_host):
    def at(call, z):
        if call <= 7:  # a batch of 4 in halves
            raise RuntimeError("unlucky")

    host = own_host(OBJECTIVE)
    run(host, o3(PRIOR, 4, seeds=3), evaluator(Model(at)), total_trials=12, batch_size=4, rng=0)
    assert np.isnan(host.history().values["best"]).tolist() == [True] * 4 + [False] * 8
    assert host.history().round.tolist() == [0] * 4 + [1] * 8


def test_failures_among_successes_do_not_end_the_run(list_host):
    score = Objective(Metric("best"), score=lambda outputs, conditions: [math.nan] * (len(outputs) - 1) + [1.0])
    host = list_host(score)
    run(host, fixed(space()), evaluator(objective=score), total_trials=40, batch_size=4, rng=0)
    assert np.isfinite(host.history().values["best"]).sum() == 10


def test_once_one_has_succeeded_more_failures_in_a_row_are_borne(list_host):
    """A generator that fails for most latents is searched all the same; one that breaks for good is given up later."""
    for broken in (7, 8):
        batches = iter([1.0, *[math.nan] * broken, 1.0, 1.0])
        score = Objective(Metric("best"), score=lambda outputs, _, batches=batches: [next(batches)] * len(outputs))
        host, arguments = list_host(score), {"total_trials": 36, "batch_size": 4, "rng": 0}
        if broken == 8:
            with pytest.raises(GenerationError, match="the last 32 trials all failed"):
                run(host, fixed(space()), evaluator(objective=score), **arguments)
        else:
            run(host, fixed(space()), evaluator(objective=score), **arguments)
            assert np.isfinite(host.history().values["best"]).sum() == 8


# --- what breaks in


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interruption_gives_the_batch_back_and_passes(list_host, error):
    def at(call, z):
        if call == 3:
            raise error

    host, whole = list_host(OBJECTIVE), list_host(OBJECTIVE)
    with pytest.raises(error):
        run(host, fixed(space()), evaluator(Model(at)), total_trials=20, batch_size=4, rng=0)
    assert [record.state for record in host.records] == ["ended"] * 8 + ["waiting"] * 4
    assert len(host.history().running) == 0
    run(host, fixed(space()), evaluator(), total_trials=20, batch_size=4, rng=0)
    run(whole, fixed(space()), evaluator(), total_trials=20, batch_size=4, rng=0)
    assert [record.terms for record in host.records] == [record.terms for record in whole.records]
    assert host.ended == whole.ended == list(range(20))


def test_a_broken_score_gives_the_batch_back_and_comes_through(list_host):
    broken = Objective(Metric("best"), score=lambda outputs, conditions: outputs[:1])
    host = list_host(broken)
    with pytest.raises(ScoreError, match=r"expected shape \(n,\) = \(4,\) for 'best', .* got \(1,\)"):
        run(host, fixed(space()), evaluator(objective=broken), total_trials=20, batch_size=4, rng=0)
    assert [record.state for record in host.records] == ["waiting"] * 4


def test_what_is_not_caught_gives_the_batch_back(list_host):
    def at(call, z):
        raise OSError("disk")

    host = list_host(OBJECTIVE)
    with pytest.raises(OSError, match="disk"):
        run(host, fixed(space()), evaluator(Model(at), catch=()), total_trials=20, batch_size=4, rng=0)
    assert [record.state for record in host.records] == ["waiting"] * 4


# --- going on, and working together


@pytest.mark.parametrize("stop", [3, 8, 10, 14])
def test_a_study_that_was_stopped_goes_on_as_if_it_had_not_been(list_host, stop):
    options = {"total_trials": 20, "batch_size": 1, "rng": 0}
    policy = o3(PRIOR, 10, seeds=3)
    whole, parts = list_host(OBJECTIVE), list_host(OBJECTIVE)
    run(whole, policy, evaluator(), **options)
    run(parts, policy, evaluator(), **options, callbacks=[lambda batch: batch.ended == stop])
    assert len(parts.ended) == stop
    read_again = copy.deepcopy(parts)
    run(read_again, o3(PRIOR, 10, seeds=3), evaluator(), **options)
    assert [record.terms for record in read_again.records] == [record.terms for record in whole.records]
    assert read_again.turns[-1].space.fingerprint == whole.turns[-1].space.fingerprint


def test_trials_of_a_dead_worker_run_again_as_they_were_asked(list_host):
    host = list_host(OBJECTIVE)
    policy = o3(PRIOR, 6, seeds=2)
    dead = host.ask(3, policy(host.history(), 12, 0))
    model = Model()
    run(host, policy, evaluator(model), total_trials=12, batch_size=3, rng=0)
    assert host.ended[:3] == [candidate.ticket for candidate in dead]
    assert [host.records[i].terms for i in host.ended[:3]] == [candidate.terms for candidate in dead]
    assert sum(model.sizes) == 12


def test_the_rest_of_a_round_is_waited_for(list_host, clock):
    """Another worker holds two of the six draws; its trials end while this one waits."""

    class Shared(list_host):
        def __init__(self, objective):
            super().__init__(objective)
            self.looks = 0

        def reclaim(self):
            self.looks += 1
            if self.looks == 4:  # the other worker tells
                batch = list(others)
                self.tell(batch, evaluate(latents_of(batch), [candidate.condition for candidate in batch]))
            return 0

    def latents_of(batch):
        bank = SurrogateSpace.sample(PRIOR, seeds=2, rng=0).bank
        bank = bank.extend([seed for candidate in batch for seed, _ in candidate.terms])
        return bank.latents(bank.rows([candidate.terms for candidate in batch]))

    host, evaluate, policy = Shared(OBJECTIVE), evaluator(), o3(PRIOR, 6, seeds=2)
    others = host.ask(2, policy(host.history(), 10, 0))
    run(host, policy, evaluate, total_trials=10, batch_size=4, rng=0)
    assert host.looks == 4
    assert clock.seconds > 0
    assert host.asked == [2, 4, 4]
    assert host.history().round.tolist() == [0] * 6 + [1] * 4


def test_running_trials_of_others_count_towards_the_budget(list_host, clock):
    class Shared(list_host):
        def reclaim(self):
            return 0

    host = Shared(OBJECTIVE)
    host.ask(3, fixed(space())(host.history(), 10, 0))
    run(host, fixed(space()), evaluator(), total_trials=10, batch_size=4, rng=0, timeout=5)
    assert len(host.ended) == 7
    assert clock.seconds >= 5


def test_the_seeds_of_a_box_are_made_once(list_host, monkeypatch):
    made = []
    monkeypatch.setattr("surrogate_ax.latents.seed_rows.SMALL", 0)  # rows of few entries are kept for good
    monkeypatch.setattr(
        "surrogate_ax.latents.seed_rows.inner_row", lambda seed, dim: made.append(seed) or inner_row(seed, dim)
    )
    run(list_host(OBJECTIVE), fixed(space()), evaluator(), total_trials=20, batch_size=4, rng=0)
    assert sorted(made, key=lambda seed: seed.index) == list(space().bank.seeds)


# --- lines on which evaluations come back later


class Late:
    """Holds batches back until `held` of them wait, or until it is asked to empty itself."""

    def __init__(self, evaluate, held):
        self.evaluate, self.held, self.waiting, self.closed = evaluate, held, [], False

    def submit(self, candidates, bank):
        conditions = [candidate.condition for candidate in candidates]
        self.waiting.append((candidates, self.evaluate(latents_of(candidates, bank), conditions)))

    def collect(self, *, wait):
        ready, self.waiting = (self.waiting, []) if wait or len(self.waiting) >= self.held else ([], self.waiting)
        return ready

    def close(self):
        self.closed = True


@pytest.fixture
def own_host(list_host):
    class OwnHost(list_host):
        """A host without other workers: what runs is the caller's."""

        def history(self):
            return dataclasses.replace(super().history(), running=[])

    return OwnHost


@pytest.mark.parametrize("held", [1, 2, 3, 50])
def test_the_budget_and_the_rounds_hold_with_a_late_line(own_host, held):
    host, evaluate = own_host(OBJECTIVE), evaluator()
    executor = Late(evaluate, held)
    batches = []
    policy = o3(PRIOR, 10, seeds=3)
    run(host, policy, evaluate, total_trials=24, batch_size=4, rng=0, executor=executor, callbacks=[batches.append])
    assert host.asked == [4, 4, 2, 4, 4, 4, 2]  # a round is emptied before the next is planned
    assert host.history().round.tolist() == [0] * 10 + [1] * 14
    assert [batch.ended for batch in batches] == [4, 8, 10, 14, 18, 22, 24]
    assert executor.closed


def test_a_stop_finishes_what_was_begun(own_host):
    host, evaluate = own_host(OBJECTIVE), evaluator()
    run(
        host,
        fixed(space()),
        evaluate,
        total_trials=24,
        batch_size=4,
        rng=0,
        executor=Late(evaluate, 2),
        callbacks=[lambda batch: True],
    )
    assert len(host.ended) == 8
    assert all(record.state == "ended" for record in host.records)


def test_an_interruption_gives_back_everything_in_flight(own_host):
    def at(call, z):
        if call == 3:
            raise KeyboardInterrupt

    host, evaluate = own_host(OBJECTIVE), evaluator(Model(at))
    executor = Late(evaluate, 9)
    with pytest.raises(KeyboardInterrupt):
        run(host, fixed(space()), evaluate, total_trials=24, batch_size=4, rng=0, executor=executor)
    assert [record.state for record in host.records] == ["waiting"] * 12
    assert executor.closed
