"""`surrogate-ax edit`: the demo, a picture of one's own, what remakes the edits, and what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from surrogate_ax import Recipe
from surrogate_ax.editing import remake
from surrogate_ax.media.previews import to_image
from surrogate_ax_cli import edit_demo
from surrogate_ax_cli.edit import for_edits
from surrogate_ax_cli.main import app
from tests.integrations.diffusers import tiny

pytestmark = tiny.NUMPY_2
PROMPT = "no glasses, no hat, pale skin, short black hair, blue clothes, white background"


def pixels(path: Path | str) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image, dtype=float)


def edit(*arguments: Any, generator: str = "avatars") -> Any:
    return CliRunner().invoke(app, ["edit", "--generator", generator, *map(str, arguments)])


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    z = {"latents": torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))}
    made = for_edits("avatars").generate(z, [{"prompt": PROMPT, "guidance_scale": 1.5}])
    path = tmp_path_factory.mktemp("edit") / "avatar.png"
    to_image(made.outputs[0]).save(path)
    return path


def test_a_picture_is_edited_and_can_be_remade(picture: Path, tmp_path: Path) -> None:
    target = PROMPT.replace("blue clothes", "red clothes")
    answer = edit(picture, "--from", PROMPT, "--to", target, "--draws", 2, "--out", tmp_path)
    assert answer.exit_code == 0, answer.output
    assert "Straight path" in answer.output
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "edit-1.png",
        "edit-2.png",
        "edits.png",
        "recipes.json",
        "seeds",
    ]
    recipes = [Recipe.from_json(record) for record in json.loads((tmp_path / "recipes.json").read_text())]
    again, _ = remake(recipes, for_edits("avatars"), seeds=tmp_path / "seeds")
    for i, output in enumerate(again):
        kept = pixels(tmp_path / f"edit-{i + 1}.png")
        assert np.abs(np.asarray(output) * 255 - kept).max() <= 0.51
    before, after = pixels(picture), pixels(tmp_path / "edit-1.png")
    clothes = [(each[-2:, 6:10, 0] - each[-2:, 6:10, 2]).mean() for each in (before, after)]
    assert clothes[1] > clothes[0] + 30  # from blue to red


def test_a_mask_and_a_search(picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hole = np.zeros((16, 16), np.uint8)
    hole[:6] = 255
    Image.fromarray(hole).save(tmp_path / "mask.png")
    (tmp_path / "reddish_to_edit.py").write_text(
        "import numpy as np\ndef red(outputs, conditions):\n"
        "    x = np.asarray(outputs)\n    return (x[..., 0] - x[..., 2]).mean(axis=(1, 2)) - 0.1\n"
    )
    monkeypatch.chdir(tmp_path)
    target = PROMPT.replace("no hat", "red hat")
    masked = edit(picture, "--from", PROMPT, "--to", target, "--draws", 1, "--mask", "mask.png", "--out", "masked")
    assert masked.exit_code == 0, masked.output
    made, source = (pixels(path) for path in ("masked/edit-1.png", picture))
    assert np.abs(made - source)[6:].max() <= 1
    options = ("--score", "reddish_to_edit:red", "--budget", 8, "--draws", 2, "--out", "searched")
    searched = edit(picture, "--from", PROMPT, "--to", target, *options)
    assert searched.exit_code == 0, searched.output
    assert "The best of 8 edits of a search is worth" in searched.output
    alone = edit(picture, "--from", "no glasses, no hat", *options[:2], "--draws", 2, "--out", "alone")
    assert alone.exit_code == 0, alone.output
    assert "a score steers alone" in alone.output


def test_what_cannot_be_done_is_said_in_one_line(picture: Path, tmp_path: Path) -> None:
    large = tmp_path / "large.png"
    Image.new("RGB", (32, 32)).save(large)
    for arguments, message in (
        ((tmp_path / "none.png",), "picture: expected an image file"),
        ((picture,), "target: expected what the item should show, or a score"),
        ((large, "--to", "red hat"), r"(n, 16, 16, 3), got (1, 32, 32, 3)"),
        ((picture, "--score", "nowhere:f"), "score: found no 'nowhere:f'"),
        ((picture, "--to", "red hat", "--budget", "5"), "budget: a search needs `score`"),
        ((picture, "--generator", "nowhere:f"), "generator: found no 'nowhere:f'"),
        ((picture, "--generator", "portraits", "--to", "hat"), "(n, 64, 64, 3), got (1, 16, 16, 3)"),
    ):
        answer = edit(*arguments, "--out", tmp_path / "out")
        assert answer.exit_code == 2, answer.output
        assert message in answer.stderr


def test_the_demo_shows_eight_and_how_the_change_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edit_demo, "VARIANTS", 2)
    answer = edit("--out", tmp_path)
    assert answer.exit_code == 0, answer.output
    with Image.open(tmp_path / "edits.gif") as animation:
        assert animation.n_frames == 10
        assert animation.size == (8 * 128, 128)
    with Image.open(tmp_path / "edits.png") as sheet:
        assert sheet.width > 600
    edited, renoised = (float(number) for number in re.findall(r"0\.\d+", answer.output))
    assert edited < renoised


def test_a_portrait_gets_another_shirt(tmp_path: Path) -> None:
    import torch

    prompt = "smiling, no glasses, no beard, short black hair, pale skin, blue shirt, white background"
    z = {"latents": torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(1))}
    made = for_edits().generate(z, [{"prompt": prompt}])
    to_image(made.outputs[0]).save(tmp_path / "portrait.png")
    options = ("--from", prompt, "--to", prompt.replace("blue", "red"), "--draws", 1, "--out", tmp_path / "out")
    answer = edit(tmp_path / "portrait.png", *options, generator="portraits")
    assert answer.exit_code == 0, answer.output
    before, after = pixels(tmp_path / "portrait.png"), pixels(tmp_path / "out" / "edit-1.png")
    shirt = [(each[-3:, 14:22, 0] - each[-3:, 14:22, 2]).mean() for each in (before, after)]
    assert shirt[0] < -80 < 80 < shirt[1]  # from blue to red
    assert np.abs(after - before)[:40].mean() < 6  # the face is kept
