"""The history that grows with what ends, whatever the order in which it is seen."""

from __future__ import annotations

import math

import numpy as np
import pytest

from surrogate_ax import Gaussian, Metric, Objective, Recipe, SurrogateSpace
from surrogate_ax.errors import ArgumentError, MismatchError
from surrogate_ax.execution.records import (
    EndedTrial,
    HistoryBuilder,
    SearchRecord,
    SearchStatus,
    keep_seeds,
    refuse_old_seeds,
)
from surrogate_ax.latents.bank import Bank
from surrogate_ax.latents.seed_store import MemorySeedStore
from surrogate_ax.latents.seeds import Draw, Stored

OBJECTIVE = Objective(Metric("gain"), Metric("size", "track"), score=lambda outputs, conditions: None)


def _ended(number, gain=math.nan, stopped=False, estimates=None, **options):
    result = {"values": {"gain": gain, "size": 2.0}, "nfe": 3.0, "seconds": 0.5}
    result = {} if math.isnan(gain) else result | ({"stopped": 4} if stopped else {})
    recipe = options.pop("recipe", Recipe(((Draw(1, number), 1.0),), {}, {}, 1))
    return EndedTrial(number, recipe, options.pop("round", 0), result, estimates or {})


def _built(*groups):
    builder = HistoryBuilder(OBJECTIVE)
    for group in groups:
        builder.extend(group)
    return builder.build()


ROWS = [(1.0, _ended(0, 1.0)), (2.0, _ended(1)), (3.0, _ended(2, 3.0, stopped=True, estimates={4: 3.0}, round=1)),
        (4.0, _ended(3, 4.0, estimates={4: 2.5}, round=1))]  # fmt: skip


def _same(one, other):
    assert one.terms == other.terms
    assert list(one.conditions) == list(other.conditions)
    np.testing.assert_array_equal(one.round, other.round)
    for name in ("values", "estimates", "checkpoint_estimates"):
        mine, theirs = getattr(one, name), getattr(other, name)
        assert mine.keys() == theirs.keys()
        for key in mine:
            np.testing.assert_array_equal(mine[key], theirs[key])


def _under(number, condition):
    return float(number), _ended(number, 1.0, recipe=Recipe(((Draw(1, number), 1.0),), condition, {}, 1))


def test_conditions_stay_with_their_rows():
    built = _built([_under(0, {}), _under(1, {})], [_under(2, {"scale": 2.0}), _under(3, {"scale": 0.5})])
    assert list(built.conditions) == [{}, {}, {"scale": 2.0}, {"scale": 0.5}]
    assert list(built.rows(np.array([3, 1])).conditions) == [{"scale": 0.5}, {}]
    assert list(built.before(0).conditions) == []
    assert list(built.first(0, 3).conditions) == [{}, {}, {"scale": 2.0}]
    assert _built([_under(0, {}), _under(1, {})]).conditions == ()  # nothing is searched
    _same(_built([_under(1, {"scale": 2.0})], [_under(0, {"scale": 1.0})]), _built([_under(0, {"scale": 1.0}),
          _under(1, {"scale": 2.0})]))  # fmt: skip


def test_values_estimates_and_rounds_stand_in_their_columns():
    history = _built(ROWS)
    np.testing.assert_array_equal(history.values["gain"], [1, np.nan, np.nan, 4])
    np.testing.assert_array_equal(history.values["size"], [2, np.nan, np.nan, 2])
    np.testing.assert_array_equal(history.estimates["gain"], [np.nan, np.nan, 3, np.nan])
    np.testing.assert_array_equal(history.checkpoint_estimates[4], [np.nan, np.nan, 3, 2.5])
    assert history.round.tolist() == [0, 0, 1, 1]
    assert _built(ROWS[:2]).estimates == {}


@pytest.mark.parametrize("at", range(5))
def test_it_is_the_same_however_it_grew(at):
    _same(_built(ROWS[:at], ROWS[at:]), _built(ROWS))


def test_what_ended_earlier_and_is_seen_later_takes_its_place():
    _same(_built([ROWS[1], ROWS[3]], [ROWS[0], ROWS[2]]), _built(ROWS))
    _same(_built([ROWS[3]], [ROWS[2]], [ROWS[1]], [ROWS[0]]), _built(ROWS))


def test_a_history_does_not_change_when_more_ends():
    builder = HistoryBuilder(OBJECTIVE)
    builder.extend(ROWS[:2])
    before = builder.build(running=[7])
    builder.extend(ROWS[2:])
    assert (len(before.terms), list(before.running), len(before.values["gain"])) == (2, [7], 2)
    assert len(builder.build().terms) == 4


def test_old_rows_of_stored_seeds_are_refused_by_version():
    old = Recipe(((Stored("0" * 64), 1.0),), {}, {}, 1, version=1)
    assert len(_built([(1.0, _ended(5, 1.0, recipe=old))]).terms) == 1  # a report shows them still
    with pytest.raises(MismatchError, match=r"trial 5 holds stored seeds by version 1 .* version 2"):
        refuse_old_seeds([_ended(4, 1.0), _ended(5, 1.0, recipe=old)])


def test_a_record_sums_up():
    builder = HistoryBuilder(OBJECTIVE)
    builder.extend(ROWS)
    record = SearchRecord(builder.trials, builder.build(), SearchStatus(4, 1, 0, 2))
    assert (record.nfe, record.scored) == (9.0, 2)
    assert str(record.status) == "4 trials ended, 1 of them failed, 2 running in another process"
    assert not SearchStatus(0, 0, 0, 0)
    assert SearchRecord([], HistoryBuilder(OBJECTIVE).build(), SearchStatus(0, 0, 0, 0)).scored == 0


def test_stored_seeds_are_kept_or_refused():
    prior = Gaussian((32,))
    latents = SurrogateSpace.sample(prior, seeds=3, rng=0).bank.latents(np.eye(3))
    stored, store = SurrogateSpace.from_latents(prior, latents, rng=0).bank, MemorySeedStore()
    keep_seeds(None, Bank(prior, [Draw(0, 0)]), advice="do")
    keep_seeds(store, stored, advice="do")
    assert set(store) == set(stored.tensors)
    with pytest.raises(ArgumentError, match="3 stored seeds and nowhere to keep them; pass seeds="):
        keep_seeds(None, stored, advice="pass seeds=")
