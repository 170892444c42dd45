"""Scores in processes of their own: what travels, and what happens to those that hang, crash or are closed."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from surrogate_ax import Evaluator, FunctionGenerator, Metric, Objective, SubprocessScore
from surrogate_ax.errors import ArgumentError, ScoreError, ScoreProcessError, ScoreTimeoutError, UnsupportedError
from surrogate_ax.media.structures import Structure
from surrogate_ax.scoring import process_worker as score_worker
from surrogate_ax.scoring.packing import pack

FOLDER = Path(__file__).parent
SOON = 30.0  # seconds within which processes have ended, on the slowest of machines


def scores(name="total", **options):
    return SubprocessScore(f"scores_of_tests:{name}", folder=FOLDER, **options)


def ended(pid):
    """Whether a process has ended, buried or not."""
    end = time.monotonic() + SOON
    while time.monotonic() < end:
        state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()
        if not state or state.startswith("Z"):
            return True
        time.sleep(0.02)
    return False


# --- what travels


def through(value):
    """A value as the other process sees it."""
    arrays = []
    message = {"value": pack(value, arrays)}
    pipe = io.BytesIO()
    score_worker.send(pipe, message, arrays)
    received, arrays = score_worker.receive(io.BytesIO(pipe.getvalue()))
    return score_worker.unpack(received["value"], arrays)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3),
        np.arange(6, dtype=np.uint8).reshape(2, 3)[:, ::-1],
        np.zeros((2, 0, 3), dtype=np.float16),
        np.array(2.5, dtype=">f4"),
        np.array([True, False]),
        np.array(["ab", "c"]),
    ],
)
def test_arrays_arrive_as_they_were(array):
    arrived = through(array)
    assert (arrived.dtype, arrived.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(arrived, array)
    assert arrived.flags.writeable


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.bool])
def test_tensors_arrive_as_they_were(dtype):
    tensor = torch.arange(12, dtype=torch.float32).reshape(2, 2, 3).transpose(1, 2).to(dtype)
    arrived = through(tensor)
    assert arrived.dtype == dtype
    assert torch.equal(arrived, tensor)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "1", "CMYK", "I;16", "F"])
def test_images_arrive_as_they_were(mode):
    image = Image.fromarray(np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)).convert("L").convert(mode)
    arrived = through(image)
    assert (arrived.mode, arrived.size) == (mode, (7, 5))
    assert arrived.tobytes() == image.tobytes()


def test_structures_arrive_as_they_were():
    given = Structure(
        np.random.default_rng(0).normal(size=(3, 2, 3)), np.ones((3, 2)), ("N", "CA"), ("ALA",) * 3, elements=("N", "C")
    )
    arrived = through([given])[0]
    for name in ("atoms", "residues", "elements"):
        assert getattr(arrived, name) == getattr(given, name)
    np.testing.assert_array_equal(arrived.coordinates, given.coordinates)
    np.testing.assert_array_equal(arrived.mask, given.mask)
    np.testing.assert_array_equal(arrived.chains, given.chains)


def test_lists_and_mappings_arrive_with_what_is_in_them():
    given = [{"kind": "array", "frames": [np.ones(2), np.zeros(3)], "text": "é", "n": np.int64(3)}, None, True, 0.1]
    arrived = through(given)
    assert [array.tolist() for array in arrived[0].pop("frames")] == [[1, 1], [0, 0, 0]]
    assert arrived == [{"kind": "array", "text": "é", "n": 3}, None, True, 0.1]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (object(), "object cannot be sent to another process"),
        ([lambda: 0], "function cannot be sent"),
        ({1: 2}, "dict cannot be sent"),
        (b"bytes", "bytes cannot be sent"),
        (np.array([object()]), "an array of object cannot be sent"),
        (torch.zeros(2).to(torch.float8_e4m3fn), "Make it float32"),
        (Image.new("P", (2, 2)), "Image cannot be sent"),
    ],
)
def test_what_cannot_travel_is_refused(value, message):
    with pytest.raises(UnsupportedError, match=message):
        through(value)


# --- calls


def test_values_are_those_of_the_function():
    with scores() as score:
        np.testing.assert_array_equal(score(np.arange(6.0).reshape(3, 2), [{}] * 3), [1, 5, 9])
        np.testing.assert_array_equal(score([[1.0, 2.0], np.ones(4)], [{}] * 2), [3, 4])


def test_metrics_keep_their_names_and_prints_do_no_harm():
    with scores("two") as score:
        values = score(np.ones((2, 3)), [{}] * 2)
    assert {name: column.tolist() for name, column in values.items()} == {"sum": [3, 3], "kind": [1, 1]}


def test_the_module_is_imported_once():
    with scores("Judge.remembers") as score:
        assert [score([0.0], [{}]).tolist() for _ in range(3)] == [[1], [2], [3]]


def test_what_the_function_raises_comes_back_with_its_traceback():
    with scores("faulty") as score:
        with pytest.raises(ScoreProcessError, match=r"^ValueError: bad pose$") as error:
            score([1.0], [{"fault": "raise"}])
        assert 'raise ValueError("bad pose")' in str(error.value.__cause__)
        assert score([1.0], [{}]).tolist() == [1]


def test_what_is_not_a_number_is_not_the_items_fault():
    with scores("words") as score:
        evaluate = Evaluator(FunctionGenerator(lambda z: z.numpy(), (2,)), Objective(Metric("m"), score=score))
        with pytest.raises(ScoreError, match="expected n = 2 numbers for each metric, got list"):
            evaluate(torch.zeros(2, 2))


@pytest.mark.parametrize(
    ("fault", "message"), [("crash", "its process ended with exit code 7"), ("segfault", "ended by signal SIGABRT")]
)
def test_a_crash_is_an_error_and_the_next_call_gets_another_process(fault, message):
    with scores("faulty") as score:
        with pytest.raises(ScoreProcessError, match=message):
            score([1.0], [{"fault": fault}])
        assert score([2.0], [{}]).tolist() == [2]


def test_what_takes_too_long_is_killed_with_its_children(tmp_path):
    condition = {"fault": "hang with a child", "child": str(tmp_path / "child"), "log": str(tmp_path / "log")}
    with scores("faulty", timeout=0.5) as score:
        with pytest.raises(ScoreTimeoutError, match="took longer than 1 s, so its process was killed"):
            score([1.0, 2.0], [condition, {}])
        pid = (tmp_path / "log").read_text().split()[0]
        assert ended(pid)
        assert ended((tmp_path / "child").read_text())
        assert score([2.0], [{}]).tolist() == [2]


def test_a_process_that_was_killed_while_idle_is_replaced():
    with scores() as score:
        score._process.kill()
        score._process.wait()
        assert score([2.0], [{}]).tolist() == [2]


@pytest.mark.parametrize(
    ("fault", "reason", "sizes"),
    [
        ("raise", "ScoreProcessError: ValueError: bad pose", [3, 2, 1, 1, 1]),
        ("crash", "ScoreProcessError: its process ended with exit code 7", [3, 2, 1, 1, 1]),
        ("hang", "ScoreTimeoutError: took longer than 0.7 s, so its process was killed", [3, 1, 1, 1]),
    ],
)
def test_an_item_at_fault_fails_alone(tmp_path, fault, reason, sizes):
    log = tmp_path / "log"
    conditions = [{"log": str(log)} | ({"fault": fault} if i == 0 else {}) for i in range(3)]
    with scores("faulty", timeout=0.7) as score:
        generator = FunctionGenerator(lambda z, conditions: z.numpy(), (2,), conditional=True)
        made = Evaluator(generator, Objective(Metric("m"), score=score))(torch.arange(6.0).reshape(3, 2), conditions)
    assert made.reasons == {0: reason}
    assert list(made.status) == ["failed", "done", "done"]
    np.testing.assert_array_equal(made.values["m"], [np.nan, 5, 9])
    assert [int(line.split()[1]) for line in log.read_text().splitlines()] == sizes


# --- ends


def test_ctrl_c_breaks_a_call_off_and_the_next_is_in_step():
    main = threading.main_thread().ident
    with scores("faulty") as score:
        timer = threading.Timer(0.3, signal.pthread_kill, (main, signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            score([1.0], [{"fault": "hang"}])
        timer.join()
        assert score([2.0, 3.0], [{}, {}]).tolist() == [2, 3]


def test_closing_breaks_off_a_call_of_another_thread_for_good(tmp_path):
    log, errors = tmp_path / "log", []
    score = scores("faulty")

    def call():
        with pytest.raises(ArgumentError) as error:
            score([1.0], [{"fault": "hang", "log": str(log)}])
        errors.append(str(error.value))

    thread = threading.Thread(target=call)
    thread.start()
    while not log.is_file() or not log.read_text().endswith("\n"):
        time.sleep(0.01)
    score.close()
    thread.join(SOON)
    assert errors == ["score: it was closed while it was running."]
    assert ended(log.read_text().split()[0])
    with pytest.raises(ArgumentError, match="it was closed"):
        score([1.0], [{}])


def test_the_process_ends_with_the_score():
    score = scores()
    pid = score._process.pid
    del score
    assert ended(pid)


def test_a_worker_ends_with_its_parent_even_in_the_middle_of_a_call(tmp_path):
    log = tmp_path / "log"
    worker = subprocess.Popen(
        [sys.executable, score_worker.__file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        start = {"function": "scores_of_tests:faulty", "path": [str(FOLDER), *sys.path]}
        score_worker.send(worker.stdin, start, [])
        assert score_worker.receive(worker.stdout) == ({}, [])
        arrays = []
        request = {"outputs": [1.0], "conditions": pack([{"fault": "hang", "log": str(log)}], arrays)}
        score_worker.send(worker.stdin, request, arrays)
        while not log.is_file():
            time.sleep(0.01)
        worker.stdin.close()  # as when the parent is killed
        assert worker.wait(SOON) == -signal.SIGKILL
    finally:
        worker.kill()
        worker.wait()
        worker.stdout.close()


LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs a child subreaper")


@LINUX
@pytest.mark.parametrize("then", ["hang", "crash", "return"])
def test_whatever_it_has_started_ends_with_it(tmp_path, then):
    condition = {"log": str(tmp_path / "log"), "then": then}
    with scores("leaves_children", timeout=20.0 if then != "hang" else 2.0) as score:
        if then == "return":
            assert score([2.0], [condition]).tolist() == [2]
        else:
            with pytest.raises(ScoreTimeoutError if then == "hang" else ScoreProcessError):
                score([2.0], [condition])
    pids = (tmp_path / "log").read_text().split()
    assert len(pids) == 2
    assert all(ended(pid) for pid in pids)


@LINUX
def test_whatever_it_has_started_ends_when_the_caller_is_killed(tmp_path):
    code = "import os, sys\nfrom surrogate_ax.scoring.process import SubprocessScore\n"
    code += "score = SubprocessScore('scores_of_tests:leaves_children', folder=sys.argv[1])\n"
    code += "score([1.0], [{'log': sys.argv[2], 'then': 'return'}])\nos.kill(os.getpid(), 9)\n"
    path = os.pathsep.join([str(FOLDER.parents[2]), os.environ.get("PYTHONPATH", "")])
    caller = subprocess.run(
        [sys.executable, "-c", code, str(FOLDER), str(tmp_path / "log")], env={**os.environ, "PYTHONPATH": path}
    )
    assert caller.returncode == -signal.SIGKILL
    assert all(ended(pid) for pid in (tmp_path / "log").read_text().split())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_score_that_forks_and_returns_is_heard_once():
    with scores("forks") as score:
        assert [score([0.0, 0.0], [{}, {}]).tolist() for _ in range(3)] == [[1, 1]] * 3


def test_a_copy_of_the_caller_that_a_score_has_forked_does_not_go_on(tmp_path):
    def forks(outputs, conditions):
        child = os.fork()
        if child:
            status.append(os.waitpid(child, 0)[1])
        return [1.0] * len(outputs)

    status = []
    assert Objective(Metric("m"), score=forks).measure([0.0], [{}])["m"].tolist() == [1]
    assert os.waitstatus_to_exitcode(status[0]) == 1


def test_what_something_else_writes_is_no_answer():
    with scores("talks_over") as score, pytest.raises(ScoreProcessError, match="something else wrote it"):
        score([1.0], [{}])


def test_the_worker_is_quick_to_start():
    code = (
        "import runpy, sys; runpy.run_path(sys.argv[1]); print('torch' in sys.modules, 'surrogate_ax' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", code, score_worker.__file__], capture_output=True, text=True)
    assert answer.stdout.split() == ["False", "False"], answer.stderr


# --- bad input


@pytest.mark.parametrize("name", ["scores_of_tests.total", "scores_of_tests:", ":total", "a b:c", len, "m:<lambda>"])
def test_functions_without_an_importable_name_are_refused(name):
    with pytest.raises(ArgumentError, match=r"function: expected 'package.module:function', .* got"):
        SubprocessScore(name, folder=FOLDER)


@pytest.mark.parametrize("timeout", [0, -1, float("inf"), float("nan")])
def test_timeouts_are_positive(timeout):
    with pytest.raises(ArgumentError, match="timeout: expected a positive number of seconds, or None, got"):
        scores(timeout=timeout)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("no_such_module:f", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("scores_of_tests:nothing", "ImportError: scores_of_tests has no 'nothing'"),
        ("scores_of_tests:not_a_function", "'not_a_function' of scores_of_tests is not a function, but int"),
        ("broken:f", "SyntaxError"),
    ],
)
def test_what_cannot_be_imported_is_refused_with_the_path_searched(tmp_path, name, why):
    (tmp_path / "broken.py").write_text("def f(:")
    folder = tmp_path if name == "broken:f" else FOLDER
    with pytest.raises(ArgumentError) as error:
        SubprocessScore(name, folder=folder)
    assert f"score: {name!r} cannot be imported: {why}" in str(error.value).replace("ImportError: '", "'")
    assert f"Searched: {folder}, " in str(error.value)
