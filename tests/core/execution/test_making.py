"""Outputs made in a thread: what is wanted first, then what may be wanted, each once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
import torch

from surrogate_ax import FunctionGenerator, Gaussian
from surrogate_ax.errors import GenerationError
from surrogate_ax.execution.asking import person
from surrogate_ax.execution.making import Maker, Point
from surrogate_ax.latents.bank import Bank
from surrogate_ax.latents.seeds import Draw
from surrogate_ax.scoring.evaluator import Evaluator

PRIOR = Gaussian((4,))


def point(i: int) -> Point:
    return Point(((Draw(1, i), 1.0),), {})


class Studio:
    """A maker whose generator waits for permission, and tells which batches it was given."""

    def __init__(self, *, batch_size: int = 4) -> None:
        self.batches: list[int] = []
        self.may = threading.Semaphore(0)
        evaluator = Evaluator(FunctionGenerator(self.make, PRIOR, check_rows=False), person())
        self.maker = Maker(evaluator, Bank(PRIOR), batch_size=batch_size)

    def found(self, point: Point) -> None:
        """Wait for a point without wanting it."""
        end = time.monotonic() + 10
        while self.maker.find(point) is None:
            assert time.monotonic() < end
            time.sleep(0.01)

    def make(self, z: torch.Tensor) -> torch.Tensor:
        assert self.may.acquire(timeout=10)
        self.batches.append(len(z))
        return torch.where(z[:, :1] > 1.5, torch.nan, z)


@pytest.fixture
def studio() -> Iterator[Studio]:
    one = Studio()
    yield one
    one.may.release(100)
    one.maker.stop()


def test_outputs_come_in_batches_and_are_what_their_points_make(studio: Studio) -> None:
    points = [point(i) for i in range(6)]
    studio.maker.want(points)
    assert studio.maker.find(points[0]) is None
    assert studio.maker.wait(points[5], 0.01) is None
    studio.may.release(2)
    made = studio.maker.wait(points[5], 10)
    assert made is not None
    assert (studio.batches, made.batch, made.nfe) == ([4, 2], 2, 1.0)
    expected = Bank(PRIOR).latents_of([points[5].terms])
    assert torch.equal(made.output, next(iter(expected.values()))[0])


def test_what_may_be_wanted_is_made_afterwards_in_halves_and_found_later(studio: Studio) -> None:
    ahead = [[point(i) for i in (4, 5, 6, 7)], []]
    studio.maker.want([point(i) for i in range(4)], ahead=lambda: ahead.pop(0))
    studio.may.release(3)
    studio.found(point(7))
    assert studio.batches == [4, 2, 2]
    studio.maker.want([point(7), point(8)])
    studio.may.release(1)
    assert studio.maker.wait(point(8), 10) is not None
    assert studio.batches == [4, 2, 2, 1]


def test_what_is_wanted_now_comes_before_what_may_be(studio: Studio) -> None:
    studio.maker.want([point(0)], ahead=lambda: [point(i) for i in range(1, 9)])
    studio.may.release(1)
    assert studio.maker.wait(point(0), 10) is not None
    studio.maker.want([point(20)])
    studio.may.release(2)  # for the half that has begun, and for this
    assert studio.maker.wait(point(20), 10) is not None
    assert studio.maker.find(point(8)) is None


def test_an_output_that_is_not_finite_has_failed(studio: Studio) -> None:
    studio.may.release(100)
    rows = [next(iter(Bank(PRIOR).latents_of([point(i).terms]).values()))[0, 0] for i in range(60)]
    bad = next(i for i, first in enumerate(rows) if first > 1.5)
    made = studio.maker.wait(point(bad), 10)
    assert made is not None
    assert made.output is None
    assert made.reason == "the output holds NaN or infinity"


def test_an_error_of_the_search_is_raised_where_it_is_waited_for(studio: Studio) -> None:
    def ahead() -> list[Point]:
        raise GenerationError("no more")

    studio.may.release(1)
    studio.maker.want([point(0)], ahead=ahead)
    with pytest.raises(GenerationError, match="no more"):
        studio.maker.wait(point(1), 10)
