"""The batch size that measuring finds: of generators whose time and memory are simulated on a clock of ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from surrogate_ax import Choice, FunctionGenerator, Metric, Objective, Range, SurrogateSpace, plan
from surrogate_ax.errors import ArgumentError, GenerationError, MismatchError, ShapeError
from surrogate_ax.execution import batch_size
from surrogate_ax.execution.batch_size import largest, measure, recorded_size, timings
from surrogate_ax.execution.session import Session

OBJECTIVE = Objective(Metric("sum"), score=lambda outputs, conditions: outputs.sum(dim=1))


class Simulated(FunctionGenerator):
    """A generator that takes `cost(n)` seconds of a simulated clock for n outputs, and has room for `room`."""

    def __init__(self, cost: Callable[[int], float], *, room: int = 10**6, conditional: bool = False) -> None:
        self.now, self.sizes, self.latents = 0.0, list[int](), list[Tensor]()
        self.conditions = list[Mapping[str, Any]]()

        def function(z: Tensor, conditions: Sequence[Mapping[str, Any]] = ()) -> Tensor:
            self.sizes.append(len(z))
            self.latents.append(z.clone())
            self.conditions.extend(conditions)
            self.now += cost(len(z))
            if len(z) > room:
                raise torch.OutOfMemoryError(f"CUDA out of memory: {len(z)} outputs")
            return z.clone()

        super().__init__(function, (12,), revision="1", check_rows=False, conditional=conditional)

    @property
    def fingerprint(self) -> dict[str, str]:
        """The same for any cost: another machine with the same model."""
        return {"revision": "1", "prior": self.prior.fingerprint}


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Simulated]:
    """Makes a generator whose clock is the one that is looked at."""

    def make(cost: Callable[[int], float], **options: Any) -> Simulated:
        generator = Simulated(cost, **options)
        monkeypatch.setattr(batch_size, "time", SimpleNamespace(perf_counter=lambda: generator.now))
        return generator

    return make


def test_sizes_double_until_they_gain_less_than_a_tenth(simulated: Callable[..., Simulated]) -> None:
    generator = simulated(lambda n: max(8, n))  # eight at once cost what one costs, more cost more
    found = measure(generator, 64, rng=0)
    assert found.size == 8
    assert generator.sizes == [1, 2, 4, 8, 16]
    assert [t.rate for t in found.timings] == [1 / 8, 2 / 8, 4 / 8, 1, 1]


@pytest.mark.parametrize(("gain", "size"), [(1.11, 64), (1.09, 1)])
def test_a_tenth_is_the_limit(simulated: Callable[..., Simulated], gain: float, size: int) -> None:
    def cost(n: int) -> float:
        return 10 * n / gain ** (n.bit_length() - 1)  # each doubling gives `gain` times as many a second

    assert measure(simulated(cost), 64, rng=0).size == size


@pytest.mark.parametrize(
    ("room", "size", "called"), [(5, 4, [1, 2, 4, 8]), (1, 1, [1, 2]), (100, 16, [1, 2, 4, 8, 16])]
)
def test_the_last_size_that_fitted_is_taken(
    simulated: Callable[..., Simulated], room: int, size: int, called: list[int]
) -> None:
    generator = simulated(lambda n: 2.0, room=room)
    assert measure(generator, 16, rng=0).size == size
    assert generator.sizes == called


def test_quick_calls_and_searched_conditions_have_a_second_look(simulated: Callable[..., Simulated]) -> None:
    seconds = {1: 0.2, 2: 0.5, 4: 0.6, 8: 1.2, 16: 2.4}  # two by themselves are slow, once
    assert measure(simulated(seconds.__getitem__), 16, rng=0).size == 4
    slow = {n: 10 * s for n, s in seconds.items()}
    generator = simulated(slow.__getitem__)
    assert measure(generator, 16, rng=0).size == 1
    assert generator.sizes == [1, 2]
    generator = simulated(slow.__getitem__, conditional=True)
    assert measure(generator, 16, rng=0, conditions={"guidance": Range(1, 3)}).size == 4
    assert generator.sizes == [1, 2, 4, 8, 16]


def test_no_size_is_above_the_bound(simulated: Callable[..., Simulated]) -> None:
    generator = simulated(lambda n: 2.0)
    assert measure(generator, 13, rng=0).size == 8
    assert measure(generator, 1, rng=0).size == 1


def test_quick_calls_are_made_again_and_the_quickest_counts(simulated: Callable[..., Simulated]) -> None:
    seconds = iter([0.9, 0.2, 0.4, 0.5, 0.6])
    generator = simulated(lambda n: next(seconds))
    one, two = timings(generator, 2, rng=0)
    assert generator.sizes == [1, 1, 2, 2, 2]
    assert (one.calls, one.seconds, one.spent) == (2, pytest.approx(0.2), pytest.approx(1.1))
    assert (two.calls, two.seconds, two.spent) == (3, pytest.approx(0.4), pytest.approx(1.5))


def test_the_cost_is_told(simulated: Callable[..., Simulated]) -> None:
    text = str(measure(simulated(lambda n: 2.0, room=2), 16, rng=0))
    assert text == (
        "batches of 2: measured on 3 plain draws (2 calls, 4.0 s), which gave these outputs a second in batches: "
        "0.5 of 1, 1 of 2"
    )


def test_the_draws_follow_from_the_seed(simulated: Callable[..., Simulated]) -> None:
    generator = simulated(lambda n: 2.0)
    for rng in (3, 3, 4):
        measure(generator, 4, rng=rng)
    first, again, other = (generator.latents[k : k + 3] for k in (0, 3, 6))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[-1], other[-1])
    assert len(torch.unique(first[-1], dim=0)) == 4


def test_searched_conditions_have_values(simulated: Callable[..., Simulated]) -> None:
    generator = simulated(lambda n: 2.0, conditional=True)
    searched = {"guidance": Range(1, 3, step=0.5), "prompt": Choice(["a", "b"])}
    measure(generator, 32, rng=0, conditions=searched)
    assert {condition["prompt"] for condition in generator.conditions} == {"a", "b"}
    assert {condition["guidance"] for condition in generator.conditions} == {1.0, 1.5, 2.0, 2.5, 3.0}


def test_a_generator_that_fails_is_not_measured(simulated: Callable[..., Simulated]) -> None:
    def broken(n: int) -> float:
        raise RuntimeError("no such kernel")

    with pytest.raises(GenerationError, match=r'batch_size: "auto" .* RuntimeError: no such kernel\. Mend .* a number'):
        measure(simulated(broken), 8, rng=0)
    with pytest.raises(GenerationError, match='"auto" found no room in memory for a single output'):
        measure(simulated(lambda n: 2.0, room=0), 8, rng=0)

    def wrong(n: int) -> float:
        raise ShapeError("outputs: expected others")

    with pytest.raises(ShapeError, match="expected others"):
        measure(simulated(wrong), 8, rng=0)


def test_a_batch_is_of_use_up_to_a_round() -> None:
    planned = plan(96, dim=500)
    assert largest(planned, 96) == max(planned.draws, planned.size) == 16
    assert largest(None, 96) == 64
    assert largest(None, 20) == 20


def _session(generator: Simulated, **options: Any) -> Session:
    return Session(generator, OBJECTIVE, **{"rng": 3, "total_trials": 48, "batch_size": "auto"} | options)


def test_a_study_keeps_the_size_that_was_measured(simulated: Callable[..., Simulated]) -> None:
    session = _session(simulated(lambda n: max(4, n)))
    record = session.begin(None, study="study 'a'")
    assert "batch_size" not in record
    record = session.measured(record, study="study 'a'")
    assert (record["batch_size"], session.batch_size) == (4, 4)
    other = _session(generator := simulated(lambda n: 2.0))  # on which a larger size would be found
    assert other.measured(other.begin(record, study="study 'a'"), study="study 'a'") == record
    assert (other.batch_size, generator.sizes) == (4, [])
    given = _session(generator, batch_size=2)
    assert given.measured(given.begin(record, study="study 'a'"), study="study 'a'")["batch_size"] == 4
    assert given.batch_size == 2


def test_a_number_is_not_measured(simulated: Callable[..., Simulated]) -> None:
    session = _session(generator := simulated(lambda n: 2.0), batch_size=7)
    record = session.begin(None, study="study 'a'")
    assert session.measured(record, study="study 'a'") == record
    assert (session.batch_size, generator.sizes) == (7, [])


def test_a_box_of_ones_own_has_larger_batches(simulated: Callable[..., Simulated]) -> None:
    generator = simulated(lambda n: 2.0)
    space = SurrogateSpace.sample(generator.prior, seeds=3, rng=0)
    session = _session(generator, space=space, total_trials=200)
    session.measured(session.begin(None, study="study 'a'"), study="study 'a'")
    assert session.batch_size == 64


@pytest.mark.parametrize("altered", [0, "eight", 1.5, True, [8], 10**400])
def test_an_altered_record_is_refused(altered: object) -> None:
    with pytest.raises(MismatchError, match=r"study: its record was altered\. batch_size: expected a whole number"):
        recorded_size({"batch_size": altered}, "study")
    with pytest.raises(MismatchError, match="study: its record was altered"):
        recorded_size([altered], "study")  # type: ignore[arg-type]
    assert recorded_size({"batch_size": 8}, "study") == 8
    assert recorded_size(None, "study") is None


@pytest.mark.parametrize(("given", "message"), [("8", "whole number or \"auto\", got '8'"), (0, "at least 1, got 0")])
def test_other_words_are_refused(given: object, message: str) -> None:
    with pytest.raises(ArgumentError, match=f"batch_size: expected .*{message}|batch_size: expected {message}"):
        Session(FunctionGenerator(lambda z: z, (12,)), OBJECTIVE, rng=0, total_trials=8, batch_size=given)  # type: ignore[arg-type]
