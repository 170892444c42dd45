"""SQLite is refused on a file system that several machines share, which the mount table names."""

from __future__ import annotations

from pathlib import Path

import pytest

from surrogate_ax.errors import ArgumentError
from surrogate_ax_optuna import mounts, sqlite
from surrogate_ax_optuna.mounts import mount_of, refuse_network


def table(folder: Path, kind: str, on: str) -> Path:
    lines = ["overlay / overlay rw 0 0", f"server:/home {on} {kind} rw,vers=4 0 0", "tmpfs /dev/shm tmpfs rw 0 0"]
    (folder / "mounts").write_text("\n".join(lines) + "\n")
    return folder / "mounts"


@pytest.mark.parametrize(
    ("kind", "name"),
    [("nfs", "NFS"), ("nfs4", "NFS"), ("lustre", "Lustre"), ("gpfs", "GPFS"), ("cifs", "CIFS"), ("smb3", "CIFS")],
)
def test_a_networks_file_system_is_refused_by_name(tmp_path, monkeypatch, kind, name):
    monkeypatch.setattr(mounts.refuse_network, "__defaults__", (table(tmp_path, kind, str(tmp_path)),))
    with pytest.raises(ArgumentError, match=rf"study.db is on {name} \({kind}, mounted on .*surrogate-ax serve"):
        sqlite(tmp_path / "study.db")
    assert not (tmp_path / "study.db").exists()


def test_the_innermost_mount_counts_and_of_equals_the_last(tmp_path):
    here = tmp_path / "with space" / "scratch"
    here.mkdir(parents=True)
    lines = [f"server:/a {tmp_path} nfs rw 0 0", rf"/dev/sda1 {tmp_path}/with\040space ext4 rw 0 0"]
    (tmp_path / "mounts").write_text("\n".join(lines))
    found = mount_of(here / "study.db", tmp_path / "mounts")
    assert found is not None
    assert (found.kind, found.folder) == ("ext4", tmp_path / "with space")
    refuse_network(here / "study.db", tmp_path / "mounts")
    (tmp_path / "mounts").write_text("\n".join([*lines, rf"server:/b {tmp_path}/with\040space lustre rw 0 0"]))
    with pytest.raises(ArgumentError, match="Lustre"):
        refuse_network(here / "study.db", tmp_path / "mounts")


def test_a_link_is_followed_and_a_neighbour_is_not_inside(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home2").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "home")
    mounts_file = table(tmp_path, "nfs4", str(tmp_path / "home"))
    with pytest.raises(ArgumentError, match="NFS"):
        refuse_network(tmp_path / "link" / "study.db", mounts_file)
    refuse_network(tmp_path / "home2" / "study.db", mounts_file)


def test_without_a_mount_table_nothing_is_refused(tmp_path):
    assert mount_of(tmp_path / "study.db", tmp_path / "none") is None
    refuse_network(tmp_path / "study.db", tmp_path / "none")
