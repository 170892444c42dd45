"""Signals stop the command wherever they land; `test_sweep_process` shows the rest, in processes of their own."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator

import optuna
import pytest
from optuna.trial import TrialState

from surrogate_ax_cli.interrupts import SIGNALS, interruptible
from surrogate_ax_optuna import sqlite
from tests.integrations.cli.sweep_folder import Sweep

LOSES = """
import signal, weakref
from surrogate_ax import FunctionGenerator

class Item:
    pass

calls = []

def losing(z):
    calls.append(len(z))
    if len(calls) == 3:  # one is the output that is tried first
        item = Item()
        watch = weakref.ref(item, lambda _: signal.raise_signal(signal.NAME))
        del item
    return z.sigmoid()

def make():
    return FunctionGenerator(losing, (24, 24), revision="1", check_rows=False)
"""


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Those of the tests, given back: after a stop the command keeps its own, since its process ends."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("name", "backend"), [("SIGINT", "optuna"), ("SIGHUP", "optuna"), ("SIGTERM", "ax")])
def test_a_signal_that_python_drops_stops_a_sweep(sweep: Sweep, name: str, backend: str) -> None:
    (sweep.folder / "sweep_losing.py").write_text(LOSES.replace("NAME", name))
    answer = sweep("sweep", generator="sweep_losing:make", budget="40", backend=backend)
    assert answer.exit_code == 130, answer.output
    assert answer.stderr.count("stopping: giving running trials back") == 1
    assert "interrupted: what was evaluated is kept; the same command goes on from there" in answer.stderr
    assert "Traceback" not in answer.output
    study = optuna.load_study(study_name="s", storage=sqlite("s.db"))
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 8


def test_a_stop_that_led_to_another_error_is_a_stop() -> None:
    said: list[str] = []

    def stop() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt as error:
            raise RuntimeError("made of it") from error

    with pytest.raises(KeyboardInterrupt), interruptible(said.append):
        stop()
    assert said[1:] == ["while stopping: RuntimeError: made of it"]


def test_a_terminal_that_is_gone_does_not_keep_it_from_stopping() -> None:
    def say(_: str) -> None:
        raise OSError(5, "Input/output error")

    with pytest.raises(KeyboardInterrupt), interruptible(say):
        signal.raise_signal(signal.SIGHUP)


def test_a_hang_up_is_not_heard_under_nohup() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with interruptible(print):
        signal.raise_signal(signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


def test_what_is_not_stopped_leaves_no_handlers_behind() -> None:
    before, hook = [signal.getsignal(number) for number in SIGNALS], sys.unraisablehook
    with pytest.raises(ValueError, match="ours"), interruptible(print):
        raise ValueError("ours")
    assert [signal.getsignal(number) for number in SIGNALS] == before
    assert sys.unraisablehook is hook
