"""The call arguments of a pipeline: what it takes, what the generator sets itself, and what may vary between items."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from surrogate_ax.errors import ArgumentError, UnsupportedError
from surrogate_ax.generation.conditions import Condition, group
from surrogate_ax_diffusers.families import Family

_TEXTS = frozenset({*Family.rows, "lyrics", "transcription", "vocal_language", "instruction"})
_SET_BY_GENERATOR = {
    "latents": "the generator passes the latents that are searched",
    "generator": "the latents are the only source of randomness",
    "return_dict": "the generator reads the pipeline's output object",
    **dict.fromkeys(Family.repeat, "the generator sets it itself"),
}


class Arguments:
    """The call arguments of a pipeline as the generator may use them.

    Args:
        pipeline: the pipeline's class.
        family: its row of `FAMILIES`.

    Raises:
        UnsupportedError: the pipeline takes no `latents`.
    """

    def __init__(self, pipeline: type, family: Family) -> None:
        parameters = inspect.signature(pipeline.__call__).parameters.values()
        self.defaults = {
            p.name: p.default
            for p in parameters
            if p.name != "self" and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
        }
        self.pipeline = pipeline.__name__
        self.family = family
        self.repeat = next((name for name in family.repeat if name in self.defaults), None)
        self.rows = frozenset(family.rows) & self.defaults.keys()
        self.fixed = {"output_type", *family.shape} & self.defaults.keys()
        if not {"latents", "image"} & self.defaults.keys():  # with an image, the noise may be given as a draw
            near = [name for name in self.defaults if "latents" in name]
            raise UnsupportedError(
                f"pipe: {self.pipeline} takes no argument `latents`{f' (only {near})' if near else ''}, so its noise "
                "cannot be searched. Use a text-to-image, -video or -audio pipeline, ProteinGenerator for proteins, or "
                "wrap it in a FunctionGenerator."
            )

    def check_call(self, call: Mapping[str, Any]) -> None:
        """Refuse arguments that the pipeline does not take or that the generator sets itself.

        Raises:
            ArgumentError: with the nearest valid name, or why the argument cannot be given.
        """
        self._check_names(call, "call argument")
        self.rows -= {name for name in self.rows & call.keys() if "image" in name and isinstance(call[name], list)}
        self._check_values([call])

    def check_conditions(self, conditions: Sequence[Condition]) -> None:
        """Refuse conditions that the pipeline does not take or that cannot vary.

        Raises:
            ArgumentError: as `check_call`, and for arguments that are fixed when the generator is built.
        """
        names = dict.fromkeys(name for condition in conditions for name in condition)
        self._check_names(names, "condition")
        fixed = [name for name in names if name in self.fixed]
        if fixed:
            why = "has one kind per generator" if fixed[0] == "output_type" else "changes the shape of the latent"
            raise ArgumentError(
                f"conditions: {fixed[0]!r} cannot vary between items, because it {why}. Give it to pipeline_generator, "
                "one generator for each value."
            )
        self._check_values(conditions)

    def group(self, base: Mapping[str, Any], conditions: Sequence[Condition]) -> list[tuple[Condition, list[int]]]:
        """Items one call can serve: equal but for texts that all of them have.

        Args:
            base: arguments of every call.
            conditions: n mappings.

        Returns:
            (shared condition, item numbers) pairs.
        """
        has = [sorted(name for name in self.rows if self._row(name, base, c) is not None) for c in conditions]
        apart = self.rows if self.family.mixed else frozenset()
        changed = [{k: v for k, v in c.items() if k not in base or not _same(v, base[k])} for c in conditions]
        marked = [{**c, "": names} for c, names in zip(changed, has, strict=True)]
        return [({k: v for k, v in c.items() if k}, items) for c, items in group(marked, apart=apart)]

    def call(self, base: Mapping[str, Any], shared: Condition, items: Sequence[Condition]) -> dict[str, Any]:
        """The arguments of one call for n items.

        Args:
            base: arguments of every call.
            shared: what the items' conditions have in common.
            items: the items' own conditions.

        Returns:
            One value of each row argument and a repeat count where all items agree, else lists with one entry an item.
        """
        n = len(items)
        texts = {name: [self._row(name, base, item) for item in items] for name in self.rows}
        texts = {name: values for name, values in texts.items() if values[0] is not None}
        same = all(_same(value, values[0]) for values in texts.values() for value in values)
        call = {name: value for name, value in {**base, **shared}.items() if name not in self.rows}
        if self.repeat and same:
            return {**call, **{name: values[0] for name, values in texts.items()}, self.repeat: n}
        return {**call, **texts}

    def _check_names(self, names: Iterable[str], kind: str) -> None:
        for name in names:
            if name in _SET_BY_GENERATOR or "callback" in name or name in self.family.repeat:
                why = _SET_BY_GENERATOR.get(name, "" if "callback" in name else "the generator sets it itself")
                raise ArgumentError(
                    f"{name}: cannot be a {kind}{f', because {why}' if why else ' of a generator'}. Leave it out."
                )
            if name not in self.defaults:
                near = get_close_matches(name, self.defaults, n=1, cutoff=0.5)
                raise ArgumentError(
                    f"{name}: {self.pipeline} takes no such {kind}. "
                    + (f"Did you mean {near[0]!r}?" if near else f"It takes {sorted(self.defaults)}.")
                )

    def _row(self, name: str, base: Mapping[str, Any], item: Condition) -> Any:
        """An item's value of a row argument, None where it has none; a default is one only if it is a text."""
        default = self.defaults[name]
        return item.get(name, base.get(name, default if isinstance(default, str) else None))

    def _check_values(self, mappings: Sequence[Mapping[str, Any]]) -> None:
        for mapping in mappings:
            for name in self.rows & mapping.keys():
                if isinstance(mapping[name], (list, tuple)):
                    kind = "image" if "image" in name else "text"
                    raise ArgumentError(
                        f"{name}: expected one {kind}, got {len(mapping[name])} in a list. Give differing {kind}s as "
                        "conditions, one an item; the generator batches them."
                    )
            for name, value in mapping.items():
                if name not in _TEXTS and isinstance(value, str) and "://" in value:
                    raise ArgumentError(
                        f"{name}: expected what it names, got the URL {value}. Load it first; nothing is fetched."
                    )


def blank_prompt(defaults: Mapping[str, Any], call: Mapping[str, Any]) -> dict[str, Any]:
    """A condition under which a pipeline runs where nothing depends on its prompt."""
    needed = "prompt" in defaults and "prompt" not in call and "prompt_embeds" not in call
    return {"prompt": ""} if needed else {}


def _same(a: Any, b: Any) -> bool:
    """Whether two values are one: texts and numbers by content, others by identity."""
    return a is b or (isinstance(a, (str, int, float)) and type(a) is type(b) and a == b)
