"""Pictures that carry their recipe: round trips, and records from outside that are refused."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from surrogate_ax import Recipe
from surrogate_ax.errors import ArgumentError
from surrogate_ax.generation.saved_picture import KEY, LONGEST, SavedPicture, read_saved, save_picture, saved_in
from surrogate_ax.latents.seeds import Draw

RECIPE = Recipe(((Draw(7, 0), 0.6), (Draw(7, 3), 0.8)), {}, {"weights": "abc"}, 8)
SAVED = SavedPicture(RECIPE, "embedded", {"prompt": "rote Haare, größer", "steps": 12, "guidance": 1.5, "quick": True})
IMAGE = np.random.default_rng(0).random((16, 16, 3))


def png(record: str) -> bytes:
    import io

    info, file = PngInfo(), io.BytesIO()
    info.add_itxt(KEY, record)
    Image.new("RGB", (4, 4)).save(file, "PNG", pnginfo=info)
    return file.getvalue()


def test_a_png_carries_its_recipe(tmp_path: Path) -> None:
    file = save_picture(IMAGE, tmp_path / "one", SAVED)
    assert [path.name for path in tmp_path.iterdir()] == ["one.png"]
    assert read_saved(file) == SAVED
    assert saved_in(file.read_bytes(), "dropped") == SAVED
    with Image.open(file) as image:
        assert image.size == (128, 128)


def test_other_kinds_have_it_beside_them(tmp_path: Path) -> None:
    file = save_picture(np.zeros(800, dtype=np.float32), tmp_path / "sound", SAVED, rate=8000)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sound.json", "sound.wav"]
    assert read_saved(file) == read_saved(tmp_path / "sound.json") == SAVED


def test_further_keys_are_passed_over() -> None:
    record = {**SAVED.to_json(), "trial": 3, "values": {"searched": {}}}
    assert SavedPicture.from_json(record) == SAVED
    assert SavedPicture.from_json({"recipe": RECIPE.to_json()}) == SavedPicture(RECIPE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"recipe": None}, "its recipe: expected values by name"),
        ({"recipe": {**RECIPE.to_json(), "terms": [["draw", 1, -1, 1.0]]}}, "seed: expected a whole number"),
        ({"recipe": {**RECIPE.to_json(), "terms": [["draw", 1, 1, "1"]]}}, "expected a finite number"),
        ({"recipe": {**RECIPE.to_json(), "terms": [["draw", 1, 1, 1.0]] * 20_001}}, "at most 20,000 seeds"),
        ({"call": {"prompt": ["a"]}}, "expected texts and numbers"),
        ({"call": {"a b": 1}}, "expected texts and numbers"),
        ({"call": {"prompt": "x" * 20_001}}, "prompt of 20001 characters"),
        ({"call": {f"a{i}": i for i in range(65)}}, "at most 64 arguments, got 65"),
        ({"call": []}, "its call: expected values by name"),
        ({"source": 3}, "its source: expected a text"),
        ({"source": "\ud800"}, "whole characters"),
    ],
)
def test_a_record_of_another_form_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        SavedPicture.from_json({**SAVED.to_json(), **change})


@pytest.mark.parametrize(
    "record",
    ["", "{", "null", "[]", '"x"', "NaN", "{" * 100_000, "[" * 100_000, '{"recipe": {"terms": NaN}}', "1" * 5000],
)
def test_what_is_no_record_is_refused(record: str) -> None:
    with pytest.raises(ArgumentError, match="picture"):
        saved_in(png(record) if record else png("")[:60], "dropped.png")
    with pytest.raises(ArgumentError, match="picture"):
        saved_in(record.encode(), "dropped.json")


def test_a_text_that_unpacks_to_much_more_is_refused() -> None:
    plain = png("x")
    packed = zlib.compress(b" " * (64 << 20))
    body = KEY.encode() + b"\0\1\0\0\0" + packed
    chunk = struct.pack(">I", len(body)) + b"iTXt" + body + struct.pack(">I", zlib.crc32(b"iTXt" + body))
    with pytest.raises(ArgumentError, match=r"picture: .* (carries no recipe|cannot be read)"):
        saved_in(plain[:33] + chunk + plain[33:].replace(KEY.encode(), b"another-name"), "bomb.png")
    with pytest.raises(ArgumentError, match="at most"):
        saved_in(b"{" + b" " * LONGEST, "long.json")


def test_a_picture_without_a_recipe_is_refused_by_name(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "plain.png")
    with pytest.raises(ArgumentError, match=r"plain\.png carries no recipe"):
        read_saved(tmp_path / "plain.png")
    with pytest.raises(ArgumentError, match="cannot be read"):
        read_saved(tmp_path / "none.png")
    (tmp_path / "plain.json").write_text(json.dumps(SAVED.to_json()))
    assert read_saved(tmp_path / "plain.png") == SAVED  # beside it
