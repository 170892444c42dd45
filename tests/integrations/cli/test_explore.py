"""`surrogate-ax explore`: a study begun from words, gone on with, and pictures that are searched around and remade."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient
from typer.testing import CliRunner

from surrogate_ax.errors import ArgumentError, GenerationError, MismatchError
from surrogate_ax.generation.saved_picture import SavedPicture, read_saved, save_picture
from surrogate_ax_cli.clip_call import ClipCall, read_clip_call
from surrogate_ax_cli.explore import KEPT, STUDY_FILE, Request, opened
from surrogate_ax_cli.main import app
from surrogate_ax_cli.pipelines import call_of, maker_of_saved, remake
from surrogate_ax_cli.prefer import opened as preferring
from surrogate_ax_cli.sweep_file import read_sweep
from surrogate_ax_optuna import read_record, sqlite
from tests.integrations.diffusers.tiny import NUMPY_2
from tests.processes import Forked

ROOT = Path(__file__).parents[3]
ADDRESS = "http://127.0.0.1"
TOY = """
from surrogate_ax import FunctionGenerator

def pictures():
    return FunctionGenerator(lambda z: z.permute(0, 2, 3, 1).sigmoid(), (3, 4, 4))

def broken():
    return FunctionGenerator(fail, (3, 4, 4))

def blue(pictures, conditions):
    return {"light": pictures.mean(dim=(1, 2, 3)), "blue": pictures[..., 2].mean(dim=(1, 2))}

def fail(z):
    raise RuntimeError("no memory for pictures")
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "toy_pictures.py").write_text(TOY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "toy_pictures", raising=False)
    return tmp_path


def toy(**options: object) -> Request:
    return Request("toy_pictures:pictures", **options)  # type: ignore[arg-type]


def choose(one: object, liked: int = 0) -> list[int]:
    exploration = one.exploration  # type: ignore[attr-defined]
    trials = list(exploration.page.trials)
    for trial in trials:
        exploration.made(trial, 60)
    exploration.answer(exploration.page.number, [trials[liked]])
    return trials


def test_a_study_is_begun_and_gone_on_with(folder: Path) -> None:
    with opened(toy()) as one:
        assert one.name == "explore"
        choose(one)
        second = [one.exploration.point(trial).terms for trial in one.exploration.page.trials]
        client = TestClient(one.page, base_url=ADDRESS)
        assert client.get("/page").json()["number"] == 1
    with opened(toy()) as one:
        assert [one.exploration.point(trial).terms for trial in one.exploration.page.trials] == second
    import optuna

    study = optuna.load_study(study_name="explore", storage=sqlite(folder / "explore-out" / STUDY_FILE))
    assert len(read_record(study).trials) == 8
    assert len(list((folder / "explore-out" / "study-previews").iterdir())) == 8
    with (
        pytest.raises(MismatchError, match=r"begun with other parts.*`--study` begins another one"),
        opened(toy(seed=1)),
    ):
        pass


SWEEP = """version: 1
name: toys
generator: toy_pictures:pictures
score: toy_pictures:blue
metrics: {light: maximize, blue: {at_least: 0.5}}
budget: 16
policy: {name: draws, n: 8, axes: 4}
"""


def test_a_sweep_is_searched_by_choices_within_its_bounds(folder: Path) -> None:
    (folder / "toys.yaml").write_text(SWEEP)
    sweep, said = read_sweep(Path("toys.yaml")), list[str]()
    with preferring(sweep, "eight", say=said.append) as one:
        assert one.exploration.objective.describe() == [
            ["liking", "maximize", None],
            ["light", "track", None],
            ["blue", "at_least", 0.5],
        ]
        choose(one)
        client = TestClient(one.page, base_url=ADDRESS)
        for trial in one.exploration.page.trials:
            one.exploration.made(trial, 60)
        state = client.get("/page").json()
        assert state["number"] == 1
        page = client.get("/").text
        assert '<ul id="grid" data-measures></ul>' in page  # room for what was measured, before it was
        assert re.search(r"<h1[^>]*>\s*toys\s*</h1>", page)
        assert all(re.fullmatch(r"light \S+, blue \S+( \(below 0.5\))?", item["note"]) for item in state["items"])
    assert said == ["a person decides: of toys.yaml, this has no effect here: budget, policy"]
    with preferring(sweep, "eight", say=said.append) as one:
        assert one.exploration.page.number == 1
    import optuna

    study = optuna.load_study(study_name="toys-liked", storage=sqlite(folder / "toys.db"))
    record = read_record(study)
    assert set(record.history.values) == {"liking", "light", "blue"}
    assert len(record.trials) == 8


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("budget", "conditions: {k: [1, 2]}\nbudget", "conditions: a person's choices search latents only; give k one"),
        ("budget", "backend: ax\nbudget", "backend: a person's choices are kept in an Optuna study, got 'ax'"),
        ("light:", "liking:", r"metrics: .* got \['liking'\]"),
        ("light:", "dark:", "expected exactly the declared metrics"),
    ],
)
def test_a_sweep_that_no_person_can_decide_is_refused(folder: Path, old: str, new: str, message: str) -> None:
    (folder / "toys.yaml").write_text(SWEEP.replace(old, new))
    answer = CliRunner().invoke(app, ["prefer", "toys.yaml", "--port", "0"])
    assert answer.exit_code == 2, answer.output
    assert re.search(message, answer.stderr)
    assert not (folder / "toys.db").exists()


