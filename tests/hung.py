"""File systems that hang, for daemons in a namespace of their own.

As a program: `hung.py HOW FOLDER COMMAND…` mounts one at FOLDER and goes on as COMMAND. `silent`
never answers. `stalled` holds one file, `far.gguf`, of which the first MiB can be read: whoever
reads on waits for ever, and a file `waits` beside the folder says so. FUSE by hand
(linux: include/uapi/linux/fuse.h), so that no library is needed.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import stat
import struct
import subprocess
import sys
from pathlib import Path

import pytest

SIZE_BYTES, ANSWERED_BYTES = 8 << 20, 1 << 20
_HEAD, _FAR, _ROOT = 40, 2, 1
_LOOKUP, _FORGET, _GETATTR, _OPEN, _READ, _RELEASE, _FLUSH, _INIT = 1, 2, 3, 14, 15, 18, 25, 26
_OPENDIR, _READDIR, _RELEASEDIR, _BATCH_FORGET = 27, 28, 29, 42
_PARENT_DIES = 1


def within(monkeypatch: pytest.MonkeyPatch, *prefix: str | Path) -> None:
    """Lets daemons run in a namespace, after what `prefix` does there."""
    import paddock_cli

    command = ("unshare", "--user", "--map-root-user", "--mount", *map(str, prefix))
    tried = subprocess.run([*command, "true"], check=False, capture_output=True, text=True)
    if tried.returncode != 0:
        pytest.skip(f"no namespace of one's own here: {tried.stderr}")
    monkeypatch.setattr(paddock_cli, "COMMAND", (*command, *paddock_cli.COMMAND))


def hung(how: str, folder: Path) -> tuple[str | Path, ...]:
    """The prefix for `within` that mounts such a file system at a folder."""
    return sys.executable, __file__, how, folder


def _main(how: str, folder: str, *command: str) -> None:
    fuse = os.open("/dev/fuse", os.O_RDWR)
    libc = ctypes.CDLL(None, use_errno=True)
    options = f"fd={fuse},rootmode=40000,user_id=0,group_id=0".encode()
    if libc.mount(b"hung", folder.encode(), b"fuse", 0, options):
        sys.exit(os.strerror(ctypes.get_errno()))
    if how == "silent":
        os.set_inheritable(fuse, True)  # else the kernel would answer that nobody is there
    else:
        parent = os.getpid()
        if os.fork() == 0:
            # Else a killed daemon would wait for an answer; it may have ended before this line.
            libc.prctl(_PARENT_DIES, signal.SIGKILL)
            if os.getppid() == parent:
                _serve(fuse, Path(folder))
            os._exit(0)
    os.execvp(command[0], command)


def _serve(fuse: int, folder: Path) -> None:
    content = (folder.parent / "far").read_bytes()
    while True:
        asked = os.read(fuse, 1 << 20)
        _, opcode, unique, node = struct.unpack_from("<IIQQ", asked)
        if opcode == _READ and struct.unpack_from("<QQ", asked, _HEAD)[1] >= ANSWERED_BYTES:
            (folder.parent / "waits").touch()
        elif opcode not in {_FORGET, _BATCH_FORGET}:
            code, said = _answer(opcode, node, asked[_HEAD:], content)
            os.write(fuse, struct.pack("<IiQ", 16 + len(said), -code, unique) + said)


def _answer(opcode: int, node: int, asked: bytes, content: bytes) -> tuple[int, bytes]:
    """The code and the body of an answer."""
    if opcode == _LOOKUP and asked.rstrip(b"\0") != b"far.gguf":
        return errno.ENOENT, b""
    nothing = dict.fromkeys((_READDIR, _FLUSH, _RELEASE, _RELEASEDIR), b"")
    handle = dict.fromkeys((_OPEN, _OPENDIR), bytes(16))
    known = (
        nothing
        | handle
        | {
            _INIT: struct.pack("<IIIIHHIIHHI28x", 7, 31, 1 << 17, 0, 9, 9, 1 << 17, 1, 0, 0, 0),
            _LOOKUP: struct.pack("<QQQQII", _FAR, 0, 3600, 3600, 0, 0) + _facts(_FAR),
            _GETATTR: struct.pack("<QII", 3600, 0, 0) + _facts(node),
        }
    )
    if opcode == _READ:
        _, offset, length = struct.unpack_from("<QQI", asked)
        return 0, content[offset : offset + length].ljust(length, b"\0")
    return (0, known[opcode]) if opcode in known else (errno.ENOSYS, b"")


def _facts(node: int) -> bytes:
    mode, size = (stat.S_IFDIR | 0o755, 0) if node == _ROOT else (stat.S_IFREG | 0o644, SIZE_BYTES)
    return struct.pack(
        "<QQQQQQIIIIIIIIII", node, size, 1, 1, 1, 1, 0, 0, 0, mode, 1, 0, 0, 0, 512, 0
    )


if __name__ == "__main__":
    _main(*sys.argv[1:])
