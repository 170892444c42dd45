"""What every host has to keep, as one class to subclass: the promises of `surrogate_ax.execution.loop.Host`.

    class TestMine(HostContract):
        @pytest.fixture
        def case(self) -> Case:
            return MyCase(...)

`shared_host_contract` has more, for hosts of several workers at once and for hosts that keep pictures.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from surrogate_ax import SurrogateSpace
from surrogate_ax.errors import MismatchError
from surrogate_ax.latents.seeds import Draw, Stored
from surrogate_ax.policies.history import Proposal
from tests.contracts.host_case import (
    EVERY_KIND,
    GENERATOR,
    HALF,
    OBJECTIVE,
    PLAIN,
    PRIOR,
    PROPOSALS,
    SEVERAL,
    SPACE,
    Case,
    D,
    K,
    ask,
    check_columns,
    check_same,
    draws_of,
    evaluated,
    report,
    round_with,
    terms_of,
)


class HostContract:
    """Subclass it and give `case`."""

    @pytest.fixture
    def case(self) -> Case:
        raise NotImplementedError

    def test_a_new_study_has_an_empty_history(self, case: Case) -> None:
        host = case.open()
        history = host.history()
        assert not history.terms, "nothing was told"
        assert {name: column.shape for name, column in history.values.items()} == {
            metric.name: (0,) for metric in OBJECTIVE.metrics
        }, "every metric has a column, of no rows"
        assert not history.running, "nothing was asked"
        assert history.round.dtype.kind == "i", "rounds are whole numbers, also of no rows"
        assert host.reclaim() == 0, "no worker died"

    def test_candidates_are_of_the_round_and_recorded_when_ask_returns(self, case: Case) -> None:
        asked = ask(case.open(), 3, round_with(HALF, number=2, proposals=PROPOSALS[:2]))
        bank = SPACE.bank.extend([seed for terms in terms_of(asked) for seed, _ in terms])
        norms = np.diag(bank.gram(bank.rows(terms_of(asked))))
        np.testing.assert_allclose(norms, 1, atol=1e-9, err_msg="rows have unit norm")
        for candidate, found in zip(asked, case.asked(asked), strict=True):
            recipe = found.recipe
            assert candidate.round == 2, "candidates are of the round that was asked for"
            assert recipe.terms == candidate.terms, "the recipe has the candidate's terms"
            assert recipe.condition == candidate.condition, "the recipe has the candidate's condition"
            assert recipe.generator == GENERATOR.fingerprint, "the recipe names its generator"

    @pytest.mark.parametrize("space", [SPACE, HALF], ids=["box", "half"])
    def test_points_lie_in_the_box_where_their_parameters_say(self, case: Case, space: SurrogateSpace) -> None:
        round = round_with(space)
        asked = ask(case.open(), 2, round)
        assert len(set(terms_of(asked))) == 2, "points differ"
        assert len(set(draws_of(asked))) == (2 if space.fresh else 0), "a draw of its own a point, where there is one"
        for candidate, found in zip(asked, case.asked(asked), strict=True):
            draw = candidate.terms[-1][0]
            assert isinstance(draw, Draw)
            expected = round.point(found.params, draw)
            assert candidate.terms == expected, "a point is where its parameters say"

    @pytest.mark.parametrize("space", [SPACE, PLAIN], ids=["box", "draws"])
    def test_searched_conditions_are_values_of_their_kind(self, case: Case, space: SurrogateSpace) -> None:
        case = case.another(conditions=EVERY_KIND)
        candidates = ask(case.open(), 3, round_with(space, proposals=PROPOSALS[2:3]))
        for candidate, recorded in zip(candidates, case.asked(candidates), strict=True):
            condition, params = candidate.condition, recorded.params
            for found in (condition, recorded.recipe.condition, {name: params[name] for name in condition}):
                kinds = {name: type(value) for name, value in found.items()}
                assert kinds == {"guidance": float, "steps": int, "strength": float, "prompt": str}, "types are kept"
                assert found == condition, "candidate, recipe and parameters agree"
            assert condition["guidance"] in (1.0, 1.5, 2.0, 2.5, 3.0), "steps are kept"
            assert 2 <= condition["steps"] <= 5, "bounds are kept"
            assert 0.1 <= condition["strength"] <= 10.0, "bounds of a logarithmic range are kept"
            assert condition["prompt"] in ("a cat", "a dog", "a hen"), "a choice is one of its values"

    def test_proposals_come_first_and_once_as_they_are(self, case: Case) -> None:
        host, round = case.open(), round_with(proposals=PROPOSALS)
        asked = ask(host, 2, round)
        host.tell(asked, evaluated(asked, 1.0, 2.0))
        more = ask(host, 1, round)
        host.tell(more, evaluated(more, 3.0))
        asked += more + ask(case.open(), 3, round)  # in a process of its own
        assert terms_of(asked)[:4] == round.terms, "proposals come first, in order, exactly"
        assert not set(terms_of(asked)[4:]) & set(round.terms), "each comes once"
        for candidate, found, proposal in zip(asked, case.asked(asked[:4]), PROPOSALS, strict=False):
            for condition in (candidate.condition, found.recipe.condition, found.params):
                kept = {name: condition[name] for name in proposal.condition}
                assert kept == proposal.condition, "a proposal's condition is the candidate's, and the trial's"

    def test_every_round_has_proposals_of_its_own(self, case: Case) -> None:
        host = case.open()
        first = ask(host, 2, round_with(proposals=PROPOSALS[:2]))
        host.tell(first, evaluated(first, 1.0, 2.0))
        second = ask(host, 2, round_with(number=1, proposals=PROPOSALS[:2]))
        assert terms_of(second) == terms_of(first), "proposals of another round are not taken for those of this one"
        host.tell(second, evaluated(second, 3.0, 4.0))
        assert host.history().round.tolist() == [0, 0, 1, 1], "each is counted in its own round"

    def test_plain_draws_are_new_every_time(self, case: Case) -> None:
        host = case.open()
        asked = ask(host, 2, round_with(PLAIN))
        host.tell(asked, evaluated(asked, 1.0, 2.0))
        asked += (more := ask(host, 2, round_with(PLAIN, number=1)))
        host.tell(more[:1], evaluated(more[:1], 3.0))
        host.give_back(more[1:])
        asked += ask(case.open(), 2, round_with(PLAIN, number=1))
        kept = [*asked[:3], *asked[4:]]
        assert all(len(terms) == 1 and terms[0][1] == 1.0 for terms in terms_of(kept)), "a draw is one seed"
        assert len(set(draws_of(kept))) == len(kept), "draws differ, in later rounds and other processes too"

    def test_equal_seeds_give_equal_draws(self, case: Case) -> None:
        first, second, third = (
            draws_of(ask(place.open(rng=rng), 2, round_with(PLAIN)))
            for place, rng in ((case, 4), (case.another(), 4), (case.another(), 5))
        )
        assert first == second, "equal seeds give equal draws"
        assert not set(first) & set(third), "another seed gives others"

    def test_what_is_told_stands_in_the_order_of_ending(self, case: Case) -> None:
        host = case.open()
        a, b, c = ask(host, 3, round_with())
        host.tell([b, a], evaluated([b, a], 4.0, 1.0))
        (d,) = ask(host, 1, round_with(number=1))
        host.tell([d], evaluated([d], 3.0))
        host.tell([c], evaluated([c], 2.0))
        for history in (host.history(), case.history()):
            assert list(history.terms) == terms_of([b, a, d, c]), "rows stand in the order of ending"
            assert history.round.tolist() == [0, 0, 1, 0], "with their rounds"
            assert set(history.values) == {"score", "cost", "length"}, "every metric is there"
            assert history.values["score"].tolist() == [4.0, 1.0, 3.0, 2.0], "values of the optimised metric"
            conditions = [candidate.condition for candidate in (b, a, d, c)]
            assert list(history.conditions) == conditions, "with their conditions"
            assert history.values["cost"].tolist() == [1.0, 0.25, 0.75, 0.5], "values of a bounded metric"
            assert history.values["length"].tolist() == [100.0, 101.0, 100.0, 100.0], "values of a tracked metric"

    def test_a_failed_item_counts_and_has_no_values(self, case: Case) -> None:
        host = case.open()
        asked = ask(host, 3, round_with(size=3))
        host.tell(asked, evaluated(asked, 1.0, 2.0, 3.0, failed=[1]))
        for history in (host.history(), case.history()):
            assert history.ended(0) == 3, "a failed item counts"
            for name, column in history.values.items():
                assert np.isnan(column).tolist() == [False, True, False], f"only the failed item has no {name}"

    def test_estimates_are_kept_and_decide_what_is_stopped(self, case: Case) -> None:
        host = case.open()
        asked = ask(host, 4, round_with(size=4))
        a, b, c, d = asked
        report(host, [a, b, c], 2, [0.5, -1.0, 0.25])
        stop = np.asarray(host.should_stop([a, b, c]))
        assert (stop.shape, stop.dtype) == ((3,), np.dtype(bool)), "one boolean a candidate"
        assert stop.tolist() == [False, True, False], "the rule of the study decides"
        host.tell([b], evaluated([b], -1.0, stopped=[0]))
        report(host, [a], 3, [0.75], cost=5.0)  # breaks its bound
        host.tell([a, c, d], evaluated([a, c, d], 2.0, 3.0, 4.0, failed=[1]))
        for history in (host.history(), case.history()):
            message = "in the order of ending: stopped, done, failed, without estimates"
            expected = {2: [-1.0, 0.5, 0.25, np.nan], 3: [np.nan, 0.75, np.nan, np.nan]}
            check_columns(history.checkpoint_estimates, expected, message)
            stopped = {"score": -1.0, "cost": -0.25, "length": 100.0}
            of_stopped = {name: [value, np.nan, np.nan, np.nan] for name, value in stopped.items()}
            check_columns(history.estimates, of_stopped, "estimates are those of what was stopped")
            for name, column in history.values.items():
                assert np.isnan(column).tolist() == [True, False, True, False], f"a stopped item has no {name}"

    def test_another_process_finds_the_same_history(self, case: Case) -> None:
        host = case.open()
        asked = ask(host, 4, round_with(HALF, proposals=PROPOSALS[:1]))
        report(host, asked[:2], 2, [-1.0, 0.5])
        for at, kinds in (([2], {}), ([0, 3], {"stopped": [0], "failed": [1]}), ([1], {})):
            some = [asked[i] for i in at]
            host.tell(some, evaluated(some, *map(float, at), **kinds))
        check_same(case.history(), host.history(), "what a reader finds")
        check_same(case.open().history(), host.history(), "what another process finds")

    def test_several_metrics_are_optimised(self, case: Case) -> None:
        case = case.another(SEVERAL)
        host = case.open()
        asked = ask(host, 2, round_with())
        values = {"score": np.array([1.0, 2.0]), "loss": np.array([3.0, 4.0]), "length": np.array([5.0, 6.0])}
        host.report_estimates(asked, 2, values)
        told = evaluated(asked, 0.0, 0.0)
        host.tell(asked, dataclasses.replace(told, values=values, objective=SEVERAL))
        for history in (host.history(), case.history()):
            check_columns(history.values, values, "values of every metric")
            assert not history.checkpoint_estimates, "estimates are kept of an only metric to optimise"

    def test_telling_twice_changes_nothing(self, case: Case) -> None:
        host = case.open()
        asked = ask(host, 2, round_with(size=2))
        host.tell(asked, evaluated(asked, 1.0, 2.0, failed=[1]))
        before = host.history()
        host.tell(asked, evaluated(asked, 3.0, 4.0))
        host.give_back(asked)
        for history in (host.history(), case.history()):
            check_same(history, before, "what was told stands, and is not given back")

    def test_what_is_given_back_was_never_asked(self, case: Case) -> None:
        host, round = case.open(), round_with(size=4, proposals=PROPOSALS[:3])
        asked = ask(host, 4, round)
        host.give_back([asked[1], asked[3]])
        host.give_back([asked[3]])
        assert not host.history().terms, "what was given back has not ended"
        assert not host.history().running, "nor does it run"
        again = ask(host, 2, round)
        assert terms_of(again)[0] == PROPOSALS[1].terms, "its proposal is asked again"
        assert again[0].condition["steps"] == 4, "with its condition"
        assert terms_of(again)[1] not in round.terms, "its place is free for a point"
        host.tell(asked, evaluated(asked, 1.0, 2.0, 3.0, 4.0))
        assert list(host.history().terms) == terms_of([asked[0], asked[2]]), "a late tell is dropped"
        host.tell(again, evaluated(again, 5.0, 6.0))
        for history in (host.history(), case.history()):
            assert list(history.terms) == terms_of([asked[0], asked[2], *again]), "every place was filled once"
            assert history.values["score"].tolist() == [1.0, 3.0, 5.0, 6.0], "with what was told of it"
        assert case.open().reclaim() == 0, "what was given back is not taken for a dead worker's"

    def test_candidates_of_a_dead_worker_are_asked_again_first_as_they_were(self, case: Case) -> None:
        first, round = case.open(), round_with(HALF, proposals=PROPOSALS[:2])
        asked = ask(first, 4, round)
        first.tell(asked[3:], evaluated(asked[3:], 1.0))
        report(first, asked[:1], 2, [0.5])
        case.kill(first)
        second = case.open(rng=1)
        assert second.reclaim() == 3, "what a dead worker ran is counted"
        assert len(second.history().terms) == 1, "what it told stands"
        assert not second.history().running, "the rest runs nowhere"
        later = round_with(HALF, number=1, proposals=PROPOSALS[:1])
        again = [*ask(second, 1, later), *ask(second, 3, later)]
        assert terms_of(again) == [*terms_of(asked[:3]), PROPOSALS[0].terms], "they come first, as they were"
        assert [c.condition for c in again[:3]] == [c.condition for c in asked[:3]], "with their conditions"
        assert [c.round for c in again] == [0, 0, 0, 1], "in their own round"
        assert [found.recipe.terms for found in case.asked(again)] == terms_of(again), "and with recipes"
        report(second, again[:1], 2, [0.75])
        second.tell(again, evaluated(again, 2.0, 3.0, 4.0, 5.0))
        for history in (second.history(), case.history()):
            assert list(history.terms) == terms_of([asked[3], *again]), "each is told once, behind what was told before"
            assert history.checkpoint_estimates[2][1] == 0.75, "its estimates are those of who ran it last"
            assert history.values["score"].tolist() == [1.0, 2.0, 3.0, 4.0, 5.0], "by who ran it last"
        assert case.open().reclaim() == 0, "nothing is left"

    def test_a_candidate_survives_several_workers(self, case: Case) -> None:
        round = round_with(HALF, size=2, proposals=PROPOSALS[:1])
        seen = []
        for _ in range(3):
            host = case.open()
            host.reclaim()
            seen.append(terms_of(ask(host, 2, round)))
            case.kill(host)
        assert seen == seen[:1] * 3, "who takes a candidate over may die as well"
        host = case.open()
        host.reclaim()
        asked = ask(host, 2, round)
        host.give_back(asked)
        again = ask(host, 2, round)
        assert terms_of(again)[0] == PROPOSALS[0].terms, "what was taken over and given back is asked again"
        assert PROPOSALS[0].terms not in terms_of(again)[1:], "and once"
        host.tell(again, evaluated(again, 1.0, 2.0))
        assert list(host.history().terms) == terms_of(again), "in the end each place is told once"

    def test_the_number_of_axes_is_for_life(self, case: Case) -> None:
        host = case.open()
        ask(host, 1, round_with())
        other = round_with(SurrogateSpace.sample(PRIOR, seeds=K + 1, rng=0), number=1)
        for opened in (host, case.open()):
            with pytest.raises(MismatchError, match=rf"K = {K}\b.*K = {K + 1}\b"):
                opened.ask(1, other)

    def test_rows_of_stored_seeds_name_them(self, case: Case) -> None:
        inner = torch.randn(K, D, generator=torch.Generator().manual_seed(0))
        space = SurrogateSpace.from_latents(PRIOR, PRIOR.from_inner(inner), rng=0, repair=True)
        host, (axis, *_) = case.open(), space.bank.terms(np.eye(K))
        asked = ask(host, 2, round_with(space, proposals=[Proposal(axis)]))
        host.tell(asked, evaluated(asked, 1.0, 2.0))
        for history in (host.history(), case.history()):
            assert list(history.terms) == terms_of(asked), "terms of stored seeds are kept"
            named = {seed for terms in history.terms for seed, _ in terms}
            assert named == set(space.bank.seeds), "they name the seeds"
            assert all(isinstance(seed, Stored) for seed in named), "as stored ones"
        if case.keeps_seeds:
            bank = case.open().history().bank(PRIOR)
            for sha256, row in space.bank.tensors.items():
                torch.testing.assert_close(bank.tensors[sha256], row, rtol=0, atol=0)
