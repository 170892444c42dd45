"""The sweep files that are shown, in `examples/sweeps` and `docs/sweeps.md`, run; with small budgets, in a copy."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from surrogate_ax_cli.main import app
from surrogate_ax_cli.sweep_file import read_sweep
from tests.integrations.cli.sweep_folder import Sweep
from tests.integrations.diffusers.tiny import NUMPY_2

ROOT = Path(__file__).parents[3]
SHOWN = ROOT / "examples" / "sweeps"
PAGE = (ROOT / "docs" / "sweeps.md").read_text(encoding="utf-8")
NAMES = ["avatars", "hills"]
WARMTH = (
    "def warmth(images, conditions):\n    return images[..., 0].mean(axis=(1, 2)) - images[..., 2].mean(axis=(1, 2))\n"
)


def _forget(folder: Path) -> None:
    for path in folder.glob("*.py"):
        sys.modules.pop(path.stem, None)


def test_none_is_left_out() -> None:
    assert sorted(path.stem for path in SHOWN.glob("*.yaml")) == NAMES


@NUMPY_2
@pytest.mark.parametrize("name", NAMES)
def test_an_example_runs_as_its_comment_says(sweep: Sweep, name: str) -> None:
    shutil.copytree(SHOWN, "sweeps", ignore=shutil.ignore_patterns("*.db*", "*-previews", "__pycache__"))
    _forget(Path("sweeps"))
    file = Path("sweeps") / f"{name}.yaml"
    text = re.sub(r"^budget: \d+$", "budget: 12", file.read_text(), flags=re.MULTILINE)
    file.write_text(re.sub(r"n: 32", "n: 8", text))
    described = read_sweep(file)
    assert described.budget == 12
    answer = CliRunner().invoke(app, ["sweep", str(file), "--json"])
    assert answer.exit_code == 0, answer.output
    assert json.loads(answer.stdout)["trials"]["scored"] == 12
    steps = ["--steps", "8"] if name == "avatars" else []
    picked = CliRunner().invoke(app, ["best", str(file), "-k", "2", *steps, "--json"])
    assert picked.exit_code == 0, picked.output
    assert all((Path("best") / row["file"]).suffix == ".png" for row in json.loads(picked.stdout))
    _forget(Path("sweeps"))


@NUMPY_2
def test_the_file_in_the_docs(sweep: Sweep) -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    (sweep.folder / "s.yaml").write_text(block.replace("budget: 64 ", "budget: 6 "))
    (sweep.folder / "scores.py").write_text(WARMTH)
    answer = sweep("sweep", "--json")
    assert answer.exit_code == 0, answer.output
    result = json.loads(answer.stdout)
    assert result["trials"]["scored"] == 6
    assert result["best"][0]["conditions"].keys() == {"guidance_scale", "prompt"}


def test_the_commands_in_the_docs_are_there() -> None:
    shown = re.findall(r"^    surrogate-ax (\w+) (examples/\S+)(.*)$", PAGE, re.MULTILINE)
    assert {command for command, _, _ in shown} == {"sweep", "worker", "gallery", "dashboard", "report", "best"}
    for command, file, rest in shown:
        assert (ROOT / file).is_file()
        text = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200", "TERM": "dumb"}).stdout
        for option in re.findall(r"(?<= )-{1,2}[a-z-]+", rest.split("#")[0]):
            assert option in text


def test_the_docs_list_every_key() -> None:
    from surrogate_ax_cli.generator_source import _PIPELINE
    from surrogate_ax_cli.sweep_file import _KEYS

    for key in [*_KEYS, *_PIPELINE]:
        assert re.search(rf"\b{key}\b", PAGE), key
