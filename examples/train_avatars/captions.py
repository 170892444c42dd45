"""What an avatar's label says, as attributes and as a caption.

A label is the JSON line that `render.mjs` writes. Its attributes are eight short phrases; a caption is some of them,
shuffled and joined by commas. Phrases for what is absent ("no hat") exist, so that a prompt can ask for absence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

SKIN = {"ffdbac": "pale", "f5cfa0": "pale", "eac393": "pale", "e0b687": "tan", "cb9e6e": "tan"}
SKIN |= {"b68655": "dark", "a26d3d": "dark", "8d5524": "dark"}
HAIR = {"cab188": "blond", "a78961": "blond", "83623b": "brown", "603a14": "brown", "603015": "brown"}
HAIR |= {"611c17": "auburn", "612616": "auburn", "28150a": "black"}
HAIR |= {"009bbd": "blue", "bd1700": "red", "91cb15": "green"}
HAT = {"2e1e05": "brown", "2663a3": "blue", "989789": "gray", "3d8a6b": "green", "cc6192": "pink", "614f8a": "purple"}
HAT |= {"a62116": "red"}
CLOTHES = {"5bc0de": "blue", "428bca": "blue", "03396c": "blue", "88d8b0": "green", "44c585": "green"}
CLOTHES |= {"00b159": "green", "ff6f69": "red", "d11141": "red", "ae0001": "red"}
CLOTHES |= {"ffeead": "yellow", "ffd969": "yellow", "ffc425": "yellow"}
BACKGROUNDS = ("pink", "blue", "green", "yellow", "purple", "orange", "white", "gray")

# The binary attributes that the judge learns: name -> (phrase with, phrase without). The model is measured on the first
# five; beards come on top, because many are drawn so faintly that an image does not tell (see README.md).
BINARY = {
    "glasses": ("dark glasses", "no glasses"),
    "hat": ("red hat", "no hat"),
    "long hair": ("long brown hair", "short brown hair"),
    "dark skin": ("dark skin", "pale skin"),
    "red clothes": ("red clothes", "blue clothes"),
    "beard": ("beard", "no beard"),
}
FAINT = frozenset({"beard"})


def phrases(label: Mapping[str, Any]) -> dict[str, str]:
    """The eight phrases of a label, by attribute."""
    colour = {name: label[f"{name}Color"].lstrip("#") for name in ("skin", "hair", "hat", "clothing")}
    return {
        "background": f"{label['background']} background",
        "skin": f"{SKIN[colour['skin']]} skin",
        "hair": f"{label['hair'].rstrip('0123456789')} {HAIR[colour['hair']]} hair",
        "glasses": f"{label['glasses'].rstrip('0123456789')} glasses" if label.get("glasses") else "no glasses",
        "hat": f"{HAT[colour['hat']]} hat" if label.get("hat") else "no hat",
        "beard": "beard" if label.get("beard") else "no beard",
        "clothes": f"{CLOTHES[colour['clothing']]} clothes",
        "mouth": f"{label['mouth'].rstrip('0123456789')} mouth",
    }


def caption(parts: Sequence[str], *, rng: np.random.Generator, p_phrase: float = 0.2, p_all: float = 0.12) -> str:
    """A training caption: shuffled phrases, each dropped with `p_phrase`, all of them with `p_all` (guidance)."""
    if rng.random() < p_all:
        return ""
    kept = [part for part in parts if rng.random() >= p_phrase]
    return ", ".join(kept[i] for i in rng.permutation(len(kept)))


def truth(label: Mapping[str, Any]) -> dict[str, bool]:
    """The binary attributes of a label; skin counts as dark from the third-darkest tone."""
    return {
        "glasses": bool(label.get("glasses")),
        "hat": bool(label.get("hat")),
        "long hair": label["hair"].startswith("long"),
        "dark skin": SKIN[label["skinColor"].lstrip("#")] == "dark",
        "red clothes": CLOTHES[label["clothingColor"].lstrip("#")] == "red",
        "beard": bool(label.get("beard")),
    }


def vocabulary() -> list[str]:
    """Every word a caption can hold, sorted."""
    colours = {*SKIN.values(), *HAIR.values(), *HAT.values(), *CLOTHES.values(), *BACKGROUNDS}
    nouns = {"background", "skin", "hair", "glasses", "hat", "beard", "clothes", "mouth"}
    return sorted(colours | nouns | {"no", "long", "short", "light", "dark", "happy", "sad"})
