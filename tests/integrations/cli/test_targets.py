"""What commands are given: a sweep file, a storage or a snapshot, and where they write."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from surrogate_ax.errors import ArgumentError
from surrogate_ax_cli.main import app
from surrogate_ax_cli.outputs import place
from surrogate_ax_cli.targets import folder_name
from tests.integrations.cli.sweep_folder import Sweep


def test_status_is_the_same_by_file_storage_and_url(sweep: Sweep) -> None:
    done = json.loads(sweep("sweep", "--json").stdout)
    by_file = sweep("status", "--json")
    assert by_file.exit_code == 0, by_file.output
    found = json.loads(by_file.stdout)
    assert found["trials"] == {key: value for key, value in done["trials"].items() if key != "budget"}
    assert found["best"] == done["best"]
    for target in ("s.db", "sqlite:///s.db"):
        other = json.loads(CliRunner().invoke(app, ["status", target, "--json"]).stdout)
        assert {**other, "storage": ""} == {**found, "storage": ""}
    assert sweep("status").stdout.startswith("study 's': 12 trials, 12 scored, 12 NFE\n  trial ")


@pytest.mark.filterwarnings("default:storage:UserWarning")
def test_a_journal_and_a_snapshot_are_opened(sweep: Sweep) -> None:
    sweep("sweep", budget="4", storage="s.log")
    answer = sweep("status", file="s.log")
    assert answer.stdout.startswith("study 's': 4 trials"), answer.output
    sweep("sweep", file="a.yaml", budget="4", backend="ax")
    assert sweep("status", file="a.json").stdout.startswith("study 'a': 4 trials")
    picked = sweep("best", "-k", "1", file="a.json")  # whose generator the experiment's sweep file names
    assert picked.exit_code == 0, picked.output
    assert (sweep.folder / "a" / "best" / "sheet.png").is_file()


def test_a_sweep_goes_on_from_its_storage(sweep: Sweep) -> None:
    sweep("sweep", budget="4")
    sweep.write(budget="8")
    again = sweep("sweep", "--json", file="s.db")
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout)["trials"]["ended"] == 8
    (sweep.folder / "s.yaml").unlink()
    lost = sweep("sweep", file="s.db")
    assert lost.exit_code == 2
    assert "'s' in s.db names no sweep file that is there" in lost.stderr


def test_several_studies_need_a_name(sweep: Sweep) -> None:
    sweep("sweep", budget="4", storage="both.db")
    sweep("sweep", file="t.yaml", budget="4", storage="both.db")
    unnamed = sweep("status", file="both.db")
    assert unnamed.exit_code == 2
    assert "--study: expected one of ['s', 't'], none was named" in unnamed.stderr
    assert sweep("status", "--study", "t", file="both.db").stdout.startswith("study 't'")


def test_the_log_holds_every_traceback(sweep: Sweep) -> None:
    code = "def picky(pictures, conditions):\n    if (pictures[:, 0, 0] > 0.6).any():\n"
    code += "        raise OSError('too light')\n"
    (sweep.folder / "picky.py").write_text(f"{code}    return pictures.mean(dim=(1, 2))\n")
    answer = sweep("sweep", budget="24", score="picky:picky")
    assert answer.exit_code == 0, answer.output
    assert answer.stderr.count("Traceback") <= 2  # of the first of those tried out, and of the search
    log = (sweep.folder / "s" / "log.txt").read_text()
    failed = log.count("An output failed: OSError: too light")
    assert failed > 1
    assert log.count("picky.py") >= failed


def test_a_place_is_free_or_asked_for(tmp_path: Path) -> None:
    default = tmp_path / "report.html"
    assert place(None, default) == default
    default.write_text("")
    assert place(None, default) == tmp_path / "report-2.html"
    assert place(None, default, replace=True) == default
    assert place(default, default, replace=True) == default
    with pytest.raises(ArgumentError, match=r"--out: .*report\.html is there already"):
        place(default, tmp_path / "other")
    (tmp_path / "empty").mkdir()
    assert place(tmp_path / "empty", default) == tmp_path / "empty"


@pytest.mark.parametrize(
    ("study", "folder"),
    [("cars", "cars"), ("../cars", "_cars"), ("a/b", "a_b"), ("..", "study"), ("  ", "study"), ("x" * 300, "x" * 80)],
)
def test_a_folder_has_the_studys_name_and_stays_beside_it(study: str, folder: str) -> None:
    assert folder_name(study) == folder
