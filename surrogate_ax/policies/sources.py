"""Earlier searches as evidence: their latents and scores, worth as much as the scores of the present search tell.

A source is what is taken over of one of them: rows, and scores by its own ranking, so that another metric, direction,
prompt or number of steps does no harm. `process` learns how much each source has in common with the present search, and
`warm` begins with their best latents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from surrogate_ax.arrays import Array
from surrogate_ax.checks import mapping, number, show, text, whole
from surrogate_ax.errors import ArgumentError, MismatchError
from surrogate_ax.latents.seeds import Terms, seed_from_json, seed_to_json


@dataclass(frozen=True)
class Source:
    """What is taken over of one earlier search: n rows, best first.

    Args:
        name: what it is called.
        terms: coefficient rows.
        scores: (n,) larger is better, of mean 0 and deviation 1 over the rows that it was ranked among.
        conditions: n mappings of call arguments; empty where none were searched.
    """

    name: str
    terms: Sequence[Terms]
    scores: Array
    conditions: Sequence[Mapping[str, Any]] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """What a study records: every seed once, rows as places and coefficients."""
        seeds = list(dict.fromkeys(seed for row in self.terms for seed, _ in row))
        place = {seed: i for i, seed in enumerate(seeds)}
        return {
            "name": self.name,
            "seeds": [seed_to_json(seed) for seed in seeds],
            "rows": [[[place[seed] for seed, _ in row], [c for _, c in row]] for row in self.terms],
            "scores": [round(float(score), 9) for score in self.scores],
            "conditions": [dict(condition) for condition in self.conditions],
        }

    @classmethod
    def from_json(cls, record: Any) -> Source:
        """The inverse of `to_json`.

        Args:
            record: what `to_json` gave.

        Raises:
            MismatchError: something else.
        """
        try:
            seeds = [seed_from_json(seed) for seed in record["seeds"]]
            terms = [
                tuple((seeds[whole(i, "seed", least=0)], number(c, "coefficient")) for i, c in zip(*row, strict=True))
                for row in record["rows"]
            ]
            scores = np.array([number(score, "score") for score in record["scores"]], dtype=np.float64)
            conditions = [mapping(condition, "condition") for condition in record["conditions"]]
            if len(scores) != len(terms) or len(conditions) not in (0, len(terms)):
                raise ArgumentError("rows, scores and conditions of different length")
            return cls(text(record["name"], "name"), terms, scores, conditions)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, ArgumentError) as error:
            raise MismatchError(
                f"warm: the study's record of an earlier search was altered ({error}): {show(record)}."
            ) from error
