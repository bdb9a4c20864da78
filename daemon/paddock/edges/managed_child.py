"""The guardian of a server that Paddock started: a small process between the two.

Started by its path with nothing but the standard library. It runs the command it is given in a
process group of its own, tells its stdout `pid N` and at the end `ended CODE` (negative: the
signal), and sees to it that none of the group is left: not when the server dies (Ollama's runners
outlive it else), and not when Paddock does, however it dies, for then our stdin ends. Reads and
writes nothing else.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import sys
import time

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def guard(grace_s: float, command: list[str]) -> None:
    """Run the command until it ends, or until our stdin does: it then has `grace_s` to end."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)  # orphans of the server become ours to reap
    woken, waker = os.pipe()
    for end in (woken, waker):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(waker)
    stopped: list[int] = []
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    guardian = os.getpid()
    pid = os.fork()
    if pid == 0:
        _become(guardian, command)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.setpgid(pid, pid)  # as the child does: whoever comes first
    _tell(f"pid {pid}")
    _watch(pid, woken, grace_s, stopped)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)  # it is not reaped yet, so the group is still its own
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-pid, 0)
    _tell(f"ended {os.waitstatus_to_exitcode(status)}")


def _watch(pid: int, woken: int, grace_s: float, stopped: list[int]) -> None:
    """Return when the server has ended, or when its time to do so is over."""
    poll = select.poll()
    poll.register(woken, select.POLLIN)
    poll.register(0, select.POLLIN)
    until: float | None = None
    while not _has_ended(pid):
        left_s = None if until is None else until - time.monotonic()
        if left_s is not None and left_s <= 0:
            return
        ready = {fd for fd, _ in poll.poll(None if left_s is None else left_s * 1000)}
        if woken in ready:
            os.read(woken, 4096)
        if until is None and (stopped or 0 in ready):
            until = time.monotonic() + grace_s
            poll.unregister(0)
            os.kill(pid, signal.SIGTERM)


def _has_ended(pid: int) -> bool:
    """Whether the server is dead, still to be reaped; reaps what else has died."""
    while True:
        dead = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if dead is None or dead.si_pid == pid:
            return dead is not None
        os.waitpid(dead.si_pid, 0)


def _become(guardian: int, command: list[str]) -> None:
    """Become the command, in a group of its own; should we be killed ourselves, it is stopped."""
    try:
        os.setpgid(0, 0)
        _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        report = os.dup(1)
        os.set_inheritable(report, False)
        os.dup2(2, 1)
        if os.getppid() == guardian:
            _exec(report, command)
    finally:
        os._exit(127)


def _exec(report: int, command: list[str]) -> None:
    try:
        os.execv(command[0], command)  # noqa: S606
    except OSError as error:
        os.write(report, f"error {error.strerror}\n".encode())


def _tell(text: str) -> None:
    with contextlib.suppress(BrokenPipeError):  # Paddock is dead
        os.write(1, f"{text}\n".encode())


def _prctl(option: int, value: int) -> None:
    """Linux's prctl; elsewhere nothing, and our stdin alone has to do."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(option, *map(ctypes.c_ulong, (value, 0, 0, 0)))


if __name__ == "__main__":
    guard(float(sys.argv[1]), sys.argv[2:])
