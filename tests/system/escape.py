"""A program that tries what Paddock's service must not be able to do, and says what came of it.

Run in place of Paddock under its unit: prints one JSON object, of each deed `done` or the errno.
"""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path

MODELS_DIR = "/usr/share/ollama/.ollama/models"
CLONE_NEWUSER = 0x10000000
libc = ctypes.CDLL(None, use_errno=True)


def tried(deed: Callable[[], object]) -> str:
    try:
        deed()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    return "done"


def make(path: str) -> None:
    Path(path).write_text("")
    Path(path).unlink()


def overwrite(path: str) -> None:
    with Path(path).open("r+b"):
        pass


def called(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), "refused")


def writable_and_executable() -> None:
    protection = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
    mmap.mmap(-1, 4096, prot=protection, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def others() -> None:
    Path("/proc/1/status").stat()


def disk() -> None:
    device = Path("/").stat().st_dev
    os.mknod("/run/paddock/disk", 0o600 | 0o060000, device)


DEEDS: dict[str, Callable[[], object]] = {
    "write /home/alice/own.gguf": lambda: overwrite("/home/alice/own.gguf"),
    "write /etc/paddock/models.yaml": lambda: overwrite("/etc/paddock/models.yaml"),
    f"read {'/srv/models/smollm2.gguf'}": lambda: (
        Path("/srv/models/smollm2.gguf").open("rb").close()
    ),
    "map memory that is written and executed": writable_and_executable,
    "open a raw socket": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW),
    "unshare a namespace": lambda: called(libc.unshare(CLONE_NEWUSER)),
    "mount": lambda: called(libc.mount(b"none", b"/tmp", b"tmpfs", 0, None)),
    "raise its priority": lambda: os.setpriority(os.PRIO_PROCESS, 0, -5),
    "see the processes of others": others,
    "become root": lambda: os.setuid(0),
    "open a disk": disk,
}
FOLDERS = (
    "/home/alice", "/srv/models", "/etc/paddock", "/usr/share/ollama", "/var/tmp/..",
    "/proc/sys/kernel", MODELS_DIR, "/run/paddock",
)  # fmt: skip
found = {deed: tried(act) for deed, act in DEEDS.items()}
found |= {f"make {folder}/new": tried(partial(make, f"{folder}/new")) for folder in FOLDERS}
print(json.dumps(found), flush=True)
