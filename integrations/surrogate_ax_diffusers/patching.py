"""Attributes that are replaced for the length of a block: how a user's pipeline is watched and left as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Set an attribute of an object, and put back what was there when the block ends.

    Args:
        owner: the object; an attribute of its class is hidden for as long as the block runs.
        name: the attribute.
        value: what stands in for it.
    """
    own = name in vars(owner)
    before = vars(owner).get(name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if own:
            setattr(owner, name, before)
        else:
            delattr(owner, name)
