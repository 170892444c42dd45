"""What further hosts have to keep that several workers share, or that keep pictures of the outputs.

Subclass these beside `HostContract`; a host without the ability has nothing to do with them.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from surrogate_ax.execution.executor import Candidate
from surrogate_ax.execution.loop import Host
from tests.contracts.host_case import (
    PROPOSALS,
    Case,
    ShowingCase,
    ask,
    evaluated,
    report,
    round_with,
    terms_of,
)


class SharedContract:
    """For hosts of several workers; subclass it beside `HostContract`."""

    def test_running_rounds_of_others_are_in_the_history(self, case: Case) -> None:
        one, two = case.open(), case.open(rng=1)
        mine, others = ask(one, 2, round_with(number=0)), ask(two, 1, round_with(number=1))
        assert sorted(one.history().running) == [1], "what another worker runs is known"
        assert sorted(two.history().running) == [0, 0], "what a worker runs itself is its own affair"
        one.tell(mine[:1], evaluated(mine[:1], 1.0))
        one.give_back(mine[1:])
        assert sorted(two.history().running) == [], "what has ended or was given back runs no more"
        two.tell(others, evaluated(others, 2.0))
        for host in (one, two):
            assert list(host.history().terms) == terms_of([mine[0], others[0]]), "all see all that has ended"

    def test_workers_see_trials_in_the_order_of_ending(self, case: Case) -> None:
        one, two = case.open(), case.open(rng=1)
        (a,), (b,) = ask(one, 1, round_with()), ask(two, 1, round_with())
        (c,), (d,) = ask(one, 1, round_with()), ask(two, 1, round_with())
        ended: list[Candidate[Any]] = []
        for host, candidate in ((two, d), (one, a), (two, b), (one, c)):
            host.tell([candidate], evaluated([candidate], 1.0))
            ended.append(candidate)
            for reader in (one, two):
                assert list(reader.history().terms) == terms_of(ended), "whoever asked, rows stand as they ended"

    def test_workers_share_the_proposals_and_places_of_a_round(self, case: Case) -> None:
        one, two, round = case.open(), case.open(rng=1), round_with(size=5, proposals=PROPOSALS[:3])
        asked = [*ask(one, 2, round), *ask(two, 2, round), *ask(one, 1, round)]
        assert terms_of(asked)[:3] == round.terms, "no proposal is asked twice"
        assert len(set(terms_of(asked))) == 5, "no point either"
        assert [*one.ask(2, round), *two.ask(2, round)] == [], "none is left where others hold the rest"
        one.give_back(asked[:1])
        (again,) = two.ask(2, round)
        assert again.terms == round.terms[0], "what one worker gives back, another takes"

    def test_workers_that_ask_at_once_take_nothing_twice(self, case: Case) -> None:
        hosts, round = [case.open(rng=rng) for rng in range(2)], round_with(size=6, proposals=PROPOSALS)

        def take(host: Host[Any]) -> list[Candidate[Any]]:
            asked: list[Candidate[Any]] = []
            while more := host.ask(1, round):
                asked.extend(more)
            return asked

        with ThreadPoolExecutor(2) as pool:
            asked = [candidate for batch in pool.map(take, hosts) for candidate in batch]
        proposed = [terms for terms in terms_of(asked) if terms in round.terms]
        assert sorted(map(repr, proposed)) == sorted(map(repr, round.terms)), "every proposal was taken once"
        assert len(asked) == 6, "every place was taken once"

    def test_a_living_worker_keeps_its_candidates(self, case: Case) -> None:
        one, two = case.open(), case.open(rng=1)
        asked = ask(one, 2, round_with())
        assert two.reclaim() == 0, "the worker is alive"
        one.tell(asked, evaluated(asked, 1.0, 2.0))
        assert len(two.history().terms) == 2, "and tells what it ran"

    def test_what_was_taken_away_is_told_by_who_has_it(self, case: Case) -> None:
        one, two = case.open(), case.open(rng=1)
        asked = ask(one, 2, round_with(size=2, proposals=PROPOSALS[:1]))
        case.kill(one)
        two.reclaim()
        one.tell(asked[:1], evaluated(asked[:1], 1.0))  # it was suspended, and is not dead after all
        again = ask(two, 2, round_with(size=2, proposals=PROPOSALS[:1]))
        one.tell(asked[1:], evaluated(asked[1:], 2.0))
        one.give_back(asked)
        assert not two.history().terms, "a tell after its candidate was taken away is dropped"
        two.tell(again, evaluated(again, 3.0, 4.0))
        for history in (one.history(), two.history(), case.history()):
            assert list(history.terms) == terms_of(again) == terms_of(asked), "each is told once"
            assert history.values["score"].tolist() == [3.0, 4.0], "by who has it"


class PreviewContract:
    """For hosts that keep pictures; subclass it beside `HostContract` and give a `ShowingCase`."""

    def test_a_picture_is_kept_before_the_value(self, case: ShowingCase) -> None:
        ended: list[int] = []
        host = case.open_showing(lambda: ended.append(len(host.history().terms)))
        asked = ask(host, 3, round_with())
        report(host, asked, 2, [1.0, 2.0, -1.0])
        told = evaluated(asked, 1.0, 2.0, -1.0, stopped=[2])
        host.tell(asked, told)
        assert ended == [0, 1, 2], "each picture is kept before its value, and after the values before it"
        pictures = [case.picture(candidate) for candidate in asked]
        assert None not in pictures, "everything that was made is shown"
        assert len(set(pictures)) == 3, "each by its own picture"
        host.tell(asked, told)
        assert len(ended) == 3, "pictures are kept once"
        assert [case.picture(candidate) for candidate in asked] == pictures, "and not changed"

    def test_a_failed_item_has_no_picture(self, case: ShowingCase) -> None:
        ended: list[int] = []
        host = case.open_showing(lambda: ended.append(len(host.history().terms)))
        asked = ask(host, 2, round_with())
        host.tell(asked, evaluated(asked, 1.0, 2.0, failed=[0]))
        assert [case.picture(candidate) is None for candidate in asked] == [True, False], "a failed item has none"
        assert ended == [1], "and the next one has its own"
