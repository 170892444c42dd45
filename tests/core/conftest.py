"""What the tests of the core share: a budget for Hypothesis, and the smallest host of the loop."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import hypothesis
import numpy as np
import pytest

from surrogate_ax import Objective
from surrogate_ax.execution.executor import Candidate
from surrogate_ax.latents.seeds import Draw, Terms, draw_entropy
from surrogate_ax.policies.history import History, Round
from surrogate_ax.scoring.evaluator import Evaluations

# Many small properties: thirty examples each keep the suite quick. The rest is as in the conftest above.
hypothesis.settings.register_profile("core", hypothesis.settings(), max_examples=30)
hypothesis.settings.load_profile("core")


@dataclass
class Record:
    terms: Terms
    condition: dict[str, Any]
    round: int
    exact: bool
    state: str = "running"  # -> "ended" or "waiting"
    values: dict[str, float] = field(default_factory=dict)


class ListHost:
    """Uniform proposals, kept in a list: the methods of `Host` and nothing else."""

    def __init__(self, objective: Objective, *, rng: int = 0, guidance: tuple[float, ...] = ()) -> None:
        self.objective = objective
        self.rng = rng
        self.guidance = guidance
        self.records: list[Record] = []
        self.ended: list[int] = []
        self.asked: list[int] = []  # sizes of the batches
        self.turns: list[Round] = []

    def history(self) -> History:
        rows = [self.records[i] for i in self.ended]
        values = {m.name: np.array([row.values[m.name] for row in rows]) for m in self.objective.metrics}
        running = [record.round for record in self.records if record.state == "running"]
        rounds = np.array([row.round for row in rows], dtype=np.int64)
        return History(self.objective, [row.terms for row in rows], values, rounds, running)

    def ask(self, n: int, round: Round) -> list[Candidate[int]]:
        self.asked.append(n)
        self.turns.append(round)
        chosen = [i for i, record in enumerate(self.records) if record.state == "waiting"][:n]
        done = [record.terms for record in self.records if record.exact and record.round == round.number]
        exact = [terms for terms in round.terms if terms not in done]
        for number in range(len(self.records), len(self.records) + n - len(chosen)):
            rng = np.random.default_rng([self.rng, number])
            u = rng.uniform(size=(1, round.space.axes - 1))
            draws = [Draw(draw_entropy(self.rng, "trials"), number)] if round.space.fresh > 0 else []
            terms = exact.pop(0) if exact else None
            condition = {"guidance": float(rng.choice(self.guidance))} if self.guidance else {}
            own = terms or round.space.terms(u, draws=draws)[0]
            self.records.append(Record(own, condition, round.number, exact=terms is not None))
            chosen.append(number)
        for i in chosen:
            self.records[i].state = "running"
        rows = [self.records[i] for i in chosen]
        return [Candidate(i, row.terms, row.condition, row.round) for i, row in zip(chosen, rows, strict=True)]

    def report_estimates(self, cs: Any, step: int, values: Any) -> None:
        """Nothing is kept of estimates."""

    def should_stop(self, cs: Any) -> np.ndarray:
        return np.zeros(len(cs), dtype=bool)

    def tell(self, cs: list[Candidate[int]], ev: Evaluations) -> None:
        for i, candidate in enumerate(cs):
            record = self.records[candidate.ticket]
            if record.state != "running":
                continue
            record.state, failed = "ended", ev.status[i] == "failed"
            record.values = {name: np.nan if failed else float(column[i]) for name, column in ev.values.items()}
            self.ended.append(candidate.ticket)

    def give_back(self, cs: list[Candidate[int]]) -> None:
        for candidate in cs:
            self.records[candidate.ticket].state = "waiting"

    def reclaim(self) -> int:
        stale = [record for record in self.records if record.state == "running"]
        for record in stale:
            record.state = "waiting"
        return len(stale)


@pytest.fixture(scope="session")
def lol_gaussian() -> Callable[..., np.ndarray]:
    """The authors' transport of linear combinations; importing it warns of its annotations' age."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lolatents.lol_numpy import lol_gaussian
    return lol_gaussian


@pytest.fixture
def list_host() -> type[ListHost]:
    return ListHost
