"""A batch is scored while the next one is generated: in order, by rounds, and given back when something breaks in."""

from __future__ import annotations

import dataclasses
import signal
import threading
from pathlib import Path

import numpy as np
import pytest

from surrogate_ax import (
    Evaluator,
    FunctionGenerator,
    Gaussian,
    Metric,
    Objective,
    SubprocessScore,
    SurrogateSpace,
    fixed,
    o3,
)
from surrogate_ax.errors import GenerationError, ScoreError
from surrogate_ax.execution.pipelined import Pipelined
from tests.core.execution.run_search import run

PRIOR = Gaussian((16,), mean=0.5)
SPACE = SurrogateSpace.sample(PRIOR, seeds=4, rng=3)
SOON = 30.0  # seconds, for what happens at once


class Logged:
    """Generator and score, which write down when they begin; either may do something else first."""

    def __init__(self, generating=lambda batch: None, scoring=lambda batch: None):
        self.generating, self.scoring = generating, scoring
        self.log, self.batches = [], {"generate": 0, "score": 0}
        self.threads = {"generate": set(), "score": set()}
        self.evaluator = Evaluator(
            FunctionGenerator(self.generate, PRIOR, check_rows=False),
            Objective(Metric("best"), score=self.score),
            catch=(ValueError,),
        )

    def generate(self, z):
        self.note("generate", self.generating)
        return z.sum(dim=1)

    def score(self, outputs, conditions):
        self.note("score", self.scoring)
        return outputs

    def note(self, what, act):
        batch = self.batches[what]
        self.batches[what] += 1
        self.log.append(f"{what} {batch}")
        self.threads[what].add(threading.current_thread())
        act(batch)


@pytest.fixture
def host_of(list_host):
    class Host(list_host):
        """A host without other workers, which writes down what it is asked and told."""

        def __init__(self, model):
            super().__init__(model.evaluator.objective)
            self.log = model.log
            self.batches = {"ask": 0, "tell": 0}

        def history(self):
            return dataclasses.replace(super().history(), running=[])

        def ask(self, n, round):
            self.note("ask")
            return super().ask(n, round)

        def tell(self, cs, ev):
            self.note("tell")
            super().tell(cs, ev)

        def note(self, what):
            self.log.append(f"{what} {self.batches[what]}")
            self.batches[what] += 1

    return Host


def search(host, model, policy=None, *, executor=True, total=20, batch=4, **options):
    policy = policy or fixed(SPACE)
    executor = Pipelined(model.evaluator) if executor else None
    run(host, policy, model.evaluator, total_trials=total, batch_size=batch, rng=0, executor=executor, **options)


# --- what overlaps


def test_a_batch_is_scored_while_the_next_one_is_generated(host_of):
    generated, scored = [threading.Event() for _ in range(5)], [threading.Event() for _ in range(5)]

    def generating(batch):
        generated[batch].set()
        assert batch == 0 or scored[batch - 1].wait(SOON)  # goes on once the score before has begun

    def scoring(batch):
        scored[batch].set()
        assert batch == 4 or generated[batch + 1].wait(SOON)  # and that ends once this one has

    model = Logged(generating, scoring)
    host = host_of(model)
    search(host, model)
    assert len(host.ended) == 20
    assert model.threads["generate"] == {threading.current_thread()}
    assert len(model.threads["score"]) == 1
    assert model.threads["score"].isdisjoint(model.threads["generate"])


@pytest.mark.parametrize("slow", ["generating", "scoring"])
def test_batches_are_told_one_late_whatever_takes_longer(host_of, slow):
    wait = threading.Event()
    model = Logged(**{slow: lambda batch: wait.wait(0.02)})
    search(host_of(model), model)
    seen = [entry for entry in model.log if entry.startswith(("ask", "tell"))]
    assert seen == ["ask 0", "ask 1", "tell 0", "ask 2", "tell 1", "ask 3", "tell 2", "ask 4", "tell 3", "tell 4"]


@pytest.mark.parametrize("policy", [fixed(SPACE), o3(PRIOR, 10, seeds=3)])
@pytest.mark.parametrize(("total", "batch"), [(24, 4), (5, 8), (23, 1)])
def test_the_search_is_the_same_where_the_host_does_not_learn(host_of, policy, total, batch):
    late, direct = (host_of(Logged()) for _ in range(2))
    for host, executor in ((late, True), (direct, False)):
        search(host, Logged(), policy, executor=executor, total=total, batch=batch)
    assert late.asked == direct.asked
    assert late.ended == direct.ended == list(range(total))
    assert [record.terms for record in late.records] == [record.terms for record in direct.records]
    np.testing.assert_array_equal(late.history().values["best"], direct.history().values["best"])


