"""What every pool of actors does with a batch: cut it into shards, send them out, and put the answers together.

n rows of a batch are cut into a shard for each actor that is up. Rows travel as keys and coefficients; outputs come
back whole, as previews, or as references, with their values if they were scored there.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from surrogate_ax.errors import UnsupportedError
from surrogate_ax.generation.conditions import Condition, check_conditions
from surrogate_ax.generation.described import described
from surrogate_ax.generation.finite import copied
from surrogate_ax.generation.protocols import Generated
from surrogate_ax.generation.scored import Scored
from surrogate_ax.latents.deferred import checked, rows_of
from surrogate_ax.latents.priors import Latents, Prior
from surrogate_ax.markup import one_line
from surrogate_ax.scoring.objective import Metric, Objective
from surrogate_ax_ray import cluster
from surrogate_ax_ray.messages import Message, pack_rows
from surrogate_ax_ray.pool import Lost, Order, Pool
from surrogate_ax_ray.remote_output import RemoteOutput


class Sharded:
    """A pool of actors as a generator, once the pool is there."""

    from_terms = True

    def _begin(self, pool: Pool, plan: Message, metrics: Sequence[Metric], ours: bool, num_actors: int) -> None:
        self._pool, self._plan, self._num_actors = pool, plan, num_actors
        said = pool.described
        self._prior: Prior = said["prior"]
        self._fingerprint: Mapping[str, str] = said["fingerprint"]
        self.rate: float | None = said["rate"]
        self.check_rows: bool = said["check_rows"]
        self._objective = Objective(*metrics, score=_elsewhere) if metrics else None
        self.close: Callable[[], object] = weakref.finalize(self, end, pool, ours)

    def __repr__(self) -> str:
        return one_line("RayGenerator", self._plan["factory"], f"{self._num_actors} actors")

    def _repr_html_(self) -> str:
        return described(self)

    @property
    def prior(self) -> Prior:
        """The law of the latents of the actors' generators."""
        return self._prior

    @property
    def fingerprint(self) -> Mapping[str, str]:
        """That of the actors' generators, so that a study goes on with or without actors."""
        return self._fingerprint

    @property
    def objective(self) -> Objective:
        """What the actors score by.

        Raises:
            UnsupportedError: they do not score.
        """
        if self._objective is None:
            raise UnsupportedError("objective: expected a generator with `score` and `metrics`, got one without.")
        return self._objective

    def generate(self, z: Latents, conditions: Sequence[Condition]) -> Generated:
        """Outputs of n latents, a shard an actor.

        Args:
            z: named parts (n, *shape); a search gives rows that the actors make latents of.
            conditions: n mappings.

        Returns:
            Outputs and their cost; the seconds are those of the longest shard.

        Raises:
            ShapeError: wrong latents, or not n conditions.
            Exception: what the generators raise for all of a shard.
        """
        shards, z = self._shards(z, conditions), checked(z, self._prior)
        orders = [
            Order(
                {
                    "do": "generate",
                    "z": self._packed(rows_of(z, rows)),
                    "conditions": [dict(conditions[i]) for i in rows],
                }
            )
            for rows in shards
        ]
        return self._joined(self._pool.run(orders, self._spread(len(shards))), shards, len(conditions))

    def _shards(self, z: Latents, conditions: Sequence[Condition]) -> list[list[int]]:
        """Row numbers for each actor that is up; none is empty."""
        n = check_conditions(checked(z, self._prior), conditions)
        parts = np.array_split(np.arange(n), min(n, len(self._pool.up())))
        return [part.tolist() for part in parts if len(part)]

    def _spread(self, shards: int) -> list[int]:
        return self._pool.up()[:shards]

    def _packed(self, z: Latents) -> Message:
        return pack_rows(z, self._pool.put)

    def _joined(self, replies: Sequence[Message | Lost], shards: Sequence[Sequence[int]], n: int) -> Generated:
        """What came of shards, in the order of the rows."""
        outputs: dict[int, Any] = {}
        failed: dict[int, str] = {}
        nfe, seconds = np.zeros(n), 0.0
        for reply, rows in zip(replies, shards, strict=True):
            if isinstance(reply, Lost):
                failed |= dict.fromkeys(rows, reply.reason)
                continue
            failed |= {rows[i]: reason for i, reason in reply["failed"].items()}
            nfe[list(rows)], seconds = reply["nfe"], max(seconds, reply["seconds"])
            made = [row for i, row in enumerate(rows) if i not in reply["failed"]]
            outputs |= dict(zip(made, self._received(reply), strict=True))
        return Generated([outputs[i] for i in sorted(outputs)], nfe, seconds, failed)

    def _received(self, reply: Message) -> list[Any]:
        """The outputs of a reply one by one, with their values if they were scored there."""
        outputs = [copied(output) for output in reply["outputs"]]
        if self._plan["outputs"] == "references":
            outputs = [RemoteOutput(*output) for output in outputs]
        if "values" not in reply:
            return outputs
        kept = zip(outputs, reply["values"], reply["reasons"], strict=True)
        return [Scored(output, {} if reason else values, reason) for output, values, reason in kept]


def end(pool: Pool | None, ours: bool) -> None:
    """End the actors, and the cluster if it was started for them.

    Args:
        pool: None where none was made.
        ours: whether it was.
    """
    if pool is not None:
        pool.close()
    if ours:
        cluster.disconnect()


def _elsewhere(outputs: Any, conditions: Sequence[Any]) -> NoReturn:
    raise UnsupportedError(
        "score: it runs on the actors, for outputs that come from there as they are. What puts several of them "
        "into one, as MultiCondition does, needs a score here."
    )
