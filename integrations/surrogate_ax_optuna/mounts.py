"""Which file system a path is on, read from the kernel's mount table: SQLite loses data on those of a network."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from surrogate_ax.errors import ArgumentError

TABLE = Path("/proc/self/mounts")  # of Linux; elsewhere nothing is refused
NETWORK = {
    "nfs": "NFS",
    "nfs4": "NFS",
    "lustre": "Lustre",
    "gpfs": "GPFS",
    "cifs": "CIFS",
    "smb3": "CIFS",
    "smbfs": "CIFS",
    "beegfs": "BeeGFS",
    "ceph": "CephFS",
    "fuse.ceph-fuse": "CephFS",
    "fuse.glusterfs": "GlusterFS",
    "fuse.sshfs": "SSHFS",
    "afs": "AFS",
}


@dataclass(frozen=True)
class Mount:
    """A line of the mount table.

    Args:
        source: what is mounted.
        folder: where.
        kind: of file system, as the kernel calls it.
    """

    source: str
    folder: Path
    kind: str


def mount_of(path: Path, table: Path = TABLE) -> Mount | None:
    """The mount that a path is on, None where there is no table.

    Args:
        path: of a file that need not be there.
        table: the mount table.
    """
    try:
        lines = [line.split(" ") for line in table.read_text().splitlines()]
    except OSError:
        return None
    mounts = [Mount(_plain(line[0]), Path(_plain(line[1])), line[2]) for line in lines if len(line) >= 3]
    resolved = path.resolve()
    around = [mount for mount in mounts if resolved.is_relative_to(mount.folder)]
    return max(reversed(around), key=lambda mount: len(mount.folder.parts), default=None)  # of equals the last, on top


def refuse_network(path: Path, table: Path = TABLE) -> None:
    """Refuse a place for an SQLite database that several machines may share.

    Raises:
        ArgumentError: the path is on a file system of a network.
    """
    mount = mount_of(path, table)
    if mount is not None and mount.kind in NETWORK:
        raise ArgumentError(
            f"path: {path} is on {NETWORK[mount.kind]} ({mount.kind}, mounted on {mount.folder}), where SQLite's "
            "write-ahead log loses trials as soon as two machines write. Name a file on a disk of this machine; for "
            "several machines, `surrogate-ax serve FILE` beside such a file, or PostgreSQL."
        )


def _plain(text: str) -> str:
    """What a field of the table says: space, tab and backslash are written in octal."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)
