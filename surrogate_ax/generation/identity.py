"""How the fingerprint of a generator is compared with one that was recorded.

Every part has to be what it was. Two kinds of parts are compared with more care: a probe within a tolerance, and parts
which fingerprints did not have from the beginning: an older record lacks them, and says nothing about them.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

from surrogate_ax.generation.probe import same_probe

PROBE, CODE = "probe", "code"
# Parts that came later than the first records. Every generator that can have one writes it, as "none" where it has not.
LATER_PARTS = (
    "adapters",
    "caches",
    "hooks",
    "quantisation",
    "settings.*",
    PROBE,
    CODE,
    "arguments",
    "closure",
    "modules",
)


def compare(recorded: Mapping[str, str], present: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """The parts that differ, and those that cannot be compared.

    The probe is named only where it is alone: it moves with every other part.

    Args:
        recorded: fingerprint by named part.
        present: that of the generator at hand.
    """
    changed, unknown = list[str](), list[str]()
    for part in sorted(recorded.keys() | present.keys()):
        before, after = recorded.get(part), present.get(part)
        if before == after:
            continue
        if before is None and any(fnmatchcase(part, later) for later in LATER_PARTS):
            unknown.append(part)
        else:
            same = _same(part, before, after)
            if same is not True:
                (changed if same is False else unknown).append(part)
    others = [part for part in changed if part != PROBE]
    return others or changed, unknown


def _same(part: str, before: object, after: object) -> bool | None:
    """Whether two values of a part say the same, None where they cannot be compared."""
    if not (isinstance(before, str) and isinstance(after, str)):  # an altered record may hold anything
        return False
    if part == PROBE:
        return same_probe(before, after)
    if part == CODE and before.split(" ")[0] != after.split(" ")[0]:
        return None  # read from its source once and from its bytecode once, or from that of two Pythons
    return False
