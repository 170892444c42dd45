"""A pool of actors: orders go out side by side, and what an actor leaves undone when it ends is done by another.

    order -> actor 0 | reply
    order -> actor 1 | ends   -> actor 1 is started again, the order goes to one that is up, once

An order that has ended its actor `TRIES` times comes back as `Lost`: it may be what ends them.
"""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
from ray import exceptions
from torch import Tensor

from surrogate_ax.errors import GenerationError, MismatchError
from surrogate_ax.execution.stops import check_stop
from surrogate_ax_ray.actor import GeneratorActor
from surrogate_ax_ray.messages import Message, unpack_error

_logger = logging.getLogger(f"surrogate_ax.{__name__}")
TRIES = 2
LOOK = 0.5  # seconds between looks at whether the search is to stop
ENDED = (
    exceptions.RayActorError,
    exceptions.WorkerCrashedError,
    exceptions.NodeDiedError,
    exceptions.OutOfMemoryError,
    exceptions.ObjectLostError,
)
Place = tuple[int, int]  # number of an actor, and how often it was started


@dataclass(frozen=True)
class Lost:
    """What came of an order that ended its actor again and again.

    Args:
        reason: for its trials.
    """

    reason: str


@dataclass(frozen=True, eq=False)
class Held:
    """A state that waits on an actor.

    Args:
        key: by which the actor and the pool know it.
        again: how it is made again where its actor has ended, as a message.
    """

    key: int
    again: Callable[[], Message]


@dataclass(frozen=True)
class Order:
    """One call of an actor.

    Args:
        message: for `GeneratorActor.run`.
        states: that it works on; they say which actor it goes to.
        made: the state that it makes.
    """

    message: Message
    states: tuple[Held, ...] = ()
    made: Held | None = None


@dataclass
class _Actor:
    handle: Any
    ready: Any  # Ray's reference to what it says of itself, None once it has
    started: int = 1
    failed: Exception | None = None  # why it is started no more
    drop: list[int] = field(default_factory=list)  # keys of states that nobody holds any more


@dataclass(frozen=True)
class _Sent:
    number: int  # of the order
    place: Place
    turn: int
    tries: int


