"""The processes of a benchmark: the two relays, the upstream and the load, each on its own.

Owns how each is started, where it runs and how it is ended. A relay is an address and the process
that is measured. Relays have one core, upstream and load another one, where there are two. With
PADDOCK_BENCH_REALTIME=1, as root, other work on the machine does not come between (SCHED_RR).
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from provider import ROOT

_START_S = 20.0
_RELAY_CORE, _LOAD_CORE = 0, 1
_NGINX = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log crit;
events {{ worker_connections 4096; }}
http {{
    access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
    keepalive_requests 1000000;
    upstream ollama {{ server {upstream}; keepalive 256; keepalive_requests 1000000; }}
    server {{
        listen unix:{folder}/nginx.sock;
        location / {{
            proxy_pass http://ollama; proxy_http_version 1.1; proxy_set_header Connection "";
            proxy_set_header Host {upstream}; proxy_buffering off; proxy_read_timeout 300s;
        }}
    }}
}}
"""


@dataclass(frozen=True)
class Relay:
    """Where streams are asked for, and the process between (none: asked for directly)."""

    name: str
    where: str
    pid: int | None = None


@contextlib.contextmanager
def relays(upstream: str, folder: Path) -> Iterator[list[Relay]]:
    """Runs Paddock's endpoint and nginx in front of `upstream` (HOST:PORT) meanwhile."""
    folder.mkdir()
    with _paddock(upstream, folder) as paddock, _nginx(upstream, folder) as nginx:
        yield [paddock, nginx, Relay("direct", f"tcp:{upstream}")]


@contextlib.contextmanager
def _paddock(upstream: str, folder: Path) -> Iterator[Relay]:
    path = folder / "p.sock"
    with _module("bench.served", path, f"http://{upstream}") as process:
        assert _line(process) == "ready"
        place(process.pid, _RELAY_CORE)
        yield Relay("paddock", f"unix:{path}", process.pid)


@contextlib.contextmanager
def _nginx(upstream: str, folder: Path) -> Iterator[Relay]:
    program = nginx_program()
    path = folder / "nginx.sock"
    file = folder / "nginx.conf"
    file.write_text(_NGINX.format(folder=folder, upstream=upstream))
    log = ["-e", str(folder / "error.log")]
    process = subprocess.Popen([program, *log, "-c", file], stdin=subprocess.DEVNULL)
    with _ended(process):
        deadline = time.monotonic() + _START_S
        while not path.exists():
            assert process.poll() is None, "nginx did not start"
            assert time.monotonic() < deadline, "nginx does not listen"
            time.sleep(0.01)
        place(process.pid, _RELAY_CORE)
        yield Relay("nginx", f"unix:{path}", process.pid)


def place(pid: int, core: int) -> None:
    """Gives a process its core, and with PADDOCK_BENCH_REALTIME a place before all others."""
    if len(os.sched_getaffinity(0)) > 1:
        os.sched_setaffinity(pid, {core})
    if os.environ.get("PADDOCK_BENCH_REALTIME"):
        os.sched_setscheduler(pid, os.SCHED_RR, os.sched_param(1))


def nginx_program() -> str:
    """Finds nginx, and installs Debian's where that is possible."""
    places = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
    if not shutil.which("nginx", path=places):
        subprocess.run([ROOT / "scripts" / "apt-need", "nginx-light"], check=True)
    found = shutil.which("nginx", path=places)
    assert found, "there is no nginx"
    return found


@contextlib.contextmanager
def paced_upstream(recording: Path) -> Iterator[str]:
    """Runs the paced upstream meanwhile; gives its HOST:PORT."""
    with _module("bench.upstream", recording) as process:
        where = f"127.0.0.1:{_line(process)}"
        place(process.pid, _LOAD_CORE)
        yield where


class Load:
    """The process that opens streams."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, relay: Relay, **job: Any) -> dict[str, Any]:
        """Runs one job (`load.run`, or `load.read_late`) and gives its result."""
        self.begin(relay, **job)
        return self.result()

    def begin(self, relay: Relay, **job: Any) -> None:
        """Begins a job; `result` waits for its end."""
        assert self._process.stdin is not None
        job |= {"where": relay.where, "pid": relay.pid}
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()

    def result(self) -> dict[str, Any]:
        """Gives the result of the job that was begun."""
        result: dict[str, Any] = json.loads(_line(self._process))
        return result


@contextlib.contextmanager
def load() -> Iterator[Load]:
    """Runs a process that opens streams meanwhile."""
    with _module("bench.load") as process:
        place(process.pid, _LOAD_CORE)
        yield Load(process)


@contextlib.contextmanager
def _module(name: str, *arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", name, *arguments],
        env=os.environ | {"PYTHONPATH": f"{ROOT / 'daemon'}:{ROOT / 'tests'}"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with _ended(process):
        yield process


@contextlib.contextmanager
def _ended(process: subprocess.Popen[Any]) -> Iterator[None]:
    try:
        yield
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, f"{process.args!r} ended"
    return line.rstrip("\n")
