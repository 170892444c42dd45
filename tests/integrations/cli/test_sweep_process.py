"""What only a process of its own shows: signals, exit codes, the dashboard's server, what `--help` imports."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from surrogate_ax_optuna import sqlite
from tests.integrations.cli.sweep_folder import Sweep
from tests.processes import Forked

ROOT = Path(__file__).parents[3]
PATIENCE_S = 300.0  # a busy machine is no failure


COMMAND = "from surrogate_ax_cli.main import app; app()"


def fresh() -> dict[str, str]:
    """The environment of an interpreter that finds this checkout."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "integrations")])}


def start(*arguments: str) -> Forked:
    """`surrogate-ax` in the current folder."""
    return Forked(COMMAND, *arguments, env=fresh())


def wait_for_trials(count: int, state: TrialState) -> None:
    """Until the study s has trials of a state."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if Path("s.db").exists() and "s" in optuna.get_all_study_names(sqlite("s.db")):
            study = optuna.load_study(study_name="s", storage=sqlite("s.db"))
            if len(study.get_trials(states=(state,))) >= count:
                return
        time.sleep(0.05)
    pytest.fail(f"no {count} trials of state {state.name} in {PATIENCE_S} s")


def test_interrupted_once_it_gives_back_and_goes_on(sweep: Sweep) -> None:
    sweep.write(generator="sweep_parts:slow", budget="40")
    process = start("sweep", "s.yaml")
    wait_for_trials(4, TrialState.COMPLETE)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130, stderr
    assert "Ctrl-C again stops at once" in stderr
    assert "interrupted: what was evaluated is kept; the same command goes on from there" in stderr
    assert "Traceback" not in stderr
    assert stdout == ""
    study = optuna.load_study(study_name="s", storage=sqlite("s.db"))
    assert not study.get_trials(states=(TrialState.RUNNING,))
    done = len(study.get_trials(states=(TrialState.COMPLETE,)))
    again = sweep("sweep", "--json", generator="sweep_parts:slow", budget=str(done + 4))
    counts = json.loads(again.stdout)["trials"]
    assert (counts["ended"], counts["scored"], counts["running"]) == (done + 4, done + 4, 0)


def test_interrupted_twice_it_ends_at_once(sweep: Sweep) -> None:
    code = "import time\ndef stuck(z):\n    while True:\n        try:\n            time.sleep(0.1)\n"
    code += "        except KeyboardInterrupt:\n            print('held', flush=True)\n"
    code += "def make():\n    from surrogate_ax import FunctionGenerator\n    return FunctionGenerator(stuck, (8,))\n"
    (sweep.folder / "sweep_stuck.py").write_text(code)
    sweep.write(generator="sweep_stuck:make")
    process = start("sweep", "s.yaml")
    while "trying one output" not in process.stderr.readline():
        pass
    time.sleep(1.0)
    process.send_signal(signal.SIGTERM)  # as a cluster does
    assert process.stdout.readline() == "held\n"  # the first is not heard
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130


def test_a_second_signal_while_the_process_ends_leaves_no_traceback(sweep: Sweep) -> None:
    code = "import atexit, signal\nfrom sweep_parts import make\natexit.register(signal.raise_signal, signal.SIGINT)\n"
    code += (
        "def score(pictures, conditions):\n    signal.raise_signal(signal.SIGINT)\n    return [0.0] * len(pictures)\n"
    )
    (sweep.folder / "sweep_twice.py").write_text(code)
    sweep.write(generator="sweep_twice:make", score="sweep_twice:score")
    ended = subprocess.run(
        [sys.executable, "-c", COMMAND, "sweep", "s.yaml"], env=fresh(), capture_output=True, text=True
    )
    assert ended.returncode == 130, ended.stderr
    assert "Traceback" not in ended.stderr
    assert "KeyboardInterrupt" not in ended.stderr


def test_the_dashboard_serves_study_and_pictures_to_this_machine_only(sweep: Sweep) -> None:
    sweep("sweep", budget="4")
    process = start("dashboard", "s.yaml", "--port", "0")
    try:
        address = process.stderr.readline().split()[0]
        assert address.startswith("http://127.0.0.1:")
        host, port = address.removeprefix("http://").split("/")[0].split(":")
        with urllib.request.urlopen(f"http://{host}:{port}/api/studies/1?after=0") as answer:
            detail = json.load(answer)
        assert detail["name"] == "s"
        artifact = detail["trials"][0]["artifacts"][0]
        where = f"http://{host}:{port}/artifacts/1/{detail['trials'][0]['trial_id']}/{artifact['artifact_id']}"
        with urllib.request.urlopen(where) as answer:
            assert answer.read(4) == b"\x89PNG"
        taken = sweep("dashboard", "--port", port)
        assert taken.exit_code == 2
        message = f"error: --port: {port} is taken on 127.0.0.1. Choose another, or 0 for any that is free."
        assert taken.stderr.strip() == message
        with socket.socket() as elsewhere, pytest.raises(OSError, match="refused"):
            elsewhere.connect(("127.0.0.2", int(port)))
    finally:
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert "Traceback" not in stderr


def test_there_is_no_dashboard_before_a_sweep(sweep: Sweep) -> None:
    answer = sweep("dashboard")
    assert answer.exit_code == 2
    assert "there are no trials of 's' yet. Run `surrogate-ax sweep s.yaml`" in answer.stderr
    assert sweep.files() == ["s.yaml", "sweep_parts.py"]


def test_help_imports_nothing_heavy() -> None:
    code = "import sys\nfrom surrogate_ax_cli.main import app\ntry:\n    app(['--help'])\nexcept SystemExit as end:\n"
    code += "    heavy = {'torch', 'numpy', 'scipy', 'optuna', 'yaml', 'surrogate_ax'} & sys.modules.keys()\n"
    code += "    sys.exit(str(heavy) if heavy or end.code else 0)\n"
    answer = subprocess.run([sys.executable, "-c", code], env=fresh(), capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    assert "sweep" in answer.stdout
