"""Which paths may hang a look at them."""

from __future__ import annotations

import pytest

from paddock.edges.mounts import mounts, parse_mounts, remote_mount

MOUNTS = parse_mounts(
    "21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
    "30 21 0:40 / /srv rw - nfs4 host:/srv rw\n"
    "31 30 8:2 / /srv/local rw shared:9 master:1 - xfs /dev/sdb rw\n"
    "32 21 0:41 / /media/my\\040disk rw - fuse.sshfs host: rw\n"
    "33 21 0:42 / /home rw - nfs host:/home rw\n"
    "34 21 0:43 / /home rw - ext4 /dev/sdc rw\n"
    "not a line\n"
)


@pytest.mark.parametrize(
    ("path", "remote"),
    [
        ("/x.gguf", False),
        ("/srv/x.gguf", True),
        ("/srvx/x.gguf", False),
        ("/srv/local/deep/x.gguf", False),
        ("/media/my disk/x.gguf", True),
        ("/home/alice/x.gguf", False),
    ],
)
def test_the_nearest_mount_point_counts_and_the_last_of_two(path: str, remote: bool) -> None:
    assert (remote_mount(path, MOUNTS) is not None) is remote


def test_where_mounts_cannot_be_read_every_path_may_hang() -> None:
    assert remote_mount("/x.gguf", {}) is not None


def test_the_mounts_of_this_machine_are_read() -> None:
    assert "/" in mounts()
