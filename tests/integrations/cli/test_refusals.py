"""What used to end in a traceback, or as if all were done, ends in one line and the right exit code."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from typer.testing import CliRunner

from surrogate_ax.errors import SurrogateError
from surrogate_ax_cli.assembly import assemble
from surrogate_ax_cli.main import app
from surrogate_ax_cli.optuna_sweep import OptunaSweep
from surrogate_ax_cli.sweep_file import read_sweep
from tests.integrations.cli.sweep_folder import Sweep

EXITS = """
import sys
from sweep_parts import make

def factory():
    sys.exit(0)

def score(pictures, conditions):
    sys.exit(0)
"""


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"generator": "sweep_exits:factory"}, "s.yaml:2: generator: sweep_exits:factory raised SystemExit: 0 ("),
        ({"score": "sweep_exits:score"}, "generator or score called sys.exit(0) ("),
        ({"score": "sweep_leaves:score"}, "s.yaml:3: score: importing 'sweep_leaves' failed: SystemExit: 3 ("),
    ],
)
def test_code_that_exits_does_not_end_a_sweep_as_if_it_were_done(
    sweep: Sweep, changes: dict[str, str], message: str
) -> None:
    (sweep.folder / "sweep_exits.py").write_text(EXITS)
    (sweep.folder / "sweep_leaves.py").write_text("import sys\nsys.exit(3)\n")
    answer = sweep("sweep", **changes)
    assert answer.exit_code in (1, 2), answer.output
    assert message in answer.stderr
    assert f"{sweep.folder / 'sweep_'}" in answer.stderr
    assert "s.db" not in sweep.files()


def test_a_disk_that_is_full_while_the_study_is_made(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise StorageInternalError("An exception is raised during the commit.") from OSError("disk is full")

    monkeypatch.setattr(RDBStorage, "create_new_study", full)
    answer = sweep("sweep")
    assert answer.exit_code == 1, answer.output
    assert "error: storage: the study's storage failed (disk is full)" in answer.stderr
    assert "Traceback" not in answer.output


def test_a_damaged_database_is_read_or_refused(sweep: Sweep) -> None:
    assert sweep("sweep", budget="4").exit_code == 0
    sound, file = (sweep.folder / "s.db").read_bytes(), sweep.folder / "s.db"
    described = read_sweep(Path("s.yaml"))
    components = assemble(described)
    rng, reasons = np.random.default_rng(0), list[str]()
    for place in np.linspace(100, len(sound) - 1, 40).astype(int):
        data = bytearray(sound)
        for _ in range(20):
            data[min(len(data) - 1, place + int(rng.integers(200)))] ^= 1 << int(rng.integers(8))
        file.write_bytes(bytes(data))
        try:
            OptunaSweep(described, components).load_record()
        except SurrogateError as error:
            reasons.append(str(error))
    assert reasons
    assert [reason for reason in reasons if not re.search(r"s\.db|study|trial", reason)] == []


def test_altered_records_are_named(sweep: Sweep) -> None:
    sweep("sweep", budget="4")
    storage = RDBStorage(f"sqlite:///{sweep.folder / 's.db'}")
    study = optuna.load_study(study_name="s", storage=storage)
    study.set_user_attr("surrogate:sweep", ["x"])
    answer = sweep("sweep")
    assert answer.exit_code == 2
    assert "the record of study 's' in s.db was altered; it is ['x']" in answer.stderr


@pytest.mark.parametrize(
    ("storage", "message"),
    [
        ("postgresql://me:secret@host/db", "STUDY: postgresql://***@host/db cannot be read ("),
        ("postgresql://me:secret", "got postgresql://***, which cannot be read"),
        ("sqlite://", "nothing would be kept"),
        ("sqlite:///none.db", "found no 'none.db'"),
        ("sweep_parts.py", "sweep_parts.py cannot be read as an SQLite database"),
    ],
)
def test_inspect_says_what_it_cannot_open(sweep: Sweep, storage: str, message: str) -> None:
    answer = CliRunner().invoke(app, ["inspect", storage])
    assert answer.exit_code == 2, answer.output
    assert message in answer.stderr
    assert "secret" not in answer.output
    assert sweep.files() == ["sweep_parts.py"]
