"""The evaluator: whose fault it was, what fitted in memory, and the columns that come back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from surrogate_ax import Evaluator, FunctionGenerator, Gaussian, Generated, Metric, Objective
from surrogate_ax.errors import ArgumentError, ScoreError, ShapeError, UnsupportedError

PRIOR = Gaussian((2,))
BEST = Metric("best")


class Counting:
    """Outputs are the first entry of a latent; `fault(rows)` may raise. Calls are counted."""

    prior = PRIOR
    fingerprint = {"weights": "counting"}  # noqa: RUF012
    check_rows = False

    def __init__(self, fault=lambda rows: None, kind=lambda rows: rows, failed=(), nfe=3.0):
        self.fault, self.kind, self.failed, self.nfe = fault, kind, failed, nfe
        self.calls = []

    def generate(self, z, conditions):
        rows = z["latents"][:, 0]
        self.calls.append(len(rows))
        self.fault(rows)
        made = [i for i, row in enumerate(rows.tolist()) if row not in self.failed]
        reasons = {i: "blurred" for i in range(len(rows)) if i not in made}
        return Generated(self.kind(rows[made]), np.full(len(rows), self.nfe), 0.25, reasons)


def latents(n):
    """Item i is the number i."""
    return torch.stack([torch.arange(n, dtype=torch.float32), torch.zeros(n)], dim=1)


def first(outputs, conditions):
    return [float(output) for output in outputs]


def evaluator(generator, score=first, metrics=(BEST,), **options):
    return Evaluator(generator, Objective(*metrics, score=score), **options)


def raising(*items, error=RuntimeError):
    def fault(rows):
        for row in rows.tolist():
            if row in items:
                raise error(f"item {row:.0f} is bad")

    return fault


def test_a_batch_is_one_call_of_each():
    generator, scored = Counting(), []

    def score(outputs, conditions):
        scored.append((len(outputs), conditions))
        return first(outputs, conditions)

    conditions = [{"k": i} for i in range(5)]
    made = evaluator(generator, score)(latents(5), conditions)
    assert generator.calls == [5]
    assert scored == [(5, conditions)]
    np.testing.assert_array_equal(made.values["best"], np.arange(5.0))
    assert made.values["best"].dtype == np.float64
    np.testing.assert_array_equal(made.nfe, np.full(5, 3.0))
    np.testing.assert_allclose(made.seconds, 0.25 / 5)
    np.testing.assert_array_equal(made.step, np.full(5, -1))
    assert list(made.status) == ["done"] * 5
    assert (made.reasons, list(made.conditions)) == ({}, conditions)
    assert (made.generator, made.objective.metrics) == (generator.fingerprint, (BEST,))


def test_conditions_left_out_are_empty():
    seen = []
    made = evaluator(Counting(), lambda outputs, conditions: seen.append(conditions) or first(outputs, conditions))
    assert list(made(latents(2)).conditions) == [{}, {}]
    assert seen == [[{}, {}]]


# --- the generator raises


@given(st.integers(1, 9), st.sets(st.integers(0, 8), max_size=3))
def test_items_that_raise_fail_alone(n, bad):
    generator = Counting(raising(*bad))
    made = evaluator(generator)(latents(n))
    bad = sorted(i for i in bad if i < n)
    good = [i for i in range(n) if i not in bad]
    assert made.reasons == {i: f"RuntimeError: item {i} is bad" for i in bad}
    assert [i for i, status in enumerate(made.status) if status == "failed"] == bad
    np.testing.assert_array_equal(made.values["best"][good], good)
    assert np.isnan(made.values["best"][bad]).all()
    assert [made.outputs[i] for i in good] == good
    assert all(made.outputs[i] is None for i in bad)
    # Halving: at most one path of halves down to each bad item, and no call at all again for a whole that went well.
    assert len(generator.calls) <= 1 + 2 * len(bad) * int(np.ceil(np.log2(n))) if bad else generator.calls == [n]


def test_one_bad_item_of_eight_costs_six_more_calls():
    generator = Counting(raising(5))
    evaluator(generator)(latents(8))
    assert generator.calls == [8, 4, 4, 2, 1, 1, 2]


def test_the_next_batch_is_whole_again():
    generator = Counting(raising(5))
    evaluate = evaluator(generator)
    evaluate(latents(8))
    generator.calls.clear()
    evaluate(latents(4))
    assert generator.calls == [4]


@pytest.mark.parametrize(
    "kind",
    [lambda rows: rows, lambda rows: rows.numpy(), lambda rows: rows.tolist(), lambda rows: tuple(rows.tolist())],
    ids=["tensor", "array", "list", "tuple"],
)
def test_the_kind_of_outputs_survives_splitting(kind):
    generator = Counting(lambda rows: rows.numel() > 2 and pytest.fail("too many"), kind)
    evaluate = evaluator(generator)
    whole = evaluator(Counting(kind=kind))(latents(5)).outputs
    evaluate.max_batch_size = 2
    split = evaluate(latents(5)).outputs
    assert generator.calls == [2, 2, 1]
    assert isinstance(split, list if isinstance(whole, tuple) else type(whole))
    assert getattr(split, "dtype", None) == getattr(whole, "dtype", None)
    assert [float(output) for output in split] == [0, 1, 2, 3, 4]


def test_nothing_is_caught_on_request():
    generator = Counting(raising(2))
    with pytest.raises(RuntimeError, match="item 2 is bad"):
        evaluator(generator, catch=())(latents(4))
    assert generator.calls == [4]


def test_only_what_is_caught_fails_single_items():
    made = evaluator(Counting(raising(2, error=OSError)), catch=(OSError,))(latents(4))
    assert made.reasons == {2: "OSError: item 2 is bad"}
    with pytest.raises(RuntimeError):
        evaluator(Counting(raising(2)), catch=(OSError,))(latents(4))


@pytest.mark.parametrize("error", [ArgumentError, ShapeError, UnsupportedError])
def test_errors_of_this_package_are_no_items_fault(error):
    generator = Counting(raising(2, error=error))
    with pytest.raises(error, match="item 2 is bad"):
        evaluator(generator)(latents(4))
    assert generator.calls == [4]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_breaks_in_from_outside_passes(error):
    with pytest.raises(error):
        evaluator(Counting(raising(2, error=error)))(latents(4))


# --- memory


def full(above, error=torch.OutOfMemoryError, message="out of memory"):
    def fault(rows):
        if len(rows) > above:
            raise error(message)

    return fault


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (torch.OutOfMemoryError, "CUDA error"),
        (MemoryError, ""),
        (RuntimeError, "DefaultCPUAllocator: can't allocate memory"),
        (RuntimeError, "MPS backend out of memory"),
    ],
)
def test_running_out_of_memory_halves_the_batch_and_remembers(error, message):
    generator = Counting(full(4, error, message))
    evaluate = evaluator(generator)
    made = evaluate(latents(16))
    assert generator.calls == [16, 8, 4, 4, 4, 4]
    assert made.reasons == {}
    np.testing.assert_array_equal(made.values["best"], np.arange(16.0))
    np.testing.assert_allclose(made.seconds, 4 * 0.25 / 16)
    generator.calls.clear()
    assert evaluate(latents(10)).reasons == {}
    assert generator.calls == [4, 4, 2]


def test_memory_is_the_batchs_matter_whatever_is_caught():
    generator = Counting(full(2))
    assert evaluator(generator, catch=())(latents(4)).reasons == {}
    assert generator.calls == [4, 2, 2]


def test_an_item_that_does_not_fit_alone_fails():
    made = evaluator(Counting(full(0)))(latents(3))
    assert list(made.status) == ["failed"] * 3
    assert made.reasons[2] == "OutOfMemoryError: out of memory"


def test_a_bad_item_is_found_within_what_fits():
    def fault(rows):
        full(3)(rows)
        raising(4)(rows)

    made = evaluator(Counting(fault))(latents(7))
    assert made.reasons == {4: "RuntimeError: item 4 is bad"}
    np.testing.assert_array_equal(np.delete(made.values["best"], 4), [0, 1, 2, 3, 5, 6])


# --- the generator reports, the score raises, the score is not finite


@pytest.mark.parametrize("fits", [None, 2])
def test_items_that_the_generator_reports_are_not_scored(fits):
    scored = []
    evaluate = evaluator(
        Counting(failed=(1.0, 4.0)), lambda outputs, conditions: scored.extend(conditions) or first(outputs, conditions)
    )
    evaluate.max_batch_size = fits
    made = evaluate(latents(6), [{"k": i} for i in range(6)])
    assert made.reasons == {1: "blurred", 4: "blurred"}
    assert scored == [{"k": i} for i in (0, 2, 3, 5)]
    assert [None if output is None else float(output) for output in made.outputs] == [0, None, 2, 3, None, 5]
    np.testing.assert_array_equal(made.values["best"], [0, np.nan, 2, 3, np.nan, 5])
    np.testing.assert_array_equal(made.nfe, np.full(6, 3.0))


def test_a_batch_of_failures_is_not_scored():
    made = evaluator(Counting(failed=(0.0, 1.0)), lambda outputs, conditions: pytest.fail("scored"))(latents(2))
    assert list(made.status) == ["failed", "failed"]
    assert list(made.outputs) == [None, None]


@pytest.mark.parametrize("bad", [(3,), (0, 6), (0, 1, 2, 3, 4, 5, 6)])
def test_a_score_that_raises_fails_its_items_alone(bad):
    def score(outputs, conditions):
        for output in outputs:
            if int(output) in bad:
                raise ZeroDivisionError(f"no face in {int(output)}")
        return first(outputs, conditions)

    generator = Counting()
    made = evaluator(generator, score)(latents(7))
    assert generator.calls == [7]
    assert made.reasons == {i: f"ZeroDivisionError: no face in {i}" for i in bad}
    np.testing.assert_array_equal(np.isnan(made.values["best"]), [i in bad for i in range(7)])
    assert [float(output) for output in made.outputs] == list(range(7))  # an output that was made is kept
    with pytest.raises(ZeroDivisionError):
        evaluator(Counting(), score, catch=())(latents(7))


@pytest.mark.parametrize(("bad", "shown"), [(np.nan, "nan"), (np.inf, "inf"), (-np.inf, "-inf")])
def test_a_score_that_is_not_finite_fails_its_item_with_the_reason(bad, shown):
    def score(outputs, conditions):
        return {"best": [bad if output == 1 else 1.0 for output in outputs], "cost": [0.0] * len(outputs)}

    made = evaluator(Counting(), score, (BEST, Metric("cost", "minimize")))(latents(3))
    assert made.reasons == {1: f"score returned best = {shown}"}
    assert list(made.status) == ["done", "failed", "done"]
    assert made.outputs[1] == 1


def test_every_metric_that_is_not_finite_is_named():
    def score(outputs, conditions):
        return {"best": [np.nan], "cost": [1.0], "seen": [np.inf]}

    metrics = (BEST, Metric("cost", "minimize"), Metric("seen", "track"))
    assert evaluator(Counting(), score, metrics)(latents(1)).reasons == {
        0: "score returned best = nan, seen = inf",
    }


@pytest.mark.parametrize("returned", [[1.0], {"other": [1.0, 2.0]}, None])
def test_a_score_that_breaks_its_declaration_comes_through(returned):
    with pytest.raises(ScoreError, match="score: expected"):
        evaluator(Counting(), lambda outputs, conditions: returned)(latents(2))


# --- what is refused before the generator runs


def test_bad_input_never_reaches_the_generator():
    generator = Counting()
    evaluate = evaluator(generator)
    with pytest.raises(ShapeError, match=r"latents\['latents'\]: expected shape \(n, d1\) = \(3, 2\), got \(3, 4\)"):
        evaluate(torch.zeros(3, 4))
    with pytest.raises(ShapeError, match="conditions: expected n = 3, one a latent, got 2"):
        evaluate(latents(3), [{}, {}])
    assert generator.calls == []


def test_what_is_no_generator_is_named():
    with pytest.raises(ArgumentError, match=r"generator: expected prior, fingerprint and generate\(\), got function"):
        evaluator(first)


def test_what_is_no_objective_is_named():
    with pytest.raises(ArgumentError, match="objective: expected an Objective, got function"):
        Evaluator(FunctionGenerator(lambda z: z, (2,)), first)


def test_an_item_too_large_for_memory_does_not_make_the_next_batches_small():
    def fault(rows):
        if 0.0 in rows.tolist():
            raise torch.OutOfMemoryError("out of memory")

    generator = Counting(fault)
    evaluate = evaluator(generator)
    assert evaluate(latents(16)).reasons == {0: "OutOfMemoryError: out of memory"}
    assert generator.calls == [16, 8, 4, 2, 1, 1, 2, 4, 8]
    generator.calls.clear()
    assert evaluate(latents(17)[1:]).reasons == {}
    assert generator.calls == [16]


def test_what_fitted_before_is_remembered_beside_an_item_too_large():
    def fault(rows):
        full(4)(rows)
        if 0.0 in rows.tolist():
            raise torch.OutOfMemoryError("out of memory")

    generator = Counting(fault)
    evaluate = evaluator(generator)
    assert evaluate(latents(17)[1:]).reasons == {}
    assert list(evaluate(latents(8)).reasons) == [0]
    generator.calls.clear()
    assert evaluate(latents(17)[1:]).reasons == {}
    assert generator.calls == [4, 4, 4, 4]


def test_an_item_that_does_not_fit_alone_comes_through_when_nothing_is_caught():
    with pytest.raises(torch.OutOfMemoryError):
        evaluator(Counting(full(0)), catch=())(latents(4))


@pytest.mark.parametrize("failed", [(), (1.0,)])
def test_another_number_of_outputs_than_items_is_the_generators_fault(failed):
    generator = Counting(kind=lambda rows: rows[1:], failed=failed)
    expected = 4 - len(failed)
    with pytest.raises(ShapeError, match=f"generator: expected {expected} outputs, .* n = 4 .* got {expected - 1}"):
        evaluator(generator)(latents(4))


def test_another_number_of_costs_than_items_is_the_generators_fault():
    generator = Counting()
    generator.generate = lambda z, conditions: Generated(z["latents"][:, 0], np.float64(12.0), 0.1)
    with pytest.raises(ShapeError, match=r"generator: expected nfe of shape \(n,\) = \(4,\), got \(\)"):
        evaluator(generator)(latents(4))


def test_nothing_to_evaluate_calls_nothing():
    generator = Counting()
    made = evaluator(generator)(latents(2)[:0])
    assert generator.calls == []
    assert [len(column) for column in (made.outputs, made.nfe, made.seconds, made.status, made.values["best"])] == [
        0
    ] * 5


def test_an_odd_batch_is_halved_to_what_is_tried_next():
    generator = Counting(full(2))
    evaluator(generator)(latents(3))
    assert generator.calls == [3, 2, 1]


# --- outputs that are not finite, and scores that write into outputs


@pytest.mark.parametrize(
    "kind",
    [
        lambda rows: rows,
        lambda rows: rows.numpy(),
        list,
        lambda rows: [row.numpy() for row in rows],
        lambda rows: [float(row) for row in rows],
        lambda rows: [[row, row] for row in rows],
    ],
    ids=["tensor", "array", "tensors", "arrays", "numbers", "lists"],
)
def test_an_output_that_is_not_finite_fails_its_item_and_is_not_scored(kind):
    def broken(rows):
        return kind(torch.where(rows == 2, torch.inf, torch.where(rows == 4, torch.nan, rows)))

    seen = []

    def score(outputs, conditions):
        seen.extend(condition["k"] for condition in conditions)
        return np.ones(len(outputs))  # as a score that a NaN does not pass through

    made = evaluator(Counting(kind=broken, failed=(0.0,)), score)(latents(6), [{"k": i} for i in range(6)])
    assert made.reasons == {0: "blurred", 2: "the output holds NaN or infinity", 4: "the output holds NaN or infinity"}
    assert seen == [1, 3, 5]
    assert list(made.status) == ["failed", "done", "failed", "done", "failed", "done"]
    np.testing.assert_array_equal(made.values["best"], [np.nan, 1, np.nan, 1, np.nan, 1])


def test_whole_numbers_texts_and_mappings_are_not_looked_into():
    for kind in (
        lambda rows: rows.long(),
        lambda rows: [str(row) for row in rows],
        lambda rows: [{"x": torch.nan}] * 3,
    ):
        assert evaluator(Counting(kind=kind), lambda outputs, conditions: np.ones(3))(latents(3)).reasons == {}


@pytest.mark.parametrize(
    "kind",
    [
        lambda rows: rows.clone(),
        lambda rows: rows.numpy().copy(),
        lambda rows: [row.clone() for row in rows],
        lambda rows: [Image.new("L", (1, 1), int(row)) for row in rows],
    ],
    ids=["tensor", "array", "tensors", "images"],
)
def test_what_a_score_writes_is_neither_shown_nor_scored_again(kind):
    tries = []

    def score(outputs, conditions):
        before = [_value(output) for output in outputs]
        for i, output in enumerate(outputs):
            if isinstance(output, Image.Image):
                output.putpixel((0, 0), 99)
            else:
                outputs[i] = 99
        conditions[0]["k"] = 99
        tries.append(before)
        if len(tries) == 1:
            raise OSError("a busy server")
        return before

    conditions = [{"k": i} for i in range(4)]
    made = evaluator(Counting(kind=kind), score)(latents(4), conditions)
    assert tries == [[0, 1, 2, 3], [0, 1], [2, 3]]
    assert [_value(output) for output in made.outputs] == [0, 1, 2, 3]
    assert conditions == [{"k": i} for i in range(4)] == list(made.conditions)


def _value(output):
    return output.getpixel((0, 0)) if isinstance(output, Image.Image) else float(output)
