"""The collector stays away inside, and comes back however the block ends, unless it was off before."""

from __future__ import annotations

import gc

import pytest

from surrogate_ax.execution.collector import collecting_later


def test_it_comes_back() -> None:
    assert gc.isenabled()
    with collecting_later():
        assert not gc.isenabled()
        with collecting_later():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(KeyError), collecting_later():
        raise KeyError
    assert gc.isenabled()


def test_a_function_may_be_decorated_and_called_again() -> None:
    called = collecting_later()(gc.isenabled)
    assert (called(), called(), gc.isenabled()) == (False, False, True)


def test_where_it_is_off_it_stays_off() -> None:
    gc.disable()
    try:
        with collecting_later():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
