"""What the contract of hosts is checked on: one small box, made-up values, and a `Case` for each kind of storage.

No generator runs, so that histories can be compared bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from surrogate_ax import (
    Choice,
    FunctionGenerator,
    Gaussian,
    Metric,
    Objective,
    Range,
    Recipe,
    SurrogateSpace,
)
from surrogate_ax.execution.executor import Candidate
from surrogate_ax.execution.loop import Host
from surrogate_ax.latents.seeds import Draw, Terms
from surrogate_ax.policies.history import History, Proposal, Round
from surrogate_ax.scoring.evaluator import Evaluations

Conditions = Mapping[str, Range | Choice]
K, D = 3, 12
PRIOR = Gaussian((D,))
GENERATOR = FunctionGenerator(lambda z, conditions: z, PRIOR, conditional=True)
OBJECTIVE = Objective(
    Metric("score"), Metric("cost", "at_most", 1.0), Metric("length", "track"), score=lambda outputs, conditions: {}
)
SEVERAL = Objective(
    Metric("score"), Metric("loss", "minimize"), Metric("length", "track"), score=lambda outputs, conditions: {}
)
CONDITIONS: Conditions = {"steps": Range(2, 5), "prompt": Choice(["a cat", "a dog", "a hen"])}
EVERY_KIND: Conditions = {
    **CONDITIONS,
    "guidance": Range(1.0, 3.0, step=0.5),
    "strength": Range(0.1, 10.0, log=True),
}
SPACE = SurrogateSpace.sample(PRIOR, seeds=K, rng=0)
HALF = SurrogateSpace(SPACE.bank, SPACE.frame, fresh=0.5)
PLAIN = SurrogateSpace(SPACE.bank, SPACE.frame, fresh=1.0)
AXES = SPACE.bank.terms(np.eye(K))
PROPOSALS = (
    Proposal(AXES[0], {"steps": 5, "prompt": "a hen"}),
    Proposal(((Draw(9, 9), 1.0),), {"steps": 4}),  # outside the box
    Proposal(SPACE.bank.terms([[3.0, 4.0, 0.0]])[0]),
    Proposal(AXES[0], {"prompt": "a dog"}),  # the first point again, under another condition
)


@dataclass(frozen=True)
class Asked:
    """What is recorded of a trial that has been asked.

    Args:
        recipe: its recipe.
        params: the host's parameters, u0 to u{K-2} and the searched conditions among them.
    """

    recipe: Recipe
    params: Mapping[str, Any]


class Case(Protocol):
    """An empty study of `GENERATOR` with K axes, `OBJECTIVE` and `CONDITIONS`, on one kind of storage.

    Its hosts stop candidates whose last estimate of "score" is below 0. They choose points of the box themselves,
    any number of them at once.
    """

    keeps_seeds: bool  # whether a host that is given no tensors finds those of stored seeds

    def another(self, objective: Objective = OBJECTIVE, conditions: Conditions = CONDITIONS) -> Case:
        """Another empty study."""
        ...

    def open(self, *, rng: int = 0) -> Host[Any]:
        """A new host, as another process makes one. Where workers cannot share a study, earlier hosts have ended."""
        ...

    def kill(self, host: Any) -> None:
        """Let it look as if the process of a host had been killed."""
        ...

    def history(self) -> History:
        """What a reader finds that makes no host."""
        ...

    def asked(self, candidates: Sequence[Candidate[Any]]) -> list[Asked]:
        """What another process reads of n candidates."""
        ...


class ShowingCase(Case, Protocol):
    """A case whose host keeps pictures."""

    def open_showing(self, stored: Callable[[], None]) -> Host[Any]:
        """A new host that keeps pictures, and calls `stored` whenever it has kept one."""
        ...

    def picture(self, candidate: Candidate[Any]) -> bytes | None:
        """A candidate's picture, as another process finds it."""
        ...


def round_with(
    space: SurrogateSpace = SPACE, *, number: int = 0, size: int = 16, proposals: Sequence[Proposal] = ()
) -> Round:
    return Round(space, number, size, proposals)


def ask(host: Host[Any], n: int, round: Round) -> list[Candidate[Any]]:
    """n candidates, in as many batches as the host likes."""
    asked: list[Candidate[Any]] = []
    while len(asked) < n and (more := host.ask(n - len(asked), round)):
        assert len(more) <= n - len(asked), f"expected at most {n - len(asked)} candidates, got {len(more)}"
        asked.extend(more)
    assert len(asked) == n, f"expected {n} candidates in the end, got {len(asked)}"
    return asked


def evaluated(candidates: Sequence[Candidate[Any]], *scores: float, **status: Sequence[int]) -> Evaluations:
    """Evaluations with these scores; the other metrics follow from them.

    Args:
        candidates: n.
        *scores: n.
        **status: numbers of the candidates that were `stopped` after 2 steps, or `failed`.
    """
    n, score = len(candidates), np.array(scores, dtype=np.float64)
    failed, stopped = status.get("failed", ()), status.get("stopped", ())
    score[list(failed)] = np.nan  # of the score alone: what else was measured is no result either
    kinds = ["failed" if i in failed else "stopped" if i in stopped else "done" for i in range(n)]
    order = np.arange(n, dtype=np.float64)
    values = {"score": score, "cost": np.array(scores) / 4, "loss": -np.array(scores), "length": 100 + order}
    return Evaluations(
        [None if i in failed else np.full((8, 8), i / (n + 1)) for i in range(n)],
        {metric.name: values[metric.name] for metric in OBJECTIVE.metrics},
        np.full(n, 4.0),
        np.full(n, 0.25),
        kinds,  # type: ignore[arg-type]
        dict.fromkeys(failed, "no score"),
        np.array([2 if kind == "stopped" else -1 for kind in kinds]),
        [candidate.condition for candidate in candidates],
        GENERATOR.fingerprint,
        OBJECTIVE,
    )


def terms_of(candidates: Sequence[Candidate[Any]]) -> list[Terms]:
    return [candidate.terms for candidate in candidates]


def draws_of(candidates: Sequence[Candidate[Any]]) -> list[Draw]:
    """Draws of candidates that the space's bank does not have."""
    new = [seed for terms in terms_of(candidates) for seed, _ in terms if seed not in SPACE.bank.seeds]
    return [seed for seed in new if isinstance(seed, Draw)]


def check_same(one: History, two: History, message: str) -> None:
    """Two histories agree in all that policies see, running rounds aside."""
    assert list(one.terms) == list(two.terms), message
    assert one.round.tolist() == two.round.tolist(), message
    assert list(one.conditions) == list(two.conditions), message
    for a, b in ((one.values, two.values), (one.estimates, two.estimates)):
        check_columns(a, b, message)
    check_columns(one.checkpoint_estimates, two.checkpoint_estimates, message)


def check_columns(one: Mapping[Any, Any], two: Mapping[Any, Any], message: str) -> None:
    assert set(one) == set(two), message
    for name, column in one.items():
        np.testing.assert_array_equal(column, two[name], err_msg=f"{message}: {name}")


def report(
    host: Host[Any], candidates: Sequence[Candidate[Any]], step: int, scores: list[float], *, cost: float = 0.5
) -> None:
    """Report estimates of every metric."""
    n = len(candidates)
    values = {"score": np.array(scores), "cost": np.full(n, cost), "length": np.full(n, 7.0)}
    host.report_estimates(candidates, step, values)
