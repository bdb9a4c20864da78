"""A host as an administrator has it: a bed with Ollama's own service, and Paddock's beside it.

Ollama is the real one, under the unit that its installer writes, as its own user. Paddock is this
tree's, under the units of `systemd/`. What a test changes of a unit it does by drop-ins in /run,
and `fresh` takes them away again.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paddock_cli import readiness
from provider import RealPaths
from system.bed import ROOT, Bed, booted

UNITS = ROOT / "systemd"
MODELS_DIR = "/usr/share/ollama/.ollama/models"
SPEC = "/etc/paddock/models.yaml"
SOCKET = "/run/paddock/paddock.sock"
GGUF = "/srv/models/smollm2.gguf"
SMOLLM2 = f"  smollm2:\n    source: {{gguf: {GGUF}}}\n"
LOADED = SMOLLM2 + "    preload: true\n"
# As Ollama's install.sh writes it.
OLLAMA_UNIT = """\
[Unit]
Description=Ollama Service
After=network-online.target

[Service]
ExecStart=/usr/local/bin/ollama serve
User=ollama
Group=ollama
Restart=always
RestartSec=3
Environment="PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

[Install]
WantedBy=default.target
"""
AWAY = "/run/ollama-away"
OLLAMA_QUICK = f"""\
[Unit]
ConditionPathExists=!{AWAY}

