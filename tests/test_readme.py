"""What README shows works: its code is run as printed, its commands and files exist."""

from __future__ import annotations

import csv
import re
import statistics
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.integrations.diffusers import tiny

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"(?:<!-- (?P<note>[^\n]*) -->\n)?```python\n(?P<code>.*?)```", re.DOTALL)
PIPELINE, FUNCTION, DEFINE_BY_RUN, AX = (match["code"] for match in BLOCK.finditer(README))


def _run(code: str, names: dict[str, Any]) -> dict[str, Any]:
    exec(compile(code, "README.md", "exec"), names)
    return names


def test_every_block_says_how_it_is_tested() -> None:
    notes = [match["note"] for match in BLOCK.finditer(README)]
    assert notes == [
        "tests run this with a tiny pipeline at path/to/pipeline",
        "tests run this as it is",
        "tests run this after the one above",
        "tests run this after the function block",
    ]


def test_the_blocks_are_short() -> None:
    def lines(code: str) -> int:
        return sum(bool(line.strip()) for line in code.splitlines())

    assert lines(PIPELINE) <= 20
    assert lines(FUNCTION) <= 15


@tiny.NUMPY_2
def test_the_pipeline_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.stable_diffusion().save_pretrained(tmp_path / "path" / "to" / "pipeline", safe_serialization=True)
    monkeypatch.chdir(tmp_path)
    names = _run(PIPELINE, {})
    study = names["study"]
    assert len(study.trials) == 64
    assert {trial.state.name for trial in study.trials} == {"COMPLETE"}
    with Image.open(tmp_path / "best0.png") as best:
        assert names["warmth"]([best], [{}])[0] == pytest.approx(study.best_value, abs=1.0)  # of 255 levels


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_the_ax_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ax.utils.testing.mock import mock_botorch_optimize_context_manager

    monkeypatch.chdir(tmp_path)
    with mock_botorch_optimize_context_manager(force=True):  # for Ax's analyses
        names = _run(AX, _run(FUNCTION, {}))
    assert len(names["client"]._experiment.trials) == 48
    assert (tmp_path / "report.html").read_text().count("<img") == 12
    assert (tmp_path / "client.json.previous").exists()


def test_the_function_blocks() -> None:
    names = _run(FUNCTION, {})
    study = names["study"]
    assert len(study.trials) == 100
    assert 1 <= len(names["best"]) <= 4
    assert study.best_value > max(trial.value for trial in study.trials[:50])  # the box beats the draws before it
    _run(DEFINE_BY_RUN, names)
    assert len(names["study"].trials) == 50
    assert {trial.state.name for trial in names["study"].trials} == {"COMPLETE"}


def test_commands_and_files_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"^ +make (\w+)", README, re.MULTILINE)) == {"demo", "test"} <= targets
    for link in re.findall(r"\]\(([^)]+)\)", README):
        assert link.startswith("https://") or (ROOT / link).is_file(), link
    for path in re.findall(r"`(examples/[\w/.]*)`", README):
        assert (ROOT / path).exists(), path


def test_the_demos_numbers_are_those_measured() -> None:
    with (ROOT / "examples" / "benchmarks" / "results" / "demo_seeds.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    gains = [1 - float(row["search_best"]) / float(row["plain_best"]) for row in rows]
    assert len({row["seed"] for row in rows}) == len(rows) == 20
    assert {row["search_nfe"] for row in rows} == {row["plain_nfe"] for row in rows} == {"3072"}
    history = re.search(r"On (\d+) seeds its best\s.*? on (\d+), by (\d+)% in the median", README, re.DOTALL)
    assert history is not None
    wins = sum(gain > 0 for gain in gains)
    assert [int(number) for number in history.groups()] == [20, wins, round(100 * statistics.median(gains))]


def test_the_picture_is_small_enough_to_load_at_once() -> None:
    assert (ROOT / "examples" / "images" / "demo.png").stat().st_size < 300_000
