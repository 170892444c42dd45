"""A stop gets through wherever its signal lands, and trials that were running are given back."""

from __future__ import annotations

import signal
import threading
import weakref

import pytest

from surrogate_ax import Evaluator, FunctionGenerator, Gaussian, Metric, Objective, SurrogateSpace, fixed
from surrogate_ax.execution.session import Session
from surrogate_ax.execution.stops import check_stop, stoppable, watching
from tests.core.execution.run_search import run

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # what Python drops
PRIOR = Gaussian((16,))
OBJECTIVE = Objective(Metric("best"), score=lambda outputs, conditions: outputs)


class Item:
    """Something that a weak reference can watch go."""


class Destroyed:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)


def in_a_callback():
    item = Item()
    watch = weakref.ref(item, lambda _: signal.raise_signal(signal.SIGINT))
    del item
    assert watch() is None


def in_a_destructor():
    gone = Destroyed()
    del gone


def generator(at, lose):
    """The sum of a latent's entries; a signal is lost in one of its calls."""
    sizes = []

    def total(z):
        sizes.append(len(z))
        if len(sizes) == at:
            lose()
        return z.sum(dim=1)

    return FunctionGenerator(total, PRIOR, revision="1", check_rows=False), sizes


@pytest.mark.parametrize("lose", [in_a_callback, in_a_destructor])
def test_a_stop_that_python_drops_ends_a_search(list_host, lose):
    made, sizes = generator(2, lose)
    session, host = Session(made, OBJECTIVE, rng=0, total_trials=40, batch_size=4), list_host(OBJECTIVE)
    session.begin(None, study="study")
    with pytest.raises(KeyboardInterrupt):
        session.run(host, progress=False)
    assert sizes == [4, 4]
    assert [record.state for record in host.records] == ["ended"] * 8  # the batch in which it came is told
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_what_was_asked_when_the_stop_came_is_given_back(list_host):
    class Asked(list_host):
        def ask(self, n, round):
            candidates = super().ask(n, round)
            if len(self.asked) == 3:
                flags.append(True)
            return candidates

    flags, (made, sizes) = [], generator(0, in_a_callback)
    host = Asked(OBJECTIVE)
    space = SurrogateSpace.sample(PRIOR, seeds=4, rng=3)
    with pytest.raises(KeyboardInterrupt), watching(lambda: bool(flags)):
        run(host, fixed(space), Evaluator(made, OBJECTIVE), total_trials=40, batch_size=4, rng=0)
    assert sizes == [4, 4]  # the third batch is not begun
    assert [record.state for record in host.records] == ["ended"] * 8 + ["waiting"] * 4


def test_a_stop_that_is_heard_at_once_is_one():
    with pytest.raises(KeyboardInterrupt), stoppable():
        signal.raise_signal(signal.SIGINT)


def test_a_stop_that_comes_at_the_end_is_not_lost():
    with pytest.raises(KeyboardInterrupt), stoppable():
        in_a_callback()


def test_handlers_of_the_callers_own_are_left_alone():
    heard = []
    before = signal.signal(signal.SIGINT, lambda *_: heard.append(True))
    try:
        with stoppable():
            signal.raise_signal(signal.SIGINT)
        assert heard == [True]
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_have_no_signals():
    def search():
        with stoppable():
            check_stop()
            done.append(True)

    done = []
    thread = threading.Thread(target=search)
    thread.start()
    thread.join()
    assert done == [True]
