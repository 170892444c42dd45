"""`surrogate-ax worker` and `serve`: several processes on one sweep, signals, what is refused."""

from __future__ import annotations

import json
import os
import signal
import socket
import time

import optuna
import pytest
from optuna.trial import TrialState
from typer.testing import CliRunner

from surrogate_ax_cli.main import app
from surrogate_ax_optuna import sqlite
from tests.integrations.cli.sweep_folder import Sweep
from tests.integrations.cli.test_sweep_process import PATIENCE_S, start, wait_for_trials
from tests.processes import Forked


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def served(port: int) -> Forked:
    """The proxy, once it listens."""
    process = start("serve", "s.db", "--port", str(port))
    assert (
        process.stderr.readline()
        == f"serving s.db on 127.0.0.1:{port}; Ctrl-C ends it. In sweep files of its workers:\n"
    )
    assert process.stderr.readline() == f"  storage: grpc://127.0.0.1:{port}\n"
    return process


def test_workers_share_a_sweep_behind_the_proxy_over_a_signal_and_a_restart(sweep: Sweep) -> None:
    """SIGUSR1 ends one worker, the proxy is killed and comes back, and the other worker reaches the exact end."""
    port = free_port()
    proxy = served(port)
    sweep.write(generator="sweep_parts:slow", budget="30", batch="1", storage=f"grpc://127.0.0.1:{port}")
    workers = [start("worker", "s.yaml") for _ in range(2)]
    try:
        wait_for_trials(6, TrialState.COMPLETE)
        workers[0].send_signal(signal.SIGUSR1)
        _, stderr = workers[0].communicate(timeout=PATIENCE_S)
        assert workers[0].returncode == 130, stderr
        assert "interrupted: what was evaluated is kept" in stderr
        proxy.kill()
        proxy.communicate()
        time.sleep(1.0)
        proxy = served(port)
        stdout, stderr = workers[1].communicate(timeout=PATIENCE_S)
        assert workers[1].returncode == 0, stderr
        assert "Traceback" not in stderr
        assert stdout.startswith("study 's': 30 trials, 30 scored")
    finally:
        for process in (*workers, proxy):
            process.kill()
            process.communicate()
    study = optuna.load_study(study_name="s", storage=sqlite("s.db"))
    assert len(study.get_trials(states=(TrialState.COMPLETE,))) == 30
    assert study.get_trials(states=(TrialState.RUNNING,)) == []


def test_a_worker_that_finds_the_budget_spent_ends_at_once(sweep: Sweep) -> None:
    sweep("sweep", budget="4")
    ran = sweep("worker", budget="4")
    assert ran.exit_code == 0, ran.stderr
    assert ran.stdout.startswith("study 's': 4 trials, 4 scored")
    assert "works on it up to 4 trials" in ran.stderr
    assert json.loads(sweep("status", "--json", budget="4").stdout)["trials"]["ended"] == 4


def test_a_sweep_on_ax_has_one_process(sweep: Sweep) -> None:
    ran = sweep("worker", backend="ax", budget="4")
    assert ran.exit_code == 2
    assert "an Ax client lives in one process; several workers share Optuna's studies." in ran.stderr
    assert "s.yaml:" in ran.stderr


def test_a_proxy_refuses_a_taken_port_and_what_is_no_study(sweep: Sweep, tmp_path: object) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        refused = CliRunner().invoke(app, ["serve", "s.db", "--port", port])
        assert refused.exit_code == 2
        assert f"error: --host, --port: cannot listen on 127.0.0.1:{port} (Address already in use)." in refused.stderr
    with open("notes.txt", "w") as file:
        file.write("not a database, but long enough to look at\n" * 40)
    refused = CliRunner().invoke(app, ["serve", "notes.txt", "--port", str(free_port())])
    assert refused.exit_code == 2
    assert "notes.txt cannot be read as an SQLite database" in refused.stderr


def test_a_proxy_for_other_machines_says_that_there_is_no_login(sweep: Sweep) -> None:
    process = start("serve", "s.db", "--port", str(free_port()), "--host", "0.0.0.0")
    lines = [process.stderr.readline() for _ in range(3)]
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=PATIENCE_S)
    assert lines[2] == "warning: there is no login: whoever reaches this address reads and writes every study\n"
    assert "the proxy has ended; what was told is kept" in rest
    assert process.returncode == 130


@pytest.mark.skipif(os.name != "posix", reason="signals of Unix")
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_gives_trials_back(sweep: Sweep, sent: signal.Signals) -> None:
    sweep.write(generator="sweep_parts:slow", budget="40")
    process = start("worker", "s.yaml")
    wait_for_trials(2, TrialState.COMPLETE)
    process.send_signal(sent)
    _, stderr = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130, stderr
    study = optuna.load_study(study_name="s", storage=sqlite("s.db"))
    assert study.get_trials(states=(TrialState.RUNNING,)) == []