def test_a_picture_that_was_kept_is_searched_around(folder: Path) -> None:
    with opened(toy()) as one:
        trials = choose(one)
        client = TestClient(one.page, base_url=ADDRESS, headers={"Origin": ADDRESS})
        client.post("/keep", json={"trial": trials[3], "kept": True})
        terms = one.exploration.point(trials[3]).terms
    kept = folder / "explore-out" / KEPT / f"trial{trials[3]}.png"
    assert read_saved(kept).recipe.terms == terms
    with opened(toy(picture=kept, name="around")) as one:
        shown = one.exploration.page.trials
        assert one.exploration.point(shown[0]).terms == terms
        assert len(shown) == 8
    with (
        pytest.raises(ArgumentError, match="'toy_pictures:pictures' made it"),
        opened(Request(str(kept))),
    ):
        pass


def test_what_cannot_work_writes_nothing(folder: Path) -> None:
    with (
        pytest.raises(GenerationError, match="nothing was written: RuntimeError: no memory"),
        opened(Request("toy_pictures:broken")),
    ):
        pass
    assert not (folder / "explore-out").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing-there"], "expected the folder of a pipeline"),
        (["toy_pictures:pictures", "--prompt", "red"], "makes a generator of its own"),
        (["none.png"], "none.png cannot be read"),
        (["plain.png"], "plain.png carries no recipe"),
        (["toy_pictures:pictures", "--from", "plain.png"], "plain.png carries no recipe"),
        (["--prompt", "a fox"], "the embedded model does not know"),
        (["--set", "steps"], "--set: expected name=value"),
    ],
)
def test_what_is_asked_wrongly_is_said(folder: Path, arguments: list[str], said: str) -> None:
    Image.new("RGB", (4, 4)).save(folder / "plain.png")
    result = CliRunner().invoke(app, ["explore", *arguments])
    assert result.exit_code == 2
    assert said in result.stderr
    assert not (folder / "explore-out").exists()


@NUMPY_2
def test_pictures_of_the_embedded_model_are_remade_and_edited(folder: Path) -> None:
    call = {"prompt": "red shirt", "num_inference_steps": 2}
    with opened(Request(call=call, mode="pairs", batch=2)) as one:
        made = one.exploration.made(one.exploration.page.trials[0], 120)
        assert made is not None
        recipe = one.exploration.recipe(one.exploration.page.trials[0], made)
    file = save_picture(made.output, folder / "face", SavedPicture(recipe, "portraits", call))
    output, carried = remake(read_saved(file), file)
    assert np.abs(np.asarray(output) - np.asarray(made.output)).max() < 1e-5
    assert carried.recipe.terms == recipe.terms
    runner = CliRunner()
    again = runner.invoke(app, ["best", str(file), "--steps", "3"])
    assert again.exit_code == 0, again.stderr
    assert read_saved(folder / "face-best" / "face.png").recipe.overrides == {"num_inference_steps": 3}
    changed = runner.invoke(app, ["edit", str(file), "--to", "blue shirt", "--draws", "1", "--out", "edited"])
    assert changed.exit_code == 0, changed.stderr
    assert read_saved(folder / "edited" / "edit-1.png").recipe.terms


def test_a_picture_from_elsewhere_cannot_ask_for_anything(folder: Path) -> None:
    with opened(toy()) as one:
        trial = one.exploration.page.trials[0]
        made = one.exploration.made(trial, 60)
        recipe = one.exploration.recipe(trial, made)
    with pytest.raises(ArgumentError, match="at most 1,000 steps, got 1,000,000"):
        call_of(SavedPicture(recipe, "portraits", {"num_inference_steps": 1_000_000}), "portraits", {})
    assert call_of(SavedPicture(recipe, "/etc", {"steps": 3}), "toy_pictures:pictures", {}) == {}
    with pytest.raises(ArgumentError, match="'os:system' made it"):
        maker_of_saved(SavedPicture(recipe, "os:system", {}), "portraits")


def test_the_server_answers_and_ends(folder: Path) -> None:
    paths = os.pathsep.join([str(ROOT), str(ROOT / "integrations"), str(folder)])
    command = ("from surrogate_ax_cli.main import app; app()", "explore", "toy_pictures:pictures", "--port", "0")
    with Forked(*command, cwd=folder, env={**os.environ, "PYTHONPATH": paths}) as process:
        try:
            lines = iter(process.stderr.readline, "")
            address = next(found[0] for line in lines if (found := re.search(r"http://127\.0\.0\.1:\d+", line)))
            with urllib.request.urlopen(f"{address}/page", timeout=60) as answer:
                assert json.load(answer)["number"] == 0
            process.send_signal(signal.SIGINT)
            rest = process.stderr.read()
            assert process.wait(60) == 130
            assert "what was chosen is kept" in rest
            assert "Traceback" not in rest
        finally:
            process.kill()


# --- the ready judge of sweeps


@pytest.mark.parametrize(
    ("text", "call"),
    [
        ('clip("red hair")', ClipCall(("red hair",))),
        ("clip('a', 'b', weights='models/clip', device='cuda')", ClipCall(("a", "b"), "models/clip", "cuda")),
    ],
)
def test_a_clip_call_is_read(text: str, call: ClipCall) -> None:
    assert read_clip_call(text) == call


@pytest.mark.parametrize(
    "text",
    [
        "clip()", "clip(", "clip(3)", 'clip(weights="x")', 'clip("a", wait="x")', 'clip("a", **{"weights": "x"})',
        'clip("a", *["b"])', 'clip(open("x").read())', 'clip(f"{x}")', 'clip("")', 'clip("a")("b")', 'clip("a" * 9)',
    ],
)  # fmt: skip
def test_what_is_no_clip_call_is_refused(text: str) -> None:
    with pytest.raises(ArgumentError, match="expected clip"):
        read_clip_call(text)
