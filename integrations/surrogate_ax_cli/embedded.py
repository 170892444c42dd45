"""The embedded models by name, as sweep files and `--generator` name them.

A third one becomes one more entry of `NAMES` and one more case of `load` and `generator`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the command's help needs no more than the names
    from surrogate_ax.generation.protocols import Generator

PORTRAITS, AVATARS = "portraits", "avatars"
DEFAULT = PORTRAITS
OLDER = {"embedded": AVATARS}  # names of earlier releases
NAMES = (PORTRAITS, AVATARS, *OLDER)
LISTED = f"{PORTRAITS}, {AVATARS}"  # for messages


def load(name: str) -> Any:
    """The pipeline of one of `NAMES`."""
    diffusers = import_module("surrogate_ax_diffusers")  # names the extra to install where it is missing
    return diffusers.load_portraits() if _current(name) == PORTRAITS else diffusers.load_avatars()


def generator(name: str, call: Mapping[str, Any], texts: Sequence[Mapping[str, Any]] = ()) -> Generator:
    """One of `NAMES` as a generator.

    Args:
        name: of the model.
        call: arguments of the pipeline's call, and options of `pipeline_generator`.
        texts: prompts that will be searched, as further call arguments.

    Raises:
        ArgumentError: words in a prompt that the model does not know, with those that it knows, or too many words.
    """
    diffusers = import_module("surrogate_ax_diffusers")
    make = diffusers.portrait_generator if _current(name) == PORTRAITS else diffusers.avatar_generator
    if texts:
        import_module("surrogate_ax_diffusers.embedded").check_prompts(load(name), texts)
    made: Generator = make(**{"prompt": "", **call})
    return made


def recorded(fingerprint: Mapping[str, str]) -> str:
    """The model with the weights that a study or recipe records; the default one where none has them."""
    weights = fingerprint.get("weights")
    current = (PORTRAITS, AVATARS)
    return next((name for name in current if generator(name, {}).fingerprint["weights"] == weights), DEFAULT)


def _current(name: str) -> str:
    return OLDER.get(name, name)
