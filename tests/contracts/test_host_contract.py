"""A list keeps the contract of hosts, and the contract notices every host that does not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from surrogate_ax import Objective
from surrogate_ax.execution.executor import Candidate
from surrogate_ax.policies.history import History
from tests.contracts import broken_hosts as broken
from tests.contracts.host_case import CONDITIONS, GENERATOR, HALF, OBJECTIVE, SPACE, Asked, Conditions
from tests.contracts.host_contract import HostContract
from tests.contracts.list_host import ListHost, ListStudy, read
from tests.contracts.shared_host_contract import PreviewContract, SharedContract


class ListCase:
    """Studies in a list."""

    keeps_seeds = False

    def __init__(
        self, kind: type[ListHost] = ListHost, objective: Objective = OBJECTIVE, conditions: Conditions = CONDITIONS
    ) -> None:
        self.kind, self.study = kind, ListStudy(objective, conditions, GENERATOR.fingerprint)

    def another(self, objective: Objective = OBJECTIVE, conditions: Conditions = CONDITIONS) -> ListCase:
        return ListCase(self.kind, objective, conditions)

    def open(self, *, rng: int = 0) -> ListHost:
        return self.kind(self.study, rng=rng)

    def kill(self, host: ListHost) -> None:
        self.study.dead.append(host)

    def history(self) -> History:
        return read(self.study)

    def asked(self, candidates: Sequence[Candidate[int]]) -> list[Asked]:
        rows = [self.study.rows[candidate.ticket] for candidate in candidates]
        return [Asked(row.recipe, row.params) for row in rows]

    def open_showing(self, stored: Callable[[], None]) -> ListHost:
        return self.kind(self.study, stored=stored)

    def picture(self, candidate: Candidate[int]) -> bytes | None:
        return self.study.rows[candidate.ticket].picture


class TestList(HostContract, SharedContract, PreviewContract):
    @pytest.fixture
    def case(self) -> ListCase:
        return ListCase()


HOSTS, SHARED, PREVIEWS = HostContract(), SharedContract(), PreviewContract()
BROKEN = [
    (broken.Bare, HOSTS.test_a_new_study_has_an_empty_history),
    (broken.Unrecorded, HOSTS.test_candidates_are_of_the_round_and_recorded_when_ask_returns),
    (broken.Unnormalised, HOSTS.test_candidates_are_of_the_round_and_recorded_when_ask_returns),
    (broken.Repeating, HOSTS.test_proposals_come_first_and_once_as_they_are),
    (broken.Late, HOSTS.test_proposals_come_first_and_once_as_they_are),
    (broken.Deaf, HOSTS.test_proposals_come_first_and_once_as_they_are),
    (broken.Confused, HOSTS.test_every_round_has_proposals_of_its_own),
    (broken.Redrawing, HOSTS.test_plain_draws_are_new_every_time),
    (broken.Unseeded, HOSTS.test_equal_seeds_give_equal_draws),
    (broken.Numbered, HOSTS.test_what_is_told_stands_in_the_order_of_ending),
    (broken.Narrow, HOSTS.test_what_is_told_stands_in_the_order_of_ending),
    (broken.Hopeful, HOSTS.test_a_failed_item_counts_and_has_no_values),
    (broken.Forgiving, HOSTS.test_a_failed_item_counts_and_has_no_values),
    (broken.Hasty, HOSTS.test_estimates_are_kept_and_decide_what_is_stopped),
    (broken.Forgetful, HOSTS.test_estimates_are_kept_and_decide_what_is_stopped),
    (broken.Undecided, HOSTS.test_estimates_are_kept_and_decide_what_is_stopped),
    (broken.Private, HOSTS.test_another_process_finds_the_same_history),
    (broken.Estimating, HOSTS.test_several_metrics_are_optimised),
    (broken.Rewriting, HOSTS.test_telling_twice_changes_nothing),
    (broken.Holding, HOSTS.test_what_is_given_back_was_never_asked),
    (broken.Reviving, HOSTS.test_what_is_given_back_was_never_asked),
    (broken.Careless, HOSTS.test_candidates_of_a_dead_worker_are_asked_again_first_as_they_were),
    (broken.Inventive, HOSTS.test_candidates_of_a_dead_worker_are_asked_again_first_as_they_were),
    (broken.Once, HOSTS.test_a_candidate_survives_several_workers),
    (broken.Growing, HOSTS.test_the_number_of_axes_is_for_life),
    (broken.Flattening, HOSTS.test_rows_of_stored_seeds_name_them),
    (broken.Selfish, SHARED.test_running_rounds_of_others_are_in_the_history),
    (broken.Blind, SHARED.test_running_rounds_of_others_are_in_the_history),
    (broken.Numbered, SHARED.test_workers_see_trials_in_the_order_of_ending),
    (broken.Greedy, SHARED.test_workers_share_the_proposals_and_places_of_a_round),
    (broken.Racing, SHARED.test_workers_that_ask_at_once_take_nothing_twice),
    (broken.Grasping, SHARED.test_a_living_worker_keeps_its_candidates),
    (broken.Stubborn, SHARED.test_what_was_taken_away_is_told_by_who_has_it),
    (broken.Slow, PREVIEWS.test_a_picture_is_kept_before_the_value),
    (broken.Showing, PREVIEWS.test_a_failed_item_has_no_picture),
]
IN_A_SPACE = [
    (broken.Elsewhere, HOSTS.test_points_lie_in_the_box_where_their_parameters_say),
    (broken.Textual, HOSTS.test_searched_conditions_are_values_of_their_kind),
]


@pytest.mark.parametrize(("kind", "test"), BROKEN)
def test_the_contract_notices(kind: type[ListHost], test: Callable[[Any], None]) -> None:
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        test(ListCase(kind))


@pytest.mark.parametrize("space", [SPACE, HALF])
@pytest.mark.parametrize(("kind", "test"), IN_A_SPACE)
def test_the_contract_notices_in_a_space(kind: type[ListHost], test: Callable[..., None], space: Any) -> None:
    with pytest.raises(AssertionError):
        test(ListCase(kind), space)
