"""A pool of actors whose generators stop between steps: the states stay where they were made.

A state here is n rows, each a row of a state on some actor. Rows that go on stay on their actor; a state that is lost
with it is made again from its latents, in as many steps. Rows that have ended their actors again and again have no
estimate, and fail at the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from surrogate_ax.arrays import Array
from surrogate_ax.errors import ArgumentError
from surrogate_ax.generation.conditions import Condition
from surrogate_ax.generation.protocols import Generated
from surrogate_ax.latents.deferred import checked, count_of, rows_of
from surrogate_ax.latents.priors import Latents
from surrogate_ax_ray.messages import Message
from surrogate_ax_ray.pool import Held, Lost, Order
from surrogate_ax_ray.sharded import Sharded


@dataclass(frozen=True)
class _Piece:
    """Rows that began together."""

    z: Latents
    conditions: Sequence[Condition]
    step: int

    def rows(self, kept: Sequence[int]) -> _Piece:
        return _Piece(rows_of(self.z, kept), [self.conditions[i] for i in kept], self.step)


@dataclass(frozen=True)
class _Part:
    """A state on one actor: row i of it is row `rows[i]`, a piece and a row of that."""

    held: Held
    pieces: tuple[_Piece, ...]
    rows: tuple[tuple[int, int], ...]
    nfe: Array
    lost: str = ""  # why there is no state any more

    @property
    def conditions(self) -> list[Condition]:
        return [dict(self.pieces[piece].conditions[i]) for piece, i in self.rows]


@dataclass(frozen=True)
class RayState:
    """n rows at one step.

    Args:
        step: how many steps they have done.
        parts: states on actors.
        order: for each row, a part and a row of it.
    """

    step: int
    parts: tuple[_Part, ...]
    order: tuple[tuple[int, int], ...]


class Stepping(Sharded):
    """What a pool of actors does between steps."""

    @property
    def steps(self) -> int:
        """T, the steps of a whole trajectory."""
        return int(self._pool.described["steps"])

    def start(self, z: Latents, conditions: Sequence[Condition], *, step: int = 0) -> RayState:
        """Rows at `step`, a shard on each actor; arguments as of any generator that steps."""
        shards, z = self._shards(z, conditions), checked(z, self._prior)
        pieces = [_Piece(z, list(conditions), step).rows(rows) for rows in shards]
        orders = []
        for piece in pieces:
            rows = [(0, i) for i in range(count_of(piece.z))]
            held = self._held(step, (piece,), rows)
            orders.append(Order({"do": "start", **self._again(piece)}, made=held))
        replies = self._pool.run(orders, self._spread(len(shards)))
        parts = tuple(
            self._part(order, reply, (piece,), [(0, i) for i in range(count_of(piece.z))])
            for order, reply, piece in zip(orders, replies, pieces, strict=True)
        )
        return RayState(step, parts, tuple((k, i) for k, rows in enumerate(shards) for i in range(len(rows))))

    def advance(self, state: RayState, to: int) -> RayState:
        """The same rows at a later step, on their actors.

        Args:
            state: rows at a step.
            to: a step from there to T.
        """
        if not state.step <= to <= self.steps:
            raise ArgumentError(f"to: expected {state.step} to {self.steps}, got {to}.")
        live = [part for part in state.parts if not part.lost]
        orders = [
            Order({"do": "advance", "to": to}, (part.held,), self._held(to, part.pieces, part.rows)) for part in live
        ]
        made = {
            id(part): self._part(order, reply, part.pieces, part.rows)
            for part, order, reply in zip(live, orders, self._pool.run(orders), strict=True)
        }
        return RayState(to, tuple(made.get(id(part), part) for part in state.parts), state.order)

    def select(self, states: Sequence[RayState], rows: Sequence[tuple[int, int]]) -> RayState:
        """Chosen rows, which stay on their actors.

        Args:
            states: at least one, all at the same step.
            rows: (state, row) pairs.
        """
        if len({state.step for state in states}) != 1:
            raise ArgumentError(f"states: expected rows at one step, got {[state.step for state in states]}.")
        for s, i in rows:
            if not (0 <= s < len(states) and 0 <= i < len(states[s].order)):
                raise ArgumentError(f"rows: ({s}, {i}) does not exist.")
        step, parts, order = states[0].step, list[_Part](), list[tuple[int, int]]()
        groups: dict[Any, list[tuple[_Part, int]]] = {}
        for s, i in rows:
            k, row = states[s].order[i]
            part = states[s].parts[k]
            there = part.lost or self._pool.actor_of(part.held)
            group = groups.setdefault(there, [])
            order.append((list(groups).index(there), len(group)))
            group.append((part, row))
        orders = [self._choice(step, chosen) for chosen in groups.values()]
        sent = [each for each, _, _ in orders if each is not None]
        replies = iter(self._pool.run(sent))
        for (wanted, pieces, places), chosen in zip(orders, groups.values(), strict=True):
            if wanted is None:
                nfe = np.array([part.nfe[row] for part, row in chosen])
                parts.append(_Part(chosen[0][0].held, pieces, tuple(places), nfe, chosen[0][0].lost))
            else:
                parts.append(self._part(wanted, next(replies), pieces, places))
        return RayState(step, tuple(parts), tuple(order))

    def latents(self, state: RayState) -> Latents:
        """Undecoded rows (n, *shape).

        Args:
            state: rows at a step.
        """
        replies = self._pool.run([Order({"do": "latents"}, (part.held,)) for part in state.parts])
        found = [reply["parts"] for reply in replies if not isinstance(reply, Lost)]
        return {
            name: torch.stack([torch.as_tensor(found[k][name][i]) for k, i in state.order]).clone()
            for name in self._prior.shapes
        }

    def estimate(self, state: RayState) -> list[Any]:
        """Estimates of the final outputs, one a row; None for a row that has none, or was lost.

        Args:
            state: rows at a step.
        """
        return self._outputs(state, self._asked("estimate", state))[0]

    def nfe(self, state: RayState) -> Array:
        """NFE spent so far, by row.

        Args:
            state: rows at a step.
        """
        return np.array([state.parts[k].nfe[i] for k, i in state.order])

    def finish(self, state: RayState) -> Generated:
        """The final outputs; the seconds are those of the longest part.

        Args:
            state: rows at any step.
        """
        replies = self._asked("finish", state)
        outputs, failed = self._outputs(state, replies)
        nfe, seconds = self.nfe(state), 0.0
        for reply in replies:
            seconds = seconds if isinstance(reply, Lost) else max(seconds, reply["seconds"])
        for row, (k, i) in enumerate(state.order):
            reply = replies[k]
            nfe[row] = nfe[row] if isinstance(reply, Lost) else reply["nfe"][i]
        return Generated([output for row, output in enumerate(outputs) if row not in failed], nfe, seconds, failed)

    def _asked(self, do: str, state: RayState) -> list[Message | Lost]:
        """A reply for each part."""
        live = [part for part in state.parts if not part.lost]
        orders = [Order({"do": do, "conditions": part.conditions}, (part.held,)) for part in live]
        replies = iter(self._pool.run(orders))
        return [Lost(part.lost) if part.lost else next(replies) for part in state.parts]

    def _outputs(self, state: RayState, replies: Sequence[Message | Lost]) -> tuple[list[Any], dict[int, str]]:
        """An output for each row, None where there is none, and the reasons."""
        by_part: list[Mapping[int, Any]] = []
        failed: list[Mapping[int, str]] = []
        for part, reply in zip(state.parts, replies, strict=True):
            if isinstance(reply, Lost):
                by_part.append({})
                failed.append(dict.fromkeys(range(len(part.rows)), reply.reason))
                continue
            made = [i for i in range(len(part.rows)) if i not in reply["failed"]]
            by_part.append(dict(zip(made, self._received(reply), strict=True)))
            failed.append(reply["failed"])
        outputs = [by_part[k].get(i) for k, i in state.order]
        return outputs, {row: failed[k][i] for row, (k, i) in enumerate(state.order) if i in failed[k]}

    def _choice(
        self, step: int, chosen: Sequence[tuple[_Part, int]]
    ) -> tuple[Order | None, tuple[_Piece, ...], list[tuple[int, int]]]:
        """The order that picks rows of one actor's states, and of which pieces they are."""
        pieces: dict[int, tuple[_Piece, list[int]]] = {}
        places = list[tuple[int, int]]()
        for part, row in chosen:
            k, i = part.rows[row]
            kept = pieces.setdefault(id(part.pieces[k]), (part.pieces[k], []))[1]
            places.append((list(pieces).index(id(part.pieces[k])), len(kept)))
            kept.append(i)
        picked = tuple(piece.rows(kept) for piece, kept in pieces.values())
        if chosen[0][0].lost:
            return None, picked, places
        states = list({id(part.held): part.held for part, _ in chosen}.values())
        rows = [([held.key for held in states].index(part.held.key), row) for part, row in chosen]
        message = {"do": "select", "rows": rows}
        return Order(message, tuple(states), self._held(step, picked, places)), picked, places

    def _held(self, step: int, pieces: Sequence[_Piece], rows: Sequence[tuple[int, int]]) -> Held:
        def again() -> Message:
            return {"pieces": [self._again(piece) for piece in pieces], "rows": list(rows), "step": step}

        return self._pool.held(again)

    def _again(self, piece: _Piece) -> Message:
        return {"z": self._packed(piece.z), "conditions": [dict(c) for c in piece.conditions], "step": piece.step}

    def _part(
        self, order: Order, reply: Message | Lost, pieces: Sequence[_Piece], rows: Sequence[tuple[int, int]]
    ) -> _Part:
        """What came of an order that makes a state."""
        held = order.made
        if held is None:
            raise ArgumentError("order: expected one that makes a state.")
        if isinstance(reply, Lost):
            return _Part(held, tuple(pieces), tuple(rows), np.zeros(len(rows)), reply.reason)
        return _Part(held, tuple(pieces), tuple(rows), np.asarray(reply["nfe"]))


class Scheduling(Stepping):
    """The same where steps depend on some call arguments."""

    @property
    def schedule_arguments(self) -> frozenset[str]:
        """Names of these call arguments."""
        return frozenset(self._pool.described["schedule_arguments"])