[Service]
RestartSec=100ms
Environment="OLLAMA_NO_CLOUD=1"
"""
QUICK = "Environment=PADDOCK_POLL=0.5\nRestartSec=100ms\n"


@dataclass
class Host:
    """A bed with Ollama and Paddock in it."""

    bed: Bed

    def prepare(self, real: RealPaths) -> None:
        """Puts all of it in place, and starts Ollama; Paddock is not started."""
        bed = self.bed
        bed.run(
            "useradd", "-r", "-s", "/bin/false", "-U", "-m", "-d", "/usr/share/ollama", "ollama"
        )
        bed.run("useradd", "-m", "-s", "/bin/sh", "alice")
        paddock = Path(sys.prefix, "bin", "paddock")
        bed.run("ln", "-sf", real.ollama, "/usr/local/bin/ollama")
        bed.run("ln", "-sf", paddock, "/usr/local/bin/paddock")
        bed.run("install", "-D", "/dev/null", GGUF)
        bed.run("mount", "--bind", real.gguf, GGUF)
        bed.write("/etc/systemd/system/ollama.service", OLLAMA_UNIT)
        bed.write("/etc/systemd/system/ollama.service.d/test.conf", OLLAMA_QUICK)
        for unit in ("paddock.service", "paddock.socket"):
            bed.run("install", "-m", "0644", UNITS / unit, "/etc/systemd/system")
        bed.run(
            "install", "-D", "-m", "0644", UNITS / "tmpfiles.conf", "/etc/tmpfiles.d/paddock.conf"
        )
        bed.run("systemd-tmpfiles", "--create", "/etc/tmpfiles.d/paddock.conf")
        for unit in ("paddock.service", "escape.service"):
            bed.write(f"/usr/local/lib/systemd/system/{unit}.d/tree.conf", _seen_in_sandbox())
        bed.systemctl("daemon-reload")
        bed.systemctl("start", "ollama")
        bed.wait(lambda: self.ollama("version"), "Ollama answers")

    def fresh(self) -> None:
        """Stops Paddock, and takes back what a test changed of its units and files."""
        bed = self.bed
        bed.systemctl("stop", "paddock.socket", "paddock.service", code=None)
        bed.systemctl("reset-failed", code=None)
        bed.run("rm", "-rf", "/run/systemd/system/paddock.service.d", "/etc/credstore")
        self.set(QUICK)

    @contextmanager
    def without_ollama(self) -> Iterator[None]:
        """Meanwhile Ollama is stopped, and nothing starts it."""
        self.bed.run("touch", AWAY)
        self.bed.systemctl("stop", "ollama")
        yield
        self.bed.run("rm", AWAY)
        self.bed.systemctl("start", "ollama")

    def set(self, service: str, name: str = "quick") -> None:
        """Sets lines of [Service] in a drop-in of Paddock's unit."""
        folder = "/run/systemd/system/paddock.service.d"
        self.bed.write(f"{folder}/{name}.conf", f"[Service]\n{service}\n")
        self.bed.systemctl("daemon-reload")

    def declare(self, models: str) -> None:
        """Writes models.yaml."""
        self.bed.write(SPEC, f"version: 1\nmodels:\n{models}")

    def start(self, *units: str) -> None:
        """Starts units (Paddock's service by itself), and waits as systemd does until they are."""
        self.bed.systemctl("start", *(units or ("paddock.service",)))

    @property
    def pid(self) -> int:
        """The daemon's, in the bed."""
        return int(self.bed.show("paddock", "MainPID"))

    @property
    def status_text(self) -> str:
        """What `systemctl status` says of how things stand."""
        return self.bed.show("paddock", "StatusText")

    def get(self, path: str, timeout_s: float = 30.0) -> tuple[int, Any]:
        """One request to Paddock's socket, on a connection of its own."""
        return self.ask("GET", path, timeout_s=timeout_s)

    def ask(
        self, method: str, path: str, body: object = None, *, timeout_s: float = 60.0
    ) -> tuple[int, Any]:
        """One request with a JSON body."""
        data = None if body is None else json.dumps(body).encode()
        with contextlib.closing(self.bed.connection(SOCKET, timeout_s)) as connection:
            connection.request(method, path, data, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read().decode()
        is_json = answer.getheader("Content-Type", "").startswith("application/json")
        return answer.status, json.loads(text) if is_json else text

    def ready(self) -> dict[str, tuple[str, str]]:
        """Each model's Ready condition."""
        return readiness(self.get("/paddock/status")[1])

    def is_ready(self) -> bool:
        """Whether every model is."""
        return {state for state, _ in self.ready().values()} <= {"True"}

    def ollama(self, what: str) -> Any:
        """What Ollama's API says to `GET /api/WHAT`; None where it does not answer."""
        url = f"http://127.0.0.1:11434/api/{what}"
        done = self.bed.run("curl", "-sf", "--max-time", "10", url, code=None)
        return json.loads(done.out) if done.code == 0 else None

    def loaded(self) -> list[str]:
        """The names of the models that Ollama has loaded."""
        found = self.ollama("ps") or {"models": []}
        return [model["name"] for model in found["models"]]

    def tags(self) -> list[str]:
        """The names of the models that Ollama knows."""
        return sorted(model["name"] for model in self.ollama("tags")["models"])

    def paddock(self, *arguments: str, user: str = "ollama", code: int | None = 0) -> str:
        """What `paddock ARGUMENTS` prints on both its streams, run by a user."""
        done = self.bed.run("/usr/local/bin/paddock", *arguments, user=user, code=code)
        return done.out + done.err

    @contextmanager
    def process(self, *command: str | Path) -> Iterator[subprocess.Popen[str]]:
        """A command that runs in the bed meanwhile; it ends with its stdin."""
        with subprocess.Popen(
            self.bed.enter(*command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            yield process


def python_paths() -> Sequence[Path]:
    """Where the interpreter and this tree are."""
    return [ROOT, Path(sys.prefix), Path(sys.base_prefix)]


def _seen_in_sandbox() -> str:
    """What lets a unit that has its own /tmp see a tree that was checked out below it."""
    hidden = [p for p in python_paths() if p.is_relative_to("/tmp") or p.is_relative_to("/var/tmp")]
    return "[Service]\n" + "".join(f"BindReadOnlyPaths={path}\n" for path in hidden)


@contextmanager
def prepared(folder: Path, real: RealPaths, packages: Sequence[Path] = ()) -> Iterator[Host]:
    """A host on which Ollama runs, with Debian's `packages` in place of its own."""
    paths = [*python_paths(), real.ollama.resolve(), real.gguf.resolve()]
    with booted(folder, paths, packages) as bed:
        host = Host(bed)
        host.prepare(real)
        yield host
