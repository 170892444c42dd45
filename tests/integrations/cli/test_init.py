"""`surrogate-ax init`: what it writes runs as it is, and nothing that is there is written over."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from surrogate_ax_cli.main import app
from surrogate_ax_cli.sweep_file import read_sweep
from tests.integrations.cli.sweep_folder import Sweep
from tests.integrations.diffusers import tiny


def init(*arguments: str):
    return CliRunner().invoke(app, ["init", *arguments])


def test_a_function_is_searched_as_written(sweep: Sweep) -> None:
    begun = init("sweep_parts:make", "--out", "new.yaml")
    assert begun.exit_code == 0, begun.output
    assert begun.stdout.splitlines()[:2] == ["new.yaml", "new_scores.py"]
    assert "# call:\n#   revision: '1'\n" in (sweep.folder / "new.yaml").read_text()
    answer = sweep("sweep", "--json", file="new.yaml")
    assert answer.exit_code == 0, answer.output
    result = json.loads(answer.stdout)
    assert (result["trials"]["scored"], list(result["best"][0]["values"])) == (64, ["brightness"])


@tiny.NUMPY_2
def test_a_pipeline_in_another_folder_is_searched(sweep: Sweep) -> None:
    tiny.stable_diffusion().save_pretrained(sweep.folder / "models" / "plain", safe_serialization=True)
    begun = init("models/plain", "--out", "searches/one.yaml")
    assert begun.exit_code == 0, begun.output
    file = sweep.folder / "searches" / "one.yaml"
    text = file.read_text()
    assert "generator: ../models/plain\n" in text
    assert "also negative_prompt, guidance_scale, height, width" in text
    file.write_text(text.replace("budget: 64", "budget: 4").replace("batch: 8", "batch: 4"))
    answer = sweep("sweep", "--json", file="searches/one.yaml")
    assert answer.exit_code == 0, answer.output
    assert json.loads(answer.stdout)["trials"]["scored"] == 4


def test_every_key_in_a_comment_is_a_key(sweep: Sweep) -> None:
    assert init().exit_code == 0
    assert sorted(sweep.files()) == ["portraits.yaml", "portraits_scores.py", "sweep_parts.py"]
    file = sweep.folder / "portraits.yaml"
    plain = read_sweep(file)
    assert (plain.generator.kind, plain.call["prompt"]) == ("embedded", "smiling, glasses")
    shown = re.sub(r"^# (?=(\w+:|  \w))", "", file.read_text(), flags=re.MULTILINE)
    read = read_sweep(Path(file.write_text(shown) and file))
    assert read.checkpoints is None
    assert read.backend == "ax"
    assert "guidance_scale" in read.conditions


def test_nothing_is_written_over(sweep: Sweep) -> None:
    init("sweep_parts:make")
    kept = {name: (sweep.folder / name).read_bytes() for name in sweep.files()}
    second = init("sweep_parts:make")
    assert second.stdout.splitlines()[:2] == ["sweep_parts-2.yaml", "sweep_parts_2_scores.py"]
    assert {name: (sweep.folder / name).read_bytes() for name in kept} == kept
    (sweep.folder / "third_scores.py").write_text("mine = 1\n")
    refused = init("sweep_parts:make", "--out", "third.yaml")
    assert refused.exit_code == 2
    assert "third_scores.py is there already" in refused.stderr
    assert "third.yaml" not in sweep.files()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("models/none",), "models/none is not a folder"),
        (("sweep_parts:none",), "has no function 'none'"),
        (("sweep_parts:fail",), "GENERATOR: sweep_parts:fail cannot be called without z"),
        (("sweep_parts:make", "--out", "notes.txt"), "--out: expected a sweep file NAME.yaml, got notes.txt"),
        (("sweep_parts:make", "--out", "sweep_parts.py"), "--out: sweep_parts.py is there already"),
    ],
)
def test_what_cannot_be_searched_is_refused(sweep: Sweep, arguments: tuple[str, ...], message: str) -> None:
    answer = init(*arguments)
    assert answer.exit_code == 2, answer.output
    assert message in answer.stderr
    assert sweep.files() == ["sweep_parts.py"]