class Pool:
    """Actors with equal generators.

    Args:
        plan: of a `GeneratorActor`.
        num_actors: how many.
        options: Ray's, of each: `num_cpus`, `num_gpus`, `resources`.
        start_timeout: seconds that an actor may take to be placed and to make its generator.

    Raises:
        GenerationError: none is up in time, or one ends while it makes its generator.
        SurrogateError: what the factory raises.
    """

    def __init__(self, plan: Message, num_actors: int, options: Mapping[str, Any], start_timeout: float) -> None:
        self._make: Any = ray.remote(GeneratorActor).options(**options, max_restarts=0)
        self._plan, self._options, self._start_timeout = plan, dict(options), start_timeout
        self._stored: dict[str, Any] = {}
        self._places: dict[int, Place] = {}  # of states
        self._turn = self._key = 0
        self.described: Message = {}
        self._actors: list[_Actor] = []
        try:
            self._actors = [self._started() for _ in range(num_actors)]
            self._await(num_actors)
        except BaseException:
            self.close()
            raise

    def up(self) -> list[int]:
        """Numbers of the actors that take orders, at least one.

        Raises:
            GenerationError: none is, and none comes up in time.
        """
        up = self._seen()
        if not up:
            self._await(1)
            up = self._seen()
        return up

    def held(self, again: Callable[[], Message]) -> Held:
        """A state that an order is to make; its actor forgets it once nobody holds it.

        Args:
            again: how to make it again, as a message.
        """
        self._key += 1
        held = Held(self._key, again)
        weakref.finalize(held, self._release, self._key).atexit = False
        return held

    def actor_of(self, held: Held) -> int:
        """The number of the actor where a state is, or was.

        Args:
            held: a state.
        """
        return self._places[held.key][0]

    def put(self, sha256: str, row: Tensor) -> Any:
        """A reference to a stored seed in Ray's object store, where it is put once.

        Args:
            sha256: its hash.
            row: its tensor.
        """
        if sha256 not in self._stored:
            self._stored[sha256] = ray.put(row.numpy())
        return self._stored[sha256]

    def run(self, orders: Sequence[Order], prefer: Sequence[int] = ()) -> list[Message | Lost]:
        """The replies to some orders, in their order.

        Args:
            orders: what to do.
            prefer: numbers of actors for orders without states, one an order.

        Raises:
            Exception: what was raised on an actor, the first in the order of `orders`.
            GenerationError: no actor is up.
            KeyboardInterrupt: the search is to stop.
        """
        replies: dict[int, Message | Lost] = {}
        first: dict[Place, int] = {}  # the turn of what an actor was at when it ended
        out = dict(self._send(i, order, [*prefer, *([0] * len(orders))][i], 1) for i, order in enumerate(orders))
        while out:
            check_stop()
            for reference in ray.wait(list(out), timeout=LOOK)[0]:
                sent = out.pop(reference)
                try:
                    reply = replies[sent.number] = ray.get(reference)
                    if "raised" not in reply:
                        self._keep(orders[sent.number], sent.place)
                except ENDED as error:
                    there = [sent.turn, *(other.turn for other in out.values() if other.place == sent.place)]
                    tries = sent.tries + (first.setdefault(sent.place, min(there)) == sent.turn)
                    says = str(error).strip().partition("\n")[0]
                    self._restart(sent.place, says)
                    if tries > TRIES:
                        replies[sent.number] = Lost(f"its actor ended at each of {TRIES} tries. Ray: {says}")
                    else:
                        out.update([self._send(sent.number, orders[sent.number], sent.place[0], tries)])
        found = [replies[i] for i in range(len(orders))]
        for reply in found:
            if not isinstance(reply, Lost) and "raised" in reply:
                raise unpack_error(reply)
        return found

    def close(self) -> None:
        """End the actors."""
        for actor in self._actors:
            if ray.is_initialized():
                ray.kill(actor.handle)
        self._actors = []

    def _send(self, number: int, order: Order, prefer: int, tries: int) -> tuple[Any, _Sent]:
        places = [self._places[held.key] for held in order.states]
        there = [place for place in places if self._is_there(place)]
        up = self.up() if not there else []
        prefer = places[0][0] if places else prefer
        index = there[0][0] if there else (prefer if prefer in up else up[(prefer + tries - 1) % len(up)])
        actor = self._actors[index]
        place = index, actor.started
        again = [held for held, before in zip(order.states, places, strict=True) if before != place]
        drop, actor.drop = actor.drop, []
        message = {
            **order.message,
            "drop": drop,
            "restore": [{**held.again(), "key": held.key} for held in again],
            "states": [held.key for held in order.states],
            "key": order.made.key if order.made else None,
        }
        self._turn += 1
        return actor.handle.run.remote(message), _Sent(number, place, self._turn, tries)

    def _keep(self, order: Order, place: Place) -> None:
        """Remember where states are."""
        for held in (*order.states, *([order.made] if order.made else [])):
            self._places[held.key] = place

    def _release(self, key: int) -> None:
        """Let an actor forget a state, with the next order that it gets."""
        number, started = self._places.pop(key, (-1, 0))
        if 0 <= number < len(self._actors) and self._actors[number].started == started:
            self._actors[number].drop.append(key)

    def _is_there(self, place: Place) -> bool:
        actor = self._actors[place[0]]
        return actor.started == place[1] and actor.ready is None and actor.failed is None

    def _started(self) -> _Actor:
        handle = self._make.remote(self._plan)
        return _Actor(handle, handle.load.remote())

    def _restart(self, place: Place, says: str) -> None:
        """Start an actor again that has ended, once for each time that it does."""
        number, started = place
        before = self._actors[number]
        if before.started != started:
            return
        _logger.warning("Actor %d of %d ended and is started again: %s", number, len(self._actors), says)
        ray.kill(before.handle)  # where only the connection to it is lost, it must not go on
        self._actors[number] = again = self._started()
        again.started = started + 1

    def _seen(self) -> list[int]:
        """The actors that have made their generators."""
        for actor in self._actors:
            if actor.ready is not None and ray.wait([actor.ready], timeout=0)[0]:
                self._look(actor)
        return [i for i, actor in enumerate(self._actors) if actor.ready is None and actor.failed is None]

    def _look(self, actor: _Actor) -> None:
        """What an actor says of itself, or why it cannot."""
        try:
            said: Message = ray.get(actor.ready)
            if "raised" in said:
                actor.failed = unpack_error(said)
            elif self.described and said["fingerprint"] != self.described["fingerprint"]:
                parts = said["fingerprint"].items() ^ self.described["fingerprint"].items()
                actor.failed = MismatchError(
                    f"factory: expected equal generators on every actor, got other {sorted({k for k, _ in parts})} on "
                    f"node {said['node'][:8]}. Install the same versions and weights on every node."
                )
            else:
                self.described = self.described or said
        except ENDED as error:
            says = str(error).strip().partition("\n")[0]
            actor.failed = GenerationError(f"factory: an actor ended while it made its generator. Ray: {says}")
        actor.ready = None
        if actor.failed is not None:
            _logger.warning("An actor is out of use: %s", actor.failed)

    def _await(self, wanted: int) -> None:
        """Wait until some actors are up; where time runs out, fewer do."""
        end = time.monotonic() + self._start_timeout
        while True:
            check_stop()
            up = self._seen()
            loading = [actor.ready for actor in self._actors if actor.ready is not None]
            if len(up) >= wanted or (up and not loading):
                return
            if not loading:
                raise next(actor.failed for actor in self._actors if actor.failed is not None)
            if time.monotonic() >= end:
                break
            ray.wait(loading, timeout=LOOK)
        has: Mapping[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        total = {name: amount for name, amount in has.items() if ":" not in name}
        if not up:
            raise GenerationError(
                f"start_timeout: none of {len(self._actors)} actors was up after {self._start_timeout:g} s. Each asks "
                f"for {self._options}, the cluster has {total}."
            )
        _logger.warning("%d of %d actors are up; the search begins with them.", len(up), len(self._actors))
