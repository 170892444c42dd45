from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from surrogate_ax import Objective
from surrogate_ax.execution.executor import Candidate
from surrogate_ax.policies.history import History
from tests.contracts.host_case import CONDITIONS, GENERATOR, OBJECTIVE, Asked, Conditions
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
