"""What a portrait's label says, as attributes and as a caption.

A label is the JSON line that `render.mjs` writes. It has eight attributes, each of which can be said in several ways; a
caption is some of them, shuffled and joined. Wordings of what is absent ("no glasses") exist, so that a prompt can ask
for absence.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

HAIR = ("short", "medium", "long", "curly", "bun", "bald")  # the hair types that the model is measured on
HEADWEAR = ("beanie", "hat", "turban", "hijab")
HAIR_COLOURS = ("black", "gray", "blond", "brown", "red", "pink")
SKINS = ("pale", "tan", "dark")
CLOTHES = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white")
BACKGROUNDS = ("pink", "blue", "green", "yellow", "purple", "orange", "white", "gray")
FACES = ("smile", "frown", "neutral")
ACCESSORIES = ("none", "glasses", "sunglasses")
FACIAL_HAIR = ("none", "beard", "moustache")

WORDINGS = {
    "face": {
        "smile": ("smiling", "happy", "a smile", "happy face"),
        "frown": ("frowning", "sad", "a frown", "sad face"),
        "neutral": ("serious", "serious face"),
    },
    "accessory": {
        "none": ("no glasses", "without glasses"),
        "glasses": ("glasses", "with glasses", "wearing glasses"),
        "sunglasses": ("sunglasses", "with sunglasses", "wearing sunglasses"),
    },
    "facialHair": {
        "none": ("no beard", "without beard", "clean shaven"),
        "beard": ("beard", "with beard", "a beard"),
        "moustache": ("moustache", "with moustache", "a moustache"),
    },
}
OPENINGS = ("portrait", "a portrait", "a person", "portrait of a person")


def wordings(label: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Every way to say each attribute of a label, the plainest first."""
    said = {name: WORDINGS[name][label[name]] for name in ("face", "accessory", "facialHair")}
    said["hair"] = hair_wordings(label["hair"], label["hairColour"])
    said["skin"] = (f"{label['skin']} skin",)
    said["clothes"] = tuple(f"{label['clothes']} {noun}" for noun in ("clothes", "shirt"))
    said["background"] = (f"{label['background']} background", f"on {label['background']} background")
    return said


def hair_wordings(hair: str, colour: str | None) -> tuple[str, ...]:
    """Ways to say a hair type or what covers it: "long black hair", "long hair", "black hair"."""
    if hair in HEADWEAR:
        return (hair, f"wearing {hair}")
    if hair == "bald":
        return ("bald", "bald head", "no hair")
    if hair == "bun":
        return (f"{colour} hair bun", "hair bun", f"{colour} hair")
    return (f"{hair} {colour} hair", f"{hair} hair", f"{colour} hair")


def phrases(label: Mapping[str, Any]) -> dict[str, str]:
    """The plainest wording of each attribute of a label."""
    return {name: ways[0] for name, ways in wordings(label).items()}


def caption(label: Mapping[str, Any], *, rng: np.random.Generator, p_phrase: float = 0.2, p_all: float = 0.12) -> str:
    """A training caption: shuffled wordings, each dropped with `p_phrase`, all of them with `p_all` (guidance)."""
    if rng.random() < p_all:
        return ""
    parts = [ways[rng.integers(len(ways))] for ways in wordings(label).values() if rng.random() >= p_phrase]
    opening = [str(rng.choice(OPENINGS))] if rng.random() < 0.2 else []
    return ", ".join([*opening, *(parts[i] for i in rng.permutation(len(parts)))])


def vocabulary() -> list[str]:
    """Every word a caption can hold, sorted."""
    texts = [*OPENINGS, *(way for names in WORDINGS.values() for ways in names.values() for way in ways)]
    texts += [way for hair in (*HAIR, *HEADWEAR) for way in hair_wordings(hair, "black")]
    texts += ["skin clothes shirt background on", *SKINS, *CLOTHES, *BACKGROUNDS, *HAIR_COLOURS]
    return sorted({word for text in texts for word in text.split()})
