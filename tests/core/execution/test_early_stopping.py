"""Checkpoints: what is stopped, what it costs, how survivors are batched, and what faults do."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from surrogate_ax import Evaluator, FunctionGenerator, Gaussian, Metric, Objective, Steppable
from surrogate_ax.errors import ArgumentError, UnsupportedError
from surrogate_ax.execution.early_stopping import EarlyStopping, check_checkpoints
from surrogate_ax.execution.executor import Candidate, latents_of
from surrogate_ax.latents.bank import Bank
from tests.contracts.euler_flow import EulerFlow

OBJECTIVE = Objective(Metric("sum"), score=lambda outputs, conditions: outputs.sum(dim=1))
BANK = Bank(Gaussian((16,)), [torch.randn(16, generator=torch.Generator().manual_seed(i)) for i in range(64)])


class Judge:
    """A host that is only asked which rows to stop: those below a threshold, by step."""

    def __init__(self, **below: float) -> None:
        self.below = {int(step[1:]): value for step, value in below.items()}
        self.asked: list[tuple[int, dict[int, float]]] = []

    def report_estimates(self, cs, step, values):
        self.asked.append((step, {c.ticket: float(v) for c, v in zip(cs, values["sum"], strict=True)}))

    def should_stop(self, cs):
        step, values = self.asked[-1]
        return np.array([values[c.ticket] < self.below.get(step, -np.inf) for c in cs])


def _batch(numbers, conditions=None):
    numbers = list(numbers)
    given = conditions or [{}] * len(numbers)
    return [Candidate(i, ((BANK.seeds[i], 1.0),), condition, 0) for i, condition in zip(numbers, given, strict=True)]


def _latents(numbers):
    return latents_of(_batch(numbers), BANK)


def _columns(completed):
    """Status, value, NFE, step and output by ticket."""
    found = {}
    for candidates, ev in completed:
        for i, candidate in enumerate(candidates):
            assert candidate.ticket not in found, "told twice"
            found[candidate.ticket] = (ev.status[i], ev.values["sum"][i], ev.nfe[i], int(ev.step[i]), ev.outputs[i])
    return found


def _executor(judge, flow, steps=(3,), batch_size=8, **options):
    catch = options.pop("catch", (Exception,))
    return EarlyStopping(judge, Evaluator(flow, OBJECTIVE, catch=catch), steps, batch_size=batch_size, **options)


def test_losers_end_with_their_estimate_and_survivors_as_if_nothing_had_happened():
    flow, judge = EulerFlow(), Judge(s3=0.0)
    executor, z = _executor(judge, flow), _latents(range(8))
    executor.submit(_batch(range(8)), BANK)
    early = _columns(executor.collect(wait=False))
    assert {status for status, *_ in early.values()} == {"stopped"}
    found = early | _columns(executor.collect(wait=True))
    assert set(found) == set(range(8))
    whole = EulerFlow().generate(z, [{}] * 8)
    estimates = EulerFlow().advance(EulerFlow().start(z, [{}] * 8), 3).clean
    assert [step for step, _ in judge.asked] == [3]
    for i, (status, value, nfe, step, output) in found.items():
        stopped = bool(estimates[i].sum() < 0)
        assert status == ("stopped" if stopped else "done")
        assert (nfe, step) == ((3, 3) if stopped else (8, -1))
        torch.testing.assert_close(output, estimates[i] if stopped else whole.outputs[i])
        assert value == pytest.approx(float(output.sum()), rel=1e-5)
        assert judge.asked[0][1][i] == pytest.approx(float(estimates[i].sum()), rel=1e-5)
    assert 0 < len(early) < 8
    assert sum(nfe for _, _, nfe, *_ in found.values()) == sum(flow.sizes)


def test_survivors_wait_and_merge_into_full_batches():
    flow = EulerFlow()
    executor, found = _executor(Judge(s2=0.0, s5=1.0), flow, steps=(2, 5)), {}
    for start in range(0, 48, 8):
        executor.submit(_batch(range(start, start + 8)), BANK)
        found |= _columns(executor.collect(wait=False))
    assert all(size == 8 for size in flow.sizes)
    assert len(found) < 48
    found |= _columns(executor.collect(wait=True))
    assert set(found) == set(range(48))
    assert executor.collect(wait=True) == []
    assert sum(nfe for _, _, nfe, *_ in found.values()) == sum(flow.sizes)
    assert {step for _, _, _, step, _ in found.values()} == {2, 5, -1}
    whole = EulerFlow().generate(_latents(range(48)), [{}] * 48).outputs
    for i, (status, _, _, _, output) in found.items():
        if status == "done":
            torch.testing.assert_close(output, whole[i])


def test_without_merging_a_batch_is_done_before_the_next():
    flow = EulerFlow()
    executor = _executor(Judge(s3=0.0), flow, merge=False)
    executor.submit(_batch(range(8)), BANK)
    assert set(_columns(executor.collect(wait=False))) == set(range(8))
    assert min(flow.sizes) < 8


def test_conditions_stay_with_their_rows():
    conditions = [{"scale": 1.0 + i / 8} for i in range(16)]
    flow = EulerFlow()
    executor, found = _executor(Judge(s3=0.5), flow), {}
    for start in (0, 8):
        executor.submit(_batch(range(start, start + 8), conditions[start : start + 8]), BANK)
    found = _columns(executor.collect(wait=True))
    whole = EulerFlow().generate(_latents(range(16)), conditions).outputs
    done = [i for i, (status, *_) in found.items() if status == "done"]
    assert done
    for i in done:
        torch.testing.assert_close(found[i][4], whole[i])


# --- faults


def _refuses(kind, at, error=ValueError):
    """A watcher that raises where the row of candidate `at` is at work."""
    marked = _latents([at])["latents"][0]

    def watch(what, x, conditions):
        if what == kind and any(torch.equal(row, marked) for row in x):
            raise error("no")

    return watch


def test_a_row_that_raises_fails_alone():
    executor = _executor(Judge(), EulerFlow(watch=_refuses("step", 5)))
    executor.submit(_batch(range(8)), BANK)
    found = _columns(executor.collect(wait=True))
    assert [found[i][0] for i in range(8)] == ["done"] * 5 + ["failed"] + ["done"] * 2
    assert np.isnan(found[5][1])


def test_a_row_that_raises_late_keeps_its_cost():
    def watch(what, x, conditions):
        if what == "estimate" and any(condition.get("bad") for condition in conditions):
            raise ValueError("no")

    executor = _executor(Judge(), EulerFlow(watch=watch))
    executor.submit(_batch(range(4), [{}, {"bad": True}, {}, {}]), BANK)
    completed = executor.collect(wait=True)
    found = _columns(completed)
    assert found[1][0] == "failed"
    assert found[1][2] == 3
    assert any(ev.reasons == {0: "ValueError: no"} for _, ev in completed)


def test_errors_that_are_not_caught_come_through():
    executor = _executor(Judge(), EulerFlow(watch=_refuses("step", 2)), catch=())
    with pytest.raises(ValueError, match="no"):
        executor.submit(_batch(range(4)), BANK)


def test_a_batch_that_does_not_fit_is_halved_once():
    sizes = []

    def watch(what, x, conditions):
        sizes.append(len(x))
        if len(x) > 4:
            raise MemoryError("out of memory")

    executor = _executor(Judge(), EulerFlow(watch=watch))
    for start in (0, 8):
        executor.submit(_batch(range(start, start + 8)), BANK)
    found = _columns(executor.collect(wait=True))
    assert all(status == "done" for status, *_ in found.values())
    assert sizes.count(8) == 1


def test_an_estimate_that_cannot_be_scored_lets_the_row_go_on():
    calls: list[int] = []

    def score(outputs, conditions):
        calls.append(len(outputs))
        return outputs.sum(dim=1) if len(calls) > 1 else np.full(len(outputs), np.nan)

    judge = Judge(s3=100.0)
    objective = Objective(Metric("sum"), score=score)
    executor = EarlyStopping(judge, Evaluator(EulerFlow(), objective), (3,), batch_size=8)
    executor.submit(_batch(range(4)), BANK)
    found = _columns(executor.collect(wait=True))
    assert judge.asked == []
    assert all(status == "done" for status, *_ in found.values())


# --- refusals


@pytest.mark.parametrize("steps", [(), (0,), (8,), (3, 3), (5, 2), (-1, 3)])
def test_checkpoints_must_rise_within_the_trajectory(steps):
    with pytest.raises(ArgumentError, match="increasing numbers of steps from 1 to 7"):
        check_checkpoints(EulerFlow(), steps)


def test_a_generator_that_cannot_step_is_refused():
    assert isinstance(EulerFlow(), Steppable)
    with pytest.raises(UnsupportedError, match="got FunctionGenerator, which cannot"):
        check_checkpoints(FunctionGenerator(len, (4,)), (3,))


def test_a_closed_line_holds_nothing():
    executor = _executor(Judge(s3=0.0), EulerFlow())
    executor.submit(_batch(range(8)), BANK)
    executor.close()
    assert executor.collect(wait=True) == []


class Carrying(EulerFlow):
    """Gathers something from step to step that a stop makes it forget."""

    check_rows = True

    def start(self, z, conditions, *, step=0):
        self.gathered = 0.0
        return super().start(z, conditions, step=step)

    def select(self, states, rows):
        self.gathered = 0.0
        return super().select(states, rows)

    def advance(self, state, to):
        self.gathered += to - state.step
        moved = super().advance(state, to)
        return dataclasses.replace(moved, x=moved.x + self.gathered)


class Mixing(EulerFlow):
    check_rows = True

    def advance(self, state, to):
        moved = super().advance(state, to)
        return dataclasses.replace(moved, x=moved.x - moved.x.mean(dim=0) / 2)


class Checked(EulerFlow):
    check_rows = True


@pytest.mark.parametrize(("kind", "warns"), [(Carrying, True), (Mixing, True), (Checked, False)])
def test_a_flow_that_a_stop_or_its_batch_changes_is_named_once(kind, warns, caplog):
    executor = _executor(Judge(s3=0.0), kind())
    for _ in range(2):
        executor.submit(_batch(range(8)), BANK)
        assert len(_columns(executor.collect(wait=True))) == 8
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == warns
    assert all(text.startswith(f"{kind.__name__}: a latent gave another output alone than in a batch") for text in said)
    assert all("that was stopped between its steps, by" in text for text in said)