def test_a_round_is_told_before_the_next_is_planned(host_of):
    model = Logged()
    host = host_of(model)
    search(host, model, o3(PRIOR, 8, seeds=3), total=16)
    seen = [entry for entry in model.log if entry.startswith(("ask", "tell"))]
    assert seen == ["ask 0", "ask 1", "tell 0", "tell 1", "ask 2", "ask 3", "tell 2", "tell 3"]
    assert host.history().round.tolist() == [0] * 8 + [1] * 8


def test_callbacks_come_in_order_and_what_was_begun_is_finished(host_of):
    seen, model = [], Logged()
    host = host_of(model)

    def callback(batch):
        seen.append((batch.ended, [candidate.ticket for candidate in batch.candidates]))
        return batch.ended == 8

    search(host, model, callbacks=[callback])
    assert seen == [(4 * (i + 1), list(range(4 * i, 4 * i + 4))) for i in range(3)]
    assert [record.state for record in host.records] == ["ended"] * 12


def test_items_that_fail_keep_their_place(host_of):
    def scoring(batch):
        raise ValueError("bad")

    model = Logged(scoring=scoring)
    host = host_of(model)
    with pytest.raises(GenerationError, match="the last 8 trials all failed; the first reason: ValueError: bad"):
        search(host, model)
    assert host.ended == []  # the points are not to blame
    assert {record.state for record in host.records} == {"waiting"}


# --- what breaks in


def states(host):
    return [record.state for record in host.records]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_a_generator_that_breaks_off_gives_both_batches_back(host_of, error):
    def generating(batch):
        if batch == 2:
            raise error

    model = Logged(generating)
    host, whole = host_of(model), host_of(Logged())
    with pytest.raises(error):
        search(host, model)
    assert states(host) == ["ended"] * 4 + ["waiting"] * 8
    again = Logged()
    search(host, again)
    search(whole, Logged(), executor=False)
    assert [record.terms for record in host.records] == [record.terms for record in whole.records]
    assert sorted(host.ended) == whole.ended


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, OSError])
def test_a_score_that_breaks_off_gives_both_batches_back(host_of, error):
    def scoring(batch):
        if batch == 1:
            raise error("broken")

    model = Logged(scoring=scoring)
    host = host_of(model)
    with pytest.raises(error, match="broken"):
        search(host, model)
    assert states(host) == ["ended"] * 4 + ["waiting"] * 8


def test_a_score_that_returns_nonsense_comes_through(host_of):
    model = Logged()
    object.__setattr__(model.evaluator.objective, "score", lambda outputs, conditions: outputs[:1])
    host = host_of(model)
    with pytest.raises(ScoreError, match=r"expected shape \(n,\) = \(4,\)"):
        search(host, model)
    assert states(host) == ["waiting"] * 8


def test_ctrl_c_does_not_wait_for_a_score_that_hangs(host_of):
    main, released = threading.main_thread().ident, threading.Event()
    timer = threading.Timer(0.2, signal.pthread_kill, (main, signal.SIGINT))
    model = Logged(scoring=lambda batch: timer.start() or released.wait(SOON))
    host = host_of(model)
    with pytest.raises(KeyboardInterrupt):
        search(host, model)
    assert states(host) == ["waiting"] * 8
    (thread,) = model.threads["score"]
    assert thread.is_alive()
    released.set()
    thread.join(SOON)
    assert not thread.is_alive()
    assert model.batches == {"generate": 2, "score": 1}  # what was closed scores nothing more


def test_the_thread_ends_with_the_run(host_of):
    model = Logged()
    search(host_of(model), model)
    (thread,) = model.threads["score"]
    thread.join(SOON)
    assert not thread.is_alive()


# --- in a process


def test_scores_in_a_process_equal_those_of_the_plain_loop_and_crash_alone(host_of):
    """The condition says which item ends its process."""

    class Faulty(host_of):
        def ask(self, n, round):
            asked = super().ask(n, round)
            faults = [{"fault": "crash"} if candidate.ticket == 6 else {} for candidate in asked]
            return [dataclasses.replace(c, condition=fault) for c, fault in zip(asked, faults, strict=True)]

    model = Logged()
    host, plain = Faulty(model), host_of(Logged())
    search(plain, Logged(), executor=False, total=12)
    generator = FunctionGenerator(lambda z, conditions: z.sum(dim=1).numpy(), PRIOR, conditional=True)
    with SubprocessScore("scores_of_tests:faulty", folder=Path(__file__).parents[1] / "scoring") as score:
        evaluator = Evaluator(generator, Objective(Metric("best"), score=score))
        run(host, fixed(SPACE), evaluator, total_trials=12, batch_size=4, rng=0, executor=Pipelined(evaluator))
    expected = plain.history().values["best"].copy()
    expected[6] = np.nan
    np.testing.assert_allclose(host.history().values["best"], expected, rtol=1e-6)
