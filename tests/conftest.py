"""For every test: one torch thread, no hub, no network beyond this machine, Ctrl-C, Hypothesis without deadlines."""

from __future__ import annotations

import gc
import ipaddress
import os
import signal
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

# Read when the libraries are imported, so they are set before torch and diffusers are.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
# BoTorch would compile C++ for its first search of several objectives: a minute in each new .venv. It does without.
os.environ["TORCH_EXTENSIONS_DIR"] = os.devnull

import hypothesis
import pytest
import torch
from alembic.config import Config
from alembic.script import ScriptDirectory

from tests.browser import launched, opened
from tests.postgres import Server, serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

hypothesis.settings.register_profile("local", deadline=None)  # a busy machine is no failure
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, database=None, print_blob=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "local")

torch.set_num_threads(1)
gc.set_threshold(50_000, 20, 50)  # what the libraries hold is gone through less often: a tenth of the time of all tests

# A shell that starts tests in the background has them, and every process that they start, ignore Ctrl-C; nohup has them
# ignore that the terminal is gone.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


# `make test` deals out files. Those that take longest come first, so that no process is left alone with one in the end.
LONGEST = (
    "test_docs.py",
    "ray/test_actors.py",
    "cli/test_worker.py",
    "test_examples.py",
    "optuna/test_workers.py",
    "cli/test_edit.py",
    "ray/test_sweep.py",
    "platform/test_postgres.py",
    "optuna/test_kill.py",
    "test_site.py",
    "cli/test_demo.py",
    "botorch/test_candidates.py",
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ends = {name: i for i, name in enumerate(LONGEST)}

    def place(item: pytest.Item) -> int:
        return next((i for name, i in ends.items() if item.path.as_posix().endswith(f"/{name}")), len(ends))

    items.sort(key=place)


def _is_local(family: int, address: Any) -> bool:
    """Whether an address stays on this machine: a Unix socket, `localhost` or a loopback number."""
    if family not in (socket.AF_INET, socket.AF_INET6):
        return True
    host = address[0]
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@pytest.fixture(autouse=True, scope="session")
def _only_loopback() -> Iterator[None]:
    """Refuse connections that would leave this machine, so that no test depends on a network by accident."""

    def guarded(connect: Any) -> Any:
        def connect_locally(self: socket.socket, address: Any) -> Any:
            if not _is_local(self.family, address):
                raise OSError(f"tests stay on this machine: no connection to {address!r}")
            return connect(self, address)

        return connect_locally

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded(socket.socket.connect))
        patch.setattr(socket.socket, "connect_ex", guarded(socket.socket.connect_ex))
        yield


@pytest.fixture(autouse=True, scope="session")
def _migrations_read_once() -> Iterator[None]:
    """Optuna has Alembic read its migrations three times for each new database, .25 s of .3: once will do."""
    read, known = ScriptDirectory.from_config, dict[str | None, ScriptDirectory]()

    def from_config(config: Config) -> ScriptDirectory:
        folder = config.get_main_option("script_location")
        if folder not in known:
            known[folder] = read(config)
        return known[folder]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScriptDirectory, "from_config", from_config)
        yield


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL server, one for the tests of a process."""
    with serving() as server:
        yield server


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium, one for the tests of a module."""
    with launched() as running:
        yield running


@pytest.fixture
def browser_page(browser: Browser) -> Iterator[Page]:
    """A new page of it."""
    with opened(browser) as page:
        yield page
