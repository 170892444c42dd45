"""The protocol for pipelines of one's own: equal costs, rows that are kept and passed over, what is said of them."""

from __future__ import annotations

import csv
import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integrations.diffusers import tiny

pytestmark = tiny.NUMPY_2
FILE = Path(__file__).parents[1] / "examples" / "benchmarks" / "real.py"
METHODS = ["plain draws", "by hand", "TPE in moving boxes", "planned", "planned, stopping"]
SCORE = "def red(images, conditions):\n    return [float(image[..., 0].mean()) for image in images]\n"
Run = Callable[..., str]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    tiny.stable_diffusion().save_pretrained(tmp_path / "model", safe_serialization=True)
    (tmp_path / "reds.py").write_text(SCORE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def run(*arguments: object) -> str:
        own = (
            "--pipeline",
            "model",
            "--prompt",
            "a red car",
            "--steps",
            4,
            "--results",
            "found.csv",
            "--device",
            "cpu",
        )
        monkeypatch.setattr(sys, "argv", [FILE.name, *map(str, (*own, *arguments))])
        runpy.run_path(str(FILE), run_name="__main__")
        return capsys.readouterr().out

    return run


def rows() -> list[dict[str, str]]:
    with Path("found.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_method_costs_the_same_and_rows_are_kept(run: Run) -> None:
    output = run("--score", "reds:red", "--budget", 16, "--repeats", 1)
    found = rows()
    assert [row["method"] for row in found] == METHODS
    assert [float(row["nfe"]) for row in found[:4]] == [16 * 8] * 4  # guided: two network evaluations a step
    assert [int(row["trials"]) for row in found[:4]] == [16] * 4
    assert 12 * 8 < float(found[4]["nfe"]) <= 16 * 8
    assert int(found[4]["trials"]) > 16
    assert "RESULT real_nfe 128 <=128 ok" in output
    said = {row["pipeline"]: row for row in found}["StableDiffusionPipeline"]
    assert json.loads(said["call"])["prompt"] == "a red car"
    assert (said["dtype"], said["score"], said["budget"]) == ("float32", "reds:red", "16")
    assert said["device"].endswith("CPU")
    assert "diffusers=" in said["versions"]
    assert len({row["fingerprint"] for row in found}) == 1
    again = run("--score", "reds:red", "--budget", 16, "--repeats", 2)
    assert [row["method"] for row in rows()] == METHODS * 2
    assert rows()[:5] == found
    assert "repeat 0" not in again


def test_the_best_of_draws_is_that_of_its_values(run: Run) -> None:
    kept = "def kept(images, conditions):\n    SEEN.extend(red(images, None))\n    return SEEN[-len(images):]\n"
    Path("counted.py").write_text(f"SEEN = []\n{SCORE}\n{kept}")
    run("--score", "counted:kept", "--budget", 8, "--repeats", 1)
    seen = sys.modules.pop("counted").SEEN
    first = rows()[0]
    assert float(first["best"]) == pytest.approx(max(seen[:8]), abs=1e-5)
    assert float(first["mean"]) == pytest.approx(sum(seen[:8]) / 8, abs=1e-5)


def test_a_score_is_asked_for(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run()
    assert "--score: say how outputs of your pipeline are judged" in capsys.readouterr().err


def test_what_falls_short_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    report = runpy.run_path(str(FILE))["report"]

    def row(method: str, best: float, nfe: float = 100.0) -> dict[str, Any]:
        return {"method": method, "best": best, "spread": 0.5, "nfe": nfe}

    report(
        [row("plain draws", 1.0), row("by hand", 0.5), row("TPE in moving boxes", 2.0), row("planned", 1.5, 101)], 100
    )
    lines = capsys.readouterr().out.splitlines()
    assert "RESULT real_nfe 101 <=100 short" in lines
    assert "RESULT real_planned_over_plain_draws 1 >0 ok" in lines
    assert "RESULT real_planned_over_by_hand 2 >0 ok" in lines
    assert "RESULT real_planned_over_tpe_in_moving_boxes -1 >0 short" in lines
    assert "# by hand: median best 0.5, -1.00 spreads above plain draws" in lines
