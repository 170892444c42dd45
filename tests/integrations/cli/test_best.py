"""`surrogate-ax best`: the best that differ, made again, with what was changed written down."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from surrogate_ax import Recipe, render
from surrogate_ax.media.contact_sheet import GAP, MARGIN, TILE
from surrogate_ax_diffusers import avatar_generator
from tests.integrations.cli.sweep_folder import Sweep
from tests.integrations.diffusers.tiny import NUMPY_2


def rows_of(answer: Any) -> list[dict[str, Any]]:
    assert answer.exit_code == 0, answer.output
    rows: list[dict[str, Any]] = json.loads(answer.stdout)
    return rows


def test_the_best_are_made_again_with_their_recipes(sweep: Sweep) -> None:
    sweep("sweep")
    rows = rows_of(sweep("best", "-k", "3", "--out", "picked", "--json"))
    assert len(rows) == 3
    out = sweep.folder / "picked"
    assert json.loads((out / "best.json").read_text()) == rows
    for place, row in enumerate(rows, start=1):
        assert row["file"] == f"{place}-trial{row['trial']}.png"
        assert row["values"]["rendered"]["dark"] == pytest.approx(row["values"]["searched"]["dark"], abs=1e-6)
        assert "overrides" not in row["recipe"]
        beside = json.loads((out / row["file"]).with_suffix(".json").read_text())
        assert beside == {key: row[key] for key in ("trial", "values", "recipe")}
        with Image.open(out / row["file"]) as picture:
            assert picture.size == (144, 144)  # 24 pixels, enlarged to at least 128
    values = [row["values"]["searched"]["dark"] for row in rows]
    assert values == sorted(values, reverse=True)


def files_of(sweep: Sweep, folder: str) -> set[str]:
    return {path.relative_to(sweep.folder).as_posix() for path in (sweep.folder / folder).iterdir()}


def test_a_second_portfolio_takes_the_place_of_the_first_only_when_asked(sweep: Sweep) -> None:
    sweep("sweep")
    first = sweep("best", "-k", "4")
    kept = files_of(sweep, "s/best")
    beside = sweep("best", "-k", "2")
    assert [line.split(":")[0] for line in first.stdout.splitlines()][-1] == "s/best/sheet.png"
    assert files_of(sweep, "s/best") == kept
    assert beside.stdout.splitlines()[-1] == "s/best-2/sheet.png"
    text = sweep("best", "-k", "2", "--force")
    assert text.exit_code == 0
    listed = [line.split(":")[0] for line in text.stdout.splitlines()]
    assert len(listed) == 3
    recipes = [name.replace(".png", ".json") for name in listed if "sheet" not in name]
    assert files_of(sweep, "s/best") == {"s/best/best.json", *listed, *recipes}


def test_the_best_side_by_side(sweep: Sweep) -> None:
    sweep("sweep")
    rows = rows_of(sweep("best", "-k", "8", "--max-cosine", "1", "--min-distance", "0", "--json"))
    assert len(rows) == 8
    with Image.open(sweep.folder / "s/best/sheet.png") as sheet:
        assert sheet.width == 2 * MARGIN + 6 * TILE + 5 * GAP  # the last two stand in a second row
        assert len(sheet.getcolors(1 << 20)) > 100


def test_from_the_storage_or_the_file_it_is_the_same(sweep: Sweep) -> None:
    sweep("sweep")
    assert rows_of(sweep("best", "--json")) == rows_of(sweep("best", "--json", file="s.db"))


def test_without_its_sweep_file_a_study_needs_its_generator_named(sweep: Sweep) -> None:
    sweep("sweep")
    (sweep.folder / "s.yaml").unlink()
    unknown = sweep("best", file="s.db")
    assert unknown.exit_code == 2
    assert "Name the function that returns it, as --generator package.module:factory" in unknown.stderr
    (row,) = rows_of(sweep("best", "-k", "1", "--generator", "sweep_parts:make", "--json", file="s.db"))
    assert row["values"]["rendered"] == {}
    assert row["values"]["searched"].keys() == {"dark"}


@NUMPY_2
def test_searched_cheap_and_rendered_dear(sweep: Sweep) -> None:
    (sweep.folder / "sweep_scores.py").write_text(
        "def red(images, conditions):\n    return images[..., 0].mean(axis=(1, 2))\n"
    )
    begun = sweep(
        "sweep",
        generator="embedded",
        call="{num_inference_steps: 2}",
        conditions="{prompt: [red hat, happy mouth]}",
        score="sweep_scores:red",
        metrics="{red: maximize}",
        budget="6",
    )
    assert begun.exit_code == 0, begun.output
    (row,) = rows_of(sweep("best", "-k", "1", "--steps", "5", "--set", "guidance_scale=2.5", "--json"))
    recipe = Recipe.from_json(row["recipe"])
    assert recipe.overrides == {"num_inference_steps": 5, "guidance_scale": 2.5}
    assert recipe.condition.keys() == {"prompt"}
    assert row["values"]["rendered"]["red"] != row["values"]["searched"]["red"]
    outputs, _ = render(recipe, avatar_generator(steps=2))  # what it says is enough to make it again
    with Image.open(sweep.folder / "s" / "best" / row["file"]) as picture:
        small = np.asarray(picture)[4::8, 4::8]
    np.testing.assert_allclose(small / 255, np.asarray(outputs)[0], atol=0.51 / 255 + 1e-4)


def test_outputs_that_are_no_pictures_are_arrays(sweep: Sweep) -> None:
    sweep("sweep", generator="sweep_parts:vectors", score="sweep_parts:first", previews="false")
    (row,) = rows_of(sweep("best", "-k", "1", "--json"))
    array = np.load(sweep.folder / "s" / "best" / row["file"], allow_pickle=False)
    assert array.shape == (8,)
    assert array[0] == pytest.approx(row["values"]["rendered"]["dark"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--steps", "9"),
            "--steps, --set: {'num_inference_steps': 9} cannot be set. conditions: this function takes none",
        ),
        (("--set", "steps"), "--set: expected name=value, as guidance_scale=3.0, got 'steps'"),
        (("--set", "a b=3"), "--set: expected name=value"),
        (("--set", "a=[1"), "--set: expected name=value"),
        (("--max-cosine", "0"), "max_cosine"),
        (("--out", "sweep_parts.py"), "--out: sweep_parts.py is there already. Name another place"),
        (("--out", "s-previews"), "--out: s-previews is there already. Name another place"),
        (
            ("--out", "s-previews", "--force"),
            "--out: expected a new folder, or one of an earlier `best`, got s-previews",
        ),
    ],
)
def test_bad_input_is_refused(sweep: Sweep, options: tuple[str, ...], message: str) -> None:
    sweep("sweep", budget="4")
    before = sweep.files()
    answer = sweep("best", *options)
    assert answer.exit_code == 2, answer.output
    assert message in answer.stderr
    assert sweep.files() == before


def test_there_is_nothing_to_choose_from_yet(sweep: Sweep) -> None:
    answer = sweep("best")
    assert answer.exit_code == 2
    assert "there are no trials of 's' yet. Run `surrogate-ax sweep s.yaml`" in answer.stderr
    assert sweep.files() == ["s.yaml", "sweep_parts.py"]


def test_a_list_that_is_not_ours_is_left_alone(sweep: Sweep, tmp_path: Path) -> None:
    sweep("sweep", budget="4")
    (tmp_path / "best").mkdir()
    (tmp_path / "best" / "best.json").write_text('{"my": "notes"}')
    answer = sweep("best", "--out", "best", "--force")
    assert answer.exit_code == 2
    assert "is not what `best` writes" in answer.stderr
    assert [path.name for path in (tmp_path / "best").iterdir()] == ["best.json"]


def test_a_report_is_one_file_with_pictures_and_recipes(sweep: Sweep) -> None:
    none = sweep("report")
    assert none.exit_code == 2
    assert "there are no trials of 's' yet. Run `surrogate-ax sweep s.yaml`." in none.stderr
    assert not (sweep.folder / "report.html").exists()
    sweep("sweep")
    answer = sweep("report", "--items", "3")
    assert answer.exit_code == 0, answer.output
    page = (sweep.folder / answer.stdout.strip()).read_text()
    assert page.count("data:image/") >= 3
    assert "dark" in page
    assert 'src="http' not in page
