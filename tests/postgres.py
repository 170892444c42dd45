"""A PostgreSQL server for tests: the one that the system has, in a temporary folder, on a free port of 127.0.0.1.

`.ci/run` installs Debian's. Where there is none, tests that need it are skipped with that as the reason; under `CI`
they fail instead. PostgreSQL refuses to run as root: then it runs as the user `postgres`, which its package makes.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.browser import needed

USER = "postgres"  # the server's only user, and whom root becomes
# A test's data may be lost with the machine: what is written does not wait for the disk.
UNSAFE = ("fsync", "full_page_writes")  # not synchronous_commit: what was told has to outlive a crash
SETTINGS = [part for name in UNSAFE for part in ("-c", f"{name}=off")]
READY_S = 60.0


def program(name: str) -> str | None:
    """The path of one of PostgreSQL's programs, of the newest version; None where there is none."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    return shutil.which(name, path=os.pathsep.join([*map(str, reversed(versions)), os.environ.get("PATH", "")]))


class Server:
    """A server with one database, `postgres`.

    Args:
        folder: for its files, which a user without rights may reach.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._bin = Path(needed(program("initdb"), "PostgreSQL", "apt-get install postgresql")).parent
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port = found.getsockname()[1]
        if os.geteuid() == 0:
            shutil.chown(folder, USER, USER)
        options = ["--auth=trust", "--username=" + USER, "--encoding=UTF8", "--locale=C", "--no-sync"]
        self._run("initdb", "-D", str(folder / "data"), *options)

    @property
    def url(self) -> str:
        """For SQLAlchemy."""
        return f"postgresql+psycopg://{USER}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with (self._folder / "log").open("ab") as log:
            where = ["-D", str(self._folder / "data"), "-h", "127.0.0.1", "-p", str(self.port)]
            command = self._as_user("postgres", *where, "-k", "", *SETTINGS)
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + READY_S
        while subprocess.run(self._as_user("pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port))).returncode:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self._folder / "log").read_text())
            time.sleep(0.05)

    def stop(self, *, at_once: bool = False) -> None:
        """Stop it; what is connected is cut off.

        Args:
            at_once: as a crash does, in place of an orderly end.
        """
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT if at_once else signal.SIGINT)
            self._process.wait(timeout=READY_S)
            self._process = None

    def _run(self, name: str, *arguments: str) -> None:
        subprocess.run(self._as_user(name, *arguments), check=True, capture_output=True)

    def _as_user(self, name: str, *arguments: str) -> list[str]:
        drop = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"] if os.geteuid() == 0 else []
        return [*drop, str(self._bin / name), *arguments]


@contextmanager
def serving() -> Iterator[Server]:
    """A server that is up."""
    with tempfile.TemporaryDirectory(prefix="postgres-") as folder:  # not pytest's, which other users may not enter
        server = Server(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.stop(at_once=True)
