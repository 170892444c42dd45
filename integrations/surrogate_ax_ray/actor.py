"""What runs on an actor: a generator of its own, the score if it is asked for, and states that wait between steps.

An order and its reply are messages. Nothing that is raised for a model's fault leaves as an exception: a reply says
what it was, so that only the end of the process is one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import ray
import torch
from torch import Tensor

from surrogate_ax.errors import ArgumentError
from surrogate_ax.generation.protocols import Generated, Generator, Scheduled, Steppable, Timed
from surrogate_ax.generation.row_check import RowCheck, wants_check
from surrogate_ax.media.previews import MOST, kind_of, to_frames, to_image
from surrogate_ax.scoring.evaluator import Evaluator
from surrogate_ax.scoring.objective import Metric, Objective
from surrogate_ax.scoring.process_worker import find
from surrogate_ax_ray.messages import Message, listed, pack_error, sendable, unpack_rows


class GeneratorActor:
    """One process with a model.

    Args:
        plan: how it makes the generator: `factory`, `arguments`, `folder`, `score`, `metrics` and `outputs`, as
            `RayGenerator` takes them.
    """

    def __init__(self, plan: Message) -> None:
        self._plan = plan
        self._states: dict[int, Any] = {}
        self._tensors: dict[str, Tensor] = {}
        self._generator: Any = None
        self._evaluator: Evaluator

    def load(self) -> Message:
        """Make the generator, and say what it is."""
        try:
            self._load()
            return self._described()
        except Exception as error:  # noqa: BLE001  the search raises it
            return pack_error(error)

    def run(self, order: Message) -> Message:
        """Carry out one order; what it names in `drop` is forgotten first, and what it has in `restore` made again.

        Args:
            order: a message.
        """
        try:
            for key in order.get("drop", ()):
                self._states.pop(key, None)
            for held in order.get("restore", ()):
                self._restore(held)
            return getattr(self, f"_{order['do']}")(order)  # type: ignore[no-any-return]
        except Exception as error:  # noqa: BLE001  the search raises it
            return pack_error(error)

    def _load(self) -> None:
        plan = self._plan
        sys.path[:0] = [folder for folder in plan["folder"] if folder not in sys.path]
        made = _found("factory", plan["factory"])(**plan["arguments"])
        if not isinstance(made, Generator):
            raise ArgumentError(
                f"factory: expected {plan['factory']} to return a Generator, got {type(made).__name__}."
            )
        self._generator = made
        self._device = str(getattr(made, "device", "cpu"))
        score = _found("score", plan["score"]) if plan["score"] else _nothing
        metrics = [Metric(*metric) for metric in plan["metrics"]] or [Metric("nothing")]
        self._evaluator = Evaluator(made, Objective(*metrics, score=score))
        self._evaluator.row_check = RowCheck(cast(Generator, SimpleNamespace(check_rows=False)))  # the search looks

    def _described(self) -> Message:
        made = self._generator
        return {
            "prior": made.prior,
            "fingerprint": dict(made.fingerprint),
            "rate": made.rate if isinstance(made, Timed) else None,
            "steps": made.steps if isinstance(made, Steppable) else None,
            "schedule_arguments": sorted(made.schedule_arguments) if isinstance(made, Scheduled) else None,
            "check_rows": wants_check(made),
            "node": ray.get_runtime_context().get_node_id(),
        }

    def _generate(self, order: Message) -> Message:
        return self._judged(self._evaluator.generate(self._rows(order["z"]), order["conditions"]), order["conditions"])

    def _start(self, order: Message) -> Message:
        self._states[order["key"]] = state = self._started(order)
        return self._counted(state)

    def _advance(self, order: Message) -> Message:
        (of,) = order["states"]
        self._states[order["key"]] = state = self._generator.advance(self._states[of], order["to"])
        return self._counted(state)

    def _select(self, order: Message) -> Message:
        self._states[order["key"]] = state = self._chosen(order["states"], order["rows"])
        return self._counted(state)

    def _latents(self, order: Message) -> Message:
        (of,) = order["states"]
        return {"parts": sendable(dict(self._generator.latents(self._states[of])))}

    def _estimate(self, order: Message) -> Message:
        (of,) = order["states"]
        outputs, nfe = self._generator.estimate(self._states[of]), self._generator.nfe(self._states[of])
        without = {i: "no estimate" for i in range(len(outputs)) if outputs[i] is None}
        made = [output for output in listed(outputs) if output is not None] if without else outputs
        return self._judged(Generated(made, nfe, 0.0, without), order["conditions"])

    def _finish(self, order: Message) -> Message:
        (of,) = order["states"]
        return self._judged(self._generator.finish(self._states[of]), order["conditions"])

    def _rows(self, message: Message) -> Any:
        for sha256, reference in message.get("stored", {}).items():
            if sha256 not in self._tensors:
                self._tensors[sha256] = torch.from_numpy(np.array(ray.get(reference)))
        return unpack_rows(message, self._generator.prior, self._tensors, self._device)

    def _started(self, order: Message) -> Any:
        return self._generator.start(self._rows(order["z"]), order["conditions"], step=order["step"])

    def _chosen(self, states: Sequence[int], rows: Sequence[tuple[int, int]]) -> Any:
        return self._generator.select([self._states[key] for key in states], rows)

    def _restore(self, held: Message) -> None:
        """Make a state again that was lost with another actor."""
        states = [self._generator.advance(self._started(piece), held["step"]) for piece in held["pieces"]]
        whole = len(states) == 1 and list(held["rows"]) == [(0, i) for i in range(len(held["rows"]))]
        self._states[held["key"]] = states[0] if whole else self._generator.select(states, held["rows"])

    def _counted(self, state: Any) -> Message:
        return {"nfe": np.asarray(self._generator.nfe(state), dtype=np.float64)}

    def _judged(self, made: Generated, conditions: Sequence[Mapping[str, Any]]) -> Message:
        """Outputs as they travel, with their values if they are scored here."""
        reply = {"nfe": np.asarray(made.nfe), "seconds": made.seconds, "failed": dict(made.failed)}
        if not self._plan["score"]:
            return {**reply, "outputs": self._shown(made.outputs)}
        judged = self._evaluator.score(made, conditions)
        there = [i for i in range(len(conditions)) if i not in made.failed]
        values = [{name: float(column[i]) for name, column in judged.values.items()} for i in there]
        reasons = [judged.reasons.get(i, "") for i in there]
        return {**reply, "outputs": self._shown(made.outputs), "values": values, "reasons": reasons}

    def _shown(self, outputs: Any) -> Any:
        if self._plan["outputs"] == "previews":
            rate = self._generator.rate if isinstance(self._generator, Timed) else None
            return [preview(output, rate) for output in listed(outputs)]
        if self._plan["outputs"] == "references":
            return [(ray.put(sendable(output)), tuple(getattr(output, "shape", ()))) for output in listed(outputs)]
        return sendable(outputs)


def preview(output: Any, rate: float | None) -> Any:
    """What is shown of an output: pixels (H, W, 3) or (T, H, W, 3) in 8 bits; sound and structures as they are.

    Args:
        output: one output.
        rate: samples or frames a second.

    Raises:
        UnsupportedError: none of the kinds that have a preview.
    """
    kind = kind_of(output, rate=rate)
    if kind == "image":
        picture = to_image(output)
        picture.thumbnail((MOST, MOST))
        return np.asarray(picture)
    return to_frames(output) if kind == "video" else sendable(output)


def _found(argument: str, name: str) -> Callable[..., Any]:
    """The function of "package.module:function"."""
    try:
        return find(name)
    except ImportError as error:
        raise ArgumentError(
            f"{argument}: an actor found no {name!r} ({error}); it searched {', '.join(sys.path)}. Install its package "
            "on every node, or name its folder."
        ) from error


def _nothing(outputs: Any, conditions: Sequence[Any]) -> Any:
    return np.zeros(len(conditions))
